"""What the analyses of architectures say of evidence that does not bear their claims."""

from __future__ import annotations

import dataclasses
import math

import pytest

from scaling_law.experiment.evidence import Evidence
from tests.experiments.test_contract import experiment_of, planted_evidence

LSTM, ARMS = "architectures", "architecture_arms"


def claims_of(name: str, evidence: Evidence) -> dict[str, tuple[bool | None, str]]:
    findings = experiment_of(name).analyse(evidence)
    return {claim.name: (claim.established, claim.because) for claim in findings.claims}


def changed(evidence: Evidence, loss) -> Evidence:
    """The same runs, each with its loss times ``loss(spec)``."""
    runs = tuple(
        dataclasses.replace(
            run,
            record=dataclasses.replace(
                run.record, val_loss_nats=run.record.val_loss_nats * loss(run.spec)
            ),
        )
        if run.record.val_loss_nats is not None
        else run
        for run in evidence.runs
    )
    return dataclasses.replace(evidence, runs=runs)


def is_lstm(spec) -> bool:
    return spec.model.architecture.name == "lstm"


def test_a_transformer_that_is_better_contradicts_the_lstms_lead():
    evidence = changed(planted_evidence(LSTM), lambda spec: 1.3 if is_lstm(spec) else 1)
    claims = claims_of(LSTM, evidence)
    assert claims["lstm_saves_compute"][0] is False
    assert "not always more" in experiment_of(LSTM).analyse(evidence).verdict


def test_seeds_that_disagree_decide_nothing():
    def noise(spec):
        return 1 + 0.2 * (spec.seed == 1) if is_lstm(spec) else 1

    established, because = claims_of(LSTM, changed(planted_evidence(LSTM), noise))[
        "lstm_saves_compute"
    ]
    assert established is None and "an interval holds 1" in because and "more seeds" in because


def test_lines_that_meet_within_the_sizes_are_said_to_cross():
    def tilted(spec):
        params = spec.model.dimensions["d_model"] / 36
        return 1.11 * params**0.2 if is_lstm(spec) else 1

    findings = experiment_of(LSTM).analyse(changed(planted_evidence(LSTM), tilted))
    assert "the lines cross at" in findings.verdict
    power = findings.measures["multiplier_power"]
    assert power is not None and power < -1


def test_two_sizes_are_too_few_and_the_reason_says_so():
    evidence = planted_evidence(LSTM)
    runs = tuple(run for run in evidence.runs if run.spec.model.dimensions["d_model"] < 40)
    claims = claims_of(LSTM, dataclasses.replace(evidence, runs=runs))
    for name in ("lstm_saves_compute", "lstm_lead_shrinks_with_size"):
        established, because = claims[name]
        assert established is None and "2 sizes have both architectures" in because


def test_an_lstm_of_another_size_is_not_compared():
    evidence = planted_evidence(LSTM)
    runs = tuple(
        run
        for run in evidence.runs
        if is_lstm(run.spec) or run.spec.model.dimensions["d_model"] != 24
    )
    findings = experiment_of(LSTM).analyse(dataclasses.replace(evidence, runs=runs))
    assert sum(name.startswith("difference.lstm") for name in findings.measures) == 2 * 2


def test_runs_without_losses_by_position_leave_that_claim_open():
    evidence = planted_evidence(LSTM)
    bare = tuple(
        dataclasses.replace(run, record=dataclasses.replace(run.record, metrics={}))
        for run in evidence.runs
    )
    claims = claims_of(LSTM, dataclasses.replace(evidence, runs=bare))
    established, because = claims["lstm_gains_less_late"]
    assert established is None and "0 pairs of runs have the loss by position" in because
    assert claims["lstm_saves_compute"][0] is True


@pytest.mark.parametrize(
    ("name", "claim"), [(LSTM, "lstm_saves_compute"), (ARMS, "a_mixture_saves_compute")]
)
def test_a_rate_at_an_edge_decides_nothing_and_the_note_says_what_to_run(name, claim):
    planted = planted_evidence(name)
    evidence = changed(planted, lambda spec: math.exp(-0.2 * math.log(spec.optim.lr)))
    established, because = claims_of(name, evidence)[claim]
    assert established is None and "at the high edge" in because and "other rates" in because
    notes = experiment_of(name).analyse(evidence).notes
    assert any(note.startswith("to tune the rate of each arm: slaw run") for note in notes)


def active(spec) -> int:
    return int(dict(spec.model.architecture.settings).get("n_active", 1))


def is_mixture(spec) -> bool:
    return spec.model.architecture.name == "moe"


@pytest.mark.parametrize(("factor", "standing"), [(1.2, False), (0.8, True)])
def test_a_mixture_saves_or_costs_compute(factor, standing):
    evidence = changed(planted_evidence(ARMS), lambda spec: factor if is_mixture(spec) else 1)
    assert claims_of(ARMS, evidence)["a_mixture_saves_compute"][0] is standing


def test_a_second_expert_that_raises_the_loss_contradicts_its_claim():
    evidence = changed(
        planted_evidence(ARMS),
        lambda spec: 1.1 + 0.001 * spec.seed if is_mixture(spec) and active(spec) == 2 else 1,
    )
    assert claims_of(ARMS, evidence)["second_expert_lowers_loss"][0] is False


def test_an_arm_without_its_base_is_named():
    evidence = planted_evidence(ARMS)
    swiglu = [r for r in evidence.ended if getattr(r.spec.model, "activation", "") == "swiglu"]
    kept = tuple(run for run in evidence.runs if run not in swiglu[1:])  # of one horizon
    findings = experiment_of(ARMS).analyse(dataclasses.replace(evidence, runs=kept))
    assert any("SwiGLU" in note for note in findings.notes)
    assert "multiplier.swiglu" not in findings.measures
