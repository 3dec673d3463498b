"""Registered forecasts: predictions frozen in a sealed file before their runs exist.

``register.py`` makes one, ``score.py`` compares it with the runs that came later.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scaling_law.decode import build
from scaling_law.errors import ConfigError, did_you_mean, one_line, quoted
from scaling_law.files import checksum, layout
from scaling_law.files.layout import FORECASTS
from scaling_law.files.record import NATS, RunRecord, only_sweep, record_from_json
from scaling_law.fit.points.table_settings import TableSettings
from scaling_law.fit.result import finite_json
from scaling_law.spec.fields import OMIT_EMPTY
from scaling_law.spec.to_json import to_json
from scaling_law.versions import FORECAST, NewerVersion

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
# The quantiles of a new run's loss that are stored, by how a file spells them.
QUANTILES = {"0.05": 0.05, "0.25": 0.25, "0.75": 0.75, "0.95": 0.95}


@dataclass(frozen=True, kw_only=True)
class RegisteredTarget:
    """One run that has not run, and what its loss will be.

    ``params``: its parameters, as the forecast's convention counts them.
    ``tokens``: its training tokens.
    ``loss``: the loss forecast, in the forecast's unit.
    ``low``: lower end of the interval of a new run's loss, at the forecast's level.
    ``high``: upper end of it.
    ``quantiles``: quantile -> loss, as ``QUANTILES`` names them.
    ``flops_factor``: FLOPs as a multiple of the largest fitted; None where not known.
    ``tokens_unique``: the different ones of ``tokens``; None where all are.
    ``refused``: why only the range, and no figure, may be quoted; empty where a figure may.
    ``warnings``: what a reader should know.
    """

    params: float
    tokens: float
    loss: float
    low: float
    high: float
    quantiles: dict[str, float]
    flops_factor: float | None = None
    tokens_unique: float | None = None
    refused: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RegisteredForecast:
    """A prediction of one or several runs, with what it was made from.

    ``name``: its name, which is its file's.
    ``registered_at``: when it was registered, UTC, ISO 8601.
    ``targets``: the runs and their losses.
    ``level``: confidence level of the intervals.
    ``law``: the law.
    ``origin``: what the forecast rests on, in words.
    ``convention``: which parameters and FLOPs count, and the loss's unit.
    ``source``: the sweep or table of the runs it was made from.
    ``table``: how the table was read and which runs were chosen, the ``TableSettings`` that are
        not at their default.
    ``runs``: every run that there was -> its loss, None without one.
    ``data_digest``: of these runs and losses, as ``points.dataset.source_key``.
    ``fit``: the fitted law and its settings, as ``FitResult.to_json`` without samples.
    ``code``: ``slaw``, the version of the package, and ``git_commit`` of a checkout.
    ``example``: the record of the most expensive run fitted, whose recipe and text the targets
        have; None for a table.
    """

    name: str
    registered_at: str
    targets: tuple[RegisteredTarget, ...]
    level: float
    law: str
    origin: str
    convention: dict[str, str]
    source: str
    table: dict[str, Any]
    runs: dict[str, float | None]
    data_digest: str
    fit: dict[str, Any]
    code: dict[str, str]
    example: dict[str, Any] | None = field(default=None, metadata=OMIT_EMPTY)

    @property
    def table_settings(self) -> TableSettings:
        """How its runs are read. Raises ``ConfigError`` or ``TypeError`` for damaged settings."""
        return TableSettings(**{**self.table, "where": tuple(self.table.get("where", ()))})

    @property
    def unit(self) -> str:
        """The unit of the losses."""
        return self.convention.get("loss", NATS)

    @property
    def time(self) -> datetime.datetime:
        """When it was registered."""
        return datetime.datetime.fromisoformat(self.registered_at)

    @property
    def example_record(self) -> RunRecord | None:
        """``example`` as a record."""
        return None if self.example is None else record_from_json(self.example)

    @property
    def seal(self) -> str:
        """The digest of the file's content."""
        return str(checksum.with_digest(self.to_json())["digest"])

    def to_json(self) -> dict[str, Any]:
        """The content of the file, without its digest."""
        plain: dict[str, Any] = finite_json(to_json(self))
        return FORECAST.stamp(plain)


def check_name(name: str) -> None:
    """Raises ``ConfigError`` for a name that cannot be a file's."""
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"forecast {quoted(name)}: expected a name of letters, digits, . _ and -, at most 100,"
            " the first a letter or digit"
        )


def forecasts_folder(source: Path, out: Path | None = None) -> Path:
    """Where the registered forecasts of a sweep or table are, unless ``out`` says."""
    if out is not None:
        return out
    if source.is_file():
        return source.parent / FORECASTS
    return only_sweep(source, "name one with --results").forecasts


def write_registered(folder: Path, forecast: RegisteredForecast) -> Path:
    """Write a new file. Raises ``ConfigError`` where one of its name exists."""
    path = folder / f"{forecast.name}.json"
    check_place(path)
    try:
        checksum.write(path, forecast.to_json(), lambda: check_place(path))
    except OSError as problem:
        raise ConfigError(
            f"{path}: cannot be written ({problem.strerror}); {layout.OUT_REMEDY}"
        ) from None
    return path


def check_place(path: Path) -> None:
    """Raises ``ConfigError`` where a forecast is registered at ``path``, or none can be written."""
    if path.exists() or path.is_symlink():
        raise ConfigError(
            f"{path}: this name is registered already, and a registered forecast is never"
            " changed; choose another name"
        )
    layout.check_folder(path.parent)


def read_registered(path: Path) -> RegisteredForecast:
    """The forecast in ``path``. Raises ``ConfigError`` unless it is as it was written."""
    content = layout.read_json(path)
    try:
        if not isinstance(content, dict):
            raise ValueError(f"found {quoted(content)}, expected keys and values")
        FORECAST.check(content.get("schema_version"))
        fields = checksum.opened(content, required=True)
        fields = {name: value for name, value in fields.items() if name != "schema_version"}
        targets = (
            build(RegisteredTarget, {**target, "warnings": tuple(target["warnings"])})
            for target in fields["targets"]
        )
        forecast = build(RegisteredForecast, {**fields, "targets": tuple(targets)})
        for target in forecast.targets:
            losses = (target.loss, target.low, target.high, *target.quantiles.values())
            if not target.quantiles.keys() >= QUANTILES.keys() or not min(losses) > 0:
                raise ValueError(f"a target without losses above 0 at {', '.join(QUANTILES)}")
        if forecast.name != path.stem:
            raise ValueError(f"it is the forecast {quoted(forecast.name)} under another name")
        if forecast.time.tzinfo is None:
            raise ValueError("registered_at has no time zone")
        _ = forecast.example_record, forecast.table_settings
    except NewerVersion as problem:
        raise ConfigError(f"{path}: {problem}") from None
    except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as problem:
        known = isinstance(problem, ValueError | ConfigError)
        why = one_line(str(problem) if known else repr(problem))
        raise ConfigError(
            f"{path}: changed since it was registered, or damaged ({why}); restore the file as it"
            " was: it is not scored as it is"
        ) from None
    return forecast


def registered_paths(folder: Path) -> list[Path]:
    """The files of the registered forecasts in ``folder``, by name."""
    return sorted(path for path in folder.glob("*.json") if not path.name.startswith("."))


def read_all(folder: Path, names: Sequence[str] = ()) -> list[RegisteredForecast]:
    """The registered forecasts of these names, or all of them, the earliest first.

    Raises ``ConfigError`` for a name that is not there and for a changed file.
    """
    there = {path.stem: path for path in registered_paths(folder)}
    for name in names:
        if name not in there:
            known = f"registered are {', '.join(there)}" if there else "none is registered"
            raise ConfigError(
                f"{folder}: no forecast {quoted(name)}{did_you_mean(name, there)}; {known}"
            )
    chosen = [there[name] for name in dict.fromkeys(names)] if names else list(there.values())
    return sorted(map(read_registered, chosen), key=lambda one: (one.registered_at, one.name))
