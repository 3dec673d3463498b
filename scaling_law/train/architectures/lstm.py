"""LSTM layers between an embedding and a head, built from ``OtherModel`` alone.

Shapes: B batch, T time, M width, V vocabulary. Embeddings start at unit variance and matrices at
1/sqrt(fan_in), as the GPT's; the forget gate starts with a bias of 1 (Jozefowicz 2015).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from scaling_law.spec.architectures.lstm import Shape
from scaling_law.spec.model import OtherModel
from scaling_law.train.architectures import Module, Weight
from scaling_law.train.parametrisations import Role, multipliers

FORGET_BIAS = 1.0


@dataclass
class Memory:
    """What is remembered of the ids so far.

    ``state`` has the hidden state and the cell of every layer, each [L, B, M].
    """

    state: tuple[Tensor, Tensor]


class LSTM(nn.Module):
    """The network. ``seed`` alone decides the initial weights."""

    def __init__(self, model: OtherModel, seed: int = 0) -> None:
        super().__init__()
        shape = model.values_as(Shape)
        self._multipliers = multipliers(model.parametrisation, shape.d_model)
        self._output_mult = self._multipliers.output()
        with torch.device("meta"):  # torch's own first weights draw from the global generator
            self.embedding = nn.Embedding(model.vocab_size, shape.d_model)
            self.layers = nn.LSTM(shape.d_model, shape.d_model, shape.n_layer, batch_first=True)
            self.head = nn.Linear(shape.d_model, model.vocab_size, bias=False)
        self.to_empty(device="cpu")
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, weight in self.named_parameters():
                if weight.ndim == 1:
                    weight.zero_()
                    if "bias_ih" in name:  # torch's order of gates: input, forget, cell, output
                        weight[shape.d_model : 2 * shape.d_model] = FORGET_BIAS
                    continue
                std = 1.0 if self._role(name) == "input" else weight.shape[1] ** -0.5
                std *= self._multipliers.initial(self._role(name))
                weight.normal_(0.0, std, generator=generator)

    @staticmethod
    def _role(name: str) -> Role:
        if name == "head.weight":
            return "output"
        return "hidden" if name.startswith("layers.weight") else "input"

    def weights(self) -> list[Weight]:
        """Matrices of the layers and the head decay; the table and biases do not."""
        return [
            Weight(
                parameter=weight,
                decays=self._role(name) != "input",
                lr_mult=self._multipliers.lr(self._role(name)),
                role=self._role(name),
            )
            for name, weight in self.named_parameters()
        ]

    def token_table(self) -> Tensor:
        """The embedding of each id, [V, M]."""
        return self.embedding.weight

    def _logits(self, states: Tensor) -> Tensor:
        return cast(Tensor, self.head(states * self._output_mult))

    def forward(self, tokens: Tensor) -> Tensor:
        """Token ids [B, T] -> logits [B, T, V]."""
        states, _ = self.layers(self.embedding(tokens))
        return self._logits(states)

    def read_prompts(
        self, tokens: Tensor, lengths: Sequence[int], room: int
    ) -> tuple[Tensor, Memory]:
        """Ids [B, T], whose first ``lengths`` count -> logits [B, V] after them, and a memory.

        The memory is as large whatever ``room`` it is to have.
        """
        read = pack_padded_sequence(
            self.embedding(tokens), torch.tensor(lengths), batch_first=True, enforce_sorted=False
        )
        _, state = self.layers(read)
        return self._logits(state[0][-1]), Memory(state)

    def next_logits(self, tokens: Tensor, memory: Memory) -> Tensor:
        """One further id of each row, [B] -> logits [B, V] after it; ``memory`` takes it up."""
        states, memory.state = self.layers(self.embedding(tokens)[:, None], memory.state)
        return self._logits(states[:, 0])


MODULE = Module(build=lambda model, seed, gradient_checkpointing: LSTM(model, seed))
