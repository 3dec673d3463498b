"""One file a tracker. Each sees curve points and records, and nothing of training."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from scaling_law.config.trackers import TrackerOptions
from scaling_law.files.record import CurvePoint, RunRecord
from scaling_law.spec.run import RunSpec


class Tracker(Protocol):
    """Where curves go. Any method may raise anything: the tracker is then dropped."""

    def points(self, spec: RunSpec, started: float, points: Sequence[CurvePoint]) -> None:
        """New points of a run, in order, on the disk or sent before this returns.

        ``started`` is the Unix time at which the run's own clock was 0.
        """

    def end(self, spec: RunSpec, record: RunRecord) -> None:
        """The run is over."""

    def close(self) -> None:
        """No more will come."""


def open_tracker(name: str, folder: Path, sweep: str, options: TrackerOptions) -> Tracker:
    """The tracker ``name``, writing below ``folder``.

    Raises ``ImportError`` without its library.
    """
    from scaling_law.run.trackers.tensorboard import TensorBoard
    from scaling_law.run.trackers.wandb import WeightsAndBiases

    if name == "tensorboard":
        return TensorBoard(folder)
    return WeightsAndBiases(importlib.import_module(name), folder, sweep, options)
