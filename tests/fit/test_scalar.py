"""Roots and minima of a function of one number."""

import math

import pytest
from scipy import optimize
from scipy.special import ndtri, stdtrit

from scaling_law.fit.solver.scalar import minimum, root
from scaling_law.fit.solver.student import normal_reach, t_reach


@pytest.mark.parametrize(
    ("function", "low", "high"),
    [
        (lambda x: math.log(1.7 + 400 * math.exp(-0.3 * x)) - 0.9, 0.0, 138.0),
        (lambda x: x**3 - 0.008, -1.0, 2.0),
        (lambda x: math.exp(x) - 1e30, 0.0, 100.0),
        (lambda x: min(1e9, 5 - x), 0.0, 138.0),
        (lambda x: -1.0 if x < 0.3 else 1.0, 0.0, 1.0),
        (lambda x: x - 2.0, 2.0, 5.0),
    ],
)
def test_a_root_is_scipys(function, low, high):
    expected = optimize.brentq(function, low, high, xtol=1e-13)
    assert root(function, low, high) == pytest.approx(expected, abs=2e-12)
    assert root(function, high, low) == pytest.approx(expected, abs=2e-12)


def test_a_function_without_a_change_of_sign_has_no_root():
    with pytest.raises(ValueError, match="one sign"):
        root(lambda x: x * x + 1, -1.0, 1.0)


@pytest.mark.parametrize(
    "function", [lambda x: (x - 3.3) ** 2, lambda x: abs(x - 0.1), lambda x: -math.sin(x), math.exp]
)
def test_a_minimum_is_scipys(function):
    bounded = optimize.minimize_scalar(
        function, bounds=(0.0, 4.0), method="bounded", options={"xatol": 1e-10}
    )
    assert minimum(function, 0.0, 4.0) == pytest.approx(bounded.x, abs=1e-7)


@pytest.mark.parametrize("level", [0.5, 0.683, 0.9, 0.99, 0.9999])
def test_quantiles_are_scipys(level):
    for free in (*range(1, 12), 31, 100, 239, 999, 1000, 1001, 10**6):
        assert t_reach(free, level) == pytest.approx(stdtrit(free, 0.5 + level / 2), rel=1e-10)
    assert normal_reach(level) == pytest.approx(ndtri(0.5 + level / 2), rel=1e-14)
