"""Annealing: is text like the target worth more in the cooldown than early or spread over a run?

    slaw run annealing
    slaw report results/annealing    # what a late token is worth, what the rest loses; two figures

Runs read as much of the target's text at different times: in the cooldown, at the beginning, or
spread evenly. Cooldowns branch off one trunk for each seed. Constant shares give the loss on the
target by its share, from which the share that a late or an early reader is worth is read off, by
straight lines in its logarithm. A seed has the same first weights and the same order of each
component's text in every run, and each difference has the noise of its own pairs of seeds.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Annotated

from scaling_law.errors import did_you_mean, quoted
from scaling_law.experiment import Experiment, Outcome, Planted, planted_point
from scaling_law.experiment.answer import Decision, all_decided, answer, beside, claim, need
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.figures import figure, mean_series
from scaling_law.experiment.findings import (
    AGAIN,
    Axis,
    Claim,
    Figure,
    Findings,
    Panel,
    Published,
    Series,
    Table,
)
from scaling_law.experiment.groups import left_out
from scaling_law.experiment.reading_times import EARLY, LATE, LOSS, SPREAD, Seen, read_run
from scaling_law.experiment.seeds import mean_over, with_ends
from scaling_law.spec.run import RunSpec
from scaling_law.spec.values import Text


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the analysis; ``target`` is the component that runs are to be good at."""

    target: Annotated[str, Text("the component that runs are to be good at")] = "cpp"


def refusal(settings: Settings, components: tuple[str, ...]) -> str:
    """Why the target does not fit a text; "" where it does."""
    if settings.target in components:
        return ""
    there = f"; there are {', '.join(components)}" if components else "; a task has none"
    return (
        f"target: no component is called {quoted(settings.target)}"
        f"{did_you_mean(settings.target, components)}{there}"
    )


def read(evidence: Evidence) -> Seen:
    """Return what the runs show."""
    target = getattr(evidence.settings, "target", Settings.target)
    reads = (read_run(run, target) for run in evidence.ended)
    return Seen(reads=tuple(one for one in reads if one is not None), target=target)


def analyse(evidence: Evidence) -> Findings:
    """Return what text of the target is worth by when it is read."""
    seen = read(evidence)
    target = seen.target
    claims = (
        _compare(seen, "late_beats_spread", LATE, "target",
                 f"{target} read in the cooldown gives a lower loss on {target} than as much spread"
                 " over the run"),
        _compare(seen, "early_loses_to_spread", EARLY, "target", lower=False, says=
                 f"{target} read at the beginning gives a higher loss on {target} than as much"
                 " spread over the run"),
        _compare(seen, "late_costs_the_rest", LATE, "rest", lower=False, says=
                 f"the other components end higher where {target} is read in the cooldown"),
        _compare(seen, "some_late_lowers_the_mean", LATE, "mean", pick=min, says=
                 f"the smallest part of {target} in the cooldown lowers the mean of {target} and"
                 " the rest"),
        _compare(seen, "all_late_raises_the_mean", LATE, "mean", lower=False, pick=max, says=
                 f"the largest part of {target} in the cooldown raises the mean of {target} and the"
                 " rest"),
        _counts(seen, "late_counts_more", LATE, "in the cooldown", more=True),
        _counts(seen, "early_counts_less", EARLY, "at the beginning", more=False),
    )  # fmt: skip
    return answer(
        claims,
        lambda: _words(seen),
        measures=_measures(seen),
        tables=(_table(seen),),
        figures=(_share_figure(seen), _course_figure(seen, evidence)),
        literature=_literature(seen),
        notes=[*_notes(seen), *left_out(evidence, len(seen.reads), "without a mixture to read")],
        units={"gain": "nats per token", "worth": "tokens"},
    )


def _need_pairs(seen: Seen, when: str, loss: str) -> dict[float, list[float]]:
    need(bool(seen.of(when)), f"no run that reads {seen.target} {when} has finished", AGAIN)
    gains = seen.gains(when, loss)
    need(bool(gains), f"no run spreads as much {seen.target} as one that reads it {when}", AGAIN)
    need(min(map(len, gains.values())) > 1, "one seed has finished of some share", AGAIN)
    return gains


def _compare(
    seen: Seen,
    name: str,
    when: str,
    loss: str,
    says: str,
    *,
    lower: bool = True,
    pick: Callable[[Iterable[float]], float] | None = None,
) -> Claim:
    """A claim that runs end lower, or higher, than those that spread as much of the target.

    It holds at every amount of the target's text, or at the one that ``pick`` takes.
    """

    def decide() -> Decision:
        gains = _need_pairs(seen, when, loss)
        if pick is not None:
            share = pick(gains)
            gains = {share: gains[share]}
        side = 1 if lower else -1
        each = {
            f"with {share:.0%} of the run's tokens": [side * value for value in values]
            for share, values in gains.items()
        }
        return all_decided(each, "below by" if lower else "above by")

    return claim(name, says, decide)


def _counts(seen: Seen, name: str, when: str, words: str, *, more: bool) -> Claim:
    """The claim that an extra token is worth more, or less, than one spread over the run."""

    def decide() -> Decision:
        _need_pairs(seen, when, "target")
        mean = seen.mean_worth(when)
        need(
            mean is not None,
            f"no constant share ends at the loss of a run that reads {when}",
            "larger constant shares",
        )
        assert mean is not None
        need(mean.interval is not None, "one seed has finished", AGAIN)
        assert mean.interval is not None
        low, high = mean.interval
        need(not low <= 1 <= high, f"worth {mean.text}: 1 lies in it", "more seeds")
        return low > 1 if more else high < 1, f"worth {mean.text} of those"

    says = f"an extra token of {seen.target} {words} is worth {'more' if more else 'less'} than one"
    return claim(name, f"{says} spread over the run", decide)


def _words(seen: Seen) -> str:
    share = max(seen.gains(LATE, "target"))
    ends, worth = [], []
    for when, words in ((LATE, "in the cooldown"), (EARLY, "at the beginning")):
        if values := seen.gains(when, "target").get(share):
            ends.append(f"{_apart(values)} when it is read {words}")
        if mean := seen.mean_worth(when):
            worth.append(f"{mean.text} {words}")
    said = (
        f"Runs read {seen.target} as {share:.0%} of their tokens. Against runs that spread it"
        f" evenly, the loss on {seen.target} ends {' and '.join(ends)}"
    )
    if values := seen.gains(LATE, "rest").get(share):
        said += (
            f"; the loss on the rest ends {_apart(values)} when {seen.target} is read in"
            " the cooldown"
        )
    if worth:
        said += (
            f". Over all amounts, one extra token of {seen.target} is worth this many evenly spread"
            f" ones: {', '.join(worth)}"
        )
    return f"{said}."


def _apart(gains: Sequence[float]) -> str:
    """``0.020 (0.014 to 0.026) nats lower``: how far a loss ends from that of spread text."""
    side = 1 if fmean(gains) > 0 else -1
    mean = mean_over([side * gain for gain in gains])
    ends = " ({:.3f} to {:.3f})".format(*mean.interval) if mean and mean.interval else ""
    return f"{abs(fmean(gains)):.3f}{ends} nats {'lower' if side > 0 else 'higher'}"


def _measures(seen: Seen) -> dict[str, float | None]:
    measures: dict[str, float | None] = {}
    for when in (LATE, EARLY):
        measures |= with_ends(f"worth.{when}", seen.mean_worth(when))
        for loss in ("target", "rest", "mean"):
            for share, values in seen.gains(when, loss).items():
                measures |= with_ends(f"gain.{when}.{loss}.{share:g}", mean_over(values))
    return measures


def _table(seen: Seen) -> Table | None:
    rows = []
    for when in (SPREAD, LATE, EARLY):
        worth = seen.worth(when) if when != SPREAD else {}
        for share, ones in seen.of(when).items():
            own = list(worth.get(share, {}).values())
            rows.append(
                (
                    when,
                    f"{share:.0%}",
                    *(
                        f"{fmean(getattr(one, loss) for one in ones.values()):.4f}"
                        for loss in ("target", "rest", "mean")
                    ),
                    f"{fmean(own):.2f}" if own else "-",
                    str(len(ones)),
                )
            )
    if not rows:
        return None
    return Table(
        caption=f"When and how much {seen.target} is read; losses in nats per token, means over"
        " seeds; what an extra token is worth in spread ones",
        head=("read", "share", f"loss on {seen.target}", "on the rest", "mean", "worth", "seeds"),
        rows=tuple(rows),
    )


_WORDS = {SPREAD: "spread over the run", LATE: "most in the cooldown", EARLY: "most at first"}


def _share_figure(seen: Seen) -> Figure | None:
    panels = []
    for loss, title in (("target", f"loss on {seen.target}"), ("rest", "loss on the rest")):
        series = [
            mean_series(
                words,
                {
                    share: [getattr(one, loss) for one in ones.values()]
                    for share, ones in seen.of(when).items()
                },
            )
            for when, words in _WORDS.items()
        ]
        panels.append(
            Panel(
                title=title,
                x=Axis(label=f"share of {seen.target} in the run's tokens"),
                y=Axis(label="nats per token"),
                series=tuple(series),
            )
        )
    caption = "Means over seeds at equal amounts of text; only the time of reading differs."
    return figure("annealing_share", "The same text, read at other times", caption, panels)


def _course_figure(seen: Seen, evidence: Evidence) -> Figure | None:
    """The losses along one seed's runs with the largest share that was read at every time."""
    shares = set.intersection(*(set(seen.of(when)) for when in _WORDS))
    if not shares:
        return None
    largest = max(shares)
    metrics = dict.fromkeys(
        name for one in seen.reads for name in one.run.record.metrics if name.startswith(LOSS)
    )
    panels = []
    for metric in sorted(metrics):
        series = []
        for when, words in _WORDS.items():
            ones = seen.of(when)[largest]
            series.append(_course(ones[min(ones)].run, metric, words, evidence))
        panels.append(
            Panel(
                title=metric.removeprefix(LOSS),
                x=Axis(label="step"),
                y=Axis(label="loss, nats per token"),
                series=tuple(series),
            )
        )
    caption = (
        f"One seed, {largest:.0%} of {seen.target}, without the first quarter. Before the cooldown"
        " the line of its runs is that of their trunk."
    )
    return figure("annealing_course", "The losses during training", caption, panels)


def _course(run: Run, metric: str, words: str, evidence: Evidence) -> Series:
    """A run's losses after its first quarter, those of its trunk before its branch."""
    branch, curve = run.spec.branch, list(run.curve)
    if branch is not None:
        trunks = (one for one in evidence.runs if one.record.run_id == branch.trunk_id)
        curve += [p for one in trunks for p in one.curve if p.step <= branch.at_step]
    points = sorted(
        (float(point.step), point.metrics[metric])
        for point in curve
        if metric in point.metrics and point.step >= run.spec.total_steps / 4
    )
    return Series(label=words, points=tuple(points), marks=False)


def _literature(seen: Seen) -> tuple[Published, ...]:
    late = seen.mean_worth(LATE)
    gains = seen.gains(LATE, "target")
    return (
        beside(
            "the target's text in the cooldown alone",
            theirs="a lower loss and higher scores than in fine-tuning after it (2.4B parameters)",
            ours=", ".join(f"{-fmean(v):+.3f} nats at {share:.0%}" for share, v in gains.items())
            or None,
            source="Hu 2024 (MiniCPM), arXiv 2404.06395, section 5",
        ),
        beside(
            "a token of it at the end, against one spread over the run",
            theirs="scores rise where the last 10 to 20% of training read more of it (7B)",
            ours=f"{late.text} tokens" if late else None,
            source="Blakeney 2024, arXiv 2406.03476",
        ),
    )


def _notes(seen: Seen) -> Iterator[str]:
    outside = seen.beyond()
    if outside:
        yield (
            f"runs whose loss on {seen.target} no constant share of their seed has: {len(outside)};"
            f" of these {sum(outside)} are read off the nearest line, made up to twice as long"
        )


_WORTH: Mapping[str, float] = {LATE: 2.6, EARLY: 0.4, SPREAD: 1.0}


def _planted_outcome(spec: RunSpec) -> Outcome:
    """Losses that fall with the shares; late tokens of the target count more, early ones less."""
    assert spec.mix is not None, "every run has a mixture"
    shares = [dict(phase.shares or ()) for phase in spec.mix.phases]
    own = [each.get("cpp", 0.0) for each in shares]
    steps = [*spec.mix_steps(), spec.total_steps]
    whole = sum(s * (b - a) for s, (a, b) in zip(own, itertools.pairwise(steps), strict=True))
    share, base = whole / spec.total_steps, min(own)
    when = SPREAD if own[0] == own[-1] else LATE if own[-1] > own[0] else EARLY
    worth = base + _WORTH[when] * (share - base)
    noise = 1 + 5e-4 * math.sin(1 + 7 * spec.seed + 30 * share)
    metrics = {
        f"{LOSS}cpp": (2.6 + 0.4 * math.exp(-3 * worth)) * noise,
        f"{LOSS}py-code": (2.4 + 0.2 * worth) * noise,
        f"{LOSS}py-docs": (2.5 + 0.2 * worth) * noise,
    }
    points = (planted_point(spec, step, metrics) for step in (spec.total_steps // 2, steps[-1]))
    return Outcome(val_loss_nats=2.5, metrics=metrics, curve=tuple(points))


EXPERIMENT = Experiment(
    question="Is text like the target worth more in the cooldown than early or spread over a run?",
    reproduces="Hu 2024 (MiniCPM), Blakeney 2024 (upsampling at the end)",
    settings=Settings,
    refusal=refusal,
    reads_mixture=True,
    analyse=analyse,
    planted=Planted(
        outcome=_planted_outcome,
        measures={"worth.late": (2.4, 2.9), "worth.early": (0.3, 0.5)},
        claims={
            "late_beats_spread": True,
            "early_loses_to_spread": True,
            "late_costs_the_rest": True,
            "late_counts_more": True,
            "early_counts_less": True,
        },
    ),
)
