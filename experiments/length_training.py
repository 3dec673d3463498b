"""Length and training: what changes how far a transformer copies beyond its training sequences.

    slaw run length_training          # the trained length, lengths that rise, sequences in reverse
    slaw report results/length_training

A two-layer transformer with rotary positions, as in ``length``, which compares position encodings.
Lengths that rise are a curriculum (Bengio 2009, ICML): training begins with single symbols, and its
longest sequences grow until they are those of the other runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from scaling_law.data.tasks.copy import Settings as Task
from scaling_law.experiment import Experiment, Outcome, Planted, planted_point
from scaling_law.experiment.answer import (
    Decision,
    all_within,
    answer,
    beside,
    claim,
    decided_between,
    need,
)
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.figures import curve_series, figure
from scaling_law.experiment.findings import (
    AGAIN,
    Axis,
    Claim,
    Figure,
    Findings,
    Panel,
    Published,
    Table,
)
from scaling_law.experiment.groups import every, grouped, left_out
from scaling_law.experiment.lengths import (
    COLUMNS,
    EXACT,
    LEARNED,
    RATIO,
    Scored,
    able,
    by_ratio,
    copied,
    copying,
    means_by_ratio,
    measures_of,
    need_able,
    ratio_series,
    ratios_of,
    rows_of,
)
from scaling_law.experiment.seeds import Time, first_time, median_time, shares
from scaling_law.spec.run import RunSpec

SAME = 0.1  # largest difference of exact match that counts as none


@dataclass(frozen=True, order=True)
class Setting:
    """What a group of seeds has in common.

    ``trained`` is the most symbols in training; ``reverse`` says whether they are given back in
    reverse, ``rises`` whether the lengths of training rise.
    """

    trained: int
    reverse: bool = False
    rises: bool = False

    @property
    def name(self) -> str:
        """The name in measures: ``copy6``, ``reverse6``, ``rising6``."""
        word = "reverse" if self.reverse else "rising" if self.rises else "copy"
        return f"{word}{self.trained}"

    @property
    def words(self) -> str:
        """The name for readers."""
        if self.reverse:
            return "in reverse"
        return "copy, lengths rise" if self.rises else "copy"


@dataclass(frozen=True)
class Seen:
    """What one run does: ``run`` itself, its answers by length, and when it learned the task."""

    run: Run
    scored: Scored
    learned: Time


Groups = Mapping[Setting, Sequence[Seen]]


def groups_of(evidence: Evidence) -> dict[Setting, list[Seen]]:
    """What the runs with rotary positions do, by setting."""
    pairs = []
    for run, model, task, one in copied(evidence, Task):
        time = first_time(run, "answers.val.exact", LEARNED)
        if model.position == "rotary" and time is not None:
            setting = Setting(task.length, task.reverse, task.ramp is not None)
            pairs.append((setting, Seen(run, one, time)))
    return grouped(pairs)


def _of(groups: Groups, setting: Setting) -> list[Scored]:
    return [one.scored for one in groups.get(setting, ())]


def _plain(groups: Groups) -> dict[int, list[Scored]]:
    """The runs that copy, with all lengths from the start, by trained length."""
    return {s.trained: _of(groups, s) for s in groups if not s.reverse and not s.rises}


def analyse(evidence: Evidence) -> Findings:
    """Return what is left beyond the trained length, by what was trained on."""
    groups = groups_of(evidence)
    claims = (_ratio(groups), _rises(groups), _sooner(groups), _reverse(groups))
    unused = left_out(evidence, len(every(groups)), "of another task or without answers")
    return answer(
        claims,
        lambda: _words(claims),
        measures=_measures(groups),
        tables=(_table(groups),) if groups else (),
        figures=(_beyond_drawn(groups), _curves(groups)),
        literature=_literature(groups),
        notes=_notes(groups) + unused,
    )


def _ratio(groups: Groups) -> Claim:
    def decide() -> Decision:
        plain = {
            trained: need_able(ones, f"with up to {trained} symbols in training")
            for trained, ones in _plain(groups).items()
        }
        need(
            len(plain) > 1,
            f"runs of {len(plain)} trained lengths have finished",
            "it needs two: " + AGAIN,
        )
        curves = {trained: means_by_ratio(ones, "exact") for trained, ones in plain.items()}
        ratios = set.intersection(*(set(curve) for curve in curves.values())) - {1.0}
        need(bool(ratios), "no ratio of lengths is common to all", "it needs one (data.longer)")
        ratio = min(ratios)
        values = {trained: by_ratio(ones, "exact")[ratio] for trained, ones in plain.items()}
        words = ", ".join(f"{fmean(own):.2f} after {trained}" for trained, own in values.items())
        holds, said = all_within(values, SAME, "trained lengths", "more seeds")
        return holds, f"at {ratio:.3g} times: {words} symbols; {said}"

    return claim(
        "ratio_decides",
        "exact match depends on test length over trained length alone: at one ratio it is the same"
        f" for every trained length, within {SAME}",
        decide,
    )


def _against(groups: Groups, way: str) -> tuple[list[Seen], list[Seen]]:
    """The seeds of a way of training that have learned the task, and of plain copying."""
    settings = [setting for setting in groups if getattr(setting, way)]
    need(
        bool(settings),
        f"no run of this way of training ({way}) has finished",
        AGAIN,
    )
    pair = settings[0], Setting(settings[0].trained)
    for setting in pair:
        need_able(_of(groups, setting), f"of {setting.name}")
    ours, theirs = ([one for one in groups[s] if one.scored.learned] for s in pair)
    return ours, theirs


def _further(name: str, says: str, groups: Groups, way: str) -> Claim:
    """Whether a way of training copies more beyond the trained length than plain copying."""

    def decide() -> Decision:
        ours, theirs = ([one.scored.beyond for one in ones] for ones in _against(groups, way))
        words = (
            f"{shares(ours)} against {shares(theirs)}, the mean over all longer lengths: more by"
        )
        return decided_between(ours, theirs, words, show=lambda mean: mean.text)

    return claim(name, says, decide)


def _rises(groups: Groups) -> Claim:
    return _further(
        "rising_lengths_go_further",
        "training whose lengths rise to the same longest ones leaves more beyond them than training"
        " on all lengths from the start",
        groups,
        "rises",
    )


def _sooner(groups: Groups) -> Claim:
    def decide() -> Decision:
        ours, theirs = (
            [float(one.learned.step or one.learned.within) for one in ones]
            for ones in _against(groups, "rises")
        )
        words = f"{_steps(ours)} steps against {_steps(theirs)}: fewer by"
        return decided_between(theirs, ours, words, show=lambda mean: mean.text)

    return claim(
        "rising_lengths_learn_sooner",
        f"training whose lengths rise copies {LEARNED:.0%} of the longest training sequences after"
        " fewer steps",
        decide,
    )


def _steps(values: Sequence[float]) -> str:
    low, high = f"{min(values):g}", f"{max(values):g}"
    return low if low == high else f"{low} to {high}"


def _reverse(groups: Groups) -> Claim:
    return _further(
        "reverse_goes_further",
        "giving sequences back in reverse goes further beyond the trained length than copying",
        groups,
        "reverse",
    )


def _words(claims: Sequence[Claim]) -> str:
    standing = {one.name: one.established for one in claims}
    alone = "alone decides" if standing["ratio_decides"] else "alone does not decide"
    words = (
        f"The ratio of test to trained length {alone} how much is copied without a mistake"
        f" ({claims[0].because.partition(';')[0]})"
    )
    ways = {
        "rising_lengths_go_further": (
            "training on lengths that rise leaves more of the longer sequences right",
            "training on lengths that rise leaves fewer of the longer sequences right",
        ),
        "reverse_goes_further": (
            "more of the longer sequences are right in reverse than copied",
            "fewer of the longer sequences are right in reverse than copied",
        ),
    }
    for name, (holds, fails) in ways.items():
        if (known := standing[name]) is None:
            words += f"; whether {holds} is not established"
        else:
            words += f"; {holds if known else fails}"
    return f"{words}."


def _median(ones: Sequence[Seen]) -> Time:
    middle = median_time([one.learned for one in ones])
    assert middle is not None, "a setting has at least one run"
    return middle


def _measures(groups: Groups) -> dict[str, float | None]:
    measures: dict[str, float | None] = {}
    for setting, ones in groups.items():
        measures |= measures_of(setting.name, _of(groups, setting))
        measures[f"steps_to_learn.{setting.name}"] = _median(ones).step
    return measures


def _table(groups: Groups) -> Table:
    ratios = ratios_of(one.scored for one in every(groups))
    rows = [
        (*row, _median(ones).text)
        for setting, ones in groups.items()
        for row in rows_of((setting.words,), _of(groups, setting), ratios)
    ]
    return Table(
        caption="Exact match by length over trained length, with rotary positions: means over the"
        f" seeds that have learned the task ({LEARNED:.0%} of the longest training sequences), or"
        " over all where none has; median steps to learn it",
        head=("training", *COLUMNS, *(f"{ratio:.3g}" for ratio in ratios), "steps to learn"),
        rows=tuple(rows),
        text_columns=2,
    )


def _beyond_drawn(groups: Groups) -> Figure | None:
    """Exact match against length, by trained length and by way of training."""
    good = {setting: able(_of(groups, setting)) for setting in groups}
    longest_of_ways = max((s.trained for s in groups if s.reverse or s.rises), default=0)
    return figure(
        "length_training_beyond",
        "Copying beyond the trained length with rotary positions",
        "Means over the seeds that have learned the task, with 90% intervals.",
        (
            Panel(
                title="by trained length",
                x=RATIO,
                y=EXACT,
                series=tuple(
                    ratio_series(f"up to {trained} symbols", able(ones), "exact")
                    for trained, ones in _plain(groups).items()
                ),
            ),
            Panel(
                title=f"up to {longest_of_ways} symbols, by training",
                x=RATIO,
                y=EXACT,
                series=tuple(
                    ratio_series(setting.words, ones, "exact")
                    for setting, ones in good.items()
                    if setting.trained == longest_of_ways
                ),
            ),
        ),
    )


def _curves(groups: Groups) -> Figure | None:
    """Exact match at the trained length against steps, by way of training."""
    ways = [s for s in groups if Setting(s.trained, reverse=True) in groups or s.rises]
    series = [
        curve_series(setting.words, one.run, "answers.val.exact")
        for setting in ways
        for one in groups[setting]
    ]
    return figure(
        "length_training_steps",
        "Exact match at the trained length during training",
        "Each line is a seed.",
        (Panel(x=Axis(label="steps"), y=EXACT, series=tuple(series)),),
    )


def _literature(groups: Groups) -> tuple[Published, ...]:
    steps = {
        setting.rises: _median(ones).text
        for setting, ones in groups.items()
        if Setting(setting.trained, rises=True) in groups and not setting.reverse
    }
    ours = f"{steps[True]} against {steps[False]} steps to learn" if len(steps) == 2 else None
    return (
        beside(
            "beginning with easy examples",
            theirs="is learned sooner and generalises better (shapes, language)",
            ours=ours,
            source="Bengio 2009, ICML",
        ),
    )


def _notes(groups: Groups) -> list[str]:
    notes = []
    if any(setting.rises for setting in groups):
        notes.append(
            "where lengths rise, the longest training sequences are seen only towards the end of"
            " the rise, and so for fewer steps"
        )
    return notes


def _planted(spec: RunSpec) -> Outcome:
    """Exact match falls with the ratio of lengths, later where lengths rise, sooner in reverse."""
    task = copying(spec, Task)
    assert task is not None, "planted in the experiment's own plan"
    rises = task.ramp is not None
    middle = 1.3 + 0.01 * spec.seed + 0.1 * rises - 0.1 * task.reverse
    metrics = {"answers.val.exact": 1.0}
    for length in task.longer:
        ratio, split = length / task.length, f"val:length-{length}"
        metrics[f"answers.{split}.exact"] = 1 / (1 + (ratio / middle) ** 20)
        metrics[f"loss.{split}"] = 0.01 + 2 * (ratio - 1) ** 2
    learned = 0.5 * spec.total_steps + 50 * rises + spec.seed
    curve = tuple(
        planted_point(spec, step, {"answers.val.exact": float(step >= learned)})
        for step in range(10, spec.total_steps + 1, 10)
    )
    return Outcome(val_loss_nats=0.01, metrics=metrics, curve=curve)


EXPERIMENT = Experiment(
    question=(
        "Do longer training sequences, growing ones or another order carry further beyond them?"
    ),
    reproduces="Bengio 2009 (curriculum)",
    parts={"source": ("copy",), "probe": ("answers",)},
    analyse=analyse,
    planted=Planted(
        outcome=_planted,
        measures={"exact.copy6.at8": (0.35, 0.45), "steps_to_learn.rising6": (500, 510)},
        claims={
            "ratio_decides": True,
            "rising_lengths_go_further": True,
            "rising_lengths_learn_sooner": False,
            "reverse_goes_further": False,
        },
    ),
)
