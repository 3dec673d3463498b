"""Runs that start from another run's final weights: which file that is, and a copy of it.

The hash of the weights is part of a run's identity. Weights of another sweep are copied into the
sweep's folder, so that its runs can resume on any machine.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import shutil
from pathlib import Path

from scaling_law.config.grid_section import GridEntry, StartSection
from scaling_law.config.sweep_config import SweepConfig
from scaling_law.errors import ConfigError
from scaling_law.files import layout
from scaling_law.files.layout import RunDir, SweepDir
from scaling_law.spec.run import RunSpec


def looked_up(config: SweepConfig, sweep: SweepDir) -> SweepConfig:
    """The config with the hash of all weights that its runs start from.

    Raises ``ConfigError`` for a run that has none, or other ones than the config says.
    """
    if all(entry.start_from is None for entry in config.grid):
        return config
    problems: list[str] = []
    grid: list[GridEntry] = []
    for number, entry in enumerate(config.grid):
        start = entry.start_from
        if start is not None:
            try:
                start = _with_hash(start, sweep)
            except ConfigError as problem:
                where = config.where("grid", number, "start_from", "run")
                problems += [f"{where}: {line}" for line in problem.lines]
        grid.append(dataclasses.replace(entry, start_from=start))
    if problems:
        raise ConfigError(*problems)
    return dataclasses.replace(config, grid=tuple(grid))


def _with_hash(start: StartSection, sweep: SweepDir) -> StartSection:
    weights = weights_file(start.run, sweep)
    stat = weights.stat()
    digest = _digest(weights, stat.st_size, stat.st_mtime_ns)
    if start.weights_sha256 not in (None, digest):
        raise ConfigError(
            f"{weights}: other weights than the config names (SHA-256 {digest[:12]}...,"
            f" expected {str(start.weights_sha256)[:12]}...)"
        )
    return dataclasses.replace(start, weights_sha256=digest)


@functools.lru_cache(maxsize=256)
def _digest(path: Path, size: int, changed_ns: int) -> str:
    """The SHA-256 of a file, read again when it changed."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_file(run: str, sweep: SweepDir) -> Path:
    """The final weights of a run: of its own folder, of this sweep, or the copy here.

    Raises ``ConfigError`` where there are none.
    """
    run_id = Path(run).name
    places = [RunDir(Path(run)).weights, sweep.run(run_id).weights, sweep.start_weights(run_id)]
    for place in places:
        if place.is_file():
            return place
    for folder in (Path(run), sweep.run(run_id).path):
        if RunDir(folder).record.is_file():
            raise ConfigError(
                f"{folder} has no final weights; train it with keep_weights: all, in another folder"
            )
    raise ConfigError(
        f"no finished run {run}; expected the folder of a run (results/SWEEP/runs/RUN), or the id"
        f" of a run in {sweep.path}"
    )


def keep_starts(config: SweepConfig, sweep: SweepDir) -> None:
    """Copy the weights of other sweeps' runs into the sweep's folder."""
    for entry in config.grid:
        if entry.start_from is None:
            continue
        source, run_id = weights_file(entry.start_from.run, sweep), Path(entry.start_from.run).name
        if source not in (sweep.start_weights(run_id), sweep.run(run_id).weights):
            _copy(source, sweep.start_weights(run_id))


def _copy(source: Path, copy: Path) -> None:
    with layout.atomic_file(copy) as temporary:
        shutil.copyfile(source, temporary)


def copy_start(spec: RunSpec, sweep: SweepDir, to: SweepDir) -> None:
    """Copy the weights that a run of ``sweep`` starts from to where its run in ``to`` looks.

    Raises ``ConfigError`` where they are gone.
    """
    source = start_file(spec, sweep)
    if source is not None and spec.start_from is not None:
        _copy(source, to.start_weights(spec.start_from.run_id))


def start_file(spec: RunSpec, sweep: SweepDir) -> Path | None:
    """The weights that a run starts from; None for random ones. Raises ``ConfigError``."""
    if spec.start_from is None:
        return None
    return weights_file(spec.start_from.run_id, sweep)
