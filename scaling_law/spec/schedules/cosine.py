"""Half a cosine from the end of the warm-up to the end of the run (arXiv 1608.03983)."""

from __future__ import annotations

from scaling_law.spec.cooldowns import cosine
from scaling_law.spec.schedules import falling

SCHEDULE = falling(cosine.shape)
