"""Akima's interpolation: a piecewise cubic whose slopes come from the nearest points alone.

Akima 1970, J. ACM 17, 589. It is computed here because ``scipy.interpolate`` takes longer to load
than most fits take.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scaling_law.fit.laws.law import Floats

# Where slopes change on neither side by more than this share of the largest change, it has no say.
_NO_CHANGE = 1e-9


@dataclass(frozen=True)
class Akima:
    """Curves through values [s, ...] at increasing places ``x`` [s], of at least three points.

    On each piece [s - 1, ...] the value is ((cubic t + square) t + line) t + start, t the distance
    from the piece's lower end.
    """

    x: Floats
    cubic: Floats
    square: Floats
    line: Floats
    start: Floats

    def at(self, places: Floats) -> Floats:
        """The curves' values at other places [n]: [n, ...], NaN beyond the ends."""
        piece = np.searchsorted(self.x, places, side="right") - 1
        piece = np.clip(piece, 0, len(self.x) - 2)
        t = _column(places - self.x[piece], self.start)
        value = self.start[piece] + self.line[piece] * t
        value = value + self.square[piece] * (t * t) + self.cubic[piece] * (t * t * t)
        outside = _column((places < self.x[0]) | (places > self.x[-1]), self.start)
        return np.where(outside, np.nan, value)


def akima(x: Floats, y: Floats) -> Akima:
    """Akima's curves through ``y`` [s, ...] at ``x`` [s]; at least three points."""
    width = _column(np.diff(x), y)
    between = np.diff(y, axis=0) / width
    # the slopes continue beyond the ends as they change there: two more pieces on each side
    before = 2 * between[0] - between[1]
    after = 2 * between[-1] - between[-2]
    ends = 2 * before - between[0], 2 * after - between[-1]
    slopes = np.stack([ends[0], before, *between, after, ends[1]])
    change = np.abs(np.diff(slopes, axis=0))
    left, right = change[:-2], change[2:]
    both = left + right
    # the slope at a point lies nearer to that of the side along which slopes change less
    known = both > _NO_CHANGE * both.max()
    share = np.divide(left, both, out=np.zeros_like(both), where=known)
    weighted = slopes[1:-2] + share * (slopes[2:-1] - slopes[1:-2])
    at_points = np.where(known, weighted, 0.5 * (slopes[3:] + slopes[:-3]))
    bend = (at_points[:-1] + at_points[1:] - 2 * between) / width
    return Akima(
        x=x,
        cubic=bend / width,
        square=(between - at_points[:-1]) / width - bend,
        line=at_points[:-1],
        start=y[:-1],
    )


def _column(values: Floats, like: Floats) -> Floats:
    """Values [s] with as many further axes as ``like`` [s, ...] has."""
    return values.reshape(len(values), *[1] * (like.ndim - 1))
