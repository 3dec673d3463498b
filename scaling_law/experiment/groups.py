"""Sort what runs did into groups of seeds, and say what their comparison needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from scaling_law.experiment.answer import need
from scaling_law.experiment.evidence import Evidence
from scaling_law.experiment.findings import AGAIN
from scaling_law.spec.data import TaskSpec
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


def higher(ours: Sequence[float], theirs: Sequence[float], words: str) -> bool:
    """Whether every seed of ours is above every one of theirs, not below.

    Seeds that overlap decide nothing; ``words`` tell the numbers.
    """
    apart = min(ours) > max(theirs) or max(ours) < min(theirs)
    need(apart, f"{words}: the seeds overlap", "it needs more seeds")
    return min(ours) > max(theirs)
