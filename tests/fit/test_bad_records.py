"""Sweeps that support no law: a status or one clear line, never an invented number."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from scaling_law.errors import FitError
from scaling_law.files.record import RunRecord
from scaling_law.fit.laws import load_law
from scaling_law.fit.points.points import points_from_arrays, points_from_records
from scaling_law.fit.suite import FitSettings, FitSuite, fit_suite
from scaling_law.fit.summary import format_suite
from scaling_law.plan.make import make_plan
from tests.fakes import cpu_profile, ladder_config, record_of

TRUE = {"E": 1.8, "A": 60.0, "B": 200.0, "alpha": 0.34, "beta": 0.37}


@pytest.fixture(scope="module")
def branches() -> list[RunRecord]:
    """Annealed runs of the quick grid's shape on Chinchilla's surface, .2% noise."""
    plan = make_plan(ladder_config(), cpu_profile(), train_tokens=10**9)
    generator = np.random.default_rng(0)
    records = []
    for run in plan.runs:
        blank = record_of(run.spec)
        at = {"params": np.array([blank.params_matmul]), "tokens": np.array([blank.tokens])}
        loss = float(load_law("chinchilla").predict(TRUE, at)[0])
        loss *= math.exp(0.002 * generator.normal())
        records.append(dataclasses.replace(blank, val_loss_nats=loss))
    return [record for record in records if record.kind == "branch"]


def fitted(records: list[RunRecord]) -> FitSuite:
    """The suite without intervals, its document checked to be strict and its page to print."""
    suite = fit_suite(records, FitSettings(resamples=0))
    json.dumps(suite.to_json(), allow_nan=False)
    assert format_suite(suite)
    return suite


@pytest.mark.parametrize("loss", [None, math.nan, math.inf, -1.0, 0.0])
def test_a_run_without_a_usable_loss_is_left_out_by_name(branches, loss):
    broken = dataclasses.replace(branches[0], val_loss_nats=loss, val_loss_sem_nats=None)
    points = points_from_records([broken, *branches[1:]])
    assert len(points) == len(branches) - 1
    assert dict(points.dropped)[broken.run_id] == (f"loss is {loss}, expected above 0 and finite")


def test_a_run_given_twice_counts_once(branches):
    once, twice = points_from_records(branches), points_from_records([*branches, *branches])
    assert twice.run_id == once.run_id
    assert len(twice.dropped) - len(once.dropped) == len(branches)
    assert "counted once" in twice.dropped[0][1]


def test_one_horizon_still_gives_the_law_in_size(branches):
    longest: dict[int, RunRecord] = {}
    for record in branches:
        held = longest.setdefault(record.params_matmul, record)
        if record.tokens > held.tokens:
            longest[record.params_matmul] = record
    suite = fitted(list(longest.values()))
    assert suite.laws["kaplan_n"].usable
    refused = suite.laws["kaplan_d"]
    assert (refused.status, refused.params) == ("too_few_points", {})
    assert refused.message.startswith("tokens span")


def test_one_size_gives_the_law_in_tokens_and_no_joint_law(branches):
    size = max(r.params_matmul for r in branches)
    suite = fitted([r for r in branches if r.params_matmul == size])
    assert suite.laws["kaplan_d"].usable
    assert suite.laws["chinchilla"].status == "too_few_points"
    assert suite.laws["kaplan_n"].status == "too_few_points"
    assert suite.validation.verdict.startswith("not validated")


def test_an_unfittable_set_of_runs_is_one_line_with_what_to_add(branches):
    with pytest.raises(FitError, match="no finished runs to fit"):
        fit_suite([])
    for few in (branches[:1], branches[:2]):
        with pytest.raises(FitError, match=r"no law can be fitted: .* add sizes or horizons"):
            fit_suite(few)
    same = [dataclasses.replace(r, val_loss_nats=3.0) for r in branches]
    with pytest.raises(FitError, match="24 points, all of one loss; expected losses that differ"):
        fit_suite(same)


@pytest.mark.slow
def test_losses_that_rise_give_no_trusted_law(branches):
    rising = [
        dataclasses.replace(r, val_loss_nats=0.1 * math.log(r.tokens) + 0.1 * r.params_matmul**0.1)
        for r in branches
    ]
    suite = fitted(rising)
    assert suite.laws["chinchilla"].status != "converged"


def test_columns_of_different_lengths_are_named():
    with pytest.raises(FitError, match="cluster has 2 values, loss has 3"):
        points_from_arrays([1e4, 2e4, 3e4], [1e6] * 3, [4.0, 3.9, 3.8], cluster=["a", "b"])
