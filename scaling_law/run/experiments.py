"""The shipped experiments, with the cost of each on this machine."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling_law.config.load import load_config
from scaling_law.config.written import written
from scaling_law.errors import SlawError
from scaling_law.files.layout import SweepDir
from scaling_law.parts import shipped_files
from scaling_law.plan.device_profile import DeviceProfile, load_profile, refreshed, shared_by
from scaling_law.plan.packing import makespan_seconds
from scaling_law.plan.plan import Plan, tasks_of
from scaling_law.plan.time_limit import WORKER_START_SECONDS
from scaling_law.run.planning import planned

_NOT_MEASURED = (
    "cost unknown: this machine is not measured yet; `slaw plan {}` measures it and prints the cost"
)


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A shipped experiment, or a further config that its analysis reads.

    ``name`` is the name of its config, and ``config`` the file;
    ``question`` and ``reproduces`` are its own;
    ``stages`` is whether it is trained in stages;
    ``further`` is whether stages may follow the first, whose runs decide their cost;
    ``runs`` counts the runs of its first stage, None where nothing can be said;
    ``seconds`` is the planned time of those that have not finished, None where nothing can be said;
    ``why_no_cost`` is the reason for that, "" elsewhere.
    """

    name: str
    config: Path
    question: str
    reproduces: str
    stages: bool
    further: bool
    runs: int | None = None
    seconds: float | None = None
    why_no_cost: str = ""

    @property
    def document(self) -> dict[str, Any]:
        """All but the file as JSON values."""
        values = dataclasses.asdict(self)
        del values["config"]
        return values


def listed(folder: Path | None = None) -> list[Listed]:
    """Every shipped config of an experiment, by name.

    With a ``folder`` of results, runs that have finished there cost nothing.
    """
    profile = load_profile("auto")
    files = sorted(shipped_files("experiments", "*.yaml"), key=lambda path: path.stem)
    return [_listed(path, profile, folder) for path in files]


def _listed(path: Path, profile: DeviceProfile | None, folder: Path | None) -> Listed:
    config = load_config(str(path), device_kind="cpu" if profile is None else profile.kind)
    experiment = config.choice("experiment").part
    entry = Listed(
        name=path.stem,
        config=path,
        question=config.question or experiment.question,
        reproduces=experiment.reproduces,
        stages=experiment.propose is not None,
        further=experiment.propose is not None and experiment.may_propose(written(config)),
        why_no_cost=_NOT_MEASURED.format(path.stem),
    )
    if profile is None:
        return entry
    try:
        plan = planned(config, shared_by(refreshed(profile), config.limits.slots), None)
    except SlawError as problem:
        return dataclasses.replace(entry, why_no_cost=f"cannot be run here: {problem.lines[0]}")
    seconds = plan.seconds_estimate
    if folder is not None:
        seconds = _seconds_left(plan, SweepDir(folder / path.stem))
    return dataclasses.replace(entry, runs=len(plan.runs), seconds=seconds, why_no_cost="")


def _seconds_left(plan: Plan, sweep: SweepDir) -> float:
    """The planned time of the runs that have no record in the sweep's folder; 0 for none."""
    if all(sweep.run(run.run_id).record.is_file() for run in plan.runs):
        return 0.0
    left = [
        dataclasses.replace(run, seconds=0.0) if sweep.run(run.run_id).record.is_file() else run
        for run in plan.runs
    ]
    return WORKER_START_SECONDS + makespan_seconds(tasks_of(left)[0], plan.slots)
