"""What ``repetition`` says of runs that do not support a claim."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.findings import Findings
from scaling_law.experiment.text_amounts import amount_of
from tests.experiments.changed import findings_with, standing, with_loss
from tests.experiments.test_contract import experiment_of, planted_evidence

NAME = "repetition"


def changed(change: Callable[[Run], float | None]) -> Findings:
    """The findings with every loss times a factor, None for a run that has not finished."""

    def one(run: Run) -> Run | None:
        factor = change(run)
        return None if factor is None else with_loss(run, lambda loss: factor * loss)

    return findings_with(NAME, one)


def epochs(run: Run) -> float:
    return run.spec.tokens / (amount_of(run.spec) or run.spec.tokens)


def test_each_part_of_the_text_has_runs_on_as_many_new_tokens():
    runs = [run for run in planted_evidence(NAME).runs if run.record.kind != "trunk"]
    new = {run.spec.tokens for run in runs if amount_of(run.spec) is None}
    assert {run.spec.tokens for run in runs} == new
    assert max(map(epochs, runs)) > 16


def test_without_new_text_nothing_is_established():
    findings = changed(lambda run: None if amount_of(run.spec) is None else 1.0)
    assert set(standing(findings).values()) == {None}
    assert "no run on new text has finished" in findings.verdict


def test_one_seed_decides_nothing():
    findings = changed(lambda run: 1.0 if run.spec.seed == 0 else None)
    assert set(standing(findings).values()) == {None}
    assert "one seed of some setting has finished" in findings.verdict


def test_repeats_that_cost_early_contradict_four_free_epochs():
    findings = changed(lambda run: 1.05 if epochs(run) >= 2 else 1.0)
    assert standing(findings)["four_epochs_are_nearly_new"] is False
    assert findings.measures["near.u16384"] == pytest.approx(1.3, abs=0.4)


def test_losses_on_no_law_decide_no_constant():
    findings = changed(lambda run: 1.06 if run.spec.tokens in (65536, 262144) else 1.0)
    claims = standing(findings)
    assert claims["saturating_law"] is False and claims["published_constant"] is None
    assert "misses these by" in findings.verdict


def test_repeats_that_are_new_text_have_no_constant():
    def flat(run: Run) -> float:
        assert run.record.val_loss_nats is not None
        noise = 1 + 1e-4 * (run.spec.seed - 1) * (1 if amount_of(run.spec) else -1)
        return (1 + 40 * run.spec.tokens**-0.3) * noise / run.record.val_loss_nats

    findings = changed(flat)
    assert standing(findings)["repeats_cost"] is None
    assert findings.measures["repeats.law"] is None and findings.measures["near.u32768"] is None
    assert "includes no difference" in findings.verdict


def test_a_loss_that_rises_with_epochs_is_said():
    findings = changed(lambda run: 1.5 if epochs(run) > 16 else 1.0)
    assert any("the loss rises with further epochs of 16.4K" in note for note in findings.notes)
    assert any("settings of more than 16 epochs" in note for note in findings.notes)
    assert standing(findings)["saturating_law"] is True, "the law is fitted up to 16 epochs"


def test_no_runs_establish_nothing():
    findings = experiment_of(NAME).analyse(Evidence(runs=()))
    assert set(standing(findings).values()) == {None}
