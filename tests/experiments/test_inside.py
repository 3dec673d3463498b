"""Numbers over seeds between two limits: established, contradicted, and left open."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

from scaling_law.experiment.answer import PreconditionError
from scaling_law.experiment.inside import all_inside


def test_means_inside_and_outside_are_decided():
    near, far = [0.98, 1.0, 1.02], [1.48, 1.5, 1.52]
    within, words = all_inside({"at 1": near, "at 2": near}, 0.9, 1.1, "ratios")
    assert within and words.startswith("ratios 1 (0.966 to 1.03, 3 seeds) at 1, 1 (")
    assert all_inside({"at 1": near, "at 2": far}, 0.9, 1.1)[0] is False


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([1.0, 1.1, 1.2], "an interval includes a limit"),
        ([1.0], "fewer than two seeds at 1"),
        ([1.0, 1.0, 1.0], "says nothing of its error"),
    ],
)
def test_what_seeds_leave_open_is_said(values, why):
    with pytest.raises(PreconditionError, match=why):
        all_inside({"at 1": values}, 0.9, 1.1)


def test_one_of_many_that_is_outside_by_chance_contradicts_nothing():
    """The mean at the limit is outside of it as often as the tail says, whatever the number."""
    rng = np.random.default_rng(0)
    contradicted = 0
    for _ in range(300):
        each = {str(k): list(1.1 + 0.02 * rng.standard_normal(3)) for k in range(6)}
        with contextlib.suppress(PreconditionError):
            contradicted += not all_inside(each, 0.9, 1.1)[0]
    assert contradicted / 300 < 0.1
