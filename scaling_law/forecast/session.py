"""What ``slaw extrapolate`` does: find the law, forecast, put it beside the published laws."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling_law.errors import ConfigError, FitError, did_you_mean
from scaling_law.files.record import load_records, only_sweep
from scaling_law.fit.laws import law_names
from scaling_law.fit.points.table import TableSettings
from scaling_law.fit.result import FitResult, Prediction, finite_json
from scaling_law.fit.session import KnownLaws, known_laws
from scaling_law.forecast.extrapolate import check_request, extrapolate
from scaling_law.forecast.published import (
    PUBLISHED,
    comparison,
    law_name,
    published_law,
    published_vocabulary,
)
from scaling_law.forecast.target import Wish, consequences, decision_lines, settle
from scaling_law.forecast.text import format_prediction, prediction_json
from scaling_law.spec.run import Model
from scaling_law.units import format_count

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
        prediction = self.prediction
        refused = bool(prediction.refused) and prediction.level is not None
        lines = decision_lines(self.decision, refused=refused)
        found = format_prediction(prediction, self.fit, self.rows, lines)
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
    when the data cannot answer, or the answer is a loss that no trained model has.
    """
    wish = wish or Wish()
    if wish.dollars is None and not any(value is not None for value in targets.values()):
        raise ConfigError(
            "nothing to forecast: give --params, --tokens, --flops, --target-loss or --dollars"
        )
    asked = [name for name, value in targets.items() if value is not None]
    check_request(asked + ["flops"] * (wish.dollars is not None), level)  # before any folder
    found = find_law(law, results, table)
    made = _at(
        found.fit,
        found.origin,
        targets,
        level,
        known=found.known,
        wish=wish,
        template=found.template,
    )
    _refuse_above_chance(made.prediction, found)
    return made


def _refuse_above_chance(prediction: Prediction, found: FoundLaw) -> None:
    """Refuse a loss, far below the data, that no trained model has. Raises ``FitError``."""
    vocab = published_vocabulary(found.fit)
    where = "outside its runs; ask for a target nearer to them"
    if found.template is not None and prediction.below_data:
        vocab = found.template.vocab_size
        smallest = " and ".join(
            f"{format_count(found.fit.data_range[name][0])} {name}"
            for name in ("params", "tokens")
            if name in prediction.below_data
        )
        where = f"below the smallest run ({smallest}); ask for a target nearer to it"
    if vocab is None or prediction.loss_nats <= math.log(vocab):
        return
    raise FitError(
        f"law {law_name(found.fit)} gives {prediction.loss_nats:.3g} nats per token there, above"
        f" ln({vocab:,}) = {math.log(vocab):.2f}, the loss of giving every token of the vocabulary"
        f" the same probability: no law of trained models holds so far {where}"
    )


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
    def template(self) -> Model | None:
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
            hint = did_you_mean(name, (*law_names(), *PUBLISHED))
            raise ConfigError(
                f"law {name!r}{hint}: expected a law that can be fitted, {', '.join(law_names())},"
                f" or a published one, {', '.join(PUBLISHED)}"
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
            f"law {name!r}{did_you_mean(name, known.laws)}: expected one of the fit's,"
            f" {', '.join(sorted(known.laws))}, "
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
    template: Model | None = None,
) -> Forecast:
    """Forecast with one fitted law; the others count towards the interval.

    ``template`` gives the shape's vocabulary and context: a model of the sweep.
    """
    return _at(known.laws[name], origin, targets, level, known=known, wish=wish, template=template)


def _at(
    fit: FitResult,
    origin: str,
    targets: Mapping[str, float | None],
    level: float,
    *,
    known: KnownLaws | None = None,
    wish: Wish | None = None,
    template: Model | None = None,
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
        decision=consequences(fit, prediction, wish, choice, template),
    )
