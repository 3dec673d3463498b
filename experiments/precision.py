"""What fewer bits cost: in the weights while training, after training, and in formats of 16 and 8.

    slaw run precision
    slaw report results/precision

Weights are rounded to integers of few bits in the products of training (``number_format``), and the
loss says how many parameters without rounding such a model is worth (Kumar 2024, arXiv 2411.04330:
N (1 - e^(-P / gamma))). The same weights are also rounded after a training without rounding (probe
``post_training``), at three horizons: there the paper sees models that read more tokens suffer
more. Formats of 8 bits round weights and activations. fp16 is trained in itself (``precision:
fp16``, whose loss scale follows the gradients), and simulated without a loss scale and with one.

All runs of a size have one learning rate, that of the rule. Rounding is simulated, so that speed
and memory say nothing about hardware that computes in these formats.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

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
from scaling_law.experiment.effective_params import (
    Gamma,
    SizeCurve,
    fit_gamma,
    share_of,
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
from scaling_law.experiment.groups import left_out
from scaling_law.experiment.misfit import Misfit, misfit_of
from scaling_law.experiment.rounded import After, Format, Seen, after_training, format_of, seen_in
from scaling_law.experiment.seeds import Mean, mean_over, pooled_noise, shares
from scaling_law.spec.run import RunSpec
from scaling_law.units import format_bytes, format_count

KUMAR_GAMMA = 2.67  # bits, of weights in training (Kumar 2024, appendix K, table 2)
SAME = 0.01  # share of the loss within which a format counts as good as fp32
LOST = 0.001  # share of the gradient from which on fp16 underflows
WORSE = 2.0  # times the error of a cell by its seeds, from which on a law misses the losses


def analyse(evidence: Evidence) -> Findings:
    """Return what bits cost in training, after it, and in the usual formats."""
    seen = seen_in(evidence)
    laws = _laws(seen)
    after = after_training(seen)
    claims = (
        _fewer_cost(seen),
        _law_fits(seen, laws, "effective_params_law"),
        _law_fits(seen, laws, "law_without_fewest_bits"),
        _one_gamma(seen, laws),
        _kumars_gamma(seen, laws),
        _training_helps(seen),
        _longer_suffers(after),
        _formats_are_as_good(seen),
        _underflows(seen),
    )
    used = sum(map(len, seen.runs.values())) + sum(
        len(seeds)
        for by_params in list(seen.after.values())[:1]
        for by_tokens in by_params.values()
        for seeds in list(by_tokens.values())[:-1]
    )
    return answer(
        claims,
        lambda: _words(seen, laws, claims),
        measures=_measures(seen, laws, after),
        tables=(_bits_table(seen, laws), _format_table(seen), _after_table(seen)),
        figures=(_share_figure(seen, laws), _after_figure(seen)),
        literature=_literature(laws, after),
        notes=[
            *left_out(evidence, used, "without a loss or of a horizon without the probe"),
            "every run has the learning rate of the rule: with few bits another may do better",
        ],
        units={
            "gamma": "bits",
            "share": "share of parameters",
            "rise": "log loss",
            "after": "nats per token",
            "lost": "share of the gradient",
        },
    )


@dataclass(frozen=True)
class Laws:
    """The fitted laws.

    ``every`` is that of all bits; ``above`` is that of the bits from ``least`` on, without the
    fewest.
    """

    every: Gamma | str
    above: Gamma | str
    least: int


def _laws(seen: Seen) -> Laws:
    widths = sorted({bits for _, bits in seen.cells})
    least = widths[1] if len(widths) > 1 else 0
    return Laws(_gamma(seen, seen.cells), _gamma(seen, _from(seen, least)), least)


def _from(seen: Seen, least: int) -> dict[tuple[int, int], list[float]]:
    """The cells of at least so many bits."""
    return {cell: rises for cell, rises in seen.cells.items() if cell[1] >= least}


def _gamma(
    seen: Seen, cells: Mapping[tuple[int, int], Sequence[float]], *, of: int = 1
) -> Gamma | str:
    """The law of cells; ``of`` is how many laws are compared."""
    curve = seen.curve
    if isinstance(curve, str):
        return curve
    means = {cell: fmean(rises) for cell, rises in cells.items()}
    error = _error(cells) if any(len(rises) > 1 for rises in cells.values()) else 0.0
    return fit_gamma(curve, means, error=error, of=of)


def _need_pairs(seen: Seen, cells: Mapping[tuple[int, int], Sequence[float]]) -> None:
    sizes, widths = ({cell[place] for cell in cells} for place in (0, 1))
    need(
        len(sizes) >= 2 and len(widths) >= 2,
        f"{len(sizes)} sizes and {len(widths)} numbers of bits have finished, with and without"
        " rounding",
        "it needs 2 of each: " + AGAIN,
    )
    need(
        min(map(len, cells.values())) > 1,
        "a size has one seed at some number of bits",
        "it needs 2 seeds: " + AGAIN,
    )


def _fewer_cost(seen: Seen) -> Claim:
    cells = seen.cells

    def decide() -> Decision:
        _need_pairs(seen, cells)
        fewest, most = (f(bits for _, bits in cells) for f in (min, max))
        each = {}
        for params in sorted({params for params, _ in cells}):
            low, high = (cells.get((params, bits), []) for bits in (fewest, most))
            if paired := [a - b for a, b in zip(low, high, strict=False)]:
                each[f"at {format_count(params)} parameters"] = paired
        words = f"log loss at {fewest} bits above that at {most} by"
        return all_decided(each, words, show=lambda mean: mean.text)

    return claim(
        "fewer_bits_cost_loss",
        "at every size, weights with the fewest bits end with a higher loss than with the most",
        decide,
    )


def _error(cells: Mapping[tuple[int, int], Sequence[float]]) -> float:
    """The error of log loss that seeds leave in the mean of a cell."""
    return pooled_noise(cells.values()).deviation / math.sqrt(min(map(len, cells.values())))


def _missed(law: Gamma, cells: Mapping[tuple[int, int], Sequence[float]]) -> Misfit:
    """How far a law misses its cells, of which each has two seeds or more."""
    noise = pooled_noise(cells.values())
    need(noise.squares > 0, "all seeds of every cell agree: they give no error", "other seeds")
    return misfit_of(
        law.misfit**2 * law.cells, free=law.cells - 1, error=_error(cells), noise_free=noise.freedom
    )


def _law_fits(seen: Seen, laws: Laws, name: str) -> Claim:
    is_whole = name == "effective_params_law"
    law, cells = (laws.every, seen.cells) if is_whole else (laws.above, _from(seen, laws.least))

    def decide() -> Decision:
        _need_pairs(seen, seen.cells)
        need(isinstance(law, Gamma), str(law), "more sizes, bits or seeds")
        assert isinstance(law, Gamma), "needed above"
        missed = _missed(law, cells)
        words = (
            f"gamma {law.text}; {law.cells} cells lie {law.misfit:.2%} of loss from the law"
            f" (root mean square), and seeds leave an error of {_error(cells):.2%}: the law misses"
            f" by {missed.text}"
        )
        low, high = missed.interval
        need(high <= WORSE or low > WORSE, words, "more seeds, sizes or bits")
        return high <= WORSE, words

    which = "" if is_whole else f" from {laws.least or 'more'} bits on"
    return claim(
        name,
        f"the losses{which} are those of N (1 - e^(-P / gamma)) parameters, within twice the error"
        " that seeds leave",
        decide,
    )


def _need_law(seen: Seen, laws: Laws) -> Gamma:
    """The law without the fewest bits, where its interval says that it fits."""
    _need_pairs(seen, seen.cells)
    law = laws.above
    need(isinstance(law, Gamma), str(law), "more sizes, bits or seeds")
    assert isinstance(law, Gamma), "needed above"
    missed = _missed(law, _from(seen, laws.least))
    need(
        missed.interval[1] <= WORSE,
        f"the law is not shown to fit from {laws.least} bits on (it misses by {missed.text}), so"
        f" that its gamma ({law.text}) means little",
        "more seeds, or a range of bits in which it fits",
    )
    return law


def _one_gamma(seen: Seen, laws: Laws) -> Claim:
    def decide() -> Decision:
        _need_law(seen, laws)
        cells = _from(seen, laws.least)
        sizes = sorted({params for params, _ in cells})
        fitted = {
            size: _gamma(
                seen,
                {cell: rises for cell, rises in cells.items() if cell[0] == size},
                of=len(sizes),
            )
            for size in sizes
        }
        known = {size: one for size, one in fitted.items() if isinstance(one, Gamma)}
        why = next((str(one) for one in fitted.values() if not isinstance(one, Gamma)), "")
        need(not why, why, "more bits or seeds")
        words = "; ".join(f"{format_count(size)}: {one.text}" for size, one in known.items())
        ends = [one.interval for one in known.values()]
        overlap = max(low for low, _ in ends) <= min(high for _, high in ends)
        need(
            not overlap or all(high < 2 * low for low, high in ends),
            f"{words}: the intervals overlap, and are too wide to say that it is the same",
            "more bits or seeds",
        )
        return overlap, words

    return claim(
        "one_gamma_for_all_sizes",
        f"from {laws.least or 'more'} bits on gamma is the same at every size",
        decide,
    )


def _kumars_gamma(seen: Seen, laws: Laws) -> Claim:
    def decide() -> Decision:
        law = _need_law(seen, laws)
        low, high = law.interval
        inside = low <= KUMAR_GAMMA <= high
        need(
            not inside or high < 2 * low,
            f"{law.text} does not exclude {KUMAR_GAMMA}, nor determine it",
            "more sizes, bits or seeds",
        )
        return inside, f"{law.text} from {laws.least} bits on"

    return claim("kumars_gamma", f"gamma is Kumar's, {KUMAR_GAMMA} bits", decide)


def _saved(seen: Seen, bits: int) -> list[float]:
    """By how many nats training with the rounding ends below rounding after it, run by run."""
    kind = next((kind for kind in seen.losses if kind.bits == bits), None)
    saved = []
    for params, seeds in seen.losses[kind].items() if kind else ():
        horizons = seen.after.get(bits, {}).get(params, {})
        rises = horizons.get(max(horizons, default=0), {})
        plain = seen.plain.get(params, {})
        saved += [
            rises[seed] - (loss - plain[seed])
            for seed, loss in seeds.items()
            if seed in rises and seed in plain
        ]
    return saved


def _training_helps(seen: Seen) -> Claim:
    def decide() -> Decision:
        each = {bits: _saved(seen, bits) for bits in sorted({bits for _, bits in seen.cells})}
        known = {bits: saved for bits, saved in each.items() if len(saved) > 1}
        need(bool(known), "no number of bits was rounded in training and after it", AGAIN)
        means = {bits: mean for bits, saved in known.items() if (mean := mean_over(saved))}
        words = [f"at {bits} bits by {_nats(mean, 'runs')}" for bits, mean in means.items()]
        more = "".join(f"; {other}" for other in words[1:])
        fewest = min(known)
        return decided(
            known[fewest],
            f"at {fewest} bits by",
            show=lambda mean: f"{_nats(mean, 'runs')}{more}",
        )

    return claim(
        "training_beats_rounding_after",
        "with the fewest bits, weights that are trained with rounding lose less than those that are"
        " rounded after training",
        decide,
    )


def _longer_suffers(after: After) -> Claim:
    def decide() -> Decision:
        powers = [power for own in after.tokens.values() for power in own]
        need(len(powers) > 1, f"{len(powers)} seeds of a size have three horizons", AGAIN)
        by_size = "; ".join(
            f"{format_count(params)} {fmean(own):+.2f}"
            for params, own in sorted(after.tokens.items())
            if own
        )
        words = (
            f"by parameters {by_size}; the rise at {after.bits} bits goes with tokens to the power"
        )
        return decided(powers, words, show=_two_decimals)

    return claim(
        "longer_training_suffers_more",
        "rounding after training costs more where a model has read more tokens",
        decide,
    )


def _against_plain(seen: Seen, kind: Format) -> Mean | None:
    """The rise of log loss of a format, over sizes and seeds."""
    return mean_over([rise for params in seen.losses[kind] for rise in seen.rises(kind, params)])


def _usual(seen: Seen) -> list[Format]:
    """The formats of 8 bits and more, without those that lack a loss scale."""
    return [kind for kind in sorted(seen.losses) if not kind.is_plain and not kind.bits]


def _formats_are_as_good(seen: Seen) -> Claim:
    def decide() -> Decision:
        means = {kind.name: _against_plain(seen, kind) for kind in _usual(seen)}
        known = {name: mean for name, mean in means.items() if mean and mean.interval}
        need(bool(known), "no format of 8 or 16 bits has two seeds", AGAIN)
        words = "; ".join(f"{name} {_percent(mean)}" for name, mean in known.items())
        ends = [mean.interval for mean in known.values() if mean.interval]
        unsure = any(low < SAME < high for low, high in ends)
        need(not unsure, f"{words}: an interval reaches beyond {SAME:.0%}", "more seeds")
        return all(high <= SAME for _, high in ends), f"loss over fp32's: {words}"

    return claim(
        "eight_bits_are_enough",
        f"formats of 8 and 16 bits end within {SAME:.0%} of the loss of fp32",
        decide,
    )


def _cost_of_no_scale(seen: Seen) -> str:
    """What the loss without a loss scale is over that with one, where both were simulated."""
    halves = {kind.name: kind for kind in seen.losses if kind.name.startswith("float16")}
    plain = halves.pop("float16", None)
    if plain is None or not halves:
        return ""
    (scaled, *_) = halves.values()
    pairs = [
        math.log(loss / seen.losses[scaled][params][seed])
        for params, seeds in seen.losses[plain].items()
        for seed, loss in seeds.items()
        if seed in seen.losses[scaled].get(params, {})
    ]
    mean = mean_over(pairs)
    return f"; the loss without a scale is {_percent(mean)} over that with one" if mean else ""


_LOST_WORDS = "share of the gradient that is 0 without a scale and not with one:"


def _underflows(seen: Seen) -> Claim:
    def decide() -> Decision:
        halves = {kind: own for kind, own in seen.lost.items() if "16" in kind.name}
        plain = [share for kind, own in seen.lost.items() if kind.is_plain for share in own]
        without = {k.name: own for k, own in halves.items() if k.name in ("fp16", "float16")}
        need(bool(without) and bool(plain), "no run in fp16, or none in fp32, has finished", AGAIN)
        if max(plain) > 0 or not any(map(max, without.values())):
            each = "; ".join(f"{name} {_share_text(own)}" for name, own in without.items())
            return False, f"{_LOST_WORDS} {each}; fp32 {_share_text(plain)}"
        none = [name for name, own in without.items() if min(own) == 0]
        need(not none, f"a run in {' and '.join(none)} loses nothing", "more seeds, or more steps")
        logs = {f"in {name}": [math.log(share / LOST) for share in own]
                for name, own in without.items()}  # fmt: skip
        decision, words = all_decided(logs, _LOST_WORDS, show=lambda mean: _share(mean.times(LOST)))
        return decision, f"{words}; fp32 {_share_text(plain)}{_cost_of_no_scale(seen)}"

    return claim(
        "fp16_underflows",
        f"without a loss scale fp16 loses at least {LOST:.1%} of the gradient, and fp32 nothing",
        decide,
    )


def _two_decimals(mean: Mean) -> str:
    """``0.31 (0.10 to 0.52)``."""
    ends = "" if mean.interval is None else " ({:.2f} to {:.2f})".format(*mean.interval)
    return f"{mean.value:.2f}{ends}"


def _share(mean: Mean) -> str:
    """``1.27% (0.31% to 5.23%, 3 seeds)``."""
    ends = "" if mean.interval is None else " ({:.2%} to {:.2%}, ".format(*mean.interval)
    return f"{mean.value:.2%}{ends}{mean.seeds} seeds)"


def _share_text(values: Sequence[float]) -> str:
    return " to ".join(dict.fromkeys(f"{end:.2%}" for end in (min(values), max(values))))


def _nats(mean: Mean, of: str) -> str:
    return f"{mean.text.replace('seeds', of)} nats"


def _percent(mean: Mean) -> str:
    """``+0.31% (-0.1% to +0.7%)``."""
    ends = "" if mean.interval is None else " ({:+.2%} to {:+.2%})".format(*mean.interval)
    return f"{mean.value:+.2%}{ends}"


def _worth(seen: Seen) -> dict[int, list[float]]:
    """The share of its parameters that a model is worth, by bits, one number a size."""
    curve = seen.curve
    worth: dict[int, list[float]] = {}
    if isinstance(curve, SizeCurve):
        for (params, bits), rises in seen.cells.items():
            log = math.log(params)
            like = curve.log_params(curve.log_loss(log) + fmean(rises))
            worth.setdefault(bits, []).append(math.exp(like - log))
    return worth


def _words(seen: Seen, laws: Laws, claims: Sequence[Claim]) -> str:
    worth = _worth(seen)
    said = ", ".join(f"{bits} bits {shares(own)}" for bits, own in sorted(worth.items()))
    standing = {one.name: one for one in claims}
    parts_said = [f"By its loss, a model is worth this share of its parameters: {said}."]
    for name, law, where in (
        ("effective_params_law", laws.every, ""),
        ("law_without_fewest_bits", laws.above, f" from {laws.least} bits on"),
    ):
        if isinstance(law, Gamma):
            verbs = {True: "fits", False: "does not fit", None: "is not shown to fit"}
            verb = verbs[standing[name].established]
            parts_said.append(f"N (1 - e^(-P / gamma)) {verb}{where} (gamma {law.text}).")
        if standing[name].established:
            break
    if standing["training_beats_rounding_after"].established:
        because = standing["training_beats_rounding_after"].because.partition(";")[0]
        parts_said.append(f"Training with rounding beats rounding after it {because}.")
    if standing["longer_training_suffers_more"].established:
        parts_said.append("Rounding after training costs more after more tokens.")
    return " ".join(parts_said)


def _measures(seen: Seen, laws: Laws, after: After) -> dict[str, float | None]:
    measures: dict[str, float | None] = {}
    for word, law in (("every", laws.every), ("above", laws.above)):
        known = law if isinstance(law, Gamma) else None
        measures[f"gamma.{word}"] = known.value if known else None
        measures[f"gamma.{word}.low"] = known.interval[0] if known else None
        measures[f"gamma.{word}.high"] = known.interval[1] if known else None
        measures[f"misfit.{word}"] = known.misfit if known else None
    measures |= {
        "after_exponent.tokens": after.of_tokens.value if after.of_tokens else None,
        "after_exponent.params": after.of_params.value if after.of_params else None,
    }
    for bits, own in sorted(_worth(seen).items()):
        measures[f"share.bits-{bits}"] = fmean(own)
    for kind in _usual(seen):
        mean = _against_plain(seen, kind)
        name = "".join(c if c.isalnum() else "-" for c in kind.name).strip("-").replace("--", "-")
        measures[f"rise.{name}"] = mean.value if mean else None
        if kind in seen.lost:
            measures[f"lost.{name}"] = fmean(seen.lost[kind])
    return measures


def _bits_table(seen: Seen, laws: Laws) -> Table | None:
    rows: list[tuple[Any, ...]] = []
    worth = _worth(seen)
    for bits, own in sorted(worth.items()):
        rises = [mean for (_, b), r in seen.cells.items() if b == bits and (mean := mean_over(r))]
        law = f"{laws.above.share(bits):.2f}" if isinstance(laws.above, Gamma) else "–"
        each = "; ".join(_percent(mean) for mean in rises)
        kumar = f"{share_of(bits, KUMAR_GAMMA):.2f}"
        rows.append((bits, each, ", ".join(f"{one:.2f}" for one in own), law, kumar))
    if not rows:
        return None
    sizes = ", ".join(format_count(p) for p in sorted({params for params, _ in seen.cells}))
    return Table(
        caption=f"Weights of few bits in training, at {sizes} parameters in matrices: loss over"
        " that without rounding on the same seeds, and the share of its parameters that the model"
        " is worth, as measured, by the law of all but the fewest bits, and by Kumar's gamma",
        head=("bits", "loss over native", "worth", "law", "Kumar"),
        rows=tuple(rows),
        text_columns=0,
    )


def _format_table(seen: Seen) -> Table | None:
    rows = []
    for kind in sorted(seen.runs, key=lambda one: (not one.is_plain, one)):
        params = sorted({run.record.params_matmul for run in seen.runs[kind]})
        for size in params:
            own = [run.record for run in seen.runs[kind] if run.record.params_matmul == size]
            mean = mean_over(seen.rises(kind, size))
            speed = fmean(record.tokens_per_second for record in own)
            peak = max(record.peak_memory_bytes for record in own)
            loss = fmean(record.val_loss_nats or 0 for record in own)
            rows.append(
                (
                    kind.name,
                    format_count(size),
                    f"{loss:.4f}",
                    "–" if kind.is_plain or mean is None else _percent(mean),
                    _share_text(seen.lost[kind]) if kind in seen.lost else "–",
                    format_count(speed),
                    format_bytes(peak),
                )
            )
    if not rows:
        return None
    return Table(
        caption="Every format at the longest horizon: loss in nats per token, loss over native's on"
        " the same seeds, share of the gradient that is lost without a loss scale, and as measured"
        " on this device: tokens a second, and the peak memory of the worker (rounding is"
        " simulated)",
        head=("format", "params", "loss", "over native", "lost", "tokens/s", "memory"),
        rows=tuple(rows),
    )


def _after_table(seen: Seen) -> Table | None:
    rows = []
    for bits, sizes in sorted(seen.after.items()):
        for params, horizons in sorted(sizes.items()):
            means = (mean_over(list(seeds.values())) for _, seeds in sorted(horizons.items()))
            each = "; ".join(f"{mean.value:.4f}" for mean in means if mean)
            rows.append((bits, format_count(params), each))
    if not rows:
        return None
    by_size = [own for sizes in seen.after.values() for own in sizes.values()]
    read = sorted({tokens for own in by_size for tokens in own})
    return Table(
        caption="Weights rounded after training: rise of the loss in nats per token, mean over"
        f" seeds, after {', '.join(format_count(tokens) for tokens in read)} tokens",
        head=("bits", "params", "rise"),
        rows=tuple(rows),
        text_columns=0,
    )


def _share_figure(seen: Seen, laws: Laws) -> Figure | None:
    curve, cells = seen.curve, seen.cells
    if isinstance(curve, str) or not cells:
        return None
    widths = sorted({bits for _, bits in cells})
    series = []
    for place, size in enumerate(sorted({params for params, _ in cells})):
        log = math.log(size)
        values = {
            bits + 0.05 * place: [
                math.exp(curve.log_params(curve.log_loss(log) + rise) - log) for rise in rises
            ]
            for (params, bits), rises in cells.items()
            if params == size
        }
        label = f"{format_count(size)} parameters"
        series.append(mean_series(label, values, geometric=True, line=False))
    grid = [min(widths) + (max(widths) - min(widths)) * k / 60 for k in range(61)]
    gammas = {"Kumar's gamma": KUMAR_GAMMA}
    if isinstance(laws.above, Gamma):
        gammas = {f"gamma from {laws.least} bits on": laws.above.value, **gammas}
    for label, value in gammas.items():
        points = tuple((bits, share_of(bits, value)) for bits in grid)
        series.append(Series(label=label, points=points, marks=False, dashed="Kumar" in label))
    return figure(
        "precision_share",
        "What a model with weights of few bits is worth",
        "Share of its parameters that a model without rounding needs for the same loss; geometric"
        " means over seeds with their intervals, sizes side by side.",
        [
            Panel(
                x=Axis(label="bits of a weight", values={str(b): float(b) for b in widths}),
                y=Axis(label="share of parameters", low=0.0),
                series=tuple(series),
            )
        ],
    )


def _after_figure(seen: Seen) -> Figure | None:
    panels = []
    for bits, sizes in sorted(seen.after.items())[:2]:
        ticks = sorted({tokens for horizons in sizes.values() for tokens in horizons})
        series = [
            mean_series(
                f"{format_count(params)} parameters",
                {float(tokens): list(seeds.values()) for tokens, seeds in sorted(own.items())},
                low=0.0,
            )
            for params, own in sorted(sizes.items())
        ]
        panels.append(
            Panel(
                x=log_axis("tokens", ticks),
                y=Axis(label="rise of the loss, nats", low=0.0),
                series=tuple(series),
                title=f"{bits} bits",
            )
        )
    return (
        figure(
            "precision_after",
            "What rounding after training costs",
            "Rise of the validation loss where weights are rounded after training; means over seeds"
            " with their intervals.",
            panels,
        )
        if panels
        else None
    )


def _literature(laws: Laws, after: After) -> list[Published]:
    source = "Kumar 2024, arXiv 2411.04330"
    return [
        beside(
            "bits of gamma, weights trained with rounding",
            theirs=f"{KUMAR_GAMMA:.2f} (30M to 220M parameters)",
            ours=f"{laws.above.text} from {laws.least} bits on"
            if isinstance(laws.above, Gamma)
            else None,
            source=f"{source}, appendix K",
        ),
        *(
            beside(
                f"power of {word} that the rise by rounding after training goes with",
                theirs=theirs,
                ours=_two_decimals(mean) if mean else None,
                source=source,
            )
            for word, theirs, mean in (
                ("tokens", "above 0: more tokens, more harm", after.of_tokens),
                ("params", "below 0: at equal tokens larger models suffer less", after.of_params),
            )
        ),
    ]


def _planted(spec: RunSpec) -> Outcome:
    """Loss 6 N_eff^-0.08 D^-0.03 with gamma 2; after training it rises as D^0.5 N^-0.5."""
    from scaling_law.spec.counts import count_params

    params, kind = count_params(spec.model).matmul, format_of(spec)
    share = share_of(kind.bits, 2.0) if kind.bits else 1.0
    loss = 6 * (params * share) ** -0.08 * spec.tokens**-0.03
    loss *= 1 + 0.001 * spec.seed + 0.0001 * ((kind.bits * 7 + spec.seed * 3) % 5 - 2)
    lost = 0.05 * (1 + 0.1 * spec.seed)
    metrics = {"underflow": lost if kind.name in ("fp16", "float16") else 0.0}
    for bits in (2, 3, 4):
        rise = math.exp(-bits) * (spec.tokens / params) ** 0.5
        metrics[f"post_training.bits-{bits}"] = rise * (1 + 0.01 * spec.seed)
    return Outcome(val_loss_nats=loss, metrics=metrics)


EXPERIMENT = Experiment(
    question="How many parameters is a model worth whose weights have few bits, and what do fewer"
    " bits cost after training?",
    reproduces="Kumar 2024 (scaling laws for precision); Micikevicius 2018 (loss scaling)",
    parts={
        "number_format": ("integer", "e4m3", "e5m2", "float16"),
        "probe": ("post_training", "underflow"),
    },
    analyse=analyse,
    planted=Planted(
        outcome=_planted,
        measures={
            "gamma.every": (1.95, 2.05),
            "gamma.above": (1.9, 2.1),
            "after_exponent.tokens": (0.45, 0.55),
            "after_exponent.params": (-0.55, -0.45),
        },
        claims={
            "fewer_bits_cost_loss": True,
            "effective_params_law": True,
            "law_without_fewest_bits": True,
            "one_gamma_for_all_sizes": True,
            "training_beats_rounding_after": True,
            "longer_training_suffers_more": True,
            "eight_bits_are_enough": True,
            "fp16_underflows": True,
        },
    ),
)
