"""In-context learning: its task, the best possible accuracy, and evidence that bears no claim."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from scaling_law import parts
from scaling_law.data.tasks import shots
from scaling_law.experiment.evidence import Evidence
from scaling_law.spec.model import ModelSpec
from tests.experiments.test_contract import experiment_of, planted_evidence

NAME = "in_context"
OPERATIONS: tuple[Callable[[int, int], int], ...] = (lambda a, b: a, lambda a, b: b, max, min)


def series(**settings: Any) -> np.ndarray:
    """The whole series of some examples, [examples, questions, 3]."""
    batch = shots.examples(shots.Settings(**settings), "val", np.arange(3000))
    assert np.array_equal(batch.inputs[:, 2:], batch.targets[:, :-1])
    whole = np.concatenate([batch.inputs, batch.targets[:, -1:]], axis=1)
    return whole.reshape(len(whole), -1, 3)


def fitting(examples: np.ndarray) -> np.ndarray:
    """Whether each operation fits all shots of a series, [series, operations]."""
    a, b, result = np.moveaxis(examples, 2, 0)
    outcomes = (a, b, np.maximum(a, b), np.minimum(a, b))
    return np.stack([(one == result).all(axis=1) for one in outcomes], axis=1)


def test_one_operation_holds_for_a_series_and_all_are_as_frequent():
    fits = fitting(series(numbers=10, questions=12))
    assert fits.any(axis=1).all()
    assert fits.mean(axis=0) == pytest.approx(0.25, abs=0.03)


def test_only_results_count():
    batch = shots.examples(shots.Settings(questions=3), "train", np.arange(5))
    assert batch.inputs.shape == (5, 8) and batch.targets.shape == (5, 7)
    assert batch.weights is not None
    assert batch.weights.tolist() == [[1, 0, 0, 1, 0, 0, 1]] * 5


@pytest.mark.parametrize("count", [0, 1, 2])
def test_the_best_possible_accuracy_is_that_of_the_likeliest_result(count):
    """Every series of so many shots over three numbers, and every question after it."""
    numbers = 3
    pairs = list(itertools.product(range(numbers), repeat=2))
    right = total = 0.0
    for operation in OPERATIONS:
        for before in itertools.product(pairs, repeat=count):
            left = [o for o in OPERATIONS if all(o(*p) == operation(*p) for p in before)]
            for pair in pairs:
                answers = [o(*pair) for o in left]
                right += max(map(answers.count, answers)) / len(answers)
                total += 1
    best = parts.module_of("experiment", NAME).best
    assert right / total == pytest.approx(best(count, numbers))


@pytest.fixture(scope="module")
def planted() -> Evidence:
    return planted_evidence(NAME)


def findings_with(evidence: Evidence, share: Callable[[int, int], float]) -> Any:
    """The findings where each width and seed gains this share of accuracy from the last shot."""
    runs = []
    for run in evidence.runs:
        assert isinstance(run.spec.model, ModelSpec)
        gain = share(run.spec.model.d_model, run.spec.seed)
        metrics = dict.fromkeys(run.record.metrics, 0.55)
        metrics["answers.val.position-7"] += gain
        runs.append(
            dataclasses.replace(run, record=dataclasses.replace(run.record, metrics=metrics))
        )
    return experiment_of(NAME).analyse(dataclasses.replace(evidence, runs=tuple(runs)))


def test_models_that_learn_nothing_from_shots_contradict_the_first_claim(planted):
    findings = findings_with(planted, lambda width, seed: 0.01 * seed)
    standing = {claim.name: claim.established for claim in findings.claims}
    assert standing == {
        "largest_uses_shots": False,
        "gain_grows_with_size": None,
        "hidden_without_shots": None,
        "as_good_as_possible": None,
    }


@pytest.mark.parametrize(("noise", "standing"), [(0.002, True), (0.03, None)])
def test_sizes_are_equally_accurate_without_shots_where_their_intervals_are_near(
    planted, noise, standing
):
    """The means of all sizes are within the limit of each other; only the noise differs."""
    runs = []
    for number, run in enumerate(planted.runs):
        metrics = dict(run.record.metrics)
        metrics["answers.val.position-1"] += noise * (-1) ** number
        runs.append(
            dataclasses.replace(run, record=dataclasses.replace(run.record, metrics=metrics))
        )
    findings = experiment_of(NAME).analyse(dataclasses.replace(planted, runs=tuple(runs)))
    (claim,) = (one for one in findings.claims if one.name == "hidden_without_shots")
    assert claim.established is standing, claim.because


def test_a_gain_that_falls_with_size_contradicts_the_claim(planted):
    findings = findings_with(planted, lambda width, seed: 0.4 - 0.01 * width + 0.001 * seed)
    standing = {claim.name: claim.established for claim in findings.claims}
    assert standing["gain_grows_with_size"] is False


def test_a_gain_from_the_last_shot_alone_is_not_as_good_as_possible(planted):
    findings = findings_with(planted, lambda width, seed: 0.01 * width + 0.001 * seed)
    standing = {claim.name: claim.established for claim in findings.claims}
    assert standing["gain_grows_with_size"] is True and standing["as_good_as_possible"] is False
