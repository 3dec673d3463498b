"""Tokens per second of generating: ours with and without its cache, and nanoGPT's ``generate``.

    git clone https://github.com/karpathy/nanoGPT
    python benchmarks/generate.py --nanogpt nanoGPT [--rounds 7] [--shapes quick] [--json FILE]

All contenders are models of one shape (a GPT-2: learned positions, LayerNorm, GELU, tied head) with
random weights, on one thread, at temperature .8 among the 200 likeliest tokens. They take turns in
every round, in another order each time; a figure is the median over rounds, and a ratio the median
of the rounds' ratios, in processor seconds. ``within`` stays in the context, where a cache holds;
``beyond`` draws twice as many tokens as the context has. nanoGPT's own file is imported, nothing is
copied.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scaling_law.spec.model import ModelSpec  # noqa: E402  (this checkout's)
from scaling_law.spec.sampling import Sampling  # noqa: E402
from scaling_law.train.architectures import build  # noqa: E402
from scaling_law.train.generate import generate  # noqa: E402

TEMPERATURE, TOP_K = 0.8, 200


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A model and how much it generates."""

    name: str
    n_layer: int
    d_model: int
    n_head: int
    vocab: int
    n_ctx: int
    rows: int
    tokens: int


def _shapes() -> list[Shape]:
    models = {
        "quick": {"n_layer": 2, "d_model": 136, "n_head": 4, "vocab": 1024, "n_ctx": 64},
        # nanoGPT's config/train_shakespeare_char.py
        "shakespeare": {"n_layer": 6, "d_model": 384, "n_head": 6, "vocab": 65, "n_ctx": 256},
    }
    return [
        Shape(name=f"{name}, {rows} rows, {where}", **model, rows=rows, tokens=tokens)
        for name, model in models.items()
        for rows in (1, 16)
        for where, tokens in (("within", model["n_ctx"] - 1), ("beyond", 2 * model["n_ctx"]))
        if name == "quick" or (rows, where) == (1, "within")  # minutes without a cache
    ]


def _ours(shape: Shape, cache: bool) -> Callable[[], None]:
    model = build(
        ModelSpec(
            vocab_size=shape.vocab, n_ctx=shape.n_ctx, n_layer=shape.n_layer,
            d_model=shape.d_model, n_head=shape.n_head, n_kv_head=shape.n_head,
            d_ff=4 * shape.d_model, norm="layernorm", position="learned", activation="gelu",
            qk_norm=False, tied=True,
        )
    ).eval()  # fmt: skip
    how = Sampling(tokens=shape.tokens, temperature=TEMPERATURE, top_k=TOP_K)

    def draw() -> None:
        generate(model, [[0]] * shape.rows, how, n_ctx=shape.n_ctx, cache=cache)

    return draw


def _theirs(shape: Shape, source: Path) -> Callable[[], None]:
    spec = importlib.util.spec_from_file_location("nanogpt_model", source / "model.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    config = module.GPTConfig(
        block_size=shape.n_ctx, vocab_size=shape.vocab, n_layer=shape.n_layer,
        n_head=shape.n_head, n_embd=shape.d_model, dropout=0.0, bias=False,
    )  # fmt: skip
    model: nn.Module = module.GPT(config).eval()
    start = torch.zeros((shape.rows, 1), dtype=torch.long)

    def draw() -> None:
        model.generate(start, shape.tokens, temperature=TEMPERATURE, top_k=TOP_K)  # type: ignore[operator]

    return draw


def measure(shape: Shape, nanogpt: Path | None, rounds: int) -> dict[str, Any]:
    """The median tokens per second of each contender, and the ratios to the first."""
    contenders = {"cache": _ours(shape, True), "no cache": _ours(shape, False)}
    if nanogpt is not None:
        contenders["nanoGPT"] = _theirs(shape, nanogpt)
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    for number in range(rounds + 1):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            began = time.process_time()
            contenders[name]()
            if number:  # the first round warms up
                seconds[name].append(time.process_time() - began)
    total = shape.rows * shape.tokens
    rates = {name: total / statistics.median(times) for name, times in seconds.items()}
    ratios = {
        name: statistics.median(
            slow / fast for slow, fast in zip(times, seconds["cache"], strict=True)
        )
        for name, times in seconds.items()
        if name != "cache"
    }
    return {"shape": shape.name, "tokens_per_second": rates, "cache_is_faster": ratios}


def main() -> None:
    """Print a line for each shape."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--nanogpt", type=Path, help="a checkout of karpathy/nanoGPT")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--shapes", default="", help="only shapes whose name begins so")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = []
    for shape in _shapes():
        if not shape.name.startswith(options.shapes):
            continue
        result = measure(shape, options.nanogpt, options.rounds)
        results.append(result)
        rates = ", ".join(f"{k} {v:,.0f}/s" for k, v in result["tokens_per_second"].items())
        ratios = ", ".join(f"{v:.2f}x {k}" for k, v in result["cache_is_faster"].items())
        print(f"{shape.name}: {rates}; the cache is {ratios}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
