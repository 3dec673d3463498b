"""Training steps of ours and of others, each in a process of its own; lines give them commands.

    python trainers.py --serve NAME          one JSON job a line in, one JSON answer a line out

A job is a ``Shape`` to build, or ``{"steps": k}`` to take k timed steps of it. Every contender gets
the same shape, batch, dtype and token ids, AdamW, and gradients clipped to norm 1, as its own
recipe sets them up: fused AdamW and flushed denormals only where that recipe has them.

Nothing of theirs is copied: packages are called as their documentation shows, and ``nanogpt`` is
a plain module written here from nanoGPT's published description (GPT-2: learned positions,
LayerNorm, GELU, tied head, scaled_dot_product_attention, whole logits to F.cross_entropy).
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import math
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own idiom
from torch import Tensor, nn

LEARNING_RATE, BETAS, WEIGHT_DECAY, CLIP = 3e-4, (0.9, 0.95), 0.1, 1.0
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One measurement: a GPT-2 of ``n_layer`` by ``d_model``, ``batch`` sequences of ``n_ctx``."""

    name: str
    n_layer: int
    d_model: int
    n_head: int
    vocab: int
    n_ctx: int = 256
    batch: int = 8
    device: str = "cpu"
    dtype: str = "fp32"
    compile: bool = False

    @property
    def tokens(self) -> int:
        """Tokens of one step."""
        return self.batch * self.n_ctx

    @property
    def flops_per_token(self) -> int:
        """6 * 12 L d^2 + 6 d V + 6 L d T: matrices exactly, attention's causal half only."""
        blocks = 12 * self.n_layer * self.d_model**2
        return 6 * (blocks + self.d_model * self.vocab + self.n_layer * self.d_model * self.n_ctx)


# --- nanoGPT, from its description -------------------------------------------------------------


class _Attention(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.n_head
        self.qkv = nn.Linear(shape.d_model, 3 * shape.d_model, bias=False)
        self.out = nn.Linear(shape.d_model, shape.d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, time_, width = x.shape
        parts = self.qkv(x).split(width, dim=2)
        q, k, v = (p.view(batch, time_, self.heads, -1).transpose(1, 2) for p in parts)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).contiguous().view(batch, time_, width))


class _Block(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width = shape.d_model
        self.norm_1, self.norm_2 = (nn.LayerNorm(width, bias=False) for _ in range(2))
        self.attention = _Attention(shape)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm_1(x))
        return x + self.down(F.gelu(self.up(self.norm_2(x))))


class PlainGPT(nn.Module):
    """The decoder that nanoGPT describes, in torch's own operators."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.tokens = nn.Embedding(shape.vocab, shape.d_model)
        self.positions = nn.Embedding(shape.n_ctx, shape.d_model)
        self.blocks = nn.ModuleList(_Block(shape) for _ in range(shape.n_layer))
        self.norm = nn.LayerNorm(shape.d_model, bias=False)
        self.head = nn.Linear(shape.d_model, shape.vocab, bias=False)
        self.head.weight = self.tokens.weight
        for name, weight in self.named_parameters():
            if weight.ndim > 1:
                last = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(weight, 0, 0.02 / math.sqrt(2 * shape.n_layer) if last else 0.02)

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))
        for block in self.blocks:
            x = block(x)
        logits = self.head(self.norm(x))
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.reshape(-1))


# --- contenders: a model and its loss, and its optimiser -----------------------------------------

Loss = Callable[[Tensor], Tensor]
"""Loss of a batch of ids [B, T + 1]."""


def _adamw(model: nn.Module, fused: bool | None) -> torch.optim.Optimizer:
    """Decay on matrices only; ``fused`` None leaves torch's default."""
    weights = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in weights if p.ndim > 1], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in weights if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=BETAS, fused=fused)


def nanogpt(shape: Shape) -> tuple[nn.Module, Loss, torch.optim.Optimizer]:
    """Fused AdamW on CUDA only, as its recipe has it."""
    model = PlainGPT(shape).to(shape.device)
    called = torch.compile(model) if shape.compile else model
    optimizer = _adamw(model, True if shape.device == "cuda" else None)
    return model, lambda ids: called(ids[:, :-1], ids[:, 1:]), optimizer


def huggingface(shape: Shape) -> tuple[nn.Module, Loss, torch.optim.Optimizer]:
    """``GPT2LMHeadModel`` with SDPA and its Trainer's default optimiser, fused AdamW."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=shape.vocab,
        n_positions=shape.n_ctx,
        n_embd=shape.d_model,
        n_layer=shape.n_layer,
        n_head=shape.n_head,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        use_cache=False,
        attn_implementation="sdpa",
    )
    model = GPT2LMHeadModel(config).to(shape.device)
    called = torch.compile(model) if shape.compile else model
    # it shifts the labels itself
    loss = lambda ids: called(input_ids=ids[:, :-1], labels=ids[:, :-1]).loss  # noqa: E731
    return model, loss, _adamw(model, True)


def litgpt(shape: Shape) -> tuple[nn.Module, Loss, torch.optim.Optimizer]:
    """litgpt's ``GPT`` (its default rotary, LayerNorm, GELU) and its pretraining loss."""
    from litgpt.config import Config
    from litgpt.model import GPT
    from litgpt.utils import chunked_cross_entropy

    config = Config(
        block_size=shape.n_ctx,
        vocab_size=shape.vocab,
        padded_vocab_size=shape.vocab,
        n_layer=shape.n_layer,
        n_head=shape.n_head,
        n_embd=shape.d_model,
        intermediate_size=4 * shape.d_model,
        parallel_residual=False,
        bias=False,
    )
    model = GPT(config).to(shape.device)
    called = torch.compile(model) if shape.compile else model
    optimizer = _adamw(model, True if shape.device == "cuda" else None)
    return model, lambda ids: chunked_cross_entropy(called(ids[:, :-1]), ids[:, 1:]), optimizer


# Each takes one lever away from ours; ``allocator`` is the environment, set by the caller.
LEVERS = ("head", "attention", "products", "fused", "denormals", "allocator")


def ours(
    shape: Shape, without: str = "", own_architecture: bool = False
) -> tuple[nn.Module, Loss, torch.optim.Optimizer]:
    """``scaling_law.train``: GPT-2's architecture, or ours by default; ``without`` a lever."""
    from scaling_law.spec.model import ModelSpec
    from scaling_law.spec.optim import OptimSpec
    from scaling_law.train import device, kernels
    from scaling_law.train.architectures.gpt import GPT
    from scaling_law.train.optim import make_optimizer

    if without == "head":
        kernels.chunked_head_pays = lambda hidden, weight: False
    elif without == "attention":
        kernels.ATTENTION_TIMES = (sys.maxsize, 0)
    elif without == "products":
        kernels._ONEDNN = None
    device.prepare_process(shape.device, threads=1)
    if without == "denormals":
        torch.set_flush_denormal(False)
    like_gpt2 = {"norm": "layernorm", "activation": "gelu", "position": "learned"}
    like_gpt2 |= {"tied": True, "qk_norm": False}
    spec = ModelSpec(
        vocab_size=shape.vocab,
        n_ctx=shape.n_ctx,
        n_layer=shape.n_layer,
        d_model=shape.d_model,
        n_head=shape.n_head,
        n_kv_head=shape.n_head,
        d_ff=4 * shape.d_model,
        **({} if own_architecture else like_gpt2),
    )
    model = GPT(spec, seed=0).to(shape.device)
    optim = OptimSpec(lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, rule="benchmark")
    optimizer = make_optimizer(model, optim, shape.device)
    if without == "fused":
        optimizer = _adamw(model, False)
    called = torch.compile(model.loss) if shape.compile else model.loss
    return model, lambda ids: called(ids[:, :-1], ids[:, 1:]), optimizer


CONTENDERS: dict[str, Callable[[Shape], tuple[nn.Module, Loss, torch.optim.Optimizer]]] = {
    "slaw": ours,
    "slaw, own architecture": lambda shape: ours(shape, own_architecture=True),
    "nanogpt": nanogpt,
    "huggingface": huggingface,
    "litgpt": litgpt,
    **{f"slaw without {name}": lambda s, n=name: ours(s, without=n) for name in LEVERS},  # type: ignore[misc]
}


TRAINER = "slaw, whole trainer"


# --- one process ----------------------------------------------------------------------------------


class Runner:
    """A built contender; takes timed steps."""

    def __init__(self, shape: Shape, contender: str) -> None:
        self.shape, self.contender = shape, contender
        torch.manual_seed(0)
        self.model, self.loss, self.optimizer = CONTENDERS[contender](shape)
        self.model.train()
        generator = torch.Generator().manual_seed(0)
        size = (8, shape.batch, shape.n_ctx + 1)
        self.ids = torch.randint(0, shape.vocab, size, generator=generator)
        self.taken = 0
        if shape.dtype == "fp32":
            self.context: Callable[[], Any] = contextlib.nullcontext
        else:
            self.context = lambda: torch.autocast(shape.device, dtype=_DTYPES[shape.dtype])

    def step(self) -> float:
        """One training step; seconds of CPU time, or of wall time on an accelerator."""
        on_cpu = self.shape.device == "cpu"
        clock = time.process_time if on_cpu else time.perf_counter
        ids = self.ids[self.taken % len(self.ids)]
        began = clock()
        with self.context():
            loss = self.loss(ids.to(self.shape.device, non_blocking=True))
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if not on_cpu:
            torch.cuda.synchronize()
        self.taken += 1
        return clock() - began

    def steps(self, count: int) -> dict[str, Any]:
        """``count`` steps: seconds each, page faults a step, parameters."""
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        seconds = [self.step() for _ in range(count)]
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
        params = sum(p.numel() for p in self.model.parameters())
        return {"seconds": seconds, "faults_per_step": faults / count, "params": params}


class TrainerRunner(Runner):
    """The same steps as ``slaw run`` takes them: batches, schedule, checks, clock, heartbeat.

    Without evaluations and checkpoints, whose price is a matter of how many are asked for.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape, "slaw")
        from scaling_law.files.layout import RunDir
        from scaling_law.spec.data import DataSpec
        from scaling_law.spec.optim import OptimSpec
        from scaling_law.spec.resources import Resources
        from scaling_law.spec.run import EvalSpec, RunSpec
        from scaling_law.spec.schedule import ScheduleSpec
        from scaling_law.train import loop
        from scaling_law.train.begin import Job, trainable_of
        from scaling_law.train.evaluate import Examples
        from scaling_law.train.measure import Meter
        from scaling_law.train.state import State

        assert shape.device == "cpu", "its clock is the process's"
        self.loop = loop
        optim = OptimSpec(lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, rule="benchmark")
        spec = RunSpec(
            label="benchmark",
            model=self.model.spec,
            data=DataSpec(corpus="none", tokenizer="bytes", vocab_size=257),
            schedule=ScheduleSpec(warmup_steps=10),
            optim=optim,
            eval=EvalSpec(curve_points=0),
            batch_tokens=shape.tokens,
            total_steps=10**9,
            precision=shape.dtype,
            seed=0,
        )
        run_dir = RunDir(Path(tempfile.mkdtemp()))
        self.job = Job(
            spec=spec, resources=Resources(), run_dir=run_dir, dataset=_Batches(self.ids)
        )
        trainable = trainable_of(spec, self.model)
        examples = Examples(spec=spec, dataset=self.job.dataset, trainable=trainable)
        self.state = State(
            model=self.model,
            trainable=trainable,
            meter=Meter(examples, "cpu", contextlib.nullcontext, self.job.log),
            optimizer=self.optimizer,
            scaler=torch.amp.GradScaler("cpu", enabled=False),
            micro_seqs=shape.batch,
        )
        self.pace = loop.Pace(0)

    def step(self) -> float:
        began = time.process_time()
        with self.state.clock():
            loss = self.loop._accumulate_gradients(self.job, self.state)
            problem = self.loop.apply_gradients(self.job, self.state, loss)
        assert not problem, problem
        self.loop.between_steps(self.job, self.state)
        self.pace.tell(self.job, self.state.step)
        return time.process_time() - began


class _Batches:
    """What the trainer asks of a dataset, from memory, with a dataset's gathering."""

    fingerprint = "benchmark"

    def __init__(self, ids: Tensor) -> None:
        self.seqs, self.width = ids.shape[1], ids.shape[2]
        self.stream = ids.flatten().to(torch.int32).numpy()

    def batch(self, split: str, step: int, **kinds: int) -> Any:
        from scaling_law.data.batch import Batch

        first = (step * self.seqs) % (len(self.stream) // self.width - self.seqs)
        rows = np.arange(first, first + self.seqs)[:, None] * self.width + np.arange(self.width)
        ids = self.stream[rows].astype(np.int64)
        return Batch(inputs=ids[:, :-1], targets=ids[:, 1:])


def matmul_flops(device: str, dtype: str, seconds: float = 0.5) -> float:
    """FLOP/s of the device's best square product of this dtype: what no step can beat."""
    kind = _DTYPES.get(dtype, torch.float32)
    best = 0.0
    for size in (512, 1024, 2048) if device == "cpu" else (4096, 8192, 16384):
        a = torch.randn(size, size, device=device).to(kind)
        clock = time.process_time if device == "cpu" else time.perf_counter
        ended = time.perf_counter() + seconds
        while time.perf_counter() < ended:
            began = clock()
            a @ a
            if device != "cpu":
                torch.cuda.synchronize()
            best = max(best, 2 * size**3 / (clock() - began))
    return best


def versions() -> dict[str, str]:
    """What is installed in this interpreter, of what matters here."""
    installed = {"python": platform.python_version()}
    for name in ("torch", "transformers", "litgpt", "scaling_law"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            installed[name] = importlib.metadata.version(name)
    return installed


def serve(contender: str) -> None:
    """Answer jobs until the input ends."""
    torch.set_num_threads(1)
    runner: Runner | None = None
    for line in sys.stdin:
        job = json.loads(line)
        try:
            if "steps" in job:
                assert runner is not None, "steps before a shape"
                answer = runner.steps(job["steps"])
            elif "matmul" in job:
                answer = {"flops": matmul_flops(**job["matmul"])}
            else:
                shape = Shape(**job)
                is_trainer = contender == TRAINER
                runner = TrainerRunner(shape) if is_trainer else Runner(shape, contender)
                answer = {"built": asdict(runner.shape), "versions": versions()}
        except Exception as problem:  # a peer that is not there or cannot: said in the table
            answer = {"error": f"{type(problem).__name__}: {problem}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--serve", required=True, choices=(*CONTENDERS, TRAINER))
    serve(parser.parse_args().serve)
