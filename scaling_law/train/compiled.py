"""Compile a run's training loss with torch.compile, where its plan says so."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from scaling_law.errors import RunFailed
from scaling_law.train import device

Loss = Callable[[Tensor, Tensor], Tensor]
"""Mean nats per token of ids [B, T] against targets [B, T]."""

BACKEND: Any = "inductor"
# Kernels are chosen without timing them, so that a resumed run has the same ones.
_OPTIONS: dict[str, Any] = {"deterministic": True}


def compiled_loss(
    model: nn.Module,
    batch_seqs: int,
    micro_seqs: int,
    context: Callable[[], Any],
    log: Callable[[str], None],
) -> tuple[Loss, int]:
    """Compile ``model.loss``; return it with the micro-batch that fits.

    The micro-batch is ``micro_seqs``, halved until it fits. Forward and backward run once on every
    shape that a batch of ``batch_seqs`` sequences is cut into. Raises ``RunFailed`` where the loss
    does not compile: without compiling, the run would round differently from what its plan says,
    or differently before and after it is resumed.
    """
    torch.compiler.reset()  # a worker's earlier runs would use up the shapes torch will compile
    began = time.monotonic()
    options = _OPTIONS if BACKEND == "inductor" else None
    # fullgraph: code that does not compile, or no longer does, is an error, not a silent fallback
    own: Any = model  # a module that is compiled has a loss of its own, and its spec
    loss: Loss = torch.compile(
        own.loss, dynamic=False, fullgraph=True, backend=BACKEND, options=options
    )
    while True:
        try:
            for seqs in {micro_seqs, batch_seqs % micro_seqs or micro_seqs}:
                _try(own, loss, seqs, context)
            break
        except Exception as problem:  # a compiler has many ways to fail
            if not device.is_out_of_memory(problem) or micro_seqs == 1:
                cause = getattr(problem, "inner_exception", problem)  # torch wraps it
                line = (str(cause).splitlines() or [""])[0]
                raise RunFailed(
                    f"the loss cannot be compiled ({type(cause).__name__}: {line[:200]}); set"
                    " compile: off"
                ) from None
            micro_seqs = max(1, micro_seqs // 2)
            log(f"out of memory: micro-batch halved to {micro_seqs} sequences")
        finally:
            model.zero_grad(set_to_none=True)
    log(f"loss compiled in {time.monotonic() - began:.0f}s")
    return loss, micro_seqs


def _try(model: Any, loss: Loss, seqs: int, context: Callable[[], Any]) -> None:
    kind = next(model.parameters()).device.type
    ids = torch.zeros((seqs, model.spec.n_ctx + 1), dtype=torch.int64, device=kind)
    with context():
        tried = loss(ids[:, :-1], ids[:, 1:])
    tried.backward()  # type: ignore[no-untyped-call]
