"""What ``lr_batch`` and ``horizon_lr`` say of runs that do not support a law."""

from __future__ import annotations

import dataclasses
import math
import re

import pytest

from scaling_law import parts
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.shared_rates import shared_rates
from scaling_law.spec.arms import arm_tags
from tests.experiments.changed import changed, diverged, standing_of
from tests.experiments.test_contract import experiment_of, planted_evidence


@pytest.fixture(scope="module", params=["lr_batch", "horizon_lr"])
def name(request) -> str:
    return request.param


def test_nothing_is_claimed_where_every_run_diverged(name):
    evidence = changed(name, diverged)
    findings = experiment_of(name).analyse(evidence)
    assert findings.verdict.startswith("Not established") and "diverged" in findings.verdict
    assert set(standing_of(name, evidence).values()) == {None}


def test_a_sweep_at_one_edge_claims_nothing_and_asks_for_higher_rates(name):
    multiples = {"lr_batch": 1.0, "horizon_lr": 2.0}
    evidence = changed(
        name,
        lambda run: run if (run.spec.optim.overrides.lr_mult or 1) <= multiples[name] / 2 else None,
    )
    assert True not in standing_of(name, evidence).values()
    propose = experiment_of(name).propose
    assert propose is not None
    changes = propose(dataclasses.replace(evidence))
    assert changes is not None and changes["grid"]


def test_a_law_of_a_few_cells_is_not_the_verdict():
    """Most cells at an edge: the others alone would be a biased choice."""
    evidence = changed(
        "lr_batch",
        lambda run: (
            None
            if run.spec.batch_tokens > 256 and (run.spec.optim.overrides.lr_mult or 1) > 0.5
            else run
        ),
    )
    findings = experiment_of("lr_batch").analyse(evidence)
    assert "would be biased" in findings.verdict
    assert "cells have no bounded best learning rate" in findings.verdict
    assert not any("bounded best" in note for note in findings.notes)  # said once


def test_runs_of_another_axis_are_left_out_and_counted():
    def other(run: Run) -> Run:
        tags = (*run.spec.tags, *arm_tags((("optim.grad_clip", "2"),)))
        spec = dataclasses.replace(run.spec, tags=tags)
        return dataclasses.replace(run, record=dataclasses.replace(run.record, spec=spec))

    evidence = planted_evidence("lr_batch")
    more = dataclasses.replace(evidence, runs=(*evidence.runs, *map(other, evidence.runs[:3])))
    findings = experiment_of("lr_batch").analyse(more)
    assert "3 runs left out: they differ in more than rate, batch and decay" in findings.notes
    assert findings.measures == experiment_of("lr_batch").analyse(evidence).measures


def test_sharing_costs_by_the_curvature_and_the_distance_of_the_best_rates():
    module = parts.module_of("experiment", "lr_batch")
    seen = module.read(planted_evidence("lr_batch"))
    shared = shared_rates(seen.bounded)
    assert len(shared) == 9 and all(len(one.cells) == 3 for one in shared)
    # tokens^-0.2 over a factor of 4: the ends are 4^0.1 from the middle
    away = 0.03 * (0.1 * 1.386) ** 2
    assert shared[0].excesses[0] == pytest.approx(away, rel=0.2)
    assert shared[0].excesses[1] < away / 5


def noisy(name: str, deviation: float) -> Evidence:
    """The planted runs with noise of their own, each seed's as large in every run."""

    def change(run: Run) -> Run:
        loss = run.record.val_loss_nats
        if loss is None:
            return run
        wobble = deviation * math.sin(
            3e4 * run.spec.optim.lr + 11 * run.spec.seed + run.spec.tokens
        )
        record = dataclasses.replace(run.record, val_loss_nats=loss * math.exp(wobble))
        return dataclasses.replace(run, record=record)

    return changed(name, change)


def test_what_horizons_lose_is_left_open_within_the_noise_of_seeds():
    claims = standing_of("horizon_lr", noisy("horizon_lr", 0.002))
    assert claims["best_rate_falls"] is True
    assert claims["sharing_costs"] is None


def test_two_trunks_as_trained_lose_what_the_runs_at_their_rates_do():
    module = parts.module_of("experiment", "horizon_lr")
    evidence = planted_evidence("horizon_lr")
    seen = module.read(evidence)
    split = seen.splits[1]
    first, second = split.rates
    assert first > second and {first, second} <= {run.spec.optim.lr for run in evidence.runs}
    for place, (best, lost) in enumerate(zip(seen.constant.cells, split.trained, strict=True)):
        lr = first if place == 0 else second
        planted = module._RATE * (best.cell.tokens / 2**18) ** -module._FALL
        away = math.log(lr / planted)
        assert lost.value * seen.noise == pytest.approx(module._CURVATURE * away**2, abs=2e-4)
    # without a seed's run at one of the rates nothing is read
    lacking = changed(
        "horizon_lr",
        lambda run: None if (run.spec.seed, run.spec.optim.lr) == (0, first) else run,
    )
    seen = module.read(lacking)
    assert seen.shares_lost_at(1, (first, second)) == []


def test_one_seed_gives_horizons_no_interval_and_decides_nothing():
    evidence = changed("horizon_lr", lambda run: run if run.spec.seed == 0 else None)
    assert set(standing_of("horizon_lr", evidence).values()) == {None}


def test_the_power_of_tokens_is_as_uncertain_as_single_seeds_are_apart():
    """Horizons of a trunk share its noise: they lie on a law whatever the seed."""

    curvature = parts.module_of("experiment", "horizon_lr")._CURVATURE

    def tilted(run: Run) -> Run | None:
        loss = run.record.val_loss_nats
        if run.spec.seed > 2:
            return None
        if loss is None:
            return run
        # each seed has a best rate of its own: a factor of tokens^(0.05 (seed - 1))
        shift = 0.05 * (run.spec.seed - 1) * math.log(run.spec.tokens / 2**18)
        away = math.log(run.spec.optim.lr / 0.016)
        record = dataclasses.replace(
            run.record, val_loss_nats=loss * math.exp(-2 * curvature * away * shift)
        )
        return dataclasses.replace(run, record=record)

    findings = experiment_of("horizon_lr").analyse(changed("horizon_lr", tilted))
    low, high = (findings.measures[f"exponent.power0.{end}"] for end in ("low", "high"))
    assert low is not None and high is not None
    # three exponents .05 apart: .05 t(2) / sqrt(3) on either side
    assert high - low == pytest.approx(2 * 0.05 * 2.92 / 3**0.5, rel=0.25)


@pytest.mark.parametrize(("best", "standing"), [(1.3, None), (1.35, False)])
def test_a_rule_is_judged_by_the_bounds_of_the_best_rates(best, standing):
    """The best rate is about ``best`` times the rule's."""

    def change(run: Run) -> Run:
        spec, loss = run.spec, run.record.val_loss_nats
        if loss is None:
            return run
        times = (spec.tokens / 2**18) ** -0.05 * (spec.batch_tokens / 512) ** 0.05
        away = math.log((spec.optim.overrides.lr_mult or 1) / best / times)
        wobble = 0.001 * math.sin(3e4 * spec.optim.lr + 11 * spec.seed + spec.tokens)
        loss = 4 * math.exp(0.04 * away**2 + wobble)
        record = dataclasses.replace(run.record, val_loss_nats=loss)
        return dataclasses.replace(run, record=record)

    findings = experiment_of("lr_batch").analyse(changed("lr_batch", change))
    claim = {one.name: one for one in findings.claims}["rule_is_good"]
    assert claim.established is standing
    if standing is None:
        least, highest = re.findall(r"leave ([0-9.]+) to ([0-9.]+)% open", claim.because)[0]
        assert float(least) < float(highest)
