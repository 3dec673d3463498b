"""Failures of a computation end as one line that names a run; faults of the program do not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from scaling_law.errors import FitError
from scaling_law.fit.numerics import numerical_failures


@pytest.mark.parametrize(
    "fails",
    [
        lambda: math.log(0.0),
        lambda: math.exp(1e4),
        lambda: np.linalg.inv(np.zeros((2, 2))),
        lambda: 1 / 0,
    ],
)
def test_a_numerical_failure_is_one_clear_line(fails):
    with (
        pytest.raises(FitError, match="no law can be computed from") as caught,
        numerical_failures(),
    ):
        fails()
    assert len(caught.value.lines) == 1


def test_a_fault_of_the_program_passes_through():
    with pytest.raises(ValueError, match="not enough values"), numerical_failures():
        _, _ = list("1")
