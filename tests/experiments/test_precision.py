"""How the bits of a law are fitted, and what precision says of bad evidence."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import pytest

from scaling_law.experiment.effective_params import (
    Gamma,
    SizeCurve,
    fit_gamma,
    share_of,
    size_curve,
)
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.findings import Claim
from scaling_law.experiment.rounded import format_of
from tests.experiments.test_contract import experiment_of, planted_evidence

SIZES = (1000, 4000, 16000)


@pytest.fixture(scope="module")
def planted() -> Evidence:
    return planted_evidence("precision")


def claims_of(evidence: Evidence) -> dict[str, Claim]:
    return {claim.name: claim for claim in experiment_of("precision").analyse(evidence).claims}


def changed(evidence: Evidence, factor: Callable[[Run, int], float]) -> Evidence:
    """The same runs with each loss times ``factor`` of the run and the bits of its weights."""
    runs = []
    for run in evidence.runs:
        loss = run.record.val_loss_nats
        assert loss is not None
        loss *= factor(run, format_of(run.spec).bits)
        runs.append(
            dataclasses.replace(run, record=dataclasses.replace(run.record, val_loss_nats=loss))
        )
    return dataclasses.replace(evidence, runs=tuple(runs))


def curve() -> SizeCurve:
    made = size_curve({params: 6 * params**-0.1 for params in SIZES})
    assert isinstance(made, SizeCurve)
    return made


def test_a_curve_gives_the_size_of_a_loss_also_beyond_its_ends():
    for params in (300, 1000, 2000, 9000, 50000):
        log = math.log(params)
        assert curve().log_loss(log) == pytest.approx(math.log(6 * params**-0.1))
        assert curve().log_params(curve().log_loss(log)) == pytest.approx(log)
    assert "does not fall" in str(size_curve({1000: 2.0, 4000: 2.1}))
    assert "1 size" in str(size_curve({1000: 2.0}))


@pytest.mark.parametrize("gamma", [0.8, 2.67])
def test_gamma_is_found_again_with_an_interval_as_wide_as_the_losses_scatter(gamma):
    exact = {
        (params, bits): -0.1 * math.log(share_of(bits, gamma))
        for params in SIZES
        for bits in (2, 3, 4)
    }
    fitted = fit_gamma(curve(), exact)
    assert isinstance(fitted, Gamma)
    assert fitted.value == pytest.approx(gamma, rel=0.01) and fitted.misfit < 1e-4
    noisy = {cell: rise * (1 + 0.3 * (-1) ** n) for n, (cell, rise) in enumerate(exact.items())}
    wider = fit_gamma(curve(), noisy)
    assert isinstance(wider, Gamma)
    assert wider.interval[0] < gamma < wider.interval[1]
    assert wider.interval[1] - wider.interval[0] > 10 * (fitted.interval[1] - fitted.interval[0])


def test_losses_that_bound_no_gamma_are_refused():
    flat = {(params, bits): -0.001 for params in SIZES for bits in (2, 3)}
    assert "no cell has a higher loss" in str(fit_gamma(curve(), flat))
    assert "gamma needs" in str(fit_gamma(curve(), {(1000, 2): 0.1}))


def test_a_gamma_that_differs_by_size_fits_no_law(planted):
    """At the largest size rounding costs three times as much in the logarithm of the loss."""
    largest = max(run.record.params_matmul for run in planted.runs)

    def factor(run: Run, bits: int) -> float:
        is_worse = bits and run.record.params_matmul == largest
        return share_of(bits, 2.0) ** -0.16 if is_worse else 1.0

    claims = claims_of(changed(planted, factor))
    assert claims["effective_params_law"].established is False
    assert claims["law_without_fewest_bits"].established is False
    assert "not shown to fit from 3 bits on (it misses by" in claims["kumars_gamma"].because


def test_a_law_that_may_miss_by_more_than_twice_the_noise_is_not_established(planted):
    """Its cells lie 1.4 times the error of seeds away by luck: few cells do not exclude twice."""

    def factor(run: Run, bits: int) -> float:
        return math.exp(0.0022 * math.sin(5 * bits + run.record.params_matmul + 7 * run.spec.seed))

    claims = claims_of(changed(planted, factor))
    claim = claims["law_without_fewest_bits"]
    assert claim.established is None and "times the error of seeds (" in claim.because
    assert claims["kumars_gamma"].established is None


def test_gammas_that_are_compared_have_wider_intervals_and_none_narrower_than_the_noise():
    exact = {(1000, bits): -0.1 * math.log(share_of(bits, 2.0)) for bits in (2, 3, 4)}

    def width(error: float = 0.0, of: int = 1) -> float:
        fitted = fit_gamma(curve(), exact, error=error, of=of)
        assert isinstance(fitted, Gamma)
        return math.log(fitted.interval[1] / fitted.interval[0])

    assert width() < 0.01 < width(error=0.001) < width(error=0.001, of=3)


def test_fewest_bits_that_cost_more_leave_the_law_of_the_others(planted):
    def factor(run: Run, bits: int) -> float:
        return 1.05 if bits == 2 else 1.0

    findings = experiment_of("precision").analyse(changed(planted, factor))
    standing = {claim.name: claim.established for claim in findings.claims}
    assert standing["effective_params_law"] is False and standing["law_without_fewest_bits"]
    assert standing["kumars_gamma"] is False
    assert findings.measures["gamma.above"] == pytest.approx(2.0, rel=0.05)


def test_bits_that_cost_nothing_contradict_the_claim_that_they_do(planted):
    claims = claims_of(changed(planted, lambda run, bits: 0.9 if bits == 2 else 1.0))
    assert claims["fewer_bits_cost_loss"].established is False


def test_a_format_that_is_worse_contradicts_and_one_seed_decides_nothing(planted):
    def factor(run: Run, bits: int) -> float:
        own = run.spec.number_format
        return 1.05 if own is not None and own.name == "e5m2" else 1.0

    assert claims_of(changed(planted, factor))["eight_bits_are_enough"].established is False
    one = tuple(run for run in planted.runs if run.spec.seed == 0)
    claims = claims_of(dataclasses.replace(planted, runs=one))
    assert claims["fewer_bits_cost_loss"].established is None
    assert claims["eight_bits_are_enough"].established is None


@pytest.mark.parametrize(
    ("shares", "standing"),
    [
        ((0.02, 0.03, 0.04), True),
        ((0.0001, 0.0002, 0.0003), False),
        ((0.0005, 0.002, 0.01), None),  # two of three above .1%
        ((0.0, 0.03, 0.04), None),
        ((0.03,), None),
    ],
)
def test_a_loss_of_gradient_stands_on_its_interval(planted, shares, standing):
    runs = []
    for run in planted.runs:
        if run.spec.seed >= len(shares):
            continue
        metrics = dict(run.record.metrics)
        if metrics.get("underflow"):
            metrics["underflow"] = shares[run.spec.seed]
        record = dataclasses.replace(run.record, metrics=metrics)
        runs.append(dataclasses.replace(run, record=record))
    claims = claims_of(dataclasses.replace(planted, runs=tuple(runs)))
    assert claims["fp16_underflows"].established is standing, claims["fp16_underflows"].because


def test_without_fp32_nothing_is_compared(planted):
    rounded = tuple(run for run in planted.runs if run.spec.number_format is not None)
    findings = experiment_of("precision").analyse(dataclasses.replace(planted, runs=rounded))
    assert {claim.established for claim in findings.claims} == {None}
