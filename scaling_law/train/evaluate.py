"""Validation loss on the same held-out sequences for every run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch

from scaling_law.data.batch import Batch
from scaling_law.train.examples import example_losses, tensors
from scaling_law.train.model import GPT


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """``loss_nats`` mean per token, ``sem_nats`` its standard error over sequences."""

    loss_nats: float
    sem_nats: float
    tokens: int


@torch.no_grad()
def evaluate(
    model: GPT,
    batches: Iterable[Batch],
    device: str,
    autocast: Any,
    should_stop: Callable[[], bool] = lambda: False,
) -> Evaluation | None:
    """Score ``batches``; an example counts as its targets do. ``autocast`` makes a fresh context.

    ``should_stop`` is asked before every batch; None when it said yes.
    """
    was_training = model.training
    model.eval()
    scored: list[tuple[torch.Tensor, torch.Tensor]] = []
    tokens = 0
    try:
        for batch in batches:
            if should_stop():
                return None
            examples = tensors(batch).to(device)
            with autocast():
                scored.append(example_losses(model, examples))
            tokens += batch.targets.shape[0] * batch.targets.shape[1]
    finally:
        model.train(was_training)
    # asked for once, at the end: the host is ahead of a GPU by all batches, not waiting for each
    losses, counts = (torch.cat(part).cpu().double().tolist() for part in zip(*scored, strict=True))
    count = len(losses)
    total = math.fsum(counts)
    shares = [each * count / total for each in counts]  # 1 where all count alike
    mean = math.fsum(x * n for x, n in zip(losses, shares, strict=True)) / count
    squares = math.fsum((n * (x - mean)) ** 2 for x, n in zip(losses, shares, strict=True))
    sem = math.sqrt(squares / (count - 1) / count) if count > 1 else math.inf
    return Evaluation(loss_nats=mean, sem_nats=sem, tokens=tokens)
