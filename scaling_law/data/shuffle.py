"""Counter-based random numbers and permutations that no library version can change."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_GAMMA = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def words(seed: int, start: int, count: int) -> npt.NDArray[np.uint64]:
    """Return numbers ``start`` to ``start + count`` of SplitMix64's stream ``seed``, [count].

    A pure function: any stretch of the stream is computed without the numbers before it.
    """
    return words_at((seed + _GAMMA * start) & _MASK, np.arange(count))


def words_at(seed: int, positions: npt.NDArray[np.integer]) -> npt.NDArray[np.uint64]:
    """The numbers at ``positions`` (from 0) of SplitMix64's stream ``seed``, in their shape."""
    first = (seed + _GAMMA) & _MASK
    # array arithmetic wraps silently, as SplitMix64's definition needs
    z = positions.astype(np.uint64) * np.uint64(_GAMMA) + np.uint64(first)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def uniforms(seed: int, start: int, count: int) -> npt.NDArray[np.float64]:
    """Return the same stretch as floats in [0, 1), [count]."""
    return (words(seed, start, count) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def normals_at(seed: int, rows: npt.NDArray[np.integer], width: int) -> npt.NDArray[np.float64]:
    """Return standard normal numbers [B, width], a pure function of ``seed`` and each row's number.

    Box and Muller 1958 makes them of uniforms.
    """
    pairs = (width + 1) // 2
    places = rows[:, np.newaxis] * (2 * pairs) + np.arange(2 * pairs)
    uniform = ((words_at(seed, places) >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    radius = np.sqrt(-2 * np.log(uniform[:, :pairs]))
    angle = 2 * np.pi * uniform[:, pairs:]
    both = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    numbers: npt.NDArray[np.float64] = both[:, :width]
    return numbers


def permutation(seed: int, size: int) -> npt.NDArray[np.int64]:
    """A shuffle of ``range(size)``, [size]: the order of ``size`` random words."""
    return np.argsort(words(seed, 0, size), kind="stable").astype(np.int64, copy=False)
