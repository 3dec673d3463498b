"""TensorBoard event files, one folder per run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scaling_law.errors import install_extra
from scaling_law.files.record import CurvePoint, RunRecord
from scaling_law.run.trackers import ProjectSettings, TrackerPart
from scaling_law.spec.run import RunSpec

SCALARS = ("train_loss_nats", "val_loss_nats", "lr", "grad_norm", "tokens")


class TensorBoard:
    """Uses tensorboardX's file writer directly, because its threads hang on a full disk."""

    def __init__(self, folder: Path) -> None:
        # imported here, so that a missing library is reported before any run
        import tensorboardX.event_file_writer
        import tensorboardX.proto.event_pb2
        import tensorboardX.summary

        self._library = tensorboardX
        self._folder = folder
        self._writers: dict[str, Any] = {}

    def points(self, spec: RunSpec, started: float, points: Sequence[CurvePoint]) -> None:
        writer = self._writer(spec)
        for point in points:
            values = {name: getattr(point, name) for name in SCALARS} | point.metrics
            for name, value in values.items():
                if value is not None:
                    writer.write_event(
                        self._library.proto.event_pb2.Event(
                            wall_time=started + point.seconds,
                            step=point.step,
                            summary=self._library.summary.scalar(name, value),
                        )
                    )
        writer.flush()

    def end(self, spec: RunSpec, record: RunRecord) -> None:
        if (writer := self._writers.pop(spec.run_id, None)) is not None:
            writer.close()

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _writer(self, spec: RunSpec) -> Any:
        if spec.run_id not in self._writers:
            folder = self._folder / spec.run_id
            folder.mkdir(parents=True, exist_ok=True)
            # every restart writes a new file; the viewer reads them as one
            self._writers[spec.run_id] = self._library.event_file_writer.EventsWriter(
                str(folder / "events"), f".{os.getpid()}"
            )
        return self._writers[spec.run_id]


def open_tracker(folder: Path, sweep: str, settings: ProjectSettings) -> TensorBoard:
    """Event files in ``folder``; they have no project, and are sent nowhere."""
    return TensorBoard(folder)


TRACKER = TrackerPart(
    open=open_tracker, install=install_extra("tensorboard"), settings=ProjectSettings
)
