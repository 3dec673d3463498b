"""Learning-rate schedules, one file each: ``schedule: {shape: wsd}`` is ``schedules/wsd.py``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scaling_law.parts import NoSettings

if TYPE_CHECKING:
    from scaling_law.spec.schedule import ScheduleSpec


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A learning rate over steps, as a fraction of its peak.

    ``factor(step, total_steps, spec, settings)`` is the fraction at ``step``, counted from 0, of a
    run of ``total_steps``. It is asked from step ``spec.warmup_steps`` on: the linear warm-up
    before is the same for all schedules. It is a pure function, so that a resumed run continues
    exactly;
    ``annealed(spec, settings)`` says whether a run ends with its rate decayed, so that its loss is
    a point of a law;
    ``shares_trunk`` says that horizons may branch from one trunk: a run ends in a cooldown of
    ``spec.decay_steps``, and before it the factor does not depend on ``total_steps``. The trunk
    itself has ``decay_steps`` None;
    ``settings`` is a dataclass of the schedule's own settings.
    """

    factor: Callable[[int, int, ScheduleSpec, Any], float]
    annealed: Callable[[ScheduleSpec, Any], bool]
    shares_trunk: bool = False
    settings: type = NoSettings


def falling(shape: Callable[[float, NoSettings], float]) -> Schedule:
    """Return the schedule that falls to ``final_frac`` in this shape of a cooldown.

    It falls from the end of the warm-up to the end of the run, which is therefore annealed.
    """

    def factor(step: int, total_steps: int, spec: ScheduleSpec, settings: NoSettings) -> float:
        length = max(1, total_steps - spec.warmup_steps)
        remaining = shape((step - spec.warmup_steps) / length, settings)
        return spec.final_frac + (1 - spec.final_frac) * remaining

    return Schedule(factor=factor, annealed=lambda spec, settings: True)
