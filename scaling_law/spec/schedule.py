"""Specify the learning rate's schedule, a pure function of the step that needs no saved state."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from scaling_law import parts
from scaling_law.spec.component import Component
from scaling_law.spec.fields import OMIT_EMPTY, at_least, check_part, chosen_by, of_axis, one_of
from scaling_law.spec.to_json import SpecPart

if TYPE_CHECKING:
    from scaling_law.spec.cooldowns import Cooldown
    from scaling_law.spec.schedules import Schedule

# How a run's learning rate ends: decayed, never decayed, or at the last branch point of a trunk.
ENDS = ("annealed", "hot", "trunk")


@dataclass(frozen=True, kw_only=True)
class ScheduleSpec(SpecPart):
    """The learning rate by step, as a shape between 0 and 1.

    ``shape``: name of the schedule.
    ``warmup_steps``: steps of the linear warm-up.
    ``decay_steps``: steps of the cooldown; None for a run without one, such as a trunk.
    ``cooldown``: name of the cooldown's shape.
    ``final_frac``: fraction of the peak that the decay ends at.
    ``shape_part``, ``cooldown_part``: the parts, where they have settings that are not at their
    default or are a user's own file; else None.
    ``recorded_end``: how the learning rate ends under a user's own schedule, one of ``ENDS``; the
    plan records it, so that reading a record does not execute that file. A run that is solved in
    closed form has no learning rate and ends ``annealed``.
    """

    shape: str = "wsd"
    warmup_steps: int = field(default=0, metadata=of_axis("horizon"))
    decay_steps: int | None = field(default=None, metadata=of_axis("horizon"))
    cooldown: str = "1-sqrt"
    final_frac: float = 0.0
    shape_part: Component | None = field(default=None, metadata=chosen_by("schedule.shape", None))
    cooldown_part: Component | None = field(
        default=None, metadata=chosen_by("schedule.cooldown", None)
    )
    recorded_end: str | None = field(default=None, metadata=OMIT_EMPTY | of_axis("horizon"))

    def __post_init__(self) -> None:
        check_part("schedule", self.shape, self.shape_part)
        check_part("cooldown", self.cooldown, self.cooldown_part)
        at_least(0, warmup_steps=self.warmup_steps, final_frac=self.final_frac)
        at_least(1, decay_steps=self.decay_steps)
        if self.recorded_end is not None:
            one_of("recorded_end", self.recorded_end, ENDS)

    @cached_property
    def part(self) -> Schedule:
        """The schedule's part. Raises ``ConfigError`` without the user's own file."""
        part: Schedule = parts.load("schedule", self._component.reference)
        return part

    @cached_property
    def settings(self) -> Any:
        """The schedule's own settings."""
        return self._component.settings_as(self.part.settings)

    @property
    def _component(self) -> Component:
        return self.shape_part or Component(name=self.shape)

    @cached_property
    def end(self) -> str:
        """How the learning rate ends: one of ``ENDS``."""
        return self.recorded_end or self.end_by_part()

    def end_by_part(self) -> str:
        """Return ``end`` as the part itself gives it."""
        if self.part.shares_trunk and self.decay_steps is None:
            return "trunk"
        return "annealed" if self.part.annealed(self, self.settings) else "hot"

    def cooled_down(self, progress: float) -> float:
        """The fraction of the rate before the cooldown that is left at ``progress`` through it."""
        return self.final_frac + (1 - self.final_frac) * self.cooldown_left(progress)

    def cooldown_left(self, progress: float) -> float:
        """Return the share of the fall that the cooldown's shape leaves at ``progress``."""
        shape, settings = self._cooldown
        return shape(progress, settings)

    @cached_property
    def _cooldown(self) -> tuple[Callable[[float, Any], float], Any]:
        component = self.cooldown_part or Component(name=self.cooldown)
        part: Cooldown = parts.load("cooldown", component.reference)
        return part.shape, component.settings_as(part.settings)


def lr_factor(schedule: ScheduleSpec, step: int, total_steps: int) -> float:
    """Return the fraction of the peak learning rate at ``step`` (0-based, < ``total_steps``).

    Warm-up is linear and reaches 1 at step ``warmup_steps``; after it the schedule's part decides.
    Where horizons share a trunk, the cooldown starts at ``total_steps - decay_steps`` with the
    trunk's own factor, so a branch and the same run trained from step 0 agree on every step before
    it. Raises ``ValueError`` outside the run.
    """
    if not 0 <= step < total_steps:
        raise ValueError(f"step {step} is outside the run's {total_steps} steps")
    if step < schedule.warmup_steps:
        return (step + 1) / (schedule.warmup_steps + 1)
    return schedule.part.factor(step, total_steps, schedule, schedule.settings)


def check_rates(schedule: ScheduleSpec, total_steps: int) -> None:
    """Check a schedule's part, and its cooldown's, against their contracts at a few steps.

    Raises ``ValueError`` for a bad factor, and where runs of another length, or the trunk, would
    have another rate before the cooldown.
    """
    cooldown = total_steps - (schedule.decay_steps or 0)
    middle = (schedule.warmup_steps + cooldown) // 2
    last = total_steps - 1
    steps = {schedule.warmup_steps, middle, cooldown - 1, cooldown, (cooldown + last) // 2, last}
    shares_trunk = schedule.part.shares_trunk and schedule.decay_steps is not None
    trunk = dataclasses.replace(schedule, decay_steps=None)
    for progress in (0.0, 0.5) if shares_trunk else ():
        left = schedule.cooldown_left(progress)
        if not _is_factor(left):
            raise ValueError(
                f"the cooldown leaves {left!r} at progress {progress}, expected a finite number of"
                " at least 0"
            )
    for step in sorted(step for step in steps if schedule.warmup_steps <= step <= last):
        factor = lr_factor(schedule, step, total_steps)
        if not _is_factor(factor):
            raise ValueError(
                f"the learning rate's factor is {factor!r} at step {step} of {total_steps},"
                " expected a finite number of at least 0"
            )
        if not shares_trunk or step >= cooldown:
            continue
        for other in (trunk, schedule):
            shared = lr_factor(other, step, 2 * total_steps)
            if shared != factor:
                raise ValueError(
                    f"the learning rate's factor before the cooldown depends on the run's length"
                    f" ({factor:g} and {shared:g} at step {step}), so that horizons cannot share a"
                    " trunk"
                )


def _is_factor(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value < math.inf


def lr_phase(schedule: ScheduleSpec, step: int, total_steps: int) -> str:
    """Return the phase of the learning rate at ``step``: ``warm-up``, ``stable`` or ``decay``.

    ``step`` is as in ``lr_factor``; one beyond the run counts as its last. Only the spec is read,
    so that showing a run does not execute a user's own schedule.
    """
    step = min(step, total_steps - 1)
    if step < schedule.warmup_steps:
        return "warm-up"
    if schedule.decay_steps is not None:
        return "decay" if step >= total_steps - schedule.decay_steps else "stable"
    return "decay" if schedule.end == "annealed" else "stable"
