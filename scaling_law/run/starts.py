"""Runs that need another run's final weights: which file that is, and a copy of it.

A run may start from them (``start_from``), or its objective may read the losses of the model that
they make (``reference``).

The hash of the weights is part of a run's identity. Weights of another sweep are copied into the
sweep's folder, so that its runs can resume on any machine.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import shutil
from pathlib import Path
from typing import Any

from scaling_law.config.grid_section import GridEntry, StartSection
from scaling_law.config.sweep_config import SweepConfig
from scaling_law.errors import ConfigError, PlanError
from scaling_law.files import layout
from scaling_law.files.layout import RunDir, SweepDir
from scaling_law.files.record import record_if_there
from scaling_law.plan.sizes import sizes_of
from scaling_law.spec.model import Model
from scaling_law.spec.run import RunSpec
from scaling_law.spec.start import StartFrom
from scaling_law.spec.to_json import to_json

# Keys of a grid's entry, and fields of a run's spec, that name another run.
REFERENCE = "reference"
KEYS = ("start_from", REFERENCE)


def looked_up(config: SweepConfig, sweep: SweepDir) -> SweepConfig:
    """The config with the hash of all weights that its runs start from, or read losses of.

    Raises ``ConfigError`` for a run that has none, or other ones than the config says, and for a
    reference that does not fit the runs that read it.
    """
    problems: list[str] = []
    grid: list[GridEntry] = []
    for number, entry in enumerate(config.grid):
        hashed: dict[str, Any] = {}
        for key, start in _others_of(entry).items():
            try:
                hashed[key] = _with_hash(start, sweep)
                if key == REFERENCE:
                    _check_reference(config, number, entry, _spec_of(start.run, sweep))
            except ConfigError as problem:
                where = config.where("grid", number, key, "run")
                problems += [f"{where}: {line}" for line in problem.lines]
        grid.append(dataclasses.replace(entry, **hashed) if hashed else entry)
    if problems:
        raise ConfigError(*problems)
    return dataclasses.replace(config, grid=tuple(grid))


def _others_of(given: GridEntry | RunSpec) -> dict[str, Any]:
    """The other runs whose final weights a run needs, by the key that names them."""
    return {key: other for key in KEYS if (other := getattr(given, key)) is not None}


def _check_reference(
    config: SweepConfig, number: int, entry: GridEntry, reference: RunSpec | None
) -> None:
    """Raise ``ConfigError`` for a model of another shape, or of another text or tokenizer.

    ``reference`` is None where the folder has nothing but a copy of the weights, which was checked
    when it was made.
    """
    if reference is None:
        return
    ours, theirs = config.data_spec, reference.data
    for keys in (("tokenizer", "vocab_size"), ("corpus", "domains", "sources"), ("source",)):
        for key in keys:
            own, other = getattr(ours, key, None), getattr(theirs, key, None)
            if own != other:
                raise ConfigError(
                    f"the reference was trained with data.{key} {_said(other)}, and this config has"
                    f" {_said(own)}; losses on the same tokens need the same text and tokenizer"
                )
    with contextlib.suppress(PlanError):  # said when the grid is planned
        for name, model in sizes_of(config, number, entry):
            if differing := _differing(model, reference.model):
                raise ConfigError(
                    f"the reference is another model than {name}: found"
                    f" {differing}; both need one shape and one architecture"
                )


def _said(value: Any) -> str:
    """A value of the section ``data`` in a message."""
    if isinstance(value, tuple):
        names = [str(getattr(one, "name", one)) for one in value]
        return ", ".join(names) or "all"
    return "none" if value is None else str(value)


def _differing(ours: Model, theirs: Model) -> str:
    """``d_model 32, expected 16``, for all that differs; "" for nothing."""
    own, other = to_json(ours), to_json(theirs)
    return "; ".join(
        f"{key} {other.get(key)}, expected {own.get(key)}"
        for key in sorted({*own, *other})
        if own.get(key) != other.get(key)
    )


def _spec_of(run: str, sweep: SweepDir) -> RunSpec | None:
    """What another run was, where its folder is there."""
    for folder in (Path(run), sweep.run(Path(run).name).path):
        record = record_if_there(RunDir(folder))
        if record is not None:
            return record.spec
    return None


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
        for start in _others_of(entry).values():
            source, run_id = weights_file(start.run, sweep), Path(start.run).name
            if source not in (sweep.start_weights(run_id), sweep.run(run_id).weights):
                _copy(source, sweep.start_weights(run_id))


def _copy(source: Path, copy: Path) -> None:
    with layout.atomic_file(copy) as temporary:
        shutil.copyfile(source, temporary)


def copy_starts(spec: RunSpec, sweep: SweepDir, to: SweepDir) -> None:
    """Copy the weights that a run of ``sweep`` needs to where its run in ``to`` looks.

    Raises ``ConfigError`` where they are gone.
    """
    for other in _others_of(spec).values():
        _copy(weights_file(other.run_id, sweep), to.start_weights(other.run_id))


def start_file(start: StartFrom | None, sweep: SweepDir) -> Path | None:
    """The weights that a run starts from or reads; None for none. Raises ``ConfigError``."""
    return None if start is None else weights_file(start.run_id, sweep)
