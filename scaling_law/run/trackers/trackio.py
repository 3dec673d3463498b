"""Trackio, a local tracker whose functions are named as those of Weights & Biases."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

from scaling_law.errors import install_extra
from scaling_law.run.trackers import ProjectSettings, TrackerPart
from scaling_law.run.trackers._wandb import Runs
from scaling_law.spec.run import RunSpec


def open_tracker(folder: Path, sweep: str, settings: ProjectSettings) -> Runs:
    """One of its runs for each of ours, named by our run id; all stay in ``folder``."""
    trackio = importlib.import_module("trackio")
    os.environ.setdefault("TRACKIO_DIR", str(folder))

    def about(spec: RunSpec) -> dict[str, object]:
        return {"name": spec.run_id}

    return Runs(trackio, folder, settings.project or sweep, about)


TRACKER = TrackerPart(open=open_tracker, install=install_extra("trackio"), settings=ProjectSettings)
