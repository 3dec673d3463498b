"""Writes the scripts of SLURM's jobs, and packs runs into jobs."""

from __future__ import annotations

import heapq
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from scaling_law.run.engines.slurm import Settings

# What a job asks for: its planned time this many times, and the seconds to start a worker.
_MARGIN, _START_SECONDS = 2.0, 900.0
# How long before its time limit a job is told: 120 seconds, less of a limit below 12 minutes.
_LEAD_SECONDS, _LEAD_FRAC = 120.0, 1 / 6
# Begin the lines of a log that say that engine.setup failed, or that the script ended itself.
SETUP_FAILED = "slaw: engine.setup ended with exit code"
NOT_BEGUN = "slaw: the job ended before its worker began, with exit code"
_Task = TypeVar("_Task")


def script(
    command: Sequence[str], log: str, settings: Settings, variables: Mapping[str, str]
) -> str:
    """A job that runs ``command`` with its output in ``log``, a word of bash.

    bash becomes the command, so that SLURM's signals reach it; until it can obey them they are
    ignored, because a worker that they killed would look broken. No line of it is an option of
    sbatch: those are on the command line, which a path cannot add to. The log says where the setup
    fails, and where bash ends without becoming the command.
    """
    lines = [
        "#!/bin/bash",
        ":",
        "trap '' USR1 TERM",
        f"exec >> {log} 2>&1 || exit 1",
        f"trap 'echo \"{NOT_BEGUN} $?\"' EXIT",
        settings.setup,
        f'slaw_code=$?; [ "$slaw_code" = 0 ] || echo "{SETUP_FAILED} $slaw_code"',
        *(f"export {name}={shlex.quote(value)}" for name, value in variables.items()),
        f"exec {' '.join(command)}",
    ]
    return "\n".join(lines) + "\n"


def quoted(path: Path | str) -> str:
    """A path as a word of bash; it may hold blanks, quotes, line breaks or a leading dash."""
    return shlex.quote(str(path))


def common_words(name: str, settings: Settings, limit_seconds: float) -> list[str]:
    """The options of sbatch that every job has."""
    minutes = max(math.ceil(limit_seconds / 60), 1)
    lead = round(min(_LEAD_SECONDS, 60 * minutes * _LEAD_FRAC))
    return [
        f"--job-name={name}", f"--time={minutes}", f"--signal=B:USR1@{lead}", "--requeue",
        "--output=/dev/null", "--export=ALL",
    ]  # fmt: skip


def limit_seconds(planned_seconds: float, most_seconds: float | None, settings: Settings) -> float:
    """The time that a job asks for."""
    limits = [limit for limit in (most_seconds, settings.time) if limit is not None]
    return min([_MARGIN * planned_seconds + _START_SECONDS, *limits])


def packed(
    tasks: Sequence[tuple[_Task, float]], at_once: int, pack_seconds: float
) -> list[list[_Task]]:
    """Put tasks, each with its seconds, into jobs; both keep the order of the tasks.

    Small tasks share a job until it is ``pack_seconds`` long, but ``at_once`` jobs are made first:
    what can run side by side does not wait in a line.
    """
    total = sum(seconds for _, seconds in tasks)
    count = min(max(at_once, math.ceil(total / pack_seconds)), len(tasks))
    loads = [(0.0, number) for number in range(count)]
    members: list[list[int]] = [[] for _ in range(count)]
    for place in sorted(range(len(tasks)), key=lambda place: -tasks[place][1]):
        load, number = heapq.heappop(loads)
        members[number].append(place)
        heapq.heappush(loads, (load + tasks[place][1], number))
    return [[tasks[place][0] for place in sorted(own)] for own in sorted(members, key=min)]
