"""A GPT decoder, built from ``ModelSpec`` and nothing else.

Shapes: B batch, T time, M width, H query heads, G key/value heads, K head size, V vocabulary.
Blocks are pre-norm. Embeddings start at unit variance and matrices at 1/sqrt(fan_in); the two
matrices of each block that write to the residual stream are divided by sqrt(2 n_layer) (GPT-2's
rule), so that activations keep their scale at every width and depth. Measured at 98k parameters
and 1M tokens, embeddings of standard deviation .02 and zero-initialised outputs, both usual at
larger scale, cost .1 to .25 nats and make the loss erratic in the learning rate.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own idiom
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from scaling_law.spec.model import ModelSpec
from scaling_law.train import kernels, rounding
from scaling_law.train.architectures import Filling, Module, State, Weight
from scaling_law.train.parametrisations import Role, multipliers

if TYPE_CHECKING:
    from scaling_law.train.architectures._gpt_stack import StackedGPT

ROTARY_BASE = 10_000.0
RMS_EPS = 1e-6
EMBEDDING_STD = 1.0
# Logits held at once in evaluation, where whole batches of a large vocabulary take gigabytes.
_EVAL_LOGITS = 2**24


def _norm(kind: str, width: int) -> nn.Module:
    return nn.RMSNorm(width, eps=RMS_EPS) if kind == "rmsnorm" else nn.LayerNorm(width, bias=False)


def rotary_tables(n_ctx: int, head_size: int, spacing: float = 1.0) -> tuple[Tensor, Tensor]:
    """Cosines and sines, each [T, K/2] (Su 2021, arXiv 2104.09864, equation 34).

    Positions are ``spacing`` apart.
    """
    frequency = ROTARY_BASE ** (-torch.arange(0, head_size, 2, dtype=torch.float32) / head_size)
    angle = torch.arange(n_ctx, dtype=torch.float32)[:, None] * spacing * frequency
    return angle.cos(), angle.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair (k, k + K/2) of x [B, H, T, K] by its position's angle."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def alibi_bias(n_head: int, n_ctx: int) -> Tensor:
    """Causal additive bias [H, T, T]: -slope * distance (Press 2022, arXiv 2108.12409).

    Slopes are 2^(-8 (h+1) / H), the paper's geometric sequence.
    """
    slopes = 2.0 ** (-8.0 * torch.arange(1, n_head + 1, dtype=torch.float32) / n_head)
    position = torch.arange(n_ctx, dtype=torch.float32)
    distance = position[:, None] - position[None, :]
    bias = -slopes[:, None, None] * distance
    return bias.masked_fill(distance < 0, -math.inf)


def split_heads(
    spec: ModelSpec, joint: Tensor, rotation: tuple[Tensor, ...]
) -> tuple[Tensor, Tensor, Tensor]:
    """The joint projection [B, T, (H + 2 G) K] -> queries [B, H, T, K], keys, values [B, G, T, K].

    Queries and keys are normed, and rotated by ``rotation``, rotary's cosines and sines of the
    positions.
    """
    heads, pairs = spec.n_head, spec.n_kv_head
    joint = joint.view(*joint.shape[:2], -1, spec.head_size)
    if spec.qk_norm or spec.position == "rotary":
        # queries and keys are normed and rotated together: half as many operators
        qk, v = (p.transpose(1, 2) for p in torch.split(joint, [heads + pairs, pairs], dim=2))
        if spec.qk_norm:
            qk = F.rms_norm(qk, (spec.head_size,))
        if spec.position == "rotary":
            cos, sin = (table.to(qk.dtype) for table in rotation)
            qk = rotate(qk, cos, sin)
        q, k = torch.split(qk, [heads, pairs], dim=1)
    else:
        q, k, v = (p.transpose(1, 2) for p in torch.split(joint, [heads, pairs, pairs], dim=2))
    return q, k, v


def seen_with(prefix: Tensor, time: int) -> Tensor:
    """Which positions each position sees, [B, 1, T, T]: those before it, and its prefix.

    ``prefix`` [B] is how many first positions of an example see one another.
    """
    at = torch.arange(time, device=prefix.device)
    return (at[None, :] <= at[:, None]) | (at < prefix[:, None])[:, None, None, :]


def mix(
    spec: ModelSpec,
    heads: tuple[Tensor, Tensor, Tensor],
    positions: tuple[Tensor, ...],
    causal: bool = True,
    score_mult: float = 1.0,
    seen: Tensor | None = None,
) -> Tensor:
    """Grouped-query attention of what ``split_heads`` gives -> [B, T, M].

    Without ``causal`` a position sees later ones as well; with ``seen`` it sees what that says
    (``GPT.seen``); ``score_mult`` is a factor on the scores, on top of 1/sqrt(K).
    """
    q, k, v = heads
    batch, _, time, _ = q.shape
    if score_mult != 1:
        q = q * score_mult
    if spec.n_kv_head != spec.n_head:
        groups = spec.n_head // spec.n_kv_head
        k, v = (part.repeat_interleave(groups, dim=1) for part in (k, v))
    if spec.position == "alibi":
        bias = positions[0][:, :time, :time].to(q.dtype)
        bias = alibi_seen(bias, causal, seen)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    elif seen is not None:
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
    elif causal:
        y = kernels.causal_attention(q, k, v)
    else:
        y = F.scaled_dot_product_attention(q, k, v)
    return y.transpose(1, 2).reshape(batch, time, spec.d_model)


def alibi_seen(bias: Tensor, causal: bool, seen: Tensor | None) -> Tensor:
    """ALiBi's causal bias [H, T, T], where ``mix`` says what is seen: [..., H, T, T].

    A later position is as far away as an earlier one.
    """
    if causal and seen is None:
        return bias
    both = torch.maximum(bias, bias.transpose(1, 2))
    return both if seen is None else both.masked_fill(~seen, -math.inf)


def attend(
    spec: ModelSpec,
    joint: Tensor,
    positions: tuple[Tensor, ...],
    causal: bool = True,
    score_mult: float = 1.0,
    seen: Tensor | None = None,
) -> Tensor:
    """Attention of the joint projection [B, T, (H + 2 G) K] -> [B, T, M], as ``mix`` says."""
    rotation = first_angles(spec, positions, joint.shape[1])
    return mix(spec, split_heads(spec, joint, rotation), positions, causal, score_mult, seen)


def first_angles(spec: ModelSpec, positions: tuple[Tensor, ...], time: int) -> tuple[Tensor, ...]:
    """Rotary's cosines and sines of the first ``time`` positions; nothing for other encodings."""
    return tuple(table[:time] for table in positions) if spec.position == "rotary" else ()


class Memory:
    """Keys and values of earlier positions, so that the next one costs one token.

    ``blocks`` has the keys and values of each block, [B, G, S, K], with room for S positions;
    ``at`` is the next position: of each row, [B], or of all rows, [1], where it is the same;
    ``end`` is the most positions that a row has with it.
    """

    def __init__(self, lengths: Sequence[int], room: int, device: torch.device) -> None:
        self.blocks: list[tuple[Tensor, Tensor]] = []
        self._room, self.end = room, max(lengths) + 1
        self.is_even = min(lengths) == max(lengths)
        self.at = torch.tensor(lengths[:1] if self.is_even else lengths, device=device)
        self._rows = torch.arange(len(lengths), device=device)

    def store(self, *parts: Tensor) -> None:
        """Take up a further block's keys and values of the first positions, [B, G, T, K]."""
        keys, values = (
            F.pad(part, (0, 0, 0, self._room - part.shape[2])).contiguous() for part in parts
        )
        self.blocks.append((keys, values))

    def add(self, index: int, *parts: Tensor) -> list[Tensor]:
        """Write a block's keys and values of the next position, [B, G, 1, K]; return all so far."""
        for stored, part in zip(self.blocks[index], parts, strict=True):
            stored[self._rows, :, self.at] = part[:, :, 0]
        return [stored[:, :, : self.end] for stored in self.blocks[index]]

    def unseen(self) -> Tensor | None:
        """-inf [B, 1, 1, S] at positions after a row's next one, 0 elsewhere; None for no such."""
        if self.is_even:
            return None
        later = torch.arange(self.end, device=self.at.device) > self.at[:, None]
        none = torch.zeros(later.shape, device=later.device)
        return none.masked_fill(later, -math.inf)[:, None, None]

    def move(self) -> None:
        """Count the next position as an earlier one."""
        self.at += 1
        self.end += 1


def activate(kind: str, hidden: Tensor) -> Tensor:
    """GELU, ReLU^2 (So 2021, arXiv 2109.08668) or SwiGLU (Shazeer 2020, arXiv 2002.05202)."""
    if kind == "swiglu":
        gate, value = hidden.chunk(2, dim=-1)
        return F.silu(gate) * value
    return F.relu(hidden).square() if kind == "relu2" else F.gelu(hidden)


class Attention(nn.Module):
    """Grouped-query attention; queries, keys and values come from one matrix.

    With ``causal`` a position does not see later ones.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.score_mult = multipliers(spec.parametrisation, spec.d_model).attention(spec.head_size)
        self.causal = True
        kv_width = spec.n_kv_head * spec.head_size
        self.qkv = nn.Linear(spec.d_model, spec.d_model + 2 * kv_width, bias=False)
        self.out = nn.Linear(spec.d_model, spec.d_model, bias=False)

    def forward(
        self, x: Tensor, positions: tuple[Tensor, ...], seen: Tensor | None = None
    ) -> Tensor:
        """x [B, T, M] -> [B, T, M]; ``seen`` is as in ``mix``."""
        joint = kernels.linear(x, self.qkv.weight)
        y = attend(self.spec, joint, positions, self.causal, self.score_mult, seen)
        return kernels.linear(y, self.out.weight)

    def scores(
        self, x: Tensor, positions: tuple[Tensor, ...], seen: Tensor | None = None
    ) -> Tensor:
        """What the softmax reads, [B, H, T, T] in fp32; -inf where a position is not seen."""
        spec, time = self.spec, x.shape[1]
        rotation = first_angles(spec, positions, time)
        q, k, _ = split_heads(spec, kernels.linear(x, self.qkv.weight), rotation)
        k = k.repeat_interleave(spec.n_head // spec.n_kv_head, dim=1)
        scale = self.score_mult * spec.head_size**-0.5
        scores: Tensor = q.float() @ k.float().transpose(2, 3) * scale
        if spec.position == "alibi":
            return scores + alibi_seen(positions[0][:, :time, :time], self.causal, seen)
        if seen is not None:
            return scores.masked_fill(~seen, -math.inf)
        if not self.causal:
            return scores
        later = torch.ones(time, time, dtype=torch.bool, device=x.device).triu(1)
        return scores.masked_fill(later, -math.inf)

    def read(self, x: Tensor, positions: tuple[Tensor, ...], memory: Memory) -> Tensor:
        """``forward``, with the keys and values stored in ``memory``."""
        rotation = first_angles(self.spec, positions, x.shape[1])
        heads = split_heads(self.spec, kernels.linear(x, self.qkv.weight), rotation)
        memory.store(*heads[1:])
        y = mix(self.spec, heads, positions, self.causal, self.score_mult)
        return kernels.linear(y, self.out.weight)

    def extend(
        self, x: Tensor, rotation: tuple[Tensor, ...], bias: Tensor | None, memory: Memory, at: int
    ) -> Tensor:
        """One further position x [B, 1, M] -> [B, 1, M]; ``at`` is the block's place in ``memory``.

        ``bias`` is what the scores get added.
        """
        spec = self.spec
        q, *new = split_heads(spec, kernels.linear(x, self.qkv.weight), rotation)
        k, v = memory.add(at, *new)
        if self.score_mult != 1:
            q = q * self.score_mult
        # query heads that share their keys stand where positions do, so that no key is repeated
        q = q.reshape(len(x), spec.n_kv_head, -1, spec.head_size)
        y = F.scaled_dot_product_attention(
            q, k.to(q.dtype), v.to(q.dtype), None if bias is None else bias.to(q.dtype)
        )
        return kernels.linear(y.reshape(len(x), 1, spec.d_model), self.out.weight)


class MLP(nn.Module):
    """Two matrices around the activation, three with a gate."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.activation = spec.activation
        gates = 2 if spec.activation == "swiglu" else 1
        self.up = nn.Linear(spec.d_model, gates * spec.d_ff, bias=False)
        self.out = nn.Linear(spec.d_ff, spec.d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, M] -> [B, T, M]."""
        return kernels.linear(self.units(x), self.out.weight)

    def units(self, x: Tensor) -> Tensor:
        """The hidden units' activations, [B, T, F]."""
        return activate(self.activation, kernels.linear(x, self.up.weight))


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)), each branch times the residual multiplier."""

    def __init__(self, spec: ModelSpec, mlp: nn.Module) -> None:
        super().__init__()
        factors = multipliers(spec.parametrisation, spec.d_model)
        self.residual_mult = factors.residual(spec.n_layer)
        self.norm_attention = _norm(spec.norm, spec.d_model)
        self.attention = Attention(spec)
        self.norm_mlp = _norm(spec.norm, spec.d_model)
        self.mlp = mlp

    def forward(
        self, x: Tensor, positions: tuple[Tensor, ...], seen: Tensor | None = None
    ) -> Tensor:
        """x [B, T, M] -> [B, T, M]; ``seen`` is as in ``mix``."""
        return self.around(x, lambda normed: self.attention(normed, positions, seen))

    def around(self, x: Tensor, attention: Callable[[Tensor], Tensor]) -> Tensor:
        """x [B, T, M] -> [B, T, M], with what ``attention`` gives of what it reads."""
        x = self.add(x, attention(self.norm_attention(x)))
        return self.add(x, self.mlp(self.norm_mlp(x)))

    def add(self, x: Tensor, branch: Tensor) -> Tensor:
        """The residual stream with what a branch adds, [B, T, M]."""
        return x + branch if self.residual_mult == 1 else x + self.residual_mult * branch


def _is_table(name: str) -> bool:
    return name.startswith(("embedding", "position"))


class GPT(nn.Module):
    """The decoder. ``seed`` alone decides the initial weights; no global RNG is touched.

    With None it has no weights yet: they are on torch's meta device until ``filled`` gives them.
    ``mlp`` makes the part of a block after its attention, ``block`` a block of it.
    """

    def __init__(
        self,
        spec: ModelSpec,
        seed: int | None = 0,
        gradient_checkpointing: bool = False,
        mlp: Callable[[ModelSpec], nn.Module] = MLP,
        block: Callable[[ModelSpec, nn.Module], Block] = Block,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.gradient_checkpointing = gradient_checkpointing
        self._multipliers = multipliers(spec.parametrisation, spec.d_model)
        self._output_mult = self._multipliers.output()
        # Parameters are made empty and filled from our own generator: torch's default
        # initialisers draw from the global one and advance it.
        with torch.device("meta"):
            self.embedding = nn.Embedding(spec.vocab_size, spec.d_model)
            self.position = (
                nn.Embedding(spec.n_ctx, spec.d_model) if spec.position == "learned" else None
            )
            self.blocks = nn.ModuleList(block(spec, mlp(spec)) for _ in range(spec.n_layer))
            self.norm = _norm(spec.norm, spec.d_model)
            self.head = nn.Linear(spec.d_model, spec.vocab_size, bias=False)
        tables: tuple[Tensor, ...] = ()
        if spec.position == "rotary":
            tables = rotary_tables(spec.n_ctx, spec.head_size)
        elif spec.position == "alibi":
            tables = (alibi_bias(spec.n_head, spec.n_ctx),)
        self._n_tables = len(tables)
        for index, table in enumerate(tables):
            self.register_buffer(f"table_{index}", table, persistent=False)
        if seed is not None:
            for _ in self.filled(seed):
                pass

    @torch.no_grad()
    def filled(self, seed: int) -> Iterator[nn.Module]:
        """Give an empty model its first weights on the CPU; yield each block that has them.

        Weights are drawn one after the other from one generator, so that those of a block do not
        depend on whether the blocks before are still whole.
        """
        generator = torch.Generator().manual_seed(seed)
        for name, module in self.named_children():
            if isinstance(module, nn.ModuleList):
                for number, block in enumerate(module):
                    yield self._filled(block, f"{name}.{number}", generator)
            elif self.spec.tied and module is self.head:
                self.head.weight = self.embedding.weight
            else:
                self._filled(module, name, generator)

    def _filled(self, module: nn.Module, prefix: str, generator: torch.Generator) -> nn.Module:
        module.to_empty(device="cpu")
        for name, weight in module.named_parameters(prefix):
            if weight.ndim == 1:
                weight.fill_(1.0)
                continue
            if _is_table(name):
                # a tied table is also the head, whose logits would be too large at unit variance
                std = self.spec.d_model**-0.5 if self.spec.tied else EMBEDDING_STD
            else:
                std = weight.shape[1] ** -0.5
                if name.endswith("out.weight"):
                    std *= (2 * self.spec.n_layer) ** -0.5
                    std *= self._multipliers.residual_initial(self.spec.n_layer)
            std *= self._multipliers.initial(self._role(name, weight))
            weight.normal_(0.0, std, generator=generator)
        return module

    def _role(self, name: str, weight: Tensor) -> Role:
        if name == "head.weight" or (self.spec.tied and name == "embedding.weight"):
            return "output"
        return "input" if weight.ndim == 1 or _is_table(name) else "hidden"

    def weights(self) -> list[Weight]:
        """Matrices of the blocks and the head decay; tables and norm gains do not."""
        return [
            Weight(
                parameter=weight,
                decays=weight.ndim > 1 and not _is_table(name),
                lr_mult=self._multipliers.lr(role),
                role=role,
            )
            for name, weight in self.named_parameters()
            for role in (self._role(name, weight),)
        ]

    def token_table(self) -> Tensor:
        """The embedding of each id, [V, M]."""
        return self.embedding.weight

    @property
    def position_tables(self) -> tuple[Tensor, ...]:
        """Return the positions for ``attend``: rotary's two tables, ALiBi's bias, or nothing."""
        return tuple(getattr(self, f"table_{i}") for i in range(self._n_tables))

    def interpolated(self, spacing: float) -> GPT:
        """Return a copy whose positions are ``spacing`` apart instead of 1, at most 1.

        Rotary's angles and ALiBi's distances are those of the new positions (Chen 2023, arXiv
        2306.15595); learned vectors are interpolated between two neighbours.
        """
        twin = copy.deepcopy(self)
        if self.position is not None:
            place = spacing * torch.arange(self.spec.n_ctx, device=self.position.weight.device)
            low = place.long()
            high = (low + 1).clamp(max=self.spec.n_ctx - 1)
            table = self.position.weight.detach()
            assert twin.position is not None
            new = torch.lerp(table[low], table[high], (place - low)[:, None].to(table.dtype))
            twin.position.weight = nn.Parameter(new)
        elif self.spec.position == "rotary":
            tables = rotary_tables(self.spec.n_ctx, self.spec.head_size, spacing)
            for index, table in enumerate(tables):
                old = self.get_buffer(f"table_{index}")
                twin.register_buffer(f"table_{index}", table.to(old), persistent=False)
        elif self.spec.position == "alibi":
            bias = self.get_buffer("table_0")
            twin.register_buffer("table_0", bias * spacing, persistent=False)
        return twin

    def hidden(self, tokens: Tensor, prefix: Tensor | None = None) -> Tensor:
        """Token ids [B, T] -> normed final states [B, T, M], times the outputs' multiplier.

        The first ``prefix`` [B] positions of an example see one another.
        """
        x = self.embedding(tokens)
        if self.position is not None:
            x = x + self.position.weight[: tokens.shape[1]]
        positions, seen = self.position_tables, self.seen(tokens, prefix)
        for block in self.blocks:
            if self.gradient_checkpointing and self.training:
                again, places = rounding.again, (positions, seen)
                x = checkpoint(block, x, *places, use_reentrant=False, context_fn=again)
            else:
                x = block(x, positions, seen)
        return self._normed(x)

    def seen(self, tokens: Tensor, prefix: Tensor | None = None) -> Tensor | None:
        """Which positions each position of ids [B, T] sees, [B, 1, T, T].

        None where nothing but ``causal`` of the attention decides. The last id of the vocabulary
        stands before each document; of masked documents none sees another. A prompt with what is
        generated after it counts as one document.
        """
        if prefix is None and self.spec.documents is None:
            return None
        if prefix is not None:
            seen = seen_with(prefix, tokens.shape[1])
        else:
            whole = tokens.shape[1], tokens.shape[1]
            seen = torch.ones(whole, dtype=torch.bool, device=tokens.device)
            if cast(Block, self.blocks[0]).attention.causal:
                seen = seen.tril()
        if self.spec.documents is None:
            return seen
        document = (tokens == self.spec.vocab_size - 1).cumsum(dim=1)
        return seen & (document[:, :, None] == document[:, None, :])[:, None]

    def _normed(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        # on the few numbers that make the logits, not on the many logits
        return x if self._output_mult == 1 else x * self._output_mult

    def inside(self, tokens: Tensor, what: str, prefix: Tensor | None = None) -> list[Tensor]:
        """What the layers compute of ids [B, T], as ``train.architectures.Inside`` says."""
        blocks = cast(Sequence[Block], self.blocks)
        if what == "stream":
            return self._read_by([*blocks, self.norm], tokens, prefix)
        if what == "attention":
            attentions = [block.attention for block in blocks]
            reads = zip(attentions, self._read_by(attentions, tokens, prefix), strict=True)
            seen = self.seen(tokens, prefix)
            return [part.scores(x, self.position_tables, seen) for part, x in reads]
        mlps = [cast(MLP, block.mlp) for block in blocks]
        read = self._read_by(mlps, tokens, prefix)
        return [mlp.units(x) for mlp, x in zip(mlps, read, strict=True)]

    def _read_by(
        self, parts: Sequence[nn.Module], tokens: Tensor, prefix: Tensor | None
    ) -> list[Tensor]:
        """What each part, in the order of the computation, reads of ids [B, T]."""
        reads: list[Tensor] = []
        hooks = [
            part.register_forward_pre_hook(lambda _, inputs: reads.append(inputs[0]))
            for part in parts
        ]
        try:
            self.hidden(tokens, prefix)
        finally:
            for hook in hooks:
                hook.remove()
        return reads

    def read_prompts(
        self, tokens: Tensor, lengths: Sequence[int], room: int
    ) -> tuple[Tensor, Memory]:
        """Ids [B, T], whose first ``lengths`` count -> logits [B, V] after them, and a memory.

        The memory has room for ``room`` positions.
        """
        x, memory = self.embedding(tokens), Memory(lengths, room, tokens.device)
        if self.position is not None:
            x = x + self.position.weight[: tokens.shape[1]]
        tables = self.position_tables
        for block in cast(Sequence[Block], self.blocks):
            read = functools.partial(block.attention.read, positions=tables, memory=memory)
            x = block.around(x, read)
        last = x[torch.arange(len(x), device=x.device), memory.at - 1]
        return cast(Tensor, self.head(self._normed(last))), memory

    def next_logits(self, tokens: Tensor, memory: Memory) -> Tensor:
        """One further id of each row, [B] -> logits [B, V] after it; ``memory`` takes it up."""
        spec, x = self.spec, self.embedding(tokens)[:, None]
        if self.position is not None:
            x = x + self.position.weight[memory.at][:, None]
        rotation: tuple[Tensor, ...] = ()
        bias = memory.unseen()
        if spec.position == "rotary":
            rotation = tuple(table[memory.at][:, None, None] for table in self.position_tables)
        elif spec.position == "alibi":
            (table,) = self.position_tables  # which has -inf at later positions
            bias = table[:, memory.at, : memory.end].transpose(0, 1)
            bias = bias.reshape(len(bias), spec.n_kv_head, -1, memory.end)
        for at, block in enumerate(cast(Sequence[Block], self.blocks)):
            extend = functools.partial(block.attention.extend, rotation=rotation, bias=bias)
            x = block.around(x, functools.partial(extend, memory=memory, at=at))
        memory.move()
        return cast(Tensor, self.head(self._normed(x[:, 0])))

    def forward(self, tokens: Tensor, prefix: Tensor | None = None) -> Tensor:
        """Token ids [B, T] -> logits [B, T, V]; ``prefix`` is as in ``hidden``."""
        return cast(Tensor, self.head(self.hidden(tokens, prefix)))

    def loss(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Mean nats per predicted token over [B, T]; the softmax is taken in fp32."""
        hidden, wanted = self.hidden(tokens), targets.reshape(-1)
        if kernels.chunked_head_pays(hidden, self.head.weight):
            rows = hidden.reshape(-1, hidden.shape[-1])
            return kernels.head_cross_entropy(rows, self.head.weight, wanted)
        logits = self.head(hidden).float()
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), wanted)

    def sequence_losses(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Mean nats per token of each sequence, [B], with the logits of a few sequences at once."""
        hidden, means = self.hidden(tokens), []
        seqs = max(1, _EVAL_LOGITS // (tokens.shape[1] * self.spec.vocab_size))
        for rows, wanted in zip(torch.split(hidden, seqs), torch.split(targets, seqs), strict=True):
            logits = self.head(rows).float()
            losses = F.cross_entropy(logits.transpose(1, 2), wanted, reduction="none")
            means.append(losses.mean(dim=1))
        return torch.cat(means)


def _stack(modules: Sequence[GPT]) -> StackedGPT:
    from scaling_law.train.architectures._gpt_stack import StackedGPT

    return StackedGPT(modules)


def _grow(state: State, small: ModelSpec, large: ModelSpec, seed: int) -> State:
    from scaling_law.train.grow import grown_state

    return grown_state(state, small, large, seed)


def _to_hf(model: ModelSpec, state: State) -> tuple[dict[str, Any], State]:
    from scaling_law.train.architectures._gpt_hf import hf_model

    return hf_model(model, state)


def _build_empty(model: ModelSpec, gradient_checkpointing: bool) -> tuple[GPT, Filling]:
    module = GPT(model, None, gradient_checkpointing)
    return module, module.filled


MODULE = Module(
    build=GPT,
    build_empty=_build_empty,
    stack=_stack,
    grow=_grow,
    to_hf=_to_hf,
    repeated=lambda model: ("head.weight",) if model.tied else (),
)
