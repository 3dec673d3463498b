"""A network on numbers, with hidden layers of one width and biases.

Shapes: B examples, d numbers of an input, W width, K outputs. Matrices start at 1/sqrt(fan_in),
those before a ReLU at sqrt(2/fan_in); biases at zero.
"""

from __future__ import annotations

import itertools
from typing import cast

import torch
from torch import Tensor, nn

from scaling_law.spec.architectures.dense import Settings, Shape
from scaling_law.spec.model import OtherModel
from scaling_law.train.architectures import Module, Weight, for_targets, weights_by_layer
from scaling_law.train.parametrisations import Role, multipliers


class Dense(nn.Module):
    """Hidden layers, then an output layer. ``seed`` alone decides the initial weights."""

    def __init__(self, model: OtherModel, seed: int = 0) -> None:
        super().__init__()
        width, settings = model.values_as(Shape).width, model.values_as(Settings)
        self.activation = settings.activation
        self._logits = not model.outputs
        self._multipliers = multipliers(model.parametrisation, width)
        self._output_mult = self._multipliers.output()
        sizes = [model.features, *[width] * settings.depth]
        with torch.device("meta"):
            self.hidden = nn.ModuleList(nn.Linear(*pair) for pair in itertools.pairwise(sizes))
            self.output = nn.Linear(width, model.answers)
        self.to_empty(device="cpu")
        generator = torch.Generator().manual_seed(seed)
        for role, layer in self._layers():
            gain = 2**0.5 if self.activation == "relu" and role != "output" else 1.0
            std = layer.in_features**-0.5 * self._multipliers.initial(role) * gain
            with torch.no_grad():
                layer.weight.normal_(0.0, std, generator=generator)
                layer.bias.zero_()

    def _layers(self) -> list[tuple[Role, nn.Linear]]:
        first, *others = (cast(nn.Linear, layer) for layer in self.hidden)
        hidden: list[tuple[Role, nn.Linear]] = [("hidden", layer) for layer in others]
        return [("input", first), *hidden, ("output", self.output)]

    def weights(self) -> list[Weight]:
        """Matrices decay, biases do not; a bias reads one number."""
        return weights_by_layer(self._layers(), self._multipliers.lr)

    def forward(self, inputs: Tensor) -> Tensor:
        """Numbers [B, ...] -> outputs [B, K], or logits [B, 1, K]."""
        hidden = self._units(inputs)[-1]
        return for_targets(self.output(hidden) * self._output_mult, self._logits)

    def inside(self, inputs: Tensor, what: str) -> list[Tensor]:
        """The activations of each hidden layer, [B, W], as its ``units``."""
        return self._units(inputs)

    def _units(self, inputs: Tensor) -> list[Tensor]:
        hidden = inputs.flatten(1).to(self.output.weight.dtype)
        layers = []
        for layer in self.hidden:
            hidden = layer(hidden)
            hidden = hidden.relu() if self.activation == "relu" else hidden.tanh()
            layers.append(hidden)
        return layers


MODULE = Module(build=lambda model, seed, gradient_checkpointing: Dense(model, seed))
