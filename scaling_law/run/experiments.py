"""The shipped experiments, with the cost of each on this machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling_law.config.load import load_config
from scaling_law.config.written import written
from scaling_law.errors import ConfigError, SlawError, did_you_mean, quoted
from scaling_law.files.layout import SweepDir
from scaling_law.parts import shipped_files
from scaling_law.plan.device_profile import DeviceProfile, load_profile, refreshed, shared_by
from scaling_law.plan.packing import makespan_seconds
from scaling_law.plan.plan import Plan, tasks_of
from scaling_law.plan.time_limit import WORKER_START_SECONDS
from scaling_law.run.planning import planned
from scaling_law.units import count_of, format_seconds

if TYPE_CHECKING:
    from scaling_law.config.sweep_config import SweepConfig
    from scaling_law.experiment.analysis import Analysed

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
    def cost(self) -> str:
        """Its runs and their time here: ``139 runs, about 2m54s, then further stages``."""
        if self.runs is None or self.seconds is None:
            return self.why_no_cost
        time = f"about {format_seconds(self.seconds)}" if self.seconds else "all finished"
        stages = ", then further stages" if self.further else ""
        return f"{count_of(self.runs, 'run')}, {time}{stages}"

    def has(self, words: Sequence[str]) -> bool:
        """Whether its name, question and papers have all ``words``, in any case of letters."""
        text = " ".join((self.name, self.question, self.reproduces)).lower()
        return all(word.lower() in text for word in words)

    @property
    def document(self) -> dict[str, Any]:
        """All but the file as JSON values."""
        values = dataclasses.asdict(self)
        del values["config"]
        return values


def listed(folder: Path | None = None, words: Sequence[str] = ()) -> list[Listed]:
    """Every shipped config of an experiment, by name; of them those that have all ``words``.

    A word counts in the name, the question and what is reproduced. With a ``folder`` of results,
    runs that have finished there cost nothing. Raises ``ConfigError`` where none has the words.
    """
    profile = load_profile("auto")
    entries = [_uncosted(path, profile) for path in _files().values()]
    found = [entry for entry in entries if entry.has(words)]
    if not found:
        raise _none_called(" ".join(words))
    return [_costed(entry, profile, folder) for entry in found]


def listed_one(name: str, folder: Path) -> Listed:
    """The shipped config of that name; runs that have finished in ``folder``/``name`` cost nothing.

    Raises ``ConfigError`` for a name that is not there.
    """
    files = _files()
    if name not in files:
        raise _none_called(name)
    return _listed(files[name], load_profile("auto"), folder)


def is_name(word: str) -> bool:
    """Whether a shipped config of an experiment is called so."""
    return word in _files()


def _none_called(words: str) -> ConfigError:
    files = _files()
    return ConfigError(
        f"no experiment is called {quoted(words)}{did_you_mean(words, files)}, and none has that in"
        f" its question or papers; slaw experiments lists all {len(files)}"
    )


def findings_in(folder: Path) -> Analysed | None:
    """What the finished runs of an experiment show; None where none has finished.

    Raises ``ConfigError`` for a damaged sweep.
    """
    from scaling_law.experiment.analysis import analysed
    from scaling_law.files.record import only_sweep

    sweep = SweepDir(folder)
    if not sweep.runs.is_dir() or not any(one.record.is_file() for one in sweep.run_dirs()):
        return None
    return analysed(only_sweep(folder))


def listed_like(name: str) -> list[Listed]:
    """The shipped configs whose names begin so, such as an experiment's own and a longer one."""
    profile = load_profile("auto")
    files = _files().items()
    return [_listed(path, profile, None) for stem, path in files if stem.startswith(name)]


def _files() -> dict[str, Path]:
    return {path.stem: path for path in shipped_files("experiments", "*.yaml")}


def _listed(path: Path, profile: DeviceProfile | None, folder: Path | None) -> Listed:
    return _costed(_uncosted(path, profile), profile, folder)


def _config(path: Path, profile: DeviceProfile | None) -> SweepConfig:
    return load_config(str(path), device_kind="cpu" if profile is None else profile.kind)


def _uncosted(path: Path, profile: DeviceProfile | None) -> Listed:
    """An experiment without its cost, whose plan takes longer than all the rest."""
    config = _config(path, profile)
    experiment = config.choice("experiment").part
    return Listed(
        name=path.stem,
        config=path,
        question=config.question or experiment.question,
        reproduces=experiment.reproduces,
        stages=experiment.propose is not None,
        further=experiment.propose is not None and experiment.may_propose(written(config)),
        why_no_cost=_NOT_MEASURED.format(path.stem),
    )


def _costed(entry: Listed, profile: DeviceProfile | None, folder: Path | None) -> Listed:
    if profile is None:
        return entry
    config = _config(entry.config, profile)
    try:
        plan = planned(config, shared_by(refreshed(profile), config.limits.slots), None)
    except SlawError as problem:
        return dataclasses.replace(entry, why_no_cost=f"cannot be run here: {problem.lines[0]}")
    seconds = plan.seconds_estimate
    if folder is not None:
        seconds = _seconds_left(plan, SweepDir(folder / entry.name))
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
