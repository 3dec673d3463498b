"""What the Ray engine writes to a sweep's folder, which every node must see.

A session is one connection to a cluster. Its file shows a node that it sees the folder, a file for
a task asks that task to stop after a checkpoint, and ``tasks.json`` says for displays which runs
are handed out. Only the files in the runs' folders say how a run ended.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from scaling_law.errors import ConfigError
from scaling_law.files import checksum
from scaling_law.files.layout import SweepDir
from scaling_law.files.lease import LeaseWatch, read_lease
from scaling_law.run.engines import Queue
from scaling_law.units import count_of

NAME = "ray"
_WAITS = "waits for a free place in the Ray cluster"


@dataclass(frozen=True)
class Files:
    """The engine's folder in that of a sweep."""

    sweep: SweepDir

    @property
    def folder(self) -> Path:
        """Where all of it is."""
        return self.sweep.engine(NAME)

    @property
    def tasks(self) -> Path:
        """Which runs are handed out."""
        return self.folder / "tasks.json"

    @property
    def driver_log(self) -> Path:
        """What Ray says in the process that is connected to the cluster."""
        return self.folder / "driver.log"

    def worker_log(self, host: str, pid: int) -> Path:
        """The standard error of the workers below one of Ray's processes."""
        return self.folder / f"{host}-{pid}.log"

    def remove_empty(self) -> None:
        """Remove empty logs, and the folder if nothing is left."""
        with contextlib.suppress(OSError):
            for path in self.folder.glob("*.log"):
                if path.stat().st_size == 0:
                    path.unlink()
            self.folder.rmdir()
            self.folder.parent.rmdir()


@dataclass(frozen=True)
class Session:
    """A connection to a cluster; ``name`` is one that no other session has."""

    files: Files
    name: str

    @property
    def _here(self) -> Path:
        return self.files.folder / f"{self.name}.session"

    def _stop(self, task: int) -> Path:
        return self.files.folder / f"{self.name}-{task}.stop"

    def begin(self) -> None:
        """Write the file by which a node sees that it shares the folder."""
        self.files.folder.mkdir(parents=True, exist_ok=True)
        self._here.touch()

    def is_visible(self) -> bool:
        """Whether this machine shares the folder with the one that began the session."""
        return self._here.is_file()

    def ask_to_stop(self, task: int) -> None:
        """Ask a task to stop after a checkpoint."""
        with contextlib.suppress(OSError):  # the folder was removed: its lease ends the worker
            self._stop(task).touch()

    def is_asked_to_stop(self, task: int) -> bool:
        """Whether a task was asked to stop; a listing, so that a network looks again."""
        try:
            return self._stop(task).name in os.listdir(self.files.folder)  # noqa: PTH208
        except OSError:
            return False

    def forget(self, task: int) -> None:
        """Remove what was asked of a task that has ended."""
        self._stop(task).unlink(missing_ok=True)

    def end(self) -> None:
        """Remove the session's files."""
        for path in self.files.folder.glob(f"{self.name}*"):
            path.unlink(missing_ok=True)
        self.files.tasks.unlink(missing_ok=True)
        self.files.remove_empty()


def write_tasks(files: Files, run_ids: Iterable[str]) -> None:
    """Say for displays which runs are handed out. It raises nothing."""
    with contextlib.suppress(OSError):
        checksum.write(files.tasks, {"runs": list(run_ids)})


def queue(sweep: SweepDir) -> Queue:
    """Which runs of a sweep are handed out, and where those run that a worker has.

    Nothing where no ``slaw run`` is at work: its tasks end with it.
    """
    files, watch = Files(sweep), LeaseWatch(removes=False)
    try:
        run_ids = list(map(str, checksum.read(files.tasks, "")["runs"]))
    except (ConfigError, KeyError, TypeError):
        return Queue()
    if not run_ids or not any(watch.holder(path) for path in sweep.runner_leases()):
        return Queue()
    runs = {}
    for run_id in run_ids:
        holder = read_lease(sweep.run(run_id).lease)
        host = holder.process.host.rpartition("/")[0] if holder and holder.process else ""
        runs[run_id] = f"on {host}" if host else _WAITS
    waiting = list(runs.values()).count(_WAITS)
    text = f"Ray: {count_of(len(runs) - waiting, 'run')} training"
    if waiting:
        text += f", {waiting} waiting for a free place, or starting"
    working = frozenset(run_id for run_id, words in runs.items() if words != _WAITS)
    return Queue(text=text, runs=runs, working=working)
