"""Shapes of a cooldown, one file each: ``schedule: {cooldown: linear}`` is ``linear.py``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scaling_law.parts import NoSettings


@dataclass(frozen=True, kw_only=True)
class Cooldown:
    """How the learning rate falls at the end of a schedule that has a cooldown.

    ``shape(progress, settings)`` is the rest of the fall at ``progress`` through the cooldown, from
    1 at progress 0 to 0 at progress 1; ``schedule.final_frac`` scales it;
    ``settings`` is a dataclass of the shape's own settings.
    """

    shape: Callable[[float, Any], float]
    settings: type = NoSettings
