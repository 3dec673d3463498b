"""Name arms: each combination of the values of a sweep's axes; a run's tags name its arm."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any, TypeAlias

from scaling_law.spec.run import RunSpec

# (config key, value as text) of every axis, by key; () in a sweep without axes.
Values: TypeAlias = tuple[tuple[str, str], ...]

_TAG = "axis:"
_MOST_LABEL = 44  # characters, which leave room for a run's size, seed and horizon
_LABEL_TEXT = re.compile(r"[A-Za-z0-9._-]+")
# The last word of a key whose values are shares by name. The labels of other mappings are digests.
_SHARES = "mix"
_NUMBER = re.compile(r"[0-9.]+(?:e[+-]?[0-9]+)?")


def arm_tags(values: Values) -> Values:
    """Return the tags of a run of this arm."""
    return tuple((f"{_TAG}{key}", value) for key, value in values)


def arm_of(spec: RunSpec) -> Values:
    """Return the arm that a run's tags name."""
    return tuple((key.removeprefix(_TAG), value) for key, value in spec.tags if _is_axis(key))


def _is_axis(tag: str) -> bool:
    return tag.startswith(_TAG)


def arms_of(specs: Sequence[RunSpec]) -> list[Values]:
    """Return the arms of these runs, each once, in the order of the runs; none without axes."""
    return [values for values in dict.fromkeys(map(arm_of, specs)) if values]


def arm_name(values: Values) -> str:
    """Return the arm's name, such as ``model.position=alibi, optim.weight_decay=0.3``."""
    return ", ".join(f"{key}={value}" for key, value in values)


def varying_keys(arms: Sequence[Values]) -> list[str]:
    """Return the keys in which these arms differ."""
    keys = dict.fromkeys(key for values in arms for key, _ in values)
    return [key for key in keys if len({dict(values).get(key) for values in arms}) > 1]


def by_options(keys: Sequence[str]) -> str:
    """Return the options of ``slaw fit`` for these keys, such as `` --by optim.weight_decay``."""
    return "".join(f" --by {key}" for key in keys)


def short_names(arms: Sequence[Values]) -> list[str]:
    """Return short names without what the arms share, such as ``position alibi, lr 0.3``.

    Runs of one sweep may have no arm, where a stage or an entry of the grid varies nothing.
    """
    varying = varying_keys(arms)
    return [
        ", ".join(f"{_word(key)} {value}" for key, value in values if key in varying)
        or arm_name(values)
        or "without axes"
        for values in arms
    ]


def arm_label(values: Values) -> str:
    """The arm as part of a run's label: ``weight_decay0.3-position-alibi``.

    It depends on the arm's own values alone, so that arms that join later change no run id.
    """
    words = []
    for key, value in values:
        if _word(key) == _SHARES and (shares := _shares(value)):
            words.append(f"{_SHARES}-{shares}")
            continue
        if not _LABEL_TEXT.fullmatch(value) or not _LABEL_TEXT.fullmatch(_word(key)):
            return arm_digest(values)
        number = _NUMBER.fullmatch(value) is not None
        words.append(f"{_word(key)}{'' if number else '-'}{value}")
    label = "-".join(words)
    return label if len(label) <= _MOST_LABEL else arm_digest(values)


def _shares(value: str) -> str:
    """``code=0.7 docs=0.3`` as part of a label, ``code0.7-docs0.3``; "" where that is not clear."""
    pairs = [word.partition("=") for word in value.split(" ")]
    clear = all(
        _LABEL_TEXT.fullmatch(name) and _NUMBER.fullmatch(share) and not name[-1].isdecimal()
        for name, _, share in pairs
    )
    return "-".join(f"{name}{share}" for name, _, share in pairs) if clear else ""


def arm_digest(values: Values) -> str:
    """Return ``arm-`` and six hex digits, where the values are too long or not fit for a label."""
    return f"arm-{hashlib.sha256(arm_name(values).encode()).hexdigest()[:6]}"


def _word(key: str) -> str:
    """Return a key's short name: ``weight_decay`` of ``optim.weight_decay``, ``optim`` of
    ``optim.name``."""
    *head, last = key.split(".")
    return head[-1] if last == "name" and head else last


def value_text(value: Any) -> str:
    """A config's value as text, one for each value: 0.10 and .1 are ``0.1``."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    if isinstance(value, (list, tuple)):
        return " ".join(map(value_text, value))
    if isinstance(value, dict):
        named = {key: value_text(item) for key, item in value.items()}
        head = [named.pop("name")] if "name" in named else []
        return " ".join([*head, *(f"{key}={text}" for key, text in named.items())])
    return str(value)
