"""Approach 1: the lower envelope of loss against compute (Hoffmann 2022, arXiv 2203.15556, 3.1).

It takes annealed endpoints only: a checkpoint in the middle of a schedule has not been cooled
down, and an envelope over such checkpoints picks sizes by the state of their schedules. The
envelope of a coarse grid is coarse: its sizes move in steps, its ends are the ends of the grid,
and among noisy runs it prefers the lucky ones. It is a cross-check, not an estimate to act on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scaling_law.fit.approaches.power_line import LinesResult, PowerLine, check_level, power_line
from scaling_law.fit.points.points import FitPoints
from scaling_law.units import count_of

LEAST_POINTS = 4
SAME_FLOPS_FRAC = 0.02
# With fewer points on the line the interval says little, and a note says so.
FEW_POINTS = 8


@dataclass(frozen=True, kw_only=True)
class EnvelopeResult(LinesResult):
    """The runs that no run of the same or less compute beats, and the lines through them.

    ``status``: ``fitted`` or ``refused``.
    ``reason``: why it was refused.
    ``indices``: row numbers of these points, in order of FLOPs.
    ``run_id``: their run ids.
    ``flops``: their FLOPs.
    ``params``: their parameters.
    ``tokens``: their tokens.
    ``loss_nats``: their losses, in nats per token.
    ``lines``: ``params`` and ``tokens`` -> the line; empty when refused.
    ``level``: confidence level of the intervals.
    ``convention``: what the variables count.
    ``notes``: what a reader should know.
    """

    status: str
    reason: str
    indices: tuple[int, ...]
    run_id: tuple[str, ...]
    flops: tuple[float, ...]
    params: tuple[float, ...]
    tokens: tuple[float, ...]
    loss_nats: tuple[float, ...]
    lines: dict[str, PowerLine]
    level: float
    convention: dict[str, str]
    notes: tuple[str, ...] = ()


def fit_envelope(points: FitPoints, *, level: float = 0.9) -> EnvelopeResult:
    """The lower envelope of loss against FLOPs and its exponents, intervals at ``level``.

    Refuses, with the reason in the result, fewer than four points on the envelope, or all of
    one size. Raises ``FitError`` for a level outside (0, 1).
    """
    check_level(level)
    rows = envelope_rows(points)
    reason = _why_not(points, rows)
    lines = {}
    if not reason:
        for name in ("params", "tokens"):
            lines[name] = power_line(
                name, points.flops[rows], points.variable(name)[rows], level=level
            )
    return EnvelopeResult(
        status="refused" if reason else "fitted",
        reason=reason,
        indices=tuple(rows),
        run_id=tuple(points.run_id[i] for i in rows),
        flops=tuple(points.flops[rows].tolist()),
        params=tuple(points.params[rows].tolist()),
        tokens=tuple(points.tokens[rows].tolist()),
        loss_nats=tuple(points.loss_nats[rows].tolist()),
        lines=lines,
        level=level,
        convention=dict(points.convention),
        notes=() if reason else tuple(_notes(points, rows)),
    )


def envelope_rows(points: FitPoints) -> list[int]:
    """Row numbers, in order of FLOPs, of the points that no point with as few FLOPs beats.

    FLOPs within ``SAME_FLOPS_FRAC`` count as equal: the runs of an IsoFLOP cell differ by
    the rounding to whole steps, which must not put all of them on the envelope.
    """
    order = np.lexsort((points.loss_nats, points.flops))
    flops, losses = points.flops[order], points.loss_nats[order]
    best = np.minimum.accumulate(losses)
    reach = np.searchsorted(flops, flops * (1 + SAME_FLOPS_FRAC), side="right") - 1
    rows: list[int] = []
    for place, row in enumerate(order):
        ahead = not rows or losses[place] < points.loss_nats[rows[-1]]
        if ahead and losses[place] <= best[reach[place]]:
            rows.append(int(row))
    return rows


def _why_not(points: FitPoints, rows: list[int]) -> str:
    if len(rows) < LEAST_POINTS:
        return (
            f"{count_of(len(rows), 'point')} on the lower envelope, at least {LEAST_POINTS}"
            " needed: add FLOP budgets"
        )
    if len({points.params[i] for i in rows}) < 2:
        return (
            "only one size on the lower envelope: add smaller sizes for small budgets "
            "and larger sizes for large ones"
        )
    return ""


def _notes(points: FitPoints, rows: list[int]) -> list[str]:
    notes = []
    if len(rows) < FEW_POINTS:
        notes.append(f"only {len(rows)} points on the envelope: the interval is itself uncertain")
    ends = {float(points.params.min()), float(points.params.max())}
    edge = sum(float(points.params[i]) in ends for i in rows)
    if edge:
        notes.append(
            f"{edge} of {len(rows)} envelope points are of the smallest or largest size: "
            "there the grid, not the optimum, sets the size"
        )
    return notes
