"""Estimate how long a set of runs takes on a few slots: list scheduling, longest chain first."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class TimedTask:
    """A run, or a stack of runs, to place on a slot.

    ``seconds`` is how long it takes on one slot;
    ``parent`` is the index of the task that it depends on, None for none;
    ``after_seconds`` is how far into its parent it may start;
    ``slots`` are those that it takes at once, at most as many as there are.
    """

    seconds: float
    parent: int | None = None
    after_seconds: float = 0.0
    slots: int = 1


def chain_seconds(tasks: Sequence[TimedTask]) -> list[float]:
    """Return the seconds from each task's start to the end of the last that depends on it."""
    chains = [task.seconds for task in tasks]
    for index in range(len(tasks) - 1, -1, -1):
        task = tasks[index]
        if task.parent is not None:
            assert task.parent < index, "parents come first"
            chains[task.parent] = max(chains[task.parent], task.after_seconds + chains[index])
    return chains


def makespan_seconds(tasks: Sequence[TimedTask], slots: int) -> float:
    """Return the seconds until all tasks have finished on ``slots`` slots.

    A free slot takes the ready task with the longest chain; one that needs more slots waits for
    them, and no other goes before it.
    """
    priority = chain_seconds(tasks)
    children: dict[int, list[int]] = {}
    for index, task in enumerate(tasks):
        if task.parent is not None:
            children.setdefault(task.parent, []).append(index)
    ready = [(-priority[i], i) for i, task in enumerate(tasks) if task.parent is None]
    heapq.heapify(ready)
    # (time, released task, or minus the slots that become free)
    events: list[tuple[float, int]] = []
    now, free = 0.0, slots
    while ready or events:
        while ready and free >= tasks[ready[0][1]].slots:
            _, index = heapq.heappop(ready)
            free -= tasks[index].slots
            heapq.heappush(events, (now + tasks[index].seconds, -tasks[index].slots))
            for child in children.get(index, ()):
                heapq.heappush(events, (now + tasks[child].after_seconds, child))
        if not events:
            break
        now, released = heapq.heappop(events)
        if released < 0:
            free -= released
        else:
            heapq.heappush(ready, (-priority[released], released))
    return now
