"""The peak rate to the end: the run never decays, so its end is not a point of a law."""

from __future__ import annotations

from scaling_law.parts import NoSettings
from scaling_law.spec.schedule import ScheduleSpec
from scaling_law.spec.schedules import Schedule


def factor(step: int, total_steps: int, spec: ScheduleSpec, settings: NoSettings) -> float:
    """1 at every step."""
    return 1.0


def annealed(spec: ScheduleSpec, settings: NoSettings) -> bool:
    """Never."""
    return False


SCHEDULE = Schedule(factor=factor, annealed=annealed)
