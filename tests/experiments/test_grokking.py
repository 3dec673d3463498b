"""What the analysis of grokking says of evidence that does not bear its claims."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping

import pytest

from scaling_law.config.load import load_config
from scaling_law.experiment import Outcome, planted_point
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.spec.data import TaskSpec
from scaling_law.spec.run import RunSpec
from tests.experiments.test_contract import experiment_of, plan_of, planted_evidence
from tests.fakes import planted_runs


@pytest.fixture(scope="module")
def planted() -> Evidence:
    return planted_evidence("grokking")


def claims_of(evidence: Evidence) -> dict[str, tuple[bool | None, str]]:
    findings = experiment_of("grokking").analyse(evidence)
    return {claim.name: (claim.established, claim.because) for claim in findings.claims}


def without_generalising(evidence: Evidence, where: Callable[[Run], bool]) -> Evidence:
    """The same runs; the validation accuracy of some stays at chance."""
    runs = tuple(
        dataclasses.replace(
            run,
            curve=tuple(
                dataclasses.replace(point, metrics={**point.metrics, "accuracy.val": 0.02})
                for point in run.curve
            ),
        )
        if where(run)
        else run
        for run in evidence.runs
    )
    return dataclasses.replace(evidence, runs=runs)


def test_two_weight_decays_that_generalise_give_no_law(planted):
    few = without_generalising(planted, lambda run: run.spec.optim.weight_decay < 2)
    established, because = claims_of(few)["inverse_decay"]
    assert established is None and "every seed generalises at 2" in because


def test_a_weight_decay_at_which_one_seed_fails_is_no_part_of_the_law(planted):
    def slow(run: Run) -> bool:
        return (run.spec.optim.weight_decay, run.spec.seed) == (0.3, 0)

    experiment = experiment_of("grokking")
    whole = experiment.analyse(planted).measures["decay_exponent"]
    rest = experiment.analyse(without_generalising(planted, slow)).measures["decay_exponent"]
    assert whole is not None and rest == pytest.approx(whole, rel=0.05) and rest != whole


NEVER = 0  # in place of steps: a run that does not generalise


def generalising(evidence: Evidence, steps: Mapping[tuple[float, int], int]) -> Evidence:
    """The same runs; those of some (learning rate, seed) generalise at other steps."""

    def moved(run: Run) -> Run:
        step = steps.get((run.spec.optim.lr, run.spec.seed))
        share = run.arm.get("data.train_frac", "0.4")
        if step is None or run.spec.optim.weight_decay != 1 or share != "0.4":
            return run
        curve = tuple(
            dataclasses.replace(
                point, metrics={**point.metrics, "accuracy.val": float(0 < step <= point.step)}
            )
            for point in run.curve
        )
        return dataclasses.replace(run, curve=curve)

    return dataclasses.replace(evidence, runs=tuple(map(moved, evidence.runs)))


@pytest.mark.parametrize(
    ("first", "last", "standing"),
    [
        ((500, 500, 500), (300, 400, 450), True),
        ((420, 560, 540), (400, 590, 500), None),  # medians fall, one seed of three is slower
        ((500, 500, 500), (500, 500, 500), None),
        ((300, 300, 300), (500, 400, 500), False),
        ((300, 500, 500), (300, 400, 450), None),
        ((NEVER, NEVER, 500), (300, 400, 450), True),
        ((300, 300, 300), (NEVER, NEVER, 400), False),
        ((NEVER, 300, 500), (300, 400, 450), None),
        ((NEVER, 500, 500), (NEVER, 400, 450), None),
    ],
)
def test_an_axis_is_judged_seed_by_seed_between_its_ends(planted, first, last, standing):
    steps = {(rate, s): n for rate, ns in ((0.003, first), (0.02, last)) for s, n in enumerate(ns)}
    claims = claims_of(generalising(planted, steps))
    established, because = claims["faster_with_rate"]
    assert established is standing, because
    assert claims["faster_with_decay"][0] is claims["faster_with_data"][0] is True
    if NEVER not in (*first, *last):
        assert ", ".join(f"{a} to {b}" for a, b in zip(first, last, strict=True)) in because
    else:
        assert "never within" in because


def test_a_seed_that_has_not_generalised_is_counted_where_it_comes_late(planted):
    """Seeds memorise at 55 to 60 steps."""

    def late(*steps: int) -> tuple[bool | None, str]:
        moved = generalising(planted, {(0.01, seed): step for seed, step in enumerate(steps)})
        return claims_of(moved)["generalises_late"]

    established, because = late(400, 500, NEVER)
    assert established is True and "1 of 3 seeds have not generalised in 600 steps" in because
    assert late(100, 120, 110)[0] is False
    established, because = late(400, 100, 300)
    assert established is None and "1.7, 4.6, 7.3 times" in because
    assert late(100, 100, NEVER)[0] is None
    assert late(400, NEVER, NEVER)[0] is None
    moved = generalising(planted, {(0.01, 2): NEVER})
    assert "1 of 3 seeds have not" in experiment_of("grokking").analyse(moved).verdict
    short = tuple(
        dataclasses.replace(run, curve=run.curve[:40]) if run.spec.seed == 2 else run
        for run in moved.runs
    )
    established, because = claims_of(dataclasses.replace(moved, runs=short))["generalises_late"]
    assert established is None and "in 200 steps, 3.1 times those to memorise" in because


def test_runs_that_do_not_memorise_decide_nothing(planted):
    runs = tuple(dataclasses.replace(run, curve=run.curve[:3]) for run in planted.runs)
    claims = claims_of(dataclasses.replace(planted, runs=runs))
    assert {established for established, _ in claims.values()} == {None}
    assert "not memorised" in claims["generalises_late"][1]


def test_a_config_of_one_setting_makes_no_claims_that_compare_settings(planted):
    one = tuple(
        run
        for run in planted.runs
        if (run.spec.optim.weight_decay, run.spec.optim.lr) == (1, 0.01)
        and run.arm.get("data.train_frac") in (None, "0.4")
    )
    alone = dataclasses.replace(planted, runs=one, config={"grid": [{"seeds": [0, 1, 2]}]})
    findings = experiment_of("grokking").analyse(alone)
    assert [claim.name for claim in findings.claims] == ["generalises_late"]
    assert "this config compares no settings" in findings.notes
    unfinished = experiment_of("grokking").analyse(dataclasses.replace(planted, runs=one))
    assert len(unfinished.claims) > 1


def test_accuracy_that_falls_after_it_was_reached_is_noted(planted):
    def fall(run: Run) -> Run:
        last = dataclasses.replace(
            run.curve[-1], metrics={"accuracy.train": 1, "accuracy.val": 0.1}
        )
        return dataclasses.replace(run, curve=(*run.curve[:-1], last))

    fallen = dataclasses.replace(planted, runs=tuple(map(fall, planted.runs)))
    notes = experiment_of("grokking").analyse(fallen).notes
    assert any("falls below 0.5 again after it first reached 95%" in note for note in notes)
    assert not any("falls below" in n for n in experiment_of("grokking").analyse(planted).notes)


def transformer_evidence() -> Evidence:
    """Runs of the transformer that memorise at 50 steps and generalise at about 400, or never."""

    def outcome(spec: RunSpec) -> Outcome:
        late = 400 + 10 * spec.seed if spec.optim.weight_decay else math.inf
        curve = tuple(
            planted_point(
                spec,
                step,
                {"accuracy.train": float(step >= 50), "accuracy.val": float(step >= late)},
            )
            for step in range(10, 600, 10)
        )
        return Outcome(curve=curve, metrics=curve[-1].metrics)

    name, experiment = "grokking_transformer", experiment_of("grokking")
    planted = dataclasses.replace(experiment.planted, outcome=outcome)
    runs = planted_runs(
        dataclasses.replace(experiment, planted=planted), [run.spec for run in plan_of(name).runs]
    )
    settings = load_config(name, device_kind="cpu").choice("experiment").settings
    return Evidence(runs=runs, settings=settings)


def test_a_config_sets_the_values_that_axes_are_varied_from():
    findings = experiment_of("grokking").analyse(transformer_evidence())
    claims = {claim.name: claim for claim in findings.claims}
    assert "80% of the pairs" in claims["generalises_late"].says
    assert claims["generalises_late"].established is True
    assert "8.0, 8.2, 8.4 times" in claims["generalises_late"].because
    ties = claims["faster_with_data"]
    assert ties.established is None and "410 at 0.75, 410 at 0.8" in ties.because


def test_runs_whose_swapped_pairs_are_apart_are_no_part_of_the_axes(planted):
    """The same runs twice: in one half of them swapped pairs are together."""

    def together(run: Run) -> Run:
        assert isinstance(run.spec.data, TaskSpec)
        source = run.spec.data.source
        pairs = (*source.settings, ("swapped_together", True))
        data = TaskSpec(source=dataclasses.replace(source, settings=tuple(sorted(pairs))))
        spec = dataclasses.replace(run.spec, data=data)
        return dataclasses.replace(
            run, record=dataclasses.replace(run.record, spec=spec), curve=run.curve[:40]
        )

    both = dataclasses.replace(planted, runs=(*planted.runs, *map(together, planted.runs)))
    findings = experiment_of("grokking").analyse(both)
    name = "generalise_steps.mlp.wd1.share0.4.lr0.01"
    assert findings.measures[name] == 400 and findings.measures[f"{name}.together"] is None
    (late,) = (claim for claim in findings.claims if claim.name == "generalises_late")
    assert late.established is None and "3 of 3 seeds have not generalised" in late.because
