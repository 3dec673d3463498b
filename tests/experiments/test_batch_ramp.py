"""How batch_ramp counts updates, and what it says of bad evidence."""

from __future__ import annotations

import dataclasses
import math

import pytest

from scaling_law import parts
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.findings import Claim
from tests.experiments.test_contract import experiment_of, plan_of, planted_evidence
from tests.fakes import Noise, planted_runs


@pytest.fixture(scope="module")
def tuned() -> Evidence:
    """The planted runs, each arm at three learning rates."""
    return planted_evidence("batch_ramp")


@pytest.fixture(scope="module")
def planted(tuned) -> Evidence:
    """The same at one rate an arm."""
    runs = tuple(run for run in tuned.runs if run.spec.optim.lr == 0.008)
    return dataclasses.replace(tuned, runs=runs)


def claims_of(evidence: Evidence) -> dict[str, Claim]:
    return {claim.name: claim for claim in experiment_of("batch_ramp").analyse(evidence).claims}


def batch_of(run: Run) -> tuple[int, int]:
    part = run.spec.optim.optimizer
    assert part is not None
    given = dict(part.settings)
    return given["first"], given["last"]


def with_losses(evidence: Evidence, loss) -> Evidence:
    """The same runs, with the loss at a rate of 0.008 that ``loss`` gives, but for some noise."""
    runs = []
    for run in evidence.runs:
        value = loss(batch_of(run), run.spec.seed)
        value *= math.exp(0.02 * math.log(run.spec.optim.lr / 0.008) ** 2)
        value = Noise(run.record.run_id).on(value)
        record = dataclasses.replace(run.record, val_loss_nats=value)
        runs.append(dataclasses.replace(run, record=record))
    return dataclasses.replace(evidence, runs=tuple(runs))


@pytest.mark.parametrize(
    ("batch", "updates"),
    [((4, 4, 1), 320), ((4, 16, 320), 160), ((16, 16, 1), 80), ((7, 7, 1), 182)],
)
def test_updates_are_those_of_the_optimizer(batch, updates):
    module = parts.module_of("experiment", "batch_ramp")
    assert module.Batch(*batch).updates(1280) == updates


def test_a_ramp_of_other_updates_is_not_compared():
    rates = (f"grid.{n}.axes.optim.lr=[0.008]" for n in range(4))
    plan = plan_of("batch_ramp", "optim.double_after=160", *rates)
    runs = planted_runs(experiment_of("batch_ramp"), [run.spec for run in plan.runs])
    claims = claims_of(Evidence(runs=runs))
    assert claims["ramp_beats_fixed"].established is None
    assert "the ramp makes 120 updates, the fixed batch 160" in claims["ramp_beats_fixed"].because


def test_where_the_batch_does_not_matter_no_ramp_is_judged(planted):
    claims = claims_of(with_losses(planted, lambda batch, seed: 2.5 - 0.01 * (batch == (16, 16))))
    assert claims["ramp_beats_fixed"].established is None
    assert "loses nothing" in claims["ramp_beats_fixed"].because
    assert claims["small_beats_large"].established is False


@pytest.mark.parametrize(("gain", "standing"), [(-0.05, False), (0.0, None), (0.05, True)])
def test_a_ramp_is_judged_by_pairs_of_seeds(tuned, gain, standing):
    def loss(batch: tuple[int, int], seed: int) -> float:
        wobble = 0.02 * (-1) ** seed if batch == (4, 16) else 0.0
        losses = {(4, 4): 2.4, (8, 8): 2.5, (16, 16): 2.6, (4, 16): 2.5 - gain + wobble}
        return losses[batch] + 0.1 * seed

    assert claims_of(with_losses(tuned, loss))["ramp_beats_fixed"].established is standing


def test_one_rate_an_arm_decides_nothing_and_the_remedy_tunes_it(planted):
    findings = experiment_of("batch_ramp").analyse(planted)
    beats = claims_of(planted)["ramp_beats_fixed"]
    assert beats.established is None
    assert "batch and rate are not told apart; as run, the ramp gains 0.0" in beats.because
    assert "not tuned" in claims_of(planted)["small_beats_large"].says
    assert findings.measures["gain.ramp_over_middle"] == pytest.approx(0.03, abs=0.001)
    assert findings.measures["tokens_saved_frac.low"] is not None
    assert any(
        "slaw run batch_ramp --set 'grid.0.axes.optim.lr=[0.002, 0.004, 0.008, 0.016, 0.032]'"
        in note
        for note in findings.notes
    )


def test_each_arm_is_compared_at_its_own_best_rate(tuned):
    """The best rate of the ramp lies above that of the others; at theirs it would lose."""
    runs = []
    for run in tuned.runs:
        is_ramp = batch_of(run) == (4, 16)
        best = 0.0108 if is_ramp else 0.008
        loss = (2.49 if is_ramp else 2.5 + 0.01 * batch_of(run)[0] / 8) + 0.01 * run.spec.seed
        loss *= math.exp(0.1 * math.log(run.spec.optim.lr / best) ** 2)
        loss = Noise(run.record.run_id).on(loss)
        record = dataclasses.replace(run.record, val_loss_nats=loss)
        runs.append(dataclasses.replace(run, record=record))
    findings = experiment_of("batch_ramp").analyse(Evidence(runs=tuple(runs)))
    assert {claim.name: claim.established for claim in findings.claims}["ramp_beats_fixed"]
    assert findings.measures["gain.ramp_over_middle"] == pytest.approx(0.02, abs=0.001)
    assert not findings.notes and "not tuned" not in str(findings.claims)


def test_one_seed_decides_nothing(planted):
    runs = tuple(run for run in planted.runs if run.spec.seed == 0)
    claims = claims_of(dataclasses.replace(planted, runs=runs))
    assert {claim.established for claim in claims.values()} == {None}


@pytest.mark.parametrize(("wobble", "standing"), [(0.0, True), (0.2, None)])
def test_a_ramp_keeps_up_by_more_than_seeds_differ(planted, wobble, standing):
    def loss(batch: tuple[int, int], seed: int) -> float:
        losses = {(4, 4): 2.4, (8, 8): 2.5, (16, 16): 2.6, (4, 16): 2.45}
        return losses[batch] + (wobble * (-1) ** seed if batch == (4, 16) else 0.0)

    claim = claims_of(with_losses(planted, loss))["ramp_keeps_up"]
    assert claim.established is standing
    assert ("includes no difference" in claim.because) is (standing is None)
