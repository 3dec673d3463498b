"""A small convolutional network on square grey images.

Shapes: B examples, P the side of an image, C channels, K outputs. Kernels start at
sqrt(2/fan_in), the linear layer at 1/sqrt(fan_in), biases at zero.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own idiom
from torch import Tensor, nn

from scaling_law.spec.architectures.convnet import Shape, side
from scaling_law.spec.model import OtherModel
from scaling_law.train.architectures import Module, Weight, for_targets, weights_by_layer
from scaling_law.train.parametrisations import Role, multipliers


class ConvNet(nn.Module):
    """Two convolutions and a linear layer. ``seed`` alone decides the initial weights."""

    def __init__(self, model: OtherModel, seed: int = 0) -> None:
        super().__init__()
        channels = model.values_as(Shape).channels
        self._side, self._logits = side(model.features), not model.outputs
        self._multipliers = multipliers(model.parametrisation, channels)
        self._output_mult = self._multipliers.output()
        inputs = 2 * channels * (self._side // 4) ** 2
        with torch.device("meta"):
            self.first = nn.Conv2d(1, channels, 3, padding=1)
            self.second = nn.Conv2d(channels, 2 * channels, 3, padding=1)
            self.output = nn.Linear(inputs, model.answers)
        self.to_empty(device="cpu")
        generator = torch.Generator().manual_seed(seed)
        for role, layer in self._layers():
            gain = 1.0 if role == "output" else 2**0.5
            std = layer.weight[0].numel() ** -0.5 * self._multipliers.initial(role) * gain
            with torch.no_grad():
                layer.weight.normal_(0.0, std, generator=generator)
                if layer.bias is not None:
                    layer.bias.zero_()

    def _layers(self) -> tuple[tuple[Role, nn.Conv2d | nn.Linear], ...]:
        return ("input", self.first), ("hidden", self.second), ("output", self.output)

    def weights(self) -> list[Weight]:
        """Kernels and the matrix decay, biases do not; a bias reads one number."""
        return weights_by_layer(self._layers(), self._multipliers.lr)

    def forward(self, inputs: Tensor) -> Tensor:
        """Numbers [B, ...] of P x P images -> outputs [B, K], or logits [B, 1, K]."""
        images = inputs.to(self.output.weight.dtype).view(-1, 1, self._side, self._side)
        for layer in (self.first, self.second):
            images = F.max_pool2d(layer(images).relu(), 2)
        return for_targets(self.output(images.flatten(1)) * self._output_mult, self._logits)


MODULE = Module(build=lambda model, seed, gradient_checkpointing: ConvNet(model, seed))
