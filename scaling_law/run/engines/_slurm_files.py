"""What the SLURM engine writes to a sweep's folder: which runs a job has, and what its worker says.

A batch is one array of jobs. Its file is there before sbatch is asked, so that a `slaw run` which
takes over knows every job that may be in the queue. A worker appends a line to a file of its own
when it starts, before and after each group of runs, and when it is stopped. Only the files in the
runs' folders say how a run ended.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scaling_law.decode import build
from scaling_law.errors import ConfigError, one_line
from scaling_law.files import checksum, layout
from scaling_law.files.layout import SweepDir
from scaling_law.run.engines._slurm_scripts import NOT_BEGUN, SETUP_FAILED

NAME = "slurm"
Group = tuple[str, ...]  # the ids of runs that train together: one, or those of a stack
# How much of the end of a worker's log is read, in bytes.
_MOST_WORDS = 4096
# How long the file of a batch may be there before sbatch has answered, with clocks that differ.
_MOST_SUBMIT_SECONDS = 1800.0


@dataclass(frozen=True, kw_only=True)
class Batch:
    """An array of jobs.

    ``name`` is that of its jobs, and no other job has it;
    ``elements`` are the groups of runs of each job, in the order in which they are trained;
    ``at_once`` is how many of its jobs may run at once;
    ``job`` is the number that SLURM gave it, "" before that is known.
    """

    name: str
    elements: tuple[tuple[Group, ...], ...]
    at_once: int
    job: str = ""

    def id_of(self, element: int) -> str:
        """The id of one of its jobs."""
        return f"{self.job}_{element}"


def new_name(sweep: SweepDir, what: str = "") -> str:
    """A name for jobs that shows the sweep and is nobody else's."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "", sweep.path.resolve().name)[:24] or "sweep"
    return f"slaw-{plain}{what}-{secrets.token_hex(4)}"


@dataclass(kw_only=True)
class Said:
    """What the worker of a job has said so far.

    ``starts`` counts how often it began: more than once where SLURM requeued it;
    ``host`` is where it began last;
    ``begun`` is the number of the group that it began last, None before the first;
    ``ended`` says of each group that it let go of whether another process has it;
    ``stopped_by`` is the signal that it obeyed since it began last, None for none.
    """

    starts: int = 0
    host: str = ""
    begun: int | None = None
    ended: dict[int, bool] = field(default_factory=dict)
    stopped_by: int | None = None

    def hear(self, line: dict[str, Any]) -> None:
        """Take in one line."""
        if line["say"] == "started":
            self.starts, self.host = self.starts + 1, str(line["host"])
            self.begun = self.stopped_by = None
        elif line["say"] == "begun":
            self.begun = int(line["group"])
        elif line["say"] == "ended":
            self.ended[int(line["group"])] = bool(line["elsewhere"])
        else:
            self.stopped_by = int(line["signal"])


@dataclass(frozen=True)
class Files:
    """The engine's folder in that of a sweep."""

    sweep: SweepDir

    @property
    def folder(self) -> Path:
        """Where all of it is."""
        return self.sweep.engine(NAME)

    @property
    def controller(self) -> Path:
        """Which job runs the ``slaw run`` of a sweep that was detached."""
        return self.folder / "controller.json"

    @property
    def controller_log(self) -> Path:
        """What that ``slaw run`` prints."""
        return self.folder / "controller.log"

    def batch(self, name: str) -> Path:
        """Which runs the jobs of a batch have."""
        return self.folder / f"{name}.json"

    def said(self, name: str, element: int) -> Path:
        """What the worker of a job says."""
        return self.folder / f"{name}-{element}.jsonl"

    def log(self, name: str, element: int | str) -> Path:
        """What a job writes to its standard output and error."""
        return self.folder / f"{name}-{element}.log"

    def write(self, batch: Batch) -> None:
        """Write or replace the file of a batch."""
        checksum.write(self.batch(batch.name), dataclasses.asdict(batch))

    def read(self, name: str) -> Batch | None:
        """A batch; None if it is gone, or damaged: then its runs' leases keep two workers apart."""
        try:
            content = checksum.read(self.batch(name), "")
            elements = tuple(
                tuple(tuple(map(str, group)) for group in groups) for groups in content["elements"]
            )
            return build(Batch, {**content, "elements": elements})
        except (ConfigError, KeyError, TypeError, ValueError):
            return None

    def names(self) -> list[str]:
        """The names of the batches that may have jobs."""
        paths = self.folder.glob("slaw-*.json")
        return sorted(path.stem for path in paths if not path.name.startswith("."))

    def is_old(self, name: str) -> bool:
        """Whether the file of a batch is so old that sbatch has been asked, or never will be."""
        with contextlib.suppress(OSError):
            return time.time() - self.batch(name).stat().st_mtime > _MOST_SUBMIT_SECONDS
        return True

    def hear(self, name: str, element: int) -> Said:
        """What the worker of a job has said; a last line that is not complete is left out."""
        said = Said()
        with contextlib.suppress(OSError):
            for line in self.said(name, element).read_text(errors="replace").splitlines():
                with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
                    said.hear(checksum.open_line(line))
        return said

    def last_line(self, name: str, element: int) -> str:
        """The last line of a job's log, "" for none."""
        return next(reversed(self._last_lines(name, element)), "")

    def setup_failure(self, name: str, element: int) -> str:
        """What a job's log says before its script failed by itself, and the line that says so.

        "" where the script did not.
        """
        lines = self._last_lines(name, element)
        said = [line for line in lines if line.startswith((SETUP_FAILED, NOT_BEGUN))]
        others = [line for line in lines if line not in said]
        return ": ".join([said[-1].removeprefix("slaw: "), *others[-1:]]) if said else ""

    def _last_lines(self, name: str, element: int) -> list[str]:
        """The last lines of a job's log that are not blank."""
        with contextlib.suppress(OSError), self.log(name, element).open("rb") as log:
            log.seek(max(log.seek(0, os.SEEK_END) - _MOST_WORDS, 0))
            lines = log.read().decode(errors="replace").split("\n")
            return [one_line(line.strip()) for line in lines if line.strip()]
        return []

    def forget(self, batch: Batch) -> None:
        """Remove the files of a batch without jobs, except for logs that say something."""
        self.batch(batch.name).unlink(missing_ok=True)
        for element in range(len(batch.elements)):
            self.said(batch.name, element).unlink(missing_ok=True)
            log = self.log(batch.name, element)
            with contextlib.suppress(OSError):
                if log.stat().st_size == 0:
                    log.unlink()


class Voice:
    """Says what a worker does, in the file of its job."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def say(self, what: str, **content: Any) -> None:
        """Append a line. It raises ``OSError`` where the folder is not seen."""
        line = checksum.line({"say": what, **content}).encode()
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, layout.FILE_MODE)
        try:
            # a line that a killed worker left incomplete ends here
            os.write(file, line if os.fstat(file).st_size == 0 else b"\n" + line)
            os.fsync(file)
        finally:
            os.close(file)


def runs_of(batch: Batch, element: int) -> Sequence[Group]:
    """The groups of a job; none where there is no such job."""
    return batch.elements[element] if element < len(batch.elements) else ()
