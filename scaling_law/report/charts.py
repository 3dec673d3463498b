"""What the script of a page draws (``explore.js``), as the values that it reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scaling_law.report import style
from scaling_law.report.page import Live


def live_charts(values: Any) -> Live:
    """Return the script with the values it draws."""
    return Live(script=Path(__file__).with_name("explore.js").read_text(), values=values)


def loss_against_compute(title: str, unit: str, layers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return a chart of the validation loss, in ``unit``, against 6ND FLOPs."""
    compute = "compute: 6 × parameters × tokens (FLOPs)"
    return {
        "title": title,
        "x": {"label": compute, "short": "FLOPs", "log": True, "words": "flops"},
        "y": {"label": style.loss_label(unit), "log": True, "words": "loss"},
        "layers": list(layers),
        "views": {},
    }
