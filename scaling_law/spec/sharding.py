"""Estimate the memory of one device where several train a model together.

Weights and gradients take 4 bytes a parameter, AdamW's moments 8, and the copy of the weights that
mixed precision multiplies 2 (``spec.counts.memory_bytes``); which of them are split over N devices
is the stage of ZeRO (Rajbhandari 2020, arXiv 1910.02054, section 5). Tensor parallel devices have a
share of each layer, and so of its heads, and of its activations as well, because they split its
sequence too; those of a pipeline have some of the layers each, and as many sequences in flight as
there are stages, so that the first one stores the activations of a whole model (Korthikanti 2022,
arXiv 2205.05198, sections 4.2 and 4.2.3). Figures are those of the device that needs most.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass

from scaling_law.spec.architectures import architecture_of
from scaling_law.spec.counts import count_params, memory_bytes
from scaling_law.spec.model import Model, ModelSpec, OtherModel
from scaling_law.spec.parallel import Parallel

_WEIGHT, _GRADIENT, _MOMENTS, _HALF_COPY = 4, 4, 8, 2
# At stage 3 a device holds the weights that it multiplies, and those that it multiplies next.
_GATHERED_LAYERS = 2
# Tensor parallel devices communicate in every layer, so they are those of one machine.
_TENSORS = (1, 2, 4, 8)
_MOST_DATA = 2**16


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a model lies on devices.

    ``stage``: that of ZeRO, over the data parallel devices.
    ``data``: devices, or groups of them, that each take a share of the batch.
    ``tensor``: devices that each have a share of every layer.
    ``pipeline``: devices that each have a share of the layers.
    ``recompute``: whether activations are computed again in the backward pass.
    """

    stage: int = 0
    data: int = 1
    tensor: int = 1
    pipeline: int = 1
    recompute: bool = False

    @property
    def devices(self) -> int:
        """How many there are."""
        return self.data * self.tensor * self.pipeline

    def __str__(self) -> str:
        """``1 device``, ``ZeRO-3 over 16 devices``, ``tensor parallel 8 x pipeline 2``."""
        ways = {"tensor parallel": self.tensor, "pipeline": self.pipeline}
        words = [f"{name} {count}" for name, count in ways.items() if count > 1]
        zero = f"ZeRO-{self.stage}" if self.stage else "data parallel"
        if not words:
            return f"{zero} over {self.data} devices" if self.data > 1 else "1 device"
        if self.data > 1:
            words.insert(0, f"{zero} {self.data}")
        return f"{' x '.join(words)}, {self.devices} devices"


def layout_bytes(model: Model, precision: str, layout: Layout) -> float:
    """Peak bytes on the fullest device, one sequence at a time, without the runtime's own.

    Of a pipeline that is a stage with the most layers, which is taken to have embedding and head
    too.
    """
    counts, layers = count_params(model), _dimension(model, "n_layer")
    blocks, stage_layers = counts.non_embedding, math.ceil(layers / layout.pipeline)
    params = (counts.total - blocks + blocks * stage_layers / layers) / layout.tensor
    state = state_bytes(params, gathered_params(model), precision, layout.stage, layout.data)
    activations = architecture_of(model).activation_bytes(model, 1, precision, layout.recompute)
    return state + activations / layout.tensor


def smallest_layouts(model: Model, precision: str, most_bytes: float, seqs: int) -> list[Layout]:
    """The layouts of the fewest devices whose memory is ``most_bytes`` each, the simplest first.

    One device where that is enough, else the fewest of data parallel ones at a stage of ZeRO, and
    the fewest of tensor parallel ones and a pipeline, with ZeRO-1 over several of these where that
    takes fewer. ``seqs`` are the sequences of a batch: data parallel devices take as many each, and
    every stage of a pipeline has one in flight. Empty where nothing fits.
    """
    chosen = []
    for ways in ([Layout()], [*_zero(seqs)], [*_split(model, seqs)]):
        fits = (
            candidate
            for layout in ways
            for candidate in (layout, _recomputing(layout))
            if layout_bytes(model, precision, candidate) <= most_bytes
        )
        # of as many devices no recomputing, then the first stage
        best = min(fits, key=lambda layout: (layout.devices, layout.recompute), default=None)
        if best is not None:
            chosen.append(best)
            if best.devices == 1:
                break
    return chosen


def layout_on(
    model: Model, precision: str, most_bytes: float, seqs: int, devices: int
) -> Layout | None:
    """The first stage of ZeRO at which ``devices`` data parallel ones hold a model; None for none.

    Activations are computed again only where that is needed.
    """
    if seqs % devices:
        return None
    stages = (0,) if devices == 1 else (0, 1, 2, 3)
    plain = [Layout(stage=stage, data=devices) for stage in stages]
    for layout in (*plain, *map(_recomputing, plain)):
        if layout_bytes(model, precision, layout) <= most_bytes:
            return layout
    return None


def _recomputing(layout: Layout) -> Layout:
    return dataclasses.replace(layout, recompute=True)


def _zero(seqs: int) -> Iterator[Layout]:
    for devices in _even(seqs):
        yield from (Layout(stage=stage, data=devices) for stage in (1, 2, 3))


def _split(model: Model, seqs: int) -> Iterator[Layout]:
    layers = _dimension(model, "n_layer")
    # the fewest stages for each number of layers a stage
    pipelines = sorted({math.ceil(layers / each) for each in range(1, layers + 1)})
    for tensor in (tensor for tensor in _TENSORS if _shares_heads(model, tensor)):
        for pipeline in pipelines:
            for data in (1, *_even(seqs)) if tensor * pipeline > 1 else ():
                if data * pipeline <= seqs:
                    stage = 1 if data > 1 else 0
                    yield Layout(stage=stage, data=data, tensor=tensor, pipeline=pipeline)


def _even(seqs: int) -> list[int]:
    """The numbers of data parallel devices, from 2, that share a batch evenly."""
    return [data for data in range(2, min(seqs, _MOST_DATA) + 1) if seqs % data == 0]


def _shares_heads(model: Model, tensor: int) -> bool:
    """Whether tensor parallel devices can have the same number of attention's heads each."""
    heads = _dimension(model, "n_head")
    of_keys = model.n_kv_head if isinstance(model, ModelSpec) else heads
    return heads % tensor == 0 and of_keys % tensor == 0


def state_bytes(params: float, gathered: float, precision: str, stage: int, devices: int) -> float:
    """Bytes of weights, gradients and moments on each of ``devices``.

    ``params`` are all the model's, ``gathered`` those that stage 3 has whole at once.
    """
    copies = 0 if precision == "fp32" else _HALF_COPY

    def share(least_stage: int) -> float:
        return params / devices if stage >= least_stage else params

    state = _MOMENTS * share(1) + _GRADIENT * share(2) + _WEIGHT * share(3)
    if stage < 3 or devices == 1:
        return state + copies * params
    return state + (_WEIGHT + _GRADIENT + copies) * min(gathered, params)


def gathered_params(model: Model) -> float:
    """The parameters that stage 3 has whole at once: tables, head and two layers."""
    counts = count_params(model)
    blocks = counts.non_embedding
    return (
        counts.total - blocks + blocks * min(1.0, _GATHERED_LAYERS / _dimension(model, "n_layer"))
    )


def _dimension(model: Model, name: str) -> int:
    """A dimension of a model, 1 where its architecture has none of that name."""
    if isinstance(model, OtherModel):
        return int(model.dimensions.get(name, 1))
    return int(getattr(model, name))


def device_bytes(
    model: Model,
    micro_seqs: int,
    precision: str,
    gradient_checkpointing: bool,
    parallel: Parallel,
) -> int:
    """Peak bytes of training state and activations on one device, without the runtime's own."""
    whole = memory_bytes(model, micro_seqs, precision, gradient_checkpointing)
    if not parallel.stage or parallel.devices == 1:
        return whole
    params = count_params(model).total
    gathered = gathered_params(model)
    alone = state_bytes(params, gathered, precision, 0, 1)
    mine = state_bytes(params, gathered, precision, parallel.stage, parallel.devices)
    return round(whole - alone + mine)
