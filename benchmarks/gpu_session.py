"""Run the measurements of GPU.md in four calls of at most ten minutes each.

    python benchmarks/gpu_session.py OUT --part steps|quick|dev|dev-again [--rehearse]

Run the parts in this order on one machine; together they keep within 28 minutes. Each writes
``OUT/PART.json`` (every command, its exit code, wall seconds and the end of what it said),
``OUT/PART.log`` (all it said) and, where runs were trained, ``OUT/PART-SWEEP.tar.gz``: config,
plan, records and curves, a folder for ``slaw fit``. A command that outlives its share of the part
is asked to stop, then killed, and what comes after it is tried all the same. ``dev-again`` types
``dev``'s line once more, which goes on from its checkpoints. ``--rehearse`` walks the same way on a
CPU with tiny sizes, in a few minutes. Sweeps lie under ``results/gpu-session``, which git
ignores.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SWEEPS = ROOT / "results" / "gpu-session"
TINY = """
name: tiny
data: {corpus: text, tokenizer: bytes, vocab_size: 257, val_fraction: 0.2, max_epochs: 50}
model: {n_ctx: 16}
grid:
  - sizes: [{n_layer: 1, d_model: 8, n_head: 2}, {n_layer: 1, d_model: 16, n_head: 2},
            {n_layer: 1, d_model: 24, n_head: 2}]
    tokens: [4k, 8k, 16k]
optim: {rule: slaw_small, lr: 0.01, batch_tokens: 32}
eval: {val_tokens: 512, curve_tokens: 256, curve_points: 8}
precision: fp32
"""
# Killed after so many seconds, twice; the third time it runs to its end.
KILL_AFTER_SECONDS = (25.0, 20.0)
# A CPU that rehearses may have other work to do: so many times the limits.
_PATIENCE = 4


@dataclasses.dataclass(frozen=True)
class Step:
    """A command: ``words`` after the interpreter, at most ``seconds``."""

    name: str
    words: tuple[str, ...]
    seconds: float


class Session:
    """Runs one part's steps and records their results."""

    def __init__(self, out: Path, part: str, rehearse: bool) -> None:
        self.out, self.part, self.rehearse = out, part, rehearse
        out.mkdir(parents=True, exist_ok=True)
        self.device = "cpu" if rehearse else "cuda"
        self.folder = SWEEPS / ("rehearsal" if rehearse else "sweeps")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log = (out / f"{part}.log").open("a")
        self.results: list[dict[str, Any]] = []
        self.environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        if rehearse:
            _write_text(self.folder)

    def run(self, step: Step, kill_after: float | None = None) -> int:
        """One command in the sweeps' folder; SIGTERM at its limit, SIGKILL 30 s later or at
        ``kill_after``."""
        began = time.monotonic()
        limit = step.seconds * (_PATIENCE if self.rehearse else 1)
        print(f"{self.part}: {step.name}", flush=True)
        process = subprocess.Popen(
            [sys.executable, *step.words], cwd=self.folder, env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        said = ""
        try:
            said, _ = process.communicate(timeout=kill_after or limit)
        except subprocess.TimeoutExpired:
            if kill_after is None:
                process.send_signal(signal.SIGTERM)
            else:
                os.killpg(process.pid, signal.SIGKILL)
            try:
                said, _ = process.communicate(timeout=30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                said, _ = process.communicate()
        seconds = time.monotonic() - began
        self.log.write(f"\n=== {step.name}: {' '.join(step.words)}\n{said}")
        self.log.flush()
        self.note(
            step.name,
            command=" ".join(("python", *step.words)),
            exit_code=process.returncode,
            seconds=round(seconds, 1),
            said=said[-3000:],
        )
        return process.returncode

    def note(self, name: str, **values: Any) -> None:
        """Record figures under a name; the file is complete after each call."""
        self.results.append({"name": name, **values})
        content = {"part": self.part, "rehearsal": self.rehearse, "steps": self.results}
        (self.out / f"{self.part}.json").write_text(json.dumps(content, indent=1) + "\n")

    def slaw(self, name: str, *words: str, seconds: float, kill_after: float | None = None) -> int:
        """A command of slaw."""
        step = Step(name, ("-m", "scaling_law.cli", *words), seconds)
        return self.run(step, kill_after)

    def sweep(self, mode: str, out: str, *words: str, seconds: float) -> int:
        """``slaw run`` of a shipped mode, or of the tiny sweep in a rehearsal."""
        config = "tiny.yaml" if self.rehearse else mode
        return self.slaw(
            f"run {out}", "run", config, "--device", self.device, "--out", out, *words,
            seconds=seconds,
        )  # fmt: skip

    def pack(self, sweep: str) -> None:
        """``OUT/PART-SWEEP.tar.gz``: what ``slaw fit`` and a reader need, no weights."""
        kept = {"sweep.yaml", "plan.json", "data.json", "spec.json", "record.json", "curve.jsonl"}
        kept |= {"resources.json", "log.txt", "failure.json", "fit.json", "workers.log"}
        with tarfile.open(self.out / f"{self.part}-{sweep}.tar.gz", "w:gz") as archive:
            for path in sorted((self.folder / sweep).rglob("*")):
                if path.name in kept:
                    archive.add(path, path.relative_to(self.folder))

    def compare(self, name: str, one: str, other: str) -> None:
        """Losses of two sweeps, run by label: how many are equal, and how far apart the rest."""
        ours, theirs = _losses(self.folder / one), _losses(self.folder / other)
        shared = sorted(ours.keys() & theirs.keys())
        gaps = {label: ours[label] / theirs[label] - 1 for label in shared}
        self.note(
            name,
            runs=len(shared),
            equal_to_the_last_bit=sum(gap == 0 for gap in gaps.values()),
            worst_frac=max(map(abs, gaps.values()), default=None),
            by_label=gaps,
        )


def _write_text(folder: Path) -> None:
    (folder / "text").mkdir(exist_ok=True)
    for index in range(60):
        words = " ".join(f"w{(index * 7 + k * k) % 97} is {k % 13}." for k in range(60))
        (folder / "text" / f"{index}.txt").write_text(words)
    (folder / "tiny.yaml").write_text(TINY)


def _losses(sweep: Path) -> dict[str, float]:
    records = [json.loads(path.read_text()) for path in sweep.glob("runs/*/record.json")]
    return {r["spec"]["label"]: r["val_loss_nats"] for r in records if r["val_loss_nats"]}


def steps(session: Session) -> None:
    """Tests, calibration, one step eager and compiled, stacks three ways, what a save holds up."""
    bench, out = str(ROOT / "benchmarks"), session.out.resolve()
    tests = [str(ROOT / "tests" / "train" / name) for name in ("test_static_step.py",)]
    tests += [] if session.rehearse else [str(ROOT / "tests" / "train"), str(ROOT / "tests/run")]
    session.run(Step("tests", ("-m", "pytest", "-q", "-x", "--no-header", *tests), 100))
    config = "tiny.yaml" if session.rehearse else "quick"
    session.slaw("plan", "run", config, "--dry-run", "--device", session.device, seconds=60)
    where = ("--device", session.device, "--dtype", "fp32" if session.rehearse else "bf16")
    small = ("--shapes", "98k", "--contexts", "64", "--rounds", "1") if session.rehearse else ()
    train = (f"{bench}/train_step.py", *where, *(small or ("--rounds", "3")))
    session.run(Step("eager", (*train, "--json", f"{out}/steps-eager.json"), 130))
    compiled = () if session.rehearse else ("--compile",)
    session.run(Step("compiled", (*train, *compiled, "--json", f"{out}/steps-compiled.json"), 170))
    shapes = ("--widths", "24", "--members", "3", "--seqs", "1", "--rounds", "1")
    if not session.rehearse:
        shapes = ("--widths", "64,128,256", "--members", "8,64", "--seqs", "1,8")
        shapes += ("--context", "256", "--rounds", "3", "--seconds", "0.2")
    stack = (f"{bench}/stack.py", *where, *shapes, "--json", f"{out}/steps-stack.json")
    session.run(Step("stacks", stack, 100))
    saves = (f"{bench}/save.py", "--device", session.device, "--json", f"{out}/steps-save.json")
    session.run(Step("saves", saves, 35))


def quick(session: Session) -> None:
    """The quick sweep and its law; fp32 beside it; killed and gone on; several runs at once."""
    limit = () if session.rehearse else ("--time", "2m")
    session.sweep("quick", "quick-cuda", *limit, seconds=120)
    session.slaw("fit", "fit", "quick-cuda", "--resamples", "100", seconds=30)
    session.sweep("quick", "quick-fp32", *limit, "--set", "precision=fp32", seconds=90)
    session.compare("bf16 against fp32", "quick-cuda", "quick-fp32")
    sets = ("grid.0.sizes=[nano1.8m]", "grid.0.seeds=[0, 1, 2, 3]", "grid.0.tokens=[1M, 2M]")
    small = () if session.rehearse else tuple(word for text in sets for word in ("--set", text))
    session.sweep("quick", "undisturbed", *small, seconds=40)
    words = ("run", "tiny.yaml" if session.rehearse else "quick", "--device", session.device)
    for seconds in KILL_AFTER_SECONDS:
        after = 12.0 if session.rehearse else seconds
        session.slaw("killed", *words, "--out", "killed", *small, seconds=60, kill_after=after)
        # nothing has started, or all has ended: then resuming proves nothing
        runs = session.folder / "killed" / "runs"
        over, begun = (len([*runs.glob(f"*/{n}.json")]) for n in ("record", "progress"))
        session.note("when killed", runs_over=over, runs_begun=begun)
    session.sweep("quick", "killed", *small, seconds=40)
    session.compare("killed and gone on against undisturbed", "killed", "undisturbed")
    several = "2" if session.rehearse else "4"
    session.sweep("quick", "slots", *small, "--set", f"limits.slots={several}", seconds=40)
    session.compare("several at once against one", "slots", "undisturbed")
    session.pack("quick-cuda")
    session.pack("quick-fp32")


def dev(session: Session) -> None:
    """A sweep to 300M parameters in 10 minutes, its first 7."""
    sizes = "grid.0.sizes=[nano1.8m, tiny, small, medium, large]"
    words = () if session.rehearse else ("--set", sizes, "--time", "8m")
    session.sweep("dev", "dev-cuda", *words, seconds=420)
    session.pack("dev-cuda")


def dev_again(session: Session) -> None:
    """The rest of it, its law, and its largest size held out and predicted."""
    sizes = "grid.0.sizes=[nano1.8m, tiny, small, medium, large]"
    words = () if session.rehearse else ("--set", sizes, "--time", "8m")
    session.sweep("dev", "dev-cuda", *words, seconds=150)
    session.slaw("fit", "fit", "dev-cuda", "--resamples", "200", seconds=30)
    session.slaw("validate", "validate", "dev-cuda", seconds=40)
    session.pack("dev-cuda")


PARTS: dict[str, Callable[[Session], None]] = {
    "steps": steps,
    "quick": quick,
    "dev": dev,
    "dev-again": dev_again,
}


def main() -> None:
    """One part, or in a rehearsal all of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--part", choices=tuple(PARTS), help="all of them, in a rehearsal")
    parser.add_argument("--rehearse", action="store_true", help="on a CPU, tiny")
    options = parser.parse_args()
    if options.part is None and not options.rehearse:
        parser.error("--part: one of " + ", ".join(PARTS))
    for part in [options.part] if options.part else PARTS:
        session = Session(options.out, part, options.rehearse)
        PARTS[part](session)
        for step_result in session.results:
            code = step_result.get("exit_code")
            end = f"exit {code}, {step_result['seconds']} s" if code is not None else "compared"
            print(f"  {step_result['name']}: {end}")


if __name__ == "__main__":
    main()
