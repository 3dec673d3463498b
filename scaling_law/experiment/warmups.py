"""Say whether the runs of a comparison warm up alike.

A warm-up that is too short or too long costs loss. Horizons that share a trunk share its warm-up,
which a rule sets by the shortest of them, so that a base with several horizons may have a shorter
one than arms with one: such a comparison measures the warm-up, too.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

REMEDY = "optim.warmup_tokens gives all arms the same warm-up"


@dataclass(frozen=True, order=True)
class Warmup:
    """The warm-up of a run.

    ``steps`` are its steps;
    ``of`` are all steps of the run.
    """

    steps: int
    of: int

    def is_like(self, other: Warmup) -> bool:
        """Whether both have as many steps, or the same share of their runs, but for one step."""
        apart = abs(self.steps / self.of - other.steps / other.of)
        return min(abs(self.steps - other.steps), apart * min(self.of, other.of)) <= 1

    @property
    def text(self) -> str:
        """``13 of 128 steps``."""
        return f"{self.steps} of {self.of} steps"


def unlike(ours: Collection[Warmup], theirs: Collection[Warmup], base: str = "the base") -> str:
    """Return how warm-ups differ from those of ``base``; "" where all of them are alike.

    No warm-up at all is an unknown one, which is not known to be alike: a run without one has 0
    steps of it.
    """
    if not ours or not theirs:
        return f"{f'the warm-up of {base}' if ours else 'its warm-up'} is not known"
    for their in theirs:
        for our in ours:
            if not our.is_like(their):
                return f"its warm-up has {our.text}, that of {base} {their.text}"
    return ""
