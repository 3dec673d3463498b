"""The words for the seeds and warm-ups of tuned recipes."""

from __future__ import annotations

import dataclasses

import pytest

from scaling_law.experiment.conditions import conditions
from scaling_law.experiment.tuning import Optimum, trials_of, tuned
from tests.experiments.test_contract import planted_evidence


@pytest.fixture(scope="module")
def optima() -> tuple[Optimum, ...]:
    return tuned(trials_of(planted_evidence("optimizers").runs)).optima


def test_cells_alike_have_one_number_of_seeds_and_steps(optima):
    assert conditions(optima) == "4 seeds, a warm-up of 13 steps"


def test_cells_that_differ_have_a_range(optima):
    first = optima[0]
    fewer = dataclasses.replace(
        first,
        levels=dict(list(first.levels.items())[:2]),
        trials=tuple(dataclasses.replace(trial, warmup_steps=1) for trial in first.trials),
    )
    assert conditions([fewer, first]) == "2 to 4 seeds, warm-ups of 1 to 13 steps"
    assert conditions([fewer]) == "2 seeds, a warm-up of 1 step"


def test_a_cell_without_a_best_rate_says_nothing(optima):
    assert conditions([dataclasses.replace(optima[0], lr=None)]) == ""
