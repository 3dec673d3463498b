"""Fisher's exact test of two shares: runs of two groups that got somewhere, out of all of them."""

from __future__ import annotations

import math


def fisher_chance(right: int, total: int, other: int, rest: int) -> float:
    """Return how likely chance alone puts at least ``right`` of ``total`` into the first group.

    ``other`` of ``rest`` are those of the second group. One-sided, with both margins given (Fisher
    1935, hypergeometric).
    """
    solved, everyone = right + other, total + rest
    ways = math.comb(everyone, solved)
    most = min(solved, total)
    return sum(
        math.comb(total, k) * math.comb(rest, solved - k) / ways for k in range(right, most + 1)
    )
