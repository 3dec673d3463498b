"""The command lines that train what an analysis lacks: further seeds, or other values of a config.

An experiment prints one in a note beside the claims that are not established, so that its
reader can run it. The finished runs of the folder count, and only new ones are trained; an entry
without an axis of rates gets other run ids with one, so that its first rate is trained once more.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from scaling_law.experiment.evidence import Evidence


def run_command(evidence: Evidence, changes: Mapping[str, Any]) -> str:
    """Return the command that trains the runs of a sweep with some keys of its config changed."""
    sweep = evidence.sweep
    words = ["slaw", "run"]
    if sweep is None:
        words.append(str(evidence.config.get("name", "NAME")))
    else:
        words += [str(sweep.config), "--out", str(sweep.path)]
    for key, value in changes.items():
        words += ["--set", f"{key}={json.dumps(value)}"]
    return shlex.join(words)


def entries_of(evidence: Evidence) -> dict[str, Mapping[str, Any]]:
    """Return the entries of a config's grid, each by the key that ``--set`` changes it by."""
    grid = evidence.config.get("grid", ())
    if isinstance(grid, Mapping):
        return {"grid": grid}
    return {f"grid.{place}": entry for place, entry in enumerate(grid)}


def rates_command(evidence: Evidence, tried: Callable[[Mapping[str, Any]], Iterable[float]]) -> str:
    """Return the command that trains rates on both sides of those that were tried, a factor of 2
    apart; "" where ``tried`` gives none for any entry of the grid.
    """
    changes = {}
    for key, entry in entries_of(evidence).items():
        if rates := set(tried(entry)):
            low, high = min(rates), max(rates)
            further = (float(f"{rate:.3g}") for rate in (low / 4, low / 2, high * 2, high * 4))
            changes[f"{key}.axes.optim.lr"] = sorted({*rates, *further})
    return run_command(evidence, changes) if changes else ""


def seeds_command(
    evidence: Evidence, count: int, of: Callable[[Mapping[str, Any]], bool] = lambda entry: True
) -> str:
    """Return the command that trains ``count`` seeds of the entries that ``of`` takes.

    The seeds that the entry has stay; the ones that are added count on from its largest.
    """
    changes = {}
    for key, entry in entries_of(evidence).items():
        seeds = list(entry.get("seeds", [0]))
        if of(entry) and len(seeds) < count:
            more = range(max(seeds) + 1, max(seeds) + 1 + count - len(seeds))
            changes[f"{key}.seeds"] = [*seeds, *more]
    return run_command(evidence, changes)
