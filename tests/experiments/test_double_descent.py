"""Double descent: its task, its models, and an analysis that refuses what the runs do not show."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from scaling_law.data.tasks import two_scales
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.humps import Hump, hump_of
from scaling_law.spec.architectures import architecture_of
from scaling_law.spec.component import Component
from scaling_law.spec.counts import count_params, flops_per_token
from scaling_law.spec.data import TaskSpec
from scaling_law.spec.model import OtherModel
from scaling_law.train.architectures import build, weights_of
from tests.experiments.test_contract import experiment_of, planted_evidence
from tests.fakes import Noise
from tests.spec.test_architectures import template_for

NAME = "double_descent"


def model_of(name: str, **shape: int) -> OtherModel:
    return OtherModel(
        architecture=Component(name=name), shape=tuple(shape.items()),
        vocab_size=0, n_ctx=1, features=6, outputs=2,
    )  # fmt: skip


def claims_of(evidence: Evidence) -> dict[str, bool | None]:
    findings = experiment_of(NAME).analyse(evidence)
    return {claim.name: claim.established for claim in findings.claims}


@pytest.fixture(scope="module")
def planted():
    return planted_evidence(NAME)


def test_each_group_of_inputs_gives_its_share_of_the_targets_variance():
    settings = two_scales.Settings(fast=5, slow=4, scale=0.1, slow_share=0.3)
    indices = np.arange(20_000)
    batch = two_scales.examples(settings, "val", indices)
    assert batch.inputs.std(axis=0) == pytest.approx([1] * 5 + [0.1] * 4, rel=0.03)
    assert batch.targets.var() == pytest.approx(1, rel=0.05)
    weights, *_ = np.linalg.lstsq(batch.inputs, batch.targets, rcond=None)
    slow = batch.inputs[:, 5:] @ weights[5:]
    assert slow.var() == pytest.approx(0.3, rel=0.05)


def test_noise_is_on_training_targets_alone():
    quiet, noisy = (two_scales.Settings(noise=noise) for noise in (0.0, 0.5))
    indices = np.arange(2_000)
    pairs = {
        split: [two_scales.examples(s, split, indices).targets for s in (quiet, noisy)]
        for split in ("train", "val")
    }
    assert np.array_equal(pairs["val"][0], pairs["val"][1])
    assert np.std(pairs["train"][1] - pairs["train"][0]) == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize(("name", "shape"), [("linear", {"inputs": 4}), ("dense", {"width": 3})])
def test_the_models_are_built_as_they_are_counted(name, shape):
    model = model_of(name, **shape)
    module = build(model, 1)
    assert sum(p.numel() for p in module.parameters()) == count_params(model).total
    assert len(weights_of(module)) == len(list(module.parameters()))
    with FlopCounterMode(display=False) as counter:
        module(torch.randn(5, 6)).square().sum().backward()
    assert counter.get_total_flops() == 5 * flops_per_token(model)


def test_a_linear_model_reads_the_first_numbers_and_starts_at_zero():
    module = build(model_of("linear", inputs=4), 1)
    inputs = torch.randn(3, 6)
    assert not module(inputs).any()
    torch.nn.init.ones_(next(module.parameters()))
    assert torch.allclose(module(inputs), inputs[:, :4].sum(1, keepdim=True).expand(3, 2))


def test_a_linear_model_of_more_numbers_than_an_input_has_is_refused():
    part = architecture_of(model_of("linear", inputs=4))
    with pytest.raises(ValueError, match="inputs is 7, and an input has 6 numbers"):
        part.make(template_for("linear"), part.shape(inputs=7))


def test_a_curve_that_never_rises_has_no_peak():
    assert hump_of([(x, 1 / x) for x in (1.0, 2.0, 3.0)]) is None
    shown = hump_of([(float(x), error) for x, error in enumerate((3, 1, 5, 2, 4))])
    assert shown == Hump(before=1, peak=5, after=2, x=2.0)


def test_models_that_do_not_fit_their_examples_establish_no_peak(planted):
    """The training error of large models is the precondition, as with too much ridge."""
    runs = tuple(
        dataclasses.replace(
            run,
            curve=tuple(dataclasses.replace(p, train_loss_nats=0.1) for p in run.curve),
        )
        for run in planted.runs
    )
    claims = claims_of(dataclasses.replace(planted, runs=runs))
    assert claims["peak_by_width"] is None and claims["peak_by_examples"] is None


def with_errors(evidence: Evidence, error: Callable[[Run, int], float]) -> Evidence:
    """The runs with another error at the end, by the run and its draw of the data."""
    runs = []
    for run in evidence.runs:
        assert isinstance(run.spec.data, TaskSpec)
        draw = dict(run.spec.data.source.settings).get("seed", 0)
        record = dataclasses.replace(run.record, val_loss_nats=error(run, draw))
        runs.append(dataclasses.replace(run, record=record))
    return dataclasses.replace(evidence, runs=tuple(runs))


def test_a_flat_error_contradicts_the_peak(planted):
    def error(run: Run, draw: int) -> float:
        wave = math.sin(count_params(run.spec.model).total + 7 * draw + run.spec.total_steps)
        return 0.5 + 1e-3 * wave

    claims = claims_of(with_errors(planted, error))
    assert claims["peak_by_width"] is False and claims["peak_by_examples"] is False


def test_peaks_that_differ_hugely_between_draws_establish_none(planted):
    """Every draw has its peak at one parameter per example, of 2.01 to 4e6 times the lowest."""
    height = {0: 2.02, 1: 2.01, 2: 4e6}

    def error(run: Run, draw: int) -> float:
        ratio = count_params(run.spec.model).total / 200
        return height[draw] if ratio == 1 else 1.0 + 0.001 * (ratio == 0.9)

    claims = claims_of(with_errors(planted, error))
    assert claims["peak_by_width"] is None


def test_one_draw_of_the_data_establishes_nothing(planted):
    runs = tuple(r for r in planted.runs if not dict(r.spec.data.source.settings).get("seed"))
    assert runs
    assert set(claims_of(dataclasses.replace(planted, runs=runs)).values()) == {None}


def test_a_run_by_epochs_that_falls_only_once_contradicts_the_second_descent(planted):
    def first_fall(run: Run) -> Run:
        *rising, top = run.curve[:6]
        assert top.val_loss_nats is not None
        after = dataclasses.replace(
            top,
            step=2 * top.step,
            val_loss_nats=Noise(run.record.run_id).on(0.98 * top.val_loss_nats),
        )
        return dataclasses.replace(run, curve=(*rising, top, after))

    runs = tuple(run if len(run.curve) < 5 else first_fall(run) for run in planted.runs)
    claims = claims_of(dataclasses.replace(planted, runs=runs))
    assert claims["two_descents_by_epochs"] is False and claims["peak_by_width"] is True
