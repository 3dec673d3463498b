"""Every key of a config and of its parts, as one JSON schema to draw from."""

from __future__ import annotations

import functools
from typing import Any

from scaling_law import parts
from scaling_law.config.editor_schema import section_at
from scaling_law.config.part_settings import settings_adapter
from scaling_law.config.schema import sweep_schema
from scaling_law.config.slots import SLOTS
from scaling_law.parts import Reference


@functools.cache
def every_key() -> dict[str, Any]:
    """Return the JSON schema of the sections, with the settings of every part added to them.

    ``x-of`` names the parts that a key belongs to; ``examples`` are the names of parts.
    """
    schema = sweep_schema()
    for slot in SLOTS:
        if slot.word == "cleaner":
            continue  # its settings stand within the list of rules, which is not drawn
        # tests/run/test_trainer.py has the data that only a user's own trainer reads
        known = parts.names(slot.word)
        loaded = {name: parts.load(slot.word, Reference(name=name)) for name in known}
        names = [name for name, part in loaded.items() if not getattr(part, "external", False)]
        forms: dict[str, list[dict[str, Any]]] = {}  # of a key, which several parts may have
        for name in names:
            made = settings_adapter(loaded[name].settings).json_schema()
            schema.setdefault("$defs", {}).update(made.pop("$defs", {}))
            for key, value in made.get("properties", {}).items():
                _add_form(forms.setdefault(key, []), value, name)
        properties = {
            key: given[0] if len(given) == 1 else {"anyOf": given} for key, given in forms.items()
        }
        choice: dict[str, Any] = {
            "type": "string",
            "description": parts.KINDS[slot.word].doc,
            "examples": names,
        }
        if slot.default is not None:
            choice["default"] = slot.default
        if slot.key is not None:
            section = section_at(schema, schema["properties"][slot.section], slot.key)
            section["properties"] |= {**properties, slot.key: choice}
            if slot.group is not None:
                top = section_at(schema, schema["properties"][slot.section], slot.group)
                (items,) = top["properties"][slot.group]["patternProperties"].values()
                section_at(schema, items, slot.key)["properties"] |= {
                    **properties,
                    slot.key: choice,
                }
            continue
        keys = {"name": choice, **properties}
        either = {"anyOf": [choice, {"type": "object", "properties": keys, "required": ["name"]}]}
        by_name = {"type": "object", "properties": properties, "additionalProperties": False}
        schema["properties"][slot.section] = (
            {
                "anyOf": [
                    {"type": "array", "items": either},
                    {"type": "object", "additionalProperties": by_name},
                ]
            }
            if slot.several
            else either
        )
    return schema


def _add_form(forms: list[dict[str, Any]], form: dict[str, Any], name: str) -> None:
    """Add a part's schema of a key; parts with the same schema share one."""
    for other in forms:
        if {key: value for key, value in other.items() if key != "x-of"} == form:
            other["x-of"].append(name)
            return
    forms.append({**form, "x-of": [name]})
