"""When a run reads a component's text: late, early or spread, and what a token is worth by that.

Runs read as much of the component's text at different times. Constant shares give the loss on it by
its share, from which the share that a late or an early reader is worth is read off: by straight
lines in the logarithm of the share. The loss falls ever more slowly with the share, and lines in
the share itself would find shares that are too large.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from scaling_law.experiment.evidence import Run
from scaling_law.experiment.groups import grouped
from scaling_law.experiment.seeds import Mean, mean_over

LATE, EARLY, SPREAD = "late", "early", "spread"
LOSS = "loss.val:"  # the name of a component's loss in metrics begins with it


@dataclass(frozen=True, kw_only=True)
class Read:
    """What one run read of the target's text, and what it ended with.

    ``when`` it read most: late, early or spread; ``share`` of all its tokens;
    ``base`` is the share while it did not read most;
    ``target`` is the loss on the target, ``rest`` the mean of those on the other components, in
    nats per token.
    """

    run: Run
    when: str
    share: float
    base: float
    target: float
    rest: float

    @property
    def mean(self) -> float:
        """The mean loss of the target and the rest."""
        return (self.target + self.rest) / 2

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.run.spec.seed


def read_run(run: Run, target: str) -> Read | None:
    """What a run read, None where it has no mixture, several changes, or no loss on the target."""
    mix, metrics = run.spec.mix, run.record.metrics
    losses = {name: value for name, value in metrics.items() if name.startswith(LOSS)}
    own = losses.pop(f"{LOSS}{target}", None)
    if mix is None or own is None or not losses or len(mix.phases) > 2:
        return None
    if any(phase.shares is None for phase in mix.phases):
        return None
    shares = [dict(phase.shares or ()).get(target, 0.0) for phase in mix.phases]
    steps = [*run.spec.mix_steps(), run.spec.total_steps]
    lengths = [end - first for first, end in itertools.pairwise(steps)]
    first, last = shares[0], shares[-1]
    return Read(
        run=run,
        when=SPREAD if first == last else LATE if last > first else EARLY,
        share=round(
            sum(s * n for s, n in zip(shares, lengths, strict=True)) / run.spec.total_steps, 4
        ),
        base=min(shares),
        target=own,
        rest=fmean(losses.values()),
    )


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the runs show; ``reads`` are the runs that say something, ``target`` the component."""

    reads: tuple[Read, ...]
    target: str

    def of(self, when: str) -> dict[float, dict[int, Read]]:
        """The runs that read most at one time, by share and seed."""
        own = grouped((one.share, one) for one in self.reads if one.when == when)
        return {share: {one.seed: one for one in ones} for share, ones in own.items()}

    def gains(self, when: str, loss: str) -> dict[float, list[float]]:
        """How far runs end below those that spread as much, in nats, by share, one a seed."""
        spread = self.of(SPREAD)
        gains = {}
        for share, ones in self.of(when).items():
            twins = spread.get(share, {})
            values = [
                getattr(twins[seed], loss) - getattr(one, loss)
                for seed, one in sorted(ones.items())
                if seed in twins
            ]
            if values:
                gains[share] = values
        return gains

    def worth(self, when: str) -> dict[float, dict[int, float]]:
        """How many spread tokens one of the extra tokens is worth, by share and seed.

        The extra tokens are those beyond the run's base share. A run whose loss no constant share
        of its seed has is left out, unless the nearest line, made twice as long, has it.
        """
        worth: dict[float, dict[int, float]] = {}
        for share, ones in self.of(when).items():
            for seed, one in ones.items():
                curve = [
                    (own, by_seed[seed].target)
                    for own, by_seed in self.of(SPREAD).items()
                    if seed in by_seed
                ]
                equal = share_with(one.target, curve)
                if equal is not None and share > one.base:
                    worth.setdefault(share, {})[seed] = (equal - one.base) / (share - one.base)
        return worth

    def mean_worth(self, when: str) -> Mean | None:
        """The mean over shares of what an extra token is worth, with its interval over seeds.

        Seeds count that have a worth at every share: without an early reader's worst one, a mean
        would be too high.
        """
        shares = set(self.of(when))
        by_seed = grouped(
            (seed, value) for own in self.worth(when).values() for seed, value in own.items()
        )
        return mean_over([fmean(own) for own in by_seed.values() if len(own) == len(shares)])

    def beyond(self) -> list[bool]:
        """Of each run whose loss no constant share of its seed has, whether it has a worth."""
        outside = []
        for when in (LATE, EARLY):
            worth = self.worth(when)
            for share, ones in self.of(when).items():
                for seed, one in ones.items():
                    losses = [by[seed].target for by in self.of(SPREAD).values() if seed in by]
                    if not losses or not min(losses) <= one.target <= max(losses):
                        outside.append(seed in worth.get(share, {}))
        return outside


def share_with(loss: float, curve: Sequence[tuple[float, float]]) -> float | None:
    """The constant share that ends at a loss, between the two around it.

    Between them the loss is straight in the logarithm of the share, next to 0 in the share. Outside
    all of them it is on the line through the nearest two, as far out as these are apart; None
    further out.
    """
    lines = list(itertools.pairwise(sorted(curve)))
    places = [
        (less * (more / less) ** part if less else more * part, part)
        for (less, above), (more, below) in lines
        if above > below
        for part in [(above - loss) / (above - below)]
    ]
    inside = [share for share, part in places if 0 <= part <= 1]
    if inside or not places:
        return inside[0] if inside else None
    (first, early), (last, late) = places[0], places[-1]
    if -1 <= early < 0:
        return first
    return last if 1 < late <= 2 else None
