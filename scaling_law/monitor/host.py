"""How busy this machine is: processors and memory by Linux's /proc, GPUs by ``nvidia-smi``.

What a system does not tell is left out: without /proc only the load average is known.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

# Asking the driver takes up to a second on some machines.
_GPU_EVERY_SECONDS = 5.0
_GPU_TIMEOUT_SECONDS = 3.0
_GPU_QUERY = "name,utilization.gpu,memory.used,memory.total"
_MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One device; ``busy_frac`` is None where the driver does not say."""

    name: str
    busy_frac: float | None
    used_bytes: float | None
    total_bytes: float | None


@dataclass(frozen=True, kw_only=True)
class Host:
    """One moment of a machine; None for what is not known."""

    cpus: int
    cpu_busy_frac: float | None = None
    load: float | None = None
    memory_used_bytes: float | None = None
    memory_total_bytes: float | None = None
    gpus: tuple[Gpu, ...] = field(default=())


class HostMeter:
    """Measures between one call and the next."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._before = self._ticks()
        self._gpus: tuple[Gpu, ...] = ()
        self._gpus_asked = -_GPU_EVERY_SECONDS
        self._smi = shutil.which("nvidia-smi")

    def read(self) -> Host:
        """The machine since the last call."""
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
        """Idle and all clock ticks of all processors since the start of the machine."""
        try:
            words = (self._proc / "stat").read_text().splitlines()[0].split()
            ticks = [int(word) for word in words[1:9]]
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
                found for line in done.stdout.splitlines() if (found := _gpu(line)) is not None
            )
        return self._gpus


def _halves(line: str) -> tuple[str, str, str]:
    return line.partition(":")


def _gpu(line: str) -> Gpu | None:
    """One line of nvidia-smi; a figure it does not have reads ``[N/A]``."""
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
