"""A run's training loss through torch.compile, where its plan says so."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from scaling_law.train import device
from scaling_law.train.model import GPT

Loss = Callable[[Tensor, Tensor], Tensor]
"""Mean nats per token of ids [B, T] against targets [B, T]."""

BACKEND = "inductor"
# Kernels are chosen without timing them, so that a run that goes on later has the same ones.
_OPTIONS: dict[str, Any] = {"deterministic": True}


def compiled_loss(
    model: GPT, seqs: int, context: Callable[[], Any], log: Callable[[str], None]
) -> Loss:
    """``model.loss``, compiled for ``seqs`` sequences, or as it is, said through ``log``.

    Tried on one batch, forward and backward, so that a compiler that is missing or fails is known
    before the first step and no run changes its rounding in its midst.
    """
    began = time.monotonic()
    options = _OPTIONS if BACKEND == "inductor" else None
    loss: Loss = torch.compile(model.loss, dynamic=False, backend=BACKEND, options=options)
    kind = next(model.parameters()).device.type
    ids = torch.zeros((seqs, model.spec.n_ctx + 1), dtype=torch.int64, device=kind)
    try:
        with context():
            tried = loss(ids[:, :-1], ids[:, 1:])
        tried.backward()  # type: ignore[no-untyped-call]
    except Exception as problem:  # a compiler has many ways to fail, and the run can do without
        if not device.is_out_of_memory(problem):  # else the step halves its batch and compiles anew
            cause = getattr(problem, "inner_exception", problem)  # of torch's own wrapping
            line = (str(cause).splitlines() or [""])[0]
            log(f"not compiled ({type(cause).__name__}: {line[:200]}); operators as they are")
            loss = model.loss
    else:
        log(f"loss compiled in {time.monotonic() - began:.0f}s")
    finally:
        model.zero_grad(set_to_none=True)
    return loss
