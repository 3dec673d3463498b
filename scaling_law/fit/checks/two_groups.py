"""Finds tables whose runs lie on two surfaces: two recipes, two counts of parameters, two units.

One law through both describes neither. Log losses are fitted by a smooth surface in log params and
log tokens plus a step for one group, in turn with the group of each run (a regression with two
components), from many starts. Noise, divided so, leaves groups that lie a few standard deviations
apart at most; two recipes leave a gap.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scaling_law.fit.points.points import FitPoints, Floats

# The smaller group has at least this share of the runs; fewer are odd runs.
LEAST_SHARE = 0.25
# Groups lie this far apart in log loss, and in standard deviations within them.
LEAST_GAP_LOG, LEAST_GAP_SIGMAS = 0.015, 8.0
# With fewer points any labels fit; with more one surface per recipe has scatter enough to be seen.
_LEAST_POINTS, _MOST_POINTS = 20, 2000
# From so many points on the surface has cubic terms.
_CUBIC_POINTS = 60
_STARTS, _ROUNDS = 150, 20
# Losses in bits are 1 / ln 2 times those in nats.
_BITS_LOG, _BITS_WITHIN = -math.log(math.log(2)), 0.03
_SHOWN = 6


@dataclass(frozen=True, kw_only=True)
class TwoGroups:
    """Runs on two surfaces.

    ``above``: whether each run is in the group of higher losses [n].
    ``gap_log``: how far this group lies above the other in the middle run, in log loss.
    ``sigma_log``: the scatter within the groups, in log loss.
    """

    above: NDArray[np.bool_]
    gap_log: float
    sigma_log: float

    @property
    def in_bits(self) -> bool:
        """Whether the groups are apart by the factor between nats and bits."""
        return abs(self.gap_log - _BITS_LOG) < _BITS_WITHIN

    def words(self, points: FitPoints) -> str:
        """What a reader should know."""
        is_few = self.above.sum() <= len(self.above) / 2
        rows = np.flatnonzero(self.above if is_few else ~self.above)
        listed = ", ".join(points.run_id[row] for row in rows[:_SHOWN])
        if len(rows) > _SHOWN:
            listed += f" and {len(rows) - _SHOWN} more"
        count = f"{int(self.above.sum())} of {len(self.above)} runs"
        side = "higher" if is_few else "lower"
        if self.in_bits:
            return (
                f"{count} have losses {math.exp(self.gap_log):.3g} times those of the others, as"
                f" bits are to nats (1.44): two units in one column? the {side}: {listed}"
            )
        return (
            f"runs lie on two surfaces, {count} {100 * math.expm1(self.gap_log):.2g}% above the"
            f" others, with {100 * self.sigma_log:.2g}% of scatter within: two recipes, or"
            f" parameters counted in two ways? fit each alone (--where, --by); the {side}: {listed}"
        )


def find_two_groups(points: FitPoints) -> TwoGroups | None:
    """The two groups that the runs fall into; None for one group, or where none can be told."""
    if not _LEAST_POINTS <= len(points) <= _MOST_POINTS:
        return None
    logs = np.stack([np.log(points.params), np.log(points.tokens)], axis=1)
    logs = (logs - logs.mean(axis=0)) / np.maximum(logs.std(axis=0), 1e-9)
    losses = np.log(points.loss_nats)
    plain = _powers(logs, 3 if len(points) >= _CUBIC_POINTS else 2)
    generator = np.random.default_rng(0)
    best: tuple[float, NDArray[np.bool_], Floats] | None = None
    for _ in range(_STARTS):
        above = _start(generator, _powers(logs, 2), losses)
        squares, above, gap = _settled(plain, logs[:, :1], losses, above)
        if best is None or squares < best[0]:
            best = squares, above, gap
    assert best is not None
    squares, above, gap = best
    if np.median(gap) < 0:
        above, gap = ~above, -gap
    free = len(points) - plain.shape[1] - 2
    sigma = math.sqrt(squares / free)
    middle = float(np.median(gap))
    few = min(above.sum(), (~above).sum())
    apart = min(middle, float(np.abs(gap).mean()))
    if few < LEAST_SHARE * len(points) or apart < max(LEAST_GAP_LOG, LEAST_GAP_SIGMAS * sigma):
        return None
    return TwoGroups(above=above, gap_log=middle, sigma_log=sigma)


def _powers(logs: Floats, degree: int) -> Floats:
    x, y = logs.T
    columns = [x**i * y**j for i in range(degree + 1) for j in range(degree + 1 - i)]
    return np.stack(columns, axis=1)


def _start(generator: np.random.Generator, surface: Floats, losses: Floats) -> NDArray[np.bool_]:
    """The runs far off a surface through a few of them, which may be all of one group."""
    few = generator.choice(len(losses), surface.shape[1] + 1, replace=False)
    plane = np.linalg.lstsq(surface[few], losses[few], rcond=None)[0]
    off = np.abs(losses - surface @ plane)
    return np.asarray(off > np.median(off))


def _settled(
    plain: Floats, sizes: Floats, losses: Floats, above: NDArray[np.bool_]
) -> tuple[float, NDArray[np.bool_], Floats]:
    """Squares left, groups and the gap of each run [n], once no run changes its group.

    The gap may change with size, as it does between two counts of parameters.
    """
    step = np.hstack([np.ones_like(sizes), sizes])
    for _ in range(_ROUNDS):
        design = np.hstack([plain, step * above[:, None]])
        solved = np.linalg.lstsq(design, losses, rcond=None)[0]
        off = losses - plain @ solved[: plain.shape[1]]
        gap = step @ solved[plain.shape[1] :]
        before, above = above, np.abs(off - gap) < np.abs(off)
        if np.array_equal(before, above):
            break
    left = np.where(above, off - gap, off)
    return float(left @ left), above, gap
