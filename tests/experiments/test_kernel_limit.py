"""The tangent kernel, its parametrisation, and what the analysis says of bad evidence."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from scaling_law.experiment.evidence import Evidence
from scaling_law.spec.component import Component
from scaling_law.spec.model import OtherModel
from scaling_law.train.architectures import build, weights_of
from scaling_law.train.probes.tangent_kernel import kernel
from tests.experiments.test_contract import experiment_of, planted_evidence


def network(width: int) -> OtherModel:
    return OtherModel(
        architecture=Component(name="dense", settings=(("activation", "tanh"), ("depth", 2))),
        shape=(("width", width),), vocab_size=0, n_ctx=1, features=3, outputs=1,
        parametrisation=Component(name="ntk", settings=(("base_width", 16),)),
    )  # fmt: skip


def claims_of(evidence: Evidence) -> dict[str, tuple[bool | None, str]]:
    findings = experiment_of("kernel_limit").analyse(evidence)
    return {claim.name: (claim.established, claim.because) for claim in findings.claims}


def changed(evidence: Evidence, *, metrics=None, trained=None) -> Evidence:
    """The same runs with other metrics, or with another training error at the end."""
    runs = []
    for run in evidence.runs:
        record = run.record
        if metrics is not None:
            record = dataclasses.replace(record, metrics=metrics(run))
        *before, last = run.curve
        if trained is not None:
            last = dataclasses.replace(last, train_loss_nats=trained(run))
        runs.append(dataclasses.replace(run, record=record, curve=(*before, last)))
    return dataclasses.replace(evidence, runs=tuple(runs))


def test_the_kernel_of_a_linear_model_is_the_product_of_its_inputs():
    module = nn.Linear(3, 1)
    inputs = torch.randn(5, 3)
    expected = inputs.double() @ inputs.double().T + 1  # the bias adds 1
    assert torch.allclose(kernel(module, inputs), expected, atol=1e-5)


@pytest.mark.parametrize(("outputs", "inputs"), [(2049, 3), (1000, 300_000)])
def test_more_gradients_than_a_probe_may_take_are_refused(outputs, inputs):
    module = nn.Linear(inputs, outputs, device="meta")
    with pytest.raises(ValueError, match=f"{outputs:,} outputs and .* weights, at most 2,048"):
        kernel(module, torch.empty(1, inputs, device="meta"))


def test_a_weight_counts_in_the_kernel_with_its_learning_rate():
    """A small step of gradient descent on one output changes the others by the kernel."""
    module = build(network(64), 1)
    inputs, rate = torch.randn(4, 3), 1e-3
    wanted = kernel(module, inputs)
    before = module(inputs).flatten()
    weights = weights_of(module)
    gradients = torch.autograd.grad(before[0], [w.parameter for w in weights])
    with torch.no_grad():
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.parameter.add_(rate * weight.lr_mult * gradient)
        moved = (module(inputs).flatten() - before).double() / rate
    assert torch.allclose(moved, wanted[0], rtol=0.02, atol=0.02)


def test_the_size_of_the_kernel_does_not_grow_with_the_width():
    inputs = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    sizes = [float(kernel(build(network(w), 1), inputs).trace()) for w in (64, 1024)]
    assert sizes[1] / sizes[0] == pytest.approx(1, abs=0.3)


def test_runs_that_do_not_learn_decide_nothing_but_the_spread():
    claims = claims_of(changed(planted_evidence("kernel_limit"), trained=lambda run: 0.9))
    spread = claims.pop("kernel_spread")
    assert spread[0] is True
    assert {established for established, _ in claims.values()} == {None}
    assert all("of its first training error" in because for _, because in claims.values())


def test_widths_that_learn_differently_decide_nothing():
    evidence = changed(
        planted_evidence("kernel_limit"),
        trained=lambda run: 3.0 / dict(run.spec.model.shape)["width"],
    )
    established, because = claims_of(evidence)["kernel_change"]
    assert established is None and "have learnt different functions" in because


def test_changes_that_do_not_fall_contradict_theory():
    planted = planted_evidence("kernel_limit")
    claims = claims_of(changed(planted, metrics=lambda run: dict.fromkeys(run.record.metrics, 0.3)))
    assert {established for established, _ in claims.values()} == {False}


def test_one_seed_decides_nothing():
    planted = planted_evidence("kernel_limit")
    runs = tuple(run for run in planted.runs if run.spec.seed == 0)
    claims = claims_of(dataclasses.replace(planted, runs=runs))
    assert {established for established, _ in claims.values()} == {None}
