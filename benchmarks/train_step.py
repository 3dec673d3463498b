"""Tokens a second of one training step: ours beside nanoGPT's, Hugging Face's and litgpt's.

    python benchmarks/train_step.py [--shapes 98k,0.39M] [--contexts 64,256] [--rounds 8]
        [--peer-python PYTHON] [--levers] [--device cuda --dtype bf16 --compile] [--json FILE]

Each contender lives in a process of its own (``trainers.py``) with one thread; they take turns of
a few steps, A B C A B C, so that what else the machine does falls on all alike. Times are CPU
seconds of the process (wall seconds on a GPU); a contender's figure is its median step, a ratio
the median over rounds of the two medians' ratio. Ours runs as a worker of ``slaw run`` does,
allocator settings included; the others as their recipes do. ``--levers`` takes one of ours away
at a time instead, ``--late N`` compares ours at step N with step 50. ``--peer-python`` is an
interpreter with transformers and litgpt (without: those installed here). FLOPs a token:
6 * 12 L d^2 + 6 d V + 6 L d T; the ceiling is the best square product of that dtype, measured in
turn with the rest.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainers import LEVERS, TRAINER, Shape

from scaling_law.run.engines import worker_environment
from scaling_law.train.device import device_name

SHAPES = (
    Shape(name="98k", n_layer=2, d_model=64, n_head=2, vocab=256),
    Shape(name="0.39M", n_layer=2, d_model=128, n_head=4, vocab=4096),
    Shape(name="3.15M", n_layer=4, d_model=256, n_head=4, vocab=4096),
    Shape(name="18.9M", n_layer=6, d_model=512, n_head=8, vocab=4096, batch=4),
    Shape(name="3.15M/50k", n_layer=4, d_model=256, n_head=4, vocab=50257, batch=4),
)
GPU_SHAPES = (
    Shape(name="85M", n_layer=12, d_model=768, n_head=12, vocab=50304, n_ctx=1024, batch=32),
    Shape(name="302M", n_layer=24, d_model=1024, n_head=16, vocab=50304, n_ctx=1024, batch=16),
)
PEERS = ("nanogpt", "huggingface", "litgpt")
_TURN_SECONDS = 0.5
_WARM_STEPS = 4


class Contender:
    """A process that trains; ``medians`` has one entry a round."""

    def __init__(self, name: str, shape: Shape, python: str) -> None:
        self.name, self.shape = name, shape
        self.medians, self.faults, self.error = [], [], ""
        stock = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
        stock |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        tuned = name.startswith("slaw") and name != "slaw without allocator"
        self.process = subprocess.Popen(
            [python, str(Path(__file__).with_name("trainers.py")), "--serve", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=worker_environment() if tuned else stock,
        )
        self.versions = self.ask(dataclasses.asdict(shape)).get("versions", {})
        warm = self.ask({"steps": _WARM_STEPS})
        self.count = 1
        if not self.error:
            self.count = max(1, round(_TURN_SECONDS / statistics.median(warm["seconds"][1:])))
            self.params = warm["params"]

    def ask(self, job: dict[str, Any]) -> dict[str, Any]:
        """Send one job and wait for its answer; an error is kept, and ends the questions."""
        if self.error:
            return {}
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(job) + "\n")
            self.process.stdin.flush()
            answer: dict[str, Any] = json.loads(self.process.stdout.readline() or "{}")
        except (BrokenPipeError, ValueError) as problem:
            answer = {"error": str(problem)}
        self.error = answer.get("error", "" if answer else "its process ended")
        return answer

    def turn(self) -> None:
        """One round's steps."""
        answer = self.ask({"steps": self.count})
        if not self.error:
            self.medians.append(statistics.median(answer["seconds"]))
            self.faults.append(answer["faults_per_step"])

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)


def measure(shape: Shape, names: Sequence[str], options: argparse.Namespace) -> dict[str, Any]:
    """All contenders in turns on one shape."""
    pythons = {n: options.peer_python if n in ("huggingface", "litgpt") else None for n in names}
    contenders = [Contender(n, shape, pythons[n] or sys.executable) for n in names]
    first, ceilings = contenders[0], []
    for _ in range(options.rounds):
        for contender in contenders:
            contender.turn()
        job = {"matmul": {"device": shape.device, "dtype": shape.dtype, "seconds": 0.1}}
        ceilings.append(first.ask(job).get("flops", math.nan))
    ceiling = statistics.median(ceilings)
    late = _late(first, options.late) if options.late else None
    rows = []
    for contender in contenders:
        contender.close()
        row: dict[str, Any] = {"contender": contender.name, "versions": contender.versions}
        if contender.error or not contender.medians:
            rows.append({**row, "error": contender.error})
            continue
        seconds = statistics.median(contender.medians)
        rate = shape.flops_per_token * shape.tokens / seconds
        pairs = zip(contender.medians, first.medians, strict=True)
        row |= {
            "tokens_per_second": shape.tokens / seconds,
            "flops_per_second": rate,
            "fraction_of_ceiling": rate / ceiling,
            "first_is_faster_by": statistics.median(theirs / ours for theirs, ours in pairs),
            "page_faults_per_step": statistics.median(contender.faults),
            "params": contender.params,
        }
        rows.append(row)
    results = {"shape": dataclasses.asdict(shape), "ceiling_flops_per_second": ceiling}
    return {**results, "rows": rows, "late_over_early": late}


def _late(first: Contender, step: int) -> float:
    """Seconds of a step around ``step`` over those around step 50, both of a new process."""
    again = Contender(first.name, first.shape, sys.executable)
    again.ask({"steps": 45})
    early = again.ask({"steps": 20}).get("seconds", [math.nan])
    again.ask({"steps": step - 80})
    late = again.ask({"steps": 20}).get("seconds", [math.nan])
    again.close()
    return statistics.median(late) / statistics.median(early)


def show(result: dict[str, Any]) -> None:
    """One shape's table."""
    shape, ceiling = result["shape"], result["ceiling_flops_per_second"]
    late = result["late_over_early"]
    print(
        f"\n{shape['name']}: {shape['n_layer']} layers, width {shape['d_model']}, vocabulary "
        f"{shape['vocab']}, {shape['batch']} x {shape['n_ctx']} tokens, {shape['dtype']}, "
        f"ceiling {ceiling / 1e9:.0f} GFLOP/s"
        + (f", a late step takes {late:.2f}x the 50th" if late else "")
    )
    head = ("tokens/s", "GFLOP/s", "of ceiling", "ours v it", "faults/step")
    print(f"{'':<26}" + "".join(f"{h:>13}" for h in head))
    for row in result["rows"]:
        if "error" in row:
            print(f"{row['contender']:<26}  not run: {row['error'][:100]}")
            continue
        cells = (
            f"{row['tokens_per_second']:,.0f}",
            f"{row['flops_per_second'] / 1e9:.1f}",
            f"{row['fraction_of_ceiling']:.2f}",
            f"{row['first_is_faster_by']:.2f}x",
            f"{row['page_faults_per_step']:,.0f}",
        )
        print(f"{row['contender']:<26}" + "".join(f"{c:>13}" for c in cells), flush=True)


def main() -> None:
    """Measure every shape asked for, print, and keep JSON where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shapes", help="names, by comma (all for the device)")
    parser.add_argument("--contexts", default="", help="tokens a sequence, by comma (256)")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--peer-python", help="interpreter with transformers and litgpt")
    parser.add_argument("--levers", action="store_true", help="ours without each of its levers")
    parser.add_argument("--late", type=int, help="measure ours again at this step")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="fp32", choices=("fp32", "bf16", "fp16"))
    parser.add_argument("--compile", action="store_true", help="torch.compile for all")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    shapes = SHAPES if options.device == "cpu" else GPU_SHAPES
    wanted = options.shapes.split(",") if options.shapes else [shape.name for shape in shapes]
    names = ("slaw", *(f"slaw without {lever}" for lever in LEVERS))
    if not options.levers:
        names = ("slaw", "slaw, own architecture", *PEERS)
        names += (TRAINER,) if options.device == "cpu" else ()
    rows = []
    for shape in (s for s in shapes if s.name in wanted):
        for context in options.contexts.split(",") if options.contexts else [str(shape.n_ctx)]:
            changed = {
                "n_ctx": int(context),
                "batch": max(1, shape.tokens // int(context)),
                "device": options.device,
                "dtype": options.dtype,
                "compile": options.compile,
            }
            rows.append(measure(dataclasses.replace(shape, **changed), names, options))
            show(rows[-1])
    if options.json:
        machine = {"device": device_name(options.device), "platform": platform.platform()}
        document = {"machine": machine, "rounds": options.rounds, "results": rows}
        options.json.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
