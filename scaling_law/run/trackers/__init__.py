"""Trackers, one file each: ``trackers: [wandb]`` is ``trackers/wandb.py``.

A tracker sees curve points and records, and nothing of training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol

from scaling_law.files.record import CurvePoint, RunRecord
from scaling_law.parts import NoSettings
from scaling_law.spec.run import RunSpec
from scaling_law.spec.values import Text


class Tracker(Protocol):
    """A tracker. If a method raises anything, the tracker is dropped."""

    def points(self, spec: RunSpec, started: float, points: Sequence[CurvePoint]) -> None:
        """Store new points of a run, in order, before this returns.

        ``started`` is the Unix time of second 0 of the run.
        """

    def end(self, spec: RunSpec, record: RunRecord) -> None:
        """Note that the run has finished."""

    def close(self) -> None:
        """End: nothing more will come."""


@dataclass(frozen=True, kw_only=True)
class TrackerPart:
    """A tracker that a config may name.

    ``open(folder, sweep, settings)`` gives the ``Tracker`` that writes below ``folder``, which
    exists, and shows the sweep of that name. It imports what it needs, so that nothing else
    waits for it;
    ``install`` is what to type where a library is missing, "" for nothing to say;
    ``settings`` is a dataclass of the tracker's own settings.
    """

    open: Callable[[Path, str, Any], Tracker]
    install: str = ""
    settings: type = NoSettings


@dataclass(frozen=True, kw_only=True)
class ProjectSettings:
    """The settings of trackers that send runs to a project.

    ``project`` is its name, None for the sweep's;
    ``mode`` offline sends nothing anywhere.
    """

    project: Annotated[str | None, Text("the project; the sweep's name if absent")] = None
    mode: Annotated[str, Text("offline sends nothing anywhere", ("offline", "online"))] = "offline"
