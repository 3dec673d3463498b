"""Number formats, one file each: ``number_format: {name: integer, bits: 4}``.

A format rounds what enters the products with weights, in training and wherever the model is
measured; the weights that the optimizer updates stay in fp32. The gradient passes the rounding as
if it were not there (straight-through, Bengio 2013, arXiv 1308.3432). It is simulated: the products
themselves are computed as ``precision`` says, so that a format saves neither memory nor time.
Products of queries with keys and of attention with values, embeddings and norms are not rounded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Rounded:
    """What a format rounds: the settings that every format has.

    ``weights`` says whether weights are rounded;
    ``activations`` says whether the inputs of products are rounded.
    """

    weights: bool = True
    activations: bool = False

    def __post_init__(self) -> None:
        if not (self.weights or self.activations):
            raise ValueError("weights and activations are both false, so that nothing is rounded")


@dataclass(frozen=True, kw_only=True)
class NumberFormat:
    """A number format.

    ``round(numbers, settings)`` gives numbers as the format has them, in their own shape and type;
    the last dimension is a row with a scale of its own: an output of a weight, a token. None
    rounds nothing;
    ``bits(settings)`` are the bits of a number, without its row's scale; None as ``precision`` has
    them;
    ``gradient(numbers, settings)`` rounds the gradients of products and weights; None keeps them;
    ``slowdown`` is the time of a small model's training step over that without rounding;
    ``settings`` is ``Rounded`` or a dataclass with its fields.
    """

    round: Callable[[Tensor, Any], Tensor] | None
    bits: Callable[[Any], int | None]
    gradient: Callable[[Tensor, Any], Tensor] | None = None
    slowdown: float = 1.3
    settings: type = Rounded


# The contexts that are open now (``train.rounding``), the innermost last.
open_contexts: list[Any] = []


def is_open() -> bool:
    """Say whether products are rounded now, so that faster operators must not take their place."""
    return bool(open_contexts)


def by_rows(numbers: Tensor, largest: float, to_grid: Callable[[Tensor], Tensor]) -> Tensor:
    """Round each row by ``to_grid`` after scaling its largest magnitude to ``largest``."""
    scale = numbers.abs().amax(dim=-1, keepdim=True).clamp_min(1e-30) / largest
    return to_grid(numbers / scale) * scale


def by_cast(numbers: Tensor, kind: str, largest: float) -> Tensor:
    """Round each row to the numbers of a type of torch's, named by ``kind``, by its cast."""
    import torch

    def to_grid(scaled: Tensor) -> Tensor:
        # the division may round the largest magnitude up, which is then beyond the type
        return scaled.clamp(-largest, largest).to(getattr(torch, kind)).to(scaled.dtype)

    return by_rows(numbers, largest, to_grid)
