"""Measure the overhead of each engine that works here, on short real runs.

    PYTHONPATH=. python benchmarks/engine_overhead.py [--runs 8] [--folder DIR]

Each engine trains the same runs, one at a time; SLURM and Ray do so on clusters that the script
starts on this machine. It prints the seconds of a run, and their ratio to those of a bare
``python -m scaling_law.run.worker`` for each run, which loads torch each time.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from scaling_law import console
from scaling_law.files import layout
from scaling_law.files.process import module_command
from scaling_law.run import runner
from scaling_law.run.engines import engine_named, start, worker_environment
from scaling_law.spec.to_json import to_json
from tests.faults.world import begin_sweep, write_text
from tests.run import ray_cluster, slurm_cluster

SHORT = """
name: short
data: {{corpus: {text}, tokenizer: bytes, vocab_size: 257, val_fraction: 0.2, max_epochs: 500}}
model: {{n_ctx: 16}}
grid:
  - sizes: [{{n_layer: 1, d_model: 16, n_head: 2}}]
    tokens: [32k]
    seeds: [{more}]
optim: {{rule: slaw_small, lr: 0.01, batch_tokens: 64}}
eval: {{val_tokens: 128, curve_tokens: 64, curve_points: 4}}
precision: fp32
stacking: off
keep_weights: none
"""


def seconds_on(engine: str, settings: dict[str, Any], folder: Path, runs: int) -> float:
    """Return the seconds of a run on an engine, one at a time; "" is a process for each run."""
    seeds = ", ".join(map(str, range(runs)))
    sweep = begin_sweep(folder / (engine or "bare"), folder / "text", seeds, SHORT)
    began = time.monotonic()
    if engine:
        choice = engine_named(engine)
        chosen = replace(choice, settings=choice.part.settings(**settings))
        outcome = runner.Runner(sweep.plan, sweep.dir, start(chosen, sweep.dir, 1)).run()
        assert len(outcome.done) == runs, f"not done: {outcome.failed}"
    else:
        for run in sweep.plan.runs:
            run_dir = sweep.dir.run(run.run_id)
            layout.write_json(run_dir.spec, to_json(run.spec))
            layout.write_json(run_dir.resources, to_json(run.resources))
            command = module_command("scaling_law.run.worker", str(run_dir.path))
            subprocess.run(command, check=True, env=worker_environment())
    return (time.monotonic() - began) / runs


def measure(folder: Path, runs: int) -> Iterator[str]:
    """Yield a line for each engine."""
    write_text(folder / "text")
    bare = seconds_on("", {}, folder, runs)
    yield f"a process for each run: {bare:.2f} s a run"

    def line(engine: str, **settings: Any) -> str:
        seconds = seconds_on(engine, settings, folder, runs)
        return f"{engine}: {seconds:.2f} s a run, {seconds / bare:.2f} x that"

    yield line("local")
    if why := slurm_cluster.why_not():
        yield f"slurm: {why}"
    else:
        with (
            slurm_cluster.cluster(folder / "slurm") as slurm,
            mock.patch.dict(os.environ, slurm.environment),
        ):
            yield line("slurm", concurrent=1)
    if why := ray_cluster.why_not():
        yield f"ray: {why}"
    else:
        with ray_cluster.cluster() as ray:
            yield line("ray", address=ray.address)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=8, help="how many short runs an engine trains")
    parser.add_argument("--folder", type=Path, help="where sweeps are written (a temporary one)")
    options = parser.parse_args()
    console.set_loudness(quiet=True, verbose=False)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        os.environ |= {"SLAW_CACHE": folder, "PYTHONPATH": str(Path(__file__).parents[1])}
        for line in measure(Path(folder), options.runs):
            print(line, flush=True)


if __name__ == "__main__":
    main()
