"""Turns a size and its tokens into settings to train with: shape, batch, learning rate, memory."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from scaling_law import parts
from scaling_law.errors import ConfigError, FitError
from scaling_law.forecast.shape import concrete_model, shape_facts
from scaling_law.spec.architectures import architecture_of
from scaling_law.spec.counts import CONVENTIONS, count_params, memory_bytes
from scaling_law.spec.hyperparams import (
    MAX_BATCH_TOKENS,
    Sizing,
    load_rule,
    rule_for,
)
from scaling_law.spec.model import Model
from scaling_law.spec.optim import OptimSpec
from scaling_law.units import format_bytes, format_count

_SMALLEST, _LARGEST = 1e3, 1e15  # the range of params searched for what fits
_CLOSE = 1.01
TRAINING_PRECISION = "bf16"  # of the memory that training takes
_NEAREST = "the nearest to this size"
_GUESSED = 10.0  # a rule this many times beyond its measured sizes is a guess


@dataclass(frozen=True, kw_only=True)
class TrainingSetup:
    """Shape, batch and learning rate of a model, and the memory that it takes.

    ``model``: the shape.
    ``tokens``: training tokens.
    ``counted``: the convention that its size was read in.
    ``assumed``: whether that is an assumption, because the law does not say.
    ``rule``: the rule for learning rate and batch; ``why_rule``: why this one.
    ``lr``: peak learning rate.
    ``batch_tokens``: tokens a step.
    ``beta2``: of AdamW.
    ``warmup_tokens``: tokens of the warm-up.
    ``batch_wanted_tokens``: tokens a step before rounding and limit.
    ``rule_params``: (low, high) non-embedding parameters that the rule was measured for; None: for
        no size.
    ``rule_tokens``: (low, high) tokens likewise; None: its learning rate does not depend on them.
    ``train_bytes``: memory to train it, in bytes over all devices.
    ``serve_bytes``: memory to serve it, likewise.
    """

    model: Model
    tokens: float
    counted: str
    assumed: bool
    rule: str
    why_rule: str
    lr: float
    batch_tokens: int
    beta2: float
    warmup_tokens: float
    batch_wanted_tokens: float
    rule_params: tuple[float, float] | None
    rule_tokens: tuple[float, float] | None
    train_bytes: int
    serve_bytes: int

    @property
    def shape(self) -> dict[str, Any]:
        """The model's shape, and its parameters under each way of counting."""
        return {
            **shape_facts(self.model),
            "counted": self.counted + (" (assumed)" if self.assumed else ""),
        }

    @property
    def doubts(self) -> list[str]:
        """Where the rule is used beyond the range that it was measured in."""
        doubts = self._size_doubts() + self._token_doubts()
        if self.batch_wanted_tokens > MAX_BATCH_TOKENS:
            doubts.append(
                f"rule {self.rule} would have batches of {format_count(self.batch_wanted_tokens)}"
                f" tokens: they end at {format_count(MAX_BATCH_TOKENS)}, the largest validated"
            )
        return doubts

    def _size_doubts(self) -> list[str]:
        if self.rule_params is None:
            return [f"rule {self.rule} was measured at no size: tune its LR on smaller runs"]
        size, (low, high) = count_params(self.model).non_embedding, self.rule_params
        if low <= size <= high:
            return []
        advice = "its LR there is a guess: tune it on your own smaller runs"
        return [
            f"rule {self.rule} was measured for {format_count(low)} to {format_count(high)}"
            f" non-embedding params, not for {format_count(size)}:"
            f" {advice if _is_guess(size, self.rule_params) else 'tune near its values'}"
        ]

    def _token_doubts(self) -> list[str]:
        if self.rule_tokens is None:
            return []
        low, high = self.rule_tokens
        if low <= self.tokens <= high:
            return []
        words = (
            f"rule {self.rule} was measured on {format_count(low)} to {format_count(high)} tokens,"
            f" not on {format_count(self.tokens)}"
        )
        if self.tokens > high:
            words += f": its LR, which grows with them, is that for {format_count(high)}"
        return [words]


def counted_as(convention: str) -> tuple[str, bool]:
    """The convention that a size is read in, and whether that is an assumption."""
    return (convention, False) if convention in CONVENTIONS else ("total", True)


def training_setup(
    params: float,
    tokens: float,
    convention: str,
    *,
    template: Model | None = None,
    rule: str | None = None,
    own: OptimSpec | None = None,
) -> TrainingSetup:
    """The setup to train ``params`` on ``tokens`` by the named ``rule``.

    Without one, by the rule of the runs that the law is of (``own``), unless the size lies so far
    beyond what it was measured at that it is a guess; then by the rule that was measured nearest.
    ``template`` gives vocabulary and context. Raises ``ConfigError`` where no shape has that
    size or no rule that name.
    """
    counted, assumed = counted_as(convention)
    model = concrete_model(params, counted, template)
    name, why = (rule, "as asked") if rule else _rule_at(count_params(model).non_embedding, own)
    part = load_rule(name)
    sizing = Sizing(model=model, shortest_tokens=tokens, longest_tokens=tokens)
    choice = part.choose(sizing, part.settings())
    return TrainingSetup(
        model=model,
        tokens=tokens,
        counted=counted,
        assumed=assumed,
        rule=name,
        why_rule=why,
        rule_params=part.measured_params,
        rule_tokens=part.measured_tokens,
        train_bytes=needed_bytes(model, "train"),
        serve_bytes=needed_bytes(model, "serve"),
        **dataclasses.asdict(choice),
    )


def _rule_at(size: int, own: OptimSpec | None) -> tuple[str, str]:
    """The rule for a size, and why this one."""
    nearest = rule_for(size)
    if own is None:
        return nearest, _NEAREST
    if own.rule not in parts.names("rule") or own.rule_part is not None:
        return nearest, f"{_NEAREST}; the sweep's own is {own.rule_text}"
    without = f", without its {' '.join(own.overrides.words)}" if own.overrides.words else ""
    measured = load_rule(own.rule).measured_params
    if own.rule == nearest or measured is None or not _is_guess(size, measured):
        return own.rule, f"the sweep's own{without}"
    low, high = (format_count(end) for end in measured)
    return nearest, f"{_NEAREST}; the sweep's own is {own.rule_text}, of {low} to {high} params"


def _is_guess(size: float, measured: tuple[float, float]) -> bool:
    low, high = measured
    return size > _GUESSED * high or size * _GUESSED < low


def needed_bytes(model: Model, purpose: str) -> int:
    """Bytes over all devices to ``train`` a model or to ``serve`` it, without the runtime's own.

    Training takes AdamW in mixed precision, 18 bytes a parameter, and the activations of one
    sequence with gradient checkpointing (``spec.counts.memory_bytes``). Serving takes 2 bytes a
    parameter and the keys and values of one sequence.
    """
    if purpose == "train":
        return memory_bytes(model, 1, TRAINING_PRECISION, gradient_checkpointing=True)
    return 2 * (count_params(model).total + architecture_of(model).cache_numbers(model))


def largest_that_fits(
    limit_bytes: float, purpose: str, convention: str, template: Model | None = None
) -> float:
    """The most parameters, counted as ``convention`` says, that ``limit_bytes`` hold.

    Raises ``FitError`` where not even the smallest shape fits.
    """
    counted, _ = counted_as(convention)

    def fitting(params: float) -> float | None:
        """The size of the shape nearest to ``params`` if it fits."""
        try:
            model = concrete_model(params, counted, template)
        except ConfigError:
            return 0.0  # below the smallest shape
        return (
            count_params(model).by(counted) if needed_bytes(model, purpose) <= limit_bytes else None
        )

    low, high, best = _SMALLEST, _LARGEST, 0.0
    while high / low > _CLOSE:
        middle = math.sqrt(low * high)
        size = fitting(middle)
        if size is None:
            high = middle
        else:
            low, best = middle, max(best, size)
    if not best:
        raise FitError(
            f"no model fits into {format_bytes(limit_bytes)} to {purpose}: give more memory"
        )
    return best
