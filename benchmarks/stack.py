"""Many small models at once: one stacked program against one model after another.

    python benchmarks/stack.py [--widths 24,32,64] [--members 3,8] [--rounds 6] [--json FILE]
        [--device cuda --dtype bf16]

Same shape, batch and dtype, in turns within one process under a worker's allocator settings; CPU
seconds (wall on a GPU), medians over rounds. ``sequential``: our own step, one member after
another; ``nanogpt``: the plain module of ``trainers.py`` likewise. The gains by width decide which
runs ``scaling_law.plan.stacking`` puts together.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_READY = "SLAW_BENCHMARK_READY"


def _again_as_a_worker() -> None:
    """Run this file in the environment a worker has; allocator settings are read at start."""
    from scaling_law.run.engines import worker_environment

    environment = {**worker_environment(), _READY: "1"}
    raise SystemExit(subprocess.call([sys.executable, *sys.argv], env=environment))


def _shapes(options: argparse.Namespace, width: int, seqs: int) -> tuple[Any, Any]:
    """The contenders' ``Shape`` and our ``ModelSpec``."""
    import trainers

    from scaling_law.spec.model import ModelSpec

    heads = max(1, width // 32)
    shape = trainers.Shape(
        name="",
        n_layer=2,
        d_model=width,
        n_head=heads,
        vocab=options.vocab,
        n_ctx=options.context,
        batch=seqs,
        device=options.device,
        dtype=options.dtype,
    )
    spec = ModelSpec(
        vocab_size=shape.vocab,
        n_ctx=shape.n_ctx,
        n_layer=shape.n_layer,
        d_model=width,
        n_head=heads,
        n_kv_head=heads,
        d_ff=4 * width,
    )
    return shape, spec


def _steps(options: argparse.Namespace, width: int, members: int, seqs: int) -> dict[str, Any]:
    """Contender -> a function that takes one step of every member."""
    import torch
    import trainers

    from scaling_law.spec.optim import OptimSpec
    from scaling_law.train import device
    from scaling_law.train.architectures._gpt_stack import StackedGPT
    from scaling_law.train.architectures.gpt import GPT
    from scaling_law.train.optim import make_optimizer

    device.prepare_process(options.device, threads=1)
    shape, spec = _shapes(options, width, seqs)
    size = (members, seqs, shape.n_ctx + 1)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, shape.vocab, size, generator=generator).to(options.device)
    optim = OptimSpec(lr=1e-3, rule="benchmark")
    context: Callable[[], Any] = device.autocast(options.device, options.dtype)
    alone, models = ([GPT(spec, i).to(options.device) for i in range(members)] for _ in range(2))
    own = [make_optimizer(model, optim, options.device) for model in alone]
    stack = StackedGPT(models)
    joint = make_optimizer(torch.nn.ModuleList(models), optim, options.device)
    plain = [trainers.Runner(shape, "nanogpt") for _ in range(members)]

    def sequential() -> None:
        for model, optimizer, batch in zip(alone, own, ids, strict=True):
            with context():
                loss = model.loss(batch[:, :-1], batch[:, 1:])
            loss.backward()
            float(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0))
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def stacked() -> None:
        with context():
            losses = stack.losses(ids[..., :-1], ids[..., 1:])
        losses.sum().backward()
        stack.share_gradients()
        stack.clip_gradients([1.0] * members)
        joint.step()
        stack.drop_gradients()

    steps = {"stacked": stacked, "sequential": sequential}
    if options.device == "cuda":
        steps["recorded"] = _recorded(options, spec, optim, ids, context)
    return {**steps, "nanogpt": lambda: [runner.step() for runner in plain]}


def _recorded(
    options: argparse.Namespace, spec: Any, optim: Any, ids: Any, context: Any
) -> Callable[[], object]:
    """The stacked step replayed as one CUDA graph, as ``slaw run`` takes it."""
    import torch

    from scaling_law.train.architectures._gpt_stack import StackedGPT
    from scaling_law.train.architectures.gpt import GPT
    from scaling_law.train.optim import make_optimizer
    from scaling_law.train.static_step import StaticStep

    models = [GPT(spec, i).to(options.device) for i in range(len(ids))]
    joint = make_optimizer(torch.nn.ModuleList(models), optim, options.device)
    for group in joint.param_groups:
        group |= {"capturable": True, "lr": torch.full((), optim.lr, device=options.device)}
    step = StaticStep(
        StackedGPT(models),
        batch_seqs=ids.shape[1],
        limits=[1.0] * len(ids),
        context=context,
        update=joint.step,
        log=print,
    )
    return lambda: step.take(ids)


def measure(options: argparse.Namespace, width: int, members: int, seqs: int) -> dict[str, Any]:
    """Medians of tokens a second over rounds of turns."""
    from scaling_law.train import device

    clock = time.process_time if options.device == "cpu" else time.perf_counter
    steps = _steps(options, width, members, seqs)
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(options.rounds + 1):
        for name, step in steps.items():
            device.synchronize(options.device)
            began, count = clock(), 0
            while clock() - began < options.seconds or not count:
                step()
                count += 1
            device.synchronize(options.device)
            if turn:  # the first is warm-up
                times[name].append((clock() - began) / count)
    tokens = members * seqs * options.context
    rates = {name: tokens / statistics.median(seconds) for name, seconds in times.items()}
    pairs = {
        name: statistics.median(b / a for a, b in zip(times["stacked"], times[name], strict=True))
        for name in times
        if name != "stacked"
    }
    row = {"width": width, "members": members, "seqs": seqs, "tokens_per_second": rates}
    return {**row, "gain_over": pairs}


def main() -> None:
    """Measure, print a line each, keep JSON where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--widths", default="24,32,48,64,96,128")
    parser.add_argument("--members", default="3,8")
    parser.add_argument("--seqs", default="8,1", help="sequences a member")
    parser.add_argument("--context", type=int, default=64)
    parser.add_argument("--vocab", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=0.3, help="a turn")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.device == "cpu" and _READY not in os.environ:
        _again_as_a_worker()
    rows = []
    print(f"2 layers, vocabulary {options.vocab}, context {options.context}, {options.dtype}")
    print("width members seqs  stacked tokens/s   v sequential   v nanogpt in turn  (v recorded)")
    for width in map(int, options.widths.split(",")):
        for members in map(int, options.members.split(",")):
            for seqs in map(int, options.seqs.split(",")):
                with contextlib.suppress(MemoryError):
                    rows.append(measure(options, width, members, seqs))
                    row = rows[-1]
                    gains = row["gain_over"]
                    print(
                        f"{width:>5}{members:>8}{seqs:>5}{row['tokens_per_second']['stacked']:>18,.0f}"
                        f"{gains['sequential']:>14.2f}x{gains['nanogpt']:>18.2f}x"
                        + (f"{gains['recorded']:>16.2f}x" if "recorded" in gains else ""),
                        flush=True,
                    )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
