"""One writer per folder: an advisory lock that the kernel drops when its holder dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from scaling_law.errors import ConfigError


def is_held(path: Path) -> bool:
    """Whether somebody holds the lock file ``path`` now; nothing is written."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


@contextlib.contextmanager
def folder_lock(path: Path, what: str, wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold the lock file ``path`` while inside.

    Waits up to ``wait_seconds`` for another holder; raises ``ConfigError`` naming it after.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + wait_seconds
    with path.open("a+") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    file.seek(0)
                    holder = file.read(100).strip() or "another process"
                    raise ConfigError(
                        f"{what} is in use by {holder}; wait for it to end, or stop it"
                    ) from None
                time.sleep(0.05)
        file.truncate(0)
        file.write(f"pid {os.getpid()}\n")
        file.flush()
        yield
