"""``slaw run --adaptive``: choose runs, train them, fit, and choose again.

Each round's sweep is a file in the sweep's folder before its first run, so that a loop that was
killed goes on where it was; beside them lie what was asked for and the target as the first round
completed it. A size's compute-optimal tokens are another number in every fit: intervals of a loop
are compared, so they are all for the tokens of the first round.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling_law.config.load import config_yaml
from scaling_law.config.schema import NAME
from scaling_law.design.candidates import Budget
from scaling_law.design.propose import Before, Proposal, Wanted, budget_words, forecast_now, propose
from scaling_law.design.session import before_of, next_batch
from scaling_law.design.text import target_words
from scaling_law.errors import EXIT_OK, ConfigError, FitError
from scaling_law.files import checksum, layout
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import record_if_there
from scaling_law.fit.result import Prediction
from scaling_law.plan.plan import Plan
from scaling_law.run.runner import SweepOutcome
from scaling_law.run.session import Request, closing, inputs, run_sweep
from scaling_law.spec.run import to_json
from scaling_law.units import count_of

Say = Callable[[str], None]
Train = Callable[[Request, Say], tuple[SweepDir, Plan, SweepOutcome]]
ROUNDS = 4
# A remainder below this share of the budget buys no round.
_LEAST_SHARE = 0.05
_NOTED = 1.1  # times the planned seconds from which on it is said
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
        say(closing(sweep, plan, outcome, last=False))
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
        self._fixed: dict[str, float] | None = None  # the target, from the first round on
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
        known, asked = checksum.read(self.sweep.adaptive, _REMEDY), self._asked()
        other = [name for name in asked if known.get(name) != asked[name]]
        if other:
            raise ConfigError(
                f"{self.sweep.path}: begun with another {', '.join(other)}"
                f" ({self.sweep.adaptive.name}); type the same line again, or choose another"
                " folder with --out"
            )
        self._fixed = known.get("fixed")

    def _wanted(self) -> Wanted:
        """What was asked for, its target as the first round fixed it."""
        if self._fixed is None:
            return self.aim.wanted
        return dataclasses.replace(self.aim.wanted, target=self._fixed)

    def _fix(self, target: Prediction) -> None:
        """Hold on to the params and tokens of a target; a target loss is fixed as it is."""
        if self.aim.wanted.target.get("target_loss") is not None:
            return
        assert target.params is not None and target.tokens is not None, "propose completes it"
        self._fixed = {"params": target.params, "tokens": target.tokens}
        words = f"target of every round: {target_words(target)}"
        asked = [value for value in self.aim.wanted.target.values() if value is not None]
        if len(asked) == 1:
            words += " (the best split by what is believed before any run; --target-tokens D"
            words += " sets the tokens)"
        self.say(words)

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
        checksum.read_text(self.sweep.round_config(number))
        return Request(
            config=str(self.sweep.round_config(number)),
            device=self.request.device,
            out=str(self.sweep.path),
        )

    def first(self) -> int:
        """Decide the first round, from what is believed before any run."""
        config = self.config
        if re.fullmatch(NAME, folder := self.sweep.path.resolve().name):
            config = dataclasses.replace(config, name=folder)  # not another sweep of that config
        proposal = propose(config, self.profile, self._share(1), train_tokens=self.tokens)
        self._fix(proposal.target)
        checksum.write(self.sweep.adaptive, {**self._asked(), "fixed": self._fixed})
        return self._decide(1, proposal)

    def forecast(self, number: int) -> Prediction | None:
        """The interval now, said; None when it is as narrow as wanted."""
        found = forecast_now(self._before(number), self._wanted())
        if found.low_nats is None or found.high_nats is None:
            raise FitError(f"{self.sweep.path}: the fit gives no interval; see slaw fit")
        width = found.high_nats - found.low_nats
        self.say(
            f"round {number}: {found.low_nats:.3f} to {found.high_nats:.3f} nats at"
            f" {target_words(found)}, width {width:.3g} (wanted {self.aim.width:g});"
            f" law {found.law}; {budget_words(self._budget(self._spent(number)))} of"
            f" {budget_words(self.aim.wanted.budget)} spent"
        )
        if (slow := self._slowness(number)) > _NOTED:
            self.say(
                f"the runs took {slow:.2g} times as long as planned (a busy machine, or one that"
                " was measured idle): a round that has begun is finished, and later ones are"
                " planned at this pace"
            )
        if found.refused:
            self.say(found.refused)
        if width <= self.aim.width:
            self.say(f"the interval is as narrow as wanted; next: slaw fit {self.sweep.path}")
            return None
        return found

    def next(self, number: int) -> int:
        """Decide the next round; 0 when the budget allows none."""
        following = f"next: slaw fit {self.sweep.path}"
        whole = self.aim.wanted.budget.amount
        if whole - self._spent(number) < _LEAST_SHARE * whole:
            self.say(f"the budget is spent; {following}")
            return 0
        if number >= self.aim.rounds:
            self.say(f"{count_of(number, 'round')} of {self.aim.rounds} done; {following}")
            return 0
        # the later rounds are configured as the first: one batch, one text
        base = Request(config=self.request.config, device=self.request.device)
        try:
            proposal = next_batch(
                base, self._share(number + 1), self.sweep, self._before(number), self.say
            )
        except FitError as problem:
            self.say(f"no further round: {problem}; {following}")
            return 0
        return self._decide(number + 1, proposal)

    def _decide(self, number: int, proposal: Proposal) -> int:
        """Write a round down; its YAML last, for that is what decides it.

        Another loop on the folder may have decided it meanwhile: then that holds.
        """
        if self.sweep.round_config(number).is_file():
            return number
        cost = {"seconds": proposal.plan.seconds_estimate, "flops": proposal.plan.flops_total}
        checksum.write(self.sweep.round_cost(number), cost)
        layout.atomic_write(self.sweep.round_config(number), checksum.text(proposal.yaml))
        low, high = proposal.after.low_nats, proposal.after.high_nats
        slow = self._slowness(number - 1)
        self.say(
            f"round {number}: {len(proposal.chosen)} runs,"
            f" {budget_words(self._budget(cost[self.aim.wanted.budget.unit] * slow))}; expected"
            f" {low or math.nan:.3f} to {high or math.nan:.3f} nats at"
            f" {target_words(proposal.target)}"
        )
        return number

    def _share(self, number: int) -> Wanted:
        """What is left, shared evenly among the rounds to come."""
        whole = self.aim.wanted.budget
        left = whole.amount - self._spent(number - 1)
        share = left / (self.aim.rounds - number + 1) / self._slowness(number - 1)
        budget = Budget(unit=whole.unit, amount=share)
        return dataclasses.replace(self._wanted(), budget=budget)

    def _budget(self, amount: float) -> Budget:
        return Budget(unit=self.aim.wanted.budget.unit, amount=amount)

    def _spent(self, rounds: int) -> float:
        """What the rounds so far cost, in the budget's unit: as planned, or as taken if more."""
        return self._planned(rounds) * self._slowness(rounds)

    def _slowness(self, rounds: int) -> float:
        """How many times as long as planned the rounds so far took; 1 if no longer, and of FLOPs,
        which do not depend on the machine."""
        planned = self._planned(rounds)
        if self.aim.wanted.budget.unit != "seconds" or not planned:
            return 1.0
        return max(1.0, self._seconds_taken() / planned)

    def _planned(self, rounds: int) -> float:
        unit, total = self.aim.wanted.budget.unit, 0.0
        for number in range(1, rounds + 1):
            path = self.sweep.round_cost(number)
            cost = checksum.read(path, _REMEDY)
            try:
                total += float(cost[unit])
            except (KeyError, TypeError, ValueError):
                raise ConfigError(f"{path}: damaged, expected {unit}; {_REMEDY}") from None
        return total

    def _seconds_taken(self) -> float:
        """By the runs' own clocks, spread over the slots."""
        records = [record_if_there(run_dir) for run_dir in self.sweep.run_dirs()]
        return sum(record.seconds for record in records if record) / self.profile.slots
