"""Trackers, one file each. A tracker sees curve points and records, and nothing of training."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from scaling_law.config.trackers import TrackerOptions
from scaling_law.files.record import CurvePoint, RunRecord
from scaling_law.spec.run import RunSpec


class Tracker(Protocol):
    """A tracker. If a method raises anything, the tracker is dropped."""

    def points(self, spec: RunSpec, started: float, points: Sequence[CurvePoint]) -> None:
        """Store new points of a run, in order, before this returns.

        ``started`` is the Unix time of second 0 of the run.
        """

    def end(self, spec: RunSpec, record: RunRecord) -> None:
        """Note that the run has finished."""

    def close(self) -> None:
        """End: nothing more will come."""


def open_tracker(name: str, folder: Path, sweep: str, options: TrackerOptions) -> Tracker:
    """The tracker ``name``, which writes to ``folder``.

    Raises ``ImportError`` if its library is missing.
    """
    from scaling_law.run.trackers.tensorboard import TensorBoard
    from scaling_law.run.trackers.wandb import WeightsAndBiases

    if name == "tensorboard":
        return TensorBoard(folder)
    return WeightsAndBiases(importlib.import_module(name), folder, sweep, options)
