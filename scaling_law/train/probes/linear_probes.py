"""What a linear map reads from each layer: the accuracy of a ridge regression on its activations.

For each state of the residual stream, a ridge regression in closed form predicts a token from the
state at a position (Alain 2016, arXiv 1610.01644): the next token, or another one nearby. It is
fitted on the first half of the examples of ``val`` and scored on the second. ``layers.0`` is the
share of right predictions after the first layer, ``embedding`` that of what the first layer reads;
``most_frequent`` is that of always saying the most frequent token of the first half. Weights and
biases of the model stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from scaling_law.spec.values import Number
from scaling_law.spec.work import Measured, Work
from scaling_law.train.probes import Probe, needs_ids
from scaling_law.train.probes._layers import stream_keys

if TYPE_CHECKING:
    from torch import Tensor

    from scaling_law.train.subject import Subject
    from scaling_law.train.tensors import Tensors


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the regression.

    ``ahead`` is which token is predicted, in positions after the one whose state is read: 1 is the
    model's own target, 0 the token just read, -1 the one before;
    ``ridge`` is the penalty, over the mean variance of an activation;
    ``tokens`` is about how many tokens of ``val`` are read, at most those that are measured.
    """

    ahead: Annotated[int, Number("positions ahead", low=-256, high=1)] = 1
    ridge: Annotated[float, Number("penalty", above=0, high=1e6)] = 1e-3
    tokens: Annotated[int, Number("tokens of val", "count", low=2)] = 8192


def measure(subject: Subject, settings: Settings) -> dict[str, float]:
    """Return the accuracies by layer, and that of the most frequent token."""
    import torch

    examples: list[tuple[list[Tensor], Tensor]] = []
    tokens = 0
    for batch in subject.batches("val"):
        if tokens >= settings.tokens:
            break
        examples += _read(subject, batch, settings.ahead)
        tokens += batch.targets.numel()
    half = len(examples) // 2
    if not half:
        raise ValueError(f"val has {len(examples)} examples to read, expected at least 2")
    fitted, held_out = examples[:half], examples[half:]
    answers, right = (torch.cat([row[1] for row in part]) for part in (fitted, held_out))
    most = answers.bincount().argmax()
    scores = {"most_frequent": float((right == most).double().mean())}
    for at, key in enumerate(stream_keys(len(fitted[0][0]))):
        states, new = (torch.cat([row[0][at] for row in part]) for part in (fitted, held_out))
        said = predicted(states.double(), answers, new.double(), settings.ridge)
        scores[key] = float((said == right).double().mean())
    return scores


def _read(subject: Subject, batch: Tensors, ahead: int) -> list[tuple[list[Tensor], Tensor]]:
    """Return each example's states [N, M] by layer, and the token [N] that belongs to each."""
    time, count = batch.inputs.shape[1], batch.targets.shape[1]
    if ahead == 1:
        answers, places = batch.targets, slice(time - count, time)
    else:
        answers, places = batch.inputs[:, : max(time + ahead, 0)], slice(-ahead, time)
    if answers.is_floating_point():
        raise ValueError("linear_probes predicts tokens, and the targets are numbers")
    counts = answers >= 0
    if ahead == 1 and batch.weights is not None:
        counts = batch.weights > 0
    states = [state[:, places].float() for state in subject.inside(batch, "stream")]
    return [
        ([state[row, own] for state in states], answers[row, own])
        for row, own in enumerate(counts)
        if own.any()
    ]


def predicted(states: Tensor, answers: Tensor, new: Tensor, ridge: float) -> Tensor:
    """Fit ``answers`` [N] to ``states`` [N, M]; return the likeliest answer to each of ``new``.

    The regression is on one-hot answers, with an intercept.
    """
    import torch

    classes, at = torch.unique(answers, return_inverse=True)
    middle = states.mean(dim=0)
    centred = states - middle
    shares = at.bincount().double() / len(at)
    # the sum of centred states over the positions of each class is X' (Y - mean of Y)
    moments = centred.new_zeros(len(classes), states.shape[1]).index_add_(0, at, centred).T
    gram = centred.T @ centred
    penalty = ridge * gram.diagonal().mean().clamp_min(1e-300)
    weights = torch.linalg.solve(gram + penalty * torch.eye(len(gram)).to(gram), moments)
    likeliest: Tensor = ((new - middle) @ weights + shares).argmax(dim=1)
    return torch.take(classes, likeliest)


def work(measured: Measured, settings: Settings) -> Work:
    """A part of ``val`` is read once."""
    return Work(read_tokens=min(settings.tokens, measured.split_tokens["val"]))


def refusal(measured: Measured, settings: Settings) -> str:
    """It needs ids to predict, and two examples: one to fit, one to score."""
    if why := needs_ids(measured, settings) if settings.ahead == 1 else "":
        return why
    if measured.examples("val") < 2:
        return "val has one example to read, expected at least 2; raise eval.val_tokens"
    return ""


PROBE = Probe(
    measure=measure,
    unit="share of tokens",
    needs="stream",
    settings=Settings,
    work=work,
    refusal=refusal,
)
