"""Scale and limit of each shape are those of weighted least squares, the limit bounded below."""

from __future__ import annotations

import numpy as np
import pytest

from scaling_law.experiment.with_limit import solve

X = np.array([1.0, 2.0, 4.0, 8.0])
SHAPES = X ** -np.array([[0.5], [1.0], [2.0]])


@pytest.mark.parametrize("weights", [np.ones(4), np.array([1.0, 3.0, 0.5, 2.0])])
def test_the_true_shape_has_no_misses(weights):
    misses, scales, limits = solve(SHAPES, 3 / X + 0.25, weights)
    assert misses.argmin() == 1 and misses[1] == pytest.approx(0, abs=1e-20)
    assert (scales[1], limits[1]) == (pytest.approx(3), pytest.approx(0.25))


def test_the_solution_is_numpys_and_a_bound_holds_the_limit():
    y, weights = np.array([3.0, 1.0, 0.6, 0.1]), np.array([1.0, 3.0, 0.5, 2.0])
    _, scales, limits = solve(SHAPES, y, weights)
    for shape, scale, limit in zip(SHAPES, scales, limits, strict=True):
        design = np.stack([shape, np.ones(4)], axis=1) * np.sqrt(weights)[:, np.newaxis]
        expected = np.linalg.lstsq(design, y * np.sqrt(weights), rcond=None)[0]
        assert (scale, limit) == tuple(pytest.approx(number) for number in expected)
    assert limits.min() < 0 < limits.max()
    _, bounded_scales, bounded = solve(SHAPES, y, weights, least=0.0)
    assert bounded.min() == 0
    free = limits > 0
    assert np.array_equal(bounded[free], limits[free])
    for shape, scale in zip(SHAPES[~free], bounded_scales[~free], strict=True):
        assert scale == pytest.approx((weights * shape * y).sum() / (weights * shape**2).sum())


def test_a_flat_shape_has_the_mean_as_its_limit():
    _, scales, limits = solve(np.ones((1, 4)), np.array([1.0, 2.0, 3.0, 6.0]), np.ones(4))
    assert (scales[0], limits[0]) == (0, 3)
