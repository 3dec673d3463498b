"""Record a part of a run in its spec: the name, the settings, and the hash of a user's file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from scaling_law.decode import build
from scaling_law.errors import quoted
from scaling_law.parts import Reference

S = TypeVar("S")


@dataclass(frozen=True, kw_only=True)
class Component:
    """A part of a run.

    ``name`` is the name of the part;
    ``settings`` are its settings that are not at their default, (key, value) pairs by key;
    ``source_sha256`` is the hash of a user's own file, None for a part of the package.
    """

    name: str
    settings: tuple[tuple[str, Any], ...] = ()
    source_sha256: str | None = None

    @property
    def reference(self) -> Reference:
        """The reference to the part."""
        return Reference(name=self.name, source_sha256=self.source_sha256)

    def settings_as(self, kind: type[S]) -> S:
        """The settings as an instance of the part's ``Settings``.

        Raises ``ValueError`` naming a setting that the part does not have.
        """
        return build(kind, dict(self.settings))

    def __str__(self) -> str:
        """The part in a recipe that lists several: ``length(max_words=900)``."""
        said = [f"{key}={value}" for key, value in self.settings]
        said += [] if self.source_sha256 is None else [self.source_sha256[:12]]
        return f"{self.name}({', '.join(said)})" if said else self.name

    def plain(self) -> dict[str, Any]:
        """Return plain JSON values; an absent setting is at its default."""
        plain: dict[str, Any] = {"name": self.name}
        if self.settings:
            plain["settings"] = {key: _plain(value) for key, value in self.settings}
        if self.source_sha256 is not None:
            plain["source_sha256"] = self.source_sha256
        return plain


def component_from_json(data: Any) -> Component:
    """Build a component from ``Component.plain``. Raises ``ValueError``."""
    if not isinstance(data, Mapping):
        raise ValueError(f"found {quoted(data)}, expected keys and values")
    settings = data.get("settings", {})
    if not isinstance(settings, Mapping):
        raise ValueError(f"settings is {quoted(settings)}, expected keys and values")
    pairs = tuple(sorted((str(key), _frozen(value)) for key, value in settings.items()))
    return build(Component, {**data, "settings": pairs})


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
