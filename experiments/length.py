"""Length: what position encodings make of sequences longer than those of training.

    slaw run length                   # copying up to 6 symbols; rotary, learned, ALiBi, none
    slaw report results/length        # exact match and loss to twice the length; two laws; figures

Press 2022 (arXiv 2108.12409) compares position encodings beyond the trained length; Chen 2023
(arXiv 2306.15595) moves the positions together until the longest sequence reaches no further than
those of training. ``length_training`` asks what training changes.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

from scaling_law.data.tasks.copy import Settings as Task
from scaling_law.experiment import Experiment, Outcome, Planted
from scaling_law.experiment.answer import (
    Decision,
    answer,
    beside,
    claim,
    decided,
    decided_between,
    need,
)
from scaling_law.experiment.evidence import Evidence
from scaling_law.experiment.figures import figure
from scaling_law.experiment.findings import (
    Axis,
    Claim,
    Figure,
    Findings,
    Panel,
    Published,
    Series,
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
    copied,
    copying,
    means_by_ratio,
    measures_of,
    need_able,
    ratio_series,
    ratios_of,
    rows_of,
)
from scaling_law.experiment.proportion import counted_fall, counted_share
from scaling_law.experiment.seeds import best_on_others, shares
from scaling_law.experiment.trends import Fit, Trend, fit_logistic, fit_power, held_out
from scaling_law.spec.model import ModelSpec
from scaling_law.spec.run import RunSpec

FAR = 1.5  # times the trained length
HALF = 0.5  # exact match, below which copying fails
DROP = 0.4  # of exact match, one symbol beyond the trained length
GAIN = 0.1  # of exact match, by interpolation, at the length that gains most
LAWS: Mapping[str, Fit] = {"power": fit_power, "logistic": fit_logistic}

Groups = Mapping[str, Sequence[Scored]]  # by position encoding


def groups_of(evidence: Evidence) -> dict[str, list[Scored]]:
    """What the runs do, by position encoding."""
    return grouped(
        # without positions there is nothing to interpolate
        (model.position, dataclasses.replace(one, moved={}) if model.position == "none" else one)
        for _, model, _, one in copied(evidence, Task)
    )


def analyse(evidence: Evidence) -> Findings:
    """Return what is left beyond the trained length, by position encoding."""
    groups = groups_of(evidence)
    claims = (
        *(_fails(groups, position) for position in _NAMES),
        _learned_drops(groups),
        _order(groups),
        _interpolated(groups, "rotary"),
        _interpolated(groups, "learned"),
        _law(groups),
    )
    unused = left_out(evidence, len(every(groups)), "of another task or without answers")
    return answer(
        claims,
        lambda: _words(claims, groups),
        measures=_measures(groups),
        tables=(_table(groups), _law_table(groups)) if groups else (),
        figures=(_by_position(groups), _laws_drawn(groups)),
        literature=_literature(groups),
        notes=_notes(groups) + unused,
    )


def _fails(groups: Groups, position: str) -> Claim:
    def decide() -> Decision:
        ones = need_able(groups.get(position, ()), f"with {_NAMES[position]}")
        far = [max(one.exact[n] for n in one.longer if n >= FAR * one.trained) for one in ones]
        words = f"at the length they copy best {shares(far)}; below {HALF} by"
        each = [HALF - value for value in far]
        counted = counted_share(far[0], ones[0].items).below(HALF)
        return decided(each, words, show=lambda mean: mean.text, counted=counted)

    return claim(
        f"fails_beyond_{position}",
        f"with {_NAMES[position]} runs that have learned the task copy less than half of the"
        f" sequences without a mistake from {FAR} times the trained length on",
        decide,
    )


def _next(one: Scored) -> float:
    """Exact match at the first length beyond the trained one."""
    return one.exact[one.longer[0]]


def _learned_drops(groups: Groups) -> Claim:
    def decide() -> Decision:
        ones = need_able(groups.get("learned", ()), "with learned positions")
        drops = [one.exact[one.trained] - _next(one) for one in ones]
        each, words = [drop - DROP for drop in drops], f"by {shares(drops)}; over {DROP} by"
        one = ones[0]
        counted = counted_fall(one.exact[one.trained], _next(one), one.items).above(DROP)
        return decided(each, words, show=lambda mean: mean.text, counted=counted)

    return claim(
        "learned_positions_end",
        f"with learned positions exact match falls by more than {DROP} one symbol beyond the"
        " trained length",
        decide,
    )


def _order(groups: Groups) -> Claim:
    def decide() -> Decision:
        ours, theirs = (
            [one.beyond for one in need_able(groups.get(position, ()), f"with {name}")]
            for position, name in (("alibi", "ALiBi"), ("rotary", "rotary positions"))
        )
        words = (
            f"{shares(ours)} after {_steps_text(groups['alibi'])} steps against {shares(theirs)}"
            f" after {_steps_text(groups['rotary'])}, the mean over all longer lengths"
        )
        return decided_between(ours, theirs, f"{words}: more by", show=lambda mean: mean.text)

    return claim(
        "alibi_goes_further",
        "beyond the trained length a transformer with ALiBi copies more sequences without a mistake"
        " than one with rotary positions",
        decide,
    )


def _steps_text(ones: Sequence[Scored]) -> str:
    """``2,700``: the steps that runs are trained for, ``900 to 2,700`` where they differ."""
    steps = sorted({one.steps for one in ones})
    return " to ".join(f"{step:,}" for step in (steps[0], steps[-1])[: len(steps)])


def _interpolated(groups: Groups, position: str) -> Claim:
    def decide() -> Decision:
        ones = need_able(groups.get(position, ()), f"with {position} positions")
        need(
            all(one.moved for one in ones),
            "interpolated positions are not measured",
            "it needs the probe interpolated",
        )
        costs = [
            {seed: one.exact[n] - one.moved[n] for seed, one in enumerate(ones)}
            for n in ones[0].moved
        ]
        gains = [-cost for cost in best_on_others(costs).values()]
        words = (
            f"by {shares(gains)} at the length that gains most in the other seeds; over {GAIN} by"
        )
        return decided([gain - GAIN for gain in gains], words, show=lambda mean: mean.text)

    return claim(
        f"interpolation_helps_{position}",
        f"with {position} positions interpolation raises exact match at some longer length by more"
        f" than {GAIN}",
        decide,
    )


def _errors(groups: Groups, measure: str) -> dict[str, float | str]:
    """The rms error of each law at held-out lengths of rotary positions, or why there is none."""
    points = means_by_ratio(able(groups.get("rotary", ())), measure)
    return {law: held_out(fit, points) for law, fit in LAWS.items()}


def _seed_errors(one: Scored, measure: str) -> dict[str, float | str]:
    """The same of the laws through one run."""
    points = means_by_ratio([one], measure)
    return {law: held_out(fit, points) for law, fit in LAWS.items()}


def _law(groups: Groups) -> Claim:
    def decide() -> Decision:
        need_able(groups.get("rotary", ()), "with rotary positions")
        errors = _errors(groups, "exact")
        each = [_seed_errors(one, "exact") for one in able(groups.get("rotary", ()))]
        for error in itertools.chain(errors.values(), *(own.values() for own in each)):
            need(not isinstance(error, str), str(error), "it needs more lengths (data.longer)")
        power, logistic = float(errors["power"]), float(errors["logistic"])
        return decided(
            [float(own["power"]) - float(own["logistic"]) for own in each],
            f"rms of the means {logistic:.3f} against {power:.3f}; through each seed lower by",
            show=lambda mean: mean.text,
        )

    return claim(
        "logistic_predicts",
        "with rotary positions a logistic curve predicts exact match at held-out lengths better"
        " than a (L_test / L_train)^-alpha + b",
        decide,
    )


def _words(claims: Sequence[Claim], groups: Groups) -> str:
    good = {p: ones for p, group in groups.items() if len(ones := able(group)) > 1}
    one = next(iter(good.values()))[0]
    rates = ", ".join(
        f"{shares([_next(one) for one in ones])} with {_NAMES[position]}"
        for position, ones in good.items()
    )
    words = (
        f"Trained on up to {one.trained} symbols, a transformer copies {one.longer[0]} without a"
        f" mistake at a rate of {rates}"
    )
    standing = {one.name: one.established for one in claims}
    if fails := [_NAMES[p] for p in good if standing[f"fails_beyond_{p}"]]:
        words += (
            f", and at less than half from {FAR} times the trained length on with"
            f" {' and '.join(fails)}"
        )
    for position, group in groups.items():
        if (count := len(able(group))) < 2:
            words += f"; {count} of {len(group)} seeds with {_NAMES[position]}"
            words += f" {'has' if count == 1 else 'have'} learned to copy"
    helps = [p for p in ("rotary", "learned") if standing[f"interpolation_helps_{p}"]]
    if helps:
        words += f"; interpolation helps {' and '.join(helps)} positions"
    return f"{words}."


_NAMES = {
    "rotary": "rotary positions",
    "learned": "learned positions",
    "alibi": "ALiBi",
    "none": "no positions",
}


def _measures(groups: Groups) -> dict[str, float | None]:
    measures: dict[str, float | None] = {}
    for position, ones in groups.items():
        measures |= measures_of(position, ones)
    for measure in ("exact", "loss") if groups else ():
        for law, error in _errors(groups, measure).items():
            key = f"held_out_rms.{law}.{measure}"
            measures[key] = error if isinstance(error, float) else None
    return measures


def _table(groups: Groups) -> Table:
    ratios = ratios_of(every(groups))
    rows = [
        row
        for position, ones in groups.items()
        for row in rows_of((_NAMES[position],), ones, ratios)
    ]
    return Table(
        caption="Exact match by length over trained length: means over the seeds that have learned"
        f" the task ({LEARNED:.0%} of the longest training sequences), or over all where none has",
        head=("positions", *COLUMNS, *(f"{ratio:.3g}" for ratio in ratios)),
        rows=tuple(rows),
        text_columns=2,
    )


def _fits(groups: Groups, measure: str) -> dict[str, Trend | str]:
    points = means_by_ratio(able(groups.get("rotary", ())), measure)
    return {law: fit(points) for law, fit in LAWS.items()}


def _law_table(groups: Groups) -> Table:
    rows = []
    for measure, words in (("exact", "exact match"), ("loss", "loss (nats per symbol)")):
        errors = _errors(groups, measure)
        for law, trend in _fits(groups, measure).items():
            error = errors[law]
            text = trend if isinstance(trend, str) else trend.text
            rows.append((words, law, text, error if isinstance(error, str) else f"{error:.3g}"))
    return Table(
        caption="Rotary positions against x, length over trained length, by two laws: fitted to all"
        " lengths, and the rms error at each longer length, fitted without it",
        head=("measure", "law", "fit", "rms at held-out lengths"),
        rows=tuple(rows),
        text_columns=3,
    )


def _by_position(groups: Groups) -> Figure | None:
    """Exact match and loss against length, by position encoding."""
    good = {position: ones for position, group in groups.items() if (ones := able(group))}
    shown = (
        ("as trained", "exact", EXACT),
        ("positions interpolated", "moved", EXACT),
        ("loss, as trained", "loss", Axis(label="nats per symbol", scale="log")),
    )
    return figure(
        "length_position",
        "Copying beyond the trained length, by position encoding",
        "Means over the seeds that have learned the task, with 90% intervals.",
        [
            Panel(
                title=title,
                x=RATIO,
                y=axis,
                series=tuple(ratio_series(_NAMES[p], ones, measure) for p, ones in good.items()),
            )
            for title, measure, axis in shown
        ],
    )


def _laws_drawn(groups: Groups) -> Figure | None:
    """Both laws through the points of rotary positions."""
    panels = []
    for measure, axis in (("exact", EXACT), ("loss", Axis(label="nats per symbol"))):
        points = means_by_ratio(able(groups.get("rotary", ())), measure)
        series = [Series(label="measured", points=tuple(points.items()), line=False)]
        for law, trend in _fits(groups, measure).items():
            if isinstance(trend, Trend):
                low, high = min(points), max(points)
                xs = [low + (high - low) * part / 60 for part in range(61)]
                drawn = tuple((x, trend.at(x)) for x in xs)
                series.append(Series(label=law, points=drawn, marks=False))
        panels.append(Panel(x=RATIO, y=axis, series=tuple(series)))
    return figure(
        "length_laws",
        "A power law and a logistic curve through exact match and loss, rotary positions",
        "Points: means over the seeds that have learned the task.",
        panels,
    )


def _literature(groups: Groups) -> tuple[Published, ...]:
    def ours(*positions: str, moved: bool = False) -> str | None:
        said = []
        for position in positions:
            ones = [one for one in able(groups.get(position, ())) if one.moved or not moved]
            if not ones:
                return None
            text = f"{_NAMES[position]} {shares([_next(one) for one in ones])}"
            text += " (one seed)" if len(ones) == 1 else ""
            said.append(
                f"{text}, interpolated {shares([one.moved[one.longer[0]] for one in ones])}"
                if moved
                else text
            )
        return f"exact match at one symbol more: {'; '.join(said)}"

    return (
        beside(
            "ALiBi and rotary positions beyond the trained length",
            theirs="ALiBi goes on to twice the length and more, rotary fails (perplexity of text)",
            ours=ours("alibi", "rotary"),
            source="Press 2022, arXiv 2108.12409",
        ),
        beside(
            "no position encoding beyond the trained length",
            theirs="further than rotary and ALiBi (copying and other tasks)",
            ours=ours("none", "rotary"),
            source="Kazemnejad 2023, arXiv 2305.19466",
        ),
        beside(
            "interpolated positions, without further training",
            theirs="perplexity of text stays low where that of longer positions explodes (rotary)",
            ours=ours("rotary", "learned", moved=True),
            source="Chen 2023, arXiv 2306.15595",
        ),
    )


def _notes(groups: Groups) -> list[str]:
    notes = []
    if "learned" in groups:
        notes.append(
            "learned positions beyond the trained length have their initial random vectors;"
            " interpolated ones lie between trained vectors"
        )
    if len({one.steps for one in every(groups)}) > 1:
        listed = ", ".join(f"{_NAMES[p]} {_steps_text(ones)}" for p, ones in groups.items())
        notes.append(
            f"the encodings are not trained equally long (steps: {listed}), so that a difference"
            " between them may be one of training"
        )
    return notes


def _planted(spec: RunSpec) -> Outcome:
    """Exact match falls as a logistic curve of the ratio; learned positions end at once."""
    task = copying(spec, Task)
    assert task is not None and isinstance(spec.model, ModelSpec)
    middle = 1.3 + 0.01 * spec.seed + 0.1 * (spec.model.position == "alibi")
    metrics = {"answers.val.exact": 1.0}
    for length in task.longer:
        ratio, split = length / task.length, f"val:length-{length}"
        exact = 1 / (1 + (ratio / middle) ** 20)
        metrics[f"answers.{split}.exact"] = 0.0 if spec.model.position == "learned" else exact
        metrics[f"interpolated.{split}.exact"] = 1 / (1 + (ratio / middle / 1.15) ** 20)
        metrics[f"loss.{split}"] = 0.01 + 2 * (ratio - 1) ** 2
    return Outcome(val_loss_nats=0.01, metrics=metrics)


EXPERIMENT = Experiment(
    question=(
        "Does a transformer that copies short sequences copy longer ones, and which positions do"
        " best?"
    ),
    reproduces="Press 2022 (ALiBi), Chen 2023 (interpolation), Kazemnejad 2023",
    parts={"source": ("copy",), "probe": ("answers", "interpolated")},
    analyse=analyse,
    planted=Planted(
        outcome=_planted,
        measures={
            "learned.rotary": (1, 1),
            "exact.learned.at7": (0, 0),
            "exact.rotary.at8": (0.35, 0.45),
            "held_out_rms.logistic.exact": (0, 0.01),
        },
        claims={
            "fails_beyond_rotary": True,
            "fails_beyond_learned": True,
            "fails_beyond_alibi": True,
            "learned_positions_end": True,
            "alibi_goes_further": True,
            "interpolation_helps_rotary": True,
            "interpolation_helps_learned": True,
            "logistic_predicts": True,
        },
    ),
)
