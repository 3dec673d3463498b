"""Leases: which process may work on a folder, shown by a file that only one process can create.

The file on disk is called ``claim``. Two processes, on one machine or on two that share the folder,
agree without file system locks, which network mounts may lack:

- A lease is written whole under a temporary name and hard-linked to its own, which fails if there
  is one already (without hard links: O_CREAT | O_EXCL). It holds the process that has it
  (``files.process``), a random token and a counter.
- A thread moves the counter while the work gives signs of life. It writes through the open file,
  so it reaches that file under whatever name it has, and never another process's lease.
- A lease is stale once its process is known to be dead, or once its counter has not moved for
  ``stale_seconds`` on the clock of the process that watches. No two machines' clocks are compared,
  except for a file that is no lease (a crash of the machine may leave it empty): it is stale at
  once when it was last written longer ago than that.
- To take a stale lease, a process renames it and reads what it renamed. A token other than the one
  it judged means that another process was faster: it links the lease back or, if there is a new
  one already, that holder notices that it has lost its lease. Where the folder can be locked
  (``flock``), it is locked from the last look at the token to the rename, so that this cannot
  happen between processes of one machine; without the lock in time, work continues without it.
- The holder calls ``check`` after opening a file to write, or before the rename that makes a file
  count. The taker first takes the lease, then removes temporary files and replaces files that are
  appended to. So a holder that was only slow, and wakes at any point, writes nothing that counts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import json
import os
import secrets
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator
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
    """How long a lease's counter may stay unchanged: ``$SLAW_STALE_SECONDS``, else two minutes."""
    return _seconds("SLAW_STALE_SECONDS", 120.0)


def hung_seconds() -> float:
    """How long a step may take before it counts as hung: ``$SLAW_HUNG_SECONDS``, else 15 min."""
    return _seconds("SLAW_HUNG_SECONDS", 900.0)


def _seconds(name: str, default: float) -> float:
    text = os.environ.get(name)
    try:
        seconds = default if not text else float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e9:
        raise ConfigError(f"{name}={text}: expected seconds above 0, as in {default:.0f}")
    return seconds


class LeaseLost(Exception):  # noqa: N818 - a finding, handled by the caller
    """Another process has the lease now; this one must write nothing more."""


class LeasedElsewhere(Exception):  # noqa: N818 - a finding, handled by the caller
    """A lease that cannot be taken because ``holder`` has it."""

    def __init__(self, holder: LeaseHolder) -> None:
        super().__init__(f"leased by {holder.description}")
        self.holder = holder


@dataclass(frozen=True, kw_only=True)
class LeaseHolder:
    """The content of a lease's file."""

    token: str  # random, one per lease
    process: Process | None  # the process that has it; None if the file cannot be read
    beat: str  # the counter

    @property
    def description(self) -> str:
        """How messages name the process."""
        return self.process.description if self.process else "an unknown process"


def read_lease(path: Path) -> LeaseHolder | None:
    """The holder of the lease ``path``; None if there is none."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode) and not path.is_dir():
            return LeaseHolder(token="", process=None, beat="")  # a pipe may never end
        first, _, beat = path.read_text(errors="replace").partition("\n")
    except FileNotFoundError:
        return None
    except OSError as problem:
        if problem.errno == errno.ESTALE:  # removed on another machine meanwhile
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
    """A lease that this process holds; ``Leases.take`` makes it."""

    path: Path
    token: str  # random, one per lease
    file: int  # an open descriptor
    beat_at: int  # the counter's position in the file, in bytes
    beats: int = 0  # the counter

    def check(self) -> None:
        """Raise ``LeaseLost`` unless this process still has the lease."""
        for _ in range(3):
            holder = read_lease(self.path)
            if holder is not None:
                break
            time.sleep(_RETRY_SECONDS)  # if it was renamed by mistake, it is put back at once
        if holder is None or holder.token != self.token:
            now = holder.description if holder else "no process"
            raise LeaseLost(f"{self.path}: the lease was lost to {now}")

    def beat(self) -> None:
        """Move the counter."""
        self.beats += 1
        with contextlib.suppress(OSError):  # then others see that it has stopped
            os.pwrite(self.file, b"%0*d" % (_DIGITS, self.beats), self.beat_at)
            os.fdatasync(self.file)
            # NFS sends a file to its server when any descriptor of it is closed
            os.close(os.dup(self.file))

    def release(self) -> None:
        """Remove the lease if this process still has it."""
        os.close(self.file)
        with contextlib.suppress(OSError):
            holder = read_lease(self.path)
            if holder is not None and holder.token == self.token:
                remove_lease(self.path, self.token)


class Leases(contextlib.ExitStack):
    """The leases of this process; their counters move until the block ends.

    With ``hung_seconds`` they stop once ``alive()`` has not been called for that long.
    """

    def __init__(self, hung_seconds: float | None = None) -> None:
        super().__init__()
        self._hung_seconds = hung_seconds
        self._held: list[Lease] = []
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._last_sign = time.monotonic()
        self._thread: threading.Thread | None = None

    def alive(self) -> None:
        """Give a sign of life from the work that the leases are for."""
        self._last_sign = time.monotonic()

    def take(self, path: Path, *, new_folder: bool = True) -> Lease:
        """Take the lease ``path`` until the block ends, or ``drop``.

        With ``new_folder`` its folder is made if it is missing. Raises ``LeasedElsewhere``, or
        ``OSError`` if nothing can be written.
        """
        if not new_folder and not path.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path.parent))
        lease = _take(path, new_folder=new_folder)
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
        while not self._ending.wait(BEAT_SECONDS):
            silent_seconds = time.monotonic() - self._last_sign
            if self._hung_seconds is not None and silent_seconds > self._hung_seconds:
                continue
            with self._lock:  # a released lease's descriptor may belong to another file
                for lease in self._held:
                    lease.beat()

    def _end(self) -> None:
        self._ending.set()
        with self._lock:
            held, self._held = self._held, []
        for lease in held:
            lease.release()


def _take(path: Path, *, new_folder: bool) -> Lease:
    holder = None
    for _ in range(_TRIES):
        if new_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError, FileNotFoundError):
            return _create(path)
        holder = read_lease(path)
        if holder is not None and _is_dead(path, holder):
            remove_lease(path, holder.token)
        elif holder is not None:
            break
        else:
            time.sleep(_RETRY_SECONDS)  # released just now, or the folder is being removed
    raise LeasedElsewhere(holder or LeaseHolder(token="", process=None, beat=""))


def _is_dead(path: Path, holder: LeaseHolder) -> bool:
    """Whether one look is enough to tell that no process has the lease ``path``."""
    if holder.process is not None:
        return holder.process.is_surely_dead()
    try:
        return time.time() - path.lstat().st_mtime > stale_seconds()
    except OSError:  # removed meanwhile
        return False


def _create(path: Path) -> Lease:
    """A new lease. Raises ``FileExistsError`` if there is one."""
    token = secrets.token_hex(16)
    head = json.dumps({"token": token, "process": dataclasses.asdict(this_process())}) + "\n"
    content = f"{head}{0:0{_DIGITS}d}\n".encode()
    beside = layout.temporary_sibling(path)
    file = _write_new(beside, content)
    try:
        os.link(beside, path)
    except (FileExistsError, FileNotFoundError):
        holder = read_lease(path)
        if holder is None or holder.token != token:  # else a network repeated the call
            os.close(file)
            raise
    except OSError:  # a file system without hard links
        os.close(file)
        file = _write_new(path, content)
    finally:
        beside.unlink(missing_ok=True)
    return Lease(path, token, file, beat_at=len(head.encode()))


def _write_new(path: Path, content: bytes) -> int:
    """An open descriptor of a new file. Raises ``FileExistsError`` if there is one."""
    file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, layout.FILE_MODE)
    try:
        if os.write(file, content) != len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(file)  # else a crash of the machine may leave an empty file under the name
        os.close(os.dup(file))
    except OSError:
        os.close(file)
        path.unlink(missing_ok=True)
        raise
    return file


def remove_lease(path: Path, token: str) -> bool:
    """Remove the lease ``token`` from ``path``; any other lease stays, or is put back."""
    aside = layout.temporary_sibling(path)
    with _locked(path.parent) as locked:
        if locked:
            holder = read_lease(path)
            if holder is None or holder.token != token:
                return False
        try:
            path.rename(aside)
        except FileNotFoundError:
            return False
    holder = read_lease(aside)
    mistaken = holder is not None and holder.token != token
    if mistaken:
        with contextlib.suppress(OSError):  # there may be a new one already
            os.link(aside, path)
    aside.unlink(missing_ok=True)
    return not mistaken


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Lock ``folder`` among the processes of this machine; says whether it is locked.

    Not every file system can lock, and a stopped process may hold the lock: after a while the
    answer is False. The lock ends with the process.
    """
    try:
        file = os.open(folder, os.O_RDONLY)
    except OSError:
        yield False
        return
    try:
        yield any(_lock_now_or_wait(file) for _ in range(_TRIES))
    finally:
        os.close(file)


def _lock_now_or_wait(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        time.sleep(_RETRY_SECONDS)
        return False
    except OSError:
        return False
    return True


def clear_leftovers(lease: Lease, temporary: Iterable[Path] = ()) -> None:
    """Remove ``temporary`` files, and those of ``lease``, that killed holders left.

    List ``temporary`` while holding the lease. It is checked after that, so that a process which
    slept meanwhile removes no file of a later holder. Raises ``LeaseLost``.
    """
    listed, of_leases = list(temporary), layout.leftovers(lease.path)
    lease.check()
    for path in listed:
        layout.discard(path)
    for path in of_leases:
        # this lease, if another process took it by mistake and is about to put it back
        holder = read_lease(path)
        if holder is None or holder.token != lease.token:
            path.unlink(missing_ok=True)


class Stillness:
    """Measures how long a sign has not changed, on the watching process's own clock.

    Only time in which it looked often counts: a process that was itself asleep or stopped has
    seen nothing.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sign: object = None
        self._looked = clock()
        self._seconds = 0.0

    def seconds(self, sign: object) -> float:
        """How long ``sign``, as it is now, has been the same."""
        now = self._clock()
        still = sign == self._sign
        self._seconds = self._seconds + min(now - self._looked, 2 * BEAT_SECONDS) if still else 0.0
        self._sign, self._looked = sign, now
        return self._seconds


@dataclass
class LeaseWatch:
    """Reads leases again and again, and removes those that are stale, unless ``removes`` is off."""

    silent_seconds: float = field(default_factory=stale_seconds)  # how long until one is stale
    look_seconds: float = 0.5  # how long an answer is reused
    removes: bool = True  # whether stale leases are removed
    clock: Callable[[], float] = time.monotonic  # in seconds
    _stillness: dict[Path, Stillness] = field(default_factory=dict)
    _last: dict[Path, tuple[LeaseHolder, float]] = field(default_factory=dict)

    def holder(self, path: Path) -> LeaseHolder | None:
        """The holder of the lease ``path``; None if there is none, or a stale one was removed."""
        now = self.clock()
        if path in self._last and now - self._last[path][1] < self.look_seconds:
            return self._last[path][0]
        holder = read_lease(path)
        if holder is not None:
            still = self._stillness.setdefault(path, Stillness(self.clock)).seconds(holder)
            if not _is_dead(path, holder) and still < self.silent_seconds:
                self._last[path] = (holder, now)
                return holder
            if not self.removes:
                self._last.pop(path, None)
                return None
            remove_lease(path, holder.token)
        self._stillness.pop(path, None)
        self._last.pop(path, None)
        return None

    def is_alive(self, path: Path) -> bool:
        """Whether the holder of the lease ``path`` is alive; may wait to see the counter move."""
        first = self.holder(path)
        while (holder := self.holder(path)) is not None:
            here = holder.process is not None and holder.process.is_surely_alive()
            if here or holder != first:
                return True
            time.sleep(0.1)
        return False


def wait_for(path: Path, leases: Leases, waiting: Callable[[LeaseHolder], None]) -> Lease:
    """Take the lease ``path`` once it is free; ``waiting`` is called once, with its holder."""
    watch, waited = LeaseWatch(), False
    while True:
        try:
            return leases.take(path)
        except LeasedElsewhere as other:
            if not waited:
                waiting(other.holder)
            waited = True
        while watch.holder(path) is not None:
            time.sleep(0.1)


def who_has(paths: list[Path]) -> list[LeaseHolder]:
    """The holders of the leases ``paths`` that are not known to be dead; nothing is written."""
    holders = [(path, holder) for path in paths if (holder := read_lease(path)) is not None]
    return [holder for path, holder in holders if not _is_dead(path, holder)]
