"""nanoGPT: what ``train.py`` prints, one run a file.

Losses are nats per token; the tokens of a step are its number times ``tokens per iteration``.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from scaling_law.errors import one_line
from scaling_law.tables.formats import Format, Source, SourceRun
from scaling_law.tables.formats._text import head, lines_of, measured

_EVALUATED = re.compile(r"step (\d+): train loss (\S+), val loss (\S+)")
_ITERATION = re.compile(r"iter (\d+): loss ([^\s,]+), time ")
_PARAMS = re.compile(r"number of parameters: ([\d.,]+)\s*([KMB]?)")
_TOKENS = re.compile(r"tokens per iteration(?: will be)?: ([\d,]+)")
_OVERRIDING = re.compile(r"Overriding(?: config)?:? (\w+) = (\S+)")
# the file of settings that the configurator prints as it is
_SETTING = re.compile(r"(\w+) = ([^\s#]+)\s*(?:#.*)?")


def _sniff(path: Path) -> str:
    text = head(path)
    begins = _TOKENS.search(text) or _ITERATION.search(text)
    known = _EVALUATED.search(text) or (begins and _PARAMS.search(text))
    return "what nanoGPT's train.py prints" if known else ""


def _read(path: Path) -> Source:
    values: dict[str, Any] = {}
    settings: set[str] = set()
    points: dict[int, dict[str, Any]] = {}
    tokens_per_step: float | None = None
    for _, line in lines_of(path):
        if match := _EVALUATED.search(line):
            points.setdefault(int(match[1]), {}).update(
                {"train loss": measured(match[2].rstrip(",")), "val loss": measured(match[3])}
            )
        elif match := _ITERATION.search(line):
            points.setdefault(int(match[1]), {})["batch loss"] = measured(match[2])
        elif match := _PARAMS.search(line):
            values["number of parameters"] = match[1] + match[2]
        elif match := _TOKENS.search(line):
            tokens_per_step = float(match[1].replace(",", ""))
        elif match := _OVERRIDING.search(line) or _setting(line, points):
            values[match[1]] = match[2]
            settings.add(match[1])
    if not points:
        why = "ended before its first evaluation, `step 0: train loss 10.9, val loss 10.9`"
        return Source(runs=(), left_out=((str(path), why),))
    curve = []
    for step in sorted(points):
        tokens = {} if tokens_per_step is None else {"tokens": step * tokens_per_step}
        curve.append({"step": step, **tokens, **points[step]})
    planned = str(values.get("max_iters", ""))
    notes = []
    if not planned.isdigit():
        notes.append(
            f"{one_line(str(path))}: does not say max_iters, so that it cannot be told whether the"
            " run finished"
        )
    elif max(points) < int(planned):
        values["state"] = f"stopped at step {max(points)} of {planned}"
    run = SourceRun(
        name=path.stem, file=path, values=values, curve=tuple(curve), settings=frozenset(settings)
    )
    missing = {
        "tokens": "the log does not say `tokens per iteration will be`: pass --tokens-per-step N",
        "params": "the log does not say `number of parameters`: pass --params N",
    }
    return Source(runs=(run,), notes=tuple(notes), missing=missing)


def _setting(line: str, points: Collection[int]) -> re.Match[str] | None:
    """A setting of the file that is printed before the first step."""
    return None if points else _SETTING.fullmatch(line)


FORMAT = Format(sniff=_sniff, read=_read)
