"""A sigmoid over sizes: its parameters where outcomes identify them, a reason where they do not."""

from __future__ import annotations

import numpy as np
import pytest

from scaling_law.experiment.sigmoid import Sigmoid, fit_sigmoid

# of 15 runs at each size: a jump, and a plateau far below 1
SHARES = {1: 0, 2: 0, 4: 12, 8: 9, 16: 9}


def test_a_planted_sigmoid_is_recovered():
    rng = np.random.default_rng(1)
    sizes = np.geomspace(100, 10_000, 9)
    outcomes = {
        size: list(rng.random(40) < 1 / (1 + (1000 / size) ** 2.0)) for size in map(float, sizes)
    }
    fit = fit_sigmoid(outcomes)
    assert isinstance(fit, Sigmoid)
    assert fit.middle_interval[0] < 1000 < fit.middle_interval[1]
    assert fit.slope_interval[0] < 2 < fit.slope_interval[1]
    assert fit.middle == pytest.approx(1000, rel=0.25) and fit.slope == pytest.approx(2, rel=0.25)
    assert fit.at(fit.middle) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("outcomes", "why"),
    [
        ({}, "no run has finished"),
        ({1.0: [True], 2.0: [True, True]}, "every run of 3"),
        ({1.0: [False], 2.0: [False]}, "no run of 2"),
        ({1.0: [True, False]}, "one size"),
        ({1.0: [False] * 5, 2.0: [True] * 5}, "too sharply"),
        ({float(n): [place < SHARES[n] for place in range(15)] for n in SHARES}, "no sigmoid"),
        ({1.0: [True, False], 2.0: [False, True], 4.0: [True, False]}, "does not clearly rise"),
    ],
)
def test_outcomes_that_identify_no_sigmoid_are_refused(outcomes, why):
    fit = fit_sigmoid(outcomes)
    assert isinstance(fit, str) and why in fit
