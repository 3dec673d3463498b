"""Say which library an optimizer needs, and give AdamW to the weights that are no hidden matrix."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from typing import Any

from scaling_law.errors import install_extra


def needs(package: str) -> Callable[[], str | None]:
    """Return a ``missing`` for a package of the extra ``optimizers``."""

    def missing() -> str | None:
        if _version(package) is None:
            return f"needs {package}: {install_extra('optimizers')}"
        return None

    return missing


def needs_torch(major: int, minor: int) -> Callable[[], str | None]:
    """Return a ``missing`` for a version of torch, which is not imported for it."""

    def missing() -> str | None:
        version = _version("torch") or "0.0"
        if tuple(int(number) for number in version.split(".")[:2]) < (major, minor):
            return f"needs torch {major}.{minor} or later, found {version}: pip install -U torch"
        return None

    return missing


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def hidden_matrices(
    groups: list[dict[str, Any]],
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Split groups of one role each into the hidden matrices and the rest, none of them empty."""
    matrices, rest = [], []
    for group in groups:
        hidden = [p for p in group["params"] if p.ndim == 2 and group["role"] == "hidden"]
        others = [p for p in group["params"] if p.ndim != 2 or group["role"] != "hidden"]
        matrices += [{**group, "params": hidden}] if hidden else []
        rest += [{**group, "params": others}] if others else []
    return matrices, rest
