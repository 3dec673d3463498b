"""Learning rate as a pure function of (step, spec): never state that is saved or restored."""

from __future__ import annotations

from scaling_law.spec.run import ScheduleSpec


def lr_factor(schedule: ScheduleSpec, step: int, total_steps: int) -> float:
    """The fraction of the peak learning rate used by ``step`` (0-based, < ``total_steps``).

    Warm-up is linear and reaches 1 at step ``warmup_steps``; from there on the schedule's part
    says. Where horizons share a trunk, the cooldown starts at ``total_steps - decay_steps`` with
    the trunk's own factor, so a branch and the straight run it stands for agree on every step
    before it. Raises ``ValueError`` outside the run.
    """
    if not 0 <= step < total_steps:
        raise ValueError(f"step {step} is outside the run's {total_steps} steps")
    if step < schedule.warmup_steps:
        return (step + 1) / (schedule.warmup_steps + 1)
    return schedule.part.factor(step, total_steps, schedule, schedule.settings)


def lr_phase(schedule: ScheduleSpec, step: int, total_steps: int) -> str:
    """What the learning rate does at ``step``: ``warm-up``, ``stable`` or ``decay``.

    ``step`` as in ``lr_factor``; one beyond the run counts as its last. The spec tells, so that
    a user's own schedule is not executed to show a run.
    """
    step = min(step, total_steps - 1)
    if step < schedule.warmup_steps:
        return "warm-up"
    if schedule.decay_steps is not None:
        return "decay" if step >= total_steps - schedule.decay_steps else "stable"
    return "decay" if schedule.end == "annealed" else "stable"
