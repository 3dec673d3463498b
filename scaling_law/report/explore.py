"""The figures as values: what the page's script draws, so that every mark can be read.

A chart is an object with axes and layers. A layer is ``line`` (x, y; ``low`` and ``high`` make a
band), ``marks`` (x, y) or ``runs`` (rows of ``points``, whose place the script looks up under the
parameter convention and law chosen). ``views`` hold the layers of one convention and law.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from scaling_law.files.record import NATS, loss_unit, short_unit
from scaling_law.fit.laws.law import Floats
from scaling_law.fit.points.points import FitPoints
from scaling_law.fit.result import FitResult, finite_json
from scaling_law.report import style
from scaling_law.report.curves import TrainingCurves, curves_of
from scaling_law.report.evidence import (
    Evidence,
    Fitted,
    LawEvidence,
    middle_params,
    rows_by_size,
)
from scaling_law.report.figures import flops_label, law_curve, params_label, spread_out
from scaling_law.report.groups import sizes_of
from scaling_law.report.held_out import rollouts, sizes_left_out
from scaling_law.report.optimum import (
    FORECAST_STEPS,
    allocation_of,
    allocation_rules,
    published_lines,
    split_curve,
    split_words,
)
from scaling_law.spec.counts import CONVENTIONS
from scaling_law.units import format_count

SCHEMA_VERSION = 1
_STEPS = 40  # of a curve
_LEVELS = 5  # curves of equal tokens
_MARKERS = ("circle", "square", "up", "diamond", "down", "plus", "cross")
_TOKENS = {"label": "training tokens", "log": True, "words": "count"}

Layer = dict[str, Any]


def _loss(unit: str) -> dict[str, Any]:
    """The axis of losses in ``unit``."""
    return {"label": style.loss_label(unit), "log": True, "words": "loss"}


def _loss_axis(points: FitPoints) -> dict[str, Any]:
    return _loss(points.loss_unit)


def document(evidence: Evidence) -> dict[str, Any]:
    """Everything the script of a sweep's page knows."""
    unit = loss_unit(evidence.records)
    training = training_chart(curves_of(evidence), unit)
    return document_of(evidence, unit, sizes_of(evidence), training)


def document_of(
    evidence: LawEvidence, unit: str, sizes: dict[str, dict[str, int]], training: Layer
) -> dict[str, Any]:
    """Everything a page's script knows, strict JSON.

    ``points``, ``fits[convention][law]`` and ``seed_noise_log`` are those of ``slaw fit --json``
    at full precision; curves have six digits. ``charts`` by the name of the figure, ``training``
    that of the curves. ``sizes`` has each size's parameters under every convention; ``unit`` is
    that of the losses.
    """
    charts = {"training_curves": [training]}
    content: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "name": evidence.name,
        "convention": evidence.counted,
        "conventions": {name: name.replace("_", "-") for name in CONVENTIONS},
        "sizes": sizes,
        "loss_unit": short_unit(unit),
        "points": [],
        "fits": {},
        "charts": charts,
    }
    fitted = evidence.fitted
    if fitted is None:
        return content
    charts |= {
        "loss_params": [_loss_params(fitted)],
        "loss_tokens": [_loss_tokens(fitted)],
        "loss_flops": [_loss_flops(fitted)],
        "residuals": [_residuals(fitted, "params"), _residuals(fitted, "tokens")],
        "isoflop": [_isoflop(fitted)],
        "allocation": [_allocation(fitted)],
        "forecast": _forecast(fitted, evidence.target_params),
        "held_out": _held_out(fitted),
    }
    convention = fitted.points.convention
    content |= {
        "level": fitted.level,
        "seed_noise_log": fitted.known.seed_noise_log,
        "convention": convention["params"],
        "best_law": fitted.known.best_law,
        "conventions": {n: n.replace("_", "-") for n in conventions_of(fitted)},
        "points": _points(fitted),
        "fits": {
            name: {law: _fit(fit, fitted.counted[name]) for law, fit in laws.items()}
            for name, laws in fitted.fits.items()
        },
    }
    return content


def conventions_of(fitted: Fitted) -> list[str]:
    """The ways of counting parameters under which the runs are fitted."""
    return sorted(fitted.counted, key=[*CONVENTIONS, *fitted.counted].index)


def _points(fitted: Fitted) -> list[dict[str, Any]]:
    points = fitted.points
    return [
        {
            "run_id": points.run_id[row],
            "size": points.size[row],
            "seed": points.seed[row],
            "tokens": float(points.tokens[row]),
            "loss_nats": float(points.loss_nats[row]),
            "loss_sem_nats": finite_json(float(points.loss_sem_nats[row])),
            "params": {name: float(other.params[row]) for name, other in fitted.counted.items()},
            "flops": {name: float(other.flops[row]) for name, other in fitted.counted.items()},
        }
        for row in range(len(points))
    ]


def predicted(fit: FitResult, points: FitPoints) -> Floats | None:
    """The law at each point [n], in the points' unit; None for a fit that cannot be used."""
    if not fit.usable:
        return None
    law = fit.law
    return law.predict(fit.params, {name: points.variable(name) for name in law.variables})


def _fit(fit: FitResult, points: FitPoints) -> dict[str, Any]:
    losses = predicted(fit, points)
    return {
        "status": fit.status,
        "params": finite_json(fit.params),
        "intervals": finite_json(fit.intervals),
        "exponent": finite_json(fit.optimum.exponent if fit.optimum else None),
        "exponent_interval": finite_json(fit.optimum_intervals.get("a")),
        "rms_log_residual": finite_json(fit.rms_log_residual),
        "predicted_nats": None if losses is None else finite_json(losses.tolist()),
    }


def _sizes(points: FitPoints) -> list[tuple[str, list[int], str, str]]:
    """(name, rows, colour, marker) of each size, the smallest first."""
    groups = rows_by_size(points)
    colours = [style.themed(colour) for colour in style.ramp(len(groups))]
    return [
        (name, rows, colours[i], _MARKERS[i % len(_MARKERS)])
        for i, (name, rows) in enumerate(groups.items())
    ]


def _runs(points: FitPoints, x: str, y: str) -> list[Layer]:
    return [
        {"kind": "runs", "name": name, "runs": rows, "x": x, "y": y,
         "colour": colour, "marker": marker}
        for name, rows, colour, marker in _sizes(points)
    ]  # fmt: skip


def _chart(title: str, x: dict[str, Any], y: dict[str, Any], layers: Sequence[Layer]) -> Layer:
    return {"title": title, "x": x, "y": y, "layers": list(layers), "views": {}}


def _views(fitted: Fitted, draw: Any) -> dict[str, dict[str, list[Layer]]]:
    """The layers that ``draw(fit, points)`` makes, by convention and law."""
    return {
        name: {
            law: draw(fit, fitted.counted[name]) if fit.usable else [] for law, fit in laws.items()
        }
        for name, laws in fitted.fits.items()
    }


def _loss_tokens(fitted: Fitted) -> Layer:
    def draw(fit: FitResult, points: FitPoints) -> list[Layer]:
        layers = []
        for name, rows, colour, _ in _sizes(points):
            tokens = points.tokens[rows]
            x = _spread(tokens.min(), tokens.max())
            size = np.full_like(x, middle_params(points, rows))
            layers.append(_curve(fitted, fit, name, colour, x, size, x, 6 * size * x))
        return layers

    points = fitted.points
    chart = _chart("Loss against training tokens, a curve per size", _TOKENS, _loss_axis(points),
                   _runs(points, "tokens", "loss"))  # fmt: skip
    return chart | {"views": _views(fitted, draw)}


def _loss_flops(fitted: Fitted) -> Layer:
    def draw(fit: FitResult, points: FitPoints) -> list[Layer]:
        layers = []
        for name, rows, colour, _ in _sizes(points):
            flops = points.flops[rows]
            x = _spread(flops.min(), flops.max())
            per_token = float(np.mean(flops / points.tokens[rows]))
            size = np.full_like(x, middle_params(points, rows))
            layers.append(_curve(fitted, fit, name, colour, x, size, x / per_token, x))
        return layers

    points = fitted.points
    axis = {"label": flops_label(points), "log": True, "words": "flops"}
    layers = _runs(points, "flops", "loss")
    envelope = fitted.known.laws.get("kaplan_c")
    if envelope is not None and envelope.usable:
        x = _spread(*points.data_range["flops"], 1.3)
        middle, low, high = law_curve(envelope, {"flops": x}, fitted.level)
        layers.append(_line("lower envelope", style.INK, x, middle, low, high, dashed=True))
    chart = _chart("Loss against training compute, a curve per size", axis, _loss_axis(points),
                   layers)  # fmt: skip
    return chart | {"views": _views(fitted, draw)}


def _loss_params(fitted: Fitted) -> Layer:
    points = fitted.points
    first, last = points.data_range["tokens"]
    shade = style.ramp_over(math.log(first), math.log(last))

    def draw(fit: FitResult, points: FitPoints) -> list[Layer]:
        x = _spread(*points.data_range["params"])
        layers = []
        for tokens in np.geomspace(first, last, _LEVELS):
            colour, amount = style.themed(shade(math.log(tokens))), np.full_like(x, tokens)
            name = f"{format_count(tokens)} tokens"
            layers.append(_curve(fitted, fit, name, colour, x, x, amount, 6 * x * amount))
        return layers

    layers = _runs(points, "params", "loss")
    for layer in layers:
        layer["colours"] = [style.themed(shade(math.log(points.tokens[r]))) for r in layer["runs"]]
    chart = _chart("Loss against model size, a curve per number of tokens", _params_axis(fitted),
                   _loss_axis(points), layers)  # fmt: skip
    return chart | {"views": _views(fitted, draw)}


def _params_axis(fitted: Fitted, what: str = "model size") -> dict[str, Any]:
    return {
        "label": params_label(fitted.points, what),
        "labels": {name: params_label(other, what) for name, other in fitted.counted.items()},
        "log": True,
        "words": "count",
    }


def _residuals(fitted: Fitted, x: str) -> Layer:
    axis = _params_axis(fitted) if x == "params" else _TOKENS
    y = {"label": style.RESIDUAL, "log": False, "words": "percent"}
    words = {"params": "model size", "tokens": "training tokens"}[x]
    chart = _chart(
        f"Residuals of the law against {words}", axis, y, _runs(fitted.points, x, "residual")
    )
    noise = fitted.known.seed_noise_log
    if noise:
        chart["strip"] = {"name": "seed noise, ±2 deviations", "low": -200 * noise,
                          "high": 200 * noise}  # fmt: skip
    return chart | {"zero": True}


def training_chart(curves: TrainingCurves, unit: str) -> Layer:
    """The losses along training, a line a run."""
    layers = [
        {"kind": "line", "name": line.name, "legend": line.group,
         "colour": style.themed(line.colour), "faint": line.faint,
         "x": line.tokens, "y": _digits(line.losses)}
        for line in curves.lines
    ]  # fmt: skip
    axis = {**_TOKENS, "label": curves.along}
    chart = _chart("Validation loss along training", axis, _loss(unit), layers)
    ends = [line.losses[-1] for line in curves.lines]
    return chart | {"headroom": 1.35 * max(ends)} if ends else chart


def _isoflop(fitted: Fitted) -> Layer:
    cells, layers = fitted.cells, []
    for i, cell in enumerate(cells):
        colour = style.themed(style.ramp(len(cells))[i])
        name = f"{style.power_of_ten(cell.flops)} FLOPs"
        if not cell.usable:
            name += " (refused)"
        layers.append(
            {"kind": "marks", "name": name, "colour": colour, "marker": _MARKERS[i % 7],
             "x": list(cell.params), "y": list(cell.loss_nats), "hollow": not cell.usable}
        )  # fmt: skip
        if cell.usable and cell.params_optimal:
            x = spread_out(cell.params[0], cell.params[-1], 1.0)
            layers.append(_line(name, colour, x, cell.losses_at(x)))
            layers.append(
                {"kind": "marks", "name": f"{name}: the best size", "legend": "best size",
                 "colour": style.themed(style.RED), "marker": "star",
                 "x": [cell.params_optimal], "y": [cell.loss_min_nats]}
            )  # fmt: skip
    axis = {"label": params_label(fitted.points), "log": True, "words": "count"}
    return _chart(
        "Loss at equal compute, one curve per budget", axis, _loss_axis(fitted.points), layers
    )


def _allocation(fitted: Fitted) -> Layer:
    low, high = fitted.points.data_range["flops"]
    x = np.geomspace(low / 10, high * 10, _STEPS)

    def draw(fit: FitResult, points: FitPoints) -> list[Layer]:
        split = allocation_of(fit, fit.params)
        if split is None:
            return []
        y = np.array([split.params(flops) for flops in x])
        bottom = top = np.full_like(y, math.nan)
        draws = [allocation_of(fit, dict(zip(fit.params, s, strict=True))) for s in fit.samples]
        curves = [[one.params(flops) for flops in x] for one in draws if one]
        if curves:
            share = 0.5 - fitted.level / 2
            bottom, top = np.quantile(np.array(curves), [share, 1 - share], axis=0)
        name = f"{fit.law.name}: slope {split.exponent:.2f}"
        return [_line(name, style.SKY, x, y, bottom, top)]

    layers = []
    if (curve := split_curve(fitted, x)) is not None:
        line = _line(split_words(fitted), style.BLUE, x, *curve)
        layers.append(line | {"only": fitted.points.convention["params"]})
    vertices = [cell for cell in fitted.cells if cell.usable and cell.params_optimal]
    if vertices:
        layers.append(
            {"kind": "marks", "name": "IsoFLOP minima", "colour": style.themed(style.RED),
             "marker": "star", "only": fitted.points.convention["params"],
             "x": [c.flops for c in vertices], "y": [c.params_optimal for c in vertices]}
        )  # fmt: skip
    envelope = fitted.summary["envelope"]
    if envelope["flops"]:
        layers.append(
            {"kind": "marks", "name": "lower envelope", "colour": style.themed(style.GREEN),
             "marker": "square", "only": fitted.points.convention["params"],
             "x": envelope["flops"], "y": envelope["params"]}
        )  # fmt: skip
    for words, colour, y in allocation_rules(fitted, x):
        layers.append(_line(words, colour, x, y, dashed=True))
    axis = {"label": flops_label(fitted.points), "log": True, "words": "flops"}
    size = _params_axis(fitted, "best size")
    chart = _chart("Best size for a budget", axis, size, layers)
    return chart | {"views": _views(fitted, draw)}


def _forecast(fitted: Fitted, target_params: float) -> list[Layer]:
    low, high = fitted.points.data_range["params"]
    sizes = np.geomspace(low, max(target_params, 10 * high), FORECAST_STEPS)
    made = [fitted.forecast_at(float(size)) for size in sizes]
    known = [p for p in made if p is not None and p.low_nats and p.high_nats]
    if len(known) < 2:
        return []
    points, layers = fitted.points, []
    within = [p for p in known if not p.refused]
    for words, ones in (
        ("forecast", within),
        ("only the range may be quoted", [*within[-1:], *(p for p in known if p.refused)]),
    ):
        if ones:
            x, y, bottom, top = (
                np.array([getattr(p, name) for p in ones], dtype=float)
                for name in ("params", "loss_nats", "low_nats", "high_nats")
            )
            colour = style.BLUE if words == "forecast" else style.SKY
            layer = _line(words, colour, x, y, bottom, top)
            layers.append(layer | {"range_only": words != "forecast"})
    layers += [
        _line(words, colour, sizes, losses, dashed=True)
        for words, colour, losses in published_lines(sizes)
        if points.loss_unit == NATS
    ]
    layers.append(
        {"kind": "marks", "name": "runs", "titles": list(points.run_id), "marker": "circle",
         "colour": style.themed(style.INK), "x": points.params.tolist(),
         "y": points.loss_nats.tolist()}
    )  # fmt: skip
    axis = {"label": params_label(points), "log": True, "words": "count"}
    title = f"Forecast to {format_count(target_params)} parameters, at compute-optimal tokens"
    return [
        _chart(title, axis, _loss_axis(fitted.points) | {"log": False}, layers)
        | {"floor": 0, "wide": True}
    ]


def _held_out(fitted: Fitted) -> list[Layer]:
    y = {"label": style.RESIDUAL, "log": False, "words": "percent"}
    noise, charts = fitted.known.seed_noise_log, []
    for folds, title, label, colour in (
        (sizes_left_out(fitted), "Sizes left out", params_label(fitted.points, "size left out"),
         style.BLUE),
        (rollouts(fitted), "Expensive runs predicted from cheap ones", "times the fitted FLOPs",
         style.ORANGE),
    ):  # fmt: skip
        layers = [
            {"kind": "marks", "name": fold.name, "legend": "held-out run", "marker": "circle",
             "titles": [f"{run_id}, {fold.name}" for run_id in fold.run_id],
             "colour": style.themed(colour), "x": [fold.place] * len(fold.residuals_percent),
             "y": _digits(fold.residuals_percent)}
            for fold in folds
        ]  # fmt: skip
        if layers:
            axis = {"label": label, "log": True, "words": "count"}
            chart = _chart(f"{title} ({fitted.best.law.name})", axis, y, layers)
            strip = {"name": "seed noise, ±2 deviations", "low": -200 * (noise or 0.0),
                     "high": 200 * (noise or 0.0)}  # fmt: skip
            charts.append(chart | {"zero": True} | ({"strip": strip} if noise else {}))
    return charts


def _curve(
    fitted: Fitted, fit: FitResult, name: str, colour: str,
    x: Floats, params: Floats, tokens: Floats, flops: Floats,
) -> Layer:  # fmt: skip
    variables = {"params": params, "tokens": tokens, "flops": flops, "tokens_unique": tokens}
    middle, low, high = law_curve(fit, variables, fitted.level)
    return _line(name, colour, x, middle, low, high)


def _line(
    name: str, colour: str, x: Floats, y: Floats,
    low: Floats | None = None, high: Floats | None = None, *, dashed: bool = False,
) -> Layer:  # fmt: skip
    layer: Layer = {
        "kind": "line",
        "name": name,
        "colour": colour if colour.startswith("var") else style.themed(colour),
        "x": _digits(x),
        "y": _digits(y),
        "dashed": dashed,
    }
    if low is not None and high is not None and np.isfinite(low).all():
        layer |= {"low": _digits(low), "high": _digits(high)}
    return layer


def _spread(low: float, high: float, margin: float = 1.12) -> Floats:
    return np.geomspace(low / margin, high * margin, _STEPS)


def _digits(values: Iterable[float]) -> list[float | None]:
    return [float(f"{v:.6g}") if math.isfinite(v) else None for v in map(float, values)]
