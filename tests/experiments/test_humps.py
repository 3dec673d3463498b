"""Falls, rises and falls of a curve, and how far they exceed what counts."""

from __future__ import annotations

import math

import pytest

from scaling_law.experiment.humps import Hump, hump_of, peak_lead, swing

DESCENT = [(0.25, 3.0), (0.5, 2.0), (1.0, 12.0), (2.0, 3.0), (4.0, 1.0)]


def test_the_highest_value_after_the_first_rise_is_the_peak():
    assert hump_of(DESCENT) == Hump(before=2.0, peak=12.0, after=1.0, x=1.0)
    assert hump_of([(0.1, 50.0), *DESCENT]) == hump_of(DESCENT)
    assert hump_of([(1.0, 3.0), (2.0, 2.0), (3.0, 2.0)]) is None
    assert hump_of([]) is None


def test_a_peak_leads_the_larger_of_its_sides():
    assert peak_lead(DESCENT, 0.9, 1.1, times=2) == pytest.approx(math.log(12 / (2 * 2)))
    assert peak_lead(DESCENT, 0.9, 1.1, times=7) < 0


def test_a_higher_value_elsewhere_is_no_lead_unless_it_is_before_the_first_rise():
    later = [*DESCENT, (8.0, 24.0)]
    assert peak_lead(later, 0.9, 1.1, times=2) == pytest.approx(math.log(12 / 24))
    before = [(0.1, 50.0), *DESCENT]
    assert peak_lead(before, 0.9, 1.1, times=2) == pytest.approx(math.log(12 / 4))


def test_values_that_only_fall_have_no_lead():
    falling = [(x, 1 / x) for x in (0.5, 1.0, 2.0)]
    assert peak_lead(falling, 0.9, 1.1, times=2) < 0


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        (DESCENT, math.log(6 / 1.2)),  # the rise decides: 6 against 12 * .65
        ([(1, 2.0), (2, 12.0), (3, 8.0)], math.log(1.5 * 0.65)),  # it does not fall far enough
        ([(1, 3.0), (2, 2.0)], math.log(0.65)),
    ],
)
def test_the_smaller_of_rise_and_fall_decides(points, expected):
    assert swing(points, rise=0.2, fall=0.35) == pytest.approx(expected)
