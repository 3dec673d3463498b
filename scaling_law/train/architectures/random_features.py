"""Ridge regression on random features, solved in closed form in float64.

Shapes: B examples, d numbers of an input, P features, K outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from scaling_law.errors import RunFailed
from scaling_law.spec.architectures.random_features import Settings, Shape
from scaling_law.spec.model import OtherModel
from scaling_law.train.architectures import Module
from scaling_law.train.tensors import Tensors


class RandomFeatures(nn.Module):
    """A fixed random matrix [P, d], an activation, and a readout [K, P] that starts at zero.

    ``seed`` alone decides the random matrix.
    """

    directions: Tensor

    def __init__(self, model: OtherModel, seed: int = 0) -> None:
        super().__init__()
        settings = model.values_as(Settings)
        width = model.values_as(Shape).features
        self.ridge, self.activation = settings.ridge, settings.activation
        generator = torch.Generator().manual_seed(seed)
        directions = torch.randn((width, model.features), generator=generator, dtype=torch.float64)
        self.register_buffer("directions", directions)
        self.readout = nn.Parameter(torch.zeros((model.outputs, width), dtype=torch.float64))

    def features(self, inputs: Tensor) -> Tensor:
        """Numbers [B, ...] -> features [B, P], of squared norm about that of the inputs."""
        mixed = inputs.flatten(1).double() @ self.directions.T
        if self.activation == "relu":
            mixed = mixed.relu()
        elif self.activation == "tanh":
            mixed = mixed.tanh()
        scaled: Tensor = mixed * len(self.directions) ** -0.5
        return scaled

    def forward(self, inputs: Tensor) -> Tensor:
        """Numbers [B, ...] -> outputs [B, K]."""
        return self.features(inputs) @ self.readout.T


@torch.no_grad()
def solve(module: RandomFeatures, batches: Callable[[], Iterator[Tensors]]) -> None:
    """Set the readout that minimises summed squared errors plus ``ridge`` times its squared norm.

    Examples weigh by their targets' weights. Raises ``RunFailed`` where rounding makes the system
    singular.
    """
    width = len(module.directions)
    gram = torch.zeros((width, width), dtype=torch.float64)
    moments = torch.zeros((width, len(module.readout)), dtype=torch.float64)
    few: list[tuple[Tensor, Tensor]] | None = []  # all examples, while fewer than features
    examples = 0
    for batch in batches():
        features, targets = _weighted(module, batch)
        examples += len(features)
        if few is not None and examples < width:
            few.append((features, targets))
            continue
        for old, wanted in [*(few or ()), (features, targets)]:
            gram += old.T @ old
            moments += old.T @ wanted
        few = None
    if few is None:
        readout = _ridge(gram, moments, module.ridge)
    else:
        features = torch.cat([each for each, _ in few])
        targets = torch.cat([each for _, each in few])
        readout = features.T @ _ridge(features @ features.T, targets, module.ridge)
    module.readout.copy_(readout.T)


def _weighted(module: RandomFeatures, batch: Tensors) -> tuple[Tensor, Tensor]:
    """Features [B, P] and targets [B, K], times the root of each example's weight."""
    features, targets = module.features(batch.inputs), batch.targets.double()
    if targets.shape[1:] != (len(module.readout),):
        raise RunFailed(
            f"targets of an example are of shape {list(targets.shape[1:])}, expected"
            f" {len(module.readout)} numbers"
        )
    if batch.weights is None:
        return features, targets
    weights = batch.weights.double()
    if not torch.equal(weights, weights[:, :1].expand_as(weights)):
        raise RunFailed("the targets of an example have different weights, expected one weight")
    root = weights[:, :1].sqrt()
    return features * root, targets * root


def _ridge(gram: Tensor, moments: Tensor, ridge: float) -> Tensor:
    gram.diagonal().add_(ridge)
    factor, failed = torch.linalg.cholesky_ex(gram)
    if failed:
        largest = float(gram.diagonal().max())
        raise RunFailed(
            f"ridge {ridge:g} is lost in rounding beside a Gram matrix of {largest:.3g}; expected"
            f" model.ridge of at least {1e-14 * len(gram) * largest:.1g}"
        )
    solution: Tensor = torch.cholesky_solve(moments, factor)
    return solution


MODULE = Module(
    build=lambda model, seed, gradient_checkpointing: RandomFeatures(model, seed), solve=solve
)
