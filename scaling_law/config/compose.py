"""Parts in a config: which ones it chooses, with the settings that each part declares itself.

A config writes a part's settings beside its name (``optim: {name: sgd, momentum: 0.9}``), or
under it where the part is a section of its own (``objective: {name: fim, rate: 0.5}``). They are
checked against the part's own ``Settings`` here; what is left is checked by ``schema``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scaling_law import parts
from scaling_law.config.part_settings import Refused, part_settings
from scaling_law.config.slots import SLOTS, Choice, Choices, Slot
from scaling_law.errors import ConfigError, quoted
from scaling_law.parts import Reference


@dataclass(frozen=True, kw_only=True)
class Composed:
    """A config's plain values, separated into sections and parts.

    ``rest`` is what ``schema`` checks, without the settings of parts;
    ``choices`` are the parts by kind;
    ``known`` has those as well whose settings are refused: what their files export, by kind;
    ``errors`` are problems in the form of pydantic's;
    ``unsettled`` are the sections whose part is not known, nor therefore its settings.
    """

    rest: Any
    choices: Choices
    known: Mapping[str, tuple[Any, ...]]
    errors: list[dict[str, Any]]
    unsettled: frozenset[str] = frozenset()


def compose(data: Any, folders: Sequence[Path]) -> Composed:
    """Separate the parts from a config's plain values.

    A user's own file is looked for in ``folders``. What is not of the right type is left in
    ``rest``, for ``schema`` to refuse.
    """
    if not isinstance(data, dict):
        return Composed(rest=data, choices={}, known={}, errors=[])
    rest = dict(data)
    choices: dict[str, tuple[Choice, ...]] = {}
    known: dict[str, tuple[Any, ...]] = {}
    errors: list[dict[str, Any]] = []
    unsettled: set[str] = set()
    # by the place of a section: one key may belong to two parts of it
    settings_of: dict[tuple[str | int, ...], set[str]] = {}
    for slot in SLOTS:
        made: list[Choice] = []
        named, misspelled = _named(slot, data)
        errors += misspelled
        for one in named:
            try:
                reference = parts.refer(slot.word, one.name, *folders)
                part = parts.load(slot.word, reference)
                _check_apart(made, reference)
            except ConfigError as problem:
                beside = slot.key is not None and not slot.several
                where = (*one.where, str(slot.key)) if beside else one.where
                errors.append(_error(where, problem, one.name))
                unsettled.add(slot.section)
                continue
            known[slot.word] = (*known.get(slot.word, ()), part)
            own = {f.name for f in dataclasses.fields(part.settings)}
            values = {key: value for key, value in one.given.items() if key in own}
            if slot.several or slot.key is None:
                strangers = sorted(one.given.keys() - own - ({"name"} - {*one.where}))
                errors += [_unknown(one.where, key, one.given[key]) for key in strangers]
            else:
                settings_of.setdefault(one.where, set()).update(own)
            try:
                settings = part_settings(part.settings, values)
            except Refused as refused:
                errors += [
                    {**error, "loc": (*one.where, *error["loc"])} for error in refused.errors
                ]
                continue
            choice = Choice(
                word=slot.word,
                reference=reference,
                settings=settings,
                is_key=one.is_key,
                item=one.item,
            )
            if slot.several and any(choice.reference == other.reference for other in made):
                twice = ConfigError(f"the {slot.word} {quoted(reference.name)} is there twice")
                errors.append(_error(one.where, twice, one.name))
            made.append(choice)
            if slot.key is not None and not slot.several and slot.key in one.given:
                key, spelled = slot.key, choice.spelled
                rest = changed_at(rest, one.where, lambda at, k=key, v=spelled: {**at, k: v})
        choices[slot.word] = tuple(made)
        if slot.key is None:
            rest.pop(slot.section, None)
        elif slot.several:
            names = [choice.spelled for choice in made]
            rest = changed_at(
                rest,
                (slot.section,),
                lambda at, k=slot.key, v=names: at if at.get(k) is None else {**at, k: v},
            )
    for where, own in settings_of.items():
        rest = changed_at(rest, where, lambda at, own=own: {k: at[k] for k in at if k not in own})
    return Composed(
        rest=rest,
        choices=choices,
        known=known,
        errors=errors,
        unsettled=frozenset(unsettled),
    )


def changed_at(
    data: dict[str, Any], where: tuple[str | int, ...], change: Callable[..., dict[str, Any]]
) -> dict[str, Any]:
    """Return a copy of ``data`` with the section at ``where``, if it is one, changed."""
    if not where:
        return change(data)
    inner = data.get(str(where[0]))
    if not isinstance(inner, dict):
        return data
    return {**data, str(where[0]): changed_at(inner, where[1:], change)}


@dataclass(frozen=True, kw_only=True)
class _Named:
    """A part by its name in a config.

    ``where`` is the path of what chooses it;
    ``name`` is a name, or the path of a file;
    ``given`` are the keys beside it, or under it;
    ``is_key`` says that the name is a key itself;
    ``item`` is the item of the slot's group that it is chosen in, "" for the section itself.
    """

    where: tuple[str | int, ...]
    name: str
    given: dict[str, Any] = field(default_factory=dict)
    is_key: bool = False
    item: str = ""


def _named(slot: Slot, data: Mapping[str, Any]) -> tuple[list[_Named], list[dict[str, Any]]]:
    """Return the parts that a config names in a slot, and the errors in how it names them."""
    section = data.get(slot.section)
    if slot.key is not None and slot.several:
        held = section.get(slot.key) if isinstance(section, dict) else None
        return ([], []) if held is None else _named_items((slot.section, slot.key), held)
    if slot.key is not None:
        given = section if isinstance(section, dict) else {}
        places: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {"": ((slot.section,), given)}
        group = given.get(slot.group) if slot.group is not None else None
        for item, inner in group.items() if isinstance(group, dict) else ():
            if isinstance(inner, dict):
                places[item] = ((slot.section, str(slot.group), item), inner)
        named = [
            _Named(where=where, name=name, given=inner, item=item)
            for item, (where, inner) in places.items()
            # a value that is not text is refused with the rest of the section
            if isinstance(name := inner.get(slot.key, slot.default), str)
            and not (slot.others and _is_other(slot.word, name))
        ]
        return named, []
    if section is None and (slot.default is not None or slot.section not in data):
        absent = [] if slot.default is None else [_Named(where=(slot.section,), name=slot.default)]
        return absent, []
    if not slot.several:
        return _named_item((slot.section,), section)
    return _named_items((slot.section,), section)


def _named_items(
    where: tuple[str | int, ...], given: Any
) -> tuple[list[_Named], list[dict[str, Any]]]:
    """Several parts: a list, or a mapping of their names to settings."""
    if isinstance(given, dict):
        entries = [_named_key((*where, key), key, item) for key, item in given.items()]
    elif isinstance(given, list):
        entries = [_named_item((*where, number), item) for number, item in enumerate(given)]
    else:
        entries = [([], [_misspelled(where, "a list or a mapping", given)])]
    return [one for named, _ in entries for one in named], [
        e for _, errors in entries for e in errors
    ]


def _is_other(word: str, name: str) -> bool:
    """Say whether a text names neither a part of the package nor a user's own file."""
    return name not in parts.names(word) and not name.endswith(".py")


def _named_item(
    where: tuple[str | int, ...], item: Any
) -> tuple[list[_Named], list[dict[str, Any]]]:
    """``adamw``, or ``{name: adamw, beta1: 0.9}``."""
    if isinstance(item, str):
        return [_Named(where=where, name=item)], []
    if not isinstance(item, dict):
        return [], [_misspelled(where, "a name, or a mapping with name and settings", item)]
    if "name" not in item:
        return [], [{"loc": (*where, "name"), "type": "missing", "input": item, "msg": ""}]
    if not isinstance(item["name"], str):
        return [], [_misspelled((*where, "name"), "the name of a part", item["name"])]
    return [_Named(where=where, name=item["name"], given=item)], []


def _named_key(
    where: tuple[str | int, ...], name: str, item: Any
) -> tuple[list[_Named], list[dict[str, Any]]]:
    """``adamw: {beta1: 0.9}``."""
    if isinstance(item, dict):
        return [_Named(where=where, name=name, given=item, is_key=True)], []
    return [], [_misspelled(where, "keys and values", item)]


def _check_apart(made: Sequence[Choice], reference: Reference) -> None:
    """Raise ``ConfigError`` where a config chooses two users' files of one name."""
    for choice in made:
        other = choice.reference
        if other.name == reference.name and other.source_sha256 != reference.source_sha256:
            raise ConfigError(
                f"another {choice.word} is named {quoted(other.name)} too, and a sweep's folder"
                " keeps one file of a name; rename one"
            )


def _misspelled(where: tuple[str | int, ...], expected: str, value: Any) -> dict[str, Any]:
    return {"loc": where, "type": "part", "msg": f"expected {expected}", "input": value}


def _error(where: tuple[str | int, ...], problem: ConfigError, value: Any) -> dict[str, Any]:
    error = ValueError("; ".join(problem.lines))
    return {"loc": where, "type": "value_error", "ctx": {"error": error}, "input": value}


def _unknown(where: tuple[str | int, ...], key: str, value: Any) -> dict[str, Any]:
    return {"loc": (*where, key), "type": "unexpected_keyword_argument", "input": value, "msg": ""}


def keys_of(
    section: str, known: Mapping[str, tuple[Any, ...]], item_of: str | int | None = None
) -> list[str]:
    """The settings that the chosen parts (``Composed.known``) add to a section's own keys.

    ``item_of`` is the key of the section whose items are parts, for the settings of those.
    """
    return [
        field.name
        for slot in SLOTS
        if slot.section == section
        and (slot.key == item_of if slot.several and slot.key else item_of is None)
        for part in known.get(slot.word, ())
        for field in dataclasses.fields(part.settings)
    ]
