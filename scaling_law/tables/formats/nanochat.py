"""nanochat: what ``base_train`` prints, one run a file.

The validation loss is bits per byte, that of training nats per token; tokens of a step are its
number times the total batch size, its FLOPs those tokens times the estimated FLOPs per token.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from scaling_law.tables.formats import Format, Source, SourceRun
from scaling_law.tables.formats._text import head, lines_of, measured

_VALIDATED = re.compile(r"Step (\d+) \| Validation bpb: ([^\s|]+)")
_CORE = re.compile(r"Step (\d+) \| CORE metric: ([^\s|]+)")
_STEP = re.compile(r"step (\d+)(?:/(\d+))? .*?\| loss: ([^\s|]+)")
_SPEED = re.compile(r"tok/sec: ([\d,]+)")
_BATCH = re.compile(r"Total batch size ([\d,]+)")
_FLOPS = re.compile(r"Estimated FLOPs per token: (\S+)")
_COUNT = re.compile(r"^\s*(\w+)\s*: ([\d,]+)\s*$")
_ONE_COUNT = re.compile(r"Number of parameters: ([\d,]+)")


def _sniff(path: Path) -> str:
    text = head(path)
    known = _VALIDATED.search(text) or ("Estimated FLOPs per token:" in text and "Total batch size" in text)  # fmt: skip  # noqa: E501
    return "what nanochat's base_train prints" if known else ""


def _plain(text: str) -> float:
    return float(text.replace(",", ""))


def _read(path: Path) -> Source:
    values: dict[str, Any] = {}
    points: dict[int, dict[str, Any]] = {}
    batch_tokens = flops_per_token = None
    planned = 0
    counting = False
    speed = None
    for _, line in lines_of(path):
        if match := _VALIDATED.search(line):
            points.setdefault(int(match[1]), {})["Validation bpb"] = measured(match[2])
        elif match := _CORE.search(line):
            points.setdefault(int(match[1]), {})["CORE metric"] = measured(match[2])
        elif match := _STEP.search(line):
            planned = int(match[2] or 0)
            points.setdefault(int(match[1]), {})["train loss"] = measured(match[3])
            if said := _SPEED.search(line):
                speed = _plain(said[1])
        elif match := _BATCH.search(line):
            batch_tokens = _plain(match[1])
        elif match := _FLOPS.search(line):
            flops_per_token = _plain(match[1])
        elif match := _ONE_COUNT.search(line):
            values["Number of parameters"] = match[1]
        elif "Parameter counts:" in line:
            counting = True
        elif counting and (match := _COUNT.match(line)):
            values[f"parameters {match[1]}"] = match[2]
        else:
            counting = False
    if not points:
        why = "ended before its first evaluation, `Step 00000 | Validation bpb: 3.27`"
        return Source(runs=(), left_out=((str(path), why),))
    curve = []
    for step in sorted(points):
        point: dict[str, Any] = {"step": step}
        if batch_tokens is not None:
            point["tokens"] = step * batch_tokens
            if flops_per_token is not None:
                point["flops"] = step * batch_tokens * flops_per_token
        curve.append(point | points[step])
    if batch_tokens is not None:
        values["batch_tokens"] = batch_tokens
    if speed is not None:
        values["tokens_per_second"] = speed
    if max(points) < planned - 1:
        values["state"] = f"stopped at step {max(points)} of {planned}"
    run = SourceRun(name=path.stem, file=path, values=values, curve=tuple(curve))
    missing = {"tokens": "the log does not say `Total batch size`: pass --tokens-per-step N"}
    return Source(runs=(run,), missing=missing)


FORMAT = Format(sniff=_sniff, read=_read)
