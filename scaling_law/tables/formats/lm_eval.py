"""lm-evaluation-harness: results in JSON, one model a file.

A metric is named by its task, as in ``wikitext/bits_per_byte``; the model is the run. Several files
of one model have its tasks together; a task that was measured with two numbers of examples in the
prompt has that number in its name, as in ``piqa (5-shot)/acc``.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling_law.errors import ConfigError, listed, one_line
from scaling_law.tables.formats import Format, Source, SourceRun
from scaling_law.tables.formats._text import head, read_object
from scaling_law.units import count_of

# What results of this harness have, of its versions from 0.3 on.
_MARKS = ("_stderr", '"alias"', ",none", '"n-shot"', '"versions"')
_REVISION = re.compile(r"(?:^|,)revision=([^,]+)")
_MODEL = re.compile(r"(?:^|,)(?:pretrained|model|path)=([^,]+)")


def _sniff(path: Path) -> str:
    if path.is_dir():
        return "results of lm-eval" if any(map(_is_results, path.rglob("*.json"))) else ""
    return "results of lm-eval" if _is_results(path) else ""


def _files(path: Path) -> list[Path]:
    """The results in a folder; early versions call them as their users do."""
    if path.is_file():
        return [path]
    return sorted(file for file in path.rglob("*.json") if _is_results(file))


def _is_results(path: Path) -> bool:
    if path.suffix != ".json":
        return False
    text = head(path).lstrip()
    has_results = text.startswith("{") and '"results"' in text[:4096]
    return has_results and any(mark in text for mark in _MARKS)


@dataclass(frozen=True)
class _Measured:
    """What one file says of a model: (task, metric, shots) -> score, and the number of its params.

    ``shots`` is "" where the file does not say.
    """

    file: Path
    scores: dict[tuple[str, str, str], float]
    params: Any


def _read(path: Path) -> Source:
    models: dict[str, list[_Measured]] = defaultdict(list)
    own_names: dict[str, Path] = {}
    for file in _files(path):
        content = read_object(file)
        name = _model_of(content)
        if not name:
            name = file.stem
            own_names[name] = file
        models[name].append(_measured(file, content))
    notes: list[str] = []
    runs = [
        SourceRun(name=name, values=_values(name, files, notes), file=own_names.get(name))
        for name, files in models.items()
    ]
    return Source(
        runs=tuple(runs),
        notes=tuple(notes),
        evaluates=True,
        missing={
            "tokens": "results of lm-eval do not say on how many tokens a model was trained: name"
            " another source with the same run names, as a CSV of run,tokens, or pass --tokens N"
        },
    )


def _measured(file: Path, content: dict[str, Any]) -> _Measured:
    results, config = content.get("results"), content.get("config") or {}
    if not isinstance(results, dict) or not isinstance(config, dict):
        raise ConfigError(f"{file}: expected `results`, an object of tasks")
    n_shot = content.get("n-shot")
    shots_of = n_shot if isinstance(n_shot, dict) else {}
    scores = {}
    for task, of_task in results.items():
        shots = shots_of.get(task, config.get("num_fewshot"))
        for metric, score in (of_task if isinstance(of_task, dict) else {}).items():
            name, _, filtered = metric.partition(",")
            if isinstance(score, int | float) and not isinstance(score, bool):
                suffix = f" ({filtered})" if filtered not in ("", "none") else ""
                scores[task, f"{name}{suffix}", "" if shots is None else str(shots)] = score
    return _Measured(file, scores, config.get("model_num_parameters"))


def _values(model: str, files: Sequence[_Measured], notes: list[str]) -> dict[str, Any]:
    """The metrics of a model by name, of all its files."""
    shots: dict[str, set[str]] = defaultdict(set)
    for one in files:
        for task, _, number in one.scores:
            shots[task].add(number)
    values: dict[str, Any] = {}
    again = set()
    for one in files:
        for (task, metric, number), score in one.scores.items():
            said = f" ({number or 'unknown'}-shot)" if len(shots[task]) > 1 else ""
            name = f"{task}{said}/{metric}"
            if values.setdefault(name, score) != score:
                again.add(task)
        if one.params is not None:
            values["model_num_parameters"] = one.params
    if again:
        notes.append(
            f"{one_line(model)}: {count_of(len(again), 'task')} measured again in another of"
            f" {len(files)} files ({one_line(listed(sorted(again), 3))}): the first counts"
        )
    return values


def _model_of(content: dict[str, Any]) -> str:
    """The model that was measured, with its revision; "" where the results do not say."""
    config = content.get("config")
    arguments = config.get("model_args") if isinstance(config, dict) else None
    if isinstance(arguments, dict):
        named = arguments.get("pretrained") or arguments.get("path")
        revision = arguments.get("revision")
    else:
        match = _MODEL.search(str(arguments or ""))
        named = match[1] if match else None
        match = _REVISION.search(str(arguments or ""))
        revision = match[1] if match else None
    named = named or content.get("model_name")
    if not named:
        return ""
    name = str(named).rstrip("/").rpartition("/")[2]
    return name if revision in (None, "main") else f"{name}@{revision}"


FORMAT = Format(sniff=_sniff, read=_read)
