"""wsd whose rate rises by a power of the step: a warm-up of another shape than the linear one.

The linear warm-up that all schedules have comes before the rise; ``optim.warmup_tokens`` of one
batch makes it a single step. With the power 0.5 the rate rises fast at first, with 2 slowly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from scaling_law.spec.schedule import ScheduleSpec
from scaling_law.spec.schedules import Schedule, wsd
from scaling_law.spec.values import Number


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the rise.

    ``rise_steps`` are the steps at the end of which the rate is at its peak;
    ``rise_power`` is the power of the share of these steps that the rate goes with.
    """

    rise_steps: Annotated[int, Number("steps until the peak", "count", low=1)] = 100
    rise_power: Annotated[float, Number("power of the step", above=0, high=10)] = 0.5


def factor(step: int, total_steps: int, spec: ScheduleSpec, settings: Settings) -> float:
    """((step + 1) / rise_steps)^rise_power up to 1, times what wsd gives."""
    risen = min(1.0, (step + 1) / settings.rise_steps)
    whole = wsd.SCHEDULE.factor(step, total_steps, spec, settings)
    return float(risen**settings.rise_power * whole)


SCHEDULE = Schedule(
    factor=factor, annealed=wsd.SCHEDULE.annealed, shares_trunk=True, settings=Settings
)
