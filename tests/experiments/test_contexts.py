"""Runs by context: what counts as one setting, and what lies at equal compute."""

from __future__ import annotations

import dataclasses

import pytest

from scaling_law.experiment.contexts import common_flops, equal_compute, equal_tokens, seen_in
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.spec.counts import flops_per_token
from tests.experiments.test_contract import planted_evidence


@pytest.fixture(scope="module")
def planted() -> Evidence:
    return planted_evidence("context")


def with_losses(evidence: Evidence, loss) -> Evidence:
    runs = (
        dataclasses.replace(run, record=dataclasses.replace(run.record, val_loss_nats=loss(run)))
        for run in evidence.runs
    )
    return dataclasses.replace(evidence, runs=tuple(runs))


def test_equal_compute_lies_between_horizons_by_exact_flops(planted):
    """Where the loss is a power of compute, every context has the same loss at one compute."""

    def loss(run: Run) -> float:
        return 5 * (flops_per_token(run.spec.model) * run.spec.tokens / 1e10) ** -0.1

    seen = seen_in(with_losses(planted, loss))
    losses = equal_compute(seen)
    assert sorted(losses) == [16, 32, 64, 128, 256]
    flat = [value for seeds in losses.values() for value in seeds.values()]
    assert flat == pytest.approx([flat[0]] * len(flat))
    assert len(flat) == 15


def test_equal_tokens_are_those_of_the_longest_horizon(planted):
    seen = seen_in(planted)
    assert seen.tokens == 262144 and list(equal_tokens(seen)) == [16, 32, 64, 128, 256]
    assert {len(own) for own in equal_tokens(seen).values()} == {3}


def test_one_context_has_no_compute_in_common(planted):
    runs = tuple(run for run in planted.runs if run.spec.model.n_ctx == 16)
    seen = seen_in(dataclasses.replace(planted, runs=runs))
    assert common_flops(seen) is None and equal_compute(seen) == {}
