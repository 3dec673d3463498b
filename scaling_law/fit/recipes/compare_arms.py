"""Arms of one sweep against a reference arm: differences of loss and compute multipliers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scaling_law.errors import ConfigError, FitError
from scaling_law.fit.arms import ArmRuns
from scaling_law.fit.recipes.compare_recipes import RecipeComparison, compare_sweeps

# As many as other fits beside the main one have: each arm costs a comparison.
_RESAMPLES = 200


@dataclass(frozen=True, kw_only=True)
class ArmComparison:
    """An arm against the reference.

    ``versus`` has the reference as recipe A and the arm as B; None for the reference itself and
    where the losses do not compare, for the reason ``why_not``.
    """

    arm: ArmRuns
    versus: RecipeComparison | None = None
    why_not: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values; the comparison as ``slaw report A B --json`` has it."""
        versus = None if self.versus is None else self.versus.to_json()
        return {"arm": self.arm.name, "comparison": versus, "why_not": self.why_not}


def compare_arms(
    arms: Sequence[ArmRuns], *, convention: str = "matmul", resamples: int = _RESAMPLES
) -> tuple[ArmComparison, ...]:
    """Compare each arm with the first."""
    reference, *others = arms
    compared = [ArmComparison(arm=reference, why_not="the reference")]
    for arm in others:
        try:
            versus = compare_sweeps(
                reference.records,
                arm.records,
                (reference.name, arm.name),
                convention=convention,
                resamples=resamples,
            )
            compared.append(ArmComparison(arm=arm, versus=versus))
        except (ConfigError, FitError) as problem:
            compared.append(ArmComparison(arm=arm, why_not=str(problem)))
    return tuple(compared)
