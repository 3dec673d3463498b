"""Several cycles of a falling rate: SGDR's cosines, or WSD that cools down and goes on.

Each cycle has as many steps. Its rate is constant, then falls as ``schedule.cooldown`` says over
the last ``fall`` of the cycle. With ``fall: 1`` and ``cooldown: cosine`` these are warm restarts
(Loshchilov 2016, arXiv 1608.03983, equation 5, T_mult 1); with a short fall a run that cools down
several times and goes on from there (Wen 2024, arXiv 2410.05192, WSD-S).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from scaling_law.spec.schedule import ScheduleSpec
from scaling_law.spec.schedules import Schedule
from scaling_law.spec.values import Number


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the cycles.

    ``cycles`` is how many there are;
    ``fall`` is the share of a cycle over which its rate falls.
    """

    cycles: Annotated[int, Number("cycles of the rate", low=1, high=1000)] = 2
    fall: Annotated[float, Number("share of a cycle that falls", above=0, high=1)] = 1.0


def factor(step: int, total_steps: int, spec: ScheduleSpec, settings: Settings) -> float:
    """1 at the start of a cycle, which follows the warm-up or the cycle before it.

    Raises ``ValueError`` for cycles too short to fall.
    """
    length = (total_steps - spec.warmup_steps) / settings.cycles
    if length < 2:
        raise ValueError(
            f"{settings.cycles} cycles of the rate in {total_steps - spec.warmup_steps} steps after"
            " the warm-up; expected at least 2 steps a cycle: lower schedule.cycles, or train"
            " longer"
        )
    done = (step - spec.warmup_steps) / length % 1.0
    return spec.cooled_down(max(0.0, 1 - (1 - done) / settings.fall))


SCHEDULE = Schedule(factor=factor, annealed=lambda spec, settings: True, settings=Settings)
