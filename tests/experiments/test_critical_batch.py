"""The trade-off of steps and tokens, and what critical_batch says of bad evidence."""

from __future__ import annotations

import dataclasses
import math
from types import ModuleType

import pytest

from scaling_law import parts
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.findings import Claim, Findings
from scaling_law.experiment.power_law import PowerLaw
from tests.experiments.test_contract import experiment_of, planted_evidence

BATCHES = (128, 256, 512, 1024, 2048)


@pytest.fixture(scope="module")
def module() -> ModuleType:
    return parts.module_of("experiment", "critical_batch")


@pytest.fixture(scope="module")
def planted() -> Evidence:
    """The planted runs at one rate a batch, by the root of it."""
    evidence = planted_evidence("critical_batch")
    runs = []
    for run in evidence.runs:
        root = 0.004 * math.sqrt(run.spec.batch_tokens / 128)
        if abs(math.log(run.spec.optim.lr / root)) < 0.1:
            runs.append(run)
    return dataclasses.replace(evidence, runs=tuple(runs))


def claims_of(evidence: Evidence) -> dict[str, Claim]:
    findings: Findings = experiment_of("critical_batch").analyse(evidence)
    return {claim.name: claim for claim in findings.claims}


def with_curves(evidence: Evidence, change) -> Evidence:
    """The same runs, each with the curve that ``change`` makes of the run."""
    runs = (dataclasses.replace(run, curve=tuple(change(run))) for run in evidence.runs)
    return dataclasses.replace(evidence, runs=tuple(runs))


def test_one_seed_decides_nothing(planted):
    runs = tuple(run for run in planted.runs if run.spec.seed == 0)
    claims = claims_of(dataclasses.replace(planted, runs=runs))
    assert {claim.established for claim in claims.values()} == {None}


def test_without_the_probe_the_noise_alone_is_open(planted):
    bare = with_curves(planted, lambda run: [dataclasses.replace(p, metrics={}) for p in run.curve])
    claims = claims_of(bare)
    assert claims["hyperbola"].established and claims["critical_batch_grows"].established
    assert claims["noise_scale_predicts"].established is None
    assert "probe noise_scale" in claims["noise_scale_predicts"].because


def test_a_batch_that_does_not_get_there_is_named(planted):
    def cut(run: Run):
        short = run.spec.batch_tokens == 128
        return [p for p in run.curve if not short or (p.val_loss_nats or 0) > 2.65]

    findings = experiment_of("critical_batch").analyse(with_curves(planted, cut))
    assert any("2.5 nats" in note and "128 tokens" in note for note in findings.notes)
    assert findings.claims[0].established is True


def test_steps_that_seeds_leave_far_from_the_hyperbola_establish_none(module):
    """On average they lie near it; without one seed or another they do not."""

    def steps(batch: int, seed: int) -> float:
        side = 1 if batch in BATCHES[::2] else -1
        return 50 * (1 + 700 / batch) * math.exp(0.15 * side * (seed - 1))

    by_seed = {batch: {seed: steps(batch, seed) for seed in range(3)} for batch in BATCHES}
    target = module.Target(loss=2.5, steps=by_seed, short=(), noise={})
    assert target.fit.misfit < 0.01 and target.misfit.interval[1] > module.MISFIT
    decided = module._hyperbola([target])
    assert decided.established is None
    assert "at the worst, at 2.5 nats" in decided.because
    near = dataclasses.replace(
        target, steps={b: {0: own[1], 1: own[1]} for b, own in by_seed.items()}
    )
    assert module._hyperbola([near]).established is True


def test_larger_batches_that_save_no_steps_decide_nothing(planted):
    """As if every batch took the steps of the smallest."""
    slow = {run.spec.seed: run for run in planted.runs if run.spec.batch_tokens == 128}
    claims = claims_of(with_curves(planted, lambda run: slow[run.spec.seed].curve))
    assert {claims[name].established for name in ("hyperbola", "critical_batch_grows")} == {None}
    assert "save no step" in claims["hyperbola"].because


def at_rates(evidence: Evidence, *times: float) -> Evidence:
    """Every run at several learning rates, the slower the further from its own."""
    runs = []
    for run in evidence.runs:
        for factor in times:
            optim = dataclasses.replace(run.spec.optim, lr=run.spec.optim.lr * factor)
            spec = dataclasses.replace(run.spec, optim=optim)
            slower = 1 + abs(math.log(factor))
            curve = [dataclasses.replace(p, step=round(p.step * slower)) for p in run.curve]
            record = dataclasses.replace(run.record, spec=spec)
            runs.append(dataclasses.replace(run, record=record, curve=tuple(curve)))
    return dataclasses.replace(evidence, runs=tuple(runs))


def test_claims_say_that_one_rate_a_batch_is_not_tuned(planted):
    findings = experiment_of("critical_batch").analyse(planted)
    assert all("by the root rule, which were not tuned" in claim.says for claim in findings.claims)
    assert "not tuned" in findings.verdict
    assert any(
        "slaw run critical_batch --set 'grid.0.axes.optim.lr=[0.001, 0.002, 0.004" in note
        for note in findings.notes
    )


def test_the_best_of_several_rates_counts_and_is_tuned_between_others(planted):
    single = experiment_of("critical_batch").analyse(planted)
    tuned = experiment_of("critical_batch").analyse(at_rates(planted, 0.5, 1, 2))
    assert "not tuned" not in tuned.verdict
    assert not any("tuned" in claim.says for claim in tuned.claims)
    assert tuned.measures == pytest.approx(single.measures)
    edge = experiment_of("critical_batch").analyse(at_rates(planted, 1, 2))
    assert "(an edge of them in 36 of 36 cases)" in edge.verdict
    listed = [note for note in edge.notes if "at an edge of those tried for 128, 256," in note]
    assert len(listed) == 1 and not any("128" in claim.says for claim in edge.claims)


@pytest.mark.parametrize(
    ("exponent", "reach", "standing"),
    [(-5.0, 0.5, True), (-6.0, 3.0, None), (-2.0, 1.0, False), (-9.0, 1.0, False)],
)
def test_a_wide_interval_neither_excludes_nor_determines_kaplans(
    module, planted, exponent, reach, standing
):
    targets = module.targets_of(planted, module.Settings(highest=3, lowest=2.6))
    law = PowerLaw(
        factor=1.0,
        exponent=exponent,
        interval=(exponent - reach, exponent + reach),
        scatter=0.1,
        misfit=0.1,
        points=4,
    )
    bent = module._kaplan(targets, law, 0.01)
    assert bent.established is None and "lie on no power law" in bent.because
    claim = module._kaplan(targets, law, 0.5)
    assert claim.established is standing
    assert ("neither excludes nor determines 0.21" in claim.because) is (standing is None)


def test_a_noise_scale_that_seeds_leave_open_predicts_nothing(planted):
    """Seeds whose noise scales lie a factor of 30 apart hold 3 within their interval."""

    def change(run: Run):
        factor = 30.0 ** (run.spec.seed - 1)
        for point in run.curve:
            trace = {"noise_scale.trace": point.metrics["noise_scale.trace"] * factor}
            yield dataclasses.replace(point, metrics={**point.metrics, **trace})

    claims = claims_of(with_curves(planted, change))
    assert claims["noise_scale_predicts"].established is None
    assert claims["hyperbola"].established is True


def test_a_run_that_ends_before_the_best_rate_gets_there_says_nothing_of_its_rate(planted):
    """Of three rates the highest is cut short: the best one lies at an edge again."""
    tried = at_rates(planted, 0.5, 1, 2)
    highest: dict[int, float] = {}
    for run in tried.runs:
        batch, lr = run.spec.batch_tokens, run.spec.optim.lr
        highest[batch] = max(highest.get(batch, 0), lr)

    def cut(total: int) -> Evidence:
        runs = []
        for run in tried.runs:
            if run.spec.optim.lr == highest[run.spec.batch_tokens]:
                spec = dataclasses.replace(run.spec, total_steps=total)
                record = dataclasses.replace(run.record, spec=spec)
                run = dataclasses.replace(run, record=record, curve=run.curve[:1])
            runs.append(run)
        return dataclasses.replace(tried, runs=tuple(runs))

    def tuned(total: int) -> list[bool]:
        targets = parts.module_of("experiment", "critical_batch").targets_of(
            cut(total), experiment_of("critical_batch").settings(highest=3, lowest=2.6)
        )
        return [not target.untuned for target in targets]

    assert not any(tuned(5)) and all(tuned(10_000))
