"""A small sweep that is killed again and again, and the checks of its results."""

from __future__ import annotations

import collections
import contextlib
import importlib.metadata
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from scaling_law.files.layout import RunDir, SweepDir
from scaling_law.files.lease import read_lease
from scaling_law.files.process import this_process
from scaling_law.files.record import load_records, read_curve
from scaling_law.plan.device_profile import save_profile
from scaling_law.plan.plan import read_plan
from tests.fakes import cpu_profile

ROOT = Path(__file__).resolve().parents[2]
KILLER = Path(__file__).resolve().parent / "killer"
# trunks, branches, and two seeds of a size that train as one program
SWEEP = """
name: killed
data: {corpus: text, tokenizer: bytes, vocab_size: 257, val_fraction: 0.2, max_epochs: 50}
model: {n_ctx: 16}
grid:
  - sizes: [{n_layer: 1, d_model: 8, n_head: 2}, {n_layer: 1, d_model: 16, n_head: 2}]
    tokens: [3k, 6k]
    seeds: {1x16-3.12k: [0, 1]}
optim: {rule: slaw_small, lr: 0.01, batch_tokens: 32}
eval: {val_tokens: 4096, curve_tokens: 512, curve_points: 8}
precision: fp32
limits: {time: 1h}
"""
RUN_FILES = {"spec.json", "resources.json", "curve.jsonl", "log.txt", "record.json"}
SWEEP_FILES = {"plan.json", "sweep.yaml", "data.json", "workers.log", "dashboard.json"}
_ENVIRONMENT = threading.Lock()  # this process's; worlds are made by several threads
Losses = dict[str, tuple[Any, ...]]


@dataclass
class World:
    """A folder with text, a config and a measured device; ``environment`` for commands in it."""

    path: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        (self.path / "text").mkdir(parents=True)
        for index in range(60):
            words = " ".join(f"w{(index * 7 + k * k) % 97} is {k % 13}." for k in range(60))
            (self.path / "text" / f"{index}.txt").write_text(words)
        (self.path / "s.yaml").write_text(SWEEP)
        self.environment = {
            **os.environ,
            "SLAW_CACHE": str(self.path / "cache"),
            "PYTHONPATH": str(ROOT),
            **self.environment,
        }
        profile = cpu_profile(slots=1, torch_version=importlib.metadata.version("torch"))
        with _ENVIRONMENT, pytest.MonkeyPatch.context() as patch:
            patch.setenv("SLAW_CACHE", self.environment["SLAW_CACHE"])
            save_profile(profile, "cpu")

    def start(self, out: str, *words: str, **environment: str) -> subprocess.Popen[str]:
        """``slaw run`` on the folder ``out``."""
        command = [
            sys.executable,
            "-m",
            "scaling_law.cli",
            "run",
            "s.yaml",
            "--device",
            "cpu",
        ]
        return subprocess.Popen(
            [*command, "--out", out, *words],
            cwd=self.path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**self.environment, **environment},
        )

    def run(self, out: str, *words: str, **environment: str) -> tuple[int, str, str]:
        """``start``, and its exit code and words."""
        process = self.start(out, *words, **environment)
        output, errors = process.communicate(timeout=600)
        return process.returncode, output, errors

    def run_with_kills(self, out: str, kills: Sequence[dict[str, Any]]) -> tuple[int, list[str]]:
        """``run`` with ``kills`` (see ``killer``); returns those that took place."""
        folder = self.path / "faults"
        folder.mkdir(exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        (folder / "kills.json").write_text(json.dumps(list(kills)))
        paths = os.pathsep.join([str(KILLER), str(ROOT)])
        code, _, errors = self.run(out, SLAW_FAULTS=str(folder), PYTHONPATH=paths)
        assert code in (0, 3, -signal.SIGKILL), errors
        return code, [path.read_text() for path in sorted(folder.glob("kill.*"))]


def sweep_of(world: World, out: str) -> SweepDir:
    return SweepDir(world.path / out)


def losses(world: World, out: str) -> Losses:
    """All results of training, bit for bit: losses, curves, counts, without the clock."""
    results: Losses = {}
    sweep = sweep_of(world, out)
    for record in load_records(sweep):
        curve = read_curve(sweep.run(record.run_id))
        points = [(p.step, p.train_loss_nats, p.val_loss_nats, p.lr, p.grad_norm) for p in curve]
        result = (record.status, record.val_loss_nats, record.val_loss_sem_nats, record.tokens)
        results[record.run_id] = (*result, record.flops_spent, tuple(points))
    return results


def assert_nothing_lost(world: World, out: str, expected: Losses) -> None:
    """The same results as ``expected``, each run finished once, and no superfluous file."""
    results = losses(world, out)
    assert results.keys() == expected.keys()
    for run_id, result in results.items():
        assert result == expected[run_id], run_id
    sweep = sweep_of(world, out)
    kept_weights = {r.run_id: r.resources.keep_weights for r in read_plan(sweep.plan).runs}
    assert set(kept_weights) == set(results)
    assert {p.name for p in sweep.path.iterdir()} == {*SWEEP_FILES, "runs"}
    for run_dir in sweep.run_dirs():
        wanted = RUN_FILES | ({"weights.pt"} if kept_weights[run_dir.path.name] else set())
        assert {p.name for p in run_dir.path.iterdir()} == wanted, run_dir.path.name
        words = re.findall(r"(started by|ended:)", run_dir.log.read_text())
        ends = words.count("ended:")
        assert ends <= 1, f"{run_dir.path.name} was trained to its end {ends} times"
        assert not ends or words[-1] == "ended:", f"{run_dir.path.name} was begun after its end"
    left = [p.name for p in (world.path / "cache" / "data").iterdir() if p.name.startswith(".")]
    assert not left
    assert not workers_of(world)


def trained_flops(world: World, out: str) -> tuple[float, float]:
    """FLOPs of the steps taken, by the logs of runs that were not killed, and of the plan."""
    sweep = sweep_of(world, out)
    plan = read_plan(sweep.plan)
    spent = 0.0
    for run in plan.runs:
        own = run.spec.total_steps - run.spec.start_step
        begun = re.findall(
            r"(started by|resumed at step (\d+))", sweep.run(run.run_id).log.read_text()
        )
        starts = sum(not step for _, step in begun)
        steps = [int(step) - run.spec.start_step for _, step in begun if step]
        spent += run.flops_spent * (starts - sum(steps) / own)
    return spent, plan.flops_total


def wait_until(there: Callable[[], bool], *processes: subprocess.Popen[str]) -> None:
    """Wait for ``there()``; fails when all of ``processes`` have ended before."""
    while not there():
        assert any(process.poll() is None for process in processes), "they ended too soon"
        time.sleep(0.02)


def signal_family(runner: int, number: int) -> None:
    """Send a signal to a runner and its workers."""
    children = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            fields = (path / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == runner:
            children.append(int(path.name))
    for pid in (runner, *children):
        with contextlib.suppress(ProcessLookupError):  # a worker may have ended meanwhile
            os.kill(pid, number)


def stop_in_a_run(sweep: SweepDir, process: subprocess.Popen[str]) -> RunDir:
    """SIGSTOP the only worker of a ``slaw run`` in the middle of a run, which it holds then."""
    while True:
        assert process.poll() is None, "it ended too soon"
        for run_dir in sweep.run_dirs():
            holder = read_lease(run_dir.lease)
            if holder is None or holder.process is None or not run_dir.log.exists():
                continue
            with contextlib.suppress(ProcessLookupError):
                os.kill(holder.process.pid, signal.SIGSTOP)
                seen = read_lease(run_dir.lease)
                if seen is not None and seen.token == holder.token and not run_dir.record.exists():
                    return run_dir
                os.kill(holder.process.pid, signal.SIGCONT)  # it was about to end
        time.sleep(0.02)


def workers_of(world: World) -> list[int]:
    """Processes that still work in ``world``, waited for a little: orphans end at a step."""
    deadline = time.monotonic() + 300
    while True:
        workers = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                words = (path / "environ").read_bytes()
            except OSError:
                continue
            mine = f"SLAW_CACHE={world.environment['SLAW_CACHE']}\0".encode() in words
            if mine and int(path.name) != this_process().pid:
                workers.append(int(path.name))
        if not workers or time.monotonic() > deadline:
            return workers
        time.sleep(0.1)


PLANNING = ("planning", "data")
TRAINING = ("training", "evaluation", "checkpointing", "record", "leasing", "resuming")


def schedule(chance: random.Random, length: int) -> list[dict[str, Any]]:
    """Kills of one sweep, in turn: first while it is planned, then while it trains."""
    kills: list[dict[str, Any]] = []
    for index in range(length):
        early = index < length // 4
        phase = chance.choice(PLANNING if early else (*TRAINING, *TRAINING, *PLANNING))
        role = "runner" if phase in PLANNING else "worker"
        whom = "all" if role == "runner" else chance.choice(("all", "all", "worker", "runner"))
        kill: dict[str, Any] = {"role": role, "phase": phase, "whom": whom}
        if phase == "training" or (phase == "evaluation" and chance.random() < 0.5):
            kill["delay_seconds"] = chance.uniform(0, 0.3)
        else:
            kill["point"] = chance.randint(1, 12 if early else 6)
        kills.append(kill)
    return kills


def kill_again_and_again(
    world: World, out: str, kills: list[dict[str, Any]]
) -> collections.Counter[str]:
    """Run the same command until it ends, through ``kills``; how many there were by phase."""
    done: collections.Counter[str] = collections.Counter()
    for _ in range(len(kills) + 10):
        if not kills:
            break
        if kills[0]["phase"] == "data":  # it is only read where it is not prepared yet
            for path in sorted((world.path / "cache" / "data").rglob("*"), reverse=True):
                path.unlink() if path.is_file() else path.rmdir()
        code, happened = world.run_with_kills(out, kills)
        done.update(happened)
        del kills[: len(happened)]
        if not happened:
            if code == 0:
                break  # it has ended: no more kills of this kind
            del kills[0]
    code, _, errors = world.run(out)
    assert code == 0, errors
    return done
