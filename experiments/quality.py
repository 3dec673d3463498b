"""Quality: how much good text is text worth of which a share is spoiled.

    slaw run quality
    slaw report results/quality     # the exponent of quality, slopes and offsets; two figures

The same documents are read with a share q of them spoiled in four ways (the rule ``spoil`` of
``data.clean``), and every run is scored on the same good text. D_eff is the number of good tokens
at which training on good text alone ends at the same loss, read off the runs of the same seed: a
loss just below that of the most good tokens counts more than these, as a loss above counts less.
Notes that circulate guess D_eff = Q^2 D with Q = 1 - q, and give no source; here that guess stands
beside a fitted power of Q and beside a weight w for each spoiled token, D_eff = (Q + w q) D, by how
well each predicts a share that it was not fitted to. Horizons of one share branch from one trunk.
"""

from __future__ import annotations

import itertools
import math
from statistics import fmean

from scaling_law.data.cleaners.spoil import Settings as Spoil
from scaling_law.experiment import Experiment, Outcome, Planted
from scaling_law.experiment.answer import (
    Decision,
    all_decided,
    answer,
    beside,
    claim,
    decided,
    need,
)
from scaling_law.experiment.effective_share import (
    SHAPES,
    SQUARE,
    held_out,
    power_of,
    proportion_of,
    weight_of,
)
from scaling_law.experiment.evidence import Evidence
from scaling_law.experiment.figures import figure, log_axis, mean_series
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
from scaling_law.experiment.groups import left_out, of_one_recipe, of_one_size, rule_settings
from scaling_law.experiment.power_law import SURE, misfit_chance
from scaling_law.experiment.seeds import (
    Mean,
    geometric_mean,
    mean_over,
    mean_text,
    paired,
    with_ends,
)
from scaling_law.experiment.spoiled_text import BEYOND, Seen
from scaling_law.experiment.text_amounts import reads_part
from scaling_law.spec.data import DataSpec
from scaling_law.spec.run import RunSpec
from scaling_law.units import format_count

WIDE = 1.0  # an exponent whose interval is wider is not determined
NARROW = 0.5  # the same of the power of D in D_eff


def share_of(spec: RunSpec) -> float | None:
    """The share of documents that are spoiled; None for a run on a task or on part of a text."""
    if not isinstance(spec.data, DataSpec) or reads_part(spec):
        return None
    if any(rule.name != "spoil" for rule in spec.data.clean or ()):
        return None
    spoil = rule_settings(spec, "spoil", Spoil)
    return 0.0 if spoil is None else spoil.share


def read(evidence: Evidence) -> Seen:
    """Return the losses of the runs on good and on spoiled text."""
    losses: dict[float, dict[int, dict[int, float]]] = {}
    for run in of_one_size(of_one_recipe(evidence.ended, "data.clean")):
        share, loss = share_of(run.spec), run.record.val_loss_nats
        if share is not None and loss is not None:
            losses.setdefault(share, {}).setdefault(run.spec.tokens, {})[run.spec.seed] = loss
    return Seen(losses)


def analyse(evidence: Evidence) -> Findings:
    """Return what spoiled text is worth, and how the law of loss changes with it."""
    seen = read(evidence)
    used = sum(len(of) for by in seen.losses.values() for of in by.values())
    notes = left_out(
        evidence, used, "on part of a text, of other rules, of another size or recipe, or on a task"
    )
    if unknown := seen.unknown():
        notes.append(
            "runs on spoiled text whose loss no number of good tokens has, up to"
            f" {BEYOND:g} times the most: {unknown}"
        )
    return answer(
        (
            _costs(seen, "spoiled_text_costs", "the most spoiled text costs loss", steps=False),
            _costs(
                seen,
                "each_share_costs",
                "each further share of spoiled documents costs loss",
                steps=True,
            ),
            _square_claim(seen),
            _shape(seen),
            _proportional(seen),
            _factor(seen),
            _offset(seen),
        ),
        lambda: _words(seen),
        measures=_measures(seen),
        tables=(_table(seen),),
        figures=(_loss_figure(seen), _worth_figure(seen)),
        literature=_literature(seen),
        notes=notes,
        units={"held_out": "of a logarithm", "above": "nats per token", "ratio": "share"},
    )


def _need_runs(seen: Seen) -> None:
    need(0.0 in seen.losses, "no run on good text has finished", AGAIN)
    need(len(seen.shares) > 1, "no run on spoiled text has finished", AGAIN)
    need(len(seen.seeds) > 1, "one seed has finished", AGAIN)


def _costs(seen: Seen, name: str, says: str, steps: bool) -> Claim:
    """The claim that the most spoiled text costs loss, or each step from one share to the next."""

    def decide() -> Decision:
        _need_runs(seen)
        above = {share: seen.above(share, seen.most) for share in seen.shares[1:]}
        lacking = [f"{share:.0%}" for share, values in above.items() if len(values) < 2]
        need(not lacking, f"fewer than two seeds of {', '.join(lacking)} spoiled", AGAIN)
        where = f"at {format_count(seen.most)} tokens"
        if not steps:
            most = seen.shares[-1]
            return decided(above[most], f"{where}, {most:.0%} spoiled, above by")
        moves = {
            f"from {less:.0%} to {more:.0%}": seen.above(more, seen.most, less)
            for less, more in itertools.pairwise(seen.shares)
        }
        return all_decided(moves, f"{where} above by")

    return claim(name, says, decide)


def _need_power(seen: Seen) -> Mean:
    _need_runs(seen)
    mean = seen.over_seeds(power_of, seen.most) if seen.most else None
    need(
        mean is not None and mean.interval is not None,
        f"fewer than two seeds have D_eff at three shares of {format_count(seen.most)} tokens",
        "fewer tokens of good text, so that every loss lies between two of its losses",
    )
    assert mean is not None
    return mean


def _square_claim(seen: Seen) -> Claim:
    def decide() -> Decision:
        mean = _need_power(seen)
        assert mean.interval is not None
        low, high = mean.interval
        inside = low <= SQUARE <= high
        words = f"the power is {mean.text} at {format_count(seen.most)} tokens"
        need(not inside or high - low < WIDE, f"{words}, too wide to tell", "more seeds")
        return inside, words

    return claim(
        "square_of_quality",
        f"at the most tokens D_eff is Q^{SQUARE:g} D, as circulates, within error",
        decide,
    )


def _errors(seen: Seen) -> dict[str, dict[int, float]]:
    """The held-out errors of each shape at the most tokens, by seed."""
    errors: dict[str, dict[int, float]] = {}
    for name, shape in SHAPES.items():
        errors[name] = {
            seed: error
            for seed, ratios in seen.at(seen.most).items()
            if (error := held_out(ratios, shape)) is not None
        }
    return errors


def _shape(seen: Seen) -> Claim:
    def decide() -> Decision:
        _need_power(seen)
        errors = _errors(seen)
        words = ", ".join(
            f"{name} {math.expm1(fmean(by.values())):.0%}" for name, by in errors.items()
        )
        gains = paired(errors["power"], errors["weight"])
        return decided(gains, f"{words}: in logarithms less by", show=lambda mean: mean.text)

    return claim(
        "a_weight_predicts_better",
        "at the most tokens a weight for each spoiled token predicts other shares better than a"
        " power of Q",
        decide,
    )


def _proportional(seen: Seen) -> Claim:
    def decide() -> Decision:
        _need_power(seen)
        mean = seen.over_seeds(proportion_of)
        need(mean is not None and mean.interval is not None, "one number of tokens", AGAIN)
        assert mean is not None and mean.interval is not None
        low, high = mean.interval
        words = f"D_eff ~ D^{mean.text}"
        inside = low <= 1 <= high
        need(not inside or high - low < NARROW, f"{words}, too wide to tell", "more seeds")
        return inside, words

    return claim(
        "in_proportion", "at one share of spoiled documents D_eff is in proportion to D", decide
    )


def _moved(seen: Seen) -> tuple[bool, str]:
    """Whether the worst text leaves the slope of L(D) as it is, in logarithms and within error."""
    _need_runs(seen)
    good, worst = seen.slopes(0.0), seen.slopes(seen.shares[-1])
    moves = mean_over(paired(worst, good))
    need(
        moves is not None and moves.interval is not None,
        "fewer than two seeds have three horizons of both",
        AGAIN,
    )
    assert moves is not None and moves.interval is not None
    slope = fmean(good[seed] for seed in good.keys() & worst.keys())
    words = (
        f"the slope in logarithms is {slope:.3f} on good text, and moves by {moves.text} at"
        f" {seen.shares[-1]:.0%} spoiled"
    )
    low, high = moves.interval
    need(
        not low <= 0 <= high or high - low < abs(slope) / 4,
        f"{words}, too wide to tell",
        "more seeds, or more horizons",
    )
    return low <= 0 <= high, words


def _factor(seen: Seen) -> Claim:
    return claim(
        "same_factor",
        "the worst text raises the loss by the same factor at every number of tokens",
        lambda: _moved(seen),
    )


def _offset(seen: Seen) -> Claim:
    def decide() -> Decision:
        same, words = _moved(seen)
        for share in (0.0, seen.shares[-1]):
            chance = misfit_chance(seen.shared(share))
            need(
                chance is not None and chance >= SURE,
                f"{words}, but at {share:.0%} spoiled the losses are on no power law"
                + ("" if chance is None else f" (by chance with probability {chance:.2g})"),
                "horizons over which L(D) is a power law",
            )
        return same, words

    return claim(
        "offset_not_slope", "worse text leaves the exponent of the power law L(D) as it is", decide
    )


def _words(seen: Seen) -> str:
    most = format_count(seen.most)
    means = [f"{mean.text} at {q:.0%}" for q, mean in _ratio_means(seen).items()]
    words = (
        f"{most} tokens of text are worth this part of as many good ones, by the share of documents"
        f" that are spoiled: {', '.join(means) or 'not known'}"
    )
    powers = {
        tokens: mean
        for tokens in sorted({d for ratios in seen.ratios.values() for _, d in ratios})
        if (mean := seen.over_seeds(power_of, tokens)) is not None
    }
    if seen.most not in powers:
        return f"{words}. What shape that has is not established."
    words += f". As a power of the good share Q that is Q^{powers[seen.most].text}"
    words += ", not Q^2" if _square_claim(seen).established is False else ""
    least = min(powers)
    if least < seen.most:
        words += f"; of {format_count(least)} tokens it is Q^{powers[least].value:.2f}"
    return f"{words}."


def _ratio_means(seen: Seen) -> dict[float, Mean]:
    """D_eff / D at each share and the most tokens, as geometric means over seeds."""
    means = {}
    for share in seen.shares[1:]:
        key = (share, seen.most)
        if logs := [math.log(ratios[key]) for ratios in seen.ratios.values() if key in ratios]:
            means[share] = geometric_mean(logs)
    return means


def _measures(seen: Seen) -> dict[str, float | None]:
    measures: dict[str, float | None] = {}
    for name, value, tokens in (
        ("power", power_of, seen.most),
        ("weight", weight_of, seen.most),
        ("proportion", proportion_of, None),
    ):
        mean = seen.over_seeds(value, tokens)
        measures |= with_ends(name, mean)
    for tokens in sorted({d for ratios in seen.ratios.values() for _, d in ratios}):
        mean = seen.over_seeds(power_of, tokens)
        measures[f"power.d{tokens}"] = mean.value if mean else None
    for name, by in _errors(seen).items():
        measures[f"held_out.{name}"] = fmean(by.values()) if by else None
    for share, mean in _ratio_means(seen).items():
        measures |= with_ends(f"ratio.q{100 * share:g}", mean)
    for share in seen.shares:
        measures |= with_ends(
            f"slope.q{100 * share:g}", mean_over(list(seen.slopes(share).values()))
        )
    most = max(seen.losses.get(0.0, {0: {}}))
    for share in seen.shares[1:]:
        measures |= with_ends(f"above.q{100 * share:g}", mean_over(seen.above(share, most)))
    return measures


def _table(seen: Seen) -> Table | None:
    rows = []
    for share in seen.shares:
        for tokens in sorted(seen.losses[share]):
            logs = [
                math.log(r[share, tokens]) for r in seen.ratios.values() if (share, tokens) in r
            ]
            rows.append(
                (
                    f"{share:.0%}",
                    format_count(tokens),
                    mean_text(seen.losses[share][tokens].values()),
                    geometric_mean(logs).text if logs else "-",
                )
            )
    if not rows:
        return None
    return Table(
        caption="Loss on good text in nats per token by share of spoiled documents, and D_eff / D",
        head=("spoiled", "tokens", "loss", "D_eff / D"),
        rows=tuple(rows),
        text_columns=2,
    )


def _loss_figure(seen: Seen) -> Figure | None:
    series = tuple(
        mean_series(
            f"{share:.0%} spoiled" if share else "good text",
            {float(d): list(of.values()) for d, of in sorted(seen.losses[share].items())},
        )
        for share in seen.shares
    )
    panel = Panel(
        x=log_axis("tokens read"), y=Axis(label="loss on good text, nats per token"), series=series
    )
    title = "The loss by the share of spoiled documents"
    caption = (
        "Means over seeds. At one loss, good text needs fewer tokens: their share is D_eff / D."
    )
    return figure("quality_loss", title, caption, [panel])


def _worth_figure(seen: Seen) -> Figure | None:
    tokens = sorted({d for ratios in seen.ratios.values() for _, d in ratios})
    series = []
    for d in tokens:
        points = {
            1 - q: [r[q, d] for r in seen.ratios.values() if (q, d) in r] for q in seen.shares[1:]
        }
        label = f"{format_count(d)} tokens"
        series.append(mean_series(label, points, geometric=True, line=False))
    lines: dict[str, float] = {"Q^2, as circulates": SQUARE}
    if seen.most and (power := seen.over_seeds(power_of, seen.most)) is not None:
        lines[f"Q^{power.value:.2f}, the power at {format_count(seen.most)}"] = power.value
    worst = max(seen.shares, default=0.0)
    for label, exponent in lines.items():
        goods = [1 - worst * k / 40 for k in range(41)]
        shape = tuple((good, good**exponent) for good in goods)
        series.append(Series(label=label, points=shape, marks=False, dashed=True))
    panel = Panel(
        x=Axis(label="share of good documents, Q"),
        y=log_axis("D_eff / D", (0.05, 0.1, 0.2, 0.5, 1)),
        series=tuple(series),
    )
    caption = "Points: geometric means over seeds with their intervals; broken: powers of Q."
    return figure("quality", "What spoiled text is worth", caption, [panel]) if tokens else None


def _literature(seen: Seen) -> tuple[Published, ...]:
    power = seen.over_seeds(power_of, seen.most) if seen.most else None
    slopes = (
        [seen.slopes(share) for share in (seen.shares[0], seen.shares[-1])] if seen.most else []
    )
    return (
        beside(
            "power of the good share in effective data, at the most tokens",
            theirs="2",
            ours=power.text if power else None,
            source="notes that circulate; no publication known to us",
        ),
        beside(
            "the exponent of L(D) on good and on the worst text",
            theirs="other text moves the offset alone (other validation text, not training text)",
            ours=" and ".join(f"{fmean(by.values()):.3f}" for by in slopes)
            if all(slopes) and slopes
            else None,
            source="Kaplan 2020, arXiv 2001.08361, section 3.2.2",
        ),
    )


_WEIGHT = 0.2


def _planted(spec: RunSpec) -> Outcome:
    """A power of the effective tokens, of which a spoiled one counts ``_WEIGHT``."""
    share = share_of(spec) or 0.0
    worth = spec.tokens * (1 - share + _WEIGHT * share)
    wave = math.sin(1 + 5 * spec.seed + 7 * math.log(spec.tokens) + 50 * share)
    return Outcome(val_loss_nats=12 * worth**-0.12 * (1 + 5e-4 * wave))


EXPERIMENT = Experiment(
    question="How much good text is text worth of which a share is spoiled?",
    parts={"cleaner": ("spoil",)},
    analyse=analyse,
    planted=Planted(
        outcome=_planted,
        measures={"weight": (_WEIGHT - 0.03, _WEIGHT + 0.03), "proportion": (0.95, 1.05)},
        claims={
            "spoiled_text_costs": True,
            "each_share_costs": True,
            "square_of_quality": False,
            "a_weight_predicts_better": True,
            "in_proportion": True,
            "same_factor": True,
            "offset_not_slope": True,
        },
    ),
)
