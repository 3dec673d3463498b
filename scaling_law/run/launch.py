"""Starts the processes that train one run together, one a device, and waits for their end.

torch's own launcher starts them and ends the others when one dies. The group is never restarted
within it: the engine submits the run again, which resumes from the newest checkpoint. Processes and
launcher talk by files in a folder of the run, which works over several machines as well: ``stop``
asks the group to write a checkpoint and end, ``0.json`` is how process 0 ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from scaling_law.decode import build
from scaling_law.errors import EngineError
from scaling_law.files import layout
from scaling_law.files.layout import RunDir
from scaling_law.files.process import module_command, this_process
from scaling_law.run.engines import group_command

_LOOK_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a run failed.

    ``error`` is the exception's class and message;
    ``traceback`` is where it was raised.
    """

    error: str
    traceback: str


@dataclass(frozen=True, kw_only=True)
class End:
    """How a process of a group ended, or the whole group.

    ``is_elsewhere`` says that another process holds the run, or took it meanwhile;
    ``failure`` is why training failed, None where it did not;
    ``is_broken`` says that the failure is only that another process of the group is gone.
    """

    is_elsewhere: bool = False
    failure: Failure | None = None
    is_broken: bool = False


def train_together(run_dir: RunDir, devices: int, stop: Callable[[], bool]) -> End:
    """Train ``run_dir`` in ``devices`` processes until it ends or, once asked, is checkpointed.

    Raises ``EngineError`` where a process died without a word.
    """
    try:
        folder = layout.temporary_folder(run_dir.path / "group")
    except OSError as problem:
        raise EngineError(
            f"{run_dir.path}: a group of processes cannot be started ({problem.strerror})"
        ) from None
    try:
        return _trained_in(folder, run_dir, devices, stop)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _trained_in(folder: Path, run_dir: RunDir, devices: int, stop: Callable[[], bool]) -> End:
    rank = module_command(
        "scaling_law.run.rank", str(run_dir.path.absolute()), str(folder.absolute()),
        this_process().tag,
    )  # fmt: skip
    command = [*group_command(devices), "--max-restarts=0", "--no-python", *rank]
    # standard output is where this worker answers its engine
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    try:
        while process.poll() is None:
            if stop():
                (folder / "stop").touch()
            time.sleep(_LOOK_SECONDS)
    except BaseException:
        process.kill()
        process.wait()
        raise
    ends = [_end_of(folder, number) for number in range(devices)]
    failed = [end for end in ends if end is not None and end.failure and not end.is_broken]
    if any(end is not None and end.is_elsewhere for end in ends):
        return End(is_elsewhere=True)
    if failed:
        return failed[0]
    if process.returncode:
        silent = [str(number) for number, end in enumerate(ends) if end is None]
        raise EngineError(f"{run_dir.path.name}: {_who(silent, devices)}")
    return End()


def _who(silent: Sequence[str], devices: int) -> str:
    """Which processes ended without a word."""
    if not silent:
        return f"its {devices} processes lost each other"
    if len(silent) == devices:
        return f"none of its {devices} processes could work"
    return f"process {' and '.join(silent)} (of 0 to {devices - 1}) died"


def _end_of(folder: Path, rank: int) -> End | None:
    """How a process says that it ended; None where it did not say."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        said = json.loads((folder / f"{rank}.json").read_text())
        failure = build(Failure, said["failure"]) if said["failure"] else None
        return build(End, {**said, "failure": failure})
    return None


def say_end(folder: Path, rank: int, end: End) -> None:
    """Leave word how this process ended."""
    beside = folder / f"{rank}.{os.getpid()}.new"
    beside.write_text(json.dumps(asdict(end)))
    beside.replace(folder / f"{rank}.json")
