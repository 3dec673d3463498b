"""What ``expert_load`` says of evidence that does not bear its claims."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from scaling_law.experiment.evidence import Run
from tests.experiments.test_contract import experiment_of, planted_evidence
from tests.fakes import Noise

NAME = "expert_load"


def findings_of(change: Callable[[Run], Run | None]):
    evidence = planted_evidence(NAME)
    runs = tuple(new for run in evidence.runs if (new := change(run)) is not None)
    return experiment_of(NAME).analyse(dataclasses.replace(evidence, runs=runs))


def is_free(run: Run) -> bool:
    return dict(run.spec.model.architecture.settings).get("balance", 0.01) == 0


def with_metrics(run: Run, metrics: dict[str, float]) -> Run:
    return dataclasses.replace(run, record=dataclasses.replace(run.record, metrics=metrics))


@pytest.mark.parametrize(
    "change",
    [
        lambda run: None if is_free(run) else run,
        lambda run: run if run.spec.seed == 0 else None,
        lambda run: with_metrics(run, {}),
    ],
    ids=["one arm", "one seed", "without the probe"],
)
def test_what_a_claim_needs_is_asked_for(change):
    findings = findings_of(change)
    assert {claim.established for claim in findings.claims} == {None}


def test_an_expert_without_tokens_is_idle_though_loads_are_balanced():
    def idle(run: Run) -> Run:
        share = Noise(run.record.run_id).on(0.01)
        shares = {"expert_load.share.layers.1.experts.3": share}
        return run if is_free(run) else with_metrics(run, {**run.record.metrics, **shares})

    findings = findings_of(idle)
    standing = {claim.name: claim.established for claim in findings.claims}
    assert standing["none_is_idle"] is False and standing["balancing_evens"] is True
    assert "some experts are idle" in findings.verdict


def test_runs_without_loads_are_counted():
    findings = findings_of(lambda run: with_metrics(run, {}) if run.spec.seed == 2 else run)
    assert any("did not measure their loads: 4" in note for note in findings.notes)
