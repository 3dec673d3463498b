"""Find installed packages that hold text, without importing them."""

from __future__ import annotations

import importlib.util
from pathlib import Path


def package_folder(name: str) -> Path | None:
    """Find the folder of an installed package without importing it; None if absent.

    Python takes any folder of that name in the working directory (``datasets``, say) for a
    namespace package; such a folder does not count.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))
