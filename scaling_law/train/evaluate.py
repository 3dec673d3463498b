"""Validation loss on the same held-out sequences for every run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from scaling_law.train.device import to_device


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """``loss_nats`` mean per token, ``sem_nats`` its standard error over sequences."""

    loss_nats: float
    sem_nats: float
    tokens: int


@torch.no_grad()
def evaluate(
    model: nn.Module,
    batches: Iterable[NDArray[np.int64]],
    device: str,
    autocast: Any,
    should_stop: Callable[[], bool] = lambda: False,
) -> Evaluation | None:
    """Score ``batches`` of [B, T + 1] token ids. ``autocast`` makes a fresh context.

    ``should_stop`` is asked before every batch; None when it said yes.
    """
    scored: Any = model
    was_training = model.training
    model.eval()
    found: list[torch.Tensor] = []
    tokens = 0
    try:
        for batch in batches:
            if should_stop():
                return None
            ids = to_device(torch.from_numpy(batch), device)
            with autocast():
                found.append(scored.sequence_losses(ids[:, :-1], ids[:, 1:]))
            tokens += batch.shape[0] * (batch.shape[1] - 1)
    finally:
        model.train(was_training)
    # asked for once, at the end: the host is ahead of a GPU by all batches, not waiting for each
    per_sequence = torch.cat(found).cpu().double().tolist()
    count = len(per_sequence)
    mean = math.fsum(per_sequence) / count
    squares = math.fsum((x - mean) ** 2 for x in per_sequence)
    sem = math.sqrt(squares / (count - 1) / count) if count > 1 else math.inf
    return Evaluation(loss_nats=mean, sem_nats=sem, tokens=tokens)
