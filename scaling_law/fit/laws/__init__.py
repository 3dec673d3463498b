"""Laws, one small file each; ``load_law(name)`` finds ``laws/<name>.py``.

Every law here is a power of a sum of power laws,

    L = ( sum_j exp(u_j) )^kappa,    u = intercepts + slopes . log x,

whose u_j are linear in the law's internal parameters (intercepts are logarithms of the
coefficients). That gives exact gradients and Hessians of log L for all of them at once.
"""

from __future__ import annotations

import importlib
import pkgutil

from scaling_law.errors import ConfigError
from scaling_law.fit.laws.law import Law, Term

__all__ = ["Law", "Term", "law_names", "load_law"]


def law_names() -> list[str]:
    """Every law's name."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name != "law")


def load_law(name: str) -> Law:
    """The ``LAW`` of ``laws/<name>.py``. Raises ``ConfigError`` naming what there is."""
    if name not in law_names():
        raise ConfigError(f"law {name!r}: expected one of {', '.join(law_names())}")
    law: Law = importlib.import_module(f"{__name__}.{name}").LAW
    return law
