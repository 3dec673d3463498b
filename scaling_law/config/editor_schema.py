"""The JSON schema of a config, by which editors complete and check its keys.

The keys of a part belong to the part that is named: the schema has a rule (``if``, ``then``) for
each part of the package. A user's own file is not read, so that keys beside its name are free.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

from scaling_law import parts
from scaling_law.config.part_settings import settings_adapter
from scaling_law.config.schema import DEVICE_KINDS, sweep_schema
from scaling_law.config.slots import SLOTS, Slot
from scaling_law.parts import Reference

Schema = dict[str, Any]
_OWN_FILE = r"\.py$"


def json_schema() -> Schema:
    """The JSON schema of a config file."""
    schema = sweep_schema()
    partial: Schema = {}
    for section in dict.fromkeys(slot.section for slot in SLOTS):
        slots = [slot for slot in SLOTS if slot.section == section]
        if slots[0].key is not None:
            partial[section] = _section_with_parts(schema, section, slots)
        else:
            (slot,) = slots
            schema["properties"][section] = _part_section(schema, slot)
    # a variant has any sections, and any keys of a section: what it leaves out is the config's
    variant = {"type": "object", "properties": {**schema["properties"], **partial}}
    schema["properties"]["variants"] = {
        "type": "object",
        "description": "sections to override by kind of device: mappings merge, lists replace",
        "properties": dict.fromkeys(DEVICE_KINDS, variant),
        "additionalProperties": False,
    }
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return schema


def _section_with_parts(schema: Schema, section: str, slots: Sequence[Slot]) -> Schema:
    """Add the parts of ``slots`` to each kind of their section, and to the items of its groups.

    Return what any kind of the section may hold, without the rules that join its keys.
    """
    top = schema["properties"][section]
    kinds: dict[int, tuple[Schema, list[Slot]]] = {}  # by identity: dicts have no hash
    listed = [slot for slot in slots if slot.several]
    for slot in listed:
        for kind in _kinds(schema, top):
            if slot.key in kind["properties"]:
                kind["properties"][slot.key] = _part_section(schema, slot)
    slots = [slot for slot in slots if slot not in listed]
    for slot in slots:
        at = section_at(schema, top, str(slot.key))
        kinds.setdefault(id(at), (at, []))[1].append(slot)
    for slot in slots:
        if slot.group is not None:
            group = section_at(schema, top, slot.group)["properties"][slot.group]
            (items,) = group["patternProperties"].values()
            _with_parts(schema, section_at(schema, items, str(slot.key)), [slot])
    partials = [_with_parts(schema, at, of_kind) for at, of_kind in kinds.values()]
    properties = {key: one for partial in partials for key, one in partial["properties"].items()}
    for other in _kinds(schema, top):
        properties = {**other["properties"], **properties}
    return {**partials[0], "properties": properties}


def _kinds(schema: Schema, at: Schema) -> Iterator[Schema]:
    """The definitions of each kind of section at ``at``."""
    if "properties" in at:
        yield at
    elif "$ref" in at:
        yield from _kinds(schema, schema["$defs"][at["$ref"].rsplit("/", 1)[1]])
    else:
        for member in at["allOf" if "allOf" in at else "oneOf"]:
            yield from _kinds(schema, member)


def _with_parts(schema: Schema, at: Schema, slots: Sequence[Slot]) -> Schema:
    """Add the parts of ``slots`` to their section; return it without the rules that join its keys.

    A key is known where one of the parts that are named has it. Where all are of the package, no
    other key is.
    """
    keys = [str(slot.key) for slot in slots]
    own = at["properties"]
    rules: list[Schema] = []
    having: dict[str, list[Schema]] = {}  # by a part's key: what a section with that part meets
    loose: Schema = {}
    for slot, key in zip(slots, keys, strict=True):
        own[key] = _name(slot)
        for name, settings in _settings(schema, slot):
            names_it = _names(slot, name)
            properties = settings.get("properties", {})
            rules.append({"if": names_it, "then": _only(settings, "properties", "required")})
            for known in properties:
                having.setdefault(known, []).append(names_it)
                loose[known] = {}
    of_files = [
        {"required": [key], "properties": {key: {"type": "string", "pattern": _OWN_FILE}}}
        for key in keys
    ]
    rules += [
        {"if": {"required": [key]}, "then": {"anyOf": [*conditions, *of_files]}}
        for key, conditions in having.items()
    ]
    rules.append(
        {
            "if": {"not": {"anyOf": of_files}},
            "then": {
                "properties": dict.fromkeys([*own, *having], True),
                "additionalProperties": False,
            },
        }
    )
    description = at.get("description", "")
    partial = {"type": "object", "description": description, "properties": {**own, **loose}}
    del at["additionalProperties"]
    at["allOf"] = rules
    return copy.deepcopy(partial)


def _part_section(schema: Schema, slot: Slot) -> Schema:
    """The schema of a section, or the key of one, that holds only a part, or several."""
    settings = dict(_settings(schema, slot))
    choice = _name(slot)
    rules = [
        {
            "if": {"properties": {"name": {"const": name}}},
            "then": {
                "properties": {"name": True, **one.get("properties", {})},
                "required": one.get("required", []),
                "additionalProperties": False,
            },
        }
        for name, one in settings.items()
    ]
    described = {"type": "object", "properties": {"name": choice}, "required": ["name"]}
    either = {"anyOf": [choice, {**described, "allOf": rules}]}
    if not slot.several:
        return either
    by_name = {
        "type": "object",
        "properties": {
            name: {
                "type": "object",
                **_only(one, "properties", "required"),
                "additionalProperties": False,
            }
            for name, one in settings.items()
        },
        "patternProperties": {_OWN_FILE: {"type": "object"}},
        "additionalProperties": False,
    }
    return {"anyOf": [{"type": "array", "items": either}, by_name]}


def _settings(schema: Schema, slot: Slot) -> Iterator[tuple[str, Schema]]:
    """Each part of a kind by its name, and the JSON schema of its settings."""
    for name in parts.names(slot.word):
        part = parts.load(slot.word, Reference(name=name))
        made = settings_adapter(part.settings).json_schema()
        schema.setdefault("$defs", {}).update(made.pop("$defs", {}))
        yield name, made


def _name(slot: Slot) -> Schema:
    """The name of a part: one of the package's, or a user's own file; or what else may be there."""
    names = list(parts.names(slot.word))
    choice: Schema = {"type": "string", "description": parts.KINDS[slot.word].doc}
    if slot.others:
        choice["examples"] = names
    else:
        choice["anyOf"] = [{"enum": names}, {"pattern": _OWN_FILE}]
    return choice if slot.default is None else {**choice, "default": slot.default}


def _names(slot: Slot, name: str) -> Schema:
    """What a section meets that names this part; the default part may be absent."""
    names_it: Schema = {"properties": {slot.key: {"const": name}}}
    return names_it if name == slot.default else {**names_it, "required": [slot.key]}


def _only(schema: Schema, *keys: str) -> Schema:
    return {key: schema[key] for key in keys if key in schema}


def section_at(schema: Schema, at: Schema, key: str) -> Schema:
    """The definition of the section at ``at``; of several kinds of section the one with ``key``."""
    while "properties" not in at:
        if "allOf" in at:
            at = at["allOf"][0]
        elif "oneOf" in at:
            members = (section_at(schema, member, key) for member in at["oneOf"])
            at = next(member for member in members if key in member["properties"])
        else:
            at = schema["$defs"][at["$ref"].rsplit("/", 1)[1]]
    return at
