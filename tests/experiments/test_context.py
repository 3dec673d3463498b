"""How context reads losses by position, compares at equal compute, and what bad evidence gives."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import pytest

from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.findings import Claim
from tests.experiments.test_contract import experiment_of, planted_evidence


@pytest.fixture(scope="module")
def planted() -> Evidence:
    return planted_evidence("context")


def claims_of(evidence: Evidence) -> dict[str, Claim]:
    return {claim.name: claim for claim in experiment_of("context").analyse(evidence).claims}


def with_losses(evidence: Evidence, loss: Callable[[Run], float]) -> Evidence:
    """The same runs with the losses that ``loss`` gives."""
    runs = (
        dataclasses.replace(run, record=dataclasses.replace(run.record, val_loss_nats=loss(run)))
        for run in evidence.runs
    )
    return dataclasses.replace(evidence, runs=tuple(runs))


def with_metrics(evidence: Evidence, change: Callable[[str, float, Run], float]) -> Evidence:
    runs = []
    for run in evidence.runs:
        metrics = {name: change(name, value, run) for name, value in run.record.metrics.items()}
        runs.append(
            dataclasses.replace(run, record=dataclasses.replace(run.record, metrics=metrics))
        )
    return dataclasses.replace(evidence, runs=tuple(runs))


def test_the_longest_context_can_lose_at_equal_compute(planted):
    def loss(run: Run) -> float:
        level = 3.0 if run.spec.model.n_ctx == 256 else 2.5
        return level * (run.spec.tokens / 1e5) ** -0.05 * (1 + 0.001 * run.spec.seed)

    claims = claims_of(with_losses(planted, loss))
    assert claims["longest_wins_at_equal_compute"].established is False
    assert claims["longer_is_lower_at_equal_tokens"].established is False


def test_losses_on_no_power_law_contradict_it(planted):
    def change(name: str, value: float, run: Run) -> float:
        return value * (1.2 if name.endswith((".5-8", ".33-64")) else 1.0)

    assert claims_of(with_metrics(planted, change))["power_law_in_position"].established is False


@pytest.mark.parametrize(("gain", "standing"), [(-0.05, False), (0.0, None), (0.05, True)])
def test_masking_is_judged_seed_by_seed(planted, gain, standing):
    def loss(run: Run) -> float:
        is_masked = getattr(run.spec.model, "documents", None) is not None
        wobble = 0.01 * (-1) ** run.spec.seed if is_masked else 0.0
        return 2.5 + 0.1 * run.spec.seed - (gain if is_masked else 0.0) + wobble

    assert claims_of(with_losses(planted, loss))["masking_helps"].established is standing


def test_one_seed_and_runs_without_probes_decide_nothing(planted):
    one = tuple(run for run in planted.runs if run.spec.seed == 0)
    claims = claims_of(dataclasses.replace(planted, runs=one))
    assert {claim.established for claim in claims.values()} <= {None, True}
    assert claims["masking_helps"].established is None
    assert claims["power_law_in_position"].established is None
    bare = dataclasses.replace(
        planted,
        runs=tuple(
            dataclasses.replace(run, record=dataclasses.replace(run.record, metrics={}))
            for run in planted.runs
        ),
    )
    because = claims_of(bare)["power_law_in_position"].because
    assert "no run measured the loss by position; probes: [position_loss]" in because


def test_no_claim_on_later_positions_where_the_loss_no_longer_falls(planted):
    def change(name: str, value: float, run: Run) -> float:
        late = name.startswith("position") and name.endswith((".9-16", "-32", "-64", "8", "-256"))
        return 2.3 if late else value

    claims = claims_of(with_metrics(planted, change))
    assert "may be nothing to predict" in claims["predicts_later_positions"].because
    assert "no loss falls beyond position 8" in claims["larger_gains_more"].because


def test_short_contexts_that_learn_faster_are_seen_at_the_same_positions(planted):
    claims = claims_of(planted)
    assert claims["short_context_learns_faster"].established is None  # all the same, as planted

    def change(name: str, value: float, run: Run) -> float:
        return value * (0.9 if run.spec.model.n_ctx == 16 else 1.0)

    claims = claims_of(with_metrics(planted, change))
    assert claims["short_context_learns_faster"].established is True


def test_a_law_near_the_limit_is_not_established_and_far_from_it_is_contradicted(planted):
    """A zigzag of 2% lies at the limit, one of 10% beyond it, and one of 0.2% within."""

    def zigzag(size: float) -> Callable[[str, float, Run], float]:
        return lambda name, value, run: value * (1 + size * (1 if name.endswith(odd) else -1))

    odd = (".1", ".3-4", ".9-16", ".33-64", ".129-256")
    names = {0.002: True, 0.02: None, 0.1: False}

    def noisy(name: str, value: float, run: Run) -> float:
        return value * (1 + 0.004 * math.sin(1e3 * value + 5 * run.spec.seed))

    near = with_metrics(planted, noisy)
    seen = {
        size: claims_of(with_metrics(near, zigzag(size)))["power_law_in_position"].established
        for size in names
    }
    assert seen == names
