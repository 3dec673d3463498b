"""What ``slaw extrapolate`` does: find the law, forecast, put it beside the published laws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling_law.decision import Wish, consequences, decision_lines, settle
from scaling_law.errors import ConfigError, FitError
from scaling_law.extrapolate import extrapolate
from scaling_law.fit.laws import law_names
from scaling_law.fit.published import PUBLISHED, comparison, published_law
from scaling_law.fit.session import KnownLaws, known_laws
from scaling_law.fit.table import TableSettings
from scaling_law.forecast_text import format_prediction, prediction_json
from scaling_law.outcome import FitResult, Prediction, finite_json
from scaling_law.record import load_records, only_sweep
from scaling_law.spec import ModelSpec

DEFAULT_RESULTS = "results"


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """A prediction, where its law came from, and its company of published laws."""

    prediction: Prediction
    fit: FitResult
    origin: str
    rows: tuple[dict[str, Any], ...]
    decision: dict[str, Any]

    @property
    def text(self) -> str:
        """For a terminal; the first line names the law and its results."""
        found = format_prediction(
            self.prediction, self.fit, self.rows, decision_lines(self.decision)
        )
        return f"{self.origin}\n{found}"

    def to_json(self) -> dict[str, Any]:
        """One strict JSON document."""
        document = prediction_json(self.prediction, self.rows)
        return {"origin": self.origin, **document, **finite_json(self.decision)}


def forecast(
    *,
    law: str | None,
    results: str | None,
    targets: Mapping[str, float | None],
    level: float = 0.9,
    table: TableSettings | None = None,
    wish: Wish | None = None,
) -> Forecast:
    """Forecast with a published law, or with the fit of a sweep or of a table of runs.

    Without ``law`` the sweep's best law is used; without ``results`` the only sweep under
    ``results/``. Raises ``ConfigError`` when either is not there or not unique, ``FitError``
    when the data cannot answer.
    """
    wish = wish or Wish()
    if wish.dollars is None and not any(value is not None for value in targets.values()):
        raise ConfigError(
            "nothing to forecast: give --params, --tokens, --flops, --target-loss or --dollars"
        )
    found = find_law(law, results, table)
    return _at(found.fit, found.origin, targets, level, known=found.known, wish=wish)


@dataclass(frozen=True, kw_only=True)
class FoundLaw:
    """A law, where it came from in words, and what was fitted beside it (None if published).

    ``source`` is the folder or table of a fitted one.
    """

    fit: FitResult
    origin: str
    known: KnownLaws | None = None
    source: Path | None = None

    @property
    def template(self) -> ModelSpec | None:
        """A model of the sweep the law was fitted to; None for tables and published laws."""
        if self.source is None or not self.source.is_dir():
            return None
        try:
            return load_records(only_sweep(self.source))[0].spec.model
        except ConfigError:
            return None  # a folder that keeps a fit alone


def find_law(law: str | None, results: str | None, table: TableSettings | None = None) -> FoundLaw:
    """The law of that name, as ``find_laws`` finds it; a published one only without results."""
    names = [law] if law else []
    return find_laws(names, results, table, published=results is None)[0]


def find_laws(
    names: Sequence[str],
    results: str | None,
    table: TableSettings | None = None,
    *,
    published: bool = True,
) -> list[FoundLaw]:
    """The laws of these names, published or fitted to a sweep or table; none: its best.

    Without ``results`` the only sweep under ``results/``. Raises ``ConfigError`` when a law or
    the results are not there or not unique, ``FitError`` when nothing could be fitted.
    """
    for name in names:
        if name not in PUBLISHED and name not in law_names():
            raise ConfigError(
                f"law {name!r}: expected a law that can be fitted, {', '.join(law_names())}, or a "
                f"published one, {', '.join(PUBLISHED)}"
            )
    source, known = Path(results or DEFAULT_RESULTS), None
    found = []
    for name in names or [""]:
        if published and name in PUBLISHED:
            origin = f"law {name}, published; no results used"
            found.append(FoundLaw(fit=published_law(name), origin=origin))
            continue
        known = known or known_laws(source, table)
        found.append(_fitted(known, name, source))
    return found


def _fitted(known: KnownLaws, asked: str, source: Path) -> FoundLaw:
    name = asked or known.best_law
    if not name:
        raise FitError(f"{source}: no joint law could be fitted; see slaw fit")
    if name not in known.laws:
        raise ConfigError(
            f"law {name!r}: expected one of the fit's, {', '.join(sorted(known.laws))}, "
            f"or without --results a published one, {', '.join(PUBLISHED)}"
        )
    why = "" if asked else ", the one that best predicts held-out runs (see slaw fit)"
    origin = f"law {name} fitted to {source}{why}"
    return FoundLaw(fit=known.laws[name], origin=origin, known=known, source=source)


def for_law(
    known: KnownLaws,
    name: str,
    targets: Mapping[str, float | None],
    level: float,
    origin: str,
    wish: Wish | None = None,
) -> Forecast:
    """Forecast with one fitted law; the others count towards the interval."""
    return _at(known.laws[name], origin, targets, level, known=known, wish=wish)


def _at(
    fit: FitResult,
    origin: str,
    targets: Mapping[str, float | None],
    level: float,
    *,
    known: KnownLaws | None = None,
    wish: Wish | None = None,
) -> Forecast:
    wish = wish or Wish()
    asked, choice = settle(fit, targets, wish)
    others = [other for other in known.laws.values() if other is not fit] if known else []
    prediction = extrapolate(
        fit,
        **asked,
        tokens_unique=wish.tokens_unique,
        level=level,
        seed_noise_log=known.seed_noise_log if known else None,
        alternatives=others,
        trust_flops_factor=known.trust_flops_factor if known else None,
    )
    return Forecast(
        prediction=prediction,
        fit=fit,
        origin=origin,
        rows=tuple(comparison(prediction)),
        decision=consequences(fit, prediction, wish, choice),
    )
