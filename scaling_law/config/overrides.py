"""Change a config's document: the variant of a device first, then ``--set``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scaling_law.config import axes, strict_yaml
from scaling_law.config.schema import DEVICE_KINDS
from scaling_law.config.strict_yaml import SET, Path_, YamlDocument
from scaling_law.errors import ConfigError, described


def take_variants(document: YamlDocument) -> dict[str, YamlDocument]:
    """Return each variant as a document whose marks point to its place in the file."""
    if "variants" not in document.data:
        return {}
    given = document.data.pop("variants")
    mark = document.mark(("variants",))
    if not isinstance(given, dict):
        known = ", ".join(DEVICE_KINDS)
        raise ConfigError(f"{mark}: expected any of {known} as keys, found {described(given)}")
    variants = {}
    for kind, section in given.items():
        path: Path_ = ("variants", kind)
        mark = document.mark(path)
        if kind not in DEVICE_KINDS:
            known = ", ".join(DEVICE_KINDS)
            raise ConfigError(f"{mark}: unknown device kind; known: {known}")
        if not isinstance(section, dict):
            raise ConfigError(f"{mark}: expected keys and values, found {described(section)}")
        marks = {key[2:]: mark for key, mark in document.marks.items() if key[:2] == path}
        variants[kind] = YamlDocument(section, marks)
    return variants


def with_variant(document: YamlDocument, variant: YamlDocument | None) -> YamlDocument:
    """Return a copy of the document in which the values of a variant replace its own."""
    merged = document.copied()
    if variant is not None:
        _merge(merged, merged.data, variant, variant.data, ())
    return merged


def _merge(
    merged: YamlDocument,
    base: dict[str, Any],
    variant: YamlDocument,
    over: dict[str, Any],
    at: Path_,
) -> None:
    for key, value in over.items():
        path = (*at, key)
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            _merge(merged, base[key], variant, value, path)
            continue
        base[key] = strict_yaml.deep_copy(value)
        merged.forget(path)
        size = len(path)
        merged.marks.update({p: m for p, m in variant.marks.items() if p[:size] == path})


def apply_overrides(document: YamlDocument, overrides: Sequence[str]) -> None:
    """Set the keys that ``--set`` gives. Raises ``ConfigError`` with a line for each bad text."""
    problems: list[str] = []
    for text in overrides:
        key, equals, value = text.partition("=")
        try:
            if not equals or not key:
                raise ConfigError("expected key=value, as in eval.val_tokens=1M")
            if not strict_yaml.is_text(key):
                raise ConfigError("expected Unicode text as a key")
            if not strict_yaml.is_text(value):
                raise ConfigError(
                    "its bytes are not UTF-8, in which configs are written; of a file or folder,"
                    " rename it or name a link to it"
                )
            keys = axes.keys_of(key)
            if len(keys) > strict_yaml.MAX_DEPTH:
                raise ConfigError(f"nested more than {strict_yaml.MAX_DEPTH} deep")
            document.set(keys, strict_yaml.read_value(value, key), SET)
        except ConfigError as problem:
            shown = text if len(text) <= 60 else f"{text[:57]}..."
            problems.extend(f"--set {shown}: {line}" for line in problem.lines)
    if problems:
        raise ConfigError(*problems)
