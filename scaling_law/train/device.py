"""The device: which one, its memory and its precision; what torch needs to use it."""

from __future__ import annotations

import contextlib
import platform
import resource
import sys
from collections.abc import Callable
from typing import Any

import torch

from scaling_law.errors import DeviceError
from scaling_law.plan.device_profile import (
    available_memory_bytes,
)
from scaling_law.spec.kernels import Kernels
from scaling_law.train import kernels

DEVICES = ("auto", "cuda", "mps", "cpu")
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def choose_device(requested: str) -> str:
    """Return the requested device; for ``auto`` the first there is of cuda, mps and cpu.

    Raises ``DeviceError`` when the requested device is not there.
    """
    if requested not in DEVICES:
        raise DeviceError(f"device {requested!r}: expected one of {', '.join(DEVICES)}")
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if requested == "auto":
        return next(kind for kind in ("cuda", "mps", "cpu") if there[kind])
    if not there[requested]:
        raise DeviceError(
            f"device {requested!r} was requested, but torch {torch.__version__} finds none here; "
            "use --device cpu, or install a torch build for it"
        )
    return requested


def device_name(kind: str) -> str:
    """Return the hardware's own name."""
    if kind == "cuda":
        return torch.cuda.get_device_name()
    if kind == "mps":
        return f"Apple {platform.machine()}"
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as lines:  # noqa: PTH123
        for line in lines:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def device_memory_bytes(kind: str) -> int:
    """Return the bytes that training may use: free on the GPU, else available on the machine."""
    return int(torch.cuda.mem_get_info()[0]) if kind == "cuda" else available_memory_bytes()


def peak_memory_bytes(kind: str) -> int:
    """Return the peak memory so far, in bytes: of the GPU where there is one, else the process."""
    if kind == "cuda":
        return int(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) if sys.platform == "darwin" else int(peak) * 1024


def autocast(kind: str, precision: str) -> Callable[[], Any]:
    """Return a function that makes autocast contexts; for fp32 they do nothing."""
    if precision == "fp32":
        return contextlib.nullcontext
    return lambda: torch.autocast(kind, dtype=_DTYPES[precision])


def prepare_process(kind: str, threads: int, chosen: Kernels | None = None) -> None:
    """Fix the settings that change bits or speed: threads, denormals, precision, operators.

    ``chosen`` are the operators on a CPU; None takes those of the thresholds.
    """
    kernels.use(chosen)
    torch.set_num_threads(threads)
    # Denormal optimiser state costs an order of magnitude on CPUs and carries no information.
    torch.set_flush_denormal(True)
    if kind == "cuda":
        torch.set_float32_matmul_precision("high")


def to_device(ids: torch.Tensor, kind: str) -> torch.Tensor:
    """Move ``ids`` to the device; on CUDA from page-locked memory, so that the host continues."""
    if kind == "cuda":
        return ids.pin_memory().to(kind, non_blocking=True)
    return ids.to(kind)


def is_out_of_memory(problem: BaseException) -> bool:
    """Say whether ``problem`` is torch's report that memory ran out."""
    # CUDA raises its own class; MPS and the CPU allocator say so only in the message.
    text = str(problem).lower()
    return isinstance(problem, torch.OutOfMemoryError) or (
        isinstance(problem, RuntimeError)
        and ("out of memory" in text or "can't allocate memory" in text)
    )


def synchronize(kind: str) -> None:
    """Wait for queued work, so that a clock measures it."""
    if kind == "cuda":
        torch.cuda.synchronize()
    elif kind == "mps":
        torch.mps.synchronize()
