"""pass@n: counted without bias, and predicted by a beta-binomial."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from scaling_law.experiment.attempts import BetaBinomial, fit_beta_binomial, pass_at


def test_pass_at_n_is_the_mean_over_all_choices_of_n_answers():
    answers = {"a": (1, 0, 0, 1, 0), "b": (0, 0, 0, 0, 0), "c": (0, 1, 0, 0, 0)}
    right = {2: 1.0, 0: 1.0, 1: 1.0}
    for n in range(1, 6):
        choices = [
            any(chosen) for row in answers.values() for chosen in itertools.combinations(row, n)
        ]
        expected = sum(choices) / len(choices)
        assert pass_at(right, 5, n) == pytest.approx(expected)


@pytest.mark.parametrize("n", [0, 6])
def test_more_answers_than_were_drawn_are_refused(n):
    with pytest.raises(ValueError, match=f"n is {n}, expected 1 to the 5 answers drawn"):
        pass_at({1: 1.0}, 5, n)


def test_a_beta_binomial_gives_the_expected_pass_at_n():
    probabilities = np.random.default_rng(0).beta(0.4, 1.6, size=200_000)
    planted = BetaBinomial(mean=0.2, strength=2.0)
    for n in (1, 4, 64):
        assert planted.at(n) == pytest.approx((1 - (1 - probabilities) ** n).mean(), abs=0.004)


def test_a_planted_beta_binomial_is_found_from_few_answers():
    planted = BetaBinomial(mean=0.1, strength=3.0)
    fit = fit_beta_binomial({n: planted.at(n) for n in (1, 2, 4, 8)})
    assert isinstance(fit, BetaBinomial)
    assert fit.strength == pytest.approx(3.0, rel=0.02)
    assert fit.at(64) == pytest.approx(planted.at(64), abs=0.002)


@pytest.mark.parametrize(
    ("points", "why"),
    [
        ({1: 0.5}, "at another n"),
        ({2: 0.5, 4: 0.6}, "pass@1"),
        ({1: 0.0, 2: 0.0}, "all alike"),
        ({1: 1.0, 2: 1.0}, "all alike"),
    ],
)
def test_points_that_identify_no_beta_binomial_are_refused(points, why):
    fit = fit_beta_binomial(points)
    assert isinstance(fit, str) and why in fit


def test_equal_questions_are_a_beta_binomial_of_great_strength():
    fit = fit_beta_binomial({n: 1 - 0.9**n for n in (1, 2, 4, 8)})
    assert isinstance(fit, BetaBinomial) and math.isclose(fit.at(64), 1 - 0.9**64, abs_tol=0.002)
