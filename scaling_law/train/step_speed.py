"""Measure training steps on this CPU as runs take them, and choose their kernels by it.

    python -m scaling_law.train.step_speed SLOTS [PID] < shapes.json > steps.json

A shape's step is measured with the kernels that the thresholds choose, with torch's own, and with
each choice turned, by turns in one process, so that what else the machine does falls on all alike.
What is clearly faster is combined, measured again, and at the end held against both. A choice must
win by ``MARGIN`` each time; else the thresholds' stays. As many steps run beside the measured one
as will run beside a run of the sweep: they share caches and memory.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import select
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scaling_law.data.batch import Batch
from scaling_law.files.layout import RunDir
from scaling_law.files.process import end_with
from scaling_law.plan.stacking import gain
from scaling_law.plan.steps import (
    MOST_FLOPS,
    MeasuredStep,
    StepShape,
    measured_part,
    shape_from_json,
)
from scaling_law.spec.architectures.gpt import ATTENTION_BLOCK, BLOCKED_TIMES
from scaling_law.spec.counts import flops_per_token
from scaling_law.spec.data import DataSpec
from scaling_law.spec.kernels import PLAIN, Kernels
from scaling_law.spec.optim import OptimSpec
from scaling_law.spec.resources import Resources
from scaling_law.spec.run import EVAL_SEQS, EvalSpec, RunSpec
from scaling_law.spec.schedule import ScheduleSpec
from scaling_law.spec.to_json import to_json
from scaling_law.train import device, kernels, loop, stack_loop
from scaling_law.train.begin import Job, begin
from scaling_law.train.evaluate import evaluate
from scaling_law.train.forward import tensors_of
from scaling_law.train.optim import make_optimizer

# A choice must be faster than the thresholds' by this factor.
MARGIN = 1.03
# The CPU seconds of a comparison, unless the fewest rounds take longer, and its rounds.
_SECONDS, _FEWEST, _MOST = 0.5, 5, 20
_MEMBERS, _STACKED_ROUNDS = 3, 12
# Turning one choice may make another pay.
_PASSES = 3
_WARM_STEPS = 2
# More processes beside the measured one say little more, and each takes memory.
_MOST_BESIDE = 7
_SEQS = 1024  # of the invented text


class InventedText:
    """What a training loop asks of a dataset: random ids, in memory."""

    fingerprint = "invented"

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size
        self._ids: dict[int, np.ndarray[Any, Any]] = {}

    def keep_orders(self, count: int) -> None:
        """There are no orders to keep."""

    def batch(self, split: str, step: int, *, batch_seqs: int, n_ctx: int, seed: int) -> Batch:
        """Return sequences at places drawn anew each step, gathered as from a file."""
        if n_ctx not in self._ids:
            shape = (max(_SEQS, batch_seqs), n_ctx + 1)
            ids = np.random.default_rng(0).integers(self.vocab_size, size=shape)
            self._ids[n_ctx] = ids.astype(np.uint16 if self.vocab_size <= 2**16 else np.uint32)
        ids = self._ids[n_ctx]
        rows = np.random.default_rng((seed, step)).integers(len(ids), size=batch_seqs)
        wanted = ids[rows].astype(np.int64)
        return Batch(inputs=wanted[:, :-1], targets=wanted[:, 1:])


class Stepper:
    """Takes training steps of one shape as a run does: batch, schedule, checks and clock included.

    Without curve and checkpoints. A context manager: its folder goes at the end.
    """

    def __init__(self, shape: StepShape) -> None:
        self.shape = shape
        self._folder = tempfile.TemporaryDirectory(prefix="slaw-steps-")
        spec = RunSpec(
            label="measured",
            model=shape.model,
            data=DataSpec(corpus="none", vocab_size=max(257, shape.model.vocab_size)),
            schedule=ScheduleSpec(warmup_steps=10),
            optim=OptimSpec(lr=1e-4, rule="measured"),
            eval=EvalSpec(curve_points=0),
            batch_tokens=shape.tokens,
            total_steps=10**9,
            precision=shape.precision,
            seed=0,
        )
        never = Resources(checkpoint_every_seconds=float("inf"))
        never = dataclasses.replace(never, gradient_checkpointing=shape.recompute)
        run_dir = RunDir(Path(self._folder.name))
        text: Any = InventedText(shape.model.vocab_size)
        self.job = Job(spec=spec, resources=never, run_dir=run_dir, dataset=text)
        self.state = begin(self.job)
        self._pace = loop.Pace(0)
        self._optimizers: dict[bool, Any] = {}

    def __enter__(self) -> Stepper:
        return self

    def __exit__(self, *problem: object) -> None:
        self._folder.cleanup()

    def step(self, chosen: Kernels | None) -> float:
        """Take a step with these kernels; return its CPU seconds."""
        job, state = self.job, self.state
        kernels.use(chosen)
        fused = kernels.fused_adamw()
        if fused not in self._optimizers:
            self._optimizers[fused] = make_optimizer(state.model, job.spec.optim, "cpu")
        state.optimizer = self._optimizers[fused]
        began = time.process_time()
        with state.clock():
            problem = loop.apply_gradients(job, state, loop.accumulate_gradients(job, state))
        loop.between_steps(job, state)
        self._pace.report(job, state.step)
        seconds = time.process_time() - began
        assert not problem, problem
        return seconds

    def evaluation(self) -> float:
        """Evaluate a few sequences as a run does; return the CPU seconds of a token."""
        shape = self.shape
        most = int(MOST_FLOPS / flops_per_token(shape.model) / shape.model.n_ctx)
        seqs = max(1, min(EVAL_SEQS, most))
        batch = self.job.dataset.batch("val", 0, batch_seqs=seqs, n_ctx=shape.model.n_ctx, seed=1)
        context = device.autocast("cpu", shape.precision)
        times = []
        for _ in range(6):
            began = time.process_time()
            evaluate(self.state.trainable, [tensors_of(batch)], "cpu", context)
            times.append(time.process_time() - began)
        return statistics.median(times[1:]) / (seqs * shape.model.n_ctx)


def turned(base: Kernels, shape: StepShape) -> list[Kernels]:
    """Return ``base`` with each choice turned that this shape and torch leave open."""
    model = shape.model
    choices: list[dict[str, Any]] = []
    if shape.precision == "fp32":
        if model.position != "alibi" and model.n_ctx <= BLOCKED_TIMES[1]:
            choices.append({"attention_block": 0 if base.attention_block else ATTENTION_BLOCK})
        if kernels.has_onednn():
            by_onednn = not base.linear
            choices.append({"linear": by_onednn, "gradients": by_onednn})
            if base.head_rows:
                choices.append({"head_products": not base.head_products})
        rows = 0 if base.head_rows else min(shape.tokens, kernels.chunk_rows(model.vocab_size))
        by_onednn = bool(rows) and kernels.has_onednn()
        choices.append({"head_rows": rows, "head_products": by_onednn})
    choices.append({"fused": not base.fused})
    return [dataclasses.replace(base, **changed) for changed in choices]


def gains(stepper: Stepper, base: Kernels, others: Sequence[Kernels]) -> dict[Kernels, float]:
    """Return how many times as fast as with ``base`` a step is with each of ``others``.

    The one nearer to 1 of two figures: the median of the ratios of neighbours in time, and the
    ratio of the fastest steps. Where they disagree which is faster it is 1.
    """
    entrants = list(dict.fromkeys([base, *others]))
    for chosen in entrants * _WARM_STEPS:
        stepper.step(chosen)
    times: dict[Kernels, list[float]] = {chosen: [] for chosen in entrants}
    spent, rounds = 0.0, 0
    while rounds < _FEWEST or (spent < _SECONDS and rounds < _MOST):
        # begin with another one each round: none always follows the same
        start = rounds % len(entrants)
        for chosen in entrants[start:] + entrants[:start]:
            times[chosen].append(stepper.step(chosen))
            spent += times[chosen][-1]
        rounds += 1
    return {chosen: _careful_ratio(times[base], times[chosen]) for chosen in entrants}


def _careful_ratio(base: Sequence[float], own: Sequence[float]) -> float:
    typical = statistics.median(b / o for b, o in zip(base, own, strict=True))
    best = min(base) / min(own)
    if typical >= 1 and best >= 1:
        return min(typical, best)
    return max(typical, best) if typical <= 1 and best <= 1 else 1.0


def choose(stepper: Stepper) -> tuple[Kernels, float, float]:
    """Return the fastest kernels, and how much faster they are than the thresholds' and torch's."""
    shape = stepper.shape
    thresholds = kernels.by_thresholds(shape.model, shape.tokens)
    if shape.precision != "fp32":
        thresholds = Kernels(fused=thresholds.fused)
    chosen = thresholds
    for _ in range(_PASSES):
        better = _faster(stepper, chosen)
        if better == chosen:
            break
        chosen = better
    # what was gained turn by turn must also be there as a whole
    over = gains(stepper, thresholds, [PLAIN, chosen])
    if over[chosen] <= MARGIN:
        chosen = thresholds
    if over[PLAIN] > max(MARGIN, over[chosen]):
        chosen = PLAIN
    return chosen, over[chosen], over[chosen] / over[PLAIN]


def _faster(stepper: Stepper, base: Kernels) -> Kernels:
    """Return kernels that beat ``base`` twice, with one or more choices turned; else ``base``."""
    others = turned(base, stepper.shape)
    first = gains(stepper, base, [PLAIN, *others])
    faster = [one for one in (PLAIN, *others) if first[one] > MARGIN]
    if not faster:
        return base
    joint = _together(base, [one for one in faster if one in others])
    second = gains(stepper, base, [*faster, joint])
    best = max(second, key=lambda one: second[one])
    return best if second[best] > MARGIN else base


def _together(base: Kernels, winners: Sequence[Kernels]) -> Kernels:
    """Return ``base`` with everything turned that ``winners`` turned; later ones win."""
    changed: dict[str, Any] = {}
    for one in winners:
        own = to_json(one)
        changed |= {name: own[name] for name, value in to_json(base).items() if own[name] != value}
    return dataclasses.replace(base, **changed)


def measure(shape: StepShape, beside: _Beside) -> MeasuredStep | None:
    """Choose the kernels of a shape, then time its step with them; None where it is too large."""
    part = measured_part(shape)
    if part is None:
        return None
    beside.train(part)
    with Stepper(part) as stepper:
        chosen, over_thresholds, over_plain = choose(stepper)
        step = MeasuredStep(
            shape=shape,
            kernels=chosen,
            over_thresholds=round(over_thresholds, 3),
            over_plain=round(over_plain, 3),
        )
        if part != shape:
            return step
        times = [stepper.step(chosen)]
        while len(times) < _FEWEST or (sum(times) < _SECONDS and len(times) < _MOST):
            times.append(stepper.step(chosen))
        return dataclasses.replace(
            step,
            seconds=statistics.median(times[1:]),
            eval_seconds=stepper.evaluation(),
            stack_gain=_stack_gain(stepper, chosen),
        )


def _stack_gain(alone: Stepper, chosen: Kernels) -> float | None:
    """Return how many times as fast a stack of three is as its members; None for no stack."""
    shape = alone.shape
    if gain(shape.model, shape.tokens, "cpu") <= 1 or shape.recompute:
        return None
    with contextlib.ExitStack() as folders:
        members = [folders.enter_context(Stepper(shape)) for _ in range(_MEMBERS)]
        for member in members:
            member.step(chosen)
        step = stack_loop.stepping([(member.job, member.state) for member in members])
        together: list[float] = []
        in_turn: list[float] = []
        for _ in range(_STACKED_ROUNDS):
            batches = [alone.step(chosen) for _ in members]
            began = time.process_time()
            step()
            together.append(time.process_time() - began)
            in_turn.append(sum(batches))
    return round(_careful_ratio(in_turn[1:], together[1:]), 3)


class _Beside:
    """Processes that train a shape beside the measured one; they end with this process.

    They are forked before torch's first backward pass, after which torch allows no fork.
    """

    def __init__(self, count: int) -> None:
        self._pipes: list[int] = []
        self._pids: list[int] = []
        for _ in range(count):
            reading, writing = os.pipe()
            pid = os.fork()
            if pid == 0:
                with contextlib.suppress(BaseException):
                    for other in (writing, *self._pipes):
                        os.close(other)
                    _train_as_asked(reading)
                os._exit(0)
            os.close(reading)
            self._pipes.append(writing)
            self._pids.append(pid)

    def train(self, shape: StepShape) -> None:
        """Have all of them train this shape from now on."""
        line = json.dumps(to_json(shape)).encode() + b"\n"
        for pipe in self._pipes:
            with contextlib.suppress(BrokenPipeError):
                os.write(pipe, line)

    def close(self) -> None:
        """End them; each stops after its step."""
        for pipe in self._pipes:
            os.close(pipe)
        for pid in self._pids:
            os.waitpid(pid, 0)


def _train_as_asked(pipe: int) -> None:
    """Train the shape of the newest line of ``pipe``, until it is closed."""
    with os.fdopen(pipe, "r") as lines:
        line = lines.readline()
        while line:
            with Stepper(shape_from_json(json.loads(line))) as stepper:
                while not select.select([pipe], [], [], 0)[0]:
                    stepper.step(None)
            line = lines.readline()


def measured(
    shapes: Sequence[StepShape], slots: int
) -> Iterator[tuple[StepShape, MeasuredStep | None]]:
    """Yield each shape with its measured step, None for one that is too large to be measured."""
    device.prepare_process("cpu", threads=1)
    beside = _Beside(min(slots - 1, _MOST_BESIDE))
    try:
        for shape in shapes:
            yield shape, measure(shape, beside)
    finally:
        beside.close()
        kernels.use(None)


def main(arguments: list[str]) -> int:
    """Measure the shapes on standard input; write a line of JSON for each that was measured.

    ``arguments`` are the slots and, optionally, the pid of the process with which to end.
    """
    if len(arguments) > 1:
        end_with(int(arguments[1]))
    asked: list[Mapping[str, Any]] = json.load(sys.stdin)
    for _, step in measured([shape_from_json(dict(one)) for one in asked], int(arguments[0])):
        if step is not None:
            print(json.dumps(to_json(step)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
