"""Compute the learning rate as a pure function of (step, spec), which needs no saved state."""

from __future__ import annotations

import dataclasses
import math

from scaling_law.spec.run import ScheduleSpec


def lr_factor(schedule: ScheduleSpec, step: int, total_steps: int) -> float:
    """Return the fraction of the peak learning rate at ``step`` (0-based, < ``total_steps``).

    Warm-up is linear and reaches 1 at step ``warmup_steps``; after it the schedule's part decides.
    Where horizons share a trunk, the cooldown starts at ``total_steps - decay_steps`` with the
    trunk's own factor, so a branch and the same run trained from step 0 agree on every step before
    it. Raises ``ValueError`` outside the run.
    """
    if not 0 <= step < total_steps:
        raise ValueError(f"step {step} is outside the run's {total_steps} steps")
    if step < schedule.warmup_steps:
        return (step + 1) / (schedule.warmup_steps + 1)
    return schedule.part.factor(step, total_steps, schedule, schedule.settings)


def check_rates(schedule: ScheduleSpec, total_steps: int) -> None:
    """Check a schedule's part, and its cooldown's, against their contracts at a few steps.

    Raises ``ValueError`` for a bad factor, and where runs of another length, or the trunk, would
    have another rate before the cooldown.
    """
    cooldown = total_steps - (schedule.decay_steps or 0)
    middle = (schedule.warmup_steps + cooldown) // 2
    last = total_steps - 1
    steps = {schedule.warmup_steps, middle, cooldown - 1, cooldown, (cooldown + last) // 2, last}
    shares_trunk = schedule.part.shares_trunk and schedule.decay_steps is not None
    trunk = dataclasses.replace(schedule, decay_steps=None)
    for progress in (0.0, 0.5) if shares_trunk else ():
        left = schedule.cooldown_left(progress)
        if not _is_factor(left):
            raise ValueError(
                f"the cooldown leaves {left!r} at progress {progress}, expected a finite number of"
                " at least 0"
            )
    for step in sorted(step for step in steps if schedule.warmup_steps <= step <= last):
        factor = lr_factor(schedule, step, total_steps)
        if not _is_factor(factor):
            raise ValueError(
                f"the learning rate's factor is {factor!r} at step {step} of {total_steps},"
                " expected a finite number of at least 0"
            )
        if not shares_trunk or step >= cooldown:
            continue
        for other in (trunk, schedule):
            shared = lr_factor(other, step, 2 * total_steps)
            if shared != factor:
                raise ValueError(
                    f"the learning rate's factor before the cooldown depends on the run's length"
                    f" ({factor:g} and {shared:g} at step {step}), so that horizons cannot share a"
                    " trunk"
                )


def _is_factor(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value < math.inf


def lr_phase(schedule: ScheduleSpec, step: int, total_steps: int) -> str:
    """Return the phase of the learning rate at ``step``: ``warm-up``, ``stable`` or ``decay``.

    ``step`` is as in ``lr_factor``; one beyond the run counts as its last. Only the spec is read,
    so that showing a run does not execute a user's own schedule.
    """
    step = min(step, total_steps - 1)
    if step < schedule.warmup_steps:
        return "warm-up"
    if schedule.decay_steps is not None:
        return "decay" if step >= total_steps - schedule.decay_steps else "stable"
    return "decay" if schedule.end == "annealed" else "stable"
