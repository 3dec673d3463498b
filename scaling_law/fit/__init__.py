"""Fits scaling laws to runs of any source, from a notebook:

    from scaling_law.fit import fit
    laws = fit(params=n, tokens=d, loss=l)          # arrays, or fit(data_frame, columns="...")
    print(laws)
    laws.predict(params=70e9, tokens=1.4e12)        # loss in nats, with its interval
    laws.optimal(flops=1e24)                        # compute-optimal params and tokens

Nothing here imports torch, and nothing heavy is imported before ``fit`` is called.
"""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["Laws", "fit"]


def __getattr__(name: str) -> Any:
    # loaded on use: the API needs the forecast, which is on a floor above this room
    if name in __all__:
        return getattr(importlib.import_module("scaling_law.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
