"""What ``slaw forecast --register`` does: freeze predictions of runs that do not exist yet."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling_law import __version__
from scaling_law.errors import ConfigError, FitError, listed
from scaling_law.files import checksum
from scaling_law.files.code_version import git_commit
from scaling_law.files.layout import RESULTS
from scaling_law.files.record import RunRecord
from scaling_law.fit.numerics import numerical_failures
from scaling_law.fit.points.dataset import source_key
from scaling_law.fit.points.table_settings import TableSettings
from scaling_law.fit.result import FitResult, Prediction
from scaling_law.forecast.extrapolate import check_level, extrapolate
from scaling_law.forecast.published import law_name
from scaling_law.forecast.registered import (
    QUANTILES,
    RegisteredForecast,
    RegisteredTarget,
    check_name,
    check_place,
    forecasts_folder,
    write_registered,
)
from scaling_law.forecast.session import SourcedLaw, find_law
from scaling_law.forecast.standing_runs import StandingRuns, standing_runs
from scaling_law.forecast.target import Target, Times
from scaling_law.spec.counts import CONVENTIONS, count_params
from scaling_law.spec.recipe import recipe_differences
from scaling_law.spec.run import RunSpec
from scaling_law.spec.to_json import to_json
from scaling_law.units import count_of, format_count

Figures = Mapping[str, Sequence[float | Times]]
"""Variable (params, tokens, flops) -> its value at each target, or one value for all of them."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A run that a config plans.

    ``spec``: the run.
    ``epochs``: its passes over its text; None where not known.
    """

    spec: RunSpec
    epochs: float | None


@dataclass(frozen=True, kw_only=True)
class Registration:
    """A forecast just registered.

    ``forecast``: its content.
    ``path``: its file.
    ``left_out``: (planned run, why) of those without a forecast.
    """

    forecast: RegisteredForecast
    path: Path
    left_out: tuple[tuple[str, str], ...]

    def to_json(self) -> dict[str, Any]:
        """One strict JSON document."""
        return {
            "path": str(self.path),
            "seal": self.forecast.seal,
            "forecast": self.forecast.to_json(),
            "left_out": [{"run": run, "reason": why} for run, why in self.left_out],
        }


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """A target before it is forecast.

    ``target``: its size and tokens, or one variable of which the rest follows.
    ``tokens_unique``: the different tokens; None where all are.
    """

    target: Target
    tokens_unique: float | None


def register(
    name: str,
    *,
    figures: Figures,
    planned: Sequence[Planned] | None = None,
    law: str | None = None,
    results: str | None = None,
    table: TableSettings | None = None,
    level: float = 0.9,
    tokens_unique: float | None = None,
    out: Path | None = None,
) -> Registration:
    """Forecast every target with the fit of a sweep or table, and write the sealed file.

    The targets are ``figures``, or the runs ``planned`` that have not run. Raises ``ConfigError``
    where the name is taken, a run at a target exists already, or nothing is left to forecast,
    ``FitError`` where the data give no forecast with an interval.
    """
    check_name(name)
    check_level(level)
    rows = _rows(figures)
    if bool(rows) == (planned is not None):
        raise ConfigError(
            "nothing to register: give --params and --tokens (or --flops), or --grid CONFIG"
            if planned is None
            else "--grid with --params, --tokens or --flops: expected one of them"
        )
    folder = forecasts_folder(Path(results or RESULTS), out)
    check_place(folder / f"{name}.json")
    source = find_law(law, results, table)
    if source.source is None:
        raise ConfigError(
            f"law {source.label} is published and has no interval to score; name the sweep or"
            " table that the forecast is made from with --results"
        )
    runs = standing_runs(source.source, source.fit.convention, table)
    example = _most_expensive(runs)
    left_out: list[tuple[str, str]] = []
    if planned is not None:
        wanted = list(_unrun(planned, runs, source.fit, left_out))
    else:
        wanted = [
            _Wanted(target=_target(row, source.fit), tokens_unique=tokens_unique) for row in rows
        ]
    with numerical_failures():
        targets = [
            _registered(source, one, level, runs, strict=planned is None)
            for one in dict.fromkeys(wanted)  # seeds of one point have one forecast
        ]
    forecast = RegisteredForecast(
        name=name,
        registered_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        targets=tuple(targets),
        level=level,
        law=law_name(source.fit),
        origin=source.origin,
        convention=dict(source.fit.convention),
        source=str(runs.source),
        table=_chosen(table),
        runs=runs.losses,
        data_digest=source_key(runs.losses.items()),
        fit=_settings(source.fit),
        code={"slaw": __version__, "git_commit": git_commit() or "not a git checkout"},
        example=None if example is None else checksum.with_digest(to_json(example)),
    )
    return Registration(
        forecast=forecast,
        path=write_registered(folder, forecast),
        left_out=tuple(left_out),
    )


def _rows(figures: Figures) -> list[dict[str, float | Times]]:
    """One mapping a target. Raises ``ConfigError`` for lists of different lengths."""
    given = {name: list(values) for name, values in figures.items() if values}
    lengths = {len(values) for values in given.values() if len(values) > 1}
    if len(lengths) > 1:
        words = ", ".join(f"{len(values)} {name}" for name, values in given.items())
        raise ConfigError(f"{words}: expected lists of one length, or a single value for all")
    count = max(lengths, default=min(len(given), 1))
    return [
        {name: values[row if len(values) > 1 else 0] for name, values in given.items()}
        for row in range(count)
    ]


def _target(row: Mapping[str, float | Times], fit: FitResult) -> Target:
    return Target(
        **{
            name: value.of(name, law_name(fit), fit.data_range)
            if isinstance(value, Times)
            else value
            for name, value in row.items()
        }
    )


def _most_expensive(runs: StandingRuns) -> RunRecord | None:
    """The record of the run with the most FLOPs; None for a table."""
    if not runs.records:
        return None
    return runs.records[runs.points.run_id[int(runs.points.flops.argmax())]]


def _unrun(
    planned: Sequence[Planned],
    runs: StandingRuns,
    fit: FitResult,
    left_out: list[tuple[str, str]],
) -> Iterator[_Wanted]:
    """The planned points that have not run; the others go into ``left_out`` with the reason.

    Raises ``ConfigError`` for a table, for another recipe, and where every one has run.
    """
    convention = fit.convention["params"]
    example = _most_expensive(runs)
    if example is None or convention not in CONVENTIONS:
        raise ConfigError(f"{runs.source}: --grid forecasts the runs of a sweep; a table has none")
    points = [one for one in planned if one.spec.kind != "trunk"]
    differing = _of_other_recipes(points, example.spec)
    if points and len(differing) == len(points):
        raise ConfigError(
            f"no planned run has the recipe of {runs.source}, and a law describes one:"
            f" {next(iter(differing.values()))}"
        )
    left: list[_Wanted] = []
    for one in points:
        spec = one.spec
        size = float(count_params(spec.model).by(convention))
        tokens = float(spec.tokens)
        why = differing.get(spec.run_id, "")
        if spec.run_id in runs.losses:
            why = "it has run"
        elif runs.at(size, tokens):
            why = "another seed of this size and tokens has run"
        elif spec.schedule.end != "annealed" or spec.growth is not None:
            why = "it does not anneal, or grows from another: no point of the law"
        if why:
            left_out.append((spec.run_id, why))
            continue
        unique = tokens / one.epochs if one.epochs is not None and one.epochs > 1 else None
        left.append(_Wanted(target=Target(params=size, tokens=tokens), tokens_unique=unique))
    if not left:
        reasons = listed(list(dict.fromkeys(why for _, why in left_out)))
        raise ConfigError(
            f"nothing to register: of {count_of(len(points), 'planned run')} none is left to run"
            f" ({reasons})"
        )
    yield from left


def _of_other_recipes(points: Sequence[Planned], like: RunSpec) -> dict[str, str]:
    """How a planned run's recipe differs from that of ``like``, by run id, where it does."""
    specs = [one.spec for one in points]
    if not specs or not recipe_differences(specs, [like]):
        return {}
    each = ((spec.run_id, recipe_differences([spec], [like])) for spec in specs)
    return {run_id: "another recipe: " + "; ".join(words) for run_id, words in each if words}


def _registered(
    source: SourcedLaw, wanted: _Wanted, level: float, runs: StandingRuns, *, strict: bool
) -> RegisteredTarget:
    """The forecast of one target. Raises as ``register`` does.

    ``strict`` refuses a target at which a run stands.
    """

    def at(level: float) -> Prediction:
        return extrapolate(
            source.fit,
            wanted.target,
            tokens_unique=wanted.tokens_unique,
            level=level,
            **source.beside,
        )

    prediction = at(level)
    params, tokens = prediction.params, prediction.tokens
    if params is None or tokens is None:
        raise ConfigError(
            f"law {source.label} leaves the target's params or tokens open, and a run has both;"
            " give --params and --tokens"
        )
    where = f"{format_count(params)} params on {format_count(tokens)} tokens"
    standing = [runs.points.run_id[row] for row in runs.at(params, tokens)]
    if standing and strict:
        raise ConfigError(
            f"{runs.source}: {count_of(len(standing), 'run')} of {where} there already"
            f" ({listed(standing, 2)}): a forecast is registered before its run exists"
        )
    if prediction.low_nats is None or prediction.high_nats is None:
        raise FitError(
            f"law {source.label}: no interval at {where}, and a forecast without one cannot be"
            " scored; fit more runs, or with resamples"
        )
    warnings = prediction.warnings
    if begun := runs.under_way(params, tokens):
        warnings = (
            f"{count_of(len(begun), 'run')} of this size and tokens had begun ({listed(begun, 2)}):"
            " their curves could be seen",
            *warnings,
        )
    ends = {0.9: prediction} if level == 0.9 else {0.9: at(0.9)}
    ends[0.5] = at(0.5)
    quantiles = {
        name: _end(ends[round(abs(2 * q - 1), 6)], upper=q > 0.5) for name, q in QUANTILES.items()
    }
    return RegisteredTarget(
        params=params,
        tokens=tokens,
        loss=prediction.loss_nats,
        low=prediction.low_nats,
        high=prediction.high_nats,
        quantiles=quantiles,
        flops_factor=prediction.beyond_data.get("flops"),
        tokens_unique=prediction.tokens_unique,
        refused=prediction.refused,
        warnings=warnings,
    )


def _end(prediction: Prediction, *, upper: bool) -> float:
    end = prediction.high_nats if upper else prediction.low_nats
    assert end is not None, "the same fit gave an interval at another level"
    return end


def _chosen(table: TableSettings | None) -> dict[str, Any]:
    """The settings of a table that are not at their default."""
    plain: dict[str, Any] = to_json(table or TableSettings())
    return {name: value for name, value in plain.items() if value}


def _settings(fit: FitResult) -> dict[str, Any]:
    """The law and how it was fitted, without what only a new forecast needs."""
    plain = dataclasses.replace(fit, samples=(), dropped=()).to_json()
    return {name: value for name, value in plain.items() if name not in ("samples", "dropped")}
