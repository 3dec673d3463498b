"""Runs that read a little text again and again, as it is or changed in each epoch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from scaling_law.experiment.crossing import amount_for
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.groups import of_commonest, of_one_recipe, of_one_size
from scaling_law.experiment.seeds import Mean, best_on_others, jackknifed, paired
from scaling_law.experiment.text_amounts import amount_of
from scaling_law.spec.data import DataSpec
from scaling_law.spec.run import RunSpec

PLAIN, NEW = "plain", "new text"
MASKING, REPLACING = "masking", "replacing"
SWAPPING, SHIFTING = "swapping", "shifting"
NOISE = (MASKING, REPLACING)
KINDS = (*NOISE, SWAPPING, SHIFTING)  # ways of changing the text
WORDS = {
    PLAIN: "as it is",
    NEW: "new text",
    MASKING: "tokens masked",
    REPLACING: "tokens replaced",
    SWAPPING: "words swapped",
    SHIFTING: "cut elsewhere",
}

BySeed = Mapping[int, float]


@dataclass(frozen=True, order=True)
class Arm:
    """One way of reading the text.

    ``kind`` is how its epochs differ: not at all (``PLAIN``), one of ``KINDS``, or no token is read
    twice (``NEW``); ``share`` is how much of it is changed, 0 where there is no such share;
    ``decay`` is the weight decay.
    """

    kind: str
    share: float
    decay: float

    @property
    def text(self) -> str:
        """``10% of tokens masked``."""
        return f"{self.share:.0%} of {WORDS[self.kind]}" if self.share else WORDS[self.kind]

    @property
    def name(self) -> str:
        """The name in measures: ``masking10``."""
        return self.kind.replace(" ", "_") + (f"{100 * self.share:g}" if self.share else "")


# The shares by which objectives change what training reads: the setting's kind and default.
_SHARES = {
    "next_token": {},
    "noised": {"mask": (MASKING, 0.0), "replace": (REPLACING, 0.0)},
    "swapped_words": {"share": (SWAPPING, 0.1)},
}


def arm_of(spec: RunSpec) -> Arm | None:
    """The arm that a run is one seed of; None for one that changes its text in other ways."""
    objective = spec.objective_component
    if not isinstance(spec.data, DataSpec) or objective.name not in _SHARES:
        return None
    given = dict(objective.settings)
    changes = []
    for key, (kind, default) in _SHARES[objective.name].items():
        if share := float(given.get(key, default)):
            changes.append((kind, share))
    if spec.data.windows is not None:
        changes.append((SHIFTING, 0.0))
    if amount_of(spec) is None:
        changes.append((NEW, 0.0))
    if len(changes) > 1:
        return None
    kind, share = changes[0] if changes else (PLAIN, 0.0)
    return Arm(kind, share, spec.optim.weight_decay)


@dataclass(frozen=True)
class ChangedText:
    """What the runs show.

    ``losses`` are in nats per token on unchanged validation text, by arm, tokens read and seed;
    ``unique`` is how many tokens differ in a text that is read again.
    """

    losses: Mapping[Arm, Mapping[int, BySeed]] = field(default_factory=dict)
    unique: int = 0

    @property
    def decays(self) -> list[float]:
        """The weight decays of plain repeats, the lowest first."""
        return sorted({arm.decay for arm in self.losses if arm.kind == PLAIN})

    @property
    def strong(self) -> float | None:
        """The strong weight decay; None where there is one weight decay."""
        return self.decays[-1] if len(self.decays) > 1 else None

    @property
    def most(self) -> int:
        """The most tokens that plain repeats read."""
        return max(self.horizons(PLAIN), default=0)

    def horizons(self, kind: str) -> list[int]:
        """The tokens that runs of a kind read, under the usual weight decay."""
        arms = self.arms(kind)
        return sorted({tokens for arm in arms for tokens in self.losses[arm]})

    def arms(self, *kinds: str, decay: float | None = None) -> list[Arm]:
        """The arms of some kinds, by default under the usual weight decay."""
        if decay is None:
            decay = min(self.decays, default=0.0)
        return [arm for arm in sorted(self.losses) if arm.kind in kinds and arm.decay == decay]

    def of(self, arms: Sequence[Arm], tokens: Iterable[int]) -> dict[int, float]:
        """The losses of the best of some arms and numbers of tokens, by seed.

        Of each seed it is the loss of the choice that is best on average over the others; of a
        single choice all seeds count. {} where fewer than two seeds have all of the choices.
        """
        return best_on_others(
            [by for arm in arms for n in tokens if (by := self.losses[arm].get(n))]
        )

    def ends(self, *kinds: str, decay: float | None = None) -> dict[int, float]:
        """The losses of the best of some kinds at the most epochs, by seed."""
        return self.of(self.arms(*kinds, decay=decay), [self.most])

    def gain(self, *kinds: str, decay: float | None = None) -> list[float]:
        """How far the best of some kinds ends below plain repeats, of each seed with both."""
        return below(self.ends(*kinds, decay=decay), self.ends(PLAIN, decay=decay))

    @property
    def gap(self) -> list[float]:
        """How far new text ends below plain repeats, of each seed with both."""
        return below(self.ends(NEW), self.ends(PLAIN))

    def closed(self, *kinds: str) -> Mean | None:
        """The share of the gap to new text that the best of some kinds closes.

        It is the mean gain over the mean gap, of all seeds with both, whichever sign a seed's own
        gap has. None where the mean gap is not above 0; without an interval where it is not without
        one of the seeds.
        """
        plain, new, ours = self.ends(PLAIN), self.ends(NEW), self.ends(*kinds)
        seeds = sorted(plain.keys() & new.keys() & ours.keys())

        def share(of: Sequence[int]) -> float | None:
            gap = sum(plain[seed] - new[seed] for seed in of)
            return sum(plain[seed] - ours[seed] for seed in of) / gap if gap > 0 else None

        whole = share(seeds)
        without = [share([one for one in seeds if one != seed]) for seed in seeds]
        known = [one for one in without if one is not None]
        if whole is None:
            return None
        if len(known) < len(seeds):
            return Mean(value=whole, interval=None, seeds=len(seeds))
        return jackknifed(whole, known)

    @property
    def best(self) -> str | None:
        """The kind that ends lowest, on average over seeds."""
        ends = {kind: by for kind in KINDS if (by := self.ends(kind))}
        return min(ends, key=lambda kind: fmean(ends[kind].values()), default=None)

    def worth(self, arm: Arm) -> list[float]:
        """The new tokens that end at an arm's loss at the most epochs, of each seed that shows it.

        They are read off straight lines between the runs on new text, in logarithms.
        """
        new = next(iter(self.arms(NEW)), None)
        curves = self.losses[new] if new else {}
        worths = []
        for seed, loss in sorted(self.losses[arm].get(self.most, {}).items()):
            curve = {float(n): by[seed] for n, by in curves.items() if seed in by}
            if (tokens := amount_for(curve, loss)) is not None:
                worths.append(tokens)
        return worths


def below(ours: BySeed, theirs: BySeed) -> list[float]:
    """How far ours are below theirs, of each seed with both."""
    return paired(theirs, ours)


def read_changed(evidence: Evidence) -> ChangedText:
    """Return the losses of the runs on text, of the commonest amount that is read again.

    An arm's runs have one objective, that of most of them: others may differ in settings that an
    ``Arm`` does not tell, such as the id of a mark.
    """
    losses: dict[Arm, dict[int, dict[int, float]]] = {}
    varied = ("objective", "data.windows", "optim.weight_decay")
    runs = of_one_size(of_one_recipe(evidence.ended, *varied))
    amounts = [amount for run in runs if (amount := amount_of(run.spec)) is not None]
    unique = max(set(amounts), key=amounts.count, default=0)
    by_arm: dict[Arm, list[Run]] = {}
    for run in runs:
        arm = arm_of(run.spec)
        if arm is not None and amount_of(run.spec) in (unique, None):
            by_arm.setdefault(arm, []).append(run)
    for arm, ones in by_arm.items():
        for run in of_commonest(ones, [run.spec.objective_component for run in ones]):
            if (loss := run.record.val_loss_nats) is not None:
                losses.setdefault(arm, {}).setdefault(run.spec.tokens, {})[run.spec.seed] = loss
    return ChangedText(losses, unique)
