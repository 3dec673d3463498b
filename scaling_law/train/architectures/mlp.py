"""A two-layer MLP on the token ids of a short example, built from ``OtherModel`` alone.

Shapes: B batch, T tokens of an example, V vocabulary, W width. Matrices start at 1/sqrt(fan_in).
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own idiom
from torch import Tensor, nn

from scaling_law.spec.architectures.mlp import Settings, Shape
from scaling_law.spec.model import OtherModel
from scaling_law.train.architectures import Module, Weight
from scaling_law.train.parametrisations import Role, multipliers


def activate(kind: str, x: Tensor) -> Tensor:
    """The square, ReLU or GELU."""
    if kind == "quadratic":
        return x.square()
    return F.relu(x) if kind == "relu" else F.gelu(x)


class MLP(nn.Module):
    """One hidden layer. ``seed`` alone decides the initial weights."""

    def __init__(self, model: OtherModel, seed: int = 0) -> None:
        super().__init__()
        width = model.values_as(Shape).width
        self.vocab_size = model.vocab_size
        self.activation = model.values_as(Settings).activation
        self._multipliers = multipliers(model.parametrisation, width)
        self._output_mult = self._multipliers.output()
        with torch.device("meta"):
            self.hidden = nn.Linear(model.n_ctx * model.vocab_size, width, bias=False)
            self.output = nn.Linear(width, model.vocab_size, bias=False)
        self.to_empty(device="cpu")
        generator = torch.Generator().manual_seed(seed)
        for role, layer in self._layers():
            std = layer.in_features**-0.5 * self._multipliers.initial(role)
            with torch.no_grad():
                layer.weight.normal_(0.0, std, generator=generator)

    def _layers(self) -> tuple[tuple[Role, nn.Linear], ...]:
        return ("input", self.hidden), ("output", self.output)

    def weights(self) -> list[Weight]:
        """Both matrices decay."""
        return [
            Weight(
                parameter=cast(nn.Parameter, layer.weight),
                decays=True,
                lr_mult=self._multipliers.lr(role),
                role=role,
            )
            for role, layer in self._layers()
        ]

    def token_table(self) -> Tensor:
        """The weights of each id at all positions, side by side: [V, T * W]."""
        weight = self.hidden.weight
        by_position = weight.T.reshape(-1, self.vocab_size, weight.shape[0])  # [T, V, W]
        return by_position.transpose(0, 1).flatten(1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Token ids [B, T] -> logits [B, 1, V] of the token that follows."""
        logits: Tensor = self.output(self._units(tokens)) * self._output_mult
        return logits[:, None]

    def inside(self, tokens: Tensor, what: str) -> list[Tensor]:
        """The activations of the hidden layer, [B, W], as its ``units``."""
        return [self._units(tokens)]

    def _units(self, tokens: Tensor) -> Tensor:
        one_hot = F.one_hot(tokens, self.vocab_size).to(self.hidden.weight.dtype)
        return activate(self.activation, self.hidden(one_hot.flatten(1)))


MODULE = Module(build=lambda model, seed, gradient_checkpointing: MLP(model, seed))
