"""Learning rate as a pure function of (step, spec): never state that is saved or restored.

WSD (warmup-stable-decay): MiniCPM, arXiv 2404.06395; the 1-sqrt cooldown: Hagele 2024,
arXiv 2405.18392.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from scaling_law.spec.run import ScheduleSpec


def _cosine(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress))


COOLDOWN_SHAPES: dict[str, Callable[[float], float]] = {
    "1-sqrt": lambda progress: 1 - math.sqrt(progress),
    "linear": lambda progress: 1 - progress,
    "cosine": _cosine,
}


def lr_factor(schedule: ScheduleSpec, step: int, total_steps: int) -> float:
    """The fraction of the peak learning rate used by ``step`` (0-based, < ``total_steps``).

    Warm-up is linear and reaches 1 at step ``warmup_steps``. A cooldown starts at
    ``total_steps - decay_steps``, where its factor is still 1, so a branch and the straight
    run it stands for agree on every step before it. Raises ``ValueError`` outside the run.
    """
    if not 0 <= step < total_steps:
        raise ValueError(f"step {step} is outside the run's {total_steps} steps")
    if step < schedule.warmup_steps:
        return (step + 1) / (schedule.warmup_steps + 1)
    if schedule.shape == "constant":
        return 1.0
    if schedule.shape == "wsd":
        if schedule.decay_steps is None:
            return 1.0
        start, length = total_steps - schedule.decay_steps, schedule.decay_steps
        shape = COOLDOWN_SHAPES[schedule.cooldown]
    else:
        start = schedule.warmup_steps
        length = max(1, total_steps - start)
        shape = COOLDOWN_SHAPES[schedule.shape]
    if step < start:
        return 1.0
    remaining = shape((step - start) / length)
    return schedule.final_frac + (1 - schedule.final_frac) * remaining


def lr_phase(schedule: ScheduleSpec, step: int, total_steps: int) -> str:
    """What the learning rate does at ``step``: ``warm-up``, ``stable`` or ``decay``.

    ``step`` as in ``lr_factor``; one beyond the run counts as its last.
    """
    step = min(step, total_steps - 1)
    if step < schedule.warmup_steps:
        return "warm-up"
    if schedule.shape == "constant":
        return "stable"
    if schedule.shape != "wsd":
        return "decay"
    if schedule.decay_steps is None or step < total_steps - schedule.decay_steps:
        return "stable"
    return "decay"
