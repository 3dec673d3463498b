"""Parametrisations, one file each: ``model: {parametrisation: mup}`` is ``mup.py``.

A parametrisation says how initial scales, learning rates and outputs change with the width, and
what residual branches add with the depth. It knows only the role of a weight:

``input``   reads a fixed number of inputs: embeddings, position tables, gains and biases;
``hidden``  reads as many inputs as the model is wide, and makes as many outputs;
``output``  reads as many inputs as the model is wide, and makes a fixed number of outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from scaling_law import parts
from scaling_law.parts import NoSettings
from scaling_law.spec.component import Component
from scaling_law.spec.model import DEFAULT_PARAMETRISATION

Role = Literal["input", "hidden", "output"]


@dataclass(frozen=True, kw_only=True)
class Parametrisation:
    """Factors on an architecture's own scales; 1 changes nothing.

    ``initial(role, width, settings)`` is the factor on the standard deviation of first weights;
    ``lr(role, width, settings)`` is the factor on the learning rate;
    ``output(width, settings)`` is the factor on the model's outputs;
    ``attention(head_size, settings)`` is the factor on attention scores, which are already divided
    by the root of ``head_size``;
    ``residual(depth, settings)`` is the factor on what each branch adds to the residual stream of
    a model of ``depth`` blocks;
    ``residual_initial(depth, settings)`` is a further factor on the standard deviation of first
    weights, of the matrices that end such a branch;
    ``refusal(width, settings)`` says why a plan cannot have models of this width, "" where it can;
    ``settings`` is the dataclass of its settings.
    """

    initial: Callable[[Role, int, Any], float]
    lr: Callable[[Role, int, Any], float]
    output: Callable[[int, Any], float]
    attention: Callable[[int, Any], float]
    residual: Callable[[int, Any], float] = lambda depth, settings: 1.0
    residual_initial: Callable[[int, Any], float] = lambda depth, settings: 1.0
    refusal: Callable[[int, Any], str] = lambda width, settings: ""
    settings: type = NoSettings


@dataclass(frozen=True)
class Multipliers:
    """A parametrisation with its settings, for a model of one ``width``."""

    part: Parametrisation
    settings: Any
    width: int

    def initial(self, role: Role) -> float:
        """The factor on the standard deviation of the first weights."""
        return self.part.initial(role, self.width, self.settings)

    def lr(self, role: Role) -> float:
        """The factor on the learning rate."""
        return self.part.lr(role, self.width, self.settings)

    def output(self) -> float:
        """The factor on the outputs."""
        return self.part.output(self.width, self.settings)

    def attention(self, head_size: int) -> float:
        """The factor on attention scores."""
        return self.part.attention(head_size, self.settings)

    def residual(self, depth: int) -> float:
        """The factor on what each branch adds to the residual stream."""
        return self.part.residual(depth, self.settings)

    def residual_initial(self, depth: int) -> float:
        """The further factor on the first weights of the matrices that end a branch."""
        return self.part.residual_initial(depth, self.settings)


def multipliers(component: Component | None, width: int) -> Multipliers:
    """Return the multipliers of a model's parametrisation (None: ``standard``) at its width."""
    component = component or Component(name=DEFAULT_PARAMETRISATION)
    part: Parametrisation = parts.load("parametrisation", component.reference)
    return Multipliers(part, component.settings_as(part.settings), width)
