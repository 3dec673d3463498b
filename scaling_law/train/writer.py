"""Write a run's states to the disk: at once, or in a thread while an accelerator trains.

While a GPU trains, its host is nearly idle; serialising, hashing and writing a state takes seconds
that the GPU need not wait for (12 bytes a parameter: 3.6 GB at 300 million). So the state is copied
to the host at once, and a thread does the rest. On a CPU a worker has one core, which a thread
would share with the training: there a state is written at once.
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

    With ``beside`` a thread writes a copy of each state on the host. An error there is raised in
    the run's own thread, by the next call of any method.
    """

    def __init__(self, beside: bool = False) -> None:
        self._beside = beside
        self._pending: Future[None] | None = None

    def put(self, content: dict[str, Any], write: Write) -> None:
        """Write ``content`` by ``write``, after the state before is written."""
        self.settle()
        if self._beside:
            self._pending = _thread().submit(write, on_host(content))
        else:
            write(with_tensors(content, _only_what_shows))

    def check(self) -> None:
        """Raise the error of the last write, if it is known by now."""
        if self._pending is not None and self._pending.done():
            self.settle()

    def settle(self) -> None:
        """Wait until everything is on the disk."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()


@functools.cache
def _thread() -> ThreadPoolExecutor:
    """Return the one thread of a process, so that a stack's members do not write all at once."""
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="slaw-states")


def with_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return ``value`` with ``change`` applied to each tensor in its dicts, lists and tuples."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: with_tensors(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([with_tensors(item, change) for item in value])
    return value


def _only_what_shows(tensor: Tensor) -> Tensor:
    """Copy a tensor that is a view, such as a stacked member's: torch saves a view's whole base."""
    whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    return tensor if whole else tensor.clone()


def on_host(value: Any) -> Any:
    """Copy ``value`` to the host's memory; the copy is complete when this returns."""
    if torch.cuda.is_available():
        with contextlib.suppress(RuntimeError):  # a host may not allow so much locked memory
            copied = with_tensors(value, _locked_copy)
            torch.cuda.synchronize()
            return copied
    return with_tensors(value, _plain_copy)


def _plain_copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True)


def _locked_copy(tensor: Tensor) -> Tensor:
    """Copy to page-locked memory: several times as fast, with all tensors in one queue."""
    if not tensor.is_cuda:
        return _plain_copy(tensor)
    there = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return there.copy_(tensor.detach(), non_blocking=True)
