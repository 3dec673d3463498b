"""Name what probes measure by layer: ``layers.0``, and ``layers.0.attention`` for a part of it."""

from __future__ import annotations

from collections.abc import Iterable

EMBEDDING = "embedding"  # what the first layer reads


def group_of(name: str) -> str:
    """Return the layer and the role of a weight, by its name in the model.

    ``blocks.0.attention.qkv.weight`` is in ``layers.0.attention``, ``hidden.1.bias`` in
    ``layers.1``, and ``head.weight``, which is in no layer, in ``head``.
    """
    *path, _ = name.split(".") if "." in name else (name, "")
    for at, word in enumerate(path):
        if word.isdecimal():
            return ".".join(("layers", word, *path[at + 1 : at + 2]))
    return path[0]


def by_group(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the names of weights by their group, in the model's order."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(group_of(name), []).append(name)
    return groups


def stream_keys(count: int) -> list[str]:
    """Name the ``count`` states of a residual stream, of which the first layer reads the first."""
    return [EMBEDDING, *(f"layers.{at}" for at in range(count - 1))]
