"""Measures how busy this machine is: CPU and memory by psutil, NVIDIA's GPUs by nvidia-smi.

What a system does not report is left out.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from dataclasses import dataclass, field

import psutil

from scaling_law.units import format_bytes

# One query takes a GPU's driver up to a second on some machines.
_ASK_EVERY_SECONDS = 5.0
_TIMEOUT_SECONDS = 3.0
_GPU_QUERY = "name,utilization.gpu,memory.used,memory.total"
_MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One GPU; None for what the driver does not report."""

    name: str
    busy_frac: float | None  # 0 to 1
    used_bytes: float | None  # memory in use
    total_bytes: float | None  # memory


@dataclass(frozen=True, kw_only=True)
class Host:
    """The load of a machine at one moment; None where unknown."""

    cpus: int
    cpu_busy_frac: float | None = None  # of all CPUs, 0 to 1
    load: float | None = None  # average over one minute
    memory_used_bytes: float | None = None
    memory_total_bytes: float | None = None
    gpus: tuple[Gpu, ...] = field(default=())


class HostMeter:
    """Measures the machine between one call and the next."""

    def __init__(self) -> None:
        self._before = _cpu_seconds()
        self._gpus: tuple[Gpu, ...] = ()
        self._asked_at = -_ASK_EVERY_SECONDS  # on the monotonic clock, in seconds

    def read(self) -> Host:
        """How busy the machine was since the last call."""
        if time.monotonic() - self._asked_at >= _ASK_EVERY_SECONDS:
            self._asked_at = time.monotonic()
            self._gpus = _gpus()
        load = used = total = None
        with contextlib.suppress(OSError, AttributeError):
            load = os.getloadavg()[0]
        with contextlib.suppress(OSError, psutil.Error):
            memory = psutil.virtual_memory()
            used, total = float(memory.total - memory.available), float(memory.total)
        return Host(
            cpus=os.cpu_count() or 1,
            cpu_busy_frac=self._busy_since_last(),
            load=load,
            memory_used_bytes=used,
            memory_total_bytes=total,
            gpus=self._gpus,
        )

    def _busy_since_last(self) -> float | None:
        now, before = _cpu_seconds(), self._before
        self._before = now
        if not (now and before and now[1] > before[1]):
            return None
        return 1 - (now[0] - before[0]) / (now[1] - before[1])


def _cpu_seconds() -> tuple[float, float] | None:
    """Idle seconds and all seconds of all CPUs since boot; None where unknown."""
    try:
        times = psutil.cpu_times()._asdict()
    except (OSError, psutil.Error):
        return None
    # the time of guests is counted in user and nice, too
    whole = sum(times.values()) - times.get("guest", 0.0) - times.get("guest_nice", 0.0)
    return times["idle"] + times.get("iowait", 0.0), whole


def _gpus() -> tuple[Gpu, ...]:
    smi = _output("nvidia-smi", f"--query-gpu={_GPU_QUERY}", "--format=csv,noheader,nounits")
    return tuple(gpu for line in smi.splitlines() if (gpu := _gpu(line)) is not None)


def _output(command: str, *words: str) -> str:
    """What a command prints; "" where it fails or there is none."""
    program = shutil.which(command)
    if program is None:
        return ""
    try:
        done = subprocess.run(
            [program, *words],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=True,
            env={**os.environ, "LC_ALL": "C"},  # numbers with a point
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""
    return done.stdout


def host_text(host: Host) -> str:
    """How busy the machine is, in one line without what is unknown."""
    parts = []
    if host.cpu_busy_frac is not None:
        parts.append(f"CPU {host.cpu_busy_frac:.0%} of {host.cpus}")
    if host.load is not None:
        parts.append(f"load {host.load:.1f}")
    if host.memory_used_bytes is not None and host.memory_total_bytes is not None:
        used, total = format_bytes(host.memory_used_bytes), format_bytes(host.memory_total_bytes)
        parts.append(f"memory {used} of {total}")
    for gpu in host.gpus:
        line = gpu.name
        if gpu.busy_frac is not None:
            line += f" {gpu.busy_frac:.0%}"
        if gpu.used_bytes is not None and gpu.total_bytes is not None:
            line += f", {format_bytes(gpu.used_bytes)} of {format_bytes(gpu.total_bytes)}"
        parts.append(line)
    return "; ".join(parts)


def _gpu(line: str) -> Gpu | None:
    """A GPU from a line of nvidia-smi, which writes ``[N/A]`` for an unknown figure."""
    cells = [cell.strip() for cell in line.rsplit(",", 3)]
    if len(cells) != 4:
        return None
    figures: list[float | None] = []
    for cell in cells[1:]:
        try:
            figures.append(float(cell))
        except ValueError:
            figures.append(None)
    busy, used, total = figures
    return Gpu(
        name=cells[0],
        busy_frac=None if busy is None else busy / 100,
        used_bytes=None if used is None else used * _MIB,
        total_bytes=None if total is None else total * _MIB,
    )
