"""Inverse scaling: its task, and what its analysis says of losses that show no U-shape."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from scaling_law.data.tasks import quotation
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.spec.model import ModelSpec
from tests.experiments.test_contract import experiment_of, planted_evidence

NAME = "inverse_scaling"
ALTERED = "loss.val:altered"


def proverbs(split: str, count: int = 4000, **settings: Any):
    """The quoted proverbs of a split, which of their symbols are no successor, and the batch."""
    task = quotation.Settings(**settings)
    batch = quotation.examples(task, split, np.arange(count))
    plain = quotation.examples(task, "val:proverb", np.arange(count)).targets
    successor = dict(zip(plain[:, :-1].ravel(), plain[:, 1:].ravel(), strict=True))
    usual = np.vectorize(successor.get)(batch.targets[:, :-1])
    return batch.targets[:, 1:] != usual, batch


def test_a_quotation_repeats_its_proverb():
    batch = quotation.examples(quotation.Settings(length=5), "train", np.arange(50))
    assert batch.inputs.shape == (50, 10) and batch.targets.shape == (50, 5)
    assert np.array_equal(batch.inputs[:, :5], batch.targets)
    assert (batch.inputs[:, 5] == 16).all()
    assert np.array_equal(batch.inputs[:, 6:], batch.targets[:, :-1])


def test_every_symbol_has_one_successor_and_all_lie_on_one_circle():
    unusual, batch = proverbs("val:proverb", symbols=7, length=8)
    assert not unusual.any() and batch.weights is None
    assert (np.sort(batch.targets[:, :7], axis=1) == np.arange(7)).all()
    assert np.array_equal(batch.targets[:, 7], batch.targets[:, 0])


def test_a_share_of_proverbs_is_altered_in_one_symbol():
    unusual, _ = proverbs("train", altered=0.25)
    assert set(unusual.sum(axis=1)) == {0, 1}
    assert unusual.any(axis=1).mean() == pytest.approx(0.25, abs=0.03)


def test_only_the_altered_symbol_counts_in_its_split():
    unusual, batch = proverbs("val:altered", altered=0.0)
    assert batch.weights is not None and (batch.weights[:, 0] == 0).all()
    assert np.array_equal(batch.weights[:, 1:] == 1, unusual)
    assert unusual.any(axis=1).all() and unusual.any(axis=0).all()


def width_of(run: Run) -> int:
    assert isinstance(run.spec.model, ModelSpec)
    return run.spec.model.d_model


@pytest.fixture(scope="module")
def planted() -> Evidence:
    return planted_evidence(NAME)


def findings_with(evidence: Evidence, loss: Callable[[int, int], float]):
    """The findings with other final losses on altered symbols, by width and seed."""
    runs = tuple(
        dataclasses.replace(
            run,
            record=dataclasses.replace(
                run.record,
                metrics={
                    **run.record.metrics,
                    ALTERED: loss(width_of(run), run.spec.seed),
                },
            ),
        )
        for run in evidence.runs
    )
    findings = experiment_of(NAME).analyse(dataclasses.replace(evidence, runs=runs))
    return findings, findings.claims[0]


def test_a_loss_that_only_falls_contradicts_the_u_shape(planted):
    findings, claim = findings_with(planted, lambda width, seed: 8 / width + 0.01 * seed)
    assert claim.established is False and "not clearly worse" in findings.verdict


def test_a_loss_that_only_rises_contradicts_the_u_shape(planted):
    _, claim = findings_with(planted, lambda width, seed: width + 0.01 * seed)
    assert claim.established is False


def test_a_bump_within_the_noise_of_seeds_is_not_established(planted):
    noise = [-1.0, 1.3, 0.2, -0.6, 0.4]
    _, claim = findings_with(
        planted, lambda width, seed: 3.0 + (width == 8) * 0.5 + noise[(seed + width) % 5]
    )
    assert claim.established is None and "may be noise between seeds" in claim.because


def test_larger_models_that_are_worse_on_average_decide_nothing(planted):
    runs = tuple(
        dataclasses.replace(
            run, record=dataclasses.replace(run.record, val_loss_nats=float(width_of(run)))
        )
        for run in planted.runs
    )
    findings = experiment_of(NAME).analyse(dataclasses.replace(planted, runs=runs))
    assert findings.claims[0].established is None
    assert "larger models must be better there" in findings.verdict
    assert findings.claims[1].established is False
