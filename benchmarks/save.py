"""How long saving a state delays training, in place and in the background.

    python benchmarks/save.py [--device cuda] [--saves 7] [--json FILE]

Wall seconds, medians: until training may go on, and until the state is on the disk. Beside it a
state is first copied to the host's memory; a thread serialises, hashes and writes it.
"""

from __future__ import annotations

import argparse
import functools
import json
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from train_step import GPU_SHAPES, SHAPES
from trainers import Shape

from scaling_law.files.layout import RunDir
from scaling_law.spec.model import ModelSpec
from scaling_law.spec.optim import OptimSpec
from scaling_law.train import checkpoint
from scaling_law.train.architectures.gpt import GPT
from scaling_law.train.device import device_name
from scaling_law.train.optim import make_optimizer
from scaling_law.train.writer import Writer

SIZES = {"cpu": [shape for shape in SHAPES if shape.name in ("3.15M", "18.9M")], "cuda": GPU_SHAPES}


def state_of(shape: Shape, device: str) -> dict[str, Any]:
    """Weights and moments after one step."""
    spec = ModelSpec(
        vocab_size=shape.vocab,
        n_ctx=64,
        n_layer=shape.n_layer,
        d_model=shape.d_model,
        n_head=shape.n_head,
        n_kv_head=shape.n_head,
        d_ff=4 * shape.d_model,
    )
    model = GPT(spec).to(device)
    optimizer = make_optimizer(model, OptimSpec(lr=1e-3, rule="benchmark"), device)
    ids = torch.zeros((1, 65), dtype=torch.int64, device=device)
    model.loss(ids[:, :-1], ids[:, 1:]).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return {"model": dict(model.state_dict()), "optimizer": optimizer.state_dict()}


def measure(shape: Shape, device: str, saves: int, folder: Path) -> dict[str, Any]:
    """Seconds of a save, either way."""
    state, run_dir = state_of(shape, device), RunDir(folder / shape.name)
    run_dir.path.mkdir()
    results: dict[str, Any] = {"shape": shape.name}
    for beside in (False, True):
        held, whole = [], []
        writer = Writer(beside)
        for step in range(saves + 1):  # the first makes threads and page-locked memory
            write = functools.partial(checkpoint.save_checkpoint, run_dir, step % 2)
            began = time.perf_counter()
            writer.put(state, write)
            held.append(time.perf_counter() - began)
            writer.settle()
            whole.append(time.perf_counter() - began)
        name = "beside" if beside else "in_place"
        results[f"{name}_held_seconds"] = statistics.median(held[1:])
        results[f"{name}_written_seconds"] = statistics.median(whole[1:])
    results["bytes"] = run_dir.checkpoint(0).stat().st_size
    return results


def main() -> None:
    """Measure every shape of the device, print, and keep JSON where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=tuple(SIZES))
    parser.add_argument("--saves", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as place:
        for shape in SIZES[options.device]:
            row = measure(shape, options.device, options.saves, Path(place))
            results.append(row)
            print(
                f"{row['shape']}: {row['bytes'] / 1e6:.0f} MB; training held up"
                f" {row['in_place_held_seconds']:.3f} s in place,"
                f" {row['beside_held_seconds']:.3f} s beside (on the disk after"
                f" {row['in_place_written_seconds']:.2f}, {row['beside_written_seconds']:.2f} s)",
                flush=True,
            )
    if options.json:
        machine = {"device": device_name(options.device), "platform": platform.platform()}
        document = {"machine": machine, "torch": torch.__version__, "results": results}
        options.json.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
