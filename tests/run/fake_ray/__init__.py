"""A stand-in for the package ray: ``install`` lets the engine import it in place of Ray's."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def install(patch: Any, **happens: Any) -> None:
    """Let the engine use the stand-in in processes of its own; ``happens`` is what it does."""
    here, known = str(Path(__file__).parent), os.environ.get("PYTHONPATH")
    root = str(Path(__file__).resolve().parents[3])
    patch.syspath_prepend(here)
    patch.setenv("PYTHONPATH", os.pathsep.join([here, root, *([known] if known else [])]))
    patch.setenv("FAKE_RAY", json.dumps(happens))
