"""The keys of a config, from the schema that editors get; and the parts a config names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tools.site.markdown import code, plain, prose, table

_LEAD = """# Config keys

Every key of a config, with its values and its default. `slaw config --schema` prints the same as
a JSON schema, and `slaw config --mode quick` a config with every key in place. `grid` and the keys
without a default that are no sections must be given. A section that names a part (an optimizer, a
corpus, a task, ...) takes that part's settings beside its name: [Parts](parts.md).
"""
_HEAD = ("key", "values", "default", "meaning")
Schema = Mapping[str, Any]
_SCHEMA_WORDS = ("allOf", "anyOf", "oneOf", "items", "properties")


def pages() -> Iterator[tuple[str, str]]:
    """The path and the text of each page."""
    from scaling_law.config.editor_schema import json_schema

    schema = json_schema()
    headings = _headings(schema)
    text = [_LEAD, "## The file\n", *_tables(schema, headings)]
    for name, heading in headings.items():
        section = schema["$defs"][name]
        text += [f"## {heading}\n", prose(section.get("description", "")) + "\n"]
        text += _tables(section, headings)
    yield "configs.md", "\n".join(text)
    yield "parts.md", _parts()


def _headings(schema: Schema) -> dict[str, str]:
    """What to call each section: the key it stands under, and which of several it is."""
    under: dict[str, str] = {}
    waiting: list[tuple[str, Schema]] = [("", schema)]
    for path, section in waiting:
        for key, one in section.get("properties", {}).items():
            for name in _references(one):
                if name not in under:
                    under[name] = f"{path}.{key}".strip(".")
                    waiting.append((under[name], schema["$defs"][name]))
    paths = list(under.values())
    return {
        name: path if paths.count(path) == 1 else f"{path}: {name.removesuffix('Section').lower()}"
        for name, path in under.items()
    }


def _references(one: Any) -> Iterator[str]:
    if isinstance(one, Mapping):
        if "$ref" in one:
            yield one["$ref"].rpartition("/")[2]
        for each in one.values():
            yield from _references(each)
    elif isinstance(one, list):
        for each in one:
            yield from _references(each)


def _tables(section: Schema, headings: Mapping[str, str]) -> Iterator[str]:
    """The keys of a section; then, of each part that it may name, the part's settings."""
    yield table(_HEAD, _rows(section, headings))
    for key, name, settings in _settings(section):
        rows = _rows({"properties": settings}, headings)
        if rows:
            yield f"With `{key}: {name}`:\n"
            yield table(_HEAD, rows)


def _settings(one: Any, key: str = "") -> Iterator[tuple[str, str, Schema]]:
    """Key, name and settings of each part that a schema describes by "if its name is this"."""
    if isinstance(one, list):
        for each in one:
            yield from _settings(each, key)
    elif isinstance(one, Mapping):
        for named, condition in one.get("if", {}).get("properties", {}).items():
            settings = one.get("then", {}).get("properties", {})
            own = {word: each for word, each in settings.items() if isinstance(each, Mapping)}
            yield (key or named, condition["const"], own)
        for word, each in one.items():
            if word not in ("if", "then", "$defs"):
                inner = word if word not in _SCHEMA_WORDS else key
                yield from _settings(each, inner)


def _rows(section: Schema, headings: Mapping[str, str]) -> list[tuple[str, str, str, str]]:
    required = section.get("required", ())
    return [
        (
            code(key),
            _values(one, headings),
            _default(one, key in required),
            plain(one.get("description", "")),
        )
        for key, one in section.get("properties", {}).items()
    ]


def _default(one: Schema, is_required: bool) -> str:
    if is_required or "default" not in one or one["default"] in ("", [], {}):
        return ""
    return code(_written(one["default"]))


def _values(one: Any, headings: Mapping[str, str]) -> str:
    """The values a key takes, in words, with links to sections."""
    if not isinstance(one, Mapping):
        return "any"
    if "$ref" in one:
        name = one["$ref"].rpartition("/")[2]
        return f"[{headings[name]}](#{_anchor(headings[name])})"
    if "const" in one:
        return code(_written(one["const"]))
    if "enum" in one:
        return ", ".join(code(_written(value)) for value in one["enum"])
    for choice in ("anyOf", "oneOf"):
        if choice in one:
            words = dict.fromkeys(_values(each, headings) for each in one[choice])
            if len(words) > 1:
                words.pop("any", None)
            return " or ".join(words)
    if "pattern" in one and ".py" in one["pattern"]:
        return "a `.py` file"
    kind = one.get("type", "any")
    if kind == "array":
        return f"list of {_values(one.get('items', {}), headings)}"
    kinds = [kind] if isinstance(kind, str) else kind
    return " or ".join("null" if k == "null" else "mapping" if k == "object" else k for k in kinds)


def _anchor(heading: str) -> str:
    """The anchor that Python-Markdown gives a heading."""
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())


def _written(value: object) -> str:
    """A value as YAML writes it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _parts() -> str:
    from scaling_law import parts

    text = [
        "# Parts\n",
        "What a sweep may vary. A part is one file, found by its name; a user's own file is named"
        " by its path. `slaw parts KIND` prints the same.\n",
    ]
    for kind in parts.KINDS.values():
        if parts.has_folder(kind.word):
            rows = [(code(name), prose(about)) for name, about in parts.described(kind.word)]
            text += [f"## {kind.word}\n", f"`{kind.key}`: {prose(kind.doc)}.\n"]
            text += [table(("name", "what it is"), rows)]
    return "\n".join(text)
