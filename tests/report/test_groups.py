"""Which runs of a sweep share a colour."""

from __future__ import annotations

import pytest

from scaling_law.report.groups import grouped


def arms(kinds: int, rates: int) -> list[tuple[tuple[str, str], ...]]:
    return [
        (("model.activation", f"kind{kind}"), ("optim.lr_mult", f"{rate}"))
        for kind in range(kinds)
        for rate in range(rates)
    ]


@pytest.mark.parametrize(
    ("kinds", "rates", "groups"),
    [
        (2, 4, 8),  # few: each its own
        (3, 4, 3),  # more: rates of one arm are one group
        (12, 3, 12),
        (11, 1, 11),
        (1, 20, 20),  # rates alone, in order
        (13, 3, 1),  # too many for colours: the sizes
    ],
)
def test_arms_that_colours_cannot_tell_apart_share_one(kinds, rates, groups):
    every = arms(kinds, rates)
    group_of, title = grouped(every)
    assert list(group_of) == every
    assert len(set(group_of.values())) == groups
    assert ("learning rates" in title) == (1 < groups < len(every))
