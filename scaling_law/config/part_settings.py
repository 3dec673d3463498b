"""Read a part's ``Settings`` from plain values, with pydantic."""

from __future__ import annotations

import dataclasses
import functools
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import TypeAdapter


FORBID = {"extra": "forbid"}


class Refused(Exception):  # noqa: N818 - a list of errors, not an error of its own
    """Errors in pydantic's form (``loc``, ``type``, ``msg``, ``input``)."""

    def __init__(self, errors: list[dict[str, Any]]) -> None:
        super().__init__(f"{len(errors)} errors")
        self.errors = errors


def part_settings(kind: type, values: dict[str, Any]) -> Any:
    """An instance of a part's ``Settings``, from plain values.

    Raises ``Refused`` with every error.
    """
    if not values and not _required(kind):
        return _as_read(kind())  # most configs set nothing, which needs no pydantic
    from pydantic import ValidationError

    try:
        return _as_read(read_settings(kind, values))
    except ValidationError as problem:
        raise Refused([dict(error) for error in problem.errors(include_url=False)]) from None


def read_settings(kind: type, values: Any) -> Any:
    """An instance of a part's dataclass. Raises pydantic's ``ValidationError``."""
    # JSON mode is the strict mode in which lists may become tuples
    return settings_adapter(kind).validate_json(json.dumps(values), strict=True)


def _as_read(settings: Any) -> Any:
    """``settings`` whose default for a float may be an int: the config is written with a float.

    A config that is read again then has the same text, by which a sweep's folder knows it.
    """
    floats = {
        field.name: float(value)
        for field in dataclasses.fields(settings)
        if type(value := getattr(settings, field.name)) is int
        and str(getattr(field.type, "__name__", field.type)).startswith(
            ("float", "Annotated[float")
        )
    }
    return dataclasses.replace(settings, **floats) if floats else settings


def _required(kind: type) -> bool:
    return any(
        f.default is f.default_factory is dataclasses.MISSING for f in dataclasses.fields(kind)
    )


@functools.cache
def settings_adapter(kind: type) -> TypeAdapter[Any]:
    """Pydantic's reader of a part's ``Settings``, made once a process."""
    from pydantic import ConfigDict, TypeAdapter

    if not hasattr(kind, "__pydantic_config__"):
        kind.__pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[attr-defined]
    return TypeAdapter(kind)
