"""Weights & Biases, offline by default."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

from scaling_law.errors import install_extra
from scaling_law.run.trackers import ProjectSettings, TrackerPart
from scaling_law.run.trackers._wandb import Runs
from scaling_law.spec.run import RunSpec


def open_tracker(folder: Path, sweep: str, settings: ProjectSettings) -> Runs:
    """One of its runs for each of ours, under the same id, so that a restart continues it."""
    wandb = importlib.import_module("wandb")
    os.environ.setdefault("WANDB_SILENT", "true")

    def about(spec: RunSpec) -> dict[str, object]:
        return {
            "id": spec.run_id,
            "name": spec.label,
            "dir": str(folder),
            "mode": settings.mode,
            # several are open at once, and none may take over the console
            "reinit": "create_new",
            "settings": wandb.Settings(console="off"),
        }

    return Runs(wandb, folder, settings.project or sweep, about)


TRACKER = TrackerPart(open=open_tracker, install=install_extra("wandb"), settings=ProjectSettings)
