"""1 - progress."""

from __future__ import annotations

from scaling_law.parts import NoSettings
from scaling_law.spec.cooldowns import Cooldown


def shape(progress: float, settings: NoSettings) -> float:
    """1 - progress."""
    return 1 - progress


COOLDOWN = Cooldown(shape=shape)
