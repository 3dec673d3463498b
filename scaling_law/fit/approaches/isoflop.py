"""Approach 2: IsoFLOP curves (Hoffmann 2022, arXiv 2203.15556, section 3.2).

In each cell of equal compute a curve goes through the losses in nats (not their logarithms: as
published) against log params; its minimum is the cell's optimum, and log-log lines through the
optima give params ~ C^a and tokens ~ C^b. The curve is a local interpolation (``isoflop_curves``),
or a parabola where one is asked for or a cell has three sizes.

A parabola is biased even without noise: the loss at equal compute is a sum of two exponentials of
log params, steeper towards small models when alpha > beta. With 15 sizes spanning +-8x about the
true optimum, tokens at its vertex come out 2.9% low on the surface published for Chinchilla (alpha
.34, beta .28) and 13.9% low at alpha / beta = 3; a cell that is not centred on its optimum is
worse. An interpolation has next to no bias and more noise. Minima at or outside the ends of the
sizes are refused, never returned. Either is a cross-check to draw beside the parametric fit.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scaling_law.errors import FitError
from scaling_law.fit.approaches.isoflop_curves import (
    AKIMA,
    CURVES,
    LEAST_SIZES,
    PARABOLA,
    CellRuns,
    Curve,
    Parabola,
    curve_of,
    interpolated,
)
from scaling_law.fit.approaches.power_line import (
    LinesResult,
    PowerLine,
    check_level,
    power_line,
)
from scaling_law.fit.laws.law import Floats
from scaling_law.fit.points.points import FitPoints
from scaling_law.fit.solver.bootstrap import interval
from scaling_law.fit.solver.student import t_over_normal
from scaling_law.units import count_of

LEAST_CELLS = 3
FEW_CELLS = 6
# An exponent lies between 0 and 1: an interval this wide says nothing.
USELESS_WIDTH = 0.5
_WEBB = np.sqrt(np.array([0.5, 1.0, 1.5]))


@dataclass(frozen=True, kw_only=True)
class IsoflopCell:
    """One curve; the fields of the optimum are None when refused.

    ``flops``: of the cell, a geometric mean.
    ``n_sizes``: number of different sizes.
    ``status``: ``accepted``, ``exact`` (three sizes, no degrees of freedom left) or ``refused``.
    ``reason``: why it is not ``accepted``.
    ``indices``: row numbers of its points.
    ``run_id``: their run ids.
    ``params``: its sizes in order.
    ``tokens``: tokens of each size, seeds averaged, moved to the cell's FLOPs.
    ``loss_nats``: loss of each size in nats per token, likewise.
    ``coefficients``: of a parabola, (c0, c1, c2) of loss = c0 + c1 x + c2 x^2, x = log params -
        centre.
    ``centre_log_params``: the centre.
    ``params_optimal``: parameters at the minimum.
    ``tokens_optimal``: tokens at the minimum.
    ``loss_min_nats``: loss at the minimum, in nats per token.
    ``notes``: what a reader should know.
    ``curve``: which curve it is, one of ``isoflop_curves.CURVES``.
    """

    flops: float
    n_sizes: int
    status: str
    reason: str
    indices: tuple[int, ...]
    run_id: tuple[str, ...]
    params: tuple[float, ...]
    tokens: tuple[float, ...]
    loss_nats: tuple[float, ...]
    coefficients: tuple[float, float, float] | None = None
    centre_log_params: float | None = None
    params_optimal: float | None = None
    tokens_optimal: float | None = None
    loss_min_nats: float | None = None
    notes: tuple[str, ...] = ()
    curve: str = PARABOLA

    @property
    def usable(self) -> bool:
        """Whether the cell has an optimum."""
        return self.status != "refused"

    def losses_at(self, params: Sequence[float] | Floats) -> Floats:
        """The curve in nats per token at these sizes, NaN where it has none.

        An interpolation has none beyond its ends.
        """
        logs = np.log(np.asarray(params, dtype=np.float64))
        if self.coefficients is not None and self.centre_log_params is not None:
            base, slope, bend = self.coefficients
            x = logs - self.centre_log_params
            return np.asarray(base + x * (slope + x * bend), dtype=np.float64)
        if self.curve == AKIMA and self.usable:
            return interpolated(np.log(self.params), np.array(self.loss_nats), logs)
        return np.full(logs.shape, math.nan)


@dataclass(frozen=True, kw_only=True)
class IsoflopResult(LinesResult):
    """IsoFLOP cells and the lines through their optima.

    ``status``: ``fitted`` or ``refused``.
    ``reason``: why it was refused.
    ``cells``: the cells, in order of FLOPs.
    ``lines``: ``params`` and ``tokens`` -> the line in FLOPs; empty when refused.
    ``level``: confidence level of the intervals.
    ``tolerance_frac``: how far the FLOPs of a cell may lie from each other, as a share.
    ``resamples``: number of bootstrap draws.
    ``seed``: of the draws.
    ``outside``: run ids in no cell of two sizes or more.
    ``convention``: what the variables count.
    ``notes``: what a reader should know.
    ``curve``: the curve that was asked for, one of ``isoflop_curves.CURVES``.
    """

    status: str
    reason: str
    cells: tuple[IsoflopCell, ...]
    lines: dict[str, PowerLine]
    level: float
    tolerance_frac: float
    resamples: int
    seed: int
    outside: tuple[str, ...]
    convention: dict[str, str]
    notes: tuple[str, ...] = ()
    curve: str = PARABOLA


def fit_isoflop(
    points: FitPoints,
    *,
    tolerance_frac: float = 0.1,
    level: float = 0.9,
    resamples: int = 400,
    seed: int = 0,
    curve: str = AKIMA,
) -> IsoflopResult:
    """Curves in cells whose FLOPs agree within +-``tolerance_frac``, and their exponents.

    Unusable cells are refused with their reason; so is the whole when fewer than three cells
    remain. An interval at ``level`` is the wider of two: by ``resamples`` bootstrap draws over
    clusters (see ``_drawn``; none with 0 draws or only exact cells), and by Student's t from the
    scatter of the optima about their line. Raises ``FitError`` for a level or tolerance outside
    (0, 1) and for an unknown curve.
    """
    check_level(level)
    if curve not in CURVES:
        raise FitError(f"curve {curve!r}: expected {' or '.join(CURVES)}")
    if not 0 < tolerance_frac < 1:
        raise FitError(f"tolerance {tolerance_frac:g}: expected between 0 and 1, such as 0.1")
    groups, alone = group_cells(points, tolerance_frac)
    width = math.log((1 + tolerance_frac) / (1 - tolerance_frac))
    fitted = [_cell(points, rows, width, curve) for rows in groups]
    usable = [one for one, cell in fitted if one is not None and cell.usable]
    reason = ""
    if len(usable) < LEAST_CELLS:
        reason = (
            f"{len(usable)} of {len(groups)} IsoFLOP cells have a minimum inside their sizes, "
            f"at least {LEAST_CELLS} needed: give FLOP budgets with at least 4 sizes each"
        )
    lines: dict[str, PowerLine] = {}
    notes: list[str] = []
    if not reason:
        lines, notes = _lines(points, usable, level, resamples, seed)
    return IsoflopResult(
        status="refused" if reason else "fitted",
        reason=reason,
        cells=tuple(cell for _, cell in fitted),
        lines=lines,
        level=level,
        tolerance_frac=tolerance_frac,
        resamples=resamples,
        seed=seed,
        outside=tuple(points.run_id[row] for row in alone),
        convention=dict(points.convention),
        notes=tuple(notes + _uninformative(lines)),
        curve=curve,
    )


def _uninformative(lines: dict[str, PowerLine]) -> list[str]:
    notes = []
    for line in lines.values():
        if line.interval and line.interval[1] - line.interval[0] > USELESS_WIDTH:
            low, high = line.interval
            notes.append(
                f"exponent of {line.quantity} anywhere in {low:.2f} to {high:.2f}: "
                "the cells do not determine it"
            )
    return notes


def group_cells(points: FitPoints, tolerance_frac: float) -> tuple[list[list[int]], list[int]]:
    """Cells of two or more sizes as row numbers, in order of FLOPs, and the rows in none.

    A cell spans at most (1 + tolerance) / (1 - tolerance) in FLOPs; the window with the most
    distinct sizes is taken first (then the next of what is left), so that runs spread evenly
    over compute do not chain into one cell.
    """
    width = math.log((1 + tolerance_frac) / (1 - tolerance_frac)) + 1e-9
    logs = np.log(points.flops)
    sizes = size_keys(points.params)
    left = [int(row) for row in np.argsort(logs, kind="stable")]
    cells: list[list[int]] = []
    while left:
        first, last = _fullest_window(logs, sizes, left, width)
        cell = left[first:last]
        if len({sizes[row] for row in cell}) < 2:
            break
        cells.append(cell)
        left = left[:first] + left[last:]
    cells.sort(key=lambda cell: float(logs[cell].mean()))
    return cells, left


def size_keys(params: Floats) -> list[int]:
    """Return a number for each point that is the same for points of one size."""
    # sizes one ten-thousandth apart are the same: counts differ by rounding between tables
    return [int(key) for key in np.round(np.log(params) * 1e4)]


def _fullest_window(
    logs: Floats, sizes: list[int], rows: list[int], width: float
) -> tuple[int, int]:
    """First and past-the-last position in ``rows`` of the window with the most sizes."""
    inside: Counter[int] = Counter()
    best, window, last = 0, (0, 0), 0
    for first, row in enumerate(rows):
        while last < len(rows) and logs[rows[last]] - logs[row] <= width:
            inside[sizes[rows[last]]] += 1
            last += 1
        if len(inside) > best:
            best, window = len(inside), (first, last)
        inside[sizes[row]] -= 1
        if not inside[sizes[row]]:
            del inside[sizes[row]]
    return window


def _cell(
    points: FitPoints, rows: list[int], width: float, name: str
) -> tuple[Curve | None, IsoflopCell]:
    """A cell's curve (None with fewer than three sizes), and the cell as it is reported."""
    runs, notes = prepare(points, rows, width)
    cell = IsoflopCell(
        flops=math.exp(runs.log_flops),
        n_sizes=runs.n_sizes,
        status="refused",
        reason=f"{count_of(runs.n_sizes, 'size')}, at least {LEAST_SIZES} needed",
        indices=tuple(rows),
        run_id=tuple(points.run_id[row] for row in rows),
        params=tuple(np.exp(runs.log_params).tolist()),
        tokens=tuple(np.exp(runs.log_tokens).tolist()),
        loss_nats=tuple(runs.means(runs.losses[:, None])[:, 0].tolist()),
        notes=tuple(notes),
        curve=name,
    )
    if runs.n_sizes < LEAST_SIZES:
        return None, cell
    curve = curve_of(runs, name)
    cell = dataclasses.replace(cell, curve=curve.name)
    if isinstance(curve, Parabola):
        cell = dataclasses.replace(
            cell, coefficients=curve.coefficients, centre_log_params=curve.centre
        )
    if reason := curve.why_none():
        return None, dataclasses.replace(cell, reason=reason)
    vertex, least = curve.minimum(runs.losses[:, None])
    exact = runs.n_sizes == LEAST_SIZES
    cell = dataclasses.replace(
        cell,
        status="exact" if exact else "accepted",
        reason="three sizes: the parabola is exact, its error unknown" if exact else "",
        params_optimal=math.exp(vertex[0]),
        tokens_optimal=math.exp(runs.tokens_at(vertex)[0]),
        loss_min_nats=float(least[0]),
    )
    cell = refused_below_zero(cell)
    return curve if cell.usable else None, cell


def refused_below_zero(cell: IsoflopCell) -> IsoflopCell:
    """The cell, refused where the minimum of its curve is not above 0, as every loss is."""
    least = cell.loss_min_nats
    if least is None or least > 0:
        return cell
    reason = (
        f"curve's minimum not above 0: {least:.3g} nats, with losses from {min(cell.loss_nats):.3g}"
        f" to {max(cell.loss_nats):.3g}; add sizes near the minimum"
    )
    return dataclasses.replace(
        cell,
        status="refused",
        reason=reason,
        params_optimal=None,
        tokens_optimal=None,
        loss_min_nats=None,
    )


def prepare(points: FitPoints, rows: list[int], width: float) -> tuple[CellRuns, list[str]]:
    """The runs of a cell at its mean FLOPs, sizes in order, and notes.

    ``width`` is the logarithm of how far its FLOPs may lie from each other, as a factor.
    """
    log_flops = float(np.log(points.flops[rows]).mean())
    losses, tokens, notes = _moved(points, rows, log_flops, width)
    keys = np.array(size_keys(points.params[rows]))
    _, size_of_row, times = np.unique(keys, return_inverse=True, return_counts=True)
    log_params = np.bincount(size_of_row, np.log(points.params[rows])) / times
    log_tokens = np.bincount(size_of_row, tokens) / times
    return CellRuns(log_flops, rows, losses, size_of_row, log_params, log_tokens), notes


def _moved(
    points: FitPoints, rows: list[int], log_flops: float, width: float
) -> tuple[Floats, Floats, list[str]]:
    """Losses and log tokens of ``rows`` moved along their size to the cell's FLOPs.

    At a fixed size tokens are proportional to FLOPs, and the loss moves by its log-log slope
    to the nearest horizon of that size outside the cell. Without this a difference of 10% in
    FLOPs would outweigh the parabola's curvature.
    """
    logs, log_losses = np.log(points.flops), np.log(points.loss_nats)
    shift = log_flops - logs[rows]
    log_params, trunk = np.log(points.params), points.cluster_index
    moved = log_losses[rows].copy()
    unmoved = 0
    for place, row in enumerate(rows):
        if abs(shift[place]) < 1e-12:
            continue
        same = np.flatnonzero(np.abs(log_params - log_params[row]) < 1e-4)
        away = logs[same] - logs[row]
        same, away = same[np.abs(away) > width], away[np.abs(away) > width]
        if not len(same):
            unmoved += int(abs(shift[place]) > 0.005)
            continue
        # the horizon on the side moved to, where there is one: interpolate, not extrapolate
        cost = np.abs(away) + np.where(away * shift[place] > 0, 0.0, 1e3)
        cost += np.where(trunk[same] == trunk[row], 0.0, 1e-6)
        nearest = int(cost.argmin())
        slope = (log_losses[same[nearest]] - log_losses[row]) / away[nearest]
        moved[place] += slope * shift[place]
    note = f"{unmoved} points off the cell's FLOPs have no second horizon to move them by"
    return np.exp(moved), np.log(points.tokens[rows]) + shift, [note] if unmoved else []


def _lines(
    points: FitPoints, cells: list[Curve], level: float, resamples: int, seed: int
) -> tuple[dict[str, PowerLine], list[str]]:
    """The two log-log lines with their intervals, and notes."""
    optima = [_optimum(cell, cell.runs.losses[:, None]) for cell in cells]
    flops = np.exp([cell.runs.log_flops for cell in cells])
    lines = {
        name: power_line(name, flops, np.exp([o[i][0] for o in optima]), level=level)
        for i, name in enumerate(("params", "tokens"))
    }
    notes = _curve_notes(cells)
    if len(cells) < FEW_CELLS:
        notes.append(f"only {len(cells)} usable cells: the intervals are themselves uncertain")
    free = sum(max(cell.free, 0) for cell in cells)
    if not free or not resamples:
        return lines, notes
    slopes, lost = _drawn(points, cells, resamples, seed)
    if lost:
        notes.append(f"{lost} of {resamples} resamples left fewer than 2 cells with a minimum")
    if lost > resamples // 2:
        return lines, notes
    widen = t_over_normal(free, level)
    method = f"wild bootstrap by cluster of {len(cells)} cells, Student's t({free})"
    for i, (name, line) in enumerate(lines.items()):
        bounds = interval(slopes[i], line.exponent, level, widen)
        # each alone covers too little somewhere (80% for 90% with trunk noise): take the wider
        if line.interval and bounds[1] - bounds[0] > line.interval[1] - line.interval[0]:
            lines[name] = dataclasses.replace(line, interval=bounds, interval_method=method)
    return lines, notes


def _curve_notes(cells: list[Curve]) -> list[str]:
    """Which curve gave the optima, and what it is worth."""
    times = Counter(cell.name for cell in cells)
    words = {
        AKIMA: "IsoFLOP optima by local interpolation follow the noise of single runs",
        PARABOLA: "IsoFLOP optima of parabolas are biased even without noise",
    }
    few = len(times) > 1  # a cell of three sizes has a parabola whatever was asked for
    return [
        f"{text}{f' ({times[name]} of {len(cells)} cells)' if few else ''}: a cross-check, not an"
        " estimate"
        for name, text in words.items()
        if times[name]
    ]


def _optimum(cell: Curve, losses: Floats) -> tuple[Floats, Floats]:
    """Log params and log tokens at the minimum of each column of losses [n, R]."""
    vertex, _ = cell.minimum(losses)
    return vertex, cell.runs.tokens_at(vertex)


def _drawn(
    points: FitPoints, cells: list[Curve], resamples: int, seed: int
) -> tuple[list[Floats], int]:
    """Exponents of params and tokens over resamples, and how many resamples were lost.

    Every run's residual from its curve (the pooled scatter of all, where it has none) times one of
    Webb's six weights per cluster: a trunk's branches, one in each cell, move together (Webb 2023,
    "Reworking wild bootstrap-based inference for clustered errors"). Cells without a minimum in a
    resample are left out of it.
    """
    generator = np.random.default_rng(seed)
    webb = generator.choice(np.concatenate([-_WEBB, _WEBB]), (points.n_clusters, resamples))
    noise = [cell.residuals for cell in cells]
    known = np.concatenate(noise)
    pooled = math.sqrt(float((known[np.isfinite(known)] ** 2).mean()))
    tracks = []
    for cell, own in zip(cells, noise, strict=True):
        spread = np.where(np.isfinite(own), own, pooled)
        weights = webb[points.cluster_index[cell.runs.rows]]
        tracks.append(_optimum(cell, cell.fitted[:, None] + spread[:, None] * weights))
    optima = np.array(tracks)  # [cells, 2, R]
    there = np.isfinite(optima[:, 0])
    good = there.sum(axis=0) >= 2
    x = np.where(there, np.array([cell.runs.log_flops for cell in cells])[:, None], 0.0)[:, good]
    there = there[:, good]
    x = np.where(there, x - x.sum(axis=0) / there.sum(axis=0), 0.0)
    slopes = []
    for i in range(2):
        y = np.where(there, optima[:, i][:, good], 0.0)
        slopes.append((x * y).sum(axis=0) / (x * x).sum(axis=0))
    return slopes, int((~good).sum())
