"""What ``slaw extrapolate`` does: find the law, forecast, compare with the published laws."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from scaling_law.errors import ConfigError, FitError, did_you_mean
from scaling_law.files.record import NATS, find_sweeps, load_records, only_sweep
from scaling_law.fit.checks.select_law import why_chosen
from scaling_law.fit.laws import is_own, law_names
from scaling_law.fit.numerics import numerical_failures
from scaling_law.fit.points.table_settings import TableSettings
from scaling_law.fit.result import FitResult, Prediction, finite_json
from scaling_law.fit.session import KnownLaws, known_laws
from scaling_law.fit.worlds import Worlds
from scaling_law.forecast.budget import Budget
from scaling_law.forecast.extrapolate import check_level, extrapolate
from scaling_law.forecast.hardware import Hardware
from scaling_law.forecast.published import (
    PUBLISHED,
    comparison,
    law_hint,
    law_name,
    published_law,
    published_of,
    published_vocabulary,
)
from scaling_law.forecast.scenario import Scenario, consequences, decision_lines, settle, spend
from scaling_law.forecast.target import Target, Times
from scaling_law.forecast.text import format_prediction, prediction_json
from scaling_law.spec.model import Model
from scaling_law.spec.optim import OptimSpec
from scaling_law.spec.run import RunSpec
from scaling_law.units import format_count, weight_words

DEFAULT_RESULTS = "results"


@dataclass(frozen=True, kw_only=True)
class ForecastAnswer:
    """The answer of ``slaw extrapolate``.

    ``prediction``: the forecast.
    ``fit``: its law; over several laws, the one whose parameters are shown.
    ``origin``: what it rests on, in words.
    ``rows``: the forecast beside the published laws.
    ``decision``: what the target takes, as ``consequences`` gives it.
    """

    prediction: Prediction
    fit: FitResult
    origin: str
    rows: tuple[dict[str, Any], ...]
    decision: dict[str, Any]

    @property
    def text(self) -> str:
        """For a terminal: the law and its results, then the answer; a refusal stands first."""
        prediction = self.prediction
        refused = bool(prediction.refused) and prediction.level is not None
        lines = decision_lines(self.decision, refused=refused)
        return format_prediction(prediction, self.fit, self.rows, lines, origin=self.origin)

    def to_json(self) -> dict[str, Any]:
        """One strict JSON document."""
        document = prediction_json(self.prediction, self.rows)
        return {"origin": self.origin, **document, **finite_json(self.decision)}


def forecast(
    *,
    law: str | None,
    results: str | None,
    target: Target,
    budget: Budget | None = None,
    hardware: Hardware | None = None,
    scenario: Scenario | None = None,
    level: float = 0.9,
    table: TableSettings | None = None,
    times: Mapping[str, Times] | None = None,
) -> ForecastAnswer:
    """Forecast with a published law, or with the fit of a sweep or of a table of runs.

    ``times`` are further variables of the target, as multiples of the law's largest. Without
    ``law`` all its laws count by their weights; without ``results`` the only sweep under
    ``results/``. ``hardware``: what the target costs there. Raises ``ConfigError`` when the law or
    the results are missing or not unique, ``FitError`` when the data cannot answer, or the answer
    is a loss that no trained model has.
    """
    times = times or {}
    if budget is None and not target.given and not times:
        raise ConfigError(
            "nothing to forecast: give --params, --tokens, --flops, --target-loss or --dollars"
        )
    # mistakes under any law are reported before any folder is read
    if budget is not None:
        hardware = hardware or Hardware()
        target = spend(target, budget, hardware)
    check_level(level)
    source = find_law(law, results, table)
    name, data_range = law_name(source.fit), source.fit.data_range
    figures = {variable: one.of(variable, name, data_range) for variable, one in times.items()}
    target = dataclasses.replace(target, **figures)
    answer = _at(
        source,
        target,
        level,
        hardware=hardware,
        scenario=scenario,
        template=source.template,
    )
    _refuse_above_chance(answer.prediction, source)
    return answer


def _refuse_above_chance(prediction: Prediction, source: SourcedLaw) -> None:
    """Refuse a loss, far below the data, that no trained model has. Raises ``FitError``."""
    vocab = published_vocabulary(source.fit)
    where = "outside its runs; ask for a target nearer to them"
    if source.template is not None and prediction.below_data:
        vocab = source.template.vocab_size
        smallest = " and ".join(
            f"{format_count(source.fit.data_range[name][0])} {name}"
            for name in ("params", "tokens")
            if name in prediction.below_data
        )
        where = f"below the smallest run ({smallest}); ask for a target nearer to it"
    in_nats = prediction.convention.get("loss", NATS) == NATS
    if vocab is None or not in_nats or prediction.loss_nats <= math.log(vocab):
        return
    raise FitError(
        f"law {law_name(source.fit)} gives {prediction.loss_nats:.3g} nats per token there, above"
        f" ln({vocab:,}) = {math.log(vocab):.2f}, the loss of giving every token of the vocabulary"
        f" the same probability: no law of trained models holds so far {where}"
    )


@dataclass(frozen=True, kw_only=True)
class SourcedLaw:
    """A law with its source.

    ``fit``: the law; of a forecast over several, the one whose parameters are shown.
    ``origin``: where it comes from, in words.
    ``worlds``: what the forecast is made over; None: the law alone.
    ``known``: what was fitted with it; None: published.
    ``source``: folder or table of the runs; None: published.
    """

    fit: FitResult
    origin: str
    worlds: Worlds | None = None
    known: KnownLaws | None = None
    source: Path | None = None

    @property
    def label(self) -> str:
        """``besiroglu2024``, or a fitted law with its folder or table."""
        name = law_name(self.fit)
        if self.source is None:
            return name
        several = self.worlds is not None and len(self.worlds.laws) > 1
        return f"{'the laws' if several else name} fitted to {self.source}"

    @property
    def template(self) -> Model | None:
        """A model of the sweep that the law was fitted to; None for tables and published laws."""
        spec = self._example
        return None if spec is None else spec.model

    @property
    def optim(self) -> OptimSpec | None:
        """The optimizer, with its rule, of a run that the law was fitted to; None likewise."""
        spec = self._example
        return None if spec is None or spec.is_solved else spec.optim

    @cached_property
    def _example(self) -> RunSpec | None:
        if self.source is None or not self.source.is_dir():
            return None
        try:
            return load_records(only_sweep(self.source))[0].spec
        except ConfigError:
            return None  # a folder that holds a fit and no runs

    @property
    def beside(self) -> dict[str, Any]:
        """What the forecast rests on beside the law, as ``extrapolate`` takes it."""
        return {"worlds": self.worlds, **self.known.beside_one} if self.known else {}


def find_law(
    law: str | None, results: str | None, table: TableSettings | None = None
) -> SourcedLaw:
    """The law of that name, as ``find_laws`` finds it; published laws only without ``results``."""
    names = [law] if law else []
    return find_laws(names, results, table, published=results is None)[0]


def find_laws(
    names: Sequence[str],
    results: str | None,
    table: TableSettings | None = None,
    *,
    published: bool = True,
) -> list[SourcedLaw]:
    """The laws of these names, published or fitted to a sweep or table; without names all of it.

    Without ``results`` the only sweep under ``results/`` is used. Raises ``ConfigError`` when a law
    or the results are missing or not unique, ``FitError`` when nothing could be fitted.
    """
    own = [name for name in names if is_own(name)]
    for name in names:
        if name not in PUBLISHED and name not in law_names() and name not in own:
            hint = law_hint(name, (*law_names(), *PUBLISHED))
            raise ConfigError(
                f"law {name!r}{hint}: expected a law that can be fitted, {', '.join(law_names())},"
                f" a published one,"
                f" {', '.join(PUBLISHED)}, or the path of a .py file"
            )
    source, known = _named(Path(results or DEFAULT_RESULTS)), None
    laws = []
    for name in names or [""]:
        if published and name in PUBLISHED:
            origin = f"law {name}, published; no results used"
            laws.append(SourcedLaw(fit=published_law(name), origin=origin))
            continue
        known = known or _known_laws(source, table, own, name, published=results is None)
        laws.append(_fitted(known, name, source))
    return laws


def _known_laws(
    source: Path, table: TableSettings | None, own: Sequence[str], asked: str, *, published: bool
) -> KnownLaws:
    """The laws of ``source``; where it has no runs, ``published`` ones are pointed at.

    Those with the formula of the law that was ``asked`` for, where there are such.
    """
    try:
        return known_laws(source, table, own)
    except ConfigError as problem:
        if not published or _has_sweeps(source):
            raise
        if papers := published_of(asked):
            *others, last = papers
            said = f"{', '.join(others)} or {last}" if others else last
            raise ConfigError(
                f"law {asked} is a formula that is fitted to runs, and {problem}; its published"
                f" parameters need no runs: --law {said}"
            ) from None
        raise ConfigError(
            f"{problem}; or take a published law, which needs no results, as in --law besiroglu2024"
        ) from None


def _named(source: Path) -> Path:
    """The sweep that a folder with one stands for, so that an answer names it; else the source."""
    try:
        return only_sweep(source).path if source.is_dir() else source
    except ConfigError:
        return source


def _has_sweeps(source: Path) -> bool:
    try:
        return bool(find_sweeps(source))
    except ConfigError:
        return False


def _fitted(known: KnownLaws, asked: str, source: Path) -> SourcedLaw:
    name = asked or known.best_law
    if not name:
        raise FitError(f"{source}: no joint law could be fitted; see slaw fit")
    if name in known.unread:
        raise ConfigError(f"{source}: {known.unread[name]}")
    if name not in known.laws and is_own(name):
        raise ConfigError(
            f"{source}: was not fitted with the law {name}; run `slaw fit {source} --law"
            f" PATH/{name}` first"
        )
    if name not in known.laws:
        raise ConfigError(
            f"law {name!r}{did_you_mean(name, known.laws)}: expected one of the fit's,"
            f" {', '.join(sorted(known.laws))}, "
            f"or without --results a published one, {', '.join(PUBLISHED)}"
        )
    fit = known.laws[name]
    if asked:
        origin = f"law {name} fitted to {source}, alone"
        return SourcedLaw(fit=fit, origin=origin, known=known, source=source)
    origin = f"{_rests_on(known)}, fitted to {source} (see slaw fit)"
    return SourcedLaw(fit=fit, origin=origin, worlds=known.worlds, known=known, source=source)


def _rests_on(known: KnownLaws) -> str:
    """What a forecast rests on without a law's name: several laws, or one and why that one."""
    if known.worlds is None or len(known.worlds.laws) == 1:
        return f"law {known.best_law} ({why_chosen(known.laws[known.best_law])})"
    said = ", ".join(f"{name} {weight_words(x)}" for name, x in known.worlds.laws.items())
    return f"{len(known.worlds.laws)} laws by their weights ({said})"


def for_known(
    known: KnownLaws, target: Target, level: float, template: Model | None = None
) -> ForecastAnswer:
    """The forecast of fitted laws.

    ``template`` gives the shape's vocabulary and context: a model of the sweep.
    """
    source = SourcedLaw(
        fit=known.laws[known.best_law], origin=_rests_on(known), worlds=known.worlds, known=known
    )
    return _at(source, target, level, template=template)


def _at(
    source: SourcedLaw,
    target: Target,
    level: float,
    *,
    hardware: Hardware | None = None,
    scenario: Scenario | None = None,
    template: Model | None = None,
) -> ForecastAnswer:
    scenario = scenario or Scenario()
    fit, worlds = source.fit, source.worlds
    with numerical_failures():
        settled, choice = settle(fit, target, scenario, worlds)
        prediction = extrapolate(
            fit, settled, tokens_unique=scenario.tokens_unique, level=level, **source.beside
        )
        decision = consequences(
            fit,
            prediction,
            scenario,
            choice,
            worlds=worlds,
            hardware=hardware,
            template=template,
            chosen=choice is not None or settled.params is None,
        )
    return ForecastAnswer(
        prediction=prediction,
        fit=fit,
        origin=source.origin,
        rows=tuple(comparison(prediction)),
        decision=decision,
    )
