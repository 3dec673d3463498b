"""What ``transfer`` says of runs that do not support a claim, and what it trains next."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.findings import Findings
from scaling_law.spec.data import DataSpec
from tests.experiments.changed import findings_with, standing
from tests.experiments.test_contract import experiment_of, planted_evidence

NAME = "transfer"


def changed(change: Callable[[Run], float | None]) -> Findings:
    """The findings with every curve changed by a factor, None for a run that has not finished."""

    def one(run: Run) -> Run | None:
        factor = change(run)
        if factor is None:
            return None
        curve = (
            dataclasses.replace(p, val_loss_nats=factor * (p.val_loss_nats or 0.0))
            for p in run.curve
        )
        return dataclasses.replace(run, curve=tuple(curve))

    return findings_with(NAME, one)


def is_tuned(run: Run) -> bool:
    return run.spec.start_from is not None


def test_each_pretrained_model_is_tuned_on_its_own_seeds_text():
    evidence = planted_evidence(NAME)
    parents = {run.record.run_id: run for run in evidence.runs}
    tuned = [run for run in evidence.runs if is_tuned(run)]
    assert tuned
    for run in tuned:
        assert run.spec.start_from is not None and isinstance(run.spec.data, DataSpec)
        parent = parents[run.spec.start_from.run_id]
        assert (parent.spec.model, parent.spec.seed) == (run.spec.model, run.spec.seed)
        assert isinstance(parent.spec.data, DataSpec)
        assert parent.spec.data.domains != run.spec.data.domains
        assert run.spec.data.unique_from == "whole"


def test_without_the_second_stage_it_says_what_is_missing():
    findings = changed(lambda run: None if is_tuned(run) else 1.0)
    assert set(standing(findings).values()) == {None}
    assert "no fine-tuning has finished" in findings.verdict


def test_a_loss_that_scratch_does_not_reach_gives_no_effective_data():
    findings = changed(lambda run: 0.3 if is_tuned(run) else 1.0)
    claims = standing(findings)
    assert claims["pretraining_helps"] is True
    assert claims["grows_with_size"] is None and findings.measures["alpha"] is None
    assert any("below all from scratch" in note for note in findings.notes)


def test_pretraining_that_hurts_is_no_transfer():
    findings = changed(lambda run: 2.0 if is_tuned(run) else 1.0)
    assert standing(findings)["pretraining_helps"] is False
    assert findings.measures["alpha"] is None


def test_a_loss_that_still_falls_is_counted():
    evidence = planted_evidence(NAME)
    runs = tuple(
        run if is_tuned(run) else dataclasses.replace(run, curve=run.curve[:1])
        for run in evidence.runs
    )
    findings = experiment_of(NAME).analyse(dataclasses.replace(evidence, runs=runs))
    assert standing(findings)["text_is_the_limit"] is False
    (because,) = (c.because for c in findings.claims if c.name == "text_is_the_limit")
    assert "by tokens: 960 (9 of 9), 1.98K (9 of 9)" in because
    assert any("gains are over a loss from scratch that still fell" in n for n in findings.notes)


def test_no_runs_establish_nothing():
    findings = experiment_of(NAME).analyse(Evidence(runs=()))
    assert set(standing(findings).values()) == {None}
    assert findings.measures["beta"] is None


def test_the_exponents_are_those_of_each_seed():
    findings = changed(lambda run: 1.0 if run.spec.seed == 0 else None)
    assert findings.measures["alpha"] == pytest.approx(0.3, abs=0.1)
    assert standing(findings)["grows_with_size"] is None, "one seed has no interval"
