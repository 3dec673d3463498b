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
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling_law import parts
from scaling_law.errors import ConfigError, quoted
from scaling_law.parts import Reference
from scaling_law.spec.component import Component
from scaling_law.spec.model import DEFAULT_ARCHITECTURE, DEFAULT_PARAMETRISATION
from scaling_law.spec.optim import DEFAULT_OPTIMIZER
from scaling_law.spec.run import DEFAULT_OBJECTIVE
from scaling_law.spec.to_json import to_json

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
    ``several`` says that the section is a list of parts, or a mapping of their names to settings;
    ``before`` is the key that what the part adds is written before: the settings within their
    section, or else the section;
    ``always`` says that the key is written at its default too;
    ``others`` says that the key may hold something else than a part (a path to text, for a corpus),
    which is then not a choice of one;
    ``group`` is a key of the section whose items have the slot too, by name.

    With ``before`` and ``always`` a config is written as it was before parts could be chosen, so
    that folders know it again.
    """

    word: str
    section: str
    key: str | None = None
    default: str | None = None
    several: bool = False
    before: str | None = None
    always: bool = False
    others: bool = False
    group: str | None = None


DEFAULT_ENGINE = "local"
SLOTS = (
    Slot(word="source", section="data", key="source", before="max_epochs"),
    Slot(
        word="corpus", section="data", key="corpus", before="max_epochs", others=True,
        group="sources",
    ),
    Slot(
        word="architecture", section="model", key="architecture", default=DEFAULT_ARCHITECTURE,
        before="gradient_checkpointing",
    ),
    Slot(
        word="parametrisation", section="model", key="parametrisation",
        default=DEFAULT_PARAMETRISATION, before="gradient_checkpointing",
    ),
    Slot(
        word="optimizer", section="optim", key="name", default=DEFAULT_OPTIMIZER,
        before="weight_decay",
    ),
    Slot(
        word="rule", section="optim", key="rule", default="slaw_small", before="weight_decay",
        always=True,
    ),
    Slot(
        word="schedule", section="schedule", key="shape", default="wsd", before="decay_frac",
        always=True,
    ),
    Slot(
        word="cooldown", section="schedule", key="cooldown", default="1-sqrt", before="decay_frac",
        always=True,
    ),
    Slot(word="tracker", section="trackers", several=True, before="limits", always=True),
    Slot(word="objective", section="objective", default=DEFAULT_OBJECTIVE),
    Slot(word="probe", section="probes", several=True),
    Slot(word="engine", section="engine", default=DEFAULT_ENGINE),
    Slot(word="experiment", section="experiment"),
)  # fmt: skip


# Sections that hold only a part, or a list of parts.
PART_SECTIONS = tuple(slot.section for slot in SLOTS if slot.key is None)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A part as a config chooses it.

    ``word`` is its kind;
    ``reference`` says which part it is;
    ``settings`` is an instance of the part's ``Settings``;
    ``is_key`` says that the config writes the name as a key that holds the settings;
    ``item`` is the item of the slot's group that the part is chosen in, "" for the section itself.
    """

    word: str
    reference: Reference
    settings: Any
    is_key: bool = False
    item: str = ""

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

    @property
    def beyond_name(self) -> Component | None:
        """The component of a part that a run's spec names elsewhere; None if that says all."""
        plain = Component(name=self.reference.name)
        return None if self.component == plain else self.component


Choices = Mapping[str, tuple[Choice, ...]]


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
                where = (*one.where, slot.key) if slot.key else one.where
                errors.append(_error(where, problem, one.name))
                unsettled.add(slot.section)
                continue
            known[slot.word] = (*known.get(slot.word, ()), part)
            own = {f.name for f in dataclasses.fields(part.settings)}
            values = {key: value for key, value in one.given.items() if key in own}
            settings_of.setdefault(one.where if slot.key else (slot.section,), set()).update(own)
            if slot.key is None:
                strangers = sorted(one.given.keys() - own - ({"name"} - {*one.where}))
                errors += [_unknown(one.where, key, one.given[key]) for key in strangers]
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
            if slot.key is not None and slot.key in one.given:
                key, spelled = slot.key, choice.spelled
                rest = _changed(rest, one.where, lambda at, k=key, v=spelled: {**at, k: v})
        choices[slot.word] = tuple(made)
        if slot.key is None:
            rest.pop(slot.section, None)
    for where, own in settings_of.items():
        rest = _changed(rest, where, lambda at, own=own: {k: at[k] for k in at if k not in own})
    return Composed(
        rest=rest,
        choices=choices,
        known=known,
        errors=errors,
        unsettled=frozenset(unsettled),
    )


def _changed(
    data: dict[str, Any], where: tuple[str | int, ...], change: Callable[..., dict[str, Any]]
) -> dict[str, Any]:
    """Return a copy of ``data`` with the section at ``where``, if it is one, changed."""
    if not where:
        return change(data)
    inner = data.get(str(where[0]))
    if not isinstance(inner, dict):
        return data
    return {**data, str(where[0]): _changed(inner, where[1:], change)}


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
    if isinstance(section, dict):
        entries = [_named_key((slot.section, key), key, item) for key, item in section.items()]
    elif isinstance(section, list):
        entries = [_named_item((slot.section, number), item) for number, item in enumerate(section)]
    else:
        entries = [([], [_misspelled((slot.section,), "a list or a mapping", section)])]
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
        return kind()  # most configs set nothing, which needs no pydantic
    from pydantic import ValidationError

    try:
        return read_settings(kind, values)
    except ValidationError as problem:
        raise Refused([dict(error) for error in problem.errors(include_url=False)]) from None


def read_settings(kind: type, values: Any) -> Any:
    """An instance of a part's dataclass. Raises pydantic's ``ValidationError``."""
    # JSON mode is the strict mode in which lists may become tuples
    return settings_adapter(kind).validate_json(json.dumps(values), strict=True)


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


def keys_of(section: str, known: Mapping[str, tuple[Any, ...]]) -> list[str]:
    """The settings that the chosen parts (``Composed.known``) add to a section's own keys."""
    return [
        field.name
        for slot in SLOTS
        if slot.section == section
        for part in known.get(slot.word, ())
        for field in dataclasses.fields(part.settings)
    ]


def written(
    values: dict[str, Any], choices: Choices, varied: Collection[str] = ()
) -> dict[str, Any]:
    """A config's sections with the parts it chose and all their settings written in.

    Of a part that an axis varies (``varied`` are the axes' keys) only the settings that are not at
    their default: the axis may choose a part without them.
    """
    whole = {key: value for key, value in values.items() if key not in PART_SECTIONS}
    for slot in SLOTS:
        chosen = choices.get(slot.word, ())
        if slot.key is None:
            section = _section(slot, chosen)
            if slot.always or (section if slot.several else section != slot.default):
                whole = _inserted(whole, slot.before, {slot.section: section})
            continue
        all_settings = not {slot.section, f"{slot.section}.{slot.key}"} & {*varied}
        for choice in chosen:
            where = (slot.section, str(slot.group), choice.item) if choice.item else (slot.section,)
            whole = _changed(
                whole,
                where,
                lambda at, slot=slot, one=choice, full=all_settings: _with_part(
                    at, slot, one, full
                ),
            )
    return whole


def _section(slot: Slot, chosen: Sequence[Choice]) -> Any:
    """Return a section that holds only parts, as a config writes it."""
    if any(choice.is_key for choice in chosen):
        return {choice.spelled: to_json(choice.settings) for choice in chosen}
    items = [
        {"name": choice.spelled, **to_json(choice.settings)}
        if parts.set_fields(choice.settings)
        else choice.spelled
        for choice in chosen
    ]
    return items if slot.several else next(iter(items), slot.default)


def _with_part(
    section: dict[str, Any], slot: Slot, choice: Choice, all_settings: bool
) -> dict[str, Any]:
    """A section with a part's name, unless it is the default, and with its settings.

    Without ``all_settings`` those at their default are left out.
    """
    assert slot.key is not None
    settings = to_json(choice.settings if all_settings else parts.set_fields(choice.settings))
    if slot.always:
        return _inserted({**section, slot.key: choice.spelled}, slot.before, settings)
    own = {key: value for key, value in section.items() if key != slot.key}
    named = {} if choice.spelled == slot.default else {slot.key: choice.spelled}
    return {**named, **_inserted(own, slot.before, settings)}


def _inserted(keys: dict[str, Any], before: str | None, new: dict[str, Any]) -> dict[str, Any]:
    """Return ``keys`` with the new ones before one of them; after all for None."""
    head = dict(itertools.takewhile(lambda item: item[0] != before, keys.items()))
    return {**head, **new, **keys}


def own_files(choices: Iterable[Choice]) -> dict[Path, bytes]:
    """Return the users' own files that a config names: their content by the sweep folder's copy."""
    files = [(choice, parts.content_of(choice.word, choice.reference)) for choice in choices]
    return {
        parts.own_place(choice.word, choice.spelled): content
        for choice, content in files
        if content is not None
    }
