"""What a finished run no longer needs goes: by its worker, or by whoever finds it left."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from pathlib import Path

from scaling_law.files import layout
from scaling_law.files.layout import RunDir


def temporary_files(run_dir: RunDir) -> list[Path]:
    """Those that a worker makes; the lease's are ``files.lease.clear_leftovers``'s."""
    written = (run_dir.record, run_dir.failure, run_dir.curve, run_dir.progress, run_dir.weights)
    return [*layout.leftovers(*written), *run_dir.checkpoints.glob(".*.tmp")]


def clean_up_run(run_dir: RunDir, keep_steps: Collection[int] = ()) -> None:
    """Remove all but results from the folder of a finished run, and the states in ``keep_steps``.

    Safe to be done by two at once, and again.
    """
    spent = {run_dir.progress, run_dir.failure, run_dir.checkpoints}
    # listed once: of ten thousand finished runs hardly one has anything to remove
    found = [path for path in run_dir.path.iterdir() if path in spent or _is_temporary(path)]
    kept = {run_dir.checkpoint(step) for step in keep_steps}
    if run_dir.checkpoints in found:
        found += set(run_dir.checkpoints.iterdir()) - kept
    for path in found:
        if path != run_dir.checkpoints:
            path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # not empty, or not there
        run_dir.checkpoints.rmdir()


def _is_temporary(path: Path) -> bool:
    return path.name.startswith(".") and path.suffix == ".tmp"
