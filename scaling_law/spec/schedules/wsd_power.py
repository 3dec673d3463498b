"""Warm-up, a slow fall by a power of the step, cooldown: horizons share a trunk, as under wsd.

The best constant rate falls with the horizon. On a trunk that falls itself, each horizon's cooldown
begins at a rate that suits it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from scaling_law.spec.schedule import ScheduleSpec
from scaling_law.spec.schedules import Schedule
from scaling_law.spec.values import Number


@dataclass(frozen=True, kw_only=True)
class Settings:
    """``power`` is the power of the step by which the trunk's rate falls; 0 is wsd."""

    power: Annotated[float, Number("power of the step", low=0, high=2)] = 0.2


def factor(step: int, total_steps: int, spec: ScheduleSpec, settings: Settings) -> float:
    """(step / end of warm-up)^-power, up to the cooldown; from there that times its shape."""
    first = total_steps - (spec.decay_steps or 0)
    if spec.decay_steps is None or step < first:
        return _trunk(step, spec, settings)
    return _trunk(first, spec, settings) * spec.cooled_down((step - first) / spec.decay_steps)


def _trunk(step: int, spec: ScheduleSpec, settings: Settings) -> float:
    return float(((step + 1) / (spec.warmup_steps + 1)) ** -settings.power)


def annealed(spec: ScheduleSpec, settings: Settings) -> bool:
    """All but the trunk."""
    return spec.decay_steps is not None


SCHEDULE = Schedule(factor=factor, annealed=annealed, shares_trunk=True, settings=Settings)
