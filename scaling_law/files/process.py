"""Identifies a process across machines, reboots and reused pids; starts our own modules."""

from __future__ import annotations

import functools
import hashlib
import importlib.machinery
import os
import socket
import sys
import threading
import time
from dataclasses import astuple, dataclass
from pathlib import Path

# the start time of a live process that the system does not let this user ask about
_ALIVE = "alive"
_WATCH_SECONDS = 0.5


def module_command(module: str, *arguments: str) -> list[str]:
    """The command that runs one of our modules in a process of its own.

    With ``-P`` Python does not look for modules in the current folder, where a user's ``random.py``
    would take the place of the standard library's.
    """
    return [sys.executable, "-P", "-m", module, *arguments]


def make_importable() -> None:
    """Let the modules that this process starts find the package, wherever it was found itself.

    A checkout that is not installed may have been found in the current folder alone.
    """
    if importlib.machinery.PathFinder.find_spec("scaling_law", sys.path) is None:
        root = str(Path(__file__).resolve().parents[2])
        sys.path.append(root)
        known = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = f"{known}{os.pathsep}{root}" if known else root


def end_with(parent: int) -> None:
    """End this process at once when the process ``parent``, which started it, has ended."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@dataclass(frozen=True, kw_only=True)
class Process:
    """A process; a text is empty if the system does not report it."""

    host: str  # the machine's name and a digest of its id
    boot: str  # changes whenever the machine starts
    space: str  # the namespace that ``pid`` belongs to; containers have their own
    pid: int
    started: str  # distinguishes it from a later process with the same pid

    @property
    def description(self) -> str:
        """How messages name it."""
        return f"pid {self.pid} on {self.host.rpartition('/')[0] or self.host}"

    @property
    def tag(self) -> str:
        """A text that is safe in file names; ``tag_is_dead`` reads it."""
        machine = hashlib.sha256("\n".join(astuple(self)[:3]).encode()).hexdigest()[:12]
        return f"{machine}-{self.pid}-{self.started}"

    def is_surely_dead(self) -> bool:
        """Whether this process can tell that it is gone; False if that is unknown."""
        me = this_process()
        if self.host != me.host:
            return False
        if self.boot != me.boot:
            return bool(self.boot and me.boot)  # the machine has restarted since
        return self.space == me.space and _started(self.pid) != self.started

    def is_surely_alive(self) -> bool:
        """Whether this process can tell that it exists (it may hang)."""
        me = this_process()
        here = (self.host, self.boot, self.space) == (me.host, me.boot, me.space)
        return here and _started(self.pid) == self.started


def this_process() -> Process:
    """The calling process."""
    host, boot, space = _machine()
    pid = os.getpid()
    return Process(host=host, boot=boot, space=space, pid=pid, started=_started(pid))


def process_with(pid: int) -> Process:
    """The process of this machine that has this pid now."""
    host, boot, space = _machine()
    return Process(host=host, boot=boot, space=space, pid=pid, started=_started(pid))


def tag_is_dead(tag: str) -> bool:
    """Whether ``tag`` is from this boot of this machine and its process is gone."""
    machine, _, rest = tag.partition("-")
    pid, _, started = rest.partition("-")
    same = machine == this_process().tag.partition("-")[0]
    return same and pid.isdigit() and _started(int(pid)) != started


@functools.cache
def _machine() -> tuple[str, str, str]:
    identity = _text("/etc/machine-id")
    digest = hashlib.sha256(identity.encode()).hexdigest()[:8] if identity else ""
    try:
        space = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - no file, only a name
    except OSError:
        space = ""
    return f"{socket.gethostname()}/{digest}", _text("/proc/sys/kernel/random/boot_id"), space


def _text(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When ``pid`` started; ``alive`` if that is unknown; "" if it is gone.

    A dead process that its parent has not waited for counts as gone. The time is in ticks since
    boot where there is a /proc, for setting the clock must not change it (``psutil`` adds the time
    of boot, which moves with the clock); elsewhere in seconds since 1970.
    """
    try:
        os.kill(pid, 0)
    except PermissionError:
        pass  # another user's
    except (ProcessLookupError, OverflowError):
        return ""
    # "pid (name) state ppid ...": the name may hold anything, the 22nd field is the start
    fields = _text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    if len(fields) < 20:
        return _started_without_proc(pid)
    return "" if fields[0] in "ZX" else fields[19]


def _started_without_proc(pid: int) -> str:
    import psutil  # its import takes longer than all else here, and Linux does without it

    try:
        process = psutil.Process(pid)
        return "" if process.status() == psutil.STATUS_ZOMBIE else repr(process.create_time())
    except psutil.NoSuchProcess:  # a zombie's error is one, too
        return ""
    except psutil.AccessDenied:
        return _ALIVE
