"""Swapped pairs: what a network that has memorised a + b knows of b + a.

    slaw run swapped_pairs
    slaw report results/swapped_pairs     # accuracy on held-out pairs when the others are memorised

A random split of pairs may train on (a, b) and hold (b, a) out. A network that ignores the order of
the two predicts such a pair as soon as it has memorised the other, which looks like generalising
and is not. Here swapped pairs fall apart in some runs and are held out together in others
(``data.swapped_together``), of a transformer and of an MLP, whose hidden layer has weights of its
own for each place. Power 2022 (arXiv 2201.02177) sees that symmetric operations need less data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from scaling_law.data.tasks.modular_addition import Settings as Task
from scaling_law.experiment import Experiment, Outcome, Planted, planted_point
from scaling_law.experiment.answer import (
    Decision,
    all_decided,
    answer,
    beside,
    claim,
    decided,
    need,
)
from scaling_law.experiment.evidence import Evidence
from scaling_law.experiment.figures import figure
from scaling_law.experiment.findings import (
    AGAIN,
    Claim,
    Figure,
    Findings,
    Published,
    Table,
)
from scaling_law.experiment.groups import every, grouped, left_out, task_settings
from scaling_law.experiment.memorising import (
    GENERALISED,
    MEMORISED,
    Learned,
    accuracy_panel,
    learned,
    middle_time,
)
from scaling_law.experiment.proportion import counted_share
from scaling_law.experiment.seeds import Time, log_falls, median_over, ratio, shares
from scaling_law.spec.run import RunSpec
from scaling_law.units import count_of

MOST = 0.5  # of the held-out pairs whose swapped pair was trained on
SILENT = 0.1  # accuracy on validation below which a run has only memorised
ALIKE = 2.0  # times the steps to generalise, up to which two settings take as long
SAME = 0.01  # shares of pairs that differ by less count as one
NETWORKS = {"gpt": "transformer", "mlp": "MLP"}


@dataclass(frozen=True, order=True)
class Setting:
    """What a group of seeds has in common.

    ``model`` is the architecture;
    ``together`` says whether swapped pairs are in the same split;
    ``share`` is the share of all pairs that is trained on.
    """

    model: str
    together: bool
    share: float

    @property
    def way(self) -> str:
        """``together`` or ``apart``: where swapped pairs are."""
        return "together" if self.together else "apart"

    @property
    def name(self) -> str:
        """The name in measures: ``gpt.apart.share0.553``."""
        return f"{self.model}.{self.way}.share{self.share:g}"

    @property
    def distinct(self) -> float:
        """The share trained on of the pairs that differ by more than their order."""
        return self.share if self.together else 1 - (1 - self.share) ** 2


Groups = Mapping[Setting, Sequence[Learned]]


def setting_of(spec: RunSpec) -> Setting | None:
    """The setting that a run is one seed of; None for a run of another task."""
    task = task_settings(spec, "modular_addition", Task)
    if task is None:
        return None
    return Setting(spec.model.architecture.name, task.swapped_together, task.train_frac)


def groups_of(evidence: Evidence) -> Groups:
    """What the runs of each setting did, settings in order."""
    pairs = ((setting_of(run.spec), learned(run)) for run in evidence.ended)
    return grouped((setting, one) for setting, one in pairs if setting and one)


def analyse(evidence: Evidence) -> Findings:
    """Return what is known of swapped pairs on memorising, and whether they count as data."""
    groups = groups_of(evidence)
    claims = (_knows(groups), _mlp(groups), _distinct(groups), _same_share(groups))
    measures: dict[str, float | None] = {}
    for setting, ones in groups.items():
        measures[f"known.{setting.name}"] = median_over([one.on_memorising for one in ones])
        measures[f"memorise_steps.{setting.name}"] = middle_time(ones, "memorised").step
        measures[f"generalise_steps.{setting.name}"] = middle_time(ones, "generalised").step
    return answer(
        claims,
        lambda: _words(claims, groups),
        measures=measures,
        tables=(_table(groups) if groups else None,),
        figures=(_accuracies(groups),),
        literature=_literature(groups),
        notes=left_out(evidence, len(every(groups)), "of another task or without accuracies"),
        units={"known": "share of all other pairs"},
    )


def _of(groups: Groups, model: str, *, together: bool) -> dict[Setting, Sequence[Learned]]:
    """The runs of one model and one way. Claims need two seeds of each that have memorised."""
    chosen = {s: ones for s, ones in groups.items() if (s.model, s.together) == (model, together)}
    what = f"{NETWORKS[model]} with swapped pairs {'together' if together else 'apart'}"
    need(bool(chosen), f"no run of a {what} finished", AGAIN)
    for ones in chosen.values():
        need(len(ones) > 1, f"{count_of(len(ones), 'seed')} of a {what} finished", AGAIN)
        late = sum(one.on_memorising is None for one in ones)
        need(
            not late,
            f"{late} of {len(ones)} seeds of a {what} have not memorised",
            f"each must predict {MEMORISED:g} of its training pairs: more steps",
        )
    return chosen


def _apart(groups: Groups) -> tuple[Setting, Sequence[Learned]]:
    """The runs of the transformer whose swapped pairs are apart, on the smallest share of pairs."""
    return next(iter(_of(groups, "gpt", together=False).items()))


def _known(ones: Sequence[Learned]) -> list[float]:
    return [one.on_memorising or 0.0 for one in ones]


def _knows(groups: Groups) -> Claim:
    def decide() -> Decision:
        setting, ones = _apart(groups)
        together = [
            x for group in _of(groups, "gpt", together=True).values() for x in _known(group)
        ]
        least = MOST * setting.share
        words = (
            f"on memorising it predicts {shares(_known(ones))} of all other pairs where about"
            f" {setting.share:.2f} of them have their swapped pair among those of training,"
            f" {shares(together)} where none has"
        )
        each = {
            f"over {least:.2f}": [known - least for known in _known(ones)],
            f"under {SILENT:g} where none has": [SILENT - known for known in together],
        }
        return all_decided(each, f"{words}:", show=lambda mean: mean.text)

    return claim(
        "transformer_knows_swapped_pairs",
        "a transformer that has memorised a pair predicts the swapped one, and no others",
        decide,
    )


def _mlp(groups: Groups) -> Claim:
    def decide() -> Decision:
        apart, together = (_of(groups, "mlp", together=way) for way in (False, True))
        known = {
            way: [x for group in settings.values() for x in _known(group)]
            for way, settings in ((False, apart), (True, together))
        }
        words = (
            f"on memorising it predicts {shares(known[False])} of all other pairs with swapped"
            f" pairs apart, {shares(known[True])} with swapped pairs together; under {SILENT:g} by"
        )
        below = [SILENT - one for one in known[False]]
        task = task_settings(apart[min(apart)][0].run.spec, "modular_addition", Task)
        assert task is not None, "a setting is one of modular addition"
        # all other pairs count as if they were drawn from more of their kind
        counted = counted_share(known[False][0], task.modulus**2 - task.train_pairs)
        return decided(below, words, show=lambda mean: mean.text, counted=counted.below(SILENT))

    return claim(
        "mlp_does_not",
        "an MLP that has memorised a pair does not predict the swapped one",
        decide,
    )


@dataclass(frozen=True)
class _Beside:
    """A transformer with swapped pairs apart beside one with them together, equal in a share.

    ``apart`` and ``together`` are their settings; ``first`` and ``second`` are when their median
    seeds generalise.
    """

    apart: Setting
    together: Setting
    first: Time
    second: Time


def _need_beside(groups: Groups, share_of: Callable[[Setting], float], says: str) -> _Beside:
    """The two that are equal in ``share_of``, behind the precondition that both were trained.

    ``says`` is the verb of a setting with such a share of the pairs.
    """
    setting, ones = _apart(groups)
    together = _of(groups, "gpt", together=True)
    other = next((s for s in together if abs(share_of(s) - share_of(setting)) < SAME), None)
    need(
        other is not None,
        f"no run with swapped pairs together {says} {share_of(setting):.0%} of the pairs",
        AGAIN,
    )
    assert other is not None
    times = (middle_time(seeds, "generalised") for seeds in (ones, together[other]))
    return _Beside(setting, other, *times)


def _distinct(groups: Groups) -> Claim:
    def decide() -> Decision:
        both = _need_beside(groups, lambda setting: setting.distinct, "is trained on")
        times = ratio(both.second, both.first)
        need(
            times is not None,
            "half of the seeds of one of them have not generalised",
            "train for longer",
        )
        assert times is not None
        return 1 / ALIKE <= times <= ALIKE, (
            f"{both.first.text} steps with {both.apart.share:.0%} of the pairs and swapped ones"
            f" apart, {both.second.text} with {both.together.share:.0%} and swapped ones together"
        )

    return claim(
        "distinct_pairs_count",
        "with as many pairs that differ by more than their order, a transformer takes as long to"
        f" generalise (within {ALIKE:g} times), whether swapped pairs are apart or together",
        decide,
    )


def _same_share(groups: Groups) -> Claim:
    def decide() -> Decision:
        both = _need_beside(groups, lambda setting: setting.share, "has")
        first, second = both.first, both.second
        need(
            first.step is not None and (second.step is not None or second.within >= first.step),
            "half of the seeds have not generalised",
            "train for longer",
        )
        words = f"{first.text} steps with swapped pairs apart, {second.text} together"
        sooner, later = (
            {one.run.spec.seed: one.generalised for one in groups[setting]}
            for setting in (both.apart, both.together)
        )
        pairs = [(later[seed], sooner[seed]) for seed in sorted(later.keys() & sooner)]
        falls = log_falls(pairs)
        need(falls is not None, f"{words}: seeds never generalise", "train for longer")
        never = any(late.step is None for late, _ in pairs)
        said = f"{words}: later by a factor of{' at least' if never else ''}"
        return decided(falls or (), said, show=lambda mean: mean.factor.text)

    return claim(
        "swapped_pairs_are_no_data",
        "with the same share of all pairs, a transformer generalises later where the pairs of"
        " training hold more swapped ones",
        decide,
    )


def _words(claims: Sequence[Claim], groups: Groups) -> str:
    if not claims[0].established:
        return (
            "A transformer that has memorised its pairs knows more or less than the swapped pairs:"
            f" {claims[0].because}."
        )
    setting, ones = _apart(groups)
    words = (
        f"A transformer that has memorised {setting.share:.0%} of the pairs predicts"
        f" {shares(_known(ones))} of all others at once: those whose swapped pair it has memorised"
    )
    standing = {one.name: one.established for one in claims}
    if standing["mlp_does_not"]:
        words += "; an MLP predicts none of them"
    if standing["distinct_pairs_count"] and standing["swapped_pairs_are_no_data"]:
        words += (
            "; pairs that differ only by their order are no data to a transformer, so that its"
            " swapped pairs are to be held out together"
        )
    return f"{words}."


def _table(groups: Groups) -> Table:
    return Table(
        caption=f"Steps to {MEMORISED:.0%} accuracy on the training pairs (memorise) and to"
        f" {GENERALISED:.0%} on all others (generalise), medians over seeds, and the accuracy on"
        " all others on memorising; the share of pairs trained on, of all and of those that differ"
        " by more than their order",
        head=(
            "network", "swapped pairs", "share of all", "of those that differ", "seeds",
            "memorise", "others known then", "generalise",
        ),
        rows=tuple(
            (
                NETWORKS.get(setting.model, setting.model),
                setting.way,
                f"{setting.share:.0%}",
                f"{setting.distinct:.0%}",
                len(ones),
                middle_time(ones, "memorised").text,
                shares(_known(ones)),
                middle_time(ones, "generalised").text,
            )
            for setting, ones in groups.items()
        ),
        text_columns=2,
    )  # fmt: skip


def _accuracies(groups: Groups) -> Figure | None:
    """Accuracy against steps: training dashed, validation solid."""
    panels = [
        accuracy_panel(
            f"{NETWORKS.get(s.model, s.model)}, {s.share:.0%} of the pairs, {s.way}",
            [one.run for one in ones],
        )
        for s, ones in groups.items()
    ]
    return figure(
        "swapped_pairs_accuracy",
        "Accuracy with swapped pairs apart and together",
        "Each line is a seed.",
        panels,
    )


def _literature(groups: Groups) -> tuple[Published, ...]:
    apart = [ones for s, ones in groups.items() if s.model == "gpt" and not s.together]
    return (
        beside(
            "a transformer ignores the order of two numbers that are added",
            theirs="symmetric operations need less data, perhaps because it easily does",
            ours=f"on memorising it predicts {shares(_known(apart[0]))} of all other pairs"
            if apart
            else None,
            source="Power 2022, arXiv 2201.02177",
        ),
    )


def _planted(spec: RunSpec) -> Outcome:
    """Runs that memorise at step 50, and generalise the later the fewer distinct pairs they have.

    A transformer then knows the swapped pairs. An MLP knows nothing.
    """
    setting = setting_of(spec)
    assert setting is not None, "planted in the experiment's own plan"
    transformer = setting.model == "gpt"
    late = 400 * (0.8 / setting.distinct) ** 3 if transformer else math.inf
    known = setting.share if transformer and not setting.together else 0.02
    curve = []
    for step in range(10, spec.total_steps + 1, 10):
        low = known if step >= 50 else 0.02
        accuracies = {
            "accuracy.train": 1.0 if step >= 50 else 0.5,
            "accuracy.val": 1.0 if step >= late * (1 + 0.05 * spec.seed) else low,
        }
        curve.append(planted_point(spec, step, accuracies))
    return Outcome(curve=tuple(curve), metrics=curve[-1].metrics)


EXPERIMENT = Experiment(
    question="Does a network that has memorised a pair know the swapped one, and does that count as"
    " data?",
    reproduces="Power 2022 (symmetric operations need less data)",
    parts={
        "source": ("modular_addition",),
        "architecture": ("gpt", "mlp"),
        "probe": ("accuracy",),
    },
    analyse=analyse,
    planted=Planted(
        outcome=_planted,
        measures={
            "known.gpt.apart.share0.553": (0.55, 0.56),
            "known.gpt.together.share0.8": (0.01, 0.03),
            "known.mlp.apart.share0.553": (0.01, 0.03),
            "generalise_steps.gpt.apart.share0.553": (420, 430),
        },
        claims={
            "transformer_knows_swapped_pairs": True,
            "mlp_does_not": True,
            "distinct_pairs_count": True,
            "swapped_pairs_are_no_data": True,
        },
    ),
)
