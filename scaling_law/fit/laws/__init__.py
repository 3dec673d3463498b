"""Laws, one small file each; ``load_law(name)`` finds ``laws/<name>.py``.

Every law here is a power of a sum of power laws,

    L = ( sum_j exp(u_j) )^kappa,    u = intercepts + slopes . log x (+ bend),

whose u_j are linear in the law's internal parameters (intercepts are logarithms of the
coefficients) except for the bend. That gives exact gradients of log L for all laws.
"""

from __future__ import annotations

import functools

from scaling_law import parts
from scaling_law.errors import ConfigError
from scaling_law.fit.laws.law import Law, Term

__all__ = ["Law", "Term", "joint_laws", "law_names", "load_law"]


def law_names() -> tuple[str, ...]:
    """The names of all laws."""
    return parts.names("law")


@functools.cache
def load_law(name: str) -> Law:
    """The ``LAW`` of ``laws/<name>.py``; ``name:variable`` is a law of FLOPs in another variable.

    Raises ``ConfigError`` naming the laws.
    """
    plain, _, variable = name.partition(":")
    law: Law = parts.load("law", parts.Reference(name=plain))
    if not variable:
        return law
    if variable not in ("params", "tokens", "flops"):
        raise ConfigError(f"law {name!r}: expected {plain}:params, :tokens or :flops")
    try:
        return law.on(variable)
    except ValueError as problem:
        raise ConfigError(f"law {name!r}: {problem}") from None


@functools.cache
def joint_laws() -> tuple[str, ...]:
    """The laws in params and tokens that ``slaw fit`` compares, in order of preference."""
    ranked = [law for law in map(load_law, law_names()) if law.fitted_on == "all"]
    return tuple(law.name for law in sorted(ranked, key=lambda law: law.rank))
