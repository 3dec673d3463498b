"""What ``data_scaling`` says of runs that do not support a claim."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.findings import Findings
from scaling_law.experiment.text_amounts import amount_of
from scaling_law.spec.data import DataSpec
from tests.experiments.changed import findings_with, standing, with_metrics
from tests.experiments.test_contract import experiment_of, planted_evidence

NAME = "data_scaling"


def changed(loss: Callable[[int, Run], float | None], **metrics: float) -> Findings:
    """The findings with other lowest losses by amount; None for a run that has not finished."""

    def one(run: Run) -> Run | None:
        value = loss(amount_of(run.spec) or 0, run)
        if value is None:
            return None
        curve = tuple(dataclasses.replace(p, val_loss_nats=value) for p in run.curve)
        run = with_metrics(run, {"guess_loss": 2.6, **metrics})
        return dataclasses.replace(run, curve=curve)

    return findings_with(NAME, one)


def planted(amount: int, run: Run) -> float:
    return (2.0 + 10.0 * amount**-0.5) * (1 + 1e-3 * (run.spec.seed - 1))


def test_the_regimes_are_told_apart():
    findings = changed(planted)
    assert findings.measures["from.power_law"] == 512
    assert findings.measures["from.floor"] == 65536
    assert "guessing by frequency (2.6 nats) at 128 to 256 tokens" in findings.verdict
    claims = standing(findings)
    assert claims["three_regimes"] is True
    assert claims["text_is_the_limit"] is True
    assert claims["floor_is_the_models"] is False, "the larger model is as good as this one"


def test_shares_of_a_text_count_with_the_tokens_that_were_read():
    evidence = planted_evidence(NAME)

    def shared(run: Run) -> Run:
        amount, data = amount_of(run.spec), run.spec.data
        assert amount is not None and isinstance(data, DataSpec)
        share = amount / 2**20
        data = dataclasses.replace(data, unique_tokens=None, unique_share=share)
        spec = dataclasses.replace(run.spec, data=data)
        record = dataclasses.replace(run.record, spec=spec, tokens_unique=amount)
        return dataclasses.replace(run, record=record)

    runs = tuple(map(shared, evidence.runs))
    findings = experiment_of(NAME).analyse(dataclasses.replace(evidence, runs=runs))
    plain = experiment_of(NAME).analyse(evidence)
    assert findings.measures.keys() == plain.measures.keys()
    assert findings.measures["floor"] == pytest.approx(plain.measures["floor"])


def test_a_loss_that_still_falls_is_named():
    evidence = planted_evidence(NAME)
    runs = tuple(dataclasses.replace(run, curve=run.curve[:1]) for run in evidence.runs)
    findings = experiment_of(NAME).analyse(dataclasses.replace(evidence, runs=runs))
    (limit,) = (claim for claim in findings.claims if claim.name == "text_is_the_limit")
    assert limit.established is False and "at 128 (3 of 3), 256 (3 of 3)" in limit.because
    assert "The loss still fell at the last step at 128 (3 of 3)" in findings.verdict


@pytest.mark.parametrize(
    ("guess", "lacking"), [(9.0, "fewer than two amounts for guessing"), (0.1, "0 values to fit")]
)
def test_a_regime_without_runs_is_named(guess, lacking):
    findings = changed(planted, guess_loss=guess)
    assert standing(findings)["three_regimes"] is None
    assert lacking in findings.verdict


def test_a_power_law_without_a_floor_has_two_regimes():
    findings = changed(lambda amount, run: 6 * amount**-0.1 * (1 + 1e-3 * run.spec.seed))
    claims = standing(findings)
    assert claims["three_regimes"] is None and "for floor" in findings.verdict
    assert claims["power_law_and_floor"] is True and claims["hestness_exponent"] is not None
    assert findings.measures["exponent.plain"] == pytest.approx(-0.1, abs=0.005)


def test_losses_on_no_power_are_said():
    wave = {2048: 1.15, 8192: 0.9}
    findings = changed(lambda amount, run: planted(amount, run) * wave.get(amount, 1.0))
    claims = standing(findings)
    assert claims["power_law_and_floor"] is not True and claims["hestness_exponent"] is None


def test_one_seed_decides_nothing():
    findings = changed(lambda amount, run: planted(amount, run) if run.spec.seed == 0 else None)
    assert set(standing(findings).values()) == {None}
    assert "one seed has finished on" in findings.verdict


def test_no_runs_establish_nothing():
    findings = experiment_of(NAME).analyse(Evidence(runs=()))
    assert set(standing(findings).values()) == {None}
    assert findings.measures["floor"] is None
