"""Values that are made to fall only."""

from __future__ import annotations

import pytest

from scaling_law.fit.solver.isotonic import falling_levels


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], []),
        ([2.0], [(0, 1, 2.0)]),
        ([3.0, 2.0, 1.0], [(0, 1, 3.0), (1, 2, 2.0), (2, 3, 1.0)]),
        ([4.0, 1.0, 2.0, 0.0], [(0, 1, 4.0), (1, 3, 1.5), (3, 4, 0.0)]),
        ([1.0, 2.0, 3.0], [(0, 3, 2.0)]),
    ],
)
def test_values_that_rise_are_joined_at_their_mean(values, expected):
    levels = falling_levels(values)
    assert [(at.start, at.stop, level) for at, level in levels] == expected
