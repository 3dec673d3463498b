"""What the analysis of progress measures says of evidence that does not bear its claims."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from scaling_law.experiment.evidence import Evidence
from tests.experiments.test_contract import experiment_of, planted_evidence

NAME = "grokking_progress"


@pytest.fixture(scope="module")
def planted() -> Evidence:
    return planted_evidence(NAME)


def changed(evidence: Evidence, change: Callable[[int, dict[str, float]], dict[str, float]]):
    """The same runs with other metrics; ``change`` gets the step and the metrics of a point."""
    runs = tuple(
        dataclasses.replace(
            run,
            curve=tuple(
                dataclasses.replace(point, metrics=change(point.step, dict(point.metrics)))
                for point in run.curve
            ),
        )
        for run in evidence.runs
    )
    findings = experiment_of(NAME).analyse(dataclasses.replace(evidence, runs=runs))
    return findings, {claim.name: claim.established for claim in findings.claims}


def test_frequencies_that_rise_with_the_accuracy_contradict_the_claim(planted):
    findings, claims = changed(planted, lambda _, m: {**m, "fourier.column": m["accuracy.val"]})
    assert claims["frequencies_first"] is False
    assert "changes mostly as it generalises" in findings.verdict


def test_a_norm_that_rises_is_reported_as_seen(planted):
    findings, claims = changed(planted, lambda step, m: {**m, "weight_norm": 10 + 0.1 * step})
    assert claims["norm_falls"] is False
    assert "the norm of its weights does not fall" in findings.verdict


def test_runs_that_do_not_generalise_decide_nothing(planted):
    findings, claims = changed(planted, lambda _, m: {**m, "accuracy.val": 0.02})
    assert set(claims.values()) == {None}
    assert "have not memorised and generalised in 600 steps" in findings.verdict


def test_runs_that_predict_other_pairs_on_memorising_have_no_silence(planted):
    findings, claims = changed(
        planted, lambda _, m: {**m, "accuracy.val": max(0.36, m["accuracy.val"])}
    )
    assert claims["frequencies_first"] is claims["frequencies_begin_before"] is None
    assert "validation accuracy is 0.36 already" in findings.verdict
    assert claims["norm_falls"] is True


def test_without_runs_without_decay_only_their_claims_are_open(planted):
    runs = tuple(run for run in planted.runs if run.spec.optim.weight_decay)
    findings = experiment_of(NAME).analyse(dataclasses.replace(planted, runs=runs))
    claims = {claim.name: claim.established for claim in findings.claims}
    assert claims == {
        "frequencies_first": True,
        "frequencies_begin_before": None,
        "frequencies_need_decay": None,
        "norm_falls": True,
    }
