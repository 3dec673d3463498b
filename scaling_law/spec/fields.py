"""Declare the fields of a spec: the axis each belongs to, the part it holds, its checks.

Runs that differ in a field of the axis ``recipe`` are not points of one law (``spec.recipe``). A
field belongs to that axis unless ``of_axis`` names another.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any, Literal

from scaling_law import parts
from scaling_law.errors import quoted
from scaling_law.spec.component import Component

# Metadata of a later field: it is written only when set, so that older runs keep their names.
OMIT_EMPTY = {"omit_empty": True}
# Metadata of a field that names a place on this machine: it is never written.
UNWRITTEN = {"unwritten": True}

Axis = Literal["recipe", "size", "horizon", "seed", "label"]


def of_axis(axis: Axis) -> dict[str, str]:
    """Return the metadata of a field that is not part of the recipe.

    ``size`` and ``horizon`` hold what a law varies, and what a rule sets by it; ``seed``
    distinguishes repeats; ``label`` holds names, how a run is measured, and on how many devices it
    trains, which change a loss by rounding at most.
    """
    return {"axis": axis}


def chosen_by(config_key: str, default: str | None) -> dict[str, Any]:
    """Return the metadata of a field that holds a part.

    ``config_key`` names the part in a config; its settings are next to that key, or under it where
    the part is a section. ``default`` is the part of a run whose JSON has none; None where another
    field names the part and this one holds its settings or file.
    """
    return {**OMIT_EMPTY, "config_key": config_key, "default_part": default}


def written_as(config_key: str) -> dict[str, Any]:
    """Return the metadata of a later field that a recipe lists as text, under ``config_key``."""
    return {**OMIT_EMPTY, "text_key": config_key}


def axis_of(spec_field: dataclasses.Field[Any]) -> str:
    """The axis that a field of a spec belongs to."""
    axis: str = spec_field.metadata.get("axis", "recipe")
    return axis


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise ``ValueError`` for a value that is not allowed."""
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}, expected one of {', '.join(allowed)}")


def check_part(word: str, name: str, part: Component | None) -> None:
    """Raise ``ValueError`` where no part of the package has this name, unless it is a user's."""
    if part is not None and part.name != name:
        raise ValueError(f"{word} is {quoted(name)}, and its part is {quoted(part.name)}")
    if part is None or part.source_sha256 is None:
        one_of(word, name, parts.names(word))


def check_run_id(name: str) -> None:
    """Raise ``ValueError`` for a run id that could name a file outside its sweep."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise ValueError(f"run id {quoted(name)}, expected letters, digits, . _ and -")


def at_least(low: float, **values: float | None) -> None:
    """Raise ``ValueError`` naming the first value below ``low``; None passes."""
    for name, value in values.items():
        if value is not None and not value >= low:
            raise ValueError(f"{name} is {value}, expected at least {low}")
