"""Joins the documents that a run writes at several steps, as ``meta_002000.json``, to its curve."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from scaling_law.errors import one_line
from scaling_law.fit.points.histories import STEPS
from scaling_law.fit.points.numbers import number
from scaling_law.tables.formats import Source, SourceRun
from scaling_law.units import count_of

_NUMBERED = re.compile(r"(.*?)[-_]*(?:step|iter)?[-_]*\d+")


def joined_steps(read: Sequence[tuple[Path, str, Source]]) -> list[tuple[Path, str, Source]]:
    """The sources, those that are documents of one run at several steps as one each.

    Such documents lie in one folder, are called alike but for a number, and count different steps.
    """
    groups: dict[tuple[Path, str], list[int]] = defaultdict(list)
    for place, (path, _, source) in enumerate(read):
        match = _NUMBERED.fullmatch(path.stem)
        if source.one_run and match is not None and _step(source.runs[0]) is not None:
            groups[path.parent, match[1]].append(place)
    joined: dict[int, tuple[Path, str, Source]] = {}
    gone: set[int] = set()
    for (folder, _), places in groups.items():
        runs = sorted((read[place][2].runs[0] for place in places), key=lambda run: _step(run) or 0)
        if len({_step(run) for run in runs}) < max(2, len(runs)):
            continue
        first, why, source = read[places[0]]
        name = folder.resolve().name or first.stem
        run = SourceRun(name=name, values={}, curve=tuple(run.values for run in runs), file=folder)
        count = count_of(len(runs), "document")
        note = f"{one_line(str(folder))}: {count} read as the curve of one run, by their steps"
        joined[places[0]] = (first, why, replace(source, runs=(run,), notes=(note,)))
        gone.update(places[1:])
    return [joined.get(place, one) for place, one in enumerate(read) if place not in gone]


def _step(run: SourceRun) -> float | None:
    """The step that a document counts; None where it counts none."""
    for name in STEPS:
        if name != "epoch" and (value := number(run.values.get(name))) is not None:
            return value
    return None
