"""What it costs to start `slaw`, to plan 10,000 runs and to look at 10,000 run folders.

    python benchmarks/startup.py [--repeats 5] [--json FILE] [--peer 'litgpt --help'] ...

CPU seconds (user and system) of a fresh process, imports included, one thread; the median of so
many, after one that is not counted and leaves the bytecode an installed package has. Everything
is made in a temporary folder: a device as if it were calibrated, prepared data, and a sweep of
10,000 runs, eight of ten with a record and one at work. A peer is any command; without one,
``python -c "import torch"``, which is what every trainer's command line starts with.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peers

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scaling_law.config.load import load_config  # noqa: E402  (this checkout's)
from scaling_law.files import checksum  # noqa: E402
from scaling_law.files.layout import SweepDir  # noqa: E402
from scaling_law.plan.device_profile import save_profile  # noqa: E402
from scaling_law.plan.make import make_plan  # noqa: E402
from scaling_law.spec.to_json import to_json  # noqa: E402
from tests.fakes import cpu_profile, record_of  # noqa: E402

SLAW = (sys.executable, "-m", "scaling_law.cli")
TORCH = 'python -c "import torch"'
SEEDS = 100
GRID = f"""
name: large
data: {{corpus: installed, tokenizer: bpe, vocab_size: 1024}}
model: {{n_ctx: 64}}
grid:
  - sizes: {{params: [14e3, 20e6], count: 10}}
    flops_ladder: {{base_flops: 1.09e11, ratio: 2, count: 9, tokens_near: 500K}}
    seeds: {list(range(SEEDS))}
optim: {{rule: slaw_small, batch_tokens: 512}}
precision: fp32
"""
RUNS = 10 * SEEDS * (9 + 1)  # a trunk to nine horizons
# A little of the default corpus, prepared: the dry run then walks all its sources and opens it.
PREPARED = ("--set", "data.max_bytes=2MB", "--set", "data.max_epochs=1000")


@dataclass(frozen=True)
class Case:
    """A command and the CPU seconds it may take (None for a peer's)."""

    name: str
    command: tuple[str, ...]
    target: float | None = None


def build(folder: Path, environment: dict[str, str]) -> list[Case]:
    """Make what the commands read, and the commands."""
    os.environ["SLAW_CACHE"] = environment["SLAW_CACHE"]
    # calibrating would load torch, once per machine
    save_profile(cpu_profile(torch_version=importlib.metadata.version("torch")), "auto")
    subprocess.run(
        [*SLAW, "data", "prepare", *PREPARED[:2]],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment,
    )  # fmt: skip
    large, limited = folder / "large.yaml", folder / "limited.yaml"
    large.write_text(GRID)
    limited.write_text(GRID + "limits: {time: 300h}\n")
    sweep_of(large, SweepDir(folder / "large"))
    small = str(ROOT / "results" / "reference" / "quick-cpu")
    return [
        Case("slaw --help", (*SLAW, "--help"), 0.3),
        Case("slaw run --dry-run", (*SLAW, "run", "--dry-run"), 0.6),
        Case("the same, data prepared", (*SLAW, "run", "--dry-run", *PREPARED), 0.6),
        Case("slaw status, 40 runs", (*SLAW, "status", small), 0.5),
        Case("slaw monitor --once, 40 runs", (*SLAW, "monitor", small, "--once"), 0.5),
        Case(f"slaw plan, {RUNS:,} runs", (*SLAW, "plan", str(large)), 3.0),
        Case("the same, cut to a time limit", (*SLAW, "plan", str(limited)), 3.0),
        Case("the same, --json, uncut", (*SLAW, "plan", str(large), "--json"), 3.0),
        Case(f"slaw status, {RUNS:,} folders", (*SLAW, "status", str(folder / "large")), 5.0),
        Case(
            "slaw monitor --once of them", (*SLAW, "monitor", str(folder / "large"), "--once"), 5.0
        ),
    ]


def sweep_of(config: Path, sweep: SweepDir) -> None:
    """The folder of that sweep on its way: done, diverged, at work, failed, waiting."""
    plan = make_plan(load_config(config, device_kind="cpu"), cpu_profile(), train_tokens=None)
    assert len(plan.runs) == RUNS, len(plan.runs)
    for number, run in enumerate(plan.runs):
        place = sweep.run(run.run_id)
        place.path.mkdir(parents=True)
        _write(place.spec, to_json(run.spec))
        if number % 10 < 8:
            status = "done" if number % 100 else "diverged"
            record = checksum.with_digest(to_json(record_of(run.spec, status=status)))
            _write(place.record, record)
        elif number % 10 == 8:
            _write(place.progress, {"step": run.spec.start_step + 1, "tokens_per_second": 5e4})
        elif number % 100 == 9:
            _write(place.failure, {"error": "the worker died"})
    _write(sweep.plan, checksum.with_digest(plan.to_json()))


def _write(path: Path, value: Any) -> None:
    # as layout.write_json writes it, but not flushed to disk: 20,000 times that takes minutes
    path.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n")


def peer_case(words: str) -> Case:
    """A peer's command; ``python`` is this interpreter."""
    program, *rest = shlex.split(words)
    return Case(words, (sys.executable if program == "python" else program, *rest))


def cpu_seconds(case: Case, repeats: int, environment: dict[str, str]) -> list[float] | str:
    """CPU seconds of each of so many processes, or why there are none."""
    times = []
    for _ in range(repeats + 1):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        try:
            done = subprocess.run(case.command, capture_output=True, text=True, env=environment)
        except OSError as problem:
            return f"not run: {problem.strerror}"
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            return f"exit code {done.returncode}: {last}"
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return times[1:]


def measure(cases: Sequence[Case], repeats: int, environment: dict[str, str]) -> dict[str, Any]:
    """Each command's figures by its name, printed as they come."""
    results: dict[str, Any] = {}
    print(f"{'CPU seconds':<34}{'median':>8}{'least':>8}{'most':>8}{'target':>8}")
    for case in cases:
        times = cpu_seconds(case, repeats, environment)
        if isinstance(times, str):
            results[case.name] = {"note": times}
            print(f"{case.name:<34}  {times}", flush=True)
            continue
        median = statistics.median(times)
        results[case.name] = {"cpu_seconds": times, "median": median, "target": case.target}
        tail = "" if case.target is None else f"{case.target:>8.1f}"
        late = "  over" if case.target is not None and median > case.target else ""
        row = "".join(f"{value:>8.2f}" for value in (median, min(times), max(times)))
        print(f"{case.name:<34}{row}{tail}{late}", flush=True)
    return results


def main() -> None:
    """Measure every command and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="processes a command (5)")
    parser.add_argument("--peer", action="append", metavar="CMD", help=f"repeatable ({TORCH})")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = {
            **os.environ, **peers.ONE_THREAD, "PYTHONPATH": str(ROOT),
            "SLAW_CACHE": str(folder / "cache"), "PYTHONPYCACHEPREFIX": str(folder / "bytecode"),
        }  # fmt: skip
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        print(f"{datetime.date.today()}, one of {os.cpu_count()} cores, median of"
              f" {options.repeats}, python {platform.python_version()}")  # fmt: skip
        cases = build(folder, environment)
        cases += [peer_case(words) for words in options.peer or (TORCH,)]
        results = measure(cases, options.repeats, environment)
    if options.json:
        document = {
            "date": str(datetime.date.today()), "python": platform.python_version(),
            "commands": results,
        }  # fmt: skip
        options.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
