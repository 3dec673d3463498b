"""The manifold, boxes and TwoNN, and what the analysis says of bad evidence."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from scaling_law.data.tasks.manifold import Settings
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.spec.architectures import architecture_of
from scaling_law.spec.component import Component
from scaling_law.spec.counts import count_params
from scaling_law.spec.data import DataSpec, TaskSpec
from scaling_law.spec.model import OtherModel
from scaling_law.train.architectures import build, module_of
from scaling_law.train.probes.intrinsic_dimension import two_nn
from scaling_law.train.tensors import Tensors
from tests.data.test_tasks import of
from tests.experiments.test_contract import experiment_of, planted_evidence
from tests.spec.test_architectures import template_for


def boxes(per_side: int, features: int) -> OtherModel:
    return OtherModel(
        architecture=Component(name="boxes"), shape=(("per_side", per_side),),
        vocab_size=0, n_ctx=1, features=features, outputs=1,
    )  # fmt: skip


def task_settings(data: DataSpec | TaskSpec) -> dict[str, Any]:
    assert isinstance(data, TaskSpec)
    return dict(data.source.settings)


def claims_of(evidence: Evidence) -> dict[str, tuple[bool | None, str]]:
    findings = experiment_of("manifold").analyse(evidence)
    return {claim.name: (claim.established, claim.because) for claim in findings.claims}


def with_losses(evidence: Evidence, loss) -> Evidence:
    """The same runs with other errors: ``loss(run)``."""
    runs = tuple(
        dataclasses.replace(run, record=dataclasses.replace(run.record, val_loss_nats=loss(run)))
        for run in evidence.runs
    )
    return dataclasses.replace(evidence, runs=runs)


def test_inputs_lie_on_a_flat_of_the_intrinsic_dimension():
    batch = of("manifold", dimension=3, inputs=10).examples("val", np.arange(4000))
    singular = np.linalg.svd(batch.inputs, compute_uv=False)
    assert singular[2] > 10 and singular[3] < 1e-3
    assert batch.inputs.var(axis=0).mean() == pytest.approx(1, rel=0.03)
    targets = [
        of("manifold", dimension=3, seed=seed).examples("val", np.arange(1000)).targets
        for seed in range(20)
    ]
    assert np.mean(np.square(targets)) == pytest.approx(1, rel=0.15)


def test_the_first_numbers_are_the_point_where_it_is_not_turned():
    batch = of("manifold", dimension=2, inputs=4, turned=False).examples("val", np.arange(2000))
    assert not batch.inputs[:, 2:].any() and abs(batch.inputs).max() <= 1
    assert batch.inputs[:, :2].var() == pytest.approx(1 / 3, rel=0.05)


def test_noise_is_on_training_targets_alone():
    quiet, noisy = (of("manifold", waves=0, noise=noise) for noise in (0.0, 0.5))
    val, train = (noisy.examples(split, np.arange(2000)).targets for split in ("val", "train"))
    assert not val.any() and train.std() == pytest.approx(0.5, rel=0.05)
    assert not quiet.examples("train", np.arange(100)).targets.any()


def test_more_dimensions_than_numbers_are_refused():
    with pytest.raises(ValueError, match=r"dimension is 5, and an input has 4 numbers \(inputs\)"):
        Settings(dimension=5, inputs=4)


def test_boxes_predict_the_means_of_their_examples():
    model = boxes(2, 2)
    module, solve = build(model), module_of(model).solve
    inputs = torch.tensor([[-0.5, -0.5], [-0.9, -0.1], [0.5, 0.5], [3.0, 0.1]])
    targets = torch.tensor([[1.0], [3.0], [5.0], [7.0]])
    assert solve is not None
    solve(module, lambda: iter([Tensors(inputs=inputs, targets=targets, weights=None)]))
    assert module(inputs).flatten().tolist() == [2, 2, 6, 6]
    # an empty box predicts the mean of all examples
    assert module(torch.tensor([[-0.5, 0.5]])).item() == 4
    assert sum(p.numel() for p in module.parameters()) == count_params(model).total == 4


def test_too_many_boxes_are_refused():
    part = architecture_of(boxes(2, 2))
    with pytest.raises(ValueError, match=r"per_side is 100, which makes 10\^12\.0 boxes of 6 inp"):
        part.make(template_for("boxes"), part.shape(per_side=100))


@pytest.mark.parametrize("dimension", [1, 2, 5])
def test_two_nn_finds_the_dimension_of_a_plane(dimension):
    random = np.random.default_rng(dimension)
    points = random.random((1500, dimension)) @ random.standard_normal((dimension, 9))
    assert two_nn(torch.from_numpy(points)) == pytest.approx(dimension, rel=0.12)


def test_two_nn_counts_equal_points_once():
    with pytest.raises(ValueError, match="3 different points, expected at least 20"):
        two_nn(torch.tensor([[0.0], [1.0], [2.0]]).repeat(30, 1))


def test_errors_on_no_power_law_decide_nothing():
    planted = planted_evidence("manifold")
    random = np.random.default_rng(1)
    claims = claims_of(with_losses(planted, lambda run: float(random.lognormal(0, 1))))
    for name in ("four_over_d", "boxes_as_known", "mean_as_known"):
        established, because = claims[name]
        assert established is None and "off a power law" in because
    assert claims["slower_with_dimension"][0] is not True


def test_one_exponent_for_all_dimensions_is_not_four_over_d_and_does_not_rise():
    planted = planted_evidence("manifold")
    random = np.random.default_rng(1)
    claims = claims_of(
        with_losses(
            planted,
            lambda run: count_params(run.spec.model).total ** -1.2 * random.lognormal(0, 0.02),
        )
    )
    assert claims["slower_with_dimension"][0] is None and claims["four_over_d"][0] is False


def test_exponents_that_fall_with_the_dimension_contradict_that_they_rise():
    planted = planted_evidence("manifold")
    random = np.random.default_rng(2)

    def loss(run: Run) -> float:
        dimension = task_settings(run.spec.data).get("dimension", 4)
        slope = -0.1 * dimension
        return count_params(run.spec.model).total ** slope * random.lognormal(0, 0.02)

    established, because = claims_of(with_losses(planted, loss))["slower_with_dimension"]
    assert established is False and "they rise by -0." in because


def test_a_wrong_dimension_contradicts_two_nn():
    planted = planted_evidence("manifold")
    runs = []
    for run in planted.runs:
        estimate = 3 + task_settings(run.spec.data).get("seed", 0) / 9
        record = dataclasses.replace(run.record, metrics={"intrinsic_dimension": estimate})
        runs.append(dataclasses.replace(run, record=record))
    claims = claims_of(dataclasses.replace(planted, runs=tuple(runs)))
    assert claims["two_nn_finds_dimension"][0] is False


def test_one_seed_decides_nothing():
    planted = planted_evidence("manifold")
    runs = tuple(run for run in planted.runs if not task_settings(run.spec.data).get("seed"))
    claims = claims_of(dataclasses.replace(planted, runs=runs))
    assert claims["slower_with_dimension"][0] is None and claims["mean_as_known"][0] is None
