"""Training steps that were measured: their shape, their kernels on a CPU, their time.

Those of several devices together are measured against one device's.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from scaling_law.decode import build
from scaling_law.spec.architectures import architecture_of
from scaling_law.spec.counts import flops_per_token
from scaling_law.spec.from_json import model_from_json
from scaling_law.spec.kernels import Kernels, kernels_from_json
from scaling_law.spec.model import Model, ModelSpec
from scaling_law.spec.parallel import Parallel
from scaling_law.units import format_count

# Larger steps are measured on fewer layers and sequences; far larger ones not at all.
MOST_FLOPS, _HOPELESS_FLOPS = 3e10, 3e11


@dataclass(frozen=True, kw_only=True)
class StepShape:
    """What the time of a training step depends on.

    ``model`` is a GPT;
    ``seqs`` are the sequences of one forward and backward pass;
    ``precision`` is that of the run;
    ``recompute`` says whether activations are computed again in the backward pass.
    """

    model: ModelSpec
    seqs: int
    precision: str
    recompute: bool = False

    @property
    def tokens(self) -> int:
        """The tokens of one pass."""
        return self.seqs * self.model.n_ctx

    def __str__(self) -> str:
        """``2 layers, width 24, 2 heads, vocabulary 1024, 8 x 64 tokens, fp32``."""
        model = self.model
        text = f"{architecture_of(model).shape_text(model)}, vocabulary {model.vocab_size}"
        return f"{text}, {self.seqs} x {model.n_ctx} tokens, {self.precision}"


@dataclass(frozen=True, kw_only=True)
class MeasuredStep:
    """A step as measured, with the fastest kernels.

    ``shape`` is what was measured;
    ``kernels`` are the fastest, or those of the thresholds where none is clearly faster;
    ``over_thresholds`` is the time with the thresholds' kernels over the time with ``kernels``;
    ``over_plain`` is the same for torch's own operators;
    ``seconds`` are the CPU seconds of one step of a run, None where only a part of the model was
    measured;
    ``eval_seconds`` are the CPU seconds of evaluating one token, None as for ``seconds``;
    ``stack_gain`` is the time of three runs' steps one after the other over that of their stack's,
    None where no stack is worth trying.
    """

    shape: StepShape
    kernels: Kernels
    over_thresholds: float
    over_plain: float
    seconds: float | None = None
    eval_seconds: float | None = None
    stack_gain: float | None = None

    def __str__(self) -> str:
        """Say the shape, the kernels, what they gain, and the speed."""
        speed = ""
        if self.seconds is not None:
            speed = f"; {format_count(self.shape.tokens / self.seconds)} tokens/s"
        if self.stack_gain is not None:
            speed += f", a stack of three {self.stack_gain:.2f}x"
        return (
            f"{self.shape}: {self.kernels} ({self.over_plain:.2f}x plain,"
            f" {self.over_thresholds:.2f}x the thresholds'){speed}"
        )


@dataclass(frozen=True, kw_only=True)
class JointShape:
    """What the time of a step of several devices depends on, beside that of one.

    ``model`` is any that the package can build;
    ``seqs`` are the sequences of the whole step;
    ``precision`` is that of the run;
    ``recompute`` says whether activations are computed again in the backward pass;
    ``device`` is the kind of device;
    ``parallel`` are the devices.
    """

    model: Model
    seqs: int
    precision: str
    recompute: bool
    device: str
    parallel: Parallel


@dataclass(frozen=True, kw_only=True)
class JointStep:
    """A step of several devices as measured.

    ``shape`` is what was measured;
    ``speedup`` is the time of one device's step over theirs, of the same sequences, at most the
    number of devices.
    """

    shape: JointShape
    speedup: float

    @property
    def is_bounded(self) -> bool:
        """Whether more was measured than so many devices are taken to gain."""
        return self.speedup >= self.shape.parallel.devices

    def __str__(self) -> str:
        """Say the shape and the speedup."""
        shape, model = self.shape, self.shape.model
        return (
            f"{architecture_of(model).shape_text(model)}, {shape.seqs} x {model.n_ctx} tokens,"
            f" {shape.precision}, {shape.parallel}: {self.speedup:.2f}x one device"
            f"{', the bound' * self.is_bounded}"
        )


def joint_shape(
    model: Model, seqs: int, precision: str, recompute: bool, device: str, parallel: Parallel
) -> JointShape | None:
    """Return the shape to measure: fewer sequences where a CPU would take long; None for never."""
    most = seqs
    if device == "cpu":
        flops = flops_per_token(model) * model.n_ctx
        if flops * parallel.devices > _HOPELESS_FLOPS:
            return None
        most = max(parallel.devices, min(seqs, int(MOST_FLOPS / flops)))
    return JointShape(
        model=model,
        seqs=most - most % parallel.devices,
        precision=precision,
        recompute=recompute,
        device=device,
        parallel=parallel,
    )


def measured_model(model: Model) -> ModelSpec | None:
    """Return the GPT whose step is measured for ``model``; None where its architecture has none."""
    measured_as = architecture_of(model).measured_as
    return measured_as(model) if measured_as else None


def measured_part(shape: StepShape) -> StepShape | None:
    """Return a shape whose step takes well under a second and whose kernels ``shape`` may take.

    It is ``shape`` itself where that is small enough; None where no part of it is.
    """
    model = shape.model
    if flops_per_token(model) * shape.tokens <= MOST_FLOPS:
        return shape
    model = dataclasses.replace(model, n_layer=min(2, model.n_layer))
    flops = flops_per_token(model) * model.n_ctx
    if flops > _HOPELESS_FLOPS:
        return None
    seqs = max(1, min(shape.seqs, int(MOST_FLOPS / flops)))
    return dataclasses.replace(shape, model=model, seqs=seqs)


def shape_from_json(data: dict[str, Any]) -> StepShape:
    """Build a shape from its JSON. Raises ``ValueError``, ``KeyError`` or ``TypeError``."""
    return build(StepShape, {**data, "model": model_from_json(data["model"])})


def joint_shape_from_json(data: dict[str, Any]) -> JointShape:
    """Build a shape from its JSON. Raises as ``shape_from_json`` does."""
    parallel = build(Parallel, data["parallel"])
    model = model_from_json(data["model"])
    return build(JointShape, {**data, "model": model, "parallel": parallel})


def joint_step_from_json(data: dict[str, Any]) -> JointStep:
    """Build a measured step from its JSON. Raises as ``shape_from_json`` does."""
    return build(JointStep, {**data, "shape": joint_shape_from_json(data["shape"])})


def step_from_json(data: dict[str, Any]) -> MeasuredStep:
    """Build a measured step from its JSON. Raises as ``shape_from_json`` does."""
    shape, kernels = shape_from_json(data["shape"]), kernels_from_json(data["kernels"])
    return build(MeasuredStep, {**data, "shape": shape, "kernels": kernels})
