"""Count the parameters, FLOPs and memory of a model by its architecture; without torch.

A multiply-add counts as 2 FLOPs; the backward pass as twice the forward; attention is
counted in full (causality not halved). The tests compare every count with the built model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from scaling_law import parts
from scaling_law.errors import ConfigError
from scaling_law.spec.model import Model

if TYPE_CHECKING:
    from scaling_law.spec.architectures import Architecture

CONVENTIONS = ("total", "non_embedding", "matmul")


@dataclass(frozen=True, kw_only=True)
class ParamCounts:
    """Parameters of a model.

    ``groups``: the stored parameters by group; they add up to ``total``.
    ``non_embedding``: those outside look-up tables and the head (Kaplan's N, 2001.08361).
    ``matmul``: those of matrices that multiply activations; a shared one counts once per use, and
        of a mixture's experts those that a token goes through (the active ones).
    """

    groups: Mapping[str, int]
    non_embedding: int
    matmul: int

    @property
    def total(self) -> int:
        """All stored parameters; a tied head counts once."""
        return sum(self.groups.values())

    def by(self, convention: str) -> int:
        """The count under ``total``, ``non_embedding`` or ``matmul``."""
        if convention not in CONVENTIONS:
            raise ValueError(f"convention {convention!r}: expected {', '.join(CONVENTIONS)}")
        return int(getattr(self, convention))


def _part(model: Model) -> Architecture:
    part: Architecture = parts.load("architecture", model.architecture.reference)
    return part


# Every run, seed and trial of a plan's time limit needs the counts of the same few models.
@lru_cache(maxsize=4096)
def count_params(model: Model) -> ParamCounts:
    """Parameters of the module that is built from ``model``.

    Raises ``ConfigError`` where the architecture is a user's own file that was not read.
    """
    counts = _part(model).count_params(model)
    if not isinstance(counts, ParamCounts):  # of a user's own file
        raise ConfigError(
            f"{model.architecture.name}: count_params gives {counts!r:.60}, expected ParamCounts"
        )
    return counts


def params_if_known(model: Model) -> ParamCounts | None:
    """``count_params``, or None for a user's own architecture, whose file is not read here."""
    try:
        return count_params(model)
    except ConfigError:
        return None


@lru_cache(maxsize=4096)
def flops_per_token(model: Model) -> float:
    """Exact training FLOPs per token, forward and backward; a whole number for a GPT.

    Of an architecture that is solved in closed form, three forward passes (``train_flops`` counts
    solving).
    """
    return _part(model).flops_per_token(model)


@lru_cache(maxsize=4096)
def _solve_flops(model: Model) -> Callable[[Any, float], float] | None:
    """``Architecture.solve_flops``; None where a model is trained."""
    return _part(model).solve_flops


def is_solved(model: Model) -> bool:
    """Whether the model is solved in closed form, in no steps."""
    return _solve_flops(model) is not None


def train_flops(model: Model, tokens: float) -> float:
    """Exact training FLOPs for ``tokens`` tokens; evaluation is not counted."""
    solve_flops = _solve_flops(model)
    if solve_flops is not None:
        return solve_flops(model, tokens / model.n_ctx)
    return flops_per_token(model) * tokens


def tokens_for(model: Model, flops: float) -> float:
    """Return the tokens that exact training FLOPs pay for: the inverse of ``train_flops``."""
    if not is_solved(model):
        return flops / flops_per_token(model)
    low, high = 0.0, 1.0
    while train_flops(model, high) < flops:
        low, high = high, 2 * high
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if train_flops(model, middle) < flops else (low, middle)
    return high


def flops_6nd(params: float, tokens: float) -> float:
    """The 6ND approximation; the caller names which parameters N counts."""
    return 6.0 * params * tokens


def memory_bytes(
    model: Model, micro_seqs: int, precision: str, gradient_checkpointing: bool = False
) -> int:
    """Peak bytes of training state and activations, without the runtime's own footprint.

    fp32: weights, gradients, two moments = 16 bytes a parameter; mixed precision adds a
    2-byte copy of the weights. The architecture counts the activations.
    """
    state = count_params(model).total * (16 if precision == "fp32" else 18)
    return state + _part(model).activation_bytes(
        model, micro_seqs, precision, gradient_checkpointing
    )
