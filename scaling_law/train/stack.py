"""Run several models of one shape as one program: stack their weights, launch each operator once.

A small model's step is mostly the launching of operators; S members share one launch (2.4 times
as fast on a CPU at width 32 and one sequence each, benchmarks/NOTES.md). Members never mix: every
operator works member by member, so that a member's bits do not depend on the other members (a
test), and one that diverges does not change the others.

Shapes as in ``model``, with S members in front.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own idiom
from torch import Tensor

from scaling_law.train.architectures.gpt import GPT, RMS_EPS, activate, attend


class StackedGPT:
    """The members' weights, stacked; each member's own parameters become views into them.

    A change of a member's parameters, by its optimiser or by loading its state, therefore changes
    the stack, and ``share_gradients`` gives each member its part of the gradients. Raises
    ``ValueError`` unless all members have one shape and device.
    """

    def __init__(self, members: Sequence[GPT]) -> None:
        first = members[0]
        if any(member.spec != first.spec for member in members):
            raise ValueError("only models of one shape can be stacked")
        self.spec, self.members = first.spec, tuple(members)
        names = [name for name, _ in first.named_parameters()]
        own = [dict(member.named_parameters()) for member in members]
        self.weights: dict[str, Tensor] = {}
        for name in names:
            stacked = torch.stack([weights[name].detach() for weights in own]).requires_grad_()
            self.weights[name] = stacked
            for index, weights in enumerate(own):
                weights[name].data = stacked.detach()[index]
        self._own = own
        self._first_rows = torch.arange(len(members), device=stacked.device)[:, None]

    def losses(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Mean nats per token of each member, [S], from ids [S, B, T]; softmax in fp32."""
        members, batch, time = tokens.shape
        x = self._embed(tokens.reshape(members, batch * time))
        if self.spec.position == "learned":
            places = self.weights["position.weight"][:, :time]
            x = x + places.repeat(1, batch, 1)
        tables = self.members[0].position_tables
        for index in range(self.spec.n_layer):
            block = f"blocks.{index}"
            joint = self._product(
                self._norm(x, f"{block}.norm_attention"), f"{block}.attention.qkv"
            )
            y = attend(self.spec, joint.view(members * batch, time, -1), tables)
            x = x + self._product(y.view(members, batch * time, -1), f"{block}.attention.out")
            hidden = self._product(self._norm(x, f"{block}.norm_mlp"), f"{block}.mlp.up")
            x = x + self._product(activate(self.spec.activation, hidden), f"{block}.mlp.out")
        head = "embedding" if self.spec.tied else "head"
        logits = self._product(self._norm(x, "norm"), head).float()
        flat = F.cross_entropy(
            logits.view(-1, self.spec.vocab_size), targets.reshape(-1), reduction="none"
        )
        return flat.view(members, -1).mean(dim=1)

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

    def _embed(self, tokens: Tensor) -> Tensor:
        # one table of S times V rows: member s reads from row s V on
        rows = tokens + self._first_rows * self.spec.vocab_size
        table = self.weights["embedding.weight"]
        return F.embedding(rows, table.view(-1, self.spec.d_model))

    def _product(self, x: Tensor, name: str) -> Tensor:
        """x [S, R, M] @ weight [S, W, M]^T -> [S, R, W]."""
        return torch.bmm(x, self.weights[f"{name}.weight"].transpose(1, 2))

    def _norm(self, x: Tensor, name: str) -> Tensor:
        width = (x.shape[-1],)
        gain = self.weights[f"{name}.weight"][:, None]
        if self.spec.norm == "rmsnorm":
            return F.rms_norm(x, width, eps=RMS_EPS) * gain
        return F.layer_norm(x, width) * gain
