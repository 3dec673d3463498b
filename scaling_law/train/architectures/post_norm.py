"""The GPT's module with its norms after the residual sums; the final norm stays."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from scaling_law.spec.architectures.gpt import gpt_of
from scaling_law.spec.model import OtherModel
from scaling_law.train.architectures import Filling, Module
from scaling_law.train.architectures.gpt import GPT, Block


class PostBlock(Block):
    """norm(x + attention(x)), then norm(x + mlp(x))."""

    def around(self, x: Tensor, attention: Callable[[Tensor], Tensor]) -> Tensor:
        """x [B, T, M] -> [B, T, M], with what ``attention`` gives of it."""
        x = self.norm_attention(self.add(x, attention(x)))
        y: Tensor = self.norm_mlp(self.add(x, self.mlp(x)))
        return y


class PostNormGPT(GPT):
    """The decoder. ``seed`` alone decides the initial weights."""

    def __init__(
        self, model: OtherModel, seed: int | None = 0, gradient_checkpointing: bool = False
    ) -> None:
        super().__init__(gpt_of(model), seed, gradient_checkpointing, block=PostBlock)


def _build_empty(model: OtherModel, gradient_checkpointing: bool) -> tuple[PostNormGPT, Filling]:
    module = PostNormGPT(model, None, gradient_checkpointing)
    return module, module.filled


MODULE = Module(
    build=PostNormGPT,
    build_empty=_build_empty,
    repeated=lambda model: ("head.weight",) if gpt_of(model).tied else (),
)
