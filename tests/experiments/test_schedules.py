"""What ``schedules`` says of runs that do not support a comparison."""

from __future__ import annotations

import dataclasses
import math

import pytest

from scaling_law.experiment.evidence import Run
from tests.experiments.changed import changed, diverged, standing_of, with_loss
from tests.experiments.test_contract import experiment_of

NAME = "schedules"


def test_nothing_is_claimed_where_every_run_diverged():
    evidence = changed(NAME, diverged)
    assert set(standing_of(NAME, evidence).values()) == {None}


def test_a_schedule_that_was_not_trained_is_named():
    evidence = changed(NAME, lambda run: None if run.spec.schedule.shape == "cosine_cut" else run)
    findings = experiment_of(NAME).analyse(evidence)
    claims = {claim.name: claim for claim in findings.claims}
    assert claims["cut_cosine_misleads"].established is None
    assert "no run of cosine, cut" in claims["cut_cosine_misleads"].because
    assert claims["decay_helps"].established is True


def test_without_the_cosine_nothing_stands_over_it():
    claims = standing_of(
        NAME, changed(NAME, lambda run: None if run.spec.schedule.shape == "cosine" else run)
    )
    assert claims["decay_helps"] is None and claims["linear_beats_cosine"] is None


def test_one_seed_says_nothing_of_a_difference():
    claims = standing_of(NAME, changed(NAME, lambda run: run if run.spec.seed == 0 else None))
    assert claims["decay_helps"] is None and claims["one_minus_sqrt_beats_linear"] is None


def test_the_opposite_of_the_usual_advice_is_contradicted():
    """A constant rate that ends 10% lower."""

    def lower(run: Run) -> Run:
        constant = run.spec.schedule.shape == "constant"
        return with_loss(run, lambda loss: 0.9 * loss) if constant else run

    assert standing_of(NAME, changed(NAME, lower))["decay_helps"] is False


def test_a_schedule_with_another_warm_up_than_the_cosine_is_not_compared_with_it():
    def longer(run: Run) -> Run:
        if run.spec.schedule.shape != "linear":
            return run
        schedule = dataclasses.replace(run.spec.schedule, warmup_steps=100)
        spec = dataclasses.replace(run.spec, schedule=schedule)
        return dataclasses.replace(run, record=dataclasses.replace(run.record, spec=spec))

    evidence = changed(NAME, longer)
    assert standing_of(NAME, evidence)["linear_beats_cosine"] is None
    findings = experiment_of(NAME).analyse(evidence)
    because = {claim.name: claim.because for claim in findings.claims}["linear_beats_cosine"]
    assert "its warm-up has" in because and "optim.warmup_tokens" in because
    assert standing_of(NAME, evidence)["decay_helps"] is True


def test_a_schedule_whose_seeds_scatter_is_open_and_the_others_stay_decided():
    """A constant rate 4% higher, by 24% from seed to seed: the noise of the others is their own."""

    def scattered(run: Run) -> Run:
        if run.spec.schedule.shape != "constant":
            return run
        return with_loss(run, lambda loss: loss * (1 + 0.12 * (-1) ** run.spec.seed))

    claims = standing_of(NAME, changed(NAME, scattered))
    assert claims["decay_helps"] is None
    assert claims["linear_beats_cosine"] is True and claims["cut_cosine_misleads"] is True


def test_a_seed_that_does_the_same_at_both_sizes_counts_once():
    """Two seeds, each alike at two sizes, are two values, and not four."""

    def two_seeds(run: Run) -> Run | None:
        if run.spec.seed > 1:
            return None
        away = 0.02 * run.spec.seed if run.spec.schedule.shape == "linear" else 0.0
        return with_loss(run, lambda loss: loss * (1 - away))

    findings = experiment_of(NAME).analyse(changed(NAME, two_seeds))
    low, high = (findings.measures[f"over_cosine.linear.{end}"] for end in ("low", "high"))
    assert low is not None and high is not None
    # 6.31 is Student's t of 90% with one degree of freedom; seeds differ by 2% of loss
    assert high - low == pytest.approx(2 * 6.31 * math.log(1 / 0.98) / 2, rel=0.05)
