"""A stack's whole step as one program over fixed buffers, which CUDA can record and replay.

A small model's step on a GPU is hundreds of operator starts around microseconds of arithmetic. Once
everything that changes from step to step (token ids, learning rates) is read from buffers that stay
where they are, and nothing is asked of the host in between, CUDA replays the step with one start
(CUDA graphs). The program is the same whether recorded or not; on a CPU it runs as it is, which is
how the tests hold it to the ordinary step's bits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from scaling_law.train.stack import StackedGPT

# Steps taken operator by operator first: they choose kernels and make the optimisers' state. They
# are real steps, so nothing has to be undone.
WARM_STEPS = 3


class StaticStep:
    """One step of every member of ``stack``, gradients to weights.

    ``update`` applies the gradients, reading learning rates from tensors it keeps; ``limits`` are
    the members' gradient norms; ``context`` makes the autocast context; ``log`` takes one line if
    the step cannot be recorded.
    """

    def __init__(
        self,
        stack: StackedGPT,
        *,
        batch_seqs: int,
        limits: Sequence[float],
        context: Callable[[], Any],
        update: Callable[[], None],
        log: Callable[[str], None],
    ) -> None:
        first = next(iter(stack.weights.values()))
        self._stack, self._context, self._update, self._log = stack, context, update, log
        shape = (len(stack.members), batch_seqs, stack.spec.n_ctx)
        self._inputs = torch.zeros(shape, dtype=torch.int64, device=first.device)
        self._targets = torch.zeros_like(self._inputs)
        self._limits = torch.tensor(limits, dtype=torch.float64, device=first.device)
        self._losses = torch.zeros(len(limits), device=first.device)
        self._norms = torch.zeros_like(self._limits)
        self._graph: Any = None
        self._stream = torch.cuda.Stream() if first.is_cuda else None  # type: ignore[no-untyped-call]
        self._warm_steps_left = WARM_STEPS if first.is_cuda else -1

    def take(self, inputs: Tensor, targets: Tensor) -> tuple[list[float], list[float]]:
        """A step on ids and targets [S, B, T]: each member's mean loss, and its gradient norm."""
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
        """What is recorded: no host value is read, no buffer moves."""
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
        """Record the program, or say why it cannot be and go on without."""
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
        """Work on a stream of its own until recorded, as recording asks of what came before."""
        if self._stream is None:
            yield
            return
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            yield
        torch.cuda.current_stream().wait_stream(self._stream)
