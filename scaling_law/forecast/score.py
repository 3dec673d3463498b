"""What ``slaw forecast --score`` does: hold registered forecasts against the runs that came later.

A later run is one that did not exist when the forecast was registered: its name is new, and it
finished afterwards where its record says when. It is scored where its size and tokens are a
target's, and its recipe, text, count of parameters and unit of loss are those of the runs that the
forecast was made from. The log score is the logarithm of the density that the forecast gave to the
measured log loss: two halves of normal distributions that meet at the forecast, each as wide as
its side of the 90% interval.
"""

from __future__ import annotations

import dataclasses
import datetime
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from scaling_law.errors import ConfigError, FitError, listed, reason_lines
from scaling_law.files.layout import RESULTS, SweepDir
from scaling_law.files.record import RunRecord, specs_of
from scaling_law.fit.checks.screen import MAX_EPOCHS
from scaling_law.fit.points.dataset import source_key
from scaling_law.fit.points.table_settings import TableSettings
from scaling_law.fit.result import finite_json
from scaling_law.forecast.registered import (
    RegisteredForecast,
    RegisteredTarget,
    forecasts_folder,
    read_all,
)
from scaling_law.forecast.standing_runs import StandingRuns, same_place, standing_runs
from scaling_law.spec.recipe import recipe_differences
from scaling_law.units import count_of

# The normal distribution's quantile of 0.95.
_NORMAL_95 = 1.6448536269514722


@dataclass(frozen=True, kw_only=True)
class ScoredRun:
    """A run held against the forecast of its target.

    ``forecast``: the forecast's name.
    ``target``: the target.
    ``run_id``: the run.
    ``loss``: its loss, in the forecast's unit.
    """

    forecast: str
    target: RegisteredTarget
    run_id: str
    loss: float

    @property
    def log_error(self) -> float:
        """log (measured / forecast): above 0 where the forecast was too low."""
        return math.log(self.loss / self.target.loss)

    @property
    def inside(self) -> bool:
        """Whether the interval at the forecast's level holds the loss."""
        return self.target.low <= self.loss <= self.target.high

    @property
    def inside_half(self) -> bool:
        """Whether the interval between the quartiles holds it."""
        return self.target.quantiles["0.25"] <= self.loss <= self.target.quantiles["0.75"]

    @property
    def log_score(self) -> float | None:
        """Log density of the measured log loss; None where the interval has no width."""
        low, middle, high = (
            math.log(value)
            for value in (
                self.target.quantiles["0.05"],
                self.target.loss,
                self.target.quantiles["0.95"],
            )
        )
        if not low < middle < high:
            middle = (low + high) / 2
        below, above = (middle - low) / _NORMAL_95, (high - middle) / _NORMAL_95
        if below <= 0 or above <= 0:
            return None
        off = math.log(self.loss) - middle
        width = below if off < 0 else above
        return math.log(2 / (below + above) / math.sqrt(2 * math.pi)) - (off / width) ** 2 / 2

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "forecast": self.forecast,
            "params": self.target.params,
            "tokens": self.target.tokens,
            "run_id": self.run_id,
            "loss": self.loss,
            "loss_forecast": self.target.loss,
            "low": self.target.low,
            "high": self.target.high,
            "log_error": self.log_error,
            "inside": self.inside,
            "inside_half": self.inside_half,
            "log_score": self.log_score,
        }


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Scores of several runs.

    ``runs``: how many.
    ``inside``: how many lie inside the interval at their forecast's level.
    ``expected``: how many of them would, were every interval exact.
    ``inside_half``: how many lie between the quartiles, where half of them should.
    ``bias_log``: mean of log (measured / forecast).
    ``rms_log``: root mean square of it.
    ``log_score``: mean log score; None where no interval has a width.
    """

    runs: int
    inside: int
    expected: float
    inside_half: int
    bias_log: float
    rms_log: float
    log_score: float | None


@dataclass(frozen=True, kw_only=True)
class ForecastScore:
    """One registered forecast and its later runs.

    ``forecast``: the forecast.
    ``scored``: its runs.
    ``open``: targets without a run.
    ``left_out``: (run id, why) of runs at a target that are not scored.
    ``warnings``: what could not be checked.
    ``refused``: why nothing of it is scored; empty where it may be.
    """

    forecast: RegisteredForecast
    scored: tuple[ScoredRun, ...] = ()
    open: tuple[RegisteredTarget, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()
    refused: str = ""

    @property
    def tally(self) -> Tally | None:
        """Its scores; None without a run."""
        return tally([(run, self.forecast.level) for run in self.scored])


@dataclass(frozen=True, kw_only=True)
class Score:
    """Every forecast that was held against the runs.

    ``source``: the sweep or table of the runs.
    ``forecasts``: the forecasts, the earliest first.
    ``unmatched``: later runs at no registered target.
    """

    source: str
    forecasts: tuple[ForecastScore, ...]
    unmatched: tuple[str, ...]

    @property
    def tally(self) -> Tally | None:
        """The scores of all forecasts; None without a run."""
        return tally([(run, one.forecast.level) for one in self.forecasts for run in one.scored])

    def to_json(self) -> dict[str, Any]:
        """One strict JSON document."""
        return {
            "source": self.source,
            "all": finite_json(self.tally),
            "forecasts": [
                {
                    "name": one.forecast.name,
                    "registered_at": one.forecast.registered_at,
                    "seal": one.forecast.seal,
                    "data_digest": one.forecast.data_digest,
                    "level": one.forecast.level,
                    "unit": one.forecast.unit,
                    "score": finite_json(one.tally),
                    "runs": [finite_json(run.to_json()) for run in one.scored],
                    "open": [{"params": t.params, "tokens": t.tokens} for t in one.open],
                    "left_out": [{"run_id": run, "reason": why} for run, why in one.left_out],
                    "warnings": list(one.warnings),
                    "refused": one.refused or None,
                }
                for one in self.forecasts
            ],
            "unmatched": list(self.unmatched),
        }


def tally(runs: Sequence[tuple[ScoredRun, float]]) -> Tally | None:
    """The scores of (run, level of its interval); None without a run."""
    if not runs:
        return None
    errors = [run.log_error for run, _ in runs]
    scores = [run.log_score for run, _ in runs]
    known = [score for score in scores if score is not None]
    return Tally(
        runs=len(runs),
        inside=sum(run.inside for run, _ in runs),
        expected=sum(level for _, level in runs),
        inside_half=sum(run.inside_half for run, _ in runs),
        bias_log=fmean(errors),
        rms_log=math.sqrt(fmean(error**2 for error in errors)),
        log_score=fmean(known) if known else None,
    )


def score(
    names: Sequence[str] = (),
    *,
    results: str | None = None,
    table: TableSettings | None = None,
    out: Path | None = None,
) -> Score:
    """Hold the forecasts of these names, or all of them, against the runs of a sweep or table.

    Raises ``ConfigError`` for a forecast that is not there, was changed or is of other results,
    and ``FitError`` where there is nothing to score yet.
    """
    source = Path(results or RESULTS)
    folder = forecasts_folder(source, out)
    forecasts = read_all(folder, names)
    if not forecasts:
        raise FitError(
            f"{folder}: no forecast is registered yet; slaw forecast --register NAME makes one"
        )
    result = score_forecasts(forecasts, source, table)
    if result.tally is None:
        refused = ((one.forecast.name, one.refused) for one in result.forecasts if one.refused)
        if lines := reason_lines((name, f"not scored: {why}") for name, why in refused):
            raise ConfigError(*lines)
        waiting = sum(len(one.open) for one in result.forecasts)
        left = [pair for one in result.forecasts for pair in one.left_out]
        words = "; ".join(f"{run}: {why}" for run, why in left[:2])
        raise FitError(
            f"{source}: no run to score yet: {count_of(waiting, 'target')} of"
            f" {count_of(len(result.forecasts), 'registered forecast')} open"
            + (f"; {len(left)} left out: {words}" if left else "; train them, and score again")
        )
    return result


def score_forecasts(
    forecasts: Sequence[RegisteredForecast], source: Path, table: TableSettings | None = None
) -> Score:
    """Hold forecasts against the runs of a sweep or table. Raises ``ConfigError`` for those."""
    known: dict[tuple[str, str], StandingRuns] = {}  # by what is read, and how params are counted
    scores: list[ForecastScore] = []
    matched: set[str] = set()
    later: dict[str, None] = {}
    for forecast in forecasts:
        key = forecast.convention["params"], ""
        try:
            settings = _table_settings(forecast, table)
            key = forecast.convention["params"], repr(settings)
            if key not in known:
                known[key] = standing_runs(source, forecast.convention, settings)
            one = _score(forecast, known[key])
        except ConfigError as problem:
            one = ForecastScore(
                forecast=forecast, open=forecast.targets, refused="; ".join(problem.lines)
            )
        scores.append(one)
        matched |= {run.run_id for run in one.scored} | {run for run, _ in one.left_out}
        if key in known:
            later |= dict.fromkeys(_later(forecast, known[key]))
    return Score(
        source=str(source),
        forecasts=tuple(scores),
        unmatched=tuple(run for run in later if run not in matched),
    )


def _table_settings(forecast: RegisteredForecast, table: TableSettings | None) -> TableSettings:
    """How to read the runs: as for the forecast, unless ``table`` says how.

    Raises ``ConfigError`` for another choice of runs.
    """
    then = forecast.table_settings
    if table is None or table == TableSettings():
        return then
    if table.where and table.where != then.where:
        words = " ".join(f"--where '{one}'" for one in then.where) or "no --where"
        raise ConfigError(f"registered with {words}; score it without --where, or the same")
    if dataclasses.replace(table, where=()) == TableSettings():
        return then
    return dataclasses.replace(table, where=then.where)


def _later(forecast: RegisteredForecast, runs: StandingRuns) -> list[str]:
    return [name for name in runs.points.run_id if name not in forecast.runs]


def _score(forecast: RegisteredForecast, runs: StandingRuns) -> ForecastScore:
    """Raises ``ConfigError`` where nothing of it may be scored with these runs."""
    warnings = [*_refuse_other_results(forecast, runs)]
    example = forecast.example_record
    if example is None or not runs.records:
        warnings.append(
            "a table says neither recipe nor text nor when a run ended: those of its runs are taken"
            " to be the forecast's"
        )
    scored, waiting, left_out = [], [], []
    for target in forecast.targets:
        there = False
        for row in runs.at(target.params, target.tokens):
            name = runs.points.run_id[row]
            if name in forecast.runs:
                continue
            why = _why_not(forecast, target, runs, row, example)
            if why:
                left_out.append((name, why))
                continue
            there = True
            scored.append(
                ScoredRun(
                    forecast=forecast.name,
                    target=target,
                    run_id=name,
                    loss=float(runs.points.loss_nats[row]),
                )
            )
        if not there:
            waiting.append(target)
    return ForecastScore(
        forecast=forecast,
        scored=tuple(scored),
        open=tuple(waiting),
        left_out=(*left_out, *_without_loss(forecast, runs)),
        warnings=tuple(warnings),
    )


def _refuse_other_results(forecast: RegisteredForecast, runs: StandingRuns) -> list[str]:
    """What could not be checked. Raises ``ConfigError`` for results that are not the forecast's."""
    convention = runs.points.convention
    for what, key, remedy in (
        ("params counted as", "params", "; state --params-are as then"),
        ("losses in", "loss", "; state --loss-unit as then"),
    ):
        ours, theirs = convention.get(key, ""), forecast.convention.get(key, "")
        if ours != theirs:
            raise ConfigError(
                f"registered with {what} {theirs}, {runs.source} has {ours}"
                f"{remedy if not runs.records else ''}"
            )
    there = {name: runs.losses[name] for name in forecast.runs if name in runs.losses}
    changed = [name for name, loss in there.items() if loss != forecast.runs[name]]
    if changed:
        raise ConfigError(
            f"{len(changed)} of the runs that it was made from have other losses in {runs.source}"
            f" now ({listed(changed, 2)}): data digest {source_key(there.items())}, registered"
            f" {forecast.data_digest}; restore them"
            + ("" if runs.records else ", or name a table's rows in a column run_id")
        )
    missing = len(forecast.runs) - len(there)
    if not missing:
        return []
    return [
        f"{missing} of the {len(forecast.runs)} runs that it was made from are not in"
        f" {runs.source}: the data digest {forecast.data_digest} cannot be checked"
    ]


def _why_not(
    forecast: RegisteredForecast,
    target: RegisteredTarget,
    runs: StandingRuns,
    row: int,
    example: RunRecord | None,
) -> str:
    """Why a run at the target is not scored; empty where it is."""
    epochs = float(runs.points.tokens[row] / runs.points.tokens_unique[row])
    if target.tokens_unique is None and epochs > MAX_EPOCHS:
        return f"saw its text {epochs:.1f} times; the forecast is of fresh text"
    record = runs.records.get(runs.points.run_id[row])
    if record is None or example is None:
        return ""
    if not _ended(record) >= forecast.time:
        return f"finished {record.finished_at}, before the forecast was registered"
    if record.corpus_fingerprint != example.corpus_fingerprint:
        return (
            f"another text: fingerprint {record.corpus_fingerprint[:12]}, the forecast's"
            f" {example.corpus_fingerprint[:12]}"
        )
    ours, theirs = specs_of([record, example])
    differing = recipe_differences([ours], [theirs])
    return f"another recipe: {'; '.join(differing)}" if differing else ""


def _ended(record: RunRecord) -> datetime.datetime:
    """When a run ended; the earliest time there is where its record does not say it in ISO 8601."""
    try:
        ended = datetime.datetime.fromisoformat(record.finished_at)
    except ValueError:
        ended = datetime.datetime.min
    return ended if ended.tzinfo is not None else ended.replace(tzinfo=datetime.UTC)


def _without_loss(forecast: RegisteredForecast, runs: StandingRuns) -> list[tuple[str, str]]:
    """Later runs at a target that are no point of a law, such as diverged ones.

    Of a table, whose unusable rows may lack size or tokens, all later ones.
    """
    reasons = dict(runs.points.dropped)
    if not runs.records:
        return [(name, why) for name, why in reasons.items() if name not in forecast.runs]
    counted = runs.points.convention["params"]
    left = []
    for name, record in runs.records.items():
        if name in forecast.runs or name not in reasons or record.kind == "trunk":
            continue
        size = float(getattr(record, f"params_{counted}"))
        if any(
            same_place((size, float(record.spec.tokens)), (target.params, target.tokens))
            for target in forecast.targets
        ):
            left.append((name, reasons[name]))
    return left


def score_of_sweep(sweep: SweepDir) -> Score | None:
    """Every forecast that is registered beside a sweep, held against its runs; None without any.

    Raises ``ConfigError`` for a changed file.
    """
    forecasts = read_all(sweep.forecasts)
    return score_forecasts(forecasts, sweep.path) if forecasts else None
