"""1 - sqrt(progress): falls fast at first (Hagele 2024, arXiv 2405.18392)."""

from __future__ import annotations

import math

from scaling_law.parts import NoSettings
from scaling_law.spec.cooldowns import Cooldown


def shape(progress: float, settings: NoSettings) -> float:
    """1 - sqrt(progress)."""
    return 1 - math.sqrt(progress)


COOLDOWN = Cooldown(shape=shape)
