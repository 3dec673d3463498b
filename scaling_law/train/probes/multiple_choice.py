"""Multiple choice from held-out text: which passage goes on like this?

A question is a held-out passage without its last ``tail`` tokens. Its choices are the passage's own
last tokens and those of other passages, all of one length, so that the log-probability a token
ranks them. ``SPLIT.accuracy`` is the share of questions whose own tail is the likeliest choice,
``SPLIT.nats`` the mean negative log-probability of a token of the own tail, ``SPLIT.chosen`` the
mean probability of the own tail among the choices, ``SPLIT.questions`` the number of questions and
``SPLIT.chance`` the accuracy of guessing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from scaling_law.spec.values import Number
from scaling_law.spec.work import Measured, Work
from scaling_law.train.probes import Probe, needs_text

if TYPE_CHECKING:
    from torch import Tensor

    from scaling_law.train.subject import Subject
    from scaling_law.train.tensors import Tensors


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The questions.

    ``choices`` are the tails of a question, its own among them;
    ``tail`` is the length of each, in tokens.
    """

    choices: Annotated[int, Number("tails to choose from", low=2, high=32)] = 4
    tail: Annotated[int, Number("tokens of a tail", low=1, high=4096)] = 16


def measure(subject: Subject, settings: Settings) -> dict[str, float]:
    """Return accuracy, loss and probability by validation split."""
    numbers = {}
    for split in subject.splits:
        if split != "train":
            numbers.update({f"{split}.{k}": x for k, x in _asked(subject, split, settings).items()})
    return numbers


def _asked(subject: Subject, split: str, settings: Settings) -> dict[str, float]:
    import torch

    scores = [
        torch.stack([_score(subject, batch, shift, settings) for shift in range(settings.choices)])
        for batch in subject.batches(split)
        if len(batch.inputs) >= settings.choices  # the last batch may hold too few passages
    ]
    if not scores:
        raise ValueError(
            f"{split} has fewer than {settings.choices} passages; raise eval.val_tokens, or lower"
            " choices"
        )
    logs = torch.cat(scores, dim=1)  # [choices, questions], the own tail first
    return {
        "accuracy": float((logs[0] > logs[1:].max(dim=0).values).double().mean()),
        "nats": -float(logs[0].mean()) / settings.tail,
        "chosen": float(logs.softmax(dim=0)[0].mean()),
        "questions": float(logs.shape[1]),
        "chance": 1 / settings.choices,
    }


def _score(subject: Subject, batch: Tensors, shift: int, settings: Settings) -> Tensor:
    """The log-probability of the tail of the passage ``shift`` rows on, after each one's head."""
    import torch

    from scaling_law.train.tensors import Tensors

    if batch.targets.is_floating_point() or batch.targets.shape != batch.inputs.shape:
        raise ValueError("multiple_choice needs text: a target, an id, at each position")
    if settings.tail >= batch.inputs.shape[1]:
        raise ValueError(
            f"a tail of {settings.tail} tokens leaves nothing of a passage of"
            f" {batch.inputs.shape[1]}; lower tail"
        )
    tail = batch.targets[:, -settings.tail :].roll(-shift, dims=0)
    inputs = batch.inputs.clone()
    inputs[:, batch.inputs.shape[1] - settings.tail + 1 :] = tail[:, :-1]
    outputs = subject.forward(Tensors(inputs=inputs, targets=tail)).float()
    log_probs = torch.log_softmax(outputs, dim=-1)
    return log_probs.gather(-1, tail.unsqueeze(-1)).squeeze(-1).double().sum(dim=1)


def work(measured: Measured, settings: Settings) -> Work:
    """Every validation split is read once for each choice."""
    return Work(read_tokens=settings.choices * sum(measured.validation.values()))


def refusal(measured: Measured, settings: Settings) -> str:
    """It needs text, passages longer than a tail, and as many of them as choices."""
    if why := needs_text(measured, settings):
        return why
    if settings.tail >= measured.model.n_ctx:
        return (
            f"a tail of {settings.tail} tokens leaves nothing of a passage of"
            f" {measured.model.n_ctx}; lower tail"
        )
    few = next((s for s in measured.validation if measured.examples(s) < settings.choices), "")
    return (
        f"{few} has fewer than {settings.choices} passages; raise eval.val_tokens, or lower choices"
        if few
        else ""
    )


PROBE = Probe(
    measure=measure,
    unit="shares of questions, nats per token, number of questions",
    when="end",
    settings=Settings,
    work=work,
    refusal=refusal,
)
