"""Read the loss by position in the context, or by place in the document, off runs that probed it.

The probes ``position_loss`` and ``document_loss`` give it in blocks of positions.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from scaling_law.experiment.evidence import Run

_KEY = re.compile(r"(position|document)_loss\.val\.(\d+)(?:-(\d+))?")


def by_place(run: Run, what: str) -> dict[float, float]:
    """The loss of a run in nats per token, each block at its geometric middle, rising.

    ``what`` is ``position`` for positions in the context, ``document`` for places in the document.
    {} where the run did not measure it.
    """
    blocks: dict[float, float] = {}
    for name, value in run.record.metrics.items():
        key = _KEY.fullmatch(name)
        if key is not None and key[1] == what:
            first = int(key[2])
            blocks[math.sqrt(first * int(key[3] or first))] = value
    return dict(sorted(blocks.items()))


def by_place_and_seed(runs: Mapping[int, Run], what: str) -> dict[float, dict[int, float]]:
    """The losses of several seeds by place and seed, at the places that all of them have."""
    each = {seed: by_place(run, what) for seed, run in runs.items()}
    common = set.intersection(*map(set, each.values())) if each else set()
    return {x: {seed: own[x] for seed, own in each.items()} for x in sorted(common)}


def places_of(runs: Mapping[int, Run], what: str) -> dict[float, list[float]]:
    """The losses of several seeds by place, as ``by_place_and_seed`` without the seeds."""
    return {x: list(by.values()) for x, by in by_place_and_seed(runs, what).items()}


def gain_along(run: Run, early: float) -> float:
    """By how much the loss of the last block of positions is below that of the first from ``early``
    on, in nats per token. Raises ``StopIteration`` where no block is as late."""
    own = by_place(run, "position")
    return next(value for x, value in own.items() if x >= early) - list(own.values())[-1]
