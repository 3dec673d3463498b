"""A small network that judges answers, trained on labelled answers of the model that it reads.

It reads the model's state before each token of an answer, and that token, and gives the probability
that the token is right. An answer is right when all its tokens are: the product. With outcome
labels (whether an answer is right) the product is fitted; with a label for each token the
probabilities themselves, up to an answer's first mistake (Lightman 2023, arXiv 2305.20050).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from scaling_law.spec.work import Measured, Work

if TYPE_CHECKING:
    from torch import Tensor

    from scaling_law.train.probes._samples import Samples
    from scaling_law.train.subject import Subject

_HIDDEN, _STEPS, _BATCH, _LR = 64, 400, 256, 0.01


@runtime_checkable
class HasStates(Protocol):
    """A model with a state at each position, from which it predicts the next token."""

    def hidden(self, tokens: Tensor) -> Tensor:
        """Ids [B, T] -> states [B, T, M]."""
        ...


class Verifier:
    """Judges the answers of a model, once it is trained.

    ``vocab_size`` is the number of ids; ``width`` is that of the model's states.
    """

    def __init__(self, vocab_size: int, width: int) -> None:
        import torch

        generator = torch.Generator().manual_seed(0)
        sizes = _sizes(vocab_size, width)
        self._vocab_size = vocab_size
        self._weights = [
            torch.randn(rows, columns, generator=generator) * (2 / rows) ** 0.5
            for rows, columns in sizes
        ]
        self._biases = [torch.zeros(columns) for _, columns in sizes]

    def log_probs(self, states: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities that tokens [..., A] are right, and that they are wrong, [..., A]."""
        import torch
        import torch.nn.functional as F  # noqa: N812 - torch's own idiom

        x = torch.cat((F.one_hot(ids, self._vocab_size).float(), states), dim=-1)
        last = len(self._weights) - 1
        for at, (weight, bias) in enumerate(zip(self._weights, self._biases, strict=True)):
            x = x @ weight.to(x.device) + bias.to(x.device)
            x = x if at == last else F.gelu(x)
        return F.logsigmoid(x[..., 0]), F.logsigmoid(-x[..., 0])

    def train(self, states: Tensor, ids: Tensor, right: Tensor, of_tokens: bool) -> None:
        """Learn from N answers with states [N, A, M]; ``right`` up to each token or not, [N, A]."""
        import torch
        import torch.nn.functional as F  # noqa: N812 - torch's own idiom

        tensors = [*self._weights, *self._biases]
        for tensor in tensors:
            tensor.requires_grad_()
        optimizer = torch.optim.AdamW(tensors, lr=_LR, weight_decay=0.01)
        generator = torch.Generator().manual_seed(1)
        for step in range(_STEPS):
            optimizer.param_groups[0]["lr"] = _LR * (1 - step / _STEPS)
            rows = torch.randint(len(ids), (min(_BATCH, len(ids)),), generator=generator)
            good, bad = self.log_probs(states[rows], ids[rows])
            if of_tokens:
                # a token counts where all before it are right
                counts = F.pad(right[rows, :-1], (1, 0), value=True).float()
                losses = -torch.where(right[rows], good, bad) * counts
                loss = losses.sum() / counts.sum()
            else:
                whole = good.sum(dim=-1).clamp(max=-1e-6)
                other = torch.log(-torch.expm1(whole))
                loss = -torch.where(right[rows, -1], whole, other).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        for tensor in tensors:
            tensor.requires_grad_(False)

    def scores(self, states: Tensor, ids: Tensor) -> Tensor:
        """The log-probability that answers [..., A] are right, [...]."""
        return self.log_probs(states, ids)[0].sum(dim=-1)


def _sizes(vocab_size: int, width: int) -> tuple[tuple[int, int], ...]:
    """Rows and columns of a verifier's matrices."""
    return (vocab_size + width, _HIDDEN), (_HIDDEN, _HIDDEN), (_HIDDEN, 1)


def training_work(measured: Measured) -> Work:
    """What training one verifier takes."""
    model = measured.model
    sizes = _sizes(model.vocab_size, int(model.dimensions.get("d_model", 0)))
    params = sum(rows * columns for rows, columns in sizes)
    return Work(own_steps=_STEPS, own_flops=6.0 * params * _STEPS * _BATCH * measured.n_targets)


def states_of(subject: Subject, samples: Samples) -> Tensor:
    """The model's state before each token of each answer, [Q, S, A, M].

    Raises ``ValueError`` for a model without states.
    """
    import torch

    if not isinstance(subject.model, HasStates):
        raise ValueError("a verifier reads a model's states, and this one has none; use gpt")
    prompts = samples.questions.prompts
    drawn, length = samples.ids.shape[1:]
    states = []
    for sample in range(drawn):
        read = torch.cat((prompts, samples.ids[:, sample, :-1]), dim=1)
        with torch.no_grad():
            states.append(subject.model.hidden(read)[:, -length:].float())
    return torch.stack(states, dim=1)


def balanced_accuracy(scores: Tensor, right: Tensor) -> float:
    """The mean of the shares of right and of wrong answers that are judged so, by probability 1/2.

    NaN where all are right or all wrong.
    """
    import torch

    judged = scores > torch.tensor(0.5).log()
    return float((judged[right].double().mean() + (~judged[~right]).double().mean()) / 2)
