"""The config's ``trackers``: which, and how. Never part of what a run is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

TrackerName = Literal["tensorboard", "wandb", "trackio"]


@dataclass(frozen=True, kw_only=True)
class TrackerOptions:
    """``project`` defaults to the sweep's name; ``mode`` offline sends nothing anywhere."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    project: str | None = None
    mode: Literal["offline", "online"] = "offline"


def by_name(
    given: Sequence[str] | Mapping[TrackerName, TrackerOptions],
) -> dict[str, TrackerOptions]:
    """The trackers asked for, a plain list with the default options."""
    if isinstance(given, Mapping):
        return {str(name): options for name, options in given.items()}
    return {name: TrackerOptions() for name in given}
