"""A run's states on their way to the disk: in place, or beside the training of an accelerator.

While a GPU trains, its host is nearly idle; serialising, hashing and writing a state there takes
seconds that the GPU need not wait for (12 bytes a parameter: 3.6 GB at 300 million). So the state
is copied to the host at once, which fixes it, and the rest is done by a thread. On a CPU a worker
has one core, and a thread would only take its time: there a state is written in place.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

Write = Callable[[dict[str, Any]], None]


class Writer:
    """Writes one run's states, one after the other.

    ``beside``: in a thread, to which a state is handed as a copy on the host. What goes wrong there
    is raised in the run's own thread, by the next call of any method.
    """

    def __init__(self, beside: bool = False) -> None:
        self._beside = beside
        self._pending: Future[None] | None = None

    def put(self, content: dict[str, Any], write: Write) -> None:
        """Have ``write`` called with ``content``; first waits for the state before."""
        self.settle()
        if self._beside:
            self._pending = _thread().submit(write, on_host(content))
        else:
            write(with_tensors(content, _only_what_shows))

    def check(self) -> None:
        """Raise what went wrong, if it is known by now."""
        if self._pending is not None and self._pending.done():
            self.settle()

    def settle(self) -> None:
        """Wait until everything is on the disk."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()


@functools.cache
def _thread() -> ThreadPoolExecutor:
    """One for all runs of a process, so that a stack's members do not write all at once."""
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="slaw-states")


def with_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """``value`` with ``change`` made to every tensor in its dicts, lists and tuples."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: with_tensors(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([with_tensors(item, change) for item in value])
    return value


def _only_what_shows(tensor: Tensor) -> Tensor:
    """A stacked member's weight is a view, and torch saves all that is behind one."""
    whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    return tensor if whole else tensor.clone()


def on_host(value: Any) -> Any:
    """A copy of ``value`` in the host's memory, done when this returns."""
    if torch.cuda.is_available():
        with contextlib.suppress(RuntimeError):  # a host may not let so much be locked
            copied = with_tensors(value, _locked_copy)
            torch.cuda.synchronize()
            return copied
    return with_tensors(value, _plain_copy)


def _plain_copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True)


def _locked_copy(tensor: Tensor) -> Tensor:
    """In page-locked memory: at several times the rate, and all tensors in one queue."""
    if not tensor.is_cuda:
        return _plain_copy(tensor)
    there = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return there.copy_(tensor.detach(), non_blocking=True)
