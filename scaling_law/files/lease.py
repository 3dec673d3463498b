"""Leases: which process works on a folder, told by a file that one alone can make.

Two processes, on one machine or on two that share the folder, agree without locks of the file
system, which network mounts may lack:

- A lease is written whole beside its name and then hard-linked onto it, which fails where there
  is one (where links are unknown: O_CREAT | O_EXCL). It says whose it is (``files.process``), a
  random token and a counter.
- A thread moves the counter while the work gives signs of life, through the open file: in
  whatever name that file then has, never in another's lease.
- A lease is stale once its process is known to be dead, or once its counter has not moved for
  ``stale_seconds`` on the clock of the one who looks. No two machines' clocks are compared.
- The taker of a stale lease renames it and reads what it renamed. Another token than the one it
  judged means that somebody was faster: the lease is linked back, or, if there is a new one
  already, its holder finds that it has lost it.
- The holder asks ``check`` after opening what it writes to and before writing it, or before the
  rename that makes it count. The taker first leases, then removes temporary files, and replaces
  what is appended to. So a holder that was only slow, and wakes at any point, writes nothing that
  counts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import secrets
import stat
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from scaling_law.decode import build
from scaling_law.errors import ConfigError
from scaling_law.files import layout
from scaling_law.files.process import Process, this_process

BEAT_SECONDS = 2.0
_TRIES = 20
_RETRY_SECONDS = 0.02
_DIGITS = 12


def stale_seconds() -> float:
    """How long a lease's counter may stand still: ``$SLAW_STALE_SECONDS``, else two minutes."""
    return _seconds("SLAW_STALE_SECONDS", 120.0)


def hung_seconds() -> float:
    """How long a step may take before it counts as hung: ``$SLAW_HUNG_SECONDS``, else 15 min."""
    return _seconds("SLAW_HUNG_SECONDS", 900.0)


def _seconds(name: str, default: float) -> float:
    text = os.environ.get(name)
    try:
        found = default if not text else float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < 1e9:
        raise ConfigError(f"{name}={text}: expected seconds above 0, as in {default:.0f}")
    return found


class LeaseLost(Exception):  # noqa: N818 - a finding, handled by the caller
    """Somebody else has the lease now: whoever sees this must write nothing more."""


class LeasedElsewhere(Exception):  # noqa: N818 - a finding, handled by the caller
    """A lease that could not be had; ``holder`` has it."""

    def __init__(self, holder: LeaseHolder) -> None:
        super().__init__(f"leased by {holder.description}")
        self.holder = holder


@dataclass(frozen=True, kw_only=True)
class LeaseHolder:
    """A lease as it was read. ``process`` is None in one that cannot be understood."""

    token: str
    process: Process | None
    beat: str

    @property
    def description(self) -> str:
        """As a message names its holder."""
        return self.process.description if self.process else "an unknown process"


def read_lease(path: Path) -> LeaseHolder | None:
    """The lease in ``path``, None where there is none."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode) and not path.is_dir():
            return LeaseHolder(token="", process=None, beat="")  # a pipe may never end
        first, _, beat = path.read_text(errors="replace").partition("\n")
    except FileNotFoundError:
        return None
    except OSError as problem:
        if problem.errno == errno.ESTALE:  # removed on another machine while we looked
            return None
        raise
    try:
        content = json.loads(first)
        process = build(Process, content["process"])
        return LeaseHolder(token=str(content["token"]), process=process, beat=beat)
    except (ValueError, KeyError, TypeError, RecursionError):
        return LeaseHolder(token=first, process=None, beat=beat)


@dataclass(eq=False)
class Lease:
    """A lease that this process holds. Made by ``Leases.take``."""

    path: Path
    token: str
    file: int
    beat_at: int
    beats: int = 0

    def check(self) -> None:
        """Raise ``LeaseLost`` unless the lease is still there, and still this one."""
        for _ in range(3):
            seen = read_lease(self.path)
            if seen is not None:
                break
            time.sleep(_RETRY_SECONDS)  # renamed by mistake, it is put back at once
        if seen is None or seen.token != self.token:
            now = seen.description if seen else "nobody"
            raise LeaseLost(f"{self.path}: the lease was lost to {now}")

    def beat(self) -> None:
        """Move the counter."""
        self.beats += 1
        with contextlib.suppress(OSError):  # then others will find it standing still
            os.pwrite(self.file, b"%0*d" % (_DIGITS, self.beats), self.beat_at)
            # closing any descriptor of a file sends it to an NFS server; elsewhere it costs nothing
            os.close(os.dup(self.file))

    def release(self) -> None:
        """Remove the lease if it is still this one."""
        os.close(self.file)
        with contextlib.suppress(OSError):
            seen = read_lease(self.path)
            if seen is not None and seen.token == self.token:
                remove_lease(self.path, self.token)


class Leases(contextlib.ExitStack):
    """The leases of this process; their counters move until the block is left.

    With ``hung_seconds`` they stand still once ``alive()`` was not called for that long.
    """

    def __init__(self, hung_seconds: float | None = None) -> None:
        super().__init__()
        self._hung_seconds = hung_seconds
        self._held: list[Lease] = []
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._last_sign = time.monotonic()
        self._thread: threading.Thread | None = None

    def alive(self) -> None:
        """A sign of life from the work that the leases are for."""
        self._last_sign = time.monotonic()

    def take(self, path: Path) -> Lease:
        """Lease ``path`` until the block is left, or ``drop``.

        Raises ``LeasedElsewhere``, or ``OSError`` where nothing can be written.
        """
        lease = _take(path)
        with self._lock:
            self._held.append(lease)
        if self._thread is None:
            self._thread = threading.Thread(target=self._beat, daemon=True)
            self._thread.start()
            self.callback(self._end)
        return lease

    def drop(self, lease: Lease) -> None:
        """Release one lease before the others."""
        with self._lock:
            self._held.remove(lease)
        lease.release()

    def _beat(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            silent_seconds = time.monotonic() - self._last_sign
            if self._hung_seconds is not None and silent_seconds > self._hung_seconds:
                continue
            with self._lock:  # a released lease's descriptor may be another file's
                for lease in self._held:
                    lease.beat()

    def _end(self) -> None:
        self._over.set()
        with self._lock:
            held, self._held = self._held, []
        for lease in held:
            lease.release()


def _take(path: Path) -> Lease:
    seen = None
    for _ in range(_TRIES):
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError, FileNotFoundError):
            return _create(path)
        seen = read_lease(path)
        if seen is not None and seen.process is not None and seen.process.is_surely_dead():
            remove_lease(path, seen.token)
        elif seen is not None:
            break
        else:
            time.sleep(_RETRY_SECONDS)  # released just now, or the folder is being removed
    raise LeasedElsewhere(seen or LeaseHolder(token="", process=None, beat=""))


def _create(path: Path) -> Lease:
    """Raises ``FileExistsError`` where there is a lease."""
    token = secrets.token_hex(16)
    head = json.dumps({"token": token, "process": dataclasses.asdict(this_process())}) + "\n"
    content = f"{head}{0:0{_DIGITS}d}\n".encode()
    beside = layout.temporary_sibling(path)
    file = _write_new(beside, content)
    try:
        os.link(beside, path)
    except (FileExistsError, FileNotFoundError):
        seen = read_lease(path)
        if seen is None or seen.token != token:  # else a network did it twice
            os.close(file)
            raise
    except OSError:  # a file system without hard links
        os.close(file)
        file = _write_new(path, content)
    finally:
        beside.unlink(missing_ok=True)
    return Lease(path, token, file, beat_at=len(head.encode()))


def _write_new(path: Path, content: bytes) -> int:
    """An open descriptor of the new file. Raises ``FileExistsError`` where there is one."""
    file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
    try:
        os.write(file, content)
        os.close(os.dup(file))
    except OSError:
        os.close(file)
        path.unlink(missing_ok=True)
        raise
    return file


def remove_lease(path: Path, token: str) -> bool:
    """Take the lease ``token`` away from ``path``; any other is left, or put back, there."""
    aside = layout.temporary_sibling(path)
    try:
        path.rename(aside)
    except FileNotFoundError:
        return False
    seen = read_lease(aside)
    mistaken = seen is not None and seen.token != token
    if mistaken:
        with contextlib.suppress(OSError):  # where there is a new one already
            os.link(aside, path)
    aside.unlink(missing_ok=True)
    return not mistaken


def clear_leftovers(lease: Lease, *written: Path) -> None:
    """Remove temporary files of ``lease`` and of ``written``, left by holders that were killed."""
    for path in layout.leftovers(*written):
        path.unlink(missing_ok=True)
    for path in layout.leftovers(lease.path):
        # ours, in the hands of somebody who took it by mistake and is about to put it back?
        seen = read_lease(path)
        if seen is None or seen.token != lease.token:
            path.unlink(missing_ok=True)


class Stillness:
    """How long something has not changed, on the clock of the one who looks.

    Only time in which it was looked at often counts: who was asleep himself, stopped or frozen
    with all others, has seen nothing.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sign: object = None
        self._looked = clock()
        self._seconds = 0.0

    def seconds(self, sign: object) -> float:
        """What is seen now; how long it has been the same."""
        now = self._clock()
        still = sign == self._sign
        self._seconds = self._seconds + min(now - self._looked, 2 * BEAT_SECONDS) if still else 0.0
        self._sign, self._looked = sign, now
        return self._seconds


@dataclass
class LeaseWatch:
    """Looks at leases again and again, and removes those that are stale."""

    silent_seconds: float = field(default_factory=stale_seconds)
    look_seconds: float = 0.5
    clock: Callable[[], float] = time.monotonic
    _stillness: dict[Path, Stillness] = field(default_factory=dict)
    _last: dict[Path, tuple[LeaseHolder, float]] = field(default_factory=dict)

    def holder(self, path: Path) -> LeaseHolder | None:
        """The live lease on ``path``; a stale one is removed, and None returned as for none.

        An answer is given again for ``look_seconds``.
        """
        now = self.clock()
        if path in self._last and now - self._last[path][1] < self.look_seconds:
            return self._last[path][0]
        seen = read_lease(path)
        if seen is not None:
            still = self._stillness.setdefault(path, Stillness(self.clock)).seconds(seen)
            dead = seen.process is not None and seen.process.is_surely_dead()
            if not dead and still < self.silent_seconds:
                self._last[path] = (seen, now)
                return seen
            remove_lease(path, seen.token)
        self._stillness.pop(path, None)
        self._last.pop(path, None)
        return None

    def is_alive(self, path: Path) -> bool:
        """Whether the lease on ``path`` is alive; waits to see it move where it must."""
        first = self.holder(path)
        while (seen := self.holder(path)) is not None:
            here = seen.process is not None and seen.process.is_surely_alive()
            if here or seen != first:
                return True
            time.sleep(0.1)
        return False


def wait_for(path: Path, leases: Leases, waiting: Callable[[LeaseHolder], None]) -> Lease:
    """Lease ``path``, once it is free; ``waiting`` is told, once, who has it."""
    watch, told = LeaseWatch(), False
    while True:
        try:
            return leases.take(path)
        except LeasedElsewhere as other:
            if not told:
                waiting(other.holder)
            told = True
        while watch.holder(path) is not None:
            time.sleep(0.1)


def who_has(paths: list[Path]) -> list[LeaseHolder]:
    """The leases among ``paths`` that are not known to be dead; nothing is written."""
    found = [seen for path in paths if (seen := read_lease(path)) is not None]
    return [seen for seen in found if seen.process is None or not seen.process.is_surely_dead()]
