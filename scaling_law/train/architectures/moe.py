"""A GPT whose MLPs are mixtures of experts: the GPT's module with another part in its blocks.

Shapes: R rows, which are the tokens of a batch, M width, E experts, A active ones.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from scaling_law.spec.architectures.gpt import gpt_of
from scaling_law.spec.architectures.moe import Settings
from scaling_law.spec.model import ModelSpec, OtherModel
from scaling_law.train.architectures import Module
from scaling_law.train.architectures.gpt import GPT, MLP


class Experts(nn.Module):
    """A router, and MLPs of which each token goes through the likeliest; none drops a token.

    A single expert's answer is multiplied by its probability (Fedus 2021, arXiv 2101.03961,
    equation 2), which is how the router learns; several share 1 (Lepikhin 2020, arXiv 2006.16668).
    """

    def __init__(self, spec: ModelSpec, settings: Settings) -> None:
        super().__init__()
        self.n_active = settings.n_active
        self.router = nn.Linear(spec.d_model, settings.n_expert, bias=False)
        self.experts = nn.ModuleList(MLP(spec) for _ in range(settings.n_expert))
        self.imbalance: Tensor | None = None

    def route(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Rows [R, M] -> probabilities of all experts [R, E] in fp32, and those chosen [R, A]."""
        probabilities = self.router(rows).float().softmax(dim=-1)
        return probabilities, probabilities.topk(self.n_active, dim=-1).indices

    def choices(self, x: Tensor) -> Tensor:
        """x [..., M] -> 1 for each expert that a row goes through, else 0, [..., E]."""
        probabilities, chosen = self.route(x.reshape(-1, x.shape[-1]))
        return torch.zeros_like(probabilities).scatter(1, chosen, 1.0).view(*x.shape[:-1], -1)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., M] -> [..., M]."""
        rows = x.reshape(-1, x.shape[-1])
        probabilities, chosen = self.route(rows)
        shares = probabilities.gather(1, chosen)
        if self.n_active > 1:
            shares = shares / shares.sum(dim=1, keepdim=True)
        answers = torch.zeros_like(rows)
        for number, expert in enumerate(self.experts):
            row, place = torch.where(chosen == number)
            answer = expert(rows[row]) * shares[row, place, None]
            answers = answers.index_add(0, row, answer.to(answers.dtype))
        if self.training and torch.is_grad_enabled():
            self.imbalance = imbalance(probabilities, chosen)
        return answers.view(x.shape)


def imbalance(probabilities: Tensor, chosen: Tensor) -> Tensor:
    """How uneven the experts' loads are: 1 for even ones, E where one expert has all rows.

    E times the sum over experts of their share of the choices times their mean probability (Fedus
    2021, equation 4).
    """
    count = probabilities.shape[1]
    loads = torch.bincount(chosen.flatten(), minlength=count) / chosen.numel()
    return count * (loads * probabilities.mean(dim=0)).sum()


class MixtureGPT(GPT):
    """The decoder with ``Experts``. ``seed`` alone decides the initial weights."""

    def __init__(
        self, model: OtherModel, seed: int = 0, gradient_checkpointing: bool = False
    ) -> None:
        settings = model.values_as(Settings)
        super().__init__(
            gpt_of(model),
            seed,
            gradient_checkpointing,
            mlp=functools.partial(Experts, settings=settings),
        )
        self.balance = settings.balance

    def inside(self, tokens: Tensor, what: str, prefix: Tensor | None = None) -> list[Tensor]:
        """What the layers compute of ids [B, T], as ``train.architectures.Inside`` says."""
        if what != "experts":
            return super().inside(tokens, what, prefix)
        layers = [module for module in self.modules() if isinstance(module, Experts)]
        read = self._read_by(layers, tokens, prefix)
        return [layer.choices(x) for layer, x in zip(layers, read, strict=True)]

    def extra_loss(self) -> Tensor:
        """``balance`` times the imbalance of all blocks, of the last batch."""
        total = torch.zeros((), device=self.head.weight.device)
        for module in self.modules():
            if isinstance(module, Experts) and module.imbalance is not None:
                total = total + module.imbalance
                module.imbalance = None  # it holds the batch's graph
        return self.balance * total


MODULE = Module(
    build=MixtureGPT, repeated=lambda model: ("head.weight",) if gpt_of(model).tied else ()
)
