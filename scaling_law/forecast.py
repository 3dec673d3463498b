"""What ``slaw extrapolate`` does: find the law, forecast, put it beside the published laws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling_law.errors import ConfigError
from scaling_law.extrapolate import comparison, extrapolate, format_prediction, prediction_json
from scaling_law.fit.published import PUBLISHED, published_law
from scaling_law.fit.session import KnownLaws, stored_or_fitted
from scaling_law.layout import SweepDir
from scaling_law.outcome import FitResult, Prediction
from scaling_law.record import find_sweeps

DEFAULT_RESULTS = "results"


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """A prediction, where its law came from, and its company of published laws."""

    prediction: Prediction
    fit: FitResult
    origin: str
    rows: tuple[dict[str, Any], ...]

    @property
    def text(self) -> str:
        """For a terminal; the first line names the law and its results."""
        return f"{self.origin}\n" + format_prediction(self.prediction, self.fit, self.rows)

    def to_json(self) -> dict[str, Any]:
        """One strict JSON document."""
        return {"origin": self.origin, **prediction_json(self.prediction, self.rows)}


def forecast(
    *,
    law: str | None,
    results: str | None,
    targets: Mapping[str, float | None],
    level: float = 0.9,
) -> Forecast:
    """Forecast with a published law, or with the fit of a sweep.

    Without ``law`` the sweep's best law is used; without ``results`` the only sweep under
    ``results/``. Raises ``ConfigError`` when either is not there or not unique, ``FitError``
    when the data cannot answer.
    """
    if not any(value is not None for value in targets.values()):
        raise ConfigError("nothing to forecast: give --params, --tokens, --flops or --target-loss")
    if law in PUBLISHED and results is None:
        fit, origin = published_law(law), f"law {law}, published; no results used"
        return _at(fit, origin, targets, level)
    sweep = _only_sweep(results or DEFAULT_RESULTS)
    known = stored_or_fitted(sweep)
    name = law or known.best_law
    if name not in known.laws:
        raise ConfigError(
            f"law {name!r}: expected one of the fit's, {', '.join(sorted(known.laws))}, "
            f"or without --results a published one, {', '.join(PUBLISHED)}"
        )
    why = "" if law else ", the one that best predicts the largest size from the others"
    return for_law(known, name, targets, level, f"law {name} fitted to {sweep.path}{why}")


def for_law(
    known: KnownLaws, name: str, targets: Mapping[str, float | None], level: float, origin: str
) -> Forecast:
    """Forecast with one fitted law; the others count towards the interval."""
    alternatives = [fit for other, fit in known.laws.items() if other != name]
    return _at(known.laws[name], origin, targets, level, known.seed_noise_log, alternatives)


def _at(
    fit: FitResult,
    origin: str,
    targets: Mapping[str, float | None],
    level: float,
    seed_noise_log: float | None = None,
    alternatives: list[FitResult] | None = None,
) -> Forecast:
    prediction = extrapolate(
        fit,
        **targets,
        level=level,
        seed_noise_log=seed_noise_log,
        alternatives=alternatives or (),
    )
    rows = tuple(comparison(prediction))
    return Forecast(prediction=prediction, fit=fit, origin=origin, rows=rows)


def _only_sweep(folder: str) -> SweepDir:
    sweeps = find_sweeps(Path(folder))
    if len(sweeps) > 1:
        names = ", ".join(str(s.path) for s in sweeps)
        raise ConfigError(f"{folder}: {len(sweeps)} sweeps there; name one with --results: {names}")
    return sweeps[0]
