"""Warm-up, a slow fall by a power of the step, cooldown: horizons share a trunk, as under wsd.

The best constant rate falls with the horizon. On a trunk that falls itself, or under cooldowns that
begin lower the later they come, each horizon's cooldown begins at a rate that suits it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from scaling_law.spec.schedule import ScheduleSpec
from scaling_law.spec.schedules import Schedule
from scaling_law.spec.values import Number


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Powers of the step, counted from ``hold_steps`` or, where that is later, the warm-up's end.

    ``power`` is the power by which the trunk's rate falls from there; 0 is wsd;
    ``hold_steps`` is where the fall begins: a horizon whose cooldown begins there has a constant
    rate until then;
    ``cooldown_power`` is the power by which the rate that a cooldown begins at falls with the
    cooldown's first step, against the trunk's rate: an earlier cooldown begins above it, a later
    one below.
    """

    power: Annotated[float, Number("power of the step", low=0, high=2)] = 0.2
    hold_steps: Annotated[int, Number("steps before the fall", low=0)] = 0
    cooldown_power: Annotated[float, Number("power of the step", low=0, high=2)] = 0.0


def factor(step: int, total_steps: int, spec: ScheduleSpec, settings: Settings) -> float:
    """(step / first step of the fall)^-power, up to the cooldown; from there that times its shape.

    A cooldown begins at the trunk's factor there, times (its first step / first step of the
    fall)^-cooldown_power.
    """
    first = total_steps - (spec.decay_steps or 0)
    if spec.decay_steps is None or step < first:
        return _trunk(step, spec, settings)
    begin = _trunk(first, spec, settings) * _late(first, spec, settings) ** -settings.cooldown_power
    return float(begin * spec.cooled_down((step - first) / spec.decay_steps))


def _late(step: int, spec: ScheduleSpec, settings: Settings) -> float:
    """A step over the one that powers count from, both counted from 1."""
    return (step + 1) / (max(spec.warmup_steps, settings.hold_steps) + 1)


def _trunk(step: int, spec: ScheduleSpec, settings: Settings) -> float:
    return float(max(1.0, _late(step, spec, settings)) ** -settings.power)


def annealed(spec: ScheduleSpec, settings: Settings) -> bool:
    """All but the trunk."""
    return spec.decay_steps is not None


SCHEDULE = Schedule(factor=factor, annealed=annealed, shares_trunk=True, settings=Settings)
