"""Enlarge a small trained model to a larger one that computes the same, to start training from.

Width grows by whole multiples: the residual stream holds several copies of the small one (RMS and
layer norms do not change), heads and MLP units are copied, and every matrix that reads copies
divides its weight among them (Net2Net, Chen 2016, arXiv 1511.05641; bert2BERT, Chen 2022, arXiv
2110.07143). Equal shares give copies equal gradients, and shares that are constant along a copy
give proportional gradients, which AdamW makes equal again, so such copies never differ (LEMON,
Wang 2024, arXiv 2310.07999, draws uneven shares). Here each share is even plus random weights, as
large as the matrix's own, that add up to zero over the copies: a new start in every direction that
the small model does not have. Depth grows by new blocks: each is a copy of the block below it whose
two output matrices are zero.

Shapes as in ``model``: M width, H query and G key/value heads of K, F hidden, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor

from scaling_law.spec.architectures.gpt import why_not_grown
from scaling_law.spec.model import ModelSpec

# Scale of the random weights, in standard deviations of the matrix. Uneven shares of a quarter to
# three quarters leave the copies more alike and end at a 1% higher loss (benchmarks/NOTES.md).
_NOISE = 1.0


def grown_state(
    small: dict[str, Tensor], spec: ModelSpec, large: ModelSpec, seed: int
) -> dict[str, Tensor]:
    """Return the ``state_dict`` of a ``large`` model that gives the logits of the ``small`` one.

    ``small`` is the state of a model of shape ``spec``; ``seed`` draws the random weights. The
    logits are equal in exact arithmetic, and to about 1e-6 in fp32. Raises ``ValueError`` for
    shapes that ``why_not_grown`` refuses.
    """
    problem = why_not_grown(spec, large)
    if problem:
        raise ValueError(problem)
    return _Widener(spec, large, seed).state(small)


class _Widener:
    """The old row or column that each new one copies, and the weight that its readers give it."""

    def __init__(self, small: ModelSpec, large: ModelSpec, seed: int) -> None:
        self.small, self.large = small, large
        self.generator = torch.Generator().manual_seed(seed)
        times = large.d_model // small.d_model
        self.stream = torch.arange(large.d_model) % small.d_model
        # copies of a head are neighbours, so that the key/value head of each is a copy as well
        heads = torch.arange(large.n_head) // times
        pairs = torch.arange(large.n_kv_head) // times
        self.head_rows = self._rows(heads)
        first_key, first_value = small.n_head, small.n_head + small.n_kv_head
        self.joint = self._rows(torch.cat([heads, first_key + pairs, first_value + pairs]))
        self.heard = torch.ones(large.d_model)
        if small.position == "alibi":
            # old head h has the slope of new head times * (h + 1) - 1; the other heads are not read
            # at first
            heard = (torch.arange(large.n_head) + 1) % times == 0
            self.heard = heard.float().repeat_interleave(small.head_size)
        self.units = torch.arange(large.d_ff) % small.d_ff
        gates = 2 if small.activation == "swiglu" else 1
        self.up_rows = torch.cat([part * small.d_ff + self.units for part in range(gates)])

    def _rows(self, heads: Tensor) -> Tensor:
        """Return the rows of these heads' matrices, one after another."""
        size = self.small.head_size
        return (heads[:, None] * size + torch.arange(size)).flatten()

    def state(self, small: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return every tensor of the large model."""
        tied = self.small.tied
        large = {"embedding.weight": small["embedding.weight"][:, self.stream]}
        if "position.weight" in small:
            large["position.weight"] = small["position.weight"][:, self.stream]
        taken = [index * self.small.n_layer // self.large.n_layer for index in range(self._depth)]
        for index, old in enumerate(taken):
            is_new = index > 0 and taken[index - 1] == old
            for name, weight in self._block(small, f"blocks.{old}.", is_new).items():
                large[f"blocks.{index}.{name}"] = weight
        gain = small["norm.weight"]
        if tied:
            # the head is the copied embedding table, so the norm before it divides the weight
            large["norm.weight"] = self._reads(gain[None], self.stream)[0]
            large["head.weight"] = large["embedding.weight"]
        else:
            large["norm.weight"] = gain[self.stream]
            large["head.weight"] = self._reads(small["head.weight"], self.stream)
        return {name: weight.clone() for name, weight in large.items()}

    @property
    def _depth(self) -> int:
        return self.large.n_layer

    def _block(self, small: dict[str, Tensor], prefix: str, is_new: bool) -> dict[str, Tensor]:
        own = {k.removeprefix(prefix): w for k, w in small.items() if k.startswith(prefix)}
        heads = own["attention.out.weight"][self.stream]
        units = own["mlp.out.weight"][self.stream]
        out = self._reads(heads, self.head_rows, self.heard)
        down = self._reads(units, self.units)
        return {
            "norm_attention.weight": own["norm_attention.weight"][self.stream],
            "attention.qkv.weight": self._reads(
                own["attention.qkv.weight"][self.joint], self.stream
            ),
            "attention.out.weight": torch.zeros_like(out) if is_new else out,
            "norm_mlp.weight": own["norm_mlp.weight"][self.stream],
            "mlp.up.weight": self._reads(own["mlp.up.weight"][self.up_rows], self.stream),
            "mlp.out.weight": torch.zeros_like(down) if is_new else down,
        }

    def _reads(self, weight: Tensor, copied: Tensor, heard: Tensor | None = None) -> Tensor:
        """Widen rows [R, old] to [R, new]: divide each weight among the columns that copy it.

        ``copied`` [new] says which old column each new one copies; a column that is not ``heard``
        gets no share.
        """
        counted = torch.ones(len(copied)) if heard is None else heard
        counted = counted.double()
        copies = counted.new_zeros(weight.shape[1]).index_add_(0, copied, counted)[copied]
        shape = (weight.shape[0], len(copied))
        noise = torch.randn(shape, generator=self.generator, dtype=torch.float64) * counted
        noise *= _NOISE * weight.double().std()
        left = noise.new_zeros(weight.shape).index_add_(1, copied, noise)[:, copied] / copies
        shares = (weight[:, copied].double() / copies + noise - left) * counted
        return shares.to(weight.dtype)
