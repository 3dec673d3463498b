"""Accuracy by way of the loss: what the analysis says of planted and of insufficient evidence."""

from __future__ import annotations

import dataclasses
import math
import random
import re
from statistics import fmean

import pytest

from scaling_law.experiment.evidence import Evidence
from scaling_law.experiment.score_chain import unexplained
from scaling_law.parts import module_of
from tests.experiments.test_contract import experiment_of, planted_evidence

downstream = module_of("experiment", "downstream")
CHOICE = downstream.CHOICE


@pytest.fixture(scope="module")
def planted() -> Evidence:
    return planted_evidence("downstream")


def changed(evidence: Evidence, metrics) -> Evidence:
    """The evidence with other metrics; ``metrics(record)`` gives those that change."""
    runs = tuple(
        dataclasses.replace(
            run,
            record=dataclasses.replace(
                run.record, metrics={**run.record.metrics, **metrics(run.record)}
            ),
        )
        for run in evidence.runs
    )
    return dataclasses.replace(evidence, runs=runs)


def claims_of(evidence: Evidence) -> dict[str, tuple[bool | None, str]]:
    findings = experiment_of("downstream").analyse(evidence)
    return {claim.name: (claim.established, claim.because) for claim in findings.claims}


def test_a_score_that_is_a_plane_of_logs_is_explained_wholly(planted):
    ones = [one for run in planted.ended if (one := downstream.seen(run))]

    def plane(one) -> float:
        return 2 + 0.3 * math.log(one.params) - 0.1 * math.log(one.tokens)

    assert unexplained(ones, plane) == pytest.approx(0, abs=1e-9)
    bent = unexplained(ones, lambda one: plane(one) ** 4)
    assert bent is not None and bent > 1e-6
    assert unexplained(ones, lambda one: 1.0) is None


def test_a_task_that_no_run_learns_establishes_nothing(planted):
    chance = changed(planted, lambda record: {f"{CHOICE}.accuracy": 0.26})
    for established, because in claims_of(chance).values():
        assert established is None and "guessing answers 0.250" in because


def test_a_largest_size_that_gains_nothing_is_no_test(planted):
    same = changed(planted, lambda record: {f"{CHOICE}.accuracy": 0.5})
    for established, because in claims_of(same).values():
        assert established is None and "another set of questions" in because


def test_few_questions_cannot_tell_two_ways_apart(planted):
    few = changed(planted, lambda record: {f"{CHOICE}.questions": 40.0})
    established, because = claims_of(few)["two_steps_beat_compute"]
    assert established is None and "another set of questions" in because


def test_a_lead_counts_beyond_its_interval_and_not_beyond_one_standard_error(planted):
    claims = claims_of(planted)
    established, because = claims["two_steps_beat_compute"]
    assert established is True
    found = re.search(r", ([+-][\d.]+) \(([+-][\d.]+) to ([+-][\d.]+) by", because)
    assert found is not None
    lead, low, high = found.groups()
    assert 0 < float(low) < float(lead) <= float(high)
    # of fewer questions the lead is more than one standard error still, and no longer certain
    noise = float(lead) / 1.3
    questions = 0.25 / noise**2
    few = changed(planted, lambda record: {f"{CHOICE}.questions": questions})
    established, because = claims_of(few)["two_steps_beat_compute"]
    assert established is None and "the interval includes 0" in because


def test_the_interval_of_a_lead_holds_where_questions_shift_all_accuracies(planted):
    """Accuracies shifted at random, and the predictions as they are: as often as the level says."""
    ones = [one for run in planted.ended if (one := downstream.seen(run))]
    held = downstream.split(ones, "coupled")
    ours, theirs = held.errors("two_steps"), held.errors("compute")
    true = fmean(map(abs, theirs)) - fmean(map(abs, ours))
    draws, inside = random.Random(0), 0
    for _ in range(400):
        shift = draws.gauss(0, held.held[0].noise)
        low, high = downstream._lead_interval(
            held, [error + shift for error in ours], [error + shift for error in theirs]
        )
        inside += low <= true <= high
    assert inside >= 0.9 * 400


def test_one_size_or_horizon_is_too_few(planted):
    (size, *_) = sorted({run.record.params_matmul for run in planted.ended})
    some = tuple(run for run in planted.runs if run.record.params_matmul == size)
    for established, because in claims_of(dataclasses.replace(planted, runs=some)).values():
        assert established is None and because


def test_a_first_step_that_misses_the_loss_leaves_claims_about_two_steps_open(planted):
    largest = max(run.record.params_matmul for run in planted.ended)
    worse = changed(
        planted,
        lambda record: (
            {f"{CHOICE}.nats": 2 * record.metrics[f"{CHOICE}.nats"]}
            if record.params_matmul == largest
            else {}
        ),
    )
    claims = claims_of(worse)
    for name in ("two_steps_are_close", "two_steps_beat_compute", "two_steps_beat_error_law"):
        established, because = claims[name]
        assert established is None and "the first step misses the loss by" in because, name


def test_accuracies_that_scatter_more_than_the_questions_are_not_decided_by_the_loss(planted):
    def scattered(record):
        return {
            f"{CHOICE}.accuracy": record.metrics[f"{CHOICE}.accuracy"]
            + (-1) ** record.spec.seed * 0.03
        }

    established, because = claims_of(changed(planted, scattered))["loss_decides"]
    assert established is False and "chi-squared" in because
    few = changed(planted, lambda record: {**scattered(record), f"{CHOICE}.questions": 200.0})
    assert claims_of(few)["loss_decides"][0] is True


def test_errors_within_what_questions_leave_open_are_not_close(planted):
    few = changed(planted, lambda record: {f"{CHOICE}.questions": 400.0})
    established, because = claims_of(few)["two_steps_are_close"]
    assert established is None and "the interval includes 0.02; more questions" in because


def test_a_scatter_of_cells_that_chi_squared_misses_is_not_established(planted):
    """By size up and down by turns: less than the test finds, and more than the questions show."""
    sizes = sorted({run.record.params_matmul for run in planted.runs})

    def bent(record):
        up = (-1) ** sizes.index(record.params_matmul)
        accuracy = record.metrics[f"{CHOICE}.accuracy"] + 0.0085 * up
        return {f"{CHOICE}.accuracy": accuracy, f"{CHOICE}.questions": 4000.0}

    established, because = claims_of(changed(planted, bent))["loss_decides"]
    assert established is None and "is not excluded" in because


def test_a_step_that_other_questions_would_undo_is_not_established(planted):
    few = changed(planted, lambda record: {f"{CHOICE}.questions": 400.0})
    established, because = claims_of(few)["scores_degrade"]
    assert established is None and "a step is within that" in because
