"""Removes the files that a finished run no longer needs."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from pathlib import Path

from scaling_law.files import layout
from scaling_law.files.layout import RunDir


def temporary_files(run_dir: RunDir) -> list[Path]:
    """The temporary files of a worker, without those of its lease (``lease.clear_leftovers``)."""
    written = (run_dir.record, run_dir.failure, run_dir.curve, run_dir.progress, run_dir.weights,
               run_dir.trainer_process)  # fmt: skip
    return [*layout.leftovers(*written), *run_dir.checkpoints.glob(".*.tmp")]


def clean_up_run(run_dir: RunDir, keep_steps: Collection[int] = ()) -> None:
    """Remove everything but results and the states in ``keep_steps`` from a finished run's folder.

    Two processes may do this at once, and it may be repeated.
    """
    spent = {run_dir.progress, run_dir.failure, run_dir.checkpoints, run_dir.trainer_process}
    # listed once: of ten thousand finished runs hardly one has anything to remove
    paths = [path for path in run_dir.path.iterdir() if path in spent or _is_temporary(path)]
    needed = {run_dir.checkpoint(step) for step in keep_steps}
    needed |= {run_dir.shares(step) for step in keep_steps}
    if run_dir.checkpoints in paths:
        paths += set(run_dir.checkpoints.iterdir()) - needed
    for path in paths:
        if path != run_dir.checkpoints:
            layout.discard(path)
    with contextlib.suppress(OSError):  # not empty, or missing
        run_dir.checkpoints.rmdir()


def _is_temporary(path: Path) -> bool:
    return path.name.startswith(".") and path.suffix == ".tmp"
