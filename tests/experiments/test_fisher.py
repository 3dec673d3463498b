"""Fisher's exact test against its table of tea and milk, and against scipy."""

from __future__ import annotations

import pytest

from scaling_law.experiment.fisher import fisher_chance


def test_the_lady_tasting_tea():
    """Fisher 1935: of 8 cups 4 with milk first; all right by chance in 1 of 70, 3 in 17 of 70."""
    assert fisher_chance(4, 4, 0, 4) == pytest.approx(1 / 70)
    assert fisher_chance(3, 4, 1, 4) == pytest.approx(17 / 70)


@pytest.mark.parametrize("counts", [(10, 25, 2, 25), (1, 5, 3, 9), (0, 3, 3, 4)])
def test_it_equals_the_hypergeometric_tail(counts):
    from scipy.stats import hypergeom

    right, total, other, rest = counts
    tail = hypergeom.sf(right - 1, total + rest, right + other, total)
    assert fisher_chance(*counts) == pytest.approx(tail)
