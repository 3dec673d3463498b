"""Sweeps on a real cluster through the command line, and what the local engine records of them."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import signal
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
# How many batches of a process come at once, before a step may be told to wait.
FREE_STEPS = 12
# From then on a step may wait, so that a job is long without work for the machine, and as long as a
# test needs: until a file is there, by which a test lets it go on.
TASK = """
import os, time

from scaling_law.data.batch import Batch
from scaling_law.data.tasks import Task

drawn = [0]


def wait():
    drawn[0] += 1
    until = time.monotonic() + float(os.environ.get("SLAW_TEST_STEP_SECONDS", "0"))
    while drawn[0] > FREE_STEPS and time.monotonic() < until:
        if os.path.exists(os.environ["SLAW_TEST_GO"]):
            return
        time.sleep(0.05)


def examples(settings, split, indices):
    import numpy as np

    if split == "train":
        wait()
    digits = np.stack([indices % 5, indices // 5 % 5], axis=1)
    return Batch(inputs=digits, targets=digits.sum(1, keepdims=True) % 5)


TASK = Task(
    vocab_size=lambda settings: 5,
    n_ctx=lambda settings: 2,
    splits=lambda settings: {"train": 20, "val": 5},
    examples=examples,
)
""".replace("FREE_STEPS", str(FREE_STEPS))
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


@dataclass(frozen=True)
class Command:
    """A command that was started, and the file that has all that it says."""

    process: subprocess.Popen[bytes]
    log: Path

    def said(self) -> str:
        return self.log.read_text(errors="replace")


@dataclass
class World:
    """A folder with a config, which an engine trains."""

    path: Path
    engine: dict[str, Any]
    environment: dict[str, str] = field(default_factory=dict)
    started: list[Command] = field(default_factory=list)

    def slaw(self, *words: str, **environment: str) -> Command:
        """Start a command in the folder."""
        log = self.path / f"said-{len(self.started)}.txt"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "scaling_law.cli", *words],
                cwd=self.path,
                stdout=out,
                stderr=out,
                env={**self.environment, **environment},
            )
        self.started.append(Command(process, log))
        return self.started[-1]

    def expected(self) -> dict[str, Any]:
        """What the local engine records."""
        ended(self.slaw("run", "s.yaml", "--device", "cpu", "--out", "local"))
        return results(self.sweep("local"))

    def close(self) -> None:
        """End the commands that a failed test left."""
        for command in self.started:
            with command.process:
                command.process.kill()

    def run(
        self,
        out: str,
        *words: str,
        step: float = 0.0,
        stale_seconds: float = 120.0,
        **engine: Any,
    ) -> Command:
        """``slaw run`` on the cluster; ``engine`` are further keys of it.

        A step takes ``step`` seconds, but for the first ``FREE_STEPS``, until ``go`` is called.
        """
        engine = {**self.engine, **engine}
        words = ("--device", "cpu", "--set", f"engine={json.dumps(engine)}", "--out", out, *words)
        own = {"SLAW_TEST_STEP_SECONDS": f"{step}", "SLAW_STALE_SECONDS": f"{stale_seconds}"}
        return self.slaw("run", "s.yaml", *words, **own, SLAW_TEST_GO=str(self._go(out)))

    def go(self, out: str) -> None:
        """Let the steps of a sweep wait no more."""
        self._go(out).touch()

    def _go(self, out: str) -> Path:
        return self.path / f"{out}.go"

    def sweep(self, out: str) -> SweepDir:
        return SweepDir(self.path / out)

    def running(self, out: str) -> RunDir:
        """The run that trains, once it has taken the steps that do not wait and has a state."""

        def there() -> list[RunDir]:
            beats = [(run_dir, read_heartbeat(run_dir)) for run_dir in self.sweep(out).run_dirs()]
            return [
                run_dir
                for run_dir, beat in beats
                if beat is not None and beat.step >= FREE_STEPS and run_dir.checkpoint_steps()
            ]

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


def until(there: Callable[[], Any], seconds: float = 600) -> Any:
    """Wait for an event; ``seconds`` end only a test that would wait for ever."""
    deadline = time.monotonic() + seconds
    while not (value := there()):
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.1)
    return value


def ended(command: Command, code: int = 0, seconds: float = 600) -> str:
    """What a command has said, once it has ended with ``code``."""
    command.process.wait(seconds)
    assert command.process.returncode == code, command.said()
    return command.said()


def survive_a_killed_worker(world: World) -> None:
    """Kill the worker of a running run: its run is tried once more, and goes on from its state."""
    process = world.run("killed", step=1.0)
    run_dir = world.running("killed")
    began = time.monotonic()
    os.kill(worker_of(run_dir), signal.SIGKILL)
    world.go("killed")
    resumed(run_dir, began)
    assert "its worker died; trying once more" in ended(process)


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


def resumed(run_dir: RunDir, since: float) -> None:
    """Wait until a run trains again, and print how long that took."""
    until(lambda: was_resumed(run_dir))
    print(f"\ntrains again after {time.monotonic() - since:.0f}s")
