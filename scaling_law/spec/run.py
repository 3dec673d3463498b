"""Specify a run: ``RunSpec`` and its parts, frozen, with every choice made.

A ``RunSpec`` holds everything that can change the loss; its canonical JSON names the run.
``Resources`` hold what changes only the speed of a run (device, threads, micro-batch): they are
recorded but are not part of the identity.

Every field belongs to an axis. Runs that differ in a field of the axis ``recipe`` are not points
of one law (``spec.recipe``). A field belongs to that axis unless ``of_axis`` names another.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

from scaling_law import parts
from scaling_law.decode import build, build_shared
from scaling_law.errors import quoted
from scaling_law.spec.component import Component, component_from_json
from scaling_law.versions import RESOURCES, SPEC

if TYPE_CHECKING:
    from scaling_law.spec.cooldowns import Cooldown
    from scaling_law.spec.schedules import Schedule

NORMS = ("rmsnorm", "layernorm")
POSITIONS = ("rotary", "learned", "alibi", "none")
ACTIVATIONS = ("gelu", "swiglu", "relu2")
PRECISIONS = ("fp32", "bf16", "fp16")
TOKENIZERS = ("bytes", "bpe")
KINDS = ("single", "trunk", "branch")
STAGE_TAG = "stage"  # of runs of an experiment's later stages: the stage's number
MAX_LABEL = 61  # characters of a run's label, which begins the name of its folder
# How a run's learning rate ends: decayed, never decayed, or at the last branch point of a trunk.
ENDS = ("annealed", "hot", "trunk")
_SCALARS = frozenset((str, int, float, bool, type(None)))
# A later field: written only when set, so that older runs keep their names.
_OMIT_NONE = {"omit_none": True}
# A field that says where something lies on this machine.
_UNWRITTEN = {"unwritten": "true"}
# The same of a mapping: written only when it holds something.
OMIT_EMPTY = _OMIT_NONE
# The parts of runs before parts could be chosen; they are absent from the JSON.
DEFAULT_OPTIMIZER = "adamw"
DEFAULT_ARCHITECTURE = "gpt"
DEFAULT_OBJECTIVE = "next_token"
DEFAULT_PARAMETRISATION = "standard"
_GPT_DIMENSIONS = ("n_layer", "d_model", "n_head", "n_kv_head", "d_ff")
S = TypeVar("S")
Axis = Literal["recipe", "size", "horizon", "seed", "label"]


def of_axis(axis: Axis) -> dict[str, str]:
    """Return the metadata of a field that is not part of the recipe.

    ``size`` and ``horizon`` hold what a law varies, and what a rule sets by it; ``seed``
    distinguishes repeats; ``label`` holds names and how a run is measured, which change no training
    bit.
    """
    return {"axis": axis}


def chosen_by(config_key: str, default: str | None) -> dict[str, Any]:
    """Return the metadata of a field that holds a part.

    ``config_key`` names the part in a config; its settings are next to that key, or under it where
    the part is a section. ``default`` is the part of a run whose JSON has none; None where another
    field names the part and this one holds its settings or file.
    """
    return {**_OMIT_NONE, "config_key": config_key, "default_part": default}


def axis_of(spec_field: dataclasses.Field[Any]) -> str:
    """The axis that a field of a spec belongs to."""
    axis: str = spec_field.metadata.get("axis", "recipe")
    return axis


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}, expected one of {', '.join(allowed)}")


def _check_part(word: str, name: str, part: Component | None) -> None:
    """Raise ``ValueError`` where no part of the package has this name, unless it is a user's."""
    if part is not None and part.name != name:
        raise ValueError(f"{word} is {quoted(name)}, and its part is {quoted(part.name)}")
    if part is None or part.source_sha256 is None:
        _one_of(word, name, parts.names(word))


def check_run_id(name: str) -> None:
    """Raise ``ValueError`` for a run id that could name a file outside its sweep."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise ValueError(f"run id {quoted(name)}, expected letters, digits, . _ and -")


def _at_least(low: float, **values: float | None) -> None:
    for name, value in values.items():
        if value is not None and not value >= low:
            raise ValueError(f"{name} is {value}, expected at least {low}")


class _Part:
    """A part of a ``RunSpec``, which thousands of runs of a plan may share."""

    def json_fields(self) -> dict[str, Any]:
        """The part's fields as JSON values."""
        return _json_fields(self)

    @cached_property
    def canonical(self) -> str:
        """The part's canonical JSON."""
        return canonical_json(to_json(self))


@dataclass(frozen=True, kw_only=True)
class ModelSpec(_Part):
    """Shape of a GPT decoder.

    ``vocab_size``: tokens of the vocabulary.
    ``n_ctx``: tokens of context.
    ``n_layer``: blocks.
    ``d_model``: width.
    ``n_head``: query heads, each of width ``d_model / n_head``.
    ``n_kv_head``: key/value heads; fewer than query heads make grouped-query attention.
    ``d_ff``: hidden width of the MLP.
    ``norm``, ``position``, ``activation``: names of the kinds used.
    ``qk_norm``: whether queries and keys are normalised.
    ``tied``: whether the output head shares the embedding's weights.
    ``parametrisation``: the part, None for ``standard``.
    """

    vocab_size: int
    n_ctx: int
    n_layer: int = field(metadata=of_axis("size"))
    d_model: int = field(metadata=of_axis("size"))
    n_head: int = field(metadata=of_axis("size"))
    n_kv_head: int = field(metadata=of_axis("size"))
    d_ff: int = field(metadata=of_axis("size"))
    norm: str = "rmsnorm"
    position: str = "rotary"
    activation: str = "relu2"
    qk_norm: bool = True
    tied: bool = False
    parametrisation: Component | None = field(
        default=None, metadata=chosen_by("model.parametrisation", DEFAULT_PARAMETRISATION)
    )

    def __post_init__(self) -> None:
        _one_of("norm", self.norm, NORMS)
        _one_of("position", self.position, POSITIONS)
        _one_of("activation", self.activation, ACTIVATIONS)
        _at_least(1, n_layer=self.n_layer, d_model=self.d_model, n_head=self.n_head)
        _at_least(1, n_kv_head=self.n_kv_head, d_ff=self.d_ff, n_ctx=self.n_ctx)
        _at_least(2, vocab_size=self.vocab_size)
        if self.d_model % self.n_head:
            raise ValueError(f"d_model {self.d_model} is not a multiple of n_head {self.n_head}")
        if self.n_head % self.n_kv_head:
            raise ValueError(
                f"n_head {self.n_head} is not a multiple of n_kv_head {self.n_kv_head}"
            )
        if self.position == "rotary" and self.head_size % 2:
            raise ValueError(f"rotary positions need an even head size, found {self.head_size}")

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.d_model // self.n_head

    @property
    def architecture(self) -> Component:
        """The architecture: the GPT, whose settings are fields of this class."""
        return Component(name=DEFAULT_ARCHITECTURE)

    def values_as(self, kind: type[S]) -> S:
        """The fields that ``kind`` has too, as an instance of it."""
        names = (f.name for f in dataclasses.fields(kind))  # type: ignore[arg-type]
        return kind(**{name: getattr(self, name) for name in names})

    @property
    def dimensions(self) -> dict[str, Any]:
        """The keys and values of its shape."""
        return {name: getattr(self, name) for name in _GPT_DIMENSIONS}


@dataclass(frozen=True, kw_only=True)
class OtherModel(_Part):
    """A model of another architecture than the GPT.

    ``architecture``: the part, with its settings that are not at their default.
    ``shape``: the dimensions of one size, (key, value) pairs by key.
    ``vocab_size``: tokens of the vocabulary; 0 where examples have none.
    ``n_ctx``: tokens of an example, 1 where it is not a sequence.
    ``parametrisation``: the part, None for ``standard``.
    """

    architecture: Component = field(metadata=chosen_by("model.architecture", DEFAULT_ARCHITECTURE))
    shape: tuple[tuple[str, Any], ...] = field(metadata=of_axis("size"))
    vocab_size: int
    n_ctx: int
    parametrisation: Component | None = field(
        default=None, metadata=chosen_by("model.parametrisation", DEFAULT_PARAMETRISATION)
    )

    def __post_init__(self) -> None:
        _at_least(1, n_ctx=self.n_ctx)
        _at_least(0, vocab_size=self.vocab_size)

    def values_as(self, kind: type[S]) -> S:
        """The settings and sizes that ``kind`` has fields for, as an instance of it.

        Raises ``ValueError`` naming one that is missing or has another type.
        """
        names = {f.name for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
        given = {**dict(self.architecture.settings), **dict(self.shape)}
        return build(kind, {key: value for key, value in given.items() if key in names})

    @property
    def dimensions(self) -> dict[str, Any]:
        """The keys and values of its shape."""
        return dict(self.shape)

    def json_fields(self) -> dict[str, Any]:
        """Plain JSON values."""
        plain = {"architecture": self.architecture.plain(), "shape": to_json(self.dimensions)}
        plain |= {"vocab_size": self.vocab_size, "n_ctx": self.n_ctx}
        if self.parametrisation is not None:
            plain["parametrisation"] = self.parametrisation.plain()
        return plain


Model: TypeAlias = ModelSpec | OtherModel


@dataclass(frozen=True, kw_only=True)
class DataSpec(_Part):
    """A text and its tokenizer.

    ``corpus``: a named source or a path.
    ``tokenizer``: its kind.
    ``vocab_size``: tokens of the vocabulary.
    ``domains``: the only domains that are read; all when empty.
    ``max_bytes``: bytes of text to read, in the order of the content's hash; None for all.
    ``val_fraction``: share of documents held out by hash.
    ``unique_tokens``: tokens at the beginning of the training text that are trained on, None for
    all; validation text and tokenizer do not depend on it.
    ``places``: where this machine has the corpora, (corpus as a config spells it, path) pairs; no
    part of the identity, and not written.
    """

    corpus: str
    tokenizer: str = "bpe"
    vocab_size: int = 1024
    domains: tuple[str, ...] = ()
    max_bytes: int | None = field(default=None, metadata=of_axis("horizon"))
    val_fraction: float = 0.02
    unique_tokens: int | None = field(default=None, metadata=_OMIT_NONE | of_axis("horizon"))
    places: tuple[tuple[str, str], ...] = field(
        default=(), compare=False, repr=False, metadata=_UNWRITTEN | of_axis("label")
    )

    def __post_init__(self) -> None:
        _one_of("tokenizer", self.tokenizer, TOKENIZERS)
        # 256 bytes and the document separator are the smallest vocabulary either can have
        _at_least(257, vocab_size=self.vocab_size)
        if self.tokenizer == "bytes" and self.vocab_size != 257:
            raise ValueError(f"vocab_size is {self.vocab_size}, expected 257 with bytes")
        _at_least(1, max_bytes=self.max_bytes)
        _at_least(2, unique_tokens=self.unique_tokens)
        if not 0 < self.val_fraction < 1:
            raise ValueError(f"val_fraction is {self.val_fraction}, expected between 0 and 1")

    def place(self, corpus: str) -> str:
        """Where this machine has a corpus: its path, or its name."""
        return dict(self.places).get(corpus, corpus)

    @property
    def name(self) -> str:
        """What the examples come from, in a word."""
        return self.corpus

    @property
    def coding(self) -> str:
        """What a target is, beside the size of the vocabulary: losses of two codings differ."""
        return self.tokenizer


@dataclass(frozen=True, kw_only=True)
class TaskSpec(_Part):
    """A task that makes its own examples.

    ``source``: the task, with its settings.
    """

    source: Component = field(metadata=chosen_by("data.source", None))

    @property
    def name(self) -> str:
        """What the examples come from, in a word."""
        return self.source.name

    @property
    def coding(self) -> str:
        """What a target is, beside the size of the vocabulary: losses of two codings differ."""
        return f"task {self.source.name}"


@dataclass(frozen=True, kw_only=True)
class ScheduleSpec(_Part):
    """The learning rate by step, as a shape between 0 and 1.

    ``shape``: name of the schedule.
    ``warmup_steps``: steps of the linear warm-up.
    ``decay_steps``: steps of the cooldown; None for a run without one, such as a trunk.
    ``cooldown``: name of the cooldown's shape.
    ``final_frac``: fraction of the peak that the decay ends at.
    ``shape_part``, ``cooldown_part``: the parts, where they have settings that are not at their
    default or are a user's own file; else None.
    ``recorded_end``: how the learning rate ends under a user's own schedule, one of ``ENDS``. The
    plan records it, so that reading a record does not execute that file.
    """

    shape: str = "wsd"
    warmup_steps: int = field(default=0, metadata=of_axis("horizon"))
    decay_steps: int | None = field(default=None, metadata=of_axis("horizon"))
    cooldown: str = "1-sqrt"
    final_frac: float = 0.0
    shape_part: Component | None = field(default=None, metadata=chosen_by("schedule.shape", None))
    cooldown_part: Component | None = field(
        default=None, metadata=chosen_by("schedule.cooldown", None)
    )
    recorded_end: str | None = field(default=None, metadata=_OMIT_NONE | of_axis("horizon"))

    def __post_init__(self) -> None:
        _check_part("schedule", self.shape, self.shape_part)
        _check_part("cooldown", self.cooldown, self.cooldown_part)
        _at_least(0, warmup_steps=self.warmup_steps, final_frac=self.final_frac)
        _at_least(1, decay_steps=self.decay_steps)
        if self.recorded_end is not None:
            _one_of("recorded_end", self.recorded_end, ENDS)

    @cached_property
    def part(self) -> Schedule:
        """The schedule's part. Raises ``ConfigError`` without the user's own file."""
        part: Schedule = parts.load("schedule", self._component.reference)
        return part

    @cached_property
    def settings(self) -> Any:
        """The schedule's own settings."""
        return self._component.settings_as(self.part.settings)

    @property
    def _component(self) -> Component:
        return self.shape_part or Component(name=self.shape)

    @cached_property
    def end(self) -> str:
        """How the learning rate ends: one of ``ENDS``."""
        return self.recorded_end or self.end_by_part()

    def end_by_part(self) -> str:
        """Return ``end`` as the part itself gives it."""
        if self.part.shares_trunk and self.decay_steps is None:
            return "trunk"
        return "annealed" if self.part.annealed(self, self.settings) else "hot"

    def cooled_down(self, progress: float) -> float:
        """The fraction of the rate before the cooldown that is left at ``progress`` through it."""
        return self.final_frac + (1 - self.final_frac) * self.cooldown_left(progress)

    def cooldown_left(self, progress: float) -> float:
        """Return the share of the fall that the cooldown's shape leaves at ``progress``."""
        shape, settings = self._cooldown
        return shape(progress, settings)

    @cached_property
    def _cooldown(self) -> tuple[Callable[[float, Any], float], Any]:
        component = self.cooldown_part or Component(name=self.cooldown)
        part: Cooldown = parts.load("cooldown", component.reference)
        return part.shape, component.settings_as(part.settings)


@dataclass(frozen=True, kw_only=True)
class RuleOverrides(_Part):
    """The values that a config sets instead of its rule; None where the rule decides.

    ``lr``: peak learning rate.
    ``lr_mult``: factor on the learning rate.
    ``batch_tokens``: tokens per optimiser step.
    ``beta2``: AdamW's beta2.
    ``warmup_tokens``: tokens of the warm-up.
    """

    lr: float | None = None
    lr_mult: float | None = None
    batch_tokens: int | None = None
    beta2: float | None = None
    warmup_tokens: int | None = None

    def __post_init__(self) -> None:
        for name in ("lr", "lr_mult", "beta2"):
            value = getattr(self, name)
            if value is not None:  # the JSON holds six digits: a spec read back is equal
                object.__setattr__(self, name, float(f"{value:g}"))
        _at_least(0, lr=self.lr, lr_mult=self.lr_mult, beta2=self.beta2)
        _at_least(1, batch_tokens=self.batch_tokens, warmup_tokens=self.warmup_tokens)

    @cached_property
    def words(self) -> tuple[str, ...]:
        """``("lr_mult=0.3", "batch_tokens=4096")``: what is set, as the JSON spells it."""
        values = ((name, getattr(self, name)) for name, _ in _fields(RuleOverrides))
        return tuple(
            f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
            for name, value in values
            if value is not None
        )


_NO_OVERRIDES = RuleOverrides()


@dataclass(frozen=True, kw_only=True)
class OptimSpec(_Part):
    """The optimizer and its learning rate.

    ``lr``: peak learning rate.
    ``rule``: name of the rule that sets lr, batch, beta2 and warm-up.
    ``beta1``, ``beta2``, ``eps``: AdamW's; None for an optimizer without them.
    ``weight_decay``: on matrices only.
    ``grad_clip``: largest norm of the gradient; None does not clip.
    ``overrides``: what the config sets instead of the rule. The JSON holds it within ``rule``,
    as ``slaw_small lr_mult=0.3 batch_tokens=4096``.
    ``optimizer``: the part; None for AdamW.
    ``rule_part``: the rule, where it has settings that are not at their default or is a user's own
    file; else None.
    """

    lr: float = field(metadata=of_axis("size"))
    rule: str
    beta1: float | None = field(default=0.9, metadata=_OMIT_NONE)
    beta2: float | None = field(default=0.95, metadata=_OMIT_NONE | of_axis("size"))
    eps: float | None = field(default=1e-8, metadata=_OMIT_NONE)
    weight_decay: float = 0.1
    grad_clip: float | None = 1.0
    overrides: RuleOverrides = _NO_OVERRIDES
    optimizer: Component | None = field(
        default=None, metadata=chosen_by("optim.name", DEFAULT_OPTIMIZER)
    )
    rule_part: Component | None = field(default=None, metadata=chosen_by("optim.rule", None))

    def __post_init__(self) -> None:
        if "=" in self.rule:
            raise ValueError(f"rule is {self.rule!r}, expected a name without settings")
        if not self.lr > 0:
            raise ValueError(f"lr is {self.lr}, expected above 0")
        for name in ("beta1", "beta2"):
            beta = getattr(self, name)
            if beta is not None and not 0 <= beta < 1:
                raise ValueError(f"{name} is {beta}, expected in [0, 1)")
        _at_least(0, weight_decay=self.weight_decay)

    @property
    def component(self) -> Component:
        """The optimizer, AdamW spelled out."""
        return self.optimizer or Component(name=DEFAULT_OPTIMIZER)

    @property
    def rule_text(self) -> str:
        """The rule's name and its overrides, as the JSON spells them."""
        return " ".join((self.rule, *self.overrides.words))

    def json_fields(self) -> dict[str, Any]:
        """The fields as JSON values, the overrides within the rule."""
        plain = super().json_fields()
        del plain["overrides"]
        return plain | {"rule": self.rule_text}


@dataclass(frozen=True, kw_only=True)
class EvalSpec(_Part):
    """The amount of validation text that is scored, and when.

    ``val_tokens``: tokens scored at the end.
    ``curve_tokens``: tokens scored at each point of the curve.
    ``curve_points``: points of the curve.
    """

    val_tokens: int = field(default=131_072, metadata=of_axis("label"))
    curve_tokens: int = field(default=16_384, metadata=of_axis("label"))
    curve_points: int = field(default=20, metadata=of_axis("label"))

    def __post_init__(self) -> None:
        _at_least(1, val_tokens=self.val_tokens, curve_tokens=self.curve_tokens)
        _at_least(0, curve_points=self.curve_points)


@dataclass(frozen=True, kw_only=True)
class Branch(_Part):
    """The state of another run that this run starts from.

    ``trunk_id``: run id of the trunk.
    ``at_step``: the trunk's step before which its state is taken.
    """

    trunk_id: str = field(metadata=of_axis("horizon"))
    at_step: int = field(metadata=of_axis("horizon"))

    def __post_init__(self) -> None:
        # the id names a folder next to the run's own, and comes from files that may be untrusted
        check_run_id(self.trunk_id)


@dataclass(frozen=True, kw_only=True)
class Growth(_Part):
    """First weights that are not random: those of a smaller trunk, enlarged (``train.grow``).

    The run continues in the order of the data after its parents. Steps, tokens, FLOPs and the
    learning rate start from zero.

    ``trunk_id``: run id of the smaller trunk.
    ``at_step``: the trunk's step before which its state is taken.
    ``model``: the trunk's shape.
    ``parent_tokens``: tokens that the trunk and its own parents had seen by then.
    ``parent_flops``: FLOPs (exact) that the trunk and its own parents had spent by then.
    """

    trunk_id: str = field(metadata=of_axis("horizon"))
    at_step: int = field(metadata=of_axis("horizon"))
    model: Model = field(metadata=of_axis("size"))
    parent_tokens: int = field(metadata=of_axis("horizon"))
    parent_flops: float = field(metadata=of_axis("horizon"))

    def __post_init__(self) -> None:
        check_run_id(self.trunk_id)
        _at_least(1, at_step=self.at_step, parent_tokens=self.parent_tokens)


@dataclass(frozen=True, kw_only=True)
class StartFrom(_Part):
    """First weights that are another run's final ones; steps and learning rate start from zero.

    ``run_id``: the other run, of this sweep or another.
    ``weights_sha256``: the hash of its weights' file.
    """

    run_id: str
    weights_sha256: str

    def __post_init__(self) -> None:
        check_run_id(self.run_id)


# With fewer finished branches the spread of gains cannot be estimated.
LEAST_SIBLINGS = 2


@dataclass(frozen=True, kw_only=True)
class EarlyStop(_Part):
    """A run may end once its final loss is known.

    ``within``: half the 90% interval of the forecast, as a share of the loss.
    ``siblings``: run ids of the shorter branches that the forecast may read; it leaves out one
    that failed. They are named here so that the outcome does not depend on other runs in the
    folder.
    """

    within: float = field(metadata=of_axis("horizon"))
    siblings: tuple[str, ...] = field(metadata=of_axis("horizon"))

    def __post_init__(self) -> None:
        if not self.within > 0:
            raise ValueError(f"within is {self.within}, expected above 0")


@dataclass(frozen=True, kw_only=True)
class SpikeSpec(_Part):
    """When a step's loss is a spike, and how often a run may go back for one.

    ``sigmas``: a spike is above the mean of recent losses by this many standard deviations.
    ``above_frac``: a spike is above that mean by this share of it as well.
    ``window_steps``: how many steps the recent losses span.
    ``every_steps``: steps between the states to go back to.
    ``most_rollbacks``: after so many the run has diverged.
    """

    sigmas: float
    above_frac: float = 0.1
    window_steps: int = 64
    every_steps: int = 50
    most_rollbacks: int = 5

    def __post_init__(self) -> None:
        _at_least(0, sigmas=self.sigmas, above_frac=self.above_frac)
        _at_least(2, window_steps=self.window_steps)
        _at_least(1, every_steps=self.every_steps, most_rollbacks=self.most_rollbacks)


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """One training run.

    ``label``: the readable half of the run id.
    ``model``, ``data``, ``schedule``, ``optim``, ``eval``: the parts.
    ``batch_tokens``: tokens per optimiser step.
    ``total_steps``: all its steps; those of a branch count from the trunk's step 0.
    ``precision``: name of the number format.
    ``seed``: the seed from which those of first weights and data derive.
    ``family``: name of the kind of run.
    ``branch``: the trunk that the run starts from; None starts from step 0.
    ``tags``: free (key, value) pairs for analysis.
    ``early_stop``: when the run may end early; None trains to the end.
    ``growth``: the smaller trunk that the run, or its own trunk, grows from; None starts from
    random weights.
    ``spikes``: when a batch is replaced; None takes every batch in order.
    ``start_from``: the run whose final weights this run, or its own trunk, starts from; None
    starts from random weights.
    ``objective``: the targets and their loss; None is the next token.
    ``probes``: what is measured besides the loss; None for nothing.
    """

    label: str = field(metadata=of_axis("label"))
    model: Model
    data: DataSpec | TaskSpec
    schedule: ScheduleSpec
    optim: OptimSpec
    eval: EvalSpec
    batch_tokens: int = field(metadata=of_axis("size"))
    total_steps: int = field(metadata=of_axis("horizon"))
    precision: str
    seed: int = field(metadata=of_axis("seed"))
    family: str = "grid"
    branch: Branch | None = None
    tags: tuple[tuple[str, str], ...] = field(default=(), metadata=of_axis("label"))
    early_stop: EarlyStop | None = field(default=None, metadata=_OMIT_NONE)
    growth: Growth | None = field(default=None, metadata=_OMIT_NONE)
    spikes: SpikeSpec | None = field(default=None, metadata=_OMIT_NONE)
    start_from: StartFrom | None = field(default=None, metadata=_OMIT_NONE)
    objective: Component | None = field(
        default=None, metadata=chosen_by("objective", DEFAULT_OBJECTIVE)
    )
    probes: tuple[Component, ...] | None = field(
        default=None, metadata=_OMIT_NONE | of_axis("label")
    )

    def __post_init__(self) -> None:
        _one_of("precision", self.precision, PRECISIONS)
        _at_least(1, total_steps=self.total_steps)
        if not re.fullmatch(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_LABEL - 1}}}", self.label):
            raise ValueError(f"label {self.label!r} may hold only letters, digits, . _ and -")
        if self.batch_tokens < self.model.n_ctx or self.batch_tokens % self.model.n_ctx:
            raise ValueError(
                f"batch_tokens {self.batch_tokens} is not a multiple of n_ctx {self.model.n_ctx}"
            )
        if self.branch is not None and not 0 < self.branch.at_step < self.total_steps:
            raise ValueError(
                f"branch at step {self.branch.at_step} is outside (0, {self.total_steps})"
            )

    @property
    def objective_component(self) -> Component:
        """The objective, next-token prediction spelled out."""
        return self.objective or Component(name=DEFAULT_OBJECTIVE)

    @property
    def batch_seqs(self) -> int:
        """Sequences per optimiser step."""
        return self.batch_tokens // self.model.n_ctx

    @property
    def tokens(self) -> int:
        """Tokens seen by the end, as if trained alone from step 0."""
        return self.batch_tokens * self.total_steps

    @property
    def start_step(self) -> int:
        """First step this run itself takes."""
        return self.branch.at_step if self.branch else 0

    @property
    def parent(self) -> Branch | Growth | None:
        """The run whose saved state this run starts from: its trunk, or the one it grows from."""
        return self.branch or self.growth

    @property
    def data_step(self) -> int:
        """The batch, in the order of the data, that step 0 takes; above 0 for a grown run."""
        return -(-self.growth.parent_tokens // self.batch_tokens) if self.growth else 0

    @property
    def kind(self) -> str:
        """``trunk`` (never annealed, exists to be branched), ``branch`` or ``single``."""
        if self.branch is not None:
            return "branch"
        return "trunk" if self.schedule.end == "trunk" else "single"

    @cached_property
    def run_id(self) -> str:
        """``label-`` and ten hex digits of the canonical JSON's SHA-256; never parsed."""
        digest = hashlib.sha256(_canonical(self).encode()).hexdigest()
        return f"{self.label}-{digest[:10]}"


@dataclass(frozen=True, kw_only=True)
class Resources:
    """How a run is executed; recorded, never part of its identity.

    ``save_steps``: the steps whose state is saved for branches.
    ``micro_seqs``: the micro-batch in sequences; None for the whole batch, halved when memory runs
    out.
    ``precision_reason``: why the spec's precision is chosen.
    ``checkpoint_every_seconds``, ``checkpoint_every_steps``: a state is written this often.
    ``keep_checkpoints``: of the states that no branch needs, the newest so many stay.
    ``stack``: runs of one stack train in step by one program (``train.stack``), whose rounding
    differs from that of a single run; None for a run that trains alone.
    ``keep_weights``: whether the final weights are saved in the run's folder.
    ``compiled``: whether the training loss goes through torch.compile.
    """

    device: str = "cpu"
    threads: int = 1
    micro_seqs: int | None = None
    gradient_checkpointing: bool = False
    checkpoint_every_seconds: float = 60.0
    checkpoint_every_steps: int | None = None
    keep_checkpoints: int = 2
    precision_reason: str = ""
    save_steps: tuple[int, ...] = ()
    stack: str | None = None
    keep_weights: bool = False
    compiled: bool = False


@cache
def _fields(kind: type) -> tuple[tuple[str, bool], ...]:
    """Each written field's name, and whether it is left out while None or empty."""
    return tuple(
        (f.name, "omit_none" in f.metadata)
        for f in dataclasses.fields(kind)
        if "unwritten" not in f.metadata
    )


def to_json(value: Any) -> Any:
    """Return a frozen spec (or tuple, dict, scalar) as plain JSON values."""
    if type(value) in _SCALARS:  # most values are, and this is the cheapest question
        return value
    if isinstance(value, Component):
        return value.plain()
    if isinstance(value, _Part):
        return value.json_fields()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _json_fields(value)
    if isinstance(value, (tuple, list)):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        return {str(key): to_json(item) for key, item in value.items()}
    return value


def _json_fields(value: Any) -> dict[str, Any]:
    return {
        name: to_json(field_value)
        for name, omit in _fields(value.__class__)
        if ((field_value := getattr(value, name)) is not None and field_value != {}) or not omit
    }


def canonical_json(value: Any) -> str:
    """Return the canonical JSON of a value: sorted keys, no spaces, no NaN."""
    return _encode(value)


_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode


@cache
def _by_name() -> list[tuple[str, bool]]:
    return sorted(_fields(RunSpec))


def _canonical(spec: RunSpec) -> str:
    """``canonical_json(to_json(spec))``, put together from that of its parts."""
    words = []
    for name, omit in _by_name():
        value = getattr(spec, name)
        if isinstance(value, _Part):
            words.append(f'"{name}":{value.canonical}')
        elif value is not None or not omit:
            # setting up an encoder takes longer than writing a whole number
            text = str(value) if type(value) is int else canonical_json(to_json(value))
            words.append(f'"{name}":{text}')
    return "{" + ",".join(words) + "}"


def run_spec_from_json(data: dict[str, Any]) -> RunSpec:
    """Build a ``RunSpec`` from its JSON.

    Raises ``ValueError``, ``TypeError``, ``KeyError`` or ``AttributeError``.
    """
    fields = dict(data)
    SPEC.check(fields.pop("schema_version", 1))
    fields["model"] = _model_from_json(fields["model"])
    fields["data"] = _data_from_json(fields["data"])
    fields["schedule"] = build_shared(
        ScheduleSpec, _with_components(fields["schedule"], "shape_part", "cooldown_part")
    )
    fields["optim"] = build_shared(OptimSpec, fields["optim"], _optim_from_json)
    fields["eval"] = build_shared(EvalSpec, fields["eval"])
    fields["branch"] = build(Branch, fields["branch"]) if fields.get("branch") else None
    if stop := fields.get("early_stop"):
        siblings = tuple(stop["siblings"])
        fields["early_stop"] = build(EarlyStop, {**stop, "siblings": siblings})
    if growth := fields.get("growth"):
        model = _model_from_json(growth["model"])
        fields["growth"] = build(Growth, {**growth, "model": model})
    if spikes := fields.get("spikes"):
        fields["spikes"] = build(SpikeSpec, spikes)
    if start := fields.get("start_from"):
        fields["start_from"] = build(StartFrom, start)
    if "objective" in fields:
        fields["objective"] = component_from_json(fields["objective"])
    if "probes" in fields:
        fields["probes"] = tuple(component_from_json(probe) for probe in fields["probes"])
    fields["tags"] = tuple((str(k), str(v)) for k, v in fields.get("tags", ()))
    return build(RunSpec, fields)


def _data_from_json(data: dict[str, Any]) -> DataSpec | TaskSpec:
    if "source" in data:
        return build(TaskSpec, _with_components(data, "source"))
    return build_shared(DataSpec, {**data, "domains": tuple(data["domains"])})


def _model_from_json(data: Any) -> Model:
    if not isinstance(data, Mapping) or not data.keys() & {"architecture", "parametrisation"}:
        return build_shared(ModelSpec, data)
    fields = _with_components(data, "architecture", "parametrisation")
    if "architecture" not in fields:
        return build(ModelSpec, fields)
    shape = fields.get("shape")
    if not isinstance(shape, Mapping):
        raise ValueError(f"shape is {quoted(shape)}, expected keys and values")
    return build(OtherModel, {**fields, "shape": tuple(sorted(shape.items()))})


def _with_components(data: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The fields of a spec's part, those of ``names`` that are there as components."""
    made = {name: component_from_json(data[name]) for name in names if name in data}
    return {**data, **made}


_WHOLE_OVERRIDES = frozenset(("batch_tokens", "warmup_tokens"))


def _optim_from_json(data: Any) -> OptimSpec:
    """Build an ``OptimSpec`` from its JSON: the only place that parses a rule's text."""
    if not isinstance(data, dict) or not isinstance(data.get("rule"), str):
        return build(OptimSpec, data)  # which says what is wrong
    if "overrides" in data:
        raise ValueError("unknown key 'overrides'")
    text = data["rule"]
    words = text.split(" ")
    name = " ".join(word for word in words if "=" not in word)
    try:
        values = (word.split("=", 1) for word in words if "=" in word)
        overrides = build(
            RuleOverrides,
            {key: (int if key in _WHOLE_OVERRIDES else float)(value) for key, value in values},
        )
    except ValueError as problem:
        raise ValueError(f"rule is {quoted(text)}: {problem}") from None
    if "optimizer" in data:  # what is absent is None, not AdamW's default
        data = {**dict.fromkeys(("beta1", "beta2", "eps")), **data}
    data = _with_components(data, "optimizer", "rule_part")
    optim = build(OptimSpec, {**data, "rule": name, "overrides": overrides})
    if optim.rule_text != text:
        raise ValueError(f"rule is {quoted(text)}, expected {quoted(optim.rule_text)}")
    return optim


def resources_from_json(data: dict[str, Any]) -> Resources:
    """Build ``Resources`` from their JSON. Raises ``ValueError``."""
    fields = dict(data)
    RESOURCES.check(fields.pop("schema_version", 1))
    return build_shared(Resources, {**fields, "save_steps": tuple(fields.get("save_steps", ()))})


def derive_seed(seed: int, purpose: str) -> int:
    """Derive a 63-bit seed for one purpose (``"init"``, ``"data"``, ...) from a run's seed."""
    digest = hashlib.sha256(f"{seed}:{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
