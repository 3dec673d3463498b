"""What Weights & Biases and trackio share: their functions have the same names."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from scaling_law.files.record import CurvePoint, RunRecord
from scaling_law.spec.run import RunSpec
from scaling_law.spec.to_json import to_json

_SUMMARY = (
    "status", "kind", "params_total", "params_non_embedding", "params_matmul", "tokens",
    "flops_exact", "flops_spent", "val_loss_nats", "val_loss_sem_nats", "val_bits_per_byte",
    "seconds", "tokens_per_second",
)  # fmt: skip


class Runs:
    """One run of the library for each of ours."""

    def __init__(
        self,
        module: ModuleType,
        folder: Path,
        project: str,
        about: Callable[[RunSpec], dict[str, object]],
    ) -> None:
        """``about`` gives what only this library's ``init`` takes, its run's identity included."""
        self._module = module
        self._project = project
        self._about = about
        self._runs: dict[str, Any] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def points(self, spec: RunSpec, started: float, points: Sequence[CurvePoint]) -> None:
        run = self._run(spec)
        for point in points:
            plain = dataclasses.asdict(point)
            metrics, step = plain.pop("metrics"), plain.pop("step")
            values = {name: value for name, value in plain.items() if value is not None}
            run.log(values | metrics, step=step)

    def end(self, spec: RunSpec, record: RunRecord) -> None:
        run = self._run(spec)
        summary = getattr(run, "summary", None)  # trackio has none: its last point is the end
        if summary is not None:
            summary.update({name: getattr(record, name) for name in _SUMMARY} | record.metrics)
        run.finish()
        del self._runs[spec.run_id]

    def close(self) -> None:
        for run in self._runs.values():
            run.finish()
        self._runs.clear()

    def _run(self, spec: RunSpec) -> Any:
        if spec.run_id not in self._runs:
            self._runs[spec.run_id] = self._module.init(
                project=self._project,
                group=dict(spec.tags).get("size", spec.family),
                config=to_json(spec),
                resume="allow",
                **self._about(spec),
            )
        return self._runs[spec.run_id]
