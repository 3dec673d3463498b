"""A linear model of the first numbers of an input, without bias; its weights start at zero."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scaling_law.spec.architectures.linear import Shape
from scaling_law.spec.model import OtherModel
from scaling_law.train.architectures import Module, Weight, for_targets


class Linear(nn.Module):
    """Weights [K, P] for K outputs of the first P numbers. No seed changes them."""

    def __init__(self, model: OtherModel) -> None:
        super().__init__()
        self.inputs = model.values_as(Shape).inputs
        self._logits = not model.outputs
        self.readout = nn.Parameter(torch.zeros((model.answers, self.inputs)))

    def weights(self) -> list[Weight]:
        """The readout decays."""
        return [Weight(parameter=self.readout, decays=True, role="output")]

    def forward(self, inputs: Tensor) -> Tensor:
        """Numbers [B, ...] -> outputs [B, K], or logits [B, 1, K]."""
        read = inputs.flatten(1)[:, : self.inputs].to(self.readout.dtype)
        return for_targets(read @ self.readout.T, self._logits)


MODULE = Module(build=lambda model, seed, gradient_checkpointing: Linear(model))
