"""A network on numbers, with one hidden layer and biases.

Shapes: B examples, d numbers of an input, W width, K outputs. Matrices start at 1/sqrt(fan_in),
those before a ReLU at sqrt(2/fan_in); biases at zero.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from scaling_law.spec.architectures.dense import Settings, Shape
from scaling_law.spec.model import OtherModel
from scaling_law.train.architectures import Module, Weight
from scaling_law.train.parametrisations import Role, multipliers


class Dense(nn.Module):
    """One hidden layer. ``seed`` alone decides the initial weights."""

    def __init__(self, model: OtherModel, seed: int = 0) -> None:
        super().__init__()
        width = model.values_as(Shape).width
        self.activation = model.values_as(Settings).activation
        self._multipliers = multipliers(model.parametrisation, width)
        self._output_mult = self._multipliers.output()
        with torch.device("meta"):
            self.hidden = nn.Linear(model.features, width)
            self.output = nn.Linear(width, model.outputs)
        self.to_empty(device="cpu")
        gains = {"input": 2**0.5 if self.activation == "relu" else 1.0}
        generator = torch.Generator().manual_seed(seed)
        for role, layer in self._layers():
            std = layer.in_features**-0.5 * self._multipliers.initial(role) * gains.get(role, 1.0)
            with torch.no_grad():
                layer.weight.normal_(0.0, std, generator=generator)
                layer.bias.zero_()

    def _layers(self) -> tuple[tuple[Role, nn.Linear], ...]:
        return ("input", self.hidden), ("output", self.output)

    def weights(self) -> list[Weight]:
        """Matrices decay, biases do not."""
        return [
            Weight(
                parameter=cast(nn.Parameter, parameter),
                decays=parameter.ndim > 1,
                lr_mult=self._multipliers.lr(role),
            )
            for role, layer in self._layers()
            for parameter in (layer.weight, layer.bias)
        ]

    def forward(self, inputs: Tensor) -> Tensor:
        """Numbers [B, ...] -> outputs [B, K]."""
        hidden = self.hidden(inputs.flatten(1).to(self.hidden.weight.dtype))
        hidden = hidden.relu() if self.activation == "relu" else hidden.tanh()
        outputs: Tensor = self.output(hidden) * self._output_mult
        return outputs


MODULE = Module(build=lambda model, seed, gradient_checkpointing: Dense(model, seed))
