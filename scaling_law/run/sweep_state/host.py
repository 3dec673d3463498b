"""Measures how busy this machine is: CPU and memory from /proc, GPUs from ``nvidia-smi``.

What a system does not report is left out: without /proc only the load average is known.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from scaling_law.units import format_bytes

# One query takes the driver up to a second on some machines.
_GPU_EVERY_SECONDS = 5.0
_GPU_TIMEOUT_SECONDS = 3.0
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

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._before = self._ticks()
        self._gpus: tuple[Gpu, ...] = ()
        self._gpus_asked = -_GPU_EVERY_SECONDS
        self._smi = shutil.which("nvidia-smi")

    def read(self) -> Host:
        """How busy the machine was since the last call."""
        now = self._ticks()
        busy = None
        if now and self._before and now[1] > self._before[1]:
            busy = 1 - (now[0] - self._before[0]) / (now[1] - self._before[1])
        self._before = now
        load = None
        with contextlib.suppress(OSError, AttributeError):
            load = os.getloadavg()[0]
        used, total = self._memory()
        return Host(
            cpus=os.cpu_count() or 1,
            cpu_busy_frac=busy,
            load=load,
            memory_used_bytes=used,
            memory_total_bytes=total,
            gpus=self._ask_gpus(),
        )

    def _ticks(self) -> tuple[int, int] | None:
        """Idle clock ticks and all clock ticks of all CPUs since boot."""
        try:
            fields = (self._proc / "stat").read_text().splitlines()[0].split()
            ticks = [int(field) for field in fields[1:9]]
            return ticks[3] + ticks[4], sum(ticks)
        except (OSError, ValueError, IndexError):
            return None

    def _memory(self) -> tuple[float | None, float | None]:
        try:
            lines = (self._proc / "meminfo").read_text().splitlines()
            kilobytes = {name: float(rest.split()[0]) for name, _, rest in map(_halves, lines)}
            total, free = kilobytes["MemTotal"] * 1024, kilobytes["MemAvailable"] * 1024
            return total - free, total
        except (OSError, ValueError, IndexError, KeyError):
            return None, None

    def _ask_gpus(self) -> tuple[Gpu, ...]:
        if self._smi is None or time.monotonic() - self._gpus_asked < _GPU_EVERY_SECONDS:
            return self._gpus
        self._gpus_asked = time.monotonic()
        command = [self._smi, f"--query-gpu={_GPU_QUERY}", "--format=csv,noheader,nounits"]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_GPU_TIMEOUT_SECONDS, check=True
            )
        except (OSError, subprocess.SubprocessError):
            self._gpus = ()
        else:
            self._gpus = tuple(
                gpu for line in done.stdout.splitlines() if (gpu := _gpu(line)) is not None
            )
        return self._gpus


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


def _halves(line: str) -> tuple[str, str, str]:
    return line.partition(":")


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
