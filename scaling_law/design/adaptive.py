"""``slaw run --adaptive``: choose runs, train them, fit, and choose again.

The sweep of each round is written to the sweep's folder before its first run, so that a loop that
was killed resumes where it stopped. The goal lies beside these files, with the target as the first
round completed it: every fit gives a size other compute-optimal tokens, and intervals of different
rounds only compare at the same tokens.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scaling_law.config.data_section import NAME
from scaling_law.config.written import config_yaml
from scaling_law.console import Say
from scaling_law.design.propose import DesignGoal, FitSoFar, Proposal, forecast_now, propose
from scaling_law.design.session import fit_so_far, next_batch
from scaling_law.design.text import target_words
from scaling_law.errors import EXIT_OK, ConfigError, FitError
from scaling_law.files import checksum
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import record_if_there
from scaling_law.fit.prediction_text import law_words
from scaling_law.fit.result import Prediction
from scaling_law.forecast.budget import Budget
from scaling_law.forecast.target import Target
from scaling_law.plan.plan import Plan
from scaling_law.run.planning import inputs
from scaling_law.run.request import Request
from scaling_law.run.rounds import REMEDY, Rounds
from scaling_law.run.runner import SweepOutcome
from scaling_law.run.session import run_sweep
from scaling_law.run.text import closing
from scaling_law.spec.to_json import to_json
from scaling_law.units import count_of

Train = Callable[[Request, Say], tuple[SweepDir, Plan, SweepOutcome]]
# A remainder below this share of the budget buys no round.
_LEAST_SHARE = 0.05
_NOTED = 1.1  # runs that took this many times as long as planned are mentioned


def run_adaptive(request: Request, goal: DesignGoal, say: Say, *, train: Train = run_sweep) -> int:
    """Run rounds until the interval is narrow enough or the budget is spent; the exit code.

    Raises ``ConfigError`` when the folder holds a loop with another goal, ``FitError`` when no
    round can be designed or the runs allow no forecast, else as ``run_sweep``.
    """
    loop = _Loop(request, goal, say, train)
    number = loop.rounds.last()
    if number == 0:
        number = loop.first()
    while True:
        sweep, plan, outcome = train(loop.rounds.request(number), say)
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
    """Reads the state of a loop from its folder and decides its rounds."""

    def __init__(self, request: Request, goal: DesignGoal, say: Say, train: Train) -> None:
        self.request, self.goal, self.say, self.train = request, goal, say, train
        known = inputs(request, say)
        self.config, self.profile = known.config, known.profile
        self.sweep = SweepDir(Path(request.out or f"results/{self.config.name}"))
        base = dataclasses.replace(request, places=self.config.all_places)
        self.rounds = Rounds(sweep=self.sweep, asked=self.sweep.adaptive, base=base)
        self._fitted: tuple[int, FitSoFar] | None = None
        self._fixed: dict[str, float] | None = None  # the target, from the first round on
        self._check_goal()

    def _so_far(self, number: int) -> FitSoFar:
        """The fit after a round, made once."""
        if self._fitted is None or self._fitted[0] != number:
            self._fitted = number, fit_so_far(self.sweep)
        return self._fitted[1]

    def _asked(self) -> dict[str, Any]:
        return {
            "target": self.goal.target.given,
            "budget": to_json(self.goal.budget),
            "level": self.goal.level,
            "width": self.goal.width_nats,
            "rounds": self.goal.rounds,
            "config": config_yaml(self.config),
        }

    def _check_goal(self) -> None:
        """Raises ``ConfigError`` where the folder holds another sweep or a loop of another goal."""
        begun = self.rounds.begun(
            self._asked(),
            "a sweep that was not started with --adaptive; choose another folder with --out, or "
            "plan"
            f" its next batch with slaw plan {self.sweep.path}",
        )
        if begun is not None:
            self._fixed = begun.get("fixed")

    def _goal(self) -> DesignGoal:
        """The goal, with its target as the first round fixed it."""
        if self._fixed is None:
            return self.goal
        return dataclasses.replace(self.goal, target=Target(**self._fixed))

    def _fix(self, target: Prediction) -> None:
        """Fix the params and tokens of the target; a target loss stays as it is."""
        if self.goal.target.target_loss is not None:
            return
        assert target.params is not None and target.tokens is not None, "propose completes it"
        self._fixed = {"params": target.params, "tokens": target.tokens}
        words = f"target of every round: {target_words(target)}"
        if len(self.goal.target.given) == 1:
            words += " (the best split that is expected before any run; --target-tokens D"
            words += " sets the tokens)"
        self.say(words)

    def first(self) -> int:
        """Decide the first round, from the laws that are expected before any run."""
        known = inputs(self.request, self.say, prepare=True)
        config = known.config
        if re.fullmatch(NAME, folder := self.sweep.path.resolve().name):
            config = dataclasses.replace(config, name=folder)  # not another sweep of that config
        proposal = propose(
            config,
            self.profile,
            self._share(1),
            train_tokens=known.train_tokens,
            component_tokens=known.component_tokens,
        )
        self._fix(proposal.now)
        self.rounds.begin({**self._asked(), "fixed": self._fixed})
        return self._decide(1, proposal)

    def forecast(self, number: int) -> Prediction | None:
        """Report the interval after a round; None when it is narrow enough."""
        now = forecast_now(self._so_far(number), self._goal())
        if now.low_nats is None or now.high_nats is None:
            raise FitError(f"{self.sweep.path}: the fit gives no interval; see slaw fit")
        width, enough = now.high_nats - now.low_nats, self.goal.width_nats
        wanted = "" if enough is None else f" (wanted {enough:g})"
        self.say(
            f"round {number}: {now.low_nats:.3f} to {now.high_nats:.3f} nats at"
            f" {target_words(now)}, width {width:.3g}{wanted};"
            f" {law_words(now)}; {self._budget(self._spent(number)).text} of"
            f" {self.goal.budget.text} spent"
        )
        if (slow := self._slowness(number)) > _NOTED:
            self.say(
                f"the runs took {slow:.2g} times as long as planned (a busy machine, or one that"
                " was measured idle): the current round continues to its end, and later ones are"
                " planned at this pace"
            )
        if now.refused:
            self.say(now.refused)
        if enough is not None and width <= enough:
            self.say(f"the interval is as narrow as requested; next: slaw fit {self.sweep.path}")
            return None
        return now

    def next(self, number: int) -> int:
        """Decide the next round; 0 when the budget allows none."""
        following = f"next: slaw fit {self.sweep.path}"
        whole = self.goal.budget.amount
        if whole - self._spent(number) < _LEAST_SHARE * whole:
            self.say(f"the budget is spent; {following}")
            return 0
        if number >= self.goal.rounds:
            self.say(f"{count_of(number, 'round')} of {self.goal.rounds} done; {following}")
            return 0
        # the later rounds are configured as the first one: one batch, one text
        base = Request(config=self.request.config, device=self.request.device)
        try:
            proposal = next_batch(
                base, self._share(number + 1), self.sweep, self._so_far(number), self.say
            )
        except FitError as problem:
            self.say(f"no further round: {problem}; {following}")
            return 0
        return self._decide(number + 1, proposal)

    def _decide(self, number: int, proposal: Proposal) -> int:
        """Write a round to the folder; its YAML comes last, because its presence decides the round.

        Where another loop on the folder has decided the round meanwhile, that decision stays.
        """
        cost = {"seconds": proposal.plan.seconds_estimate, "flops": proposal.plan.flops_total}
        if not self.rounds.decide(number, proposal.yaml, cost):
            return number
        low, high = proposal.after.low_nats, proposal.after.high_nats
        slow = self._slowness(number - 1)
        self.say(
            f"round {number}: {count_of(len(proposal.chosen), 'run')},"
            f" {self._budget(cost[self.goal.budget.unit] * slow).text}; expected"
            f" {low or math.nan:.3f} to {high or math.nan:.3f} nats at"
            f" {target_words(proposal.now)}"
        )
        return number

    def _share(self, number: int) -> DesignGoal:
        """The goal with this round's share of the budget that is left, the same for each round."""
        whole = self.goal.budget
        left = whole.amount - self._spent(number - 1)
        share = left / (self.goal.rounds - number + 1) / self._slowness(number - 1)
        budget = Budget(unit=whole.unit, amount=share)
        return dataclasses.replace(self._goal(), budget=budget)

    def _budget(self, amount: float) -> Budget:
        return Budget(unit=self.goal.budget.unit, amount=amount)

    def _spent(self, rounds: int) -> float:
        """What the rounds cost in the budget's unit: as planned, or as measured if that is more."""
        return self._planned(rounds) * self._slowness(rounds)

    def _slowness(self, rounds: int) -> float:
        """How many times as long as planned the rounds took; 1 if no longer.

        It is 1 for a budget in FLOPs, which do not depend on the machine.
        """
        planned = self._planned(rounds)
        if self.goal.budget.unit != "seconds" or not planned:
            return 1.0
        return max(1.0, self._seconds_taken() / planned)

    def _planned(self, rounds: int) -> float:
        unit, total = self.goal.budget.unit, 0.0
        for number in range(1, rounds + 1):
            path = self.sweep.round_cost(number)
            cost = checksum.read(path, REMEDY)
            try:
                total += float(cost[unit])
            except (KeyError, TypeError, ValueError):
                raise ConfigError(f"{path}: damaged, expected {unit}; {REMEDY}") from None
        return total

    def _seconds_taken(self) -> float:
        """The seconds that the runs measured, spread over the slots."""
        records = [record_if_there(run_dir) for run_dir in self.sweep.run_dirs()]
        return sum(record.seconds for record in records if record) / self.profile.slots
