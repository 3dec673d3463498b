"""``slaw run --adaptive``: choose runs, train them, fit, and choose again.

Each round's sweep is a file in the sweep's folder before its first run, so that a loop that was
killed goes on where it was; nothing else is remembered.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling_law import layout, sealed
from scaling_law.candidates import Budget
from scaling_law.config import config_yaml
from scaling_law.design_plan import Before, Proposal, Wanted, budget_words, forecast_now, propose
from scaling_law.design_session import before_of, next_batch
from scaling_law.errors import EXIT_OK, ConfigError, FitError
from scaling_law.layout import SweepDir
from scaling_law.outcome import Prediction
from scaling_law.plan import Plan
from scaling_law.record import record_if_there
from scaling_law.run.runner import SweepOutcome
from scaling_law.run.session import Request, closing, inputs, run_sweep
from scaling_law.spec import to_json

Say = Callable[[str], None]
Train = Callable[[Request, Say], tuple[SweepDir, Plan, SweepOutcome]]
ROUNDS = 4
# A remainder below this share of the budget buys no round.
_LEAST_SHARE = 0.05
_REMEDY = "put it back from a copy, or begin again in another folder (--out)"


@dataclass(frozen=True, kw_only=True)
class Aim:
    """``wanted`` target and whole budget; the ``width`` (nats, high minus low) to stop at, and the
    most ``rounds`` to spend the budget in."""

    wanted: Wanted
    width: float
    rounds: int = ROUNDS

    def __post_init__(self) -> None:
        if not (math.isfinite(self.width) and self.width > 0):
            raise ConfigError(f"--width is {self.width:g}, expected nats above 0")
        if self.rounds < 1:
            raise ConfigError(f"--rounds is {self.rounds}, expected at least 1")


def run_adaptive(request: Request, aim: Aim, say: Say, *, train: Train = run_sweep) -> int:
    """Rounds until the interval is as narrow as wanted or the budget is spent; the exit code.

    Raises ``ConfigError`` when the folder holds a loop with another aim, ``FitError`` when no
    round can be designed or the runs allow no forecast, as ``run_sweep`` otherwise.
    """
    loop = _Loop(request, aim, say, train)
    number = loop.last_round()
    if number == 0:
        number = loop.first()
    while True:
        sweep, plan, outcome = train(loop.round_request(number), say)
        say(closing(sweep, plan, outcome))
        if outcome.exit_code != EXIT_OK:
            return outcome.exit_code
        reached = loop.forecast(number)
        if reached is None:
            return EXIT_OK
        number = loop.next(number)
        if number == 0:
            return EXIT_OK


class _Loop:
    """What the folder says, and what is decided next."""

    def __init__(self, request: Request, aim: Aim, say: Say, train: Train) -> None:
        self.request, self.aim, self.say, self.train = request, aim, say, train
        self.config, self.profile, self.tokens = inputs(request, say)
        self.sweep = SweepDir(Path(request.out or f"results/{self.config.name}"))
        self._fitted: tuple[int, Before] | None = None
        self._check_aim()

    def _before(self, number: int) -> Before:
        """The fit after a round, made once."""
        if self._fitted is None or self._fitted[0] != number:
            self._fitted = number, before_of(self.sweep)
        return self._fitted[1]

    def _asked(self) -> dict[str, Any]:
        return {
            "target": {k: v for k, v in self.aim.wanted.target.items() if v is not None},
            "budget": to_json(self.aim.wanted.budget),
            "level": self.aim.wanted.level,
            "width": self.aim.width,
            "rounds": self.aim.rounds,
            "config": config_yaml(self.config),
        }

    def _check_aim(self) -> None:
        if not self.sweep.adaptive.is_file():
            if self.sweep.plan.is_file():
                raise ConfigError(
                    f"{self.sweep.path}: a sweep that was not begun with --adaptive; choose"
                    f" another folder with --out, or its next batch with slaw plan"
                    f" {self.sweep.path}"
                )
            return
        known, asked = sealed.read(self.sweep.adaptive, _REMEDY), self._asked()
        other = [name for name in asked if known.get(name) != asked[name]]
        if other:
            raise ConfigError(
                f"{self.sweep.path}: begun with another {', '.join(other)}"
                f" ({self.sweep.adaptive.name}); type the same line again, or choose another"
                " folder with --out"
            )

    def last_round(self) -> int:
        """The number of the last round decided; 0 before the first."""
        number = 0
        while self.sweep.round_config(number + 1).is_file():
            number += 1
        return number

    def round_request(self, number: int) -> Request:
        """The round's sweep as ``run_sweep`` takes it.

        Raises ``ConfigError`` when its file is not as it was written.
        """
        sealed.read_text(self.sweep.round_config(number))
        return Request(
            config=str(self.sweep.round_config(number)),
            device=self.request.device,
            out=str(self.sweep.path),
        )

    def first(self) -> int:
        """Decide the first round, from what is believed before any run."""
        wanted = self._share(1)
        proposal = propose(self.config, self.profile, wanted, train_tokens=self.tokens)
        sealed.write(self.sweep.adaptive, self._asked())
        return self._decide(1, proposal)

    def forecast(self, number: int) -> Prediction | None:
        """The interval now, said; None when it is as narrow as wanted."""
        found = forecast_now(self._before(number), self.aim.wanted)
        if found.low_nats is None or found.high_nats is None:
            raise FitError(f"{self.sweep.path}: the fit gives no interval; see slaw fit")
        width = found.high_nats - found.low_nats
        self.say(
            f"round {number}: {found.low_nats:.3f} to {found.high_nats:.3f} nats at the target,"
            f" width {width:.3g} (wanted {self.aim.width:g}); law {found.law};"
            f" {budget_words(self._budget(self._spent(number)))} of"
            f" {budget_words(self.aim.wanted.budget)} spent"
        )
        if found.refused:
            self.say(found.refused)
        if width <= self.aim.width:
            self.say(f"the interval is as narrow as wanted; next: slaw fit {self.sweep.path}")
            return None
        return found

    def next(self, number: int) -> int:
        """Decide the next round; 0 when the budget allows none."""
        over = f"the budget is spent; next: slaw fit {self.sweep.path}"
        whole = self.aim.wanted.budget.amount
        if number >= self.aim.rounds or whole - self._spent(number) < _LEAST_SHARE * whole:
            self.say(over)
            return 0
        # the later rounds are configured as the first: one batch, one text
        base = Request(config=self.request.config, device=self.request.device)
        try:
            proposal = next_batch(
                base, self._share(number + 1), self.sweep, self._before(number), self.say
            )
        except FitError as problem:
            self.say(f"no further round: {problem}")
            self.say(over)
            return 0
        return self._decide(number + 1, proposal)

    def _decide(self, number: int, proposal: Proposal) -> int:
        """Write a round down; its YAML last, for that is what decides it.

        Another loop on the folder may have decided it meanwhile: then that holds.
        """
        if self.sweep.round_config(number).is_file():
            return number
        cost = {"seconds": proposal.plan.seconds_estimate, "flops": proposal.plan.flops_total}
        sealed.write(self.sweep.round_cost(number), cost)
        layout.atomic_write(self.sweep.round_config(number), sealed.text(proposal.yaml))
        low, high = proposal.after.low_nats, proposal.after.high_nats
        self.say(
            f"round {number}: {len(proposal.chosen)} runs,"
            f" {budget_words(self._budget(cost[self.aim.wanted.budget.unit]))}; expected"
            f" {low or math.nan:.3f} to {high or math.nan:.3f} nats at the target"
        )
        return number

    def _share(self, number: int) -> Wanted:
        """What is left, shared evenly among the rounds to come."""
        whole = self.aim.wanted.budget
        left = whole.amount - self._spent(number - 1)
        share = left / (self.aim.rounds - number + 1)
        wanted = self.aim.wanted
        return Wanted(
            target=wanted.target,
            budget=Budget(unit=whole.unit, amount=share),
            level=wanted.level,
        )

    def _budget(self, amount: float) -> Budget:
        return Budget(unit=self.aim.wanted.budget.unit, amount=amount)

    def _spent(self, rounds: int) -> float:
        """What the rounds so far cost, in the budget's unit: as planned, or as taken if more."""
        unit, total = self.aim.wanted.budget.unit, 0.0
        for number in range(1, rounds + 1):
            path = self.sweep.round_cost(number)
            cost = sealed.read(path, _REMEDY)
            try:
                total += float(cost[unit])
            except (KeyError, TypeError, ValueError):
                raise ConfigError(f"{path}: damaged, expected {unit}; {_REMEDY}") from None
        return max(total, self._seconds_taken()) if unit == "seconds" else total

    def _seconds_taken(self) -> float:
        """By the runs' own clocks, spread over the slots."""
        records = [record_if_there(run_dir) for run_dir in self.sweep.run_dirs()]
        return sum(record.seconds for record in records if record) / self.profile.slots
