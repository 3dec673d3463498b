"""Write the parts that a config chose, with their settings, into its sections."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from typing import Any

from scaling_law import parts
from scaling_law.config.compose import changed_at
from scaling_law.config.slots import PART_SECTIONS, SLOTS, Choice, Choices, Slot
from scaling_law.spec.to_json import to_json


def with_parts(
    values: dict[str, Any], choices: Choices, varied: Collection[str] = ()
) -> dict[str, Any]:
    """A config's sections with the parts it chose and all their settings with_parts in.

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
        if slot.several:
            if chosen:
                listed = {slot.key: _section(slot, chosen)}
                whole = changed_at(whole, (slot.section,), lambda at, new=listed: {**at, **new})
            continue
        all_settings = not {slot.section, f"{slot.section}.{slot.key}"} & {*varied}
        for choice in chosen:
            where = (slot.section, str(slot.group), choice.item) if choice.item else (slot.section,)
            whole = changed_at(
                whole,
                where,
                lambda at, slot=slot, one=choice, full=all_settings: _with_part(
                    at, slot, one, full
                ),
            )
    return whole


def _section(slot: Slot, chosen: Sequence[Choice]) -> Any:
    """Return a section, or the key of one, that holds only parts, as a config writes it."""
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
