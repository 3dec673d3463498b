"""Measures how busy this machine is: CPU, memory and NVIDIA's GPUs.

CPU and memory are read from /proc; a system without it, such as macOS, is asked by ``ps`` and
``vm_stat``, GPUs by ``nvidia-smi``. What a system does not report is left out.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from scaling_law.units import format_bytes

# One query takes a GPU's driver up to a second on some machines.
_ASK_EVERY_SECONDS = 5.0
_TIMEOUT_SECONDS = 3.0
_GPU_QUERY = "name,utilization.gpu,memory.used,memory.total"
_MIB = 2**20
# What macOS gives to a program that asks for memory, by the words of vm_stat.
_AVAILABLE_PAGES = ("Pages free", "Pages inactive", "Pages speculative")


Memory: TypeAlias = tuple[float | None, float | None]
"""Bytes in use, and all; None where unknown."""


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
        self._has_proc = (proc / "stat").is_file()
        self._before = self._ticks()
        self._asked = _Asked()
        self._asked_at = -_ASK_EVERY_SECONDS  # on the monotonic clock, in seconds

    def read(self) -> Host:
        """How busy the machine was since the last call; without /proc, of late."""
        if time.monotonic() - self._asked_at >= _ASK_EVERY_SECONDS:
            self._asked_at = time.monotonic()
            self._asked = _ask(others=not self._has_proc)
        busy, (used, total) = self._asked.cpu_busy_frac, self._asked.memory
        if self._has_proc:
            busy, (used, total) = self._busy_since_last(), self._memory()
        load = None
        with contextlib.suppress(OSError, AttributeError):
            load = os.getloadavg()[0]
        return Host(
            cpus=os.cpu_count() or 1,
            cpu_busy_frac=busy,
            load=load,
            memory_used_bytes=used,
            memory_total_bytes=total,
            gpus=self._asked.gpus,
        )

    def _busy_since_last(self) -> float | None:
        now, before = self._ticks(), self._before
        self._before = now
        if not (now and before and now[1] > before[1]):
            return None
        return 1 - (now[0] - before[0]) / (now[1] - before[1])

    def _ticks(self) -> tuple[int, int] | None:
        """Idle clock ticks and all clock ticks of all CPUs since boot."""
        try:
            fields = (self._proc / "stat").read_text().splitlines()[0].split()
            ticks = [int(field) for field in fields[1:9]]
            return ticks[3] + ticks[4], sum(ticks)
        except (OSError, ValueError, IndexError):
            return None

    def _memory(self) -> Memory:
        try:
            lines = (self._proc / "meminfo").read_text().splitlines()
            kilobytes = {name: float(rest.split()[0]) for name, _, rest in map(_halves, lines)}
            total, free = kilobytes["MemTotal"] * 1024, kilobytes["MemAvailable"] * 1024
            return total - free, total
        except (OSError, ValueError, IndexError, KeyError):
            return None, None


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """What commands report; None for what they do not."""

    cpu_busy_frac: float | None = None
    memory: Memory = (None, None)
    gpus: tuple[Gpu, ...] = ()


def _ask(*, others: bool) -> _Asked:
    """Ask for the GPUs, and where ``others`` says so for CPU and memory too."""
    smi = _output("nvidia-smi", f"--query-gpu={_GPU_QUERY}", "--format=csv,noheader,nounits")
    gpus = tuple(gpu for line in smi.splitlines() if (gpu := _gpu(line)) is not None)
    if not others:
        return _Asked(gpus=gpus)
    return _Asked(
        cpu_busy_frac=_busy_by(_output("ps", "-A", "-o", "%cpu=")),
        memory=_memory_by(_output("vm_stat")),
        gpus=gpus,
    )


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


def _busy_by(ps: str) -> float | None:
    """The share of all CPUs in use, from the shares of one CPU that processes take, in percent."""
    try:
        shares = [float(line) for line in ps.split()]
    except ValueError:
        return None
    return min(sum(shares) / 100 / (os.cpu_count() or 1), 1.0) if shares else None


def _memory_by(vm_stat: str) -> Memory:
    """Used and all memory in bytes, from counts of pages."""
    head, _, rest = vm_stat.partition("\n")
    counts = {name: value.strip(" .") for name, _, value in map(_halves, rest.splitlines())}
    try:
        page = int(head.partition("page size of ")[2].split()[0])
        free = page * sum(int(counts[name]) for name in _AVAILABLE_PAGES)
        total = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (OSError, ValueError, IndexError, KeyError):
        return None, None
    return total - free, total


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
