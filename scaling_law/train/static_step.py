"""Run a stack's whole step as one program over fixed buffers, which CUDA records and replays.

A small model's step on a GPU launches hundreds of kernels, each with microseconds of arithmetic.
If the program reads everything that changes from step to step (token ids, learning rates) from
fixed buffers and never waits for the host, CUDA replays the step with one launch (CUDA graphs).
The program is the same recorded or not; on a CPU it runs operator by operator, so the tests
compare its bits with those of the ordinary step.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from scaling_law.train.stack import Stack

# The first steps run operator by operator: they choose kernels and make the optimisers' state. They
# are real steps of the training, so nothing is undone.
WARM_STEPS = 3


class StaticStep:
    """Take a step of every member of ``stack``, from the batch to the new weights.

    ``update`` applies the gradients and reads learning rates from its own tensors; ``limits`` are
    the largest gradient norms of the members; ``context`` makes the autocast context; ``log``
    takes one line if the step cannot be recorded.
    """

    def __init__(
        self,
        stack: Stack,
        *,
        batch_seqs: int,
        limits: Sequence[float],
        context: Callable[[], Any],
        update: Callable[[], None],
        log: Callable[[str], None],
    ) -> None:
        first = next(iter(stack.weights.values()))
        self._stack, self._context, self._update, self._log = stack, context, update, log
        shape = (len(stack.members), batch_seqs, stack.n_ctx)
        self._inputs = torch.zeros(shape, dtype=torch.int64, device=first.device)
        self._targets = torch.zeros_like(self._inputs)
        self._limits = torch.tensor(limits, dtype=torch.float64, device=first.device)
        self._losses = torch.zeros(len(limits), device=first.device)
        self._norms = torch.zeros_like(self._limits)
        self._graph: Any = None
        self._stream = torch.cuda.Stream() if first.is_cuda else None  # type: ignore[no-untyped-call]
        self._warm_steps_left = WARM_STEPS if first.is_cuda else -1

    def take(self, inputs: Tensor, targets: Tensor) -> tuple[list[float], list[float]]:
        """Take a step on ids and targets [S, B, T]; return the members' losses and norms."""
        for buffer, ids in ((self._inputs, inputs), (self._targets, targets)):
            buffer.copy_(ids.pin_memory() if buffer.is_cuda else ids, non_blocking=True)
        if self._warm_steps_left == 0:
            self._record()
        if self._graph is not None:
            self._graph.replay()
        else:
            with self._own_stream():
                self._program()
            self._warm_steps_left -= self._warm_steps_left > 0
        return self._losses.tolist(), self._norms.tolist()

    def _program(self) -> None:
        """Run the part that is recorded: it reads no host value and moves no buffer."""
        self._stack.drop_gradients()
        with self._context():
            losses = self._stack.losses(self._inputs, self._targets)
        losses.sum().backward()  # type: ignore[no-untyped-call]
        self._stack.share_gradients()
        with torch.no_grad():
            self._norms.copy_(self._stack.scale_gradients(self._limits))
            self._losses.copy_(losses)
        self._update()

    def _record(self) -> None:
        """Record the program; where that fails, log why and continue without."""
        self._warm_steps_left = -1
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self._stream):
                self._program()
        except RuntimeError as problem:
            line = str(problem).splitlines()[0]
            self._log(f"the step cannot be recorded ({line}); operators are started one by one")
            return
        self._graph = graph
        self._log(f"a step of {len(self._limits)} models recorded as one CUDA graph")

    @contextlib.contextmanager
    def _own_stream(self) -> Any:
        """Use a separate stream until recorded, as CUDA graphs need for the steps before."""
        if self._stream is None:
            yield
            return
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            yield
        torch.cuda.current_stream().wait_stream(self._stream)
