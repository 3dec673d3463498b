"""All laws on one set of records, by three approaches and three ways of counting parameters."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scaling_law import layout
from scaling_law.counts import CONVENTIONS
from scaling_law.errors import ConfigError, FitError
from scaling_law.fit.choose import LawScore, best_law, score_laws
from scaling_law.fit.envelope import EnvelopeResult, envelope_rows, fit_envelope
from scaling_law.fit.isoflop import IsoflopResult, fit_isoflop
from scaling_law.fit.laws import load_law
from scaling_law.fit.parametric import fit_law, refused
from scaling_law.fit.points import FitPoints, points_from_records
from scaling_law.fit.solve import LOSSES, Objective
from scaling_law.fit.validate import Validation, validate
from scaling_law.layout import SweepDir
from scaling_law.outcome import FitResult, finite_json
from scaling_law.record import RunRecord, find_sweeps, load_records

SCHEMA_VERSION = 1
_KEPT_SAMPLES = 400
_SIDE_RESAMPLES = 400


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How to fit: which parameters and FLOPs, which loss on residuals, how many resamples."""

    convention: str = "matmul"
    flops: str = "exact"
    loss: str = "huber_log"
    huber_delta: float = 1e-3
    level: float = 0.9
    resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
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
        """The residuals' loss."""
        return Objective(loss=self.loss, delta=self.huber_delta)


@dataclass(frozen=True, kw_only=True)
class FitSuite:
    """Everything that ``slaw fit`` found out.

    ``laws`` by name, each on the points ``fitted_on`` says; ``best_law`` is the joint law to
    forecast with, by ``scores``; ``by_convention`` has a row per way of counting parameters
    with the parametric exponents; ``source_key`` identifies the records fitted.
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
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The document of ``slaw fit --json``: strict JSON, full precision, no samples."""
        return {
            "points": len(self.points),
            "trunks": self.points.n_clusters,
            "dropped": [{"run_id": r, "reason": why} for r, why in self.points.dropped],
            "convention": dict(self.points.convention),
            "settings": finite_json(self.settings),
            "laws": {name: self._law_json(fit) for name, fit in self.laws.items()},
            "by_convention": finite_json(list(self.by_convention)),
            "isoflop": self.isoflop.to_json(),
            "envelope": self.envelope.to_json(),
            "validation": finite_json(self.validation),
            "scores": finite_json(list(self.scores)),
            "best_law": self.best_law,
            "notes": list(self.notes),
        }

    def _law_json(self, fit: FitResult) -> dict[str, Any]:
        fields: dict[str, Any] = finite_json(dataclasses.replace(fit, samples=()))
        for name in ("samples", "dropped"):
            del fields[name]
        fields["starts"] = fields.pop("n_starts")
        fields["starts_agreeing"] = fields.pop("n_starts_agreeing")
        fields["points"] = fields.pop("n_points")
        fields["trunks"] = fields.pop("n_clusters")
        return {**fields, "fitted_on": self.fitted_on[fit.law]}


def fit_suite(records: Sequence[RunRecord], settings: FitSettings | None = None) -> FitSuite:
    """Fit every law that the records support. Raises ``FitError`` when none can be fitted."""
    settings = settings or FitSettings()
    _refuse_mixtures(records)
    points = points_from_records(records, convention=settings.convention, flops=settings.flops)
    envelope = points.take(envelope_rows(points))
    chosen = {
        "chinchilla": (points, "all annealed points"),
        "coupled": (points, "all annealed points"),
        "kaplan_nd": (points, "all annealed points"),
        "kaplan_n": (longest_horizons(points), "the longest horizon of each size"),
        "kaplan_d": (largest_size(points), "the largest size"),
        "kaplan_c": (envelope, "points on the lower envelope of loss against FLOPs"),
        "saturating": (envelope, "points on the lower envelope of loss against FLOPs"),
    }
    laws = {name: _fit_or_refuse(some, name, settings) for name, (some, _) in chosen.items()}
    if not any(fit.params for fit in laws.values()):
        raise FitError(f"no law can be fitted: {laws['chinchilla'].message}")
    scores = score_laws(points, laws, settings.objective)
    best = best_law(scores)
    return FitSuite(
        points=points,
        laws=laws,
        fitted_on={name: words for name, (_, words) in chosen.items()},
        isoflop=fit_isoflop(points, level=settings.level, seed=settings.seed),
        envelope=fit_envelope(points, level=settings.level),
        validation=validate(points, objective=settings.objective, law=best),
        scores=tuple(scores),
        best_law=best,
        by_convention=tuple(_conventions(records, settings, laws["chinchilla"])),
        settings=settings,
        source_key=source_key(r.run_id for r in records),
        notes=points.notes,
    )


def _fit_or_refuse(points: FitPoints, name: str, settings: FitSettings) -> FitResult:
    """One law; points that allow none are a status: other laws may rest on other points."""
    try:
        return fit_law(
            points,
            name,
            objective=settings.objective,
            level=settings.level,
            resamples=settings.resamples,
            seed=settings.seed,
        )
    except FitError:
        losses = len(set(points.loss_nats.tolist()))
        lacking = f"{len(points)} points with {losses} different losses"
        return refused(load_law(name), points, settings.objective, lacking)


def _refuse_mixtures(records: Sequence[RunRecord]) -> None:
    """Losses of different token alphabets are different quantities: never one fit."""
    kinds = {(r.spec.data.tokenizer, r.spec.model.vocab_size) for r in records}
    if len(kinds) > 1:
        names = ", ".join(sorted(f"{name} {size}" for name, size in kinds))
        raise FitError(
            f"the runs use different tokenizers ({names}); nats per token do not compare: "
            "fit one sweep at a time"
        )


def longest_horizons(points: FitPoints) -> FitPoints:
    """The points with the most tokens of each size."""
    most = {s: max(points.tokens[i] for i in _rows(points, s)) for s in set(points.size)}
    mask = [t >= 0.999 * most[s] for t, s in zip(points.tokens, points.size, strict=True)]
    return points.take(np.array(mask))


def largest_size(points: FitPoints) -> FitPoints:
    """The points of the largest size."""
    return points.take(points.params >= 0.999 * points.params.max())


def _rows(points: FitPoints, size: str) -> list[int]:
    return [i for i, s in enumerate(points.size) if s == size]


def _conventions(
    records: Sequence[RunRecord], settings: FitSettings, main: FitResult
) -> Iterable[dict[str, Any]]:
    """The parametric law under each way of counting parameters: the exponents differ."""
    for convention in CONVENTIONS:
        fit = main
        if convention != settings.convention:
            points = points_from_records(records, convention=convention, flops=settings.flops)
            fit = fit_law(
                points,
                "chinchilla",
                objective=settings.objective,
                level=settings.level,
                resamples=min(settings.resamples, _SIDE_RESAMPLES),
                seed=settings.seed,
            )
        low, high = fit.optimum_intervals.get("a", (None, None))
        yield {
            "params": convention,
            "flops": settings.flops,
            "status": fit.status,
            "a": fit.optimum.get("a"),
            "a_low": low,
            "a_high": high,
            **{name: fit.params.get(name) for name in ("E", "alpha", "beta")},
            "rms_log_residual": fit.rms_log_residual,
        }


def source_key(run_ids: Iterable[str]) -> str:
    """Identifies a set of finished runs, to know a stored fit from a stale one."""
    return hashlib.sha256("\n".join(sorted(run_ids)).encode()).hexdigest()[:16]


def gather(folders: Sequence[Path]) -> list[RunRecord]:
    """Every finished run of the sweeps at or below ``folders``, once each.

    Raises ``ConfigError`` naming a folder without records.
    """
    found: dict[str, RunRecord] = {}
    for folder in folders:
        for sweep in find_sweeps(folder):
            found |= {record.run_id: record for record in load_records(sweep)}
    return list(found.values())


def save_suite(suite: FitSuite, folder: Path) -> Path:
    """Keep the suite's JSON and its laws, with a few hundred samples each, for later commands."""
    laws = {
        name: finite_json(dataclasses.replace(fit, samples=fit.samples[:_KEPT_SAMPLES]))
        for name, fit in suite.laws.items()
    }
    path = SweepDir(folder).fits / "fit.json"
    content = {
        "schema_version": SCHEMA_VERSION,
        "source_key": suite.source_key,
        "settings": finite_json(suite.settings),
        "best_law": suite.best_law,
        "seed_noise_log": suite.validation.seed_noise_log,
        "summary": suite.to_json(),
        "laws": laws,
    }
    layout.write_json(path, content)
    return path
