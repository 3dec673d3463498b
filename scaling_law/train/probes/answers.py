"""How right whole answers are, on the validation splits: an example's targets are its answer.

Each target is predicted from the true ones before it. ``SPLIT.exact`` is the share of answers whose
every target is the likeliest output, which is also the share that greedy generation gets right.
``SPLIT.position-N`` is the share of right targets among the Nth of each answer,
``SPLIT.log_prob`` the mean log-probability of a target in nats, and ``SPLIT.brier`` the mean Brier
score of a target (the squared distance of the probabilities from the truth: 0 to 2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scaling_law.spec.work import Measured, Work
from scaling_law.train.probes import Probe, needs_ids

if TYPE_CHECKING:
    from scaling_law.train.subject import Subject


@dataclass(frozen=True, kw_only=True)
class Settings:
    """``positions`` measures the share of right targets at each position of an answer, too."""

    positions: bool = True


def measure(subject: Subject, settings: Settings) -> dict[str, float]:
    """Return the shares and scores by split; targets of weight 0 are no part of an answer."""
    return {
        f"{split}.{key}": value
        for split in subject.splits
        if split != "train"
        for key, value in of_split(subject, split, settings.positions).items()
    }


def of_split(subject: Subject, split: str, positions: bool) -> dict[str, float]:
    """Return the shares and scores on one split, those of single ``positions`` if asked."""
    import torch

    hits, scores, logs, counts = [], [], [], []
    for batch in subject.batches(split):
        if batch.targets.is_floating_point():
            raise ValueError("answers needs targets that are ids, found numbers")
        outputs = subject.forward(batch).float()
        log_probs = torch.log_softmax(outputs, dim=-1)
        of_target = log_probs.gather(-1, batch.targets.unsqueeze(-1)).squeeze(-1)
        probs = log_probs.exp()
        hits.append(outputs.argmax(dim=-1) == batch.targets)
        scores.append((probs**2).sum(dim=-1) - 2 * of_target.exp() + 1)
        logs.append(of_target)
        counts.append(torch.ones_like(hits[-1]) if batch.weights is None else batch.weights > 0)
    right, counted = torch.cat(hits), torch.cat(counts)
    numbers = {
        "exact": float((right | ~counted).all(dim=1).double().mean()),
        "log_prob": float(torch.cat(logs)[counted].double().mean()),
        "brier": float(torch.cat(scores)[counted].double().mean()),
    }
    nth = counted.cumsum(dim=1)
    for position in range(1, int(nth.max()) + 1 if positions else 1):
        here = counted & (nth == position)
        numbers[f"position-{position}"] = float(right[here].double().mean())
    return numbers


def work(measured: Measured, settings: Settings) -> Work:
    """Every validation split is read once."""
    return Work(read_tokens=sum(measured.validation.values()))


PROBE = Probe(
    measure=measure,
    unit="shares of answers and of targets, nats, Brier score",
    settings=Settings,
    work=work,
    refusal=needs_ids,
)
