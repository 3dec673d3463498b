"""FLOPs that a table gives stay as given: a target's are read by the table's own factor."""

from __future__ import annotations

import math

import numpy as np
import pytest

from scaling_law.fit.approaches.parametric import fit_law
from scaling_law.fit.flops_count import FlopsCount, flops_knots
from scaling_law.fit.points.points import FitPoints, points_from_arrays
from scaling_law.fit.result import FitResult
from scaling_law.forecast.allocate import allocate
from scaling_law.forecast.budget import Budget
from scaling_law.forecast.extrapolate import extrapolate
from scaling_law.forecast.session import SourcedLaw
from scaling_law.forecast.target import Target


def factor(params: float) -> float:
    """What the planted table counts over 6ND: the more, the smaller the model."""
    return 1 + 0.5 * (params / 1e7) ** -0.3


def planted(*, given: bool = True) -> FitPoints:
    params, ratio = map(np.ravel, np.meshgrid([1e7, 3e7, 1e8, 3e8, 1e9], [5.0, 20.0, 80.0]))
    tokens = params * ratio
    flops = 6 * params * tokens * np.array([factor(n) for n in params])
    losses = 1.7 + 400 / params**0.34 + 410 / tokens**0.28
    return points_from_arrays(params, tokens, losses, flops=flops if given else None)


@pytest.fixture(scope="module")
def fitted() -> FitResult:
    return fit_law(planted(), "chinchilla")


def test_the_factor_is_that_of_the_tables_sizes():
    count = FlopsCount(flops_knots(planted()))
    for params in (1e7, 1e8, 1e9):
        assert count.factor(params) == pytest.approx(factor(params))
    assert factor(1e8) < count.factor(5e7) < factor(3e7)
    assert (count.factor(1e6), count.factor(1e12)) == pytest.approx((factor(1e7), factor(1e9)))
    assert flops_knots(planted(given=False)) == () and FlopsCount().factor(1e8) == 1
    assert FlopsCount().in_6nd(1e20, lambda flops: 1e8) == 1e20


@pytest.mark.parametrize("params", [3e7, 1e9])
def test_the_flops_of_a_run_in_the_table_mean_that_run(fitted, params):
    tokens = params * 80
    flops = 6 * params * tokens * factor(params)
    for target in (
        Target(params=params, tokens=tokens),
        Target(params=params, flops=flops),
        Target(tokens=tokens, flops=flops),
    ):
        at = extrapolate(fitted, target)
        assert (at.params, at.tokens, at.flops) == pytest.approx((params, tokens, flops), rel=1e-6)
        assert at.convention["flops"] == "as given"
    largest = extrapolate(fitted, Target(params=1e9, tokens=8e10))
    assert largest.beyond_data["flops"] == pytest.approx(1)


def test_a_budget_alone_is_spent_as_the_table_counts(fitted):
    at = extrapolate(fitted, Target(flops=1e21))
    assert at.params is not None and at.tokens is not None and at.flops is not None
    assert 6 * at.params * at.tokens * factor(1e9) == pytest.approx(1e21, rel=1e-6)
    loss = extrapolate(fitted, Target(target_loss=at.loss_nats))
    assert loss.flops == pytest.approx(1e21, rel=1e-4)
    answer = allocate(SourcedLaw(fit=fitted, origin="planted"), Budget(unit="flops", amount=1e21))
    assert answer.choice.params == pytest.approx(at.params, rel=1e-3)
    assert answer.choice.flops == pytest.approx(1e21, rel=1e-6)
    assert answer.cost.flops == answer.choice.flops


def test_the_factor_survives_json_and_is_absent_at_6nd(fitted):
    assert FitResult.from_json(fitted.to_json()).flops_over_6nd == fitted.flops_over_6nd
    plain = fit_law(planted(given=False), "chinchilla")
    assert "flops_over_6nd" not in plain.to_json()
    at = extrapolate(plain, Target(flops=1e21))
    assert at.convention["flops"] == "6nd" and at.params is not None and at.tokens is not None
    assert math.isclose(6 * at.params * at.tokens, 1e21, rel_tol=1e-9)
