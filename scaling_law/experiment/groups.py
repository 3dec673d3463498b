"""Sort what runs did into groups of seeds, and say what their comparison needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from scaling_law.experiment.answer import need
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.findings import AGAIN
from scaling_law.spec.data import DataSpec, TaskSpec
from scaling_law.spec.recipe import recipes
from scaling_law.spec.run import RunSpec

Key = TypeVar("Key", bound=Any)
Item = TypeVar("Item")
Settings = TypeVar("Settings")


def grouped(pairs: Iterable[tuple[Key, Item]]) -> dict[Key, list[Item]]:
    """The items of (key, item) by key; keys in order."""
    groups: dict[Key, list[Item]] = {}
    for key, item in pairs:
        groups.setdefault(key, []).append(item)
    return {key: groups[key] for key in sorted(groups)}


def every(groups: Mapping[Any, Sequence[Item]]) -> list[Item]:
    """The items of all groups."""
    return [item for group in groups.values() for item in group]


def task_settings(spec: RunSpec, source: str, settings: type[Settings]) -> Settings | None:
    """The settings of the task ``source``; None for a run of another task."""
    if not isinstance(spec.data, TaskSpec) or spec.data.source.name != source:
        return None
    return spec.data.source.settings_as(settings)


def rule_settings(spec: RunSpec, rule: str, settings: type[Settings]) -> Settings | None:
    """The settings of a rule of ``data.clean``; None for a run without that rule."""
    rules = spec.data.clean or () if isinstance(spec.data, DataSpec) else ()
    return next((one.settings_as(settings) for one in rules if one.name == rule), None)


def of_one_recipe(runs: Sequence[Run], *varied: str) -> list[Run]:
    """The runs of the recipe that most of them have, of equal counts the first one.

    Recipes that differ in ``varied`` alone, as a config names keys, count as one.
    """
    each = recipes([run.spec for run in runs])
    keys = [
        tuple(sorted((key, value) for key, value in one.items() if not key.startswith(varied)))
        for one in each
    ]
    return of_commonest(runs, keys)


def of_one_size(runs: Sequence[Run]) -> list[Run]:
    """The runs of the size that most of them have, of equal counts the first one."""
    return of_commonest(runs, [run.spec.model for run in runs])


def of_commonest(runs: Sequence[Run], keys: Sequence[Hashable]) -> list[Run]:
    """The runs of the key that most of them have, of equal counts the first one."""
    if not runs:
        return []
    ((commonest, _),) = Counter(keys).most_common(1)
    return [run for run, key in zip(runs, keys, strict=True) if key == commonest]


def left_out(evidence: Evidence, used: int, which: str) -> list[str]:
    """The note on the runs that an analysis has no use for: all but ``used``; no note for none."""
    count = len(evidence.ended) - used
    return [f"runs left out, {which}: {count}"] if count else []


def need_sizes(groups: Mapping[int, Sequence[Any]]) -> None:
    """The precondition of claims about size: three sizes, in parameters, each with two seeds."""
    few = [f"{size:,}" for size, ones in groups.items() if len(ones) < 2]
    need(
        len(groups) >= 3 and not few,
        f"one seed has finished at {', '.join(few)} parameters"
        if few
        else f"{len(groups)} sizes have finished",
        "it needs 3 sizes with 2 seeds each: " + AGAIN,
    )
