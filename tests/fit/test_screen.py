"""Runs that do not belong to a fit: each rule finds its own, says why, and can be disabled."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import numpy as np
import pytest

from scaling_law.errors import ConfigError, FitError
from scaling_law.fit.checks.screen import RULES, screen
from scaling_law.fit.points.points import FitPoints, points_from_arrays


def grid(noise: float = 0.002, **changes: Any) -> FitPoints:
    """Six sizes by four horizons on Chinchilla's surface."""
    rng = np.random.default_rng(0)
    params = np.repeat(14e3 * 2.0 ** np.arange(6), 4)
    tokens = np.tile(4e5 * 2.0 ** np.arange(4), 6)
    losses = 1.8 + 480 * params**-0.35 + 2100 * tokens**-0.37
    losses *= np.exp(noise * rng.standard_normal(24))
    points = points_from_arrays(params, tokens, losses)
    return dataclasses.replace(points, **changes)


def with_losses(points: FitPoints, factors: dict[int, float]) -> FitPoints:
    losses = points.loss_nats.copy()
    for row, factor in factors.items():
        losses[row] *= factor
    return dataclasses.replace(points, loss_nats=losses)


def test_clean_runs_all_stay():
    points = grid()
    assert screen(points) is points


@pytest.mark.parametrize(
    ("rule", "broken", "rows"),
    [
        ("duplicates", grid().take([*range(24), 5]), 25),
        ("repeats", grid(tokens_unique=grid().tokens / np.where(np.arange(24) == 3, 5, 1)), 24),
        ("batch", grid(batch_tokens=np.where(np.arange(24) == 7, 8192.0, 512.0)), 24),
        ("plateau", with_losses(grid(), {0: 1.25}), 24),
        ("spike", with_losses(grid(), {22: 1.2}), 24),
    ],
)
def test_each_rule_leaves_out_its_run_and_can_be_disabled(rule, broken, rows):
    kept = screen(broken)
    assert len(kept) == rows - 1
    assert [reason.split(":")[0] for _, reason in kept.dropped] == [rule]
    assert len(screen(broken, keep=[rule])) == rows
    assert rule in RULES


def test_four_epochs_are_still_new_data():
    assert len(screen(grid(tokens_unique=grid().tokens / 4))) == 24
    with pytest.raises(FitError, match="every run is left out; first: repeats"):
        screen(grid(tokens_unique=grid().tokens / 4.1))


def test_runs_whose_batch_follows_a_rule_stay():
    points = grid()
    batch = np.exp2(np.round(np.log2(0.05 * points.tokens**0.571))).astype(np.float64)
    assert len(screen(dataclasses.replace(points, batch_tokens=batch))) == 24


@pytest.mark.parametrize("factor", [1.2, 1 / 1.2])
@pytest.mark.parametrize("row", [0, 3, 9, 20, 23])
def test_an_odd_loss_is_found_on_either_side_of_the_law(row, factor):
    kept = screen(with_losses(grid(noise=0.005), {row: factor}))
    [(name, reason)] = kept.dropped
    assert name == f"row{row + 1}"
    assert ("above the law" if factor > 1 else "below the law") in reason
    assert not kept.notes, "one odd run is no second surface"


def test_good_runs_of_few_tokens_below_a_law_stay():
    # losses stop growing near the logarithm of the vocabulary, of which a law knows nothing
    points = grid(noise=0.001)
    limited = dataclasses.replace(points, loss_nats=np.minimum(points.loss_nats, 11.8))
    assert (limited.loss_nats < points.loss_nats / 1.2).sum() >= 2
    assert not [r for _, r in screen(limited).dropped if r.startswith("too_low")]


def test_a_law_that_bends_leaves_nothing_out():
    points = grid()
    bent = dataclasses.replace(
        points, loss_nats=points.loss_nats * (1 + 0.3 * (points.params > 2e5))
    )
    kept = screen(bent)
    assert len(kept) >= 22
    many = with_losses(points, dict.fromkeys((0, 5, 10, 15), 1.4))
    noted = screen(many)
    assert len(noted) == 24 or all("above the law" in reason for _, reason in noted.dropped)


def half_of(points: FitPoints, seed: int = 1) -> list[int]:
    rows: list[int] = np.random.default_rng(seed).permutation(len(points))[::2].tolist()
    return rows


def test_half_of_the_rows_in_bits_are_named():
    points = grid(noise=0.005)
    rows = half_of(points)
    noted = screen(with_losses(points, dict.fromkeys(rows, 1 / math.log(2))))
    [note] = noted.notes
    assert len(noted) == 24 and "as bits are to nats" in note and "two units in one column?" in note
    first = [points.run_id[row] for row in sorted(rows)[:6]]
    assert note.endswith(f"the higher: {', '.join(first)} and 6 more")


def test_two_recipes_in_one_table_are_named():
    points = grid(noise=0.003)
    noted = screen(with_losses(points, dict.fromkeys(half_of(points), 1.05)))
    [note] = noted.notes
    assert re.search(r"12 of 24 runs (4\.[89]|5|5\.[12])% above the others", note)
    assert "runs lie on two surfaces" in note and "two recipes" in note


def test_two_counts_of_parameters_in_one_table_are_named():
    points = grid(noise=0.001)
    factors = np.ones(24)
    factors[half_of(points)] = 1.6
    noted = screen(dataclasses.replace(points, params=points.params * factors))
    [note] = noted.notes
    assert "parameters counted in two ways" in note


def test_noise_is_not_taken_for_two_recipes():
    for seed in range(10):
        rng = np.random.default_rng(seed)
        points = grid(noise=0)
        noisy = dataclasses.replace(
            points, loss_nats=points.loss_nats * np.exp(0.01 * rng.standard_normal(24))
        )
        assert screen(noisy) is noisy


def test_an_unknown_rule_is_named():
    with pytest.raises(
        ConfigError,
        match=r"'plateaus' \(did you mean plateau\?\): expected one of",
    ):
        screen(grid(), keep=["plateaus"])
