"""The first part of a longer run's cosine: the run stops before its schedule ends.

It is what a loss read in the middle of a long run has been trained with. It shows the mistake of
taking such losses for those of a finished run (Hoffmann 2022, arXiv 2203.15556, section 2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from scaling_law.parts import NoSettings
from scaling_law.spec.cooldowns import cosine
from scaling_law.spec.schedule import ScheduleSpec
from scaling_law.spec.schedules import Schedule
from scaling_law.spec.values import Number


@dataclass(frozen=True, kw_only=True)
class Settings:
    """``length`` is that of the schedule over that of the run."""

    length: Annotated[float, Number("length of the schedule over the run's", above=1, high=1e3)] = (
        2.0
    )


def factor(step: int, total_steps: int, spec: ScheduleSpec, settings: Settings) -> float:
    """Half a cosine that would end after ``length`` times the run's steps."""
    after = max(1.0, settings.length * total_steps - spec.warmup_steps)
    remaining = cosine.shape((step - spec.warmup_steps) / after, NoSettings())
    return spec.final_frac + (1 - spec.final_frac) * remaining


SCHEDULE = Schedule(factor=factor, annealed=lambda spec, settings: False, settings=Settings)
