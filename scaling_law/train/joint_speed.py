"""Measure the step of several devices against one's, on the same sequences.

``python -m scaling_law.train.joint_speed SHAPE``, in each process of a group that torch's launcher
starts, prints the speedup as JSON in the first. By turns that one process takes all sequences
while the others wait, and each takes its share. Devices gain at most as many times one's speed as
they are: where more is measured, because the machine was busy when one worked alone, they take
further turns, and what is left above is cut off.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable

import torch

from scaling_law import parts
from scaling_law.errors import SlawError, one_line
from scaling_law.parts import Reference
from scaling_law.plan.steps import JointShape, joint_shape_from_json
from scaling_law.spec.optim import OptimSpec
from scaling_law.spec.run import DEFAULT_OBJECTIVE
from scaling_law.train import device
from scaling_law.train.architectures import build
from scaling_law.train.forward import Trainable
from scaling_law.train.group import ALONE, Group, joined
from scaling_law.train.optim import make_optimizer
from scaling_law.train.parallel import Spread, kind_of
from scaling_law.train.tensors import Tensors

# The first steps of a turn allocate memory; of the others, of all turns, the fastest counts: the
# machine may be busy.
_WARM_STEPS, _STEPS, _TURN_SECONDS = 2, 4, 1.0
_TURNS, _MOST_TURNS = 3, 6
_PATIENCE_SECONDS = 300.0


def _seconds(shape: JointShape, group: Group) -> float:
    """The seconds of a step of ``group``, which has all sequences of ``shape`` together."""
    kind = shape.device
    together = kind_of(shape.parallel) if group.size > 1 else None
    recipe = shape.model, 0, shape.recompute
    model = together.build(*recipe, kind) if together else build(*recipe).to(kind)
    objective = parts.load("objective", Reference(name=DEFAULT_OBJECTIVE))
    trainable = Trainable(model, objective)
    spread = together.spread(trainable, group) if together else Spread(trainable)
    optimizer = make_optimizer(model, OptimSpec(lr=1e-3, rule="measured"), kind)
    generator = torch.Generator().manual_seed(0)
    size = (shape.seqs, shape.model.n_ctx + 1)
    ids = torch.randint(0, shape.model.vocab_size, size, generator=generator)
    batch = Tensors(inputs=ids[:, :-1].contiguous(), targets=ids[:, 1:].contiguous())
    examples = batch.of_rank(group.rank, group.size).to(kind)
    context = device.autocast(kind, shape.precision)
    times: list[float] = []
    began = time.perf_counter()

    def goes_on() -> bool:
        few = len(times) < _WARM_STEPS + _STEPS
        return group.is_first and (few or time.perf_counter() - began < _TURN_SECONDS)

    while group.any(goes_on()):  # all begin together
        start = time.perf_counter()
        with context():
            loss, extra = spread.losses(examples)
        total = loss if extra is None else loss + extra
        total.backward()  # type: ignore[no-untyped-call]
        spread.clip(1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        group.sum(float(loss.detach()))
        device.synchronize(kind)
        times.append(time.perf_counter() - start)
    return min(times[_WARM_STEPS:])


def speedup_of(turn: Callable[[], tuple[float, float]], group: Group) -> float:
    """One device's seconds a step over those of the group, at most its size.

    ``turn`` measures both once. All processes of the group call it together; the first one's
    seconds count.
    """
    alone = together = math.inf
    for number in range(_MOST_TURNS):
        seconds = turn()
        alone, together = min(alone, seconds[0]), min(together, seconds[1])
        is_too_fast = group.is_first and alone > group.size * together
        if number + 1 >= _TURNS and not group.any(is_too_fast):
            break
    return min(alone / together, float(group.size))


def main(arguments: list[str]) -> int:
    """Exit code: 0, or 2 where it cannot be measured."""
    shape = joint_shape_from_json(json.loads(arguments[0]))
    try:
        with joined(shape.device, _PATIENCE_SECONDS) as group:
            device.prepare_process(shape.device, threads=1)

            def turn() -> tuple[float, float]:
                alone = _seconds(shape, ALONE) if group.is_first else 0.0
                group.any(False)
                return alone, _seconds(shape, group)

            speedup = speedup_of(turn, group)
            if group.is_first:
                print(json.dumps({"speedup": speedup}), flush=True)
    except (SlawError, RuntimeError) as problem:
        print(f"slaw: {one_line(str(problem))}", file=sys.stderr)
        return SlawError.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
