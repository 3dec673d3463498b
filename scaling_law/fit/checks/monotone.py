"""Checks that loss falls where it should, and measures how much seeds differ."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from scaling_law.fit.points.points import FitPoints

# A rise of loss counts beyond this many standard deviations of the difference of two runs.
MONOTONE_SIGMAS = 2.0
_SAME_LOG = 1e-4


@dataclass(frozen=True, kw_only=True)
class Rise:
    """A loss that rose where it should fall.

    ``along``: what grows, ``tokens`` or ``params``.
    ``lower``: run id of the smaller run.
    ``higher``: run id of the larger run.
    ``rise_log``: rise of log loss.
    ``allowed_log``: the rise that seed noise explains.
    """

    along: str
    lower: str
    higher: str
    rise_log: float
    allowed_log: float


def sizes_in_order(points: FitPoints) -> list[str]:
    """Names of the sizes from the smallest up, by their median params."""
    params: dict[str, list[float]] = defaultdict(list)
    for name, value in zip(points.size, points.params, strict=True):
        params[name].append(float(value))
    return sorted(params, key=lambda name: (float(np.median(params[name])), name))


def seed_noise(points: FitPoints) -> tuple[float | None, int]:
    """Pooled standard deviation of log loss over repeats (None without any), and their groups.

    Repeats share recipe, size, params and tokens but not their trunk.
    """
    groups: dict[tuple[str, str, int, int], dict[str, float]] = defaultdict(dict)
    recipes = points.recipe or ("",) * len(points)
    for row, recipe in enumerate(recipes):
        key = recipe, points.size[row], _bin(points.params[row]), _bin(points.tokens[row])
        groups[key][points.cluster[row]] = math.log(points.loss_nats[row])
    repeats = [np.array(list(g.values())) for g in groups.values() if len(g) > 1]
    # losses equal to the last bit are one run listed twice, not a repeat
    repeats = [values for values in repeats if np.ptp(values) > 0]
    if not repeats:
        return None, 0
    squares = sum(float(((v - v.mean()) ** 2).sum()) for v in repeats)
    return math.sqrt(squares / sum(len(v) - 1 for v in repeats)), len(repeats)


def _bin(value: float) -> int:
    return round(math.log(value) / 1e-3)


def find_rises(points: FitPoints, noise_log: float) -> tuple[list[Rise], int]:
    """Where loss rises beyond noise, and how many neighbours were compared.

    Along tokens it compares neighbours within a trunk (within a size, where no trunks are known).
    Along params it compares each run with the next smaller size at the same tokens, whose log loss
    is interpolated in log tokens between its horizons, never beyond them; a chord lies above the
    curve, so interpolation adds no rise.
    """
    allowed = MONOTONE_SIGMAS * math.sqrt(2) * noise_log + 1e-9
    logs, rises, pairs = np.log(points.loss_nats), [], 0
    trunks: dict[str, list[int]] = defaultdict(list)
    # a table without trunks has one run a trunk: then the runs of a size are compared
    names = points.cluster if points.n_clusters < len(points) else points.size
    for row in np.argsort(points.tokens, kind="stable").tolist():
        trunks[names[row]].append(row)
    for rows in trunks.values():
        for low, high in itertools.pairwise(rows):
            if points.tokens[high] > points.tokens[low] * (1 + _SAME_LOG):
                pairs += 1
                rises.append(("tokens", low, high, float(logs[high] - logs[low])))
    members = _rows_by_size(points)
    for small, large in itertools.pairwise(sizes_in_order(points)):
        compared = _against(points, members[small], members[large])
        pairs += len(compared)
        rises += compared
    return [
        Rise(
            along=along,
            lower=points.run_id[low],
            higher=points.run_id[high],
            rise_log=rise,
            allowed_log=allowed,
        )
        for along, low, high, rise in rises
        if rise > allowed
    ], pairs


def _rows_by_size(points: FitPoints) -> dict[str, list[int]]:
    members: dict[str, list[int]] = defaultdict(list)
    for row, name in enumerate(points.size):
        members[name].append(row)
    return members


def _against(
    points: FitPoints, small: list[int], large: list[int]
) -> list[tuple[str, int, int, float]]:
    """(params, nearest run of the smaller size, run, rise of log loss) at equal tokens."""
    tokens, losses = np.log(points.tokens), np.log(points.loss_nats)
    horizons, place, times = np.unique(
        np.round(tokens[small], 3), return_inverse=True, return_counts=True
    )
    means = np.bincount(place, losses[small]) / times
    rises = []
    for row in large:
        if horizons[0] - 1e-3 <= tokens[row] <= horizons[-1] + 1e-3:
            before = float(np.interp(tokens[row], horizons, means))
            nearest = small[int(np.abs(tokens[small] - tokens[row]).argmin())]
            rises.append(("params", nearest, row, float(losses[row]) - before))
    return rises
