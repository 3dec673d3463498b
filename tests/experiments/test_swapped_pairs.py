"""What the analysis of swapped pairs says of evidence against its claims, and of too little."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from scaling_law.data.tasks.modular_addition import Settings as Task
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.spec.data import TaskSpec
from tests.experiments.test_contract import experiment_of, planted_evidence
from tests.fakes import Noise

NAME = "swapped_pairs"


@pytest.fixture(scope="module")
def planted() -> Evidence:
    return planted_evidence(NAME)


def claims_of(evidence: Evidence) -> dict[str, tuple[bool | None, str]]:
    findings = experiment_of(NAME).analyse(evidence)
    return {claim.name: (claim.established, claim.because) for claim in findings.claims}


def kind_of(run: Run) -> tuple[str, bool, float]:
    assert isinstance(run.spec.data, TaskSpec)
    task = run.spec.data.source.settings_as(Task)
    return run.spec.model.architecture.name, task.swapped_together, task.train_frac


def noise_of(run: Run) -> Noise:
    """The noise of a seed, the same at every step."""
    return Noise(run.record.run_id)


def with_accuracy(
    evidence: Evidence, accuracy: Callable[[int, float], float], model: str, *, together: bool
) -> Evidence:
    """The same runs; some have the validation accuracy that ``accuracy(step, planted)`` gives.

    A seed is 10 steps behind the one before.
    """
    runs = tuple(
        dataclasses.replace(
            run,
            curve=tuple(
                dataclasses.replace(
                    point,
                    metrics={
                        **point.metrics,
                        "accuracy.val": noise_of(run).on(
                            accuracy(point.step - 10 * run.spec.seed, point.metrics["accuracy.val"])
                        ),
                    },
                )
                for point in run.curve
            ),
        )
        if kind_of(run)[:2] == (model, together)
        else run
        for run in evidence.runs
    )
    return dataclasses.replace(evidence, runs=runs)


def test_a_transformer_that_knows_nothing_on_memorising_contradicts_the_claim(planted):
    def silent(step: int, value: float) -> float:
        return value if value > 0.9 else 0.02

    evidence = with_accuracy(planted, silent, "gpt", together=False)
    established, because = claims_of(evidence)["transformer_knows_swapped_pairs"]
    assert established is False and "predicts 0.02 of all other pairs" in because
    verdict = experiment_of(NAME).analyse(evidence).verdict
    assert "knows more or less than the swapped pairs" in verdict


def test_a_transformer_that_generalises_at_once_knows_more_than_swapped_pairs(planted):
    evidence = with_accuracy(planted, lambda step, value: 0.6, "gpt", together=True)
    assert claims_of(evidence)["transformer_knows_swapped_pairs"][0] is False


def test_an_mlp_that_knows_swapped_pairs_contradicts_the_claim(planted):
    evidence = with_accuracy(planted, lambda step, value: 0.5, "mlp", together=False)
    assert claims_of(evidence)["mlp_does_not"][0] is False
    assert "an MLP predicts none" not in experiment_of(NAME).analyse(evidence).verdict


def test_distinct_pairs_that_take_longer_contradict_the_claim(planted):
    def early(step: int, value: float) -> float:
        return 1.0 if step >= 100 else value

    claims = claims_of(with_accuracy(planted, early, "gpt", together=False))
    assert claims["distinct_pairs_count"][0] is False
    assert claims["swapped_pairs_are_no_data"][0] is True


def test_a_transformer_that_never_generalises_leaves_its_data_open(planted):
    claims = claims_of(with_accuracy(planted, lambda step, value: 0.0, "gpt", together=False))
    for name in ("distinct_pairs_count", "swapped_pairs_are_no_data"):
        assert claims[name][0] is None and "train for longer" in claims[name][1]


@pytest.mark.parametrize("model", ["gpt", "mlp"])
def test_one_seed_and_one_way_decide_nothing(planted, model):
    name = {"gpt": "transformer_knows_swapped_pairs", "mlp": "mlp_does_not"}[model]
    one_seed = tuple(r for r in planted.runs if kind_of(r)[:2] != (model, False) or not r.spec.seed)
    one_way = tuple(r for r in planted.runs if kind_of(r)[:2] != (model, True))
    for runs, why in ((one_seed, "1 seed of a"), (one_way, "pairs together finished")):
        established, because = claims_of(dataclasses.replace(planted, runs=runs))[name]
        assert established is None and why in because


def test_runs_that_have_not_memorised_decide_nothing(planted):
    runs = tuple(dataclasses.replace(run, curve=run.curve[:3]) for run in planted.runs)
    claims = claims_of(dataclasses.replace(planted, runs=runs))
    assert {established for established, _ in claims.values()} == {None}
    assert "have not memorised" in claims["mlp_does_not"][1]
