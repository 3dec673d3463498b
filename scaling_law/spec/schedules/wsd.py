"""Warm-up, constant rate, cooldown (WSD; MiniCPM, arXiv 2404.06395): horizons share a trunk."""

from __future__ import annotations

from scaling_law.parts import NoSettings
from scaling_law.spec.schedule import ScheduleSpec
from scaling_law.spec.schedules import Schedule


def factor(step: int, total_steps: int, spec: ScheduleSpec, settings: NoSettings) -> float:
    """1 up to the first step of the cooldown, that step included; then the cooldown's shape."""
    length = spec.decay_steps
    if length is None or step < total_steps - length:
        return 1.0
    return spec.cooled_down((step - (total_steps - length)) / length)


def annealed(spec: ScheduleSpec, settings: NoSettings) -> bool:
    """All but the trunk."""
    return spec.decay_steps is not None


SCHEDULE = Schedule(factor=factor, annealed=annealed, shares_trunk=True)
