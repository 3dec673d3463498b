"""Architectures, one name each: ``model: {architecture: gpt}`` is ``architectures/gpt.py``.

The file here gives, without torch, a model's size, cost and abilities; its module is in the file
of the same name in ``train/architectures``. A user's own file has both.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scaling_law import parts
from scaling_law.errors import ConfigError
from scaling_law.parts import NoSettings
from scaling_law.spec.component import Component
from scaling_law.spec.counts import ParamCounts, count_params
from scaling_law.spec.model import Model, ModelSpec, OtherModel
from scaling_law.units import format_count

if TYPE_CHECKING:
    from torch import nn

# What a module may show of its layers, and how a message calls it.
INSIDE = {
    "stream": "the residual stream (stream)",
    "attention": "the scores of attention (attention)",
    "units": "hidden units (units)",
    "experts": "which experts tokens go through (experts)",
}


@dataclass(frozen=True, kw_only=True)
class Template:
    """What the models of a grid share: everything except the shape.

    ``architecture``: the part, with its settings that are not at their default.
    ``settings``: all of its settings, an instance of its ``Settings``.
    ``vocab_size``: tokens of the vocabulary; 0 where examples have none.
    ``n_ctx``: tokens of an example.
    ``parametrisation``: the part, None for ``standard``.
    ``features``: numbers of an example's inputs, 0 where they are ids.
    ``outputs``: numbers of an example's targets, 0 where they are ids.
    """

    architecture: Component
    settings: Any
    vocab_size: int
    n_ctx: int
    parametrisation: Component | None = None
    features: int = 0
    outputs: int = 0


def other_model(template: Template, shape: Any) -> OtherModel:
    """Return the model of an architecture without a model class."""
    return OtherModel(
        architecture=template.architecture,
        shape=tuple(sorted(parts.set_fields(shape).items())),
        vocab_size=template.vocab_size,
        n_ctx=template.n_ctx,
        parametrisation=template.parametrisation,
        features=template.features,
        outputs=template.outputs,
    )


def by_one_number(
    make: Callable[[int], Any], word: str
) -> Callable[[float, str, Template, float | None], Any]:
    """Return the ``shape_for`` of an architecture whose parameters grow with one number.

    ``make`` turns that number into a shape; ``word`` names it in messages. What is returned gives
    the shape nearest to a parameter count, and raises ``ValueError`` for an aspect ratio, and where
    no shape has the parameters within 25%.
    """

    def shape_for(
        params: float, convention: str, template: Template, aspect_ratio: float | None
    ) -> Any:
        return _nearest(params, convention, template, aspect_ratio, make, word)

    return shape_for


def _nearest(
    params: float,
    convention: str,
    template: Template,
    aspect_ratio: float | None,
    make: Callable[[int], Any],
    word: str,
) -> Any:
    if aspect_ratio is not None:
        name = template.architecture.name
        raise ValueError(f"aspect_ratio: the architecture {name} has no aspect ratio")

    def counted_at(number: int) -> float:
        return count_params(other_model(template, make(number))).by(convention)

    low, high = 1, 2
    while counted_at(high) < params:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if counted_at(middle) < params else (low, middle)
    number = min((low, high), key=lambda one: abs(counted_at(one) - params))
    if not 0.8 <= counted_at(number) / params <= 1.25:
        raise ValueError(f"no {word} has {params:.3g} {convention} parameters within 25%")
    return make(number)


def named_by_shape(model: Model) -> str:
    """``width128-15k``: the shape's keys and values, and the non-embedding parameters."""
    shape = "-".join(f"{key}{value}" for key, value in model.dimensions.items())
    return f"{shape}-{counted(model)}"


def counted(model: Model) -> str:
    """``444k``: the non-embedding parameters, as names of sizes have them."""
    return format_count(count_params(model).non_embedding).replace("K", "k")


def listed_shape(model: Model) -> str:
    """``width 128``: the shape's keys and values."""
    return ", ".join(f"{key} {value}" for key, value in model.dimensions.items())


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A family of models. Its functions take a model that ``make`` made.

    ``shape``: a dataclass of the keys that a grid gives a size by, each with its range.
    ``count_params(model)``: parameters by group.
    ``flops_per_token(model)``: exact training FLOPs for each of an example's ``n_ctx`` tokens.
    ``activation_bytes(model, micro_seqs, precision, gradient_checkpointing)``: peak bytes of
    what the backward pass needs, for a batch of ``micro_seqs`` examples.
    ``settings``: a dataclass of what all sizes of a config share, beside the shape.
    ``inputs``: what it reads, ``"ids"`` or ``"numbers"``.
    ``one_output``: whether it gives one output for an example, not one at every position.
    ``make(template, shape)``: the model of a shape; raises ``ValueError`` for one that cannot be.
    ``size_name(model)``: names a size in run ids and tables.
    ``shape_text(model)``: describes a shape in a sentence.
    ``scales``: named shapes.
    ``shape_for(params, convention, template, aspect_ratio)``: the shape nearest to a parameter
    count; raises ``ValueError`` where none is near. None: a grid lists its sizes.
    ``shape_beyond(params, convention, template)``: the same for a size far above any grid's, at
    which a law is evaluated; None: ``shape_for``'s.
    ``cache_numbers(model)``: numbers that generating a sequence stores, besides the weights.
    ``notes``: lines under the plan's table: what is counted as parameters and FLOPs.
    ``stack_gain(model, batch_tokens, device_kind)``: how many times as fast runs are that train
    as one program; 1 where that is not known, 0 where the model cannot. None: it never can.
    ``width(model)``: the width that a parametrisation goes by, which may refuse it when a plan is
    made. None: none is refused.
    ``measured_as(model)``: the GPT whose training step is the model's, so that its kernels on a CPU
    are chosen by measuring; None: the thresholds choose them. None: they always do.
    ``inside``: what its module shows of its layers, of ``INSIDE`` (``train.architectures.Inside``).
    ``rounds``: whether number formats round all its products with weights: each is one of linear
    layers or convolutions by torch.
    ``attentions``: which kinds of an objective's attention it has (``Objective.attention``).
    ``dispatch_frac``: the time of a training step of a tiny network, which is spent on starting
    operations, over that of the smallest step that a calibration measures (a GPT of two layers).
    ``shards``: whether its module may be spread over devices that hold a share of its weights each:
    its blocks are in lists of modules, and what training calls beside ``forward`` is ``loss`` and
    ``sequence_losses``.
    ``compiles``: whether its module has a ``loss`` of its own that goes through torch.compile.
    ``why_not_grown(small, large)``: why a large model cannot start as a small one that is
    trained, "" where it can. None: it never can.
    ``solves``: the family of losses (``Objective.comparable``) that its module minimises in closed
    form (``Module.solve``); such a run has no steps, optimizer or schedule. "": it is trained.
    ``solve_flops(model, examples)``: exact FLOPs of solving for so many examples; it rises with
    them. Only where it ``solves``; ``flops_per_token`` is then three forward passes.
    ``build(model, seed, gradient_checkpointing)``: the module, of a user's own file, which
    imports torch within; None: ``train/architectures`` has it.
    ``solve``: as ``Module.solve``, of a user's own file.
    """

    shape: type
    count_params: Callable[[Any], ParamCounts]
    flops_per_token: Callable[[Any], float]
    activation_bytes: Callable[[Any, int, str, bool], int]
    settings: type = NoSettings
    inputs: str = "ids"
    one_output: bool = False
    make: Callable[[Template, Any], Model] = other_model
    size_name: Callable[[Any], str] = named_by_shape
    shape_text: Callable[[Any], str] = listed_shape
    scales: Mapping[str, Any] = field(default_factory=dict)
    shape_for: Callable[[float, str, Template, float | None], Any] | None = None
    shape_beyond: Callable[[float, str, Template], Any] | None = None
    cache_numbers: Callable[[Any], int] = lambda model: 0
    notes: tuple[str, ...] = ()
    stack_gain: Callable[[Any, int, str], float] | None = None
    width: Callable[[Any], int] | None = None
    measured_as: Callable[[Any], ModelSpec | None] | None = None
    inside: tuple[str, ...] = ()
    rounds: bool = False
    attentions: tuple[str, ...] = ("causal", "full")
    dispatch_frac: float = 1 / 8
    shards: bool = False
    compiles: bool = False
    why_not_grown: Callable[[Any, Any], str] | None = None
    solves: str = ""
    solve_flops: Callable[[Any, float], float] | None = None
    build: Callable[[Any, int, bool], nn.Module] | None = None
    solve: Callable[[Any, Callable[[], Iterator[Any]]], None] | None = None

    def __post_init__(self) -> None:
        if bool(self.solves) != (self.solve_flops is not None):
            raise ValueError("solves and solve_flops: expected both, or neither")


def architecture_of(model: Model) -> Architecture:
    """The part of a model. Raises ``ConfigError`` where this installation, or folder, lacks it."""
    part: Architecture = parts.load("architecture", model.architecture.reference)
    return part


def why_broken(model: Model) -> str:
    """Say which function of a model's architecture, a user's own file, gives no usable answer.

    "" where all do. A function that raises is the caller's to name (``parts.users_code``).
    """
    part = architecture_of(model)
    counts = count_params(model)
    numbers = {
        "count_params": min(counts.total, counts.non_embedding, counts.matmul),
        "flops_per_token": part.flops_per_token(model),
        "activation_bytes": part.activation_bytes(model, 1, "fp32", False),
    }
    if part.solve_flops is not None:
        numbers["solve_flops"] = part.solve_flops(model, 1.0)
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int | float):
            return f"{name} gives {number!r:.60}, expected a number"
        if not 0 <= number < math.inf or (number == 0 and name != "activation_bytes"):
            return f"{name} gives {number!r:.60}, expected a finite number above 0"
    for name, text in (
        ("size_name", part.size_name(model)),
        ("shape_text", part.shape_text(model)),
    ):
        if not isinstance(text, str) or not text:
            return f"{name} gives {text!r:.60}, expected a text"
    return ""


def template_of(model: Model) -> Template:
    """Return what other sizes share with ``model``."""
    return Template(
        architecture=model.architecture,
        settings=model.values_as(architecture_of(model).settings),
        vocab_size=model.vocab_size,
        n_ctx=model.n_ctx,
        parametrisation=model.parametrisation,
        features=getattr(model, "features", 0),  # a GPT reads ids
        outputs=getattr(model, "outputs", 0),
    )


def sized(
    params: float, convention: str, template: Template, aspect_ratio: float | None = None
) -> Model:
    """The model nearest to a parameter count.

    Raises ``ValueError`` where none is near, or the architecture has no rule for shapes.
    """
    part: Architecture = parts.load("architecture", template.architecture.reference)
    if part.shape_for is None:
        keys = ", ".join(f.name for f in dataclasses.fields(part.shape))
        raise ValueError(
            f"the architecture {template.architecture.name} has no rule that gives a parameter"
            f" count its shape; list sizes by {keys}"
        )
    return part.make(template, part.shape_for(params, convention, template, aspect_ratio))


def sized_beyond(params: float, convention: str, template: Template) -> Model:
    """``sized`` for a parameter count far above any grid's, at which a law is evaluated."""
    part: Architecture = parts.load("architecture", template.architecture.reference)
    if part.shape_beyond is None:
        return sized(params, convention, template)
    return part.make(template, part.shape_beyond(params, convention, template))


def why_not_grown(small: Model, large: Model) -> str:
    """Say why a ``large`` model cannot start as a trained ``small`` one; "" if it can."""
    try:
        grow = architecture_of(large).why_not_grown
    except ConfigError as problem:
        return str(problem)
    old, new = small.architecture, large.architecture
    if grow is None:
        return f"a model of the architecture {new.name} cannot grow"
    if old != new:
        return f"architecture {new.name}, the smaller model has {old.name}"
    return grow(small, large)
