"""The interval of the compute-optimal split of a budget, from a fit's samples."""

from __future__ import annotations

from scaling_law.fit.result import FitResult
from scaling_law.fit.solver.interval import count_interval
from scaling_law.fit.surface import Allocation, surface_of

# Share of the samples that must have an optimum, or the rest would be falsely narrow.
_MOST_HAVE_ONE = 0.9


def split_intervals(
    fit: FitResult, split: Allocation, flops: float, level: float
) -> tuple[tuple[float, float] | None, tuple[float, float] | None]:
    """(of params, of tokens) that spend a budget in FLOPs (6ND) best, over the fit's samples.

    ``split`` is the law's own. None, None without samples, or where some have no optimum.
    """
    names, draws = tuple(fit.params), []
    for values in fit.samples:
        try:
            surface = surface_of(fit.law, dict(zip(names, values, strict=True)))
        except (OverflowError, ValueError):
            continue
        if surface and surface.allocation:
            draws.append(surface.allocation.params(flops))
    if len(draws) < _MOST_HAVE_ONE * len(fit.samples):
        return None, None
    found = count_interval(fit, split.params(flops), draws, level=level)
    if found is None:
        return None, None
    # under C = 6ND the fewest params go with the most tokens
    return found, (flops / 6 / found[1], flops / 6 / found[0])
