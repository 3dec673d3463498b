"""Parts in a config: which ones it chooses, with the settings that each part declares itself.

A config writes a part's settings beside its name (``optim: {name: sgd, momentum: 0.9}``), or
under it where the part is a section of its own (``objective: {name: fim, rate: 0.5}``). They are
checked against the part's own ``Settings`` here; what is left is checked by ``schema``.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling_law import parts
from scaling_law.errors import ConfigError
from scaling_law.parts import Reference
from scaling_law.spec.component import Component
from scaling_law.spec.run import DEFAULT_OPTIMIZER, to_json

if TYPE_CHECKING:
    from pydantic import TypeAdapter

FORBID = {"extra": "forbid"}


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A place in a config where a part is chosen.

    ``word`` is the kind of part;
    ``section`` is the top-level key that holds it, or that it is;
    ``key`` names the part within the section; None where the section is the part itself: a name,
    or its name and settings;
    ``default`` is the part of a config that names none, None for no part;
    ``several`` says that the section is a list of parts;
    ``before`` is the section's key that the settings are written before: a config that chooses
    no parts is written as it was before parts could be chosen, so that folders know it again.
    """

    word: str
    section: str
    key: str | None = None
    default: str | None = None
    several: bool = False
    before: str | None = None


SLOTS = (
    Slot(
        word="optimizer", section="optim", key="name", default=DEFAULT_OPTIMIZER,
        before="weight_decay",
    ),
)  # fmt: skip


# Sections that are nothing but a part, or a list of parts.
PART_SECTIONS = tuple(slot.section for slot in SLOTS if slot.key is None)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A part as a config chooses it.

    ``word`` is its kind;
    ``reference`` says which part it is;
    ``settings`` is an instance of the part's ``Settings``.
    """

    word: str
    reference: Reference
    settings: Any

    @property
    def part(self) -> Any:
        """What the part's file exports."""
        return parts.load(self.word, self.reference)

    @property
    def spelled(self) -> str:
        """The name as a config writes it."""
        own = self.reference.source_sha256 is not None
        return f"{self.reference.name}.py" if own else self.reference.name

    @property
    def component(self) -> Component:
        """What a run records of it: settings at their default are absent."""
        return Component(
            name=self.reference.name,
            settings=tuple(sorted(parts.set_fields(self.settings).items())),
            source_sha256=self.reference.source_sha256,
        )


Choices = Mapping[str, tuple[Choice, ...]]


@dataclass(frozen=True, kw_only=True)
class Composed:
    """A config's plain values taken apart.

    ``rest`` is what ``schema`` checks, without the settings of parts;
    ``choices`` are the parts by kind;
    ``errors`` are problems in the form of pydantic's;
    ``unsettled`` are the sections whose part is not known, nor therefore its settings.
    """

    rest: Any
    choices: Choices
    errors: list[dict[str, Any]]
    unsettled: frozenset[str] = frozenset()


def compose(data: Any, folders: Sequence[Path]) -> Composed:
    """Take the parts out of a config's plain values.

    A user's own file is looked for in ``folders``. What is not of the right type is left in
    ``rest``, for ``schema`` to refuse.
    """
    if not isinstance(data, dict):
        return Composed(rest=data, choices={}, errors=[])
    rest = dict(data)
    choices: dict[str, tuple[Choice, ...]] = {}
    errors: list[dict[str, Any]] = []
    unsettled: set[str] = set()
    settings_of: dict[str, set[str]] = {}  # by section: one key may belong to two parts of it
    for slot in SLOTS:
        made: list[Choice] = []
        for where, name, given in _named(slot, data):
            try:
                reference = parts.refer(slot.word, name, *folders)
                part = parts.load(slot.word, reference)
            except ConfigError as problem:
                errors.append(_error((*where, slot.key) if slot.key else where, problem, name))
                unsettled.add(slot.section)
                continue
            own = {f.name for f in dataclasses.fields(part.settings)}
            values = {key: value for key, value in given.items() if key in own}
            settings_of.setdefault(slot.section, set()).update(own)
            if slot.key is None:
                strangers = sorted(given.keys() - own - {"name"})
                errors += [_unknown(where, key, given[key]) for key in strangers]
            try:
                settings = _settings(part.settings, values)
            except Refused as refused:
                errors += [{**error, "loc": (*where, *error["loc"])} for error in refused.errors]
                continue
            made.append(Choice(word=slot.word, reference=reference, settings=settings))
        choices[slot.word] = tuple(made)
        if slot.key is None:
            rest.pop(slot.section, None)
    for section, own in settings_of.items():
        if isinstance(rest.get(section), dict):
            rest[section] = {k: v for k, v in rest[section].items() if k not in own}
    return Composed(rest=rest, choices=choices, errors=errors, unsettled=frozenset(unsettled))


def _named(
    slot: Slot, data: Mapping[str, Any]
) -> Iterator[tuple[tuple[str | int, ...], str, dict[str, Any]]]:
    """Where each part of a slot is chosen, its name, and the keys beside it."""
    section = data.get(slot.section)
    if slot.key is not None:
        given = section if isinstance(section, dict) else {}
        name = given.get(slot.key, slot.default)
        if isinstance(name, str):
            yield (slot.section,), name, given
        return
    items = section if slot.several and isinstance(section, list) else [section]
    for number, item in enumerate(items):
        where = (slot.section, number) if slot.several else (slot.section,)
        if item is None and slot.default is not None:
            yield where, slot.default, {}
        elif isinstance(item, str):
            yield where, item, {}
        elif isinstance(item, dict) and isinstance(item.get("name"), str):
            yield where, item["name"], item


def _error(where: tuple[str | int, ...], problem: ConfigError, value: Any) -> dict[str, Any]:
    error = ValueError("; ".join(problem.lines))
    return {"loc": where, "type": "value_error", "ctx": {"error": error}, "input": value}


def _unknown(where: tuple[str | int, ...], key: str, value: Any) -> dict[str, Any]:
    return {"loc": (*where, key), "type": "unexpected_keyword_argument", "input": value, "msg": ""}


class Refused(Exception):  # noqa: N818 - a list of errors, not an error of its own
    """What pydantic found wrong, as it reports it (``loc``, ``type``, ``msg``, ``input``)."""

    def __init__(self, errors: list[dict[str, Any]]) -> None:
        super().__init__(f"{len(errors)} errors")
        self.errors = errors


def _settings(kind: type, values: dict[str, Any]) -> Any:
    """An instance of a part's ``Settings``. Raises ``Refused`` with every error."""
    if not values and not _required(kind):
        return kind()  # most configs set nothing: pydantic is not needed to know that
    from pydantic import ValidationError

    try:
        return settings_adapter(kind).validate_json(json.dumps(values), strict=True)
    except ValidationError as problem:
        raise Refused([dict(error) for error in problem.errors(include_url=False)]) from None


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


def keys_of(section: str, choices: Choices) -> list[str]:
    """The settings that the chosen parts add to a section's own keys."""
    return [
        field.name
        for slot in SLOTS
        if slot.section == section
        for choice in choices.get(slot.word, ())
        for field in dataclasses.fields(choice.settings)
    ]


def written(values: dict[str, Any], choices: Choices) -> dict[str, Any]:
    """A config's sections with the parts it chose and all their settings written in."""
    whole = {key: value for key, value in values.items() if key not in PART_SECTIONS}
    for slot in SLOTS:
        items = []
        for choice in choices.get(slot.word, ()):
            settings = to_json(choice.settings)
            if slot.key is not None:
                whole[slot.section] = _with_part(
                    whole[slot.section], slot, choice.spelled, settings
                )
            else:
                items.append({"name": choice.spelled, **settings} if settings else choice.spelled)
        if items and (slot.several or items[0] != slot.default):
            whole[slot.section] = items if slot.several else items[0]
    return whole


def _with_part(
    section: dict[str, Any], slot: Slot, name: str, settings: dict[str, Any]
) -> dict[str, Any]:
    """A section with a part's name, unless it is the default, and with its settings."""
    own = {key: value for key, value in section.items() if key != slot.key}
    head = dict(itertools.takewhile(lambda item: item[0] != slot.before, own.items()))
    named = {} if slot.key is None or name == slot.default else {slot.key: name}
    return {**named, **head, **settings, **own}


def own_files(choices: Iterable[Choice]) -> dict[Path, Path]:
    """Users' own files that a config names: where a sweep's folder keeps each, and where it is."""
    files = [(choice, parts.file_of(choice.word, choice.reference)) for choice in choices]
    return {
        parts.own_place(choice.word, choice.spelled): path
        for choice, path in files
        if path is not None
    }


def schema_of_parts(schema: dict[str, Any]) -> dict[str, Any]:
    """The JSON schema of a config with the settings of every part that the package has.

    Which of them belong to the part that is named is checked when a config is read.
    """
    for slot in SLOTS:
        names = list(parts.names(slot.word))
        properties: dict[str, Any] = {}
        for name in names:
            part = parts.load(slot.word, Reference(name=name))
            made = settings_adapter(part.settings).json_schema()
            schema.setdefault("$defs", {}).update(made.pop("$defs", {}))
            for key, value in made.get("properties", {}).items():
                properties.setdefault(key, {**value, "x-of": []})["x-of"].append(name)
        choice = {"type": "string", "description": parts.KINDS[slot.word].doc, "examples": names}
        if slot.key is not None:
            section = _resolved(schema, schema["properties"][slot.section])
            section["properties"] |= {**properties, slot.key: choice}
            continue
        keys = {"name": choice, **properties}
        either = {"anyOf": [choice, {"type": "object", "properties": keys, "required": ["name"]}]}
        schema["properties"][slot.section] = (
            {"type": "array", "items": either} if slot.several else either
        )
    return schema


def _resolved(schema: dict[str, Any], at: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in at or "allOf" in at:
        if "allOf" in at:
            at = at["allOf"][0]
            continue
        at = schema["$defs"][at["$ref"].rsplit("/", 1)[1]]
    return at
