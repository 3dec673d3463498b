"""A straight line from the end of the warm-up to the end of the run."""

from __future__ import annotations

from scaling_law.spec.cooldowns import linear
from scaling_law.spec.schedules import falling

SCHEDULE = falling(linear.shape)
