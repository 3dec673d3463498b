"""Half a cosine from the end of the warm-up to the end of the run (arXiv 1608.03983)."""

from __future__ import annotations

from scaling_law.parts import NoSettings
from scaling_law.spec.cooldowns import cosine
from scaling_law.spec.schedule import ScheduleSpec
from scaling_law.spec.schedules import Schedule


def factor(step: int, total_steps: int, spec: ScheduleSpec, settings: NoSettings) -> float:
    """Falls from 1 to ``final_frac``."""
    length = max(1, total_steps - spec.warmup_steps)
    remaining = cosine.shape((step - spec.warmup_steps) / length, settings)
    return spec.final_frac + (1 - spec.final_frac) * remaining


def annealed(spec: ScheduleSpec, settings: NoSettings) -> bool:
    """Always."""
    return True


SCHEDULE = Schedule(factor=factor, annealed=annealed)
