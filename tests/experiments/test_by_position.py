"""Losses by position: where blocks stand, which seeds have them, what a run gains along them."""

from __future__ import annotations

import math

import pytest

from scaling_law.experiment.by_position import by_place, by_place_and_seed, gain_along, places_of
from tests.experiments.changed import with_metrics
from tests.experiments.test_contract import planted_evidence


@pytest.fixture(scope="module")
def run():
    return next(run for run in planted_evidence("context").runs if run.spec.model.n_ctx == 16)


def test_blocks_stand_at_their_geometric_middle(run):
    assert list(by_place(run, "position")) == pytest.approx(
        [1, 2, math.sqrt(12), math.sqrt(40), 12]
    )
    assert by_place(run, "elsewhere") == {}


def test_only_places_that_all_seeds_have_count(run):
    more = with_metrics(run, {"position_loss.val.17-32": 2.0, "position_loss.val.1": 9.0})
    both = by_place_and_seed({0: run, 1: more}, "position")
    assert list(both) == list(by_place(run, "position"))
    assert both[1.0] == {0: by_place(run, "position")[1.0], 1: 9.0}
    assert places_of({0: run, 1: more}, "position")[1.0][1] == 9.0
    assert by_place_and_seed({}, "position") == {}


def test_the_gain_begins_at_a_position(run):
    own = by_place(run, "position")
    assert gain_along(run, 8) == pytest.approx(own[12.0] - own[12.0])
    assert gain_along(run, 2) == pytest.approx(own[2.0] - own[12.0])
