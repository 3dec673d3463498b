"""Forecasts the loss at a target under a fitted or published law.

The interval is that of one new run's loss; ``fit.solver.interval`` says how it is made.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from scaling_law.errors import ConfigError, FitError
from scaling_law.files.record import NATS, amount_unit
from scaling_law.fit.result import FitResult, Prediction, bound_words, status_words
from scaling_law.fit.solver.interval import (
    PredictionInterval,
    log_loss,
    prediction_interval,
    split_intervals,
    tokens_interval,
)
from scaling_law.fit.solver.scalar import root
from scaling_law.fit.split import Split, bounded_exp
from scaling_law.fit.surface import Surface, surface_of
from scaling_law.forecast.published import law_name
from scaling_law.forecast.repeats import repeat_doubts, repeats_under
from scaling_law.forecast.target import LARGEST, Target, refuse_together
from scaling_law.spec.counts import flops_6nd
from scaling_law.units import format_count, rounded_count

# Beyond these factors in FLOPs (or in the farthest variable) a forecast carries a warning, then is
# refused.
FAR, TOO_FAR = 10.0, 1000.0
# A term below this share of the loss in the middle of the data counts as missing (the bound of the
# solver is 1e-4).
_ABSENT = 2e-4
_NEAR_BOUND = 1e-3
_FEWEST_DRAWS, _LOSS_DRAWS = 20, 200
# Where the data fill less than this share of the params, the forecast says so.
_FILLED = 0.99

Variables = dict[str, float]
"""Params, tokens and flops at one point, by name; a law of one variable may leave others out."""


def extrapolate(
    fit: FitResult,
    target: Target,
    *,
    tokens_unique: float | None = None,
    level: float = 0.9,
    seed_noise_log: float | None = None,
    alternatives: Sequence[FitResult] = (),
    trust_flops_factor: float | None = None,
) -> Prediction:
    """Forecast at ``target``.

    One variable alone is completed compute-optimally; a target loss is reached as cheaply as
    possible. ``seed_noise_log`` is the standard deviation of log loss between seeds,
    ``alternatives`` are other laws fitted to the same points, ``trust_flops_factor`` is how far
    beyond the largest FLOPs held-out runs support the law. ``tokens_unique`` are the different
    tokens at hand, beyond which tokens are repeats (``forecast.repeats``, under any law of params
    and tokens). Raises ``ConfigError`` for a target that the law cannot read, ``FitError`` where
    it gives no answer.
    """
    given = target.given
    if not fit.usable:
        raise FitError(
            f"law {law_name(fit)} is {status_words(fit.status)}:"
            f" {fit.message or 'it has no parameters'}"
        )
    check_level(level)
    surface = _surface(fit)
    split, trouble = _split(fit, surface)
    at = _resolve(fit, given, split, trouble)
    seen = _seen(fit, given, at, tokens_unique)
    valued, repeated = _valued(fit, surface, at, tokens_unique, seen)
    interval = prediction_interval(
        fit, valued, level=level, seed_noise_log=seed_noise_log, alternatives=alternatives
    )
    beyond = _beyond(fit, at)
    doubts = [trouble, *interval.doubts, *_limits(fit, beyond, trust_flops_factor), *repeated]
    return Prediction(
        law=law_name(fit),
        form=fit.law.name,
        params=at.get("params"),
        tokens=at.get("tokens"),
        flops=at.get("flops"),
        tokens_unique=seen,
        **_optimum(fit, split, at, level),
        loss_nats=bounded_exp(log_loss(fit.law, fit.params, valued)),
        **_interval_fields(interval, level),
        beyond_data=beyond,
        below_data=_below(fit, at),
        flops_interval=_flops_interval(fit, given, level),
        convention={**fit.convention, "flops": "6nd"},
        interval_parts=interval.parts,
        source=fit.source,
        warnings=tuple(_warnings(fit, surface, at, doubts)),
        refused=_refusal(fit, beyond),
    )


def check_level(level: float) -> None:
    """Raises ``ConfigError`` for a confidence level out of range."""
    if not 0.5 <= level < 1:
        raise ConfigError(f"level {level}: expected in [0.5, 1)")


def _interval_fields(interval: PredictionInterval, level: float) -> dict[str, Any]:
    low, high = interval.nats or (None, None)
    return {"low_nats": low, "high_nats": high, "level": level if interval.nats else None}


def _of_both(fit: FitResult) -> bool:
    return {"params", "tokens"} <= set(fit.law.variables)


def _seen(
    fit: FitResult, given: Mapping[str, float], at: Variables, unique: float | None
) -> float | None:
    """The different tokens among the target's; None where they were not asked about."""
    if unique is None:
        return None
    if not unique > 0:
        raise ConfigError(f"unique tokens {unique:g}: expected above 0")
    if "tokens" not in at or not _of_both(fit):
        raise ConfigError(
            f"law {law_name(fit)} is not one of params and tokens: repeats cannot be valued under"
            " it; take another with --law"
        )
    if "target_loss" in given:
        raise ConfigError(
            "unique tokens with a target loss: expected params and tokens; what a loss takes where"
            " data repeat, slaw allocate --target-loss --unique-tokens says"
        )
    return min(unique, at["tokens"])


def _valued(
    fit: FitResult,
    surface: Surface | None,
    at: Variables,
    unique: float | None,
    seen: float | None,
) -> tuple[Variables, list[str]]:
    """The variables to evaluate the law at, with repeats at their worth, and doubts about it."""
    known = {**at, "tokens_unique": seen or at["tokens"]} if "tokens" in at else at
    if unique is None or seen is None:
        return known, []
    assert surface is not None, "the law is one of params and tokens"
    fitted = "tokens_unique" in fit.law.variables
    doubts = repeat_doubts(fitted or law_name(fit) == "muennighoff2023", at["tokens"], seen)
    params, tokens = repeats_under(fit.params, surface, unique).worth(at["params"], at["tokens"])
    if params < _FILLED * at["params"]:
        doubts.append(
            f"{format_count(at['params'])} params are more than {format_count(seen)} different"
            f" tokens fill: they count as {format_count(params)} (Muennighoff 2023, equation 6)"
        )
    if fitted:
        return known, doubts
    return {
        "params": params,
        "tokens": tokens,
        "flops": flops_6nd(params, tokens),
        "tokens_unique": tokens,
    }, doubts


def _limits(
    fit: FitResult, beyond: Mapping[str, float], trust_flops_factor: float | None
) -> list[str]:
    """What the fit itself says about how far it, or a law of one variable, may be used."""
    limits = []
    ratio = beyond.get("flops", 1.0)
    if fit.n_points and trust_flops_factor and ratio > trust_flops_factor:
        limits.append(
            f"beyond the {trust_flops_factor:g}x the largest FLOPs to which held-out runs support"
            f" the law ({rounded_count(ratio, 2)} times)"
        )
    names = fit.law.variables
    if fit.n_points and names in (("params",), ("tokens",)):
        other = "tokens" if names == ("params",) else "params"
        low, high = fit.data_range[other]
        limits.append(
            f"a law of {names[0]} alone: it holds for runs as the fitted ones, which had"
            f" {format_count(low)} to {format_count(high)} {other}; if those limited them, the"
            " forecast is too high"
        )
    return limits


def _optimum(fit: FitResult, split: Split | None, at: Variables, level: float) -> dict[str, Any]:
    """The fields of a ``Prediction`` that the compute-optimal split decides."""
    if split is None or "params" not in at or "flops" not in at:
        return {"params_optimal": None, "tokens_optimal": None}
    intervals = split_intervals(fit, split, at["flops"], level)
    return {
        "params_optimal": split.params(at["flops"]),
        "tokens_optimal": split.tokens(at["flops"]),
        "params_optimal_interval": intervals[0],
        "tokens_optimal_interval": intervals[1],
        "tokens_for_params": split.tokens_for_params(at["params"]),
        "tokens_for_params_interval": tokens_interval(fit, at["params"], level=level),
        "params_exponent": split.exponent,
        "params_exponent_interval": fit.optimum_intervals.get("a"),
    }


def _surface(fit: FitResult) -> Surface | None:
    try:
        return surface_of(fit.law, fit.params)
    except OverflowError:
        raise FitError(f"law {fit.law.name}: parameters too large to evaluate; refit it") from None


def _split(fit: FitResult, surface: Surface | None) -> tuple[Split | None, str]:
    """The compute-optimal split, or why there is none."""
    if surface is None:
        return None, ""
    if fit.n_points == 0 and fit.optimum:  # published, perhaps measured apart from the law
        return fit.optimum, ""
    absent = []
    form = fit.law.from_public(dict(fit.params))
    for name, (low, high) in fit.law.exponents.items():
        if form[name] <= low + _NEAR_BOUND or form[name] >= high - _NEAR_BOUND:
            absent.append(f"{name} = {form[name]:.3g} is at its bound")
    if {"params", "tokens"} <= fit.data_range.keys():
        middle = [math.sqrt(math.prod(fit.data_range[name])) for name in ("params", "tokens")]
        shares = surface.shares(*middle)
        absent += [
            f"the {name} term is {100 * shares[name]:.2g}% of the loss"
            for name in ("size", "data")
            if shares[name] < _ABSENT
        ]
    if absent or surface.split is None:
        why = "; ".join(absent) or "a term is missing"
        return None, f"no compute-optimal split ({why}): vary sizes and tokens more"
    return surface.split, ""


def _resolve(
    fit: FitResult, given: Mapping[str, float], split: Split | None, trouble: str
) -> Variables:
    """The target with all its variables. Raises ``ConfigError``, ``FitError``."""
    names = fit.law.variables
    if len(names) == 1:
        return _resolve_single(fit, given, names[0])
    known = {name: given[name] for name in ("params", "tokens", "flops") if name in given}
    loss = given.get("target_loss")
    if not given:
        refuse_together(given)
    if len(given) == 1 and split is None:
        raise FitError(f"{trouble}; or give both params and tokens")
    if loss is not None:
        _refuse_floor(fit, loss)
        return _reach(fit, loss, known, split)
    return _complete(known, split)


def _complete(known: Mapping[str, float], split: Split | None) -> Variables:
    """All three of params, tokens and flops under C = 6ND, from one (optimally) or two."""
    params, tokens, flops = known.get("params"), known.get("tokens"), known.get("flops")
    if len(known) == 1:
        assert split is not None, "the caller checks"
        if flops is not None:
            params = split.params(flops)
        elif params is not None:
            tokens = split.tokens_for_params(params)
        elif tokens is not None:
            params = split.params_for_tokens(tokens)
    if params is None:
        assert flops is not None and tokens is not None
        params = flops / 6 / tokens
    if tokens is None:
        assert flops is not None
        tokens = flops / 6 / params
    flops = flops_6nd(params, tokens) if flops is None else flops
    return {"params": params, "tokens": tokens, "flops": flops}


def _resolve_single(fit: FitResult, given: Mapping[str, float], name: str) -> Variables:
    if set(given) == {"params", "tokens"}:
        return _complete(given, None)
    if set(given) == {"target_loss"}:
        _refuse_floor(fit, given["target_loss"])
        value = _solve(
            lambda x: log_loss(fit.law, fit.params, {name: x}),
            given["target_loss"],
            _amount(fit, given["target_loss"]),
            f"any {name}",
        )
        return {name: value}
    if set(given) != {name}:
        raise ConfigError(
            f"law {law_name(fit)} knows {name} only; {', '.join(given) or 'no target'} given: "
            f"expected {name}, target loss, or params and tokens"
        )
    return {name: given[name]}


def _refuse_floor(fit: FitResult, loss: float) -> None:
    """Raises ``FitError`` for a loss at or below the irreducible loss, or within its interval."""
    unit = amount_unit(fit.convention.get("loss", NATS))
    for name in ("E", "L_inf"):
        if name not in fit.params:
            continue
        if loss <= fit.params[name]:
            raise FitError(
                f"a loss of {loss:.6g} {unit} is at or below the irreducible loss {name} = "
                f"{fit.params[name]:.6g}: no compute reaches it under law {law_name(fit)}"
            )
        low, high = fit.intervals.get(name, (0.0, 0.0))
        if loss <= high:
            raise FitError(
                f"a loss of {loss:g} {unit} lies within the interval of the irreducible loss {name}"
                f" ({bound_words(low, '.3g')} to {bound_words(high, '.3g')}): the data cannot say "
                "whether it can be reached"
            )


def _reach(
    fit: FitResult, loss: float, known: Mapping[str, float], split: Split | None
) -> Variables:
    """The cheapest point with this loss, or the one at the size or tokens that are known."""
    free = "flops"
    if known:
        free = "tokens" if "params" in known else "params"

    def at(value: float) -> float:
        point = _complete({**known, free: value}, split)
        return log_loss(fit.law, fit.params, {**point, "tokens_unique": point["tokens"]})

    fixed = [f"{format_count(value)} {name} and " for name, value in known.items()]
    solved = _solve(at, loss, _amount(fit, loss), f"{''.join(fixed)}any {free}")
    return _complete({**known, free: solved}, split)


def _amount(fit: FitResult, loss: float) -> str:
    """A loss with its unit."""
    return f"{loss:.12g} {amount_unit(fit.convention.get('loss', NATS))}"


def _solve(log_loss_at: Callable[[float], float], loss: float, amount: str, where: str) -> float:
    """The value at which a falling log loss is log(loss), ``amount`` with its unit.

    Raises ``FitError`` if there is none.
    """
    low, high, goal = 0.0, math.log(LARGEST), math.log(loss)
    if log_loss_at(LARGEST) >= goal:
        least = bounded_exp(log_loss_at(LARGEST))
        raise FitError(f"a loss of {amount} is out of reach at {where}: at best {least:.9g}")
    if log_loss_at(1.0) <= goal:
        raise FitError(f"a loss of {amount} is above what the law gives at {where}")
    return math.exp(root(lambda x: log_loss_at(math.exp(x)) - goal, low, high))


def _beyond(fit: FitResult, at: Variables) -> dict[str, float]:
    """Target / largest fitted value by variable, where both are known."""
    return {
        name: at[name] / fit.data_range[name][1]
        for name in ("params", "tokens", "flops")
        if name in fit.data_range and name in at
    }


def _below(fit: FitResult, at: Variables) -> dict[str, float]:
    """Smallest fitted value / target by variable, where the target is smaller."""
    return {
        name: fit.data_range[name][0] / at[name]
        for name in ("params", "tokens", "flops")
        if name in fit.data_range and name in at and at[name] < fit.data_range[name][0]
    }


def _flops_interval(
    fit: FitResult, given: Mapping[str, float], level: float
) -> tuple[float, float] | None:
    """Compute at which the target loss is reached, over the fit's samples; inf where never.

    None unless a target loss is given alone under a law with an optimum and samples.
    """
    loss = given.get("target_loss")
    if loss is None or len(given) > 1 or len(fit.samples) < _FEWEST_DRAWS:
        return None
    draws = []
    for values in fit.samples[:_LOSS_DRAWS]:
        params = dict(zip(fit.params, values, strict=True))
        sample = dataclasses.replace(fit, params=params, intervals={}, optimum=None)
        try:
            surface = surface_of(fit.law, params)
            cheapest = _reach(sample, loss, {}, surface.split if surface else None)
            draws.append(math.log(cheapest["flops"] or math.inf))
        except (AssertionError, FitError, OverflowError, ValueError):
            draws.append(math.inf)
    draws.sort()
    ends = [draws[round(q * (len(draws) - 1))] for q in (0.5 - level / 2, 0.5 + level / 2)]
    return bounded_exp(ends[0]), bounded_exp(ends[1]) if ends[1] < math.inf else math.inf


def _farthest(beyond: Mapping[str, float]) -> tuple[str, float]:
    """The distance that decides: in FLOPs where known, else the largest."""
    if "flops" in beyond:
        return "flops", beyond["flops"]
    return max(beyond.items(), key=lambda item: item[1], default=("", 1.0))


def _warnings(
    fit: FitResult, surface: Surface | None, at: Variables, doubts: Sequence[str]
) -> list[str]:
    beyond = _beyond(fit, at)
    bound = f"a parameter is at its bound: {fit.message}" if fit.status == "at_bound" else ""
    every = [bound, *_distance_warnings(fit, at, beyond), *doubts]
    return [words for words in [*every, *_floor_warning(surface, at, beyond)] if words]


def _distance_warnings(fit: FitResult, at: Variables, beyond: Mapping[str, float]) -> list[str]:
    warnings = []
    for words, least, most in (("far beyond", TOO_FAR, math.inf), ("beyond", FAR, TOO_FAR)):
        listed = [
            f"{name} {rounded_count(ratio, 2)} times ({math.log10(ratio):.1f} orders of magnitude)"
            for name, ratio in beyond.items()
            if least < ratio <= most
        ]
        if listed:
            warnings.append(f"{words} the largest fitted values: {', '.join(listed)}")
    below = [f"{name} {ratio:.2g} times" for name, ratio in _below(fit, at).items() if ratio > 1.5]
    if below:
        warnings.append(f"below the smallest fitted values: {', '.join(below)}; small models stray")
    return warnings


def _floor_warning(
    surface: Surface | None, at: Variables, beyond: Mapping[str, float]
) -> list[str]:
    if surface is None or _farthest(beyond)[1] <= FAR:
        return []
    share = surface.shares(at["params"], at["tokens"])["floor"]
    if share > 0.5:
        return [f"{100 * share:.0f}% of the figure is the irreducible loss, the least certain part"]
    if surface.floor == 0:
        return ["the law has no irreducible loss: far beyond the data it is optimistic"]
    return []


def _refusal(fit: FitResult, beyond: Mapping[str, float]) -> str:
    name, ratio = _farthest(beyond)
    if ratio <= TOO_FAR:
        return ""
    largest = f"largest run {format_count(fit.data_range[name][1], 2)} {name}"
    what = "a sweep this small" if fit.n_points else "the published data"
    if not fit.samples:
        return (
            f"{math.log10(ratio):.1f} orders of magnitude beyond {what} ({largest}), and no"
            " interval is known: the formula's value, not a forecast"
        )
    return (
        f"{what} ({largest}) does not support a figure {math.log10(ratio):.1f} orders of magnitude"
        " beyond it: quote the range, never its middle"
    )
