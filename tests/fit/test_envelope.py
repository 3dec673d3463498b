"""Approach 1: which runs are on the envelope, its exponents, its refusals."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from scaling_law.errors import FitError
from scaling_law.fit.approaches.envelope import envelope_rows, fit_envelope
from scaling_law.fit.approaches.power_line import power_line
from scaling_law.fit.points.points import points_from_arrays


def surface(params: Any, tokens: Any) -> Any:
    return 1.8 + 480 * params**-0.35 + 2100 * tokens**-0.37


def test_a_dominated_run_is_not_on_the_envelope():
    points = points_from_arrays(
        [1e5, 2e5, 3e5, 1e5, 4e5], [1e6] * 5, [4.0, 3.5, 3.6, 3.4, 3.0], flops=[1, 2, 3, 2, 4]
    )
    assert envelope_rows(points) == [0, 3, 4]


def test_a_fine_grid_recovers_the_planted_exponents():
    params = np.repeat(np.geomspace(1e5, 1e10, 101), 60)
    flops = np.tile(np.geomspace(1e16, 1e20, 60), 101)
    tokens = flops / (6 * params)
    result = fit_envelope(points_from_arrays(params, tokens, surface(params, tokens), flops=flops))
    assert result.status == "fitted"
    assert result.exponents["a"] == pytest.approx(0.37 / 0.72, abs=0.005)
    assert result.exponents["b"] == pytest.approx(0.35 / 0.72, abs=0.005)
    interval = result.lines["params"].interval
    assert interval is not None
    low, high = interval
    assert low < 0.37 / 0.72 < high
    at = result.lines["params"].at(1e18) * result.lines["tokens"].at(1e18) * 6
    assert at == pytest.approx(1e18, rel=1e-6)


def test_the_interval_is_the_slopes_student_t():
    rng = np.random.default_rng(0)
    flops = np.geomspace(1, 100, 6)
    covered = 0
    for _ in range(400):
        values = 3 * flops**0.5 * np.exp(0.1 * rng.standard_normal(6))
        interval = power_line("params", flops, values, level=0.9).interval
        assert interval is not None
        low, high = interval
        covered += low < 0.5 < high
    assert 0.86 < covered / 400 < 0.94


def test_one_size_and_too_few_points_are_refused():
    tokens = np.geomspace(1e6, 1e7, 5)
    params = np.full(5, 1e5)
    one = fit_envelope(points_from_arrays(params, tokens, surface(params, tokens)))
    assert one.status == "refused" and "one size" in one.reason and one.lines == {}
    few = fit_envelope(points_from_arrays([1e5, 2e5, 3e5], [1e6] * 3, [3.0, 2.9, 2.8]))
    assert few.status == "refused" and "3 points" in few.reason
    assert few.exponents == {}


def test_edges_and_few_points_are_reported():
    params = np.repeat(14e3 * 2.0 ** np.arange(6), 4)
    tokens = np.tile(4e5 * 2.0 ** np.arange(4), 6)
    result = fit_envelope(points_from_arrays(params, tokens, surface(params, tokens)))
    assert result.status == "fitted"
    assert any("smallest or largest size" in note for note in result.notes)
    plain = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert plain["exponents"]["a"] == result.exponents["a"]
    assert math.isfinite(plain["lines"]["tokens"]["exponent"])


def test_a_level_out_of_range_is_an_error():
    with pytest.raises(FitError, match="expected between 0 and 1"):
        fit_envelope(points_from_arrays([1e5, 2e5], [1e6, 2e6], [3, 2]), level=1.5)
