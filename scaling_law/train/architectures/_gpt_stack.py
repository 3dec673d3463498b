"""Several GPTs of one shape as one program: shapes as in ``gpt``, with S members in front."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own idiom
from torch import Tensor

from scaling_law.train.architectures.gpt import GPT, RMS_EPS, activate, attend
from scaling_law.train.stack import Stack


class StackedGPT(Stack):
    """GPTs whose weights are stacked."""

    def __init__(self, members: Sequence[GPT]) -> None:
        super().__init__(members)
        self.spec = members[0].spec
        self._first = members[0]
        device = next(iter(self.weights.values())).device
        self._first_rows = torch.arange(len(members), device=device)[:, None]

    def losses(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Mean nats per token of each member, [S], from ids [S, B, T]; softmax in fp32."""
        members, batch, time = tokens.shape
        x = self._embed(tokens.reshape(members, batch * time))
        if self.spec.position == "learned":
            places = self.weights["position.weight"][:, :time]
            x = x + places.repeat(1, batch, 1)
        tables = self._first.position_tables
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
