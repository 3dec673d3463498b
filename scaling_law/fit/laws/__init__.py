"""Laws, one small file each; ``load_law(name)`` finds ``laws/<name>.py``.

Every law here is a power of a sum of power laws,

    L = ( sum_j exp(u_j) )^kappa,    u = intercepts + slopes . log x (+ bend),

whose u_j are linear in the law's internal parameters (intercepts are logarithms of the
coefficients) except for the bend. That gives exact gradients of log L for all laws.

A user's own law is the same file anywhere, named by its path: ``slaw fit DIR --law mine.py``.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

from scaling_law import parts
from scaling_law.errors import ConfigError
from scaling_law.fit.laws.law import Law, Term, why_broken

__all__ = ["Law", "Term", "is_own", "joint_laws", "law_names", "load_law", "read_law_file"]


def law_names() -> tuple[str, ...]:
    """The names of all laws."""
    return parts.names("law")


# The laws of users' own files that this process was asked to read, by the file's name.
_OWN: dict[str, Law] = {}


def read_law_file(text: str) -> str:
    """Read a user's own law, and return the name by which ``load_law`` finds it from now on.

    ``text`` is the path of its file, with ``:variable`` after it or not; any other text is returned
    as it is. A file is executed only here, where the user names it. Raises ``ConfigError`` naming
    what is wrong with the file.
    """
    plain, colon, variable = text.partition(".py:")
    if not (colon or text.endswith(".py")):
        return text
    path = Path(f"{plain}.py" if colon else text).expanduser()
    reference = parts.refer("law", str(path), Path())
    law: Law = parts.load("law", reference)
    if why := why_broken(law):
        raise ConfigError(f"{path}: {why}; see scaling_law.fit.laws")
    known = _OWN.get(path.name)
    law = dataclasses.replace(law, name=path.name, file_sha256=reference.source_sha256)
    if known is not None and known.file_sha256 != law.file_sha256:
        raise ConfigError(f"{path}: another law's file is named {path.name} too; rename one")
    _OWN[path.name] = known or law
    return f"{path.name}:{variable}" if colon else path.name


def is_own(name: str) -> bool:
    """Whether a law's name is that of a user's own file: ``mine.py``, or ``mine.py:tokens``."""
    return name.partition(":")[0].endswith(".py")


def load_law(name: str) -> Law:
    """The ``LAW`` of ``laws/<name>.py``; ``name:variable`` is a law of FLOPs in another variable.

    ``mine.py`` is the law of a user's own file that ``read_law_file`` has read. Raises
    ``ConfigError`` naming the laws.
    """
    plain, _, variable = name.partition(":")
    if is_own(name) and plain not in _OWN:
        raise ConfigError(
            f"the law {plain} is a user's own file; name it on the command line: --law PATH/{plain}"
        )
    law: Law = _OWN[plain] if plain in _OWN else parts.load("law", parts.Reference(name=plain))
    return _on(law, variable, name) if variable else law


def _on(law: Law, variable: str, name: str) -> Law:
    if variable not in ("params", "tokens", "flops"):
        raise ConfigError(f"law {name!r}: expected {law.name}:params, :tokens or :flops")
    try:
        return law.on(variable)
    except ValueError as problem:
        raise ConfigError(f"law {name!r}: {problem}") from None


@functools.cache
def joint_laws() -> tuple[str, ...]:
    """The laws in params and tokens that ``slaw fit`` compares, in order of preference."""
    ranked = [law for law in map(load_law, law_names()) if law.fitted_on == "all"]
    return tuple(law.name for law in sorted(ranked, key=lambda law: law.rank))
