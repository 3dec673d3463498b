"""Half a cosine: slow at both ends."""

from __future__ import annotations

import math

from scaling_law.parts import NoSettings
from scaling_law.spec.cooldowns import Cooldown


def shape(progress: float, settings: NoSettings) -> float:
    """Half a cosine from 1 to 0."""
    return 0.5 * (1 + math.cos(math.pi * progress))


COOLDOWN = Cooldown(shape=shape)
