"""Parametrisations, one file each: ``model: {parametrisation: mup}`` is ``mup.py``.

A parametrisation says how initial scales, learning rates and outputs change with the width. It
knows only the role of a weight:

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
    ``settings`` is the dataclass of its settings.
    """

    initial: Callable[[Role, int, Any], float]
    lr: Callable[[Role, int, Any], float]
    output: Callable[[int, Any], float]
    attention: Callable[[int, Any], float]
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


def multipliers(component: Component | None, width: int) -> Multipliers:
    """Return the multipliers of a model's parametrisation (None: ``standard``) at its width."""
    component = component or Component(name=DEFAULT_PARAMETRISATION)
    part: Parametrisation = parts.load("parametrisation", component.reference)
    return Multipliers(part, component.settings_as(part.settings), width)
