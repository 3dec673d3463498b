"""What ``lstm_context`` says of evidence that does not bear its claims."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from scaling_law.experiment.evidence import Run
from tests.experiments.test_contract import experiment_of, planted_evidence

NAME = "lstm_context"
METRIC = "position_loss.val."


def findings_of(change: Callable[[Run], Run | None]):
    evidence = planted_evidence(NAME)
    runs = tuple(new for run in evidence.runs if (new := change(run)) is not None)
    return experiment_of(NAME).analyse(dataclasses.replace(evidence, runs=runs))


def is_lstm(run: Run) -> bool:
    return run.spec.model.architecture.name == "lstm"


def with_metrics(run: Run, shift: Callable[[str], float]) -> Run:
    metrics = {name: value + shift(name) for name, value in run.record.metrics.items()}
    return dataclasses.replace(run, record=dataclasses.replace(run.record, metrics=metrics))


def standing(findings) -> dict[str, bool | None]:
    return {claim.name: claim.established for claim in findings.claims}


@pytest.mark.parametrize(
    "change",
    [
        lambda run: None if is_lstm(run) else run,
        lambda run: run if run.spec.seed == 0 else None,
        lambda run: dataclasses.replace(run, record=dataclasses.replace(run.record, metrics={})),
        lambda run: None if is_lstm(run) and run.spec.optim.lr > 0.03 else run,
    ],
    ids=["one architecture", "one seed", "without the probe", "a rate at the edge"],
)
def test_what_a_claim_needs_is_asked_for(change):
    findings = findings_of(change)
    assert set(standing(findings).values()) == {None}
    assert findings.verdict.startswith("Not established")


def test_an_lstm_that_stays_ahead_is_said_to_and_the_lines_do_not_cross():
    ahead = findings_of(lambda run: with_metrics(run, lambda name: -1.0) if is_lstm(run) else run)
    assert standing(ahead) == {
        "lstm_stops": True, "transformer_gains_longer": True, "lines_cross": False,
    }  # fmt: skip
    assert ahead.measures["crossing"] is None
    assert "the lines do not cross by the end" in ahead.verdict


def test_an_lstm_that_gains_to_the_end_does_not_stop():
    last = f"{METRIC}129-256"
    gains = findings_of(
        lambda run: with_metrics(run, lambda name: -0.1 * (name == last)) if is_lstm(run) else run
    )
    assert standing(gains)["lstm_stops"] is False
    assert "the LSTM still gains at positions 129-256" in gains.verdict
