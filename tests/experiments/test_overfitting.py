"""What the analysis of overfitting says of evidence that does not bear its claims."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from scaling_law.experiment.evidence import Evidence
from tests.experiments.test_contract import experiment_of, planted_evidence


def claims_of(evidence: Evidence) -> dict[str, tuple[bool | None, str]]:
    findings = experiment_of("overfitting").analyse(evidence)
    return {claim.name: (claim.established, claim.because) for claim in findings.claims}


def with_losses(evidence: Evidence, losses) -> Evidence:
    """The same runs with the three losses of a curve that ``losses(params, tokens)`` gives."""
    setting_of = experiment_of("overfitting").analyse.__globals__["setting_of"]
    runs = []
    for run in evidence.runs:
        setting = setting_of(run.spec)
        values = losses(setting.params, setting.tokens)
        curve = tuple(
            dataclasses.replace(point, val_loss_nats=value)
            for point, value in zip(run.curve, values, strict=True)
        )
        runs.append(dataclasses.replace(run, curve=curve))
    return dataclasses.replace(evidence, runs=tuple(runs))


@pytest.mark.parametrize("power", [0.4, 1.0])
def test_another_power_is_found_and_contradicts_kaplans(power):
    def losses(params, tokens):
        low = 2 + 60 * params**power / tokens * 3000 ** (0.74 - power)
        return (low + 0.1, low, low + 1)

    evidence = with_losses(planted_evidence("overfitting"), losses)
    findings = experiment_of("overfitting").analyse(evidence)
    assert findings.measures["power"] == pytest.approx(power, abs=0.02)
    claims = {claim.name: claim.established for claim in findings.claims}
    assert claims["one_ratio"] is True and claims["kaplans_power"] is False


def test_a_model_that_never_overfits_decides_no_power():
    claims = claims_of(
        with_losses(planted_evidence("overfitting"), lambda n, d: (3, 2, 2.5 - n / 1e6))
    )
    assert claims["gap_grows_with_size"][0] is False
    for name in ("one_ratio", "kaplans_power"):
        established, because = claims[name]
        assert established is None and "0 settings of 0 sizes overfit by 1% or more" in because


def test_an_excess_that_does_not_rise_with_size_decides_no_power():
    def losses(params, tokens):
        low = 2 + 60 * max(params, 4000) ** 0.4 / tokens
        return (low + 0.1, low, low + 1)

    claims = claims_of(with_losses(planted_evidence("overfitting"), losses))
    for name in ("one_ratio", "kaplans_power"):
        established, because = claims[name]
        assert established is None and "does not rise with size by more than seeds" in because


def test_runs_that_still_improve_decide_no_power():
    def losses(params, tokens):
        low = 2 + 15 * params**0.74 / tokens
        return (low + 0.2, low + 0.1, low)

    established, because = claims_of(with_losses(planted_evidence("overfitting"), losses))[
        "one_ratio"
    ]
    assert established is None and "its loss still falls when training ends" in because


def test_overfitting_that_follows_no_ratio_is_not_established():
    random = np.random.default_rng(0)

    def losses(params, tokens):
        low = 2 if tokens == np.inf else 2 + float(random.lognormal(-2, 1))
        return (low + 0.1, low, low + 1)

    claims = claims_of(with_losses(planted_evidence("overfitting"), losses))
    assert not claims["one_ratio"][0]


def test_one_seed_or_no_whole_text_decides_nothing():
    planted = planted_evidence("overfitting")
    alone = tuple(run for run in planted.runs if run.spec.seed == 0)
    limited = tuple(
        run for run in planted.runs if getattr(run.spec.data, "unique_tokens", None) is not None
    )
    for runs, why in ((alone, "one seed finished of"), (limited, "no run on all of the text at")):
        claims = claims_of(dataclasses.replace(planted, runs=runs))
        assert {established for established, _ in claims.values()} == {None}
        assert why in claims["gap_grows_with_size"][1]
