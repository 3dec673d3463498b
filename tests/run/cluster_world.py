"""Sweeps on a real cluster through the command line, and what the local engine records of them."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from scaling_law.files.layout import RunDir, SweepDir
from scaling_law.files.lease import read_lease
from scaling_law.plan.device_profile import save_profile
from scaling_law.run.sweep_state.progress import read_heartbeat
from tests.fakes import cpu_profile
from tests.faults.world import results

ROOT = Path(__file__).resolve().parents[2]
# A step may sleep, so that a job is long without work for the machine.
TASK = """
import os, time

from scaling_law.data.batch import Batch
from scaling_law.data.tasks import Task


def examples(settings, split, indices):
    import numpy as np

    if split == "train":
        time.sleep(float(os.environ.get("SLAW_TEST_STEP_SECONDS", "0")))
    digits = np.stack([indices % 5, indices // 5 % 5], axis=1)
    return Batch(inputs=digits, targets=digits.sum(1, keepdims=True) % 5)


TASK = Task(
    vocab_size=lambda settings: 5,
    n_ctx=lambda settings: 2,
    splits=lambda settings: {"train": 20, "val": 5},
    examples=examples,
)
"""
SWEEP = """
name: on-a-cluster
data: {source: task.py}
grid:
  - sizes: [{n_layer: 1, d_model: 8, n_head: 2}]
    steps: [40, 80]
optim: {rule: slaw_small, lr: 0.01, batch_examples: 10}
eval: {curve_points: 4}
precision: fp32
stacking: off
keep_weights: none
checkpoints: {every_steps: 10}
"""


@dataclass
class World:
    """A folder with a config, which an engine trains."""

    path: Path
    engine: dict[str, Any]
    environment: dict[str, str] = field(default_factory=dict)
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def slaw(self, *words: str, step: float = 0.0, **environment: str) -> subprocess.Popen[str]:
        """Start a command in the folder; a step sleeps ``step`` seconds."""
        process = subprocess.Popen(
            [sys.executable, "-m", "scaling_law.cli", *words],
            cwd=self.path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**self.environment, "SLAW_TEST_STEP_SECONDS": str(step), **environment},
        )
        self.started.append(process)
        return process

    def expected(self) -> dict[str, Any]:
        """What the local engine records."""
        ended(self.slaw("run", "s.yaml", "--device", "cpu", "--out", "local"))
        return results(self.sweep("local"))

    def close(self) -> None:
        """End the commands that a failed test left."""
        for process in self.started:
            with process:
                process.kill()

    def run(
        self,
        out: str,
        *words: str,
        step: float = 0.0,
        stale_seconds: float = 120.0,
        **engine: Any,
    ) -> subprocess.Popen[str]:
        """``slaw run`` on the cluster; ``engine`` are further keys of it."""
        engine = {**self.engine, **engine}
        words = ("--device", "cpu", "--set", f"engine={json.dumps(engine)}", "--out", out, *words)
        stale = f"{stale_seconds}"
        return self.slaw("run", "s.yaml", *words, step=step, SLAW_STALE_SECONDS=stale)

    def sweep(self, out: str) -> SweepDir:
        return SweepDir(self.path / out)

    def running(self, out: str, step: int = 12) -> RunDir:
        """A run of a trunk that has taken so many steps, once there is one."""

        def there() -> list[RunDir]:
            beats = [(run_dir, read_heartbeat(run_dir)) for run_dir in self.sweep(out).run_dirs()]
            return [one for one, beat in beats if beat is not None and step <= beat.step < 60]

        return until(there)[0]


@contextlib.contextmanager
def world_in(
    path: Path, engine: dict[str, Any], own: dict[str, str], slots: int = 1
) -> Iterator[World]:
    """Make a world with ``own`` environment variables, which this process has too meanwhile.

    ``slots`` are those of this machine, for the local engine.
    """
    path.joinpath("task.py").write_text(TASK)
    path.joinpath("s.yaml").write_text(SWEEP)
    own = {**own, "SLAW_CACHE": str(path / "cache"), "PYTHONPATH": str(ROOT)}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in own.items():
            patch.setenv(name, value)
        profile = cpu_profile(slots=slots, torch_version=importlib.metadata.version("torch"))
        save_profile(profile, "cpu")
        world = World(path, engine, {**os.environ, **own})
        try:
            yield world
        finally:
            world.close()


def until(there: Callable[[], Any], seconds: float = 240) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := there()):
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.1)
    return value


def ended(process: subprocess.Popen[str], code: int = 0, seconds: float = 400) -> str:
    out, errors = process.communicate(timeout=seconds)
    assert process.returncode == code, out + errors
    return out + errors


def worker_of(run_dir: RunDir) -> int:
    """The pid of the worker that trains a run."""
    holder = read_lease(run_dir.lease)
    assert holder is not None and holder.process is not None
    return holder.process.pid


def check(sweep: SweepDir, expected: dict[str, Any]) -> None:
    """Every run has the local engine's bits, was ended once, and nothing is left over."""
    assert results(sweep) == expected
    for run_id in expected:
        assert sweep.run(run_id).log.read_text().count("ended:") == 1, "nothing is done twice"
    assert not list(sweep.path.glob("runs/*/claim"))
    assert not [path for path in sweep.path.iterdir() if path.name in ("runners", "cancelled")]


def was_resumed(run_dir: RunDir) -> bool:
    return "resumed at step" in run_dir.log.read_text()
