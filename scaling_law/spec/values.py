"""Describe and read the values of a config's keys: texts, numbers with units, unions.

These are annotations for pydantic, which they load only to build a schema.
"""

from __future__ import annotations

import types
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from scaling_law import units
from scaling_law.errors import described

MAX_COUNT = 1e40  # tokens, FLOPs: more than anything can be, and far from overflowing
# No model has been as large in any dimension; products of these stay within floats.
MAX_WIDTH, MAX_TABLE, MAX_PARAMS = 1_000_000, 100_000_000, 1e15
DATA_SCALES: dict[str, int] = {
    "xs": 1_000_000,
    "sm": 5_000_000,
    "md": 20_000_000,
    "lg": 100_000_000,
    "xl": 500_000_000,
}
"""Tokens."""


def optional(source: Any) -> tuple[Any, bool]:
    """Return the type without ``| None``, and whether it had it."""
    if get_origin(source) in (Union, types.UnionType):
        rest = [arg for arg in get_args(source) if arg is not type(None)]
        if len(rest) == 1:
            return rest[0], True
    return source, False


@dataclass(frozen=True)
class Text:
    """A text, one of ``choices`` or matching ``pattern`` where given.

    ``doc`` is its line in the JSON schema.
    """

    doc: str
    choices: tuple[str, ...] = ()
    pattern: str | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        nullable = optional(source)[1]
        if self.choices:
            schema: Any = core_schema.literal_schema(list(self.choices))
        else:
            schema = core_schema.str_schema(pattern=self.pattern, strict=True)
        return core_schema.nullable_schema(schema) if nullable else schema

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return {**handler(schema), "description": self.doc}


@dataclass(frozen=True)
class Number:
    """A number within bounds, read as ``unit`` says.

    ``count`` takes ``5M``; ``tokens`` also the named data scales; ``seconds`` takes ``2h``;
    ``bytes`` takes ``4GB``, and ``gigabytes`` a bare number of them as well; None a plain number.
    Counts are at least 1 and at most ``MAX_COUNT`` unless bounded closer: products of them must
    stay within floats.
    """

    doc: str
    unit: Literal["count", "tokens", "seconds", "bytes", "gigabytes"] | None = None
    low: float | None = None
    above: float | None = None
    below: float | None = None
    high: float | None = None

    def read(self, value: Any, whole: bool) -> float:
        """Read ``value`` as a number. Raises ``ValueError``, which says what was expected."""
        if self.unit is None:
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"expected a {'whole ' * whole}number, found {described(value)}")
            number: float = value
        elif isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError(f"expected {self.forms()}, found {described(value)}")
        elif self.unit == "seconds":
            number = units.parse_seconds(value)
        elif self.unit in ("bytes", "gigabytes"):
            number = units.parse_bytes(value, "B" if self.unit == "bytes" else "GB")
        elif self.unit == "tokens" and value in DATA_SCALES:
            number = DATA_SCALES[str(value)]
        else:
            number = units.parse_count(value)
        if whole and number != int(number):
            raise ValueError(f"expected a whole number, found {described(value)}")
        # 0 and 0.0 are one value but two texts in the JSON that names a run
        number = int(number) if whole else float(number)
        self._check(number, value)
        return number

    def forms(self) -> str:
        """How the value may be written."""
        return {
            "count": "a count such as 5M or 1e18",
            "tokens": f"tokens such as 5M, or {', '.join(DATA_SCALES)}",
            "seconds": "a duration such as 2h or 90m",
            "bytes": "a size such as 4GB",
            "gigabytes": "a size such as 4GB",
        }.get(self.unit or "", "a number")

    def _check(self, number: float, value: Any) -> None:
        counted = self.unit in ("count", "tokens")
        if counted and self.high is None and number > MAX_COUNT:
            raise ValueError(f"expected at most {MAX_COUNT:g}, found {described(value)}")
        if counted and self.low is None and number < 1:
            raise ValueError(f"expected at least 1, found {described(value)}")
        if self.low is not None and number < self.low:
            raise ValueError(f"expected at least {self.low:g}, found {described(value)}")
        if self.above is not None and number <= self.above:
            raise ValueError(f"expected above {self.above:g}, found {described(value)}")
        if self.high is not None and number > self.high:
            raise ValueError(f"expected at most {self.high:g}, found {described(value)}")
        if self.below is not None and number >= self.below:
            raise ValueError(f"expected below {self.below:g}, found {described(value)}")

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        inner, nullable = optional(source)
        whole = inner is int
        schema: Any = core_schema.no_info_plain_validator_function(
            lambda value: self.read(value, whole), metadata={"whole": whole}
        )
        return core_schema.nullable_schema(schema) if nullable else schema

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        nullable = schema["type"] == "nullable"
        whole = (schema["schema"] if nullable else schema)["metadata"]["whole"]
        kinds = ["integer" if whole and self.unit is None else "number"]
        kinds += ["string"] if self.unit else []
        kinds += ["null"] if nullable else []
        bounds = {
            "minimum": self.low,
            "exclusiveMinimum": self.above,
            "maximum": self.high,
            "exclusiveMaximum": self.below,
        }
        known = {key: bound for key, bound in bounds.items() if bound is not None}
        doc = self.doc if self.unit is None else f"{self.doc} ({self.forms()})"
        return {"type": kinds if len(kinds) > 1 else kinds[0], "description": doc, **known}


@dataclass(frozen=True)
class Switch(Number):
    """``true`` for ``on``, ``false`` for off (None), or a number."""

    on: float = 1.0

    def read(self, value: Any, whole: bool) -> Any:
        if isinstance(value, bool):
            return self.on if value else None
        if not isinstance(value, int | float):
            raise ValueError(f"expected true, false or a number, found {described(value)}")
        return super().read(value, whole)

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        form = super().__get_pydantic_json_schema__(schema, handler)
        return {**form, "type": ["boolean", *form["type"]]}


@dataclass(frozen=True)
class Described:
    """Any type, with its line in the JSON schema."""

    doc: str

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return {**handler(schema), "description": self.doc}


@dataclass(frozen=True)
class NumberOr(Number):
    """A number (a whole one unless ``whole`` is off), or one of ``words``; absent otherwise."""

    words: tuple[str, ...] = ()
    whole: bool = True

    def read(self, value: Any, whole: bool) -> Any:
        if isinstance(value, str) and value in self.words:
            return value
        if self.unit is None and isinstance(value, str):
            raise ValueError(f"expected {self.forms()}, found {described(value)}")
        return super().read(value, self.whole)

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        # optional() does not take a union of three apart
        reads = core_schema.no_info_plain_validator_function(
            lambda value: self.read(value, self.whole), metadata={"whole": self.whole}
        )
        return core_schema.nullable_schema(reads)

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        plain = super().__get_pydantic_json_schema__(schema, handler)
        return {**plain, "type": list(dict.fromkeys([*plain["type"], "string"]))}

    def forms(self) -> str:
        """How the value may be written."""
        return f"{super().forms()}, or {', '.join(self.words)}"


class EmptyListError(ValueError):
    """The list at ``key`` of a section has no value; the error belongs where the key is written."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__("the list is empty; expected at least one value")


def kind_of(value: Any) -> str | None:
    """Return the member of an ``Either`` that a value picks; error paths leave it out."""
    kinds: dict[type, str] = {dict: "<mapping>", list: "<list>", str: "<text>"}
    return kinds.get(type(value))


@dataclass(frozen=True)
class Either:
    """A union whose member the YAML kind of the value picks, so that one member's errors show.

    With ``numbers`` the member for texts takes numbers as well.
    """

    doc: str
    numbers: bool = False

    def members(self, source: Any) -> dict[str, Any]:
        """The union's members by ``kind_of``."""
        members = {}
        for member in get_args(source):
            bare = get_args(member)[0] if get_origin(member) is Annotated else member
            origin = get_origin(bare) or bare
            kind = "<list>" if origin is tuple else "<text>" if origin is str else "<mapping>"
            members[kind] = member
        return members

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        inner = self.members(source)
        names = " or a ".join(kind.strip("<>") for kind in inner)
        return core_schema.tagged_union_schema(
            {kind: handler.generate_schema(member) for kind, member in inner.items()},
            discriminator=self._kind,
            custom_error_type="either",
            custom_error_message=f"expected a {names}",
        )

    def _kind(self, value: Any) -> str | None:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return "<text>" if self.numbers and is_number else kind_of(value)

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return {**handler(schema), "description": self.doc}


_NOT_ONE = "<not one>"


@dataclass(frozen=True)
class ByKey(Either):
    """A union of sections in which the one key of ``keys`` that is there picks the member.

    ``keys`` are (key, what it means) pairs in the order of the members.
    """

    keys: tuple[tuple[str, str], ...] = ()

    def members(self, source: Any) -> dict[str, Any]:
        """The union's members by their key, as error paths have it."""
        return {
            f"<{key}>": member for (key, _), member in zip(self.keys, get_args(source), strict=True)
        }

    def _there(self, value: dict[str, Any]) -> list[str]:
        return [key for key, _ in self.keys if key in value]

    def _picked(self, value: Any) -> str | None:
        """Return the member that a value picks; ``_NOT_ONE`` for none or several."""
        if not isinstance(value, dict):
            return None
        there = self._there(value)
        return f"<{there[0]}>" if len(there) == 1 else _NOT_ONE

    def _refuse(self, value: dict[str, Any]) -> Any:
        expected = " or ".join(f"{key} ({meaning})" for key, meaning in self.keys)
        there = " and ".join(self._there(value)) or "neither"
        raise ValueError(f"expected either {expected}; found {there}")

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        choices = {tag: handler.generate_schema(m) for tag, m in self.members(source).items()}
        # a check before the union would not accept JSON's lists as tuples
        choices[_NOT_ONE] = core_schema.no_info_plain_validator_function(self._refuse)
        return core_schema.tagged_union_schema(
            choices,
            discriminator=self._picked,
            custom_error_type="section",
            custom_error_message="expected keys and values",
        )

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        members = {tag: m for tag, m in schema["choices"].items() if tag != _NOT_ONE}
        return super().__get_pydantic_json_schema__({**schema, "choices": members}, handler)
