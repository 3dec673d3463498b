"""Runs are sorted into groups, what is left out is counted, and claims need what they need."""

from __future__ import annotations

import dataclasses

import pytest

from scaling_law.data.tasks.copy import Settings as Copy
from scaling_law.experiment.answer import PreconditionError
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.groups import (
    every,
    grouped,
    left_out,
    need_sizes,
    task_settings,
)
from scaling_law.spec.component import Component
from scaling_law.spec.data import TaskSpec
from tests.fakes import record_of, tiny_spec


def test_groups_are_in_the_order_of_their_keys_and_items_in_their_own():
    groups = grouped([(2, "b"), (1, "x"), (2, "a")])
    assert list(groups.items()) == [(1, ["x"]), (2, ["b", "a"])]
    assert every(groups) == ["x", "b", "a"]


def test_the_settings_of_a_task_are_those_of_its_source():
    plain = tiny_spec()
    assert task_settings(plain, "copy", Copy) is None
    source = Component(name="copy", settings=(("length", 5),))
    spec = dataclasses.replace(plain, data=TaskSpec(source=source))
    assert task_settings(spec, "copy", Copy) == Copy(length=5)
    assert task_settings(spec, "addition", Copy) is None


def test_runs_that_an_analysis_does_not_use_are_counted():
    runs = tuple(Run(record=record_of(tiny_spec(seed=seed)), curve=()) for seed in (0, 1))
    evidence = Evidence(runs=runs)
    assert left_out(evidence, 2, "of another task") == []
    assert left_out(evidence, 0, "of another task") == ["runs left out, of another task: 2"]


@pytest.mark.parametrize(
    ("seeds", "said"),
    [
        ({}, "0 sizes have finished"),
        ({10: 2, 20: 2}, "2 sizes have finished"),
        ({10: 2, 1000: 1, 2000: 1}, "one seed has finished at 1,000, 2,000 parameters"),
    ],
)
def test_claims_about_size_need_sizes_and_seeds(seeds, said):
    with pytest.raises(PreconditionError, match=said):
        need_sizes({size: [None] * count for size, count in seeds.items()})


def test_three_sizes_with_two_seeds_are_enough():
    need_sizes({size: [None, None] for size in (10, 20, 30)})
