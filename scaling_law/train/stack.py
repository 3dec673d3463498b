"""Run several models of one shape as one program: stack their weights, launch each operator once.

A small model's step is mostly the launching of operators; S members share one launch (2.4 times
as fast on a CPU at width 32 and one sequence each, benchmarks/NOTES.md). Members never mix: every
operator works member by member, so that a member's bits do not depend on the other members (a
test), and one that diverges does not change the others. An architecture gives the program
(``Module.stack``).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Stack(ABC):
    """The members' weights, stacked; each member's own parameters become views into them.

    A change of a member's parameters, by its optimiser or by loading its state, therefore changes
    the stack, and ``share_gradients`` gives each member its part of the gradients. Raises
    ``ValueError`` unless all members have one ``spec`` and device.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        specs: list[Any] = [member.spec for member in members]
        if any(spec != specs[0] for spec in specs):
            raise ValueError("only models of one shape can be stacked")
        self.members = tuple(members)
        self.n_ctx: int = specs[0].n_ctx
        names = [name for name, _ in members[0].named_parameters()]
        own = [dict(member.named_parameters()) for member in members]
        self.weights: dict[str, Tensor] = {}
        for name in names:
            stacked = torch.stack([weights[name].detach() for weights in own]).requires_grad_()
            self.weights[name] = stacked
            for index, weights in enumerate(own):
                weights[name].data = stacked.detach()[index]
        self._own = own

    @abstractmethod
    def losses(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Mean nats per token of each member, [S], from ids [S, B, T]; softmax in fp32."""

    def clip_gradients(self, limits: Sequence[float]) -> list[float]:
        """Scale each member's gradients down to its norm in ``limits``; return the norms before."""
        gradients = [stacked.grad for stacked in self.weights.values() if stacked.grad is not None]
        # tensor by tensor: the rounding of a reduction over a stack depends on the number of rows
        parts = torch.stack(torch._foreach_norm([part for g in gradients for part in g]))
        table = parts.view(len(gradients), -1).tolist()
        norms = [math.sqrt(math.fsum(x * x for x in column)) for column in zip(*table, strict=True)]
        pairs = zip(norms, limits, strict=True)
        factors = gradients[0].new_tensor([min(1.0, limit / (n + 1e-6)) for n, limit in pairs])
        for gradient in gradients:
            gradient.mul_(factors.view(-1, *(1,) * (gradient.ndim - 1)))
        return norms

    def scale_gradients(self, limits: Tensor) -> Tensor:
        """``clip_gradients`` without waiting for the host: limits and norms before are [S]."""
        gradients = [stacked.grad for stacked in self.weights.values() if stacked.grad is not None]
        parts = torch.stack(torch._foreach_norm([part for g in gradients for part in g]))
        norms = parts.view(len(gradients), -1).double().square().sum(dim=0).sqrt()
        factors = (limits / (norms + 1e-6)).clamp(max=1.0).to(gradients[0].dtype)
        for gradient in gradients:
            gradient.mul_(factors.view(-1, *(1,) * (gradient.ndim - 1)))
        return norms

    def share_gradients(self) -> None:
        """Give each member's parameters their part of the gradients, as views."""
        for name, stacked in self.weights.items():
            assert stacked.grad is not None, name
            for index, weights in enumerate(self._own):
                weights[name].grad = stacked.grad[index]

    def drop_gradients(self) -> None:
        """Drop the gradients, the members' views included."""
        for name, stacked in self.weights.items():
            stacked.grad = None
            for weights in self._own:
                weights[name].grad = None
