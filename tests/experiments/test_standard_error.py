"""Standard errors that add up, with the degrees of freedom of the sum."""

from __future__ import annotations

import numpy as np
import pytest

from scaling_law.experiment.seeds import jackknifed, mean_over
from scaling_law.experiment.standard_error import (
    StandardError,
    jackknifed_at_best,
    mean_at_best,
    summed,
    through_fits,
)
from scaling_law.fit.solver.student import t_reach


def test_equal_errors_have_the_freedom_of_all_and_a_large_one_has_its_own():
    one = StandardError(0.3, 4)
    both = summed([one, one])
    assert both.value == pytest.approx(0.3 * 2**0.5) and both.freedom == 8
    assert summed([StandardError(1.0, 2), StandardError(0.01, 50)]).freedom == 2
    assert summed([one]) == one and summed([one.times(-2)]) == StandardError(0.6, 4)


def test_an_error_of_0_adds_nothing_whatever_it_rests_on():
    assert summed([StandardError(0.2, 3), StandardError(0.0, 0)]) == StandardError(0.2, 3)
    assert summed([StandardError(0.0, 3), StandardError(0.0, 5)]) == StandardError(0.0, 3)
    assert summed([]) == StandardError(0.0, 0)
    # one that nothing was measured by leaves the sum without an interval
    assert summed([StandardError(0.2, 3), StandardError(0.1, 0)]).freedom == 0


def test_the_reach_is_students_and_wider_for_one_of_several():
    one = StandardError(0.1, 5)
    assert one.reach(0.9) == pytest.approx(0.1 * t_reach(5, 0.9))
    assert one.reach(0.9, of=4) == pytest.approx(0.1 * t_reach(5, 0.975))


@pytest.mark.parametrize("deviations", [(1.0, 1.0, 1.0), (4.0, 2.0, 1.0), (1.0, 0.1, 10.0)])
def test_intervals_of_a_sum_of_unlike_noises_hold_as_often_as_they_say(deviations):
    draw, held, count, seeds = np.random.default_rng(0), 0, 1000, 4
    for _ in range(count):
        values = draw.normal(0, np.array(deviations)[:, None], (len(deviations), seeds))
        errors = values.std(axis=1, ddof=1) / seeds**0.5
        error = summed(StandardError(float(own), seeds - 1) for own in errors)
        held += abs(values.mean(axis=1).sum()) <= error.reach(0.9)
    assert 0.87 <= held / count <= 0.93


def test_what_all_seeds_share_widens_the_interval_of_their_mean():
    values = [1.0, 1.2, 1.1]
    alone, wide = (mean_at_best(values, fits) for fits in ((), (StandardError(0.5, 40),)))
    assert alone == mean_over(values)
    assert wide is not None and wide.interval is not None and wide.value == pytest.approx(1.1)
    # the error of seeds is 0.058 with 2 degrees of freedom: that of the fit decides
    assert wide.interval[1] - wide.value == pytest.approx(1.68 * 0.503, rel=0.01)
    one = mean_at_best([1.0], [StandardError(0.5, 40)])
    assert one is not None and one.interval is None and mean_at_best([], []) is None


def test_the_errors_of_fits_go_through_a_number_read_off_the_losses():
    """Of a - 2 b they are the error of a and twice that of b; c has none that is known."""
    logs = {"a": {0: 1.0, 1: 1.1}, "b": {0: 0.5, 1: 0.6}, "c": {0: 0.0, 1: 0.0}}
    fits = {"a": StandardError(0.01, 5), "b": StandardError(0.02, 7), "c": StandardError(0.0, 3)}
    first, second = through_fits(lambda own: own["a"][0] - 2 * own["b"][0], logs, fits)
    assert first.value == pytest.approx(0.01) and first.freedom == 5
    assert second.value == pytest.approx(0.04) and second.freedom == 7


def test_a_jackknife_with_errors_of_fits_is_wider_and_without_them_as_it_was():
    alone = jackknifed(2.0, [1.9, 2.0, 2.1])
    assert jackknifed_at_best(2.0, [1.9, 2.0, 2.1], ()) == alone
    wide = jackknifed_at_best(2.0, [1.9, 2.0, 2.1], [StandardError(0.5, 40)])
    assert wide.interval is not None and alone.interval is not None
    assert wide.interval[1] > alone.interval[1]
    assert jackknifed_at_best(2.0, [1.9], ()).interval is None
