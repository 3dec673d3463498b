"""Fits all laws to one set of runs, by three approaches and under each way of counting."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scaling_law.errors import ConfigError, FitError
from scaling_law.files import checksum
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import RunRecord
from scaling_law.fit.approaches.envelope import EnvelopeResult, envelope_rows, fit_envelope
from scaling_law.fit.approaches.isoflop import IsoflopResult, fit_isoflop
from scaling_law.fit.approaches.parametric import INTERVALS, Refitter, Resampling, refused
from scaling_law.fit.checks.floor import floor_notes
from scaling_law.fit.checks.screen import check_rules
from scaling_law.fit.checks.select_law import LawScore, best_law, score_laws
from scaling_law.fit.checks.validate import Validation, validate
from scaling_law.fit.laws import is_own, law_names, load_law
from scaling_law.fit.make_worlds import make_worlds
from scaling_law.fit.numerics import numerical_failures
from scaling_law.fit.points.dataset import FitData, from_records
from scaling_law.fit.points.points import FitPoints, listed
from scaling_law.fit.result import FitResult, finite_json
from scaling_law.fit.solver.bootstrap import check_size
from scaling_law.fit.solver.profile_likelihood import Profile, check_profiled, profile
from scaling_law.fit.solver.solve import LOSSES, Objective
from scaling_law.fit.surface import exponent_is_fixed
from scaling_law.fit.worlds import Worlds
from scaling_law.spec.enough import too_few_for_a_law
from scaling_law.spec.fields import OMIT_EMPTY
from scaling_law.units import count_of
from scaling_law.versions import FIT

_STORED_SAMPLES = 400
_SIDE_RESAMPLES = 200


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How to fit.

    ``convention``: which parameters count as the size.
    ``flops``: which FLOPs count: ``exact`` or ``6nd``.
    ``loss``: what the fit minimises, one of ``solve.LOSSES``.
    ``huber_delta``: Huber's threshold in log loss.
    ``level``: confidence level of the intervals.
    ``resamples``: number of bootstrap resamples; 0: no intervals.
    ``seed``: of the resamples.
    ``keep``: rules of ``screen.RULES`` that leave no run out.
    ``laws``: laws to fit besides the usual ones.
    ``intervals``: one of ``parametric.INTERVALS``.
    ``profiles``: parameters to profile, of Chinchilla's law and of the law to forecast with.
    ``metric``: what is fitted in place of the validation loss; None for the loss.
    """

    convention: str = "matmul"
    flops: str = "exact"
    loss: str = "huber_log"
    huber_delta: float = 1e-3
    level: float = 0.9
    resamples: int = 1000
    seed: int = 0
    keep: tuple[str, ...] = ()
    laws: tuple[str, ...] = ()
    intervals: str = "percentile"
    profiles: tuple[str, ...] = ("E",)
    metric: str | None = dataclasses.field(default=None, metadata=OMIT_EMPTY)

    def __post_init__(self) -> None:
        check_rules(self.keep)
        for name in self.laws:
            if not is_own(name):  # a user's own file is needed only where it is fitted
                load_law(name)
        check_profiled(self.profiles)
        if self.seed < 0:
            raise ConfigError(f"seed {self.seed}: expected at least 0")
        if self.intervals not in INTERVALS:
            raise ConfigError(f"intervals {self.intervals!r}: expected {', '.join(INTERVALS)}")
        if self.loss not in LOSSES:
            raise ConfigError(f"loss {self.loss!r}: expected one of {', '.join(LOSSES)}")
        if not 0.5 <= self.level < 1:
            raise ConfigError(f"level {self.level}: expected in [0.5, 1)")
        if self.resamples and self.resamples < 100:
            raise ConfigError(f"resamples {self.resamples}: expected 0 (none) or at least 100")
        if not self.huber_delta > 0:
            raise ConfigError(f"huber delta {self.huber_delta}: expected above 0")

    @property
    def objective(self) -> Objective:
        """How residuals are scored."""
        return Objective(loss=self.loss, delta=self.huber_delta)


@dataclass(frozen=True, kw_only=True)
class FitSuite:
    """The result of ``slaw fit``.

    ``points``: the points, as the settings count them.
    ``laws``: the fits by the law's name.
    ``fitted_on``: the law's name -> what its points are, in words.
    ``isoflop``: the IsoFLOP curves.
    ``envelope``: the lower envelope.
    ``validation``: the checks of the law to forecast with.
    ``scores``: how the joint laws predict held-out runs.
    ``best_law``: name of the joint law whose parameters are shown; empty where none could be
        fitted.
    ``worlds``: what forecasts are made over; None: ``best_law`` alone.
    ``by_convention``: a row of parametric exponents per way of counting parameters.
    ``settings``: how it was fitted.
    ``source_key``: identifies the runs and their losses.
    ``counted``: the points under each way of counting parameters.
    ``profiles``: profile likelihoods.
    ``notes``: what a reader should know.
    """

    points: FitPoints
    laws: dict[str, FitResult]
    fitted_on: dict[str, str]
    isoflop: IsoflopResult
    envelope: EnvelopeResult
    validation: Validation
    scores: tuple[LawScore, ...]
    best_law: str
    by_convention: tuple[dict[str, Any], ...]
    settings: FitSettings
    source_key: str
    counted: dict[str, FitPoints]
    worlds: Worlds | None = None
    profiles: tuple[Profile, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The document of ``slaw fit --json``: strict JSON, full precision, no samples."""
        return {
            "points": len(self.points),
            "trunks": self.points.n_clusters,
            "dropped": [{"run_id": r, "reason": why} for r, why in self.points.dropped],
            "convention": dict(self.points.convention),
            "metrics": [
                {"name": name, "unit": unit or None, "points": count}
                for name, unit, count in self.points.metrics
            ],
            "settings": finite_json(self.settings),
            "laws": {name: self._law_json(fit) for name, fit in self.laws.items()},
            "by_convention": finite_json(list(self.by_convention)),
            "isoflop": self.isoflop.to_json(),
            "envelope": self.envelope.to_json(),
            "validation": finite_json(self.validation),
            "scores": finite_json(list(self.scores)),
            "best_law": self.best_law,
            "forecast_weights": self.forecast_weights,
            "profiles": finite_json(list(self.profiles)),
            "notes": list(self.notes),
        }

    @property
    def joint_law(self) -> FitResult | None:
        """The law of params and tokens whose parameters are shown; None where none was fitted."""
        best = self.laws.get(self.best_law)
        return best if best is not None and best.params else None

    @property
    def why_no_joint_law(self) -> str:
        """What the points lack for a law of params and tokens."""
        points = self.points
        different = points.n_different("params"), points.n_different("tokens")
        few = too_few_for_a_law(*different, len(points))
        reasons = (self.laws[score.law].message for score in self.scores)
        return few or next(filter(None, reasons), "no law of params and tokens can be fitted")

    @property
    def forecast_weights(self) -> dict[str, float]:
        """The weight of each law in forecasts, the heaviest first; empty where none can be made."""
        if self.worlds is not None:
            return self.worlds.laws
        best = self.laws.get(self.best_law)
        return {self.best_law: 1.0} if best is not None and best.usable else {}

    @property
    def stored_laws(self) -> dict[str, FitResult]:
        """The laws with the few hundred samples each that are saved for later commands."""
        return {
            name: dataclasses.replace(fit, samples=fit.samples[:_STORED_SAMPLES])
            for name, fit in self.laws.items()
        }

    def _law_json(self, fit: FitResult) -> dict[str, Any]:
        fields = dataclasses.replace(fit, samples=()).to_json()
        for name in ("samples", "dropped"):
            del fields[name]
        fields["starts"] = fields.pop("n_starts")
        fields["starts_agreeing"] = fields.pop("n_starts_agreeing")
        fields["points"] = fields.pop("n_points")
        fields["trunks"] = fields.pop("n_clusters")
        return {**fields, "fitted_on": self.fitted_on[fit.law.name]}


def fit_suite(records: Sequence[RunRecord], settings: FitSettings | None = None) -> FitSuite:
    """Fit every law that the records support. Raises ``FitError`` when none can be fitted."""
    settings = settings or FitSettings()
    data = from_records(
        records,
        convention=settings.convention,
        flops=settings.flops,
        keep=settings.keep,
        metric=settings.metric,
    )
    return fit_data(data, settings)


def fit_data(data: FitData, settings: FitSettings | None = None) -> FitSuite:
    """Fit every law that the points support. Raises ``FitError`` when none can be fitted."""
    settings = settings or FitSettings()
    check_size(settings.resamples, len(data.points))
    with numerical_failures(data.points):
        return _fit_data(data, settings)


def _fit_data(data: FitData, settings: FitSettings) -> FitSuite:
    points = data.points
    scores, best, refitters, laws = joint_fits(points, settings)
    fitted_on = dict.fromkeys(laws, f"all {points.called}")
    for name, (some, words) in _other_laws(points, data, settings.laws).items():
        laws[name] = _fit_or_refuse(some, name, settings)
        fitted_on[name] = words
    if not any(fit.params for fit in laws.values()):
        why = next(iter(laws.values())).message
        if len(points) > 1 and len(set(points.loss_nats.tolist())) == 1:
            why = f"{count_of(len(points), 'point')}, all of one loss; expected losses that differ"
        left = f"; left out: {listed(points.dropped)}" if points.dropped else ""
        raise FitError(f"no law can be fitted: {why}{left}")
    validation = validate(points, law=best or "chinchilla", refitter=refitters.get(best))
    return FitSuite(
        points=points,
        laws=laws,
        fitted_on=fitted_on,
        isoflop=fit_isoflop(points, level=settings.level, seed=settings.seed),
        envelope=fit_envelope(points, level=settings.level),
        validation=validation,
        scores=tuple(scores),
        best_law=best,
        worlds=make_worlds(points, laws, best=best, shown_errors=validation.shown_errors),
        by_convention=tuple(_conventions(data, settings, laws, best)),
        settings=settings,
        source_key=data.key,
        counted=data.counted,
        profiles=tuple(_profiles(points, laws, best, settings)),
        notes=(*points.notes, *floor_notes(points, laws.get("chinchilla"))),
    )


def _profiles(
    points: FitPoints, laws: dict[str, FitResult], best: str, settings: FitSettings
) -> Iterable[Profile]:
    for name in dict.fromkeys(("chinchilla", best)):
        if name not in laws or not laws[name].usable:
            continue
        for param in settings.profiles:
            if param in laws[name].law.names:
                yield profile(points, laws[name].law, param, level=settings.level)


def joint_fits(
    points: FitPoints, settings: FitSettings
) -> tuple[list[LawScore], str, dict[str, Refitter], dict[str, FitResult]]:
    """The laws in params and tokens: scores, the one to forecast with, refitters, and the fits.

    Chinchilla's law and the one to forecast with get all resamples, the others fewer.
    """
    scores, refitters = score_laws(points, settings.objective)
    best = best_law(scores)
    rolled = {score.law: score.rollout_rms for score in scores}
    laws = {}
    for name, refit in refitters.items():
        main = name in ("chinchilla", best)
        count = settings.resamples if main else min(settings.resamples, _SIDE_RESAMPLES)
        fit = refit.with_intervals(_resampling(settings, count))
        laws[name] = dataclasses.replace(fit, rollout_rms_log=rolled.get(name, math.nan))
    return scores, best, refitters, laws


def _other_laws(
    points: FitPoints, data: FitData, extra: Sequence[str]
) -> dict[str, tuple[FitPoints, str]]:
    """The points, and what they are, of laws in one variable, of repeated data, or in ``extra``."""
    others = {}
    for name in dict.fromkeys([*law_names(), *extra]):
        law = load_law(name)
        on = law.fitted_on or (law.variables[0] if len(law.variables) == 1 else "all")
        if (on == "all" or not law.fitted_on) and name not in extra:
            continue
        if on == "repeated" and data.repeated is not None:
            others[name] = data.repeated, f"all {points.called}, repeated data included"
        elif on in ("params", "tokens"):
            others[name] = best_per(points, on)
        elif on in ("envelope", "flops"):
            words = "points on the lower envelope in FLOPs"
            others[name] = points.take(envelope_rows(points)), words
        elif on != "repeated" or name in extra:
            others[name] = points, f"all {points.called}"
    return others


def _fit_or_refuse(points: FitPoints, name: str, settings: FitSettings) -> FitResult:
    """The fit of one law; points that allow none give a status, not an error.

    Other laws may be fitted to other points.
    """
    law = load_law(name)
    how = _resampling(settings, min(settings.resamples, _SIDE_RESAMPLES))
    try:
        return Refitter(points, law, settings.objective).with_intervals(how)
    except FitError:
        lacking = f"{count_of(len(points), 'point')}, all of one loss; add sizes or horizons"
        return refused(law, points, settings.objective, lacking)


def _resampling(settings: FitSettings, resamples: int) -> Resampling:
    return Resampling(
        resamples=resamples,
        seed=settings.seed,
        level=settings.level,
        intervals=settings.intervals,
    )


def best_per(points: FitPoints, variable: str) -> tuple[FitPoints, str]:
    """The points that ``variable`` alone limits, and what they are in words.

    In a grid of sizes they are the longest horizon of each size (for params) or the largest size
    (for tokens); in a table without such a grid, the runs with a lower loss than every run with as
    little of the variable.
    """
    sizes = Counter(points.size)
    if len(sizes) <= len(points) / 2:
        if variable == "params":
            return longest_horizons(points), "the longest horizon of each size"
        return largest_size(points), "the largest size"
    order = np.lexsort((points.loss_nats, points.variable(variable)))
    best, least = [], np.inf
    for row in order.tolist():
        if points.loss_nats[row] < least:
            least = points.loss_nats[row]
            best.append(row)
    return points.take(best), f"runs that none with as few {variable} beats"


def longest_horizons(points: FitPoints) -> FitPoints:
    """The points with the most tokens of each size."""
    most: dict[str, float] = {}
    for size, tokens in zip(points.size, points.tokens.tolist(), strict=True):
        most[size] = max(most.get(size, 0.0), tokens)
    mask = [t >= 0.999 * most[s] for t, s in zip(points.tokens, points.size, strict=True)]
    return points.take(np.array(mask))


def largest_size(points: FitPoints) -> FitPoints:
    """The points of the largest size."""
    return points.take(points.params >= 0.999 * points.params.max())


def _conventions(
    data: FitData,
    settings: FitSettings,
    laws: dict[str, FitResult],
    best: str,
) -> Iterable[dict[str, Any]]:
    """The parametric exponents under each way of counting parameters: they differ."""
    names = [name for name in dict.fromkeys(("chinchilla", best)) if name in laws]
    for name in names:
        for convention, points in data.counted.items():
            fit = laws[name]
            if points is not data.points:
                fit = _fit_or_refuse(points, name, settings)
            fixed = exponent_is_fixed(fit.law)
            low, high = (None, None) if fixed else fit.optimum_intervals.get("a", (None, None))
            yield {
                "law": name,
                "params": convention,
                "flops": points.convention["flops"],
                "status": fit.status,
                "a": fit.optimum.exponent if fit.optimum else None,
                "a_low": low,
                "a_high": high,
                **({"a_fixed": True} if fixed else {}),
                **{param: fit.params.get(param) for param in ("E", "alpha", "beta")},
                "rms_log_residual": fit.rms_log_residual,
            }


def save_suite(suite: FitSuite, folder: Path) -> Path:
    """Save the suite's JSON and its laws, with a few hundred samples each, for later commands."""
    laws = {name: fit.to_json() for name, fit in suite.stored_laws.items()}
    path = SweepDir(folder).fits / "fit.json"
    content = {
        "schema_version": FIT.current,
        "source_key": suite.source_key,
        "settings": finite_json(suite.settings),
        "best_law": suite.best_law,
        "worlds": suite.worlds.to_json() if suite.worlds else None,
        "seed_noise_log": suite.validation.seed_noise_log,
        "trust_flops_factor": suite.validation.trust_flops_factor,
        "summary": suite.to_json(),
        "laws": laws,
    }
    checksum.write(path, content)
    return path
