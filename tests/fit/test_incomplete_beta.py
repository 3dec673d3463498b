"""The incomplete beta function, its quantile and F's tail, beside scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

from scaling_law.fit.solver.incomplete_beta import beta_quantile, f_chance, incomplete_beta


def test_the_function_and_its_quantile_are_scipys():
    rng = np.random.default_rng(0)
    for a, b, x in zip(
        *(10 ** rng.uniform(-0.5, 3.2, (2, 300))), rng.uniform(size=300), strict=True
    ):
        share = incomplete_beta(a, b, x)
        assert share == pytest.approx(special.betainc(a, b, x), abs=1e-11)
    for a, b, share in ((1, 5, 0.05), (3, 1, 0.95), (200.0, 57.5, 0.5), (0.5, 0.5, 0.1)):
        assert beta_quantile(share, a, b) == pytest.approx(special.betaincinv(a, b, share))
    assert (incomplete_beta(2, 3, 0.0), incomplete_beta(2, 3, 1.0)) == (0.0, 1.0)


@pytest.mark.parametrize("value", [0.01, 1.0, 4.0, 300.0])
@pytest.mark.parametrize("free", [(1, 1), (2, 4), (5, 2), (3, 40)])
def test_the_tail_of_f_is_scipys(value, free):
    assert f_chance(value, *free) == pytest.approx(stats.f.sf(value, *free), rel=1e-9)
    assert f_chance(0.0, *free) == 1.0
