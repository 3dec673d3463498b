"""Weights & Biases, and trackio, which has the same functions."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from scaling_law.config.trackers import TrackerOptions
from scaling_law.files.record import CurvePoint, RunRecord
from scaling_law.spec.run import RunSpec, to_json

_SUMMARY = (
    "status", "kind", "params_total", "params_non_embedding", "params_matmul", "tokens",
    "flops_exact", "flops_spent", "val_loss_nats", "val_loss_sem_nats", "val_bits_per_byte",
    "seconds", "tokens_per_second",
)  # fmt: skip


class WeightsAndBiases:
    """One tracker run per run, under the same id, so that a restart continues it."""

    def __init__(
        self, module: ModuleType, folder: Path, sweep: str, options: TrackerOptions
    ) -> None:
        self._module = module
        self._folder = folder
        self._project = options.project or sweep
        self._mode = options.mode
        self._runs: dict[str, Any] = {}
        folder.mkdir(parents=True, exist_ok=True)
        if module.__name__ == "trackio":
            os.environ.setdefault("TRACKIO_DIR", str(folder))
        else:
            os.environ.setdefault("WANDB_SILENT", "true")

    def points(self, spec: RunSpec, started: float, points: Sequence[CurvePoint]) -> None:
        run = self._run(spec)
        for point in points:
            values = {k: v for k, v in dataclasses.asdict(point).items() if v is not None}
            run.log({k: v for k, v in values.items() if k != "step"}, step=point.step)

    def end(self, spec: RunSpec, record: RunRecord) -> None:
        run = self._run(spec)
        summary = getattr(run, "summary", None)  # trackio has none: its last point is the end
        if summary is not None:
            summary.update({name: getattr(record, name) for name in _SUMMARY})
        run.finish()
        del self._runs[spec.run_id]

    def close(self) -> None:
        for run in self._runs.values():
            run.finish()
        self._runs.clear()

    def _run(self, spec: RunSpec) -> Any:
        if spec.run_id not in self._runs:
            about = {
                "project": self._project,
                "group": dict(spec.tags).get("size", spec.family),
                "config": to_json(spec),
                "resume": "allow",
            }
            if self._module.__name__ == "trackio":
                about["name"] = spec.run_id  # trackio identifies runs by name
            else:
                about |= {"id": spec.run_id, "name": spec.label, "dir": str(self._folder)}
                # several are open at once, and none may take over the console
                about |= {"mode": self._mode, "reinit": "create_new"}
                about["settings"] = self._module.Settings(console="off")
            self._runs[spec.run_id] = self._module.init(**about)
        return self._runs[spec.run_id]
