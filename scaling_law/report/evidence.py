"""Collect everything that a report shows, once, from a sweep's folder."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scaling_law.config.written import begun_config_key
from scaling_law.errors import ConfigError, FitError
from scaling_law.experiment.evidence import unfinished, written_config
from scaling_law.files import checksum, layout
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import CurvePoint, RunRecord, load_records, read_curve
from scaling_law.fit.approaches.isoflop import IsoflopCell, refused_below_zero
from scaling_law.fit.approaches.parametric import fit_law
from scaling_law.fit.approaches.power_line import PowerLine
from scaling_law.fit.laws import joint_laws
from scaling_law.fit.points.dataset import FitData, from_records
from scaling_law.fit.points.points import FitPoints
from scaling_law.fit.result import FitResult, Prediction
from scaling_law.fit.session import KnownLaws, fit_sources, stored_or_fitted
from scaling_law.fit.solver.solve import Objective
from scaling_law.fit.suite import FitSettings
from scaling_law.forecast.extrapolate import extrapolate
from scaling_law.forecast.outlook import Outlook, outlook_of
from scaling_law.forecast.score import Score, score_of_sweep
from scaling_law.forecast.session import ForecastAnswer, for_known
from scaling_law.forecast.target import Target
from scaling_law.plan.plan import Plan, read_plan
from scaling_law.spec.model import Model

# Sizes that a figure tells apart by colour.
MOST_SIZES = 12


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """The laws of a sweep, the document of ``slaw fit --json`` and the points fitted.

    ``counted`` are the same points under each way of counting parameters, ``fits`` the joint
    laws under each; intervals only under the fit's own.
    ``forecast`` is None when the best law cannot answer, for the reason ``why_no_forecast``.
    """

    points: FitPoints
    counted: dict[str, FitPoints]
    fits: dict[str, dict[str, FitResult]]
    known: KnownLaws
    summary: dict[str, Any]
    forecast: ForecastAnswer | None
    why_no_forecast: str

    @property
    def best(self) -> FitResult:
        """The law whose parameters are shown."""
        return self.known.laws[self.known.best_law]

    @property
    def level(self) -> float:
        """The confidence level of every interval."""
        return float(self.summary["settings"]["level"])

    @functools.cached_property
    def outlook(self) -> Outlook:
        """What forecasts rest on. Raises ``FitError`` where the law cannot be evaluated."""
        known = self.known
        return outlook_of(self.best, known.worlds, seed_noise_log=known.seed_noise_log)

    @property
    def middle_flops(self) -> float:
        """FLOPs in the middle of the data: where slopes are compared."""
        return math.sqrt(math.prod(self.points.data_range["flops"]))

    @functools.cached_property
    def exponent(self) -> tuple[float, tuple[float, float] | None] | None:
        """a in params ~ FLOPs^a of the forecast in the middle of the data, and its interval."""
        if not self.best.usable or self.outlook.split is None:
            return None
        at = {"flops": self.middle_flops, "params": self.outlook.split.params(self.middle_flops)}
        fields = self.outlook.optimum(at, self.level)
        return fields["params_exponent"], fields["params_exponent_interval"]

    @property
    def cells(self) -> list[IsoflopCell]:
        """The IsoFLOP cells, refused ones included.

        A fit saved by an earlier version may have accepted a minimum below 0.
        """
        cells = self.summary["isoflop"]["cells"]
        return [refused_below_zero(IsoflopCell(**cell)) for cell in cells]

    def line(self, approach: str) -> PowerLine | None:
        """params ~ FLOPs by ``isoflop`` or ``envelope``; None where it was refused."""
        fields = self.summary[approach]["lines"].get("params")
        return PowerLine(**fields) if fields else None

    def forecast_at(self, params: float) -> Prediction | None:
        """The forecast at this size and its compute-optimal tokens."""
        beside = self.known.beside
        try:
            return extrapolate(self.best, Target(params=params), level=self.level, **beside)
        except FitError:
            return None


@dataclass(frozen=True, kw_only=True)
class LawEvidence:
    """What a report says of the law of some runs, wherever they come from.

    ``name`` is what the page calls them; ``target_params`` is the size to forecast;
    ``fitted`` is None when the runs support no fit, for the reason ``why_no_fit``.
    """

    name: str
    target_params: float
    fitted: Fitted | None
    why_no_fit: str

    @property
    def counted(self) -> str:
        """Which parameters count as a run's size."""
        usual = FitSettings().convention
        return self.fitted.points.convention["params"] if self.fitted else usual

    @property
    def excluded(self) -> tuple[tuple[str, str], ...]:
        """(run_id, reason) of finished runs that are not points of the fit."""
        return self.fitted.points.dropped if self.fitted else ()


@dataclass(frozen=True, kw_only=True)
class Evidence(LawEvidence):
    """A sweep as the report sees it.

    ``engine`` and ``trackers`` are those of the config, as it names them;
    ``unfinished`` are (run_id, why) of runs without a record; ``config_text`` is ``sweep.yaml``,
    ``round_texts`` are the configs of an adaptive loop's rounds (none for any other sweep);
    ``registered`` are its registered forecasts held against the runs, None where there is none or
    where one cannot be read, for the reason ``why_not_registered``.
    """

    records: tuple[RunRecord, ...]
    curves: dict[str, list[CurvePoint]]
    plan: Plan | None
    unfinished: tuple[tuple[str, str], ...]
    engine: str
    trackers: str
    config_text: str
    round_texts: tuple[str, ...]
    registered: Score | None
    why_not_registered: str


def gather_evidence(sweep: SweepDir, target_params: float) -> Evidence:
    """Read a sweep's folder, and fit if there is no fit of these records yet.

    Raises ``ConfigError`` when there is no record, or a file of the sweep is damaged.
    """
    records = tuple(sorted(load_records(sweep), key=_by_size))
    # all that may be damaged before the fit, which leaves a file
    curves = {r.run_id: read_curve(sweep.run(r.run_id), r) for r in records}
    plan = read_plan(sweep.plan) if sweep.plan.is_file() else None
    config = written_config(sweep)
    fitted, why_no_fit = None, ""
    try:
        fitted = _fit(sweep, records, target_params)
    except FitError as problem:
        why_no_fit = str(problem).removeprefix("no law can be fitted: ")
    registered, why_not_registered = None, ""
    try:
        registered = score_of_sweep(sweep)
    except (ConfigError, FitError) as problem:
        why_not_registered = str(problem)
    return Evidence(
        name=sweep.path.resolve().name,
        target_params=target_params,
        records=records,
        curves=curves,
        plan=plan,
        unfinished=tuple(unfinished(sweep, plan)),
        engine=_part_words(config.get("engine", "local")),
        trackers=", ".join(map(_part_words, config.get("trackers") or [])) or "none",
        config_text=_text(sweep),
        round_texts=tuple(_round_texts(sweep)),
        registered=registered,
        why_not_registered=why_not_registered,
        fitted=fitted,
        why_no_fit=why_no_fit,
    )


def _by_size(record: RunRecord) -> tuple[int, int, bool, int, str]:
    """Sizes in order, each size's seeds together, a trunk before its branches."""
    return (
        record.params_total,
        record.spec.seed,
        record.kind != "trunk",
        record.tokens,
        record.run_id,
    )


def _fit(sweep: SweepDir, records: tuple[RunRecord, ...], target_params: float) -> Fitted:
    known = stored_or_fitted(sweep)
    if (sweep.fits / "fit.json").is_file():
        # what is stored holds fewer samples than a fresh fit: every command reads the stored
        known = stored_or_fitted(sweep)
        summary = layout.read_json(sweep.fits / "fit.json")["summary"]
    else:  # a folder that cannot be written
        summary = fit_sources([sweep.path])[0].to_json()
    settings = summary["settings"]
    data = from_records(
        records,
        convention=settings["convention"],
        flops=settings["flops"],
        keep=settings["keep"],
    )
    return fitted_of(data, known, summary, target_params, template=records[0].spec.model)


def fitted_of(
    data: FitData,
    known: KnownLaws,
    summary: dict[str, Any],
    target_params: float,
    template: Model | None = None,
) -> Fitted:
    """What is fitted to ``data``, with the forecast at ``target_params``.

    ``summary`` is the document of ``slaw fit --json``; ``template`` is a model of the sweep, whose
    vocabulary and context the forecast's shape takes.
    """
    settings = summary["settings"]
    forecast, why = None, ""
    try:
        level = float(settings["level"])
        forecast = for_known(known, Target(params=target_params), level, template=template)
    except FitError as problem:
        why = str(problem)
    return Fitted(
        points=data.points,
        counted=data.counted,
        fits=_joint_fits(data, known, settings),
        known=known,
        summary=summary,
        forecast=forecast,
        why_no_forecast=why,
    )


def _joint_fits(
    data: FitData, known: KnownLaws, settings: dict[str, Any]
) -> dict[str, dict[str, FitResult]]:
    """The joint laws under each way of counting, the one to forecast with first."""
    names = [name for name in (known.best_law, *joint_laws()) if name in known.laws]
    objective = Objective(loss=settings["loss"], delta=settings["huber_delta"])
    fits: dict[str, dict[str, FitResult]] = {}
    for convention, points in data.counted.items():
        mine = points is data.points
        fits[convention] = {
            name: known.laws[name] if mine else fit_law(points, name, objective=objective)
            for name in dict.fromkeys(names)
        }
    return fits


def _part_words(chosen: Any) -> str:
    """A part as a config chooses it, ``slurm (partition=gpu)``: its name and its settings."""
    if not isinstance(chosen, dict):
        return str(chosen)
    settings = {key: value for key, value in chosen.items() if key != "name"}
    if "name" not in chosen and len(chosen) == 1:  # a name as a key that holds the settings
        ((name, inner),) = chosen.items()
        settings = inner if isinstance(inner, dict) else {}
    else:
        name = chosen.get("name", "")
    said = ", ".join(f"{key}={value}" for key, value in settings.items())
    return f"{name} ({said})" if said else str(name)


def _text(sweep: SweepDir) -> str:
    return (
        checksum.read_text(sweep.config, begun_config_key(sweep)) if sweep.config.is_file() else ""
    )


def _round_texts(sweep: SweepDir) -> Iterator[str]:
    for number in itertools.count(1):
        if not sweep.round_config(number).is_file():
            return
        yield checksum.read_text(sweep.round_config(number))


def rows_by_size(points: FitPoints) -> dict[str, list[int]]:
    """Row numbers by size, the smallest size first.

    Of more than ``MOST_SIZES`` sizes, neighbours are joined, so that a legend can be read.
    """
    order = sorted(range(len(points)), key=lambda row: float(points.params[row]))
    groups: dict[str, list[int]] = {}
    for row in order:
        groups.setdefault(points.size[row], []).append(row)
    if len(groups) <= MOST_SIZES:
        return groups
    logs = np.log(points.params)
    edges = np.linspace(logs.min(), logs.max(), MOST_SIZES + 1)[1:-1]
    joined: dict[int, list[int]] = {}
    for row in order:
        joined.setdefault(int(np.searchsorted(edges, logs[row])), []).append(row)
    return {_span_of_sizes(points, rows): rows for rows in joined.values()}


def middle_params(points: FitPoints, rows: Sequence[int]) -> float:
    """The size at which a law is drawn for the runs ``rows``: their geometric mean."""
    return float(np.exp(np.log(points.params[list(rows)]).mean()))


def _span_of_sizes(points: FitPoints, rows: list[int]) -> str:
    first, last = (points.size[row] for row in (rows[0], rows[-1]))
    return first if first == last else f"{first} to {last}"
