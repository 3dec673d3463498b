"""Forecasts the loss at a target, under one law or over the worlds of several.

The interval is that of one new run's loss; ``forecast.outlook`` says what it rests on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from scaling_law.errors import ConfigError, FitError
from scaling_law.files.record import NATS, amount_unit
from scaling_law.fit.flops_count import GIVEN, FlopsCount
from scaling_law.fit.result import FitResult, Prediction, status_words
from scaling_law.fit.solver.interval import PredictionInterval
from scaling_law.fit.solver.scalar import root
from scaling_law.fit.split import BestSplit, bounded_exp
from scaling_law.fit.worlds import Worlds
from scaling_law.forecast.outlook import Outlook, outlook_of
from scaling_law.forecast.published import law_name
from scaling_law.forecast.repeats import repeat_doubts
from scaling_law.forecast.target import LARGEST, Target, refuse_together
from scaling_law.spec.counts import flops_6nd
from scaling_law.units import format_count, rounded_count

# Beyond these factors in FLOPs (or in the farthest variable) a forecast carries a warning, then is
# refused.
FAR, TOO_FAR = 10.0, 1000.0
# Where the data fill less than this share of the params, the forecast says so.
_FILLED = 0.99
# A target within this factor of the largest run is at that run, as figures are rounded.
_SAME = 1.001
_NO_RANGE = "no interval is known: the formula's value, not a forecast"

Variables = dict[str, float]
"""Params, tokens and flops at one point, by name; a law of one variable may leave others out."""


def extrapolate(
    fit: FitResult,
    target: Target,
    *,
    worlds: Worlds | None = None,
    tokens_unique: float | None = None,
    level: float = 0.9,
    seed_noise_log: float | None = None,
    trust_flops_factor: float | None = None,
    missed: str = "",
) -> Prediction:
    """Forecast at ``target``: over ``worlds``, or without them under the law ``fit`` alone.

    One variable alone is completed compute-optimally; a target loss is reached as cheaply as
    possible. ``seed_noise_log`` is the standard deviation of log loss between seeds (worlds have
    their own), ``trust_flops_factor`` is how far beyond the largest FLOPs held-out runs support the
    law, ``missed`` the verdict of held-out runs that say not to extrapolate it at all: of a target
    beyond the data only the range may then be quoted. ``tokens_unique`` are the different tokens at
    hand, beyond which tokens are repeats (``forecast.repeats``, under any law of params and
    tokens). Raises ``ConfigError`` for a target that the law cannot read, ``FitError`` where it
    gives no answer.
    """
    given = target.given
    if not fit.usable:
        raise FitError(
            f"law {law_name(fit)}, {status_words(fit.status)}:"
            f" {fit.message or 'it has no parameters'}"
        )
    check_level(level)
    outlook = outlook_of(fit, worlds, seed_noise_log=seed_noise_log)
    at = _resolve(fit, outlook, given)
    loss = given.get("target_loss")
    reach = [] if loss is None else outlook.check_reach(loss)
    seen = _seen(fit, given, at, tokens_unique)
    valued, repeated = _valued(fit, outlook, at, tokens_unique, seen)
    interval = outlook.interval(valued, level)
    shown = _counted(fit, at)
    beyond = _beyond(fit, shown)
    limits = _limits(fit, beyond, trust_flops_factor, missed)
    doubts = [outlook.trouble, *reach, *interval.doubts, *limits, *repeated]
    if _farthest(beyond)[1] > FAR:
        doubts += outlook.floor_doubts(at)
    return Prediction(
        law=law_name(fit),
        form=fit.law.name,
        params=at.get("params"),
        tokens=at.get("tokens"),
        flops=shown.get("flops"),
        tokens_unique=seen,
        **outlook.optimum(at, level),
        loss_nats=bounded_exp(outlook.log_loss(valued)),
        **_interval_fields(interval, level),
        **outlook.causes(valued),
        beyond_data=beyond,
        below_data=_below(fit, shown),
        flops_interval=_flops_interval(fit, outlook, at, loss, level) if len(given) == 1 else None,
        convention={
            **fit.convention,
            "flops": fit.convention.get("flops", GIVEN) if fit.flops_over_6nd else "6nd",
        },
        interval_parts=interval.parts,
        source=fit.source,
        warnings=tuple(_warnings(fit, shown, doubts)),
        refused=_refusal(fit, beyond, missed),
    )


def counted_as(fit: FitResult) -> FlopsCount:
    """How the FLOPs of the law's points, and so of a target, are counted."""
    return FlopsCount(fit.flops_over_6nd)


def _counted(fit: FitResult, at: Variables) -> Variables:
    """``at`` with FLOPs as the law's points count them; the law of FLOPs alone has them so."""
    if "flops" in fit.law.variables or not {"flops", "params"} <= at.keys():
        return at
    return {**at, "flops": at["flops"] * counted_as(fit).factor(at["params"])}


def _flops_interval(
    fit: FitResult, outlook: Outlook, at: Variables, loss: float | None, level: float
) -> tuple[float, float] | None:
    interval = outlook.flops_interval(loss, level) if loss else None
    if interval is None or "params" not in at:
        return interval
    factor = counted_as(fit).factor(at["params"])
    return interval[0] * factor, interval[1] * factor


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
    outlook: Outlook,
    at: Variables,
    unique: float | None,
    seen: float | None,
) -> tuple[Variables, list[str]]:
    """The variables to evaluate the law at, with repeats at their worth, and doubts about it."""
    known = {**at, "tokens_unique": seen or at["tokens"]} if "tokens" in at else at
    if unique is None or seen is None:
        return known, []
    fitted = "tokens_unique" in fit.law.variables
    doubts = repeat_doubts(fitted or law_name(fit) == "muennighoff2023", at["tokens"], seen)
    params, tokens = outlook.repeats(unique).worth(at["params"], at["tokens"])
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
    fit: FitResult, beyond: Mapping[str, float], trust_flops_factor: float | None, missed: str
) -> list[str]:
    """What the fit itself says about how far it, or a law of one variable, may be used."""
    limits = []
    ratio = beyond.get("flops", 1.0)
    if fit.n_points and trust_flops_factor and ratio > trust_flops_factor:
        limits.append(
            f"beyond the {trust_flops_factor:g}x the largest FLOPs to which held-out runs support"
            f" the law ({rounded_count(ratio, 2)} times)"
        )
    elif fit.n_points and trust_flops_factor is None and ratio > 1 and not missed:
        limits.append("no held-out runs support the law beyond its own runs (slaw validate)")
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


def _resolve(fit: FitResult, outlook: Outlook, given: Mapping[str, float]) -> Variables:
    """The target with all its variables. Raises ``ConfigError``, ``FitError``."""
    names = fit.law.variables
    if len(names) == 1:
        return _resolve_single(fit, outlook, given, names[0])
    known = {name: given[name] for name in ("params", "tokens", "flops") if name in given}
    loss = given.get("target_loss")
    if not given:
        refuse_together(given)
    if len(given) == 1 and outlook.split is None:
        raise FitError(f"{outlook.trouble}; or give both params and tokens")
    if loss is not None:
        outlook.check_reach(loss)
        return _reach(fit, outlook, loss, known)
    return _complete(_in_6nd(known, outlook.split, counted_as(fit)), outlook.split)


def _in_6nd(
    known: Mapping[str, float], split: BestSplit | None, count: FlopsCount
) -> Mapping[str, float]:
    """``known`` with its FLOPs, which are counted as the law's points count them, as 6ND."""
    if "flops" not in known:
        return known
    params, tokens = known.get("params"), known.get("tokens")

    def params_of(flops: float) -> float:
        if params is not None:
            return params
        if tokens is not None:
            return flops / 6 / tokens
        assert split is not None, "the caller checks"
        return split.params(flops)

    return {**known, "flops": count.in_6nd(known["flops"], params_of)}


def _complete(known: Mapping[str, float], split: BestSplit | None) -> Variables:
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


def _resolve_single(
    fit: FitResult, outlook: Outlook, given: Mapping[str, float], name: str
) -> Variables:
    if set(given) == {"params", "tokens"}:
        at = _complete(given, None)
        if name == "flops":  # the law has them as its points count them
            at["flops"] *= counted_as(fit).factor(at["params"])
        return at
    if set(given) == {"target_loss"}:
        outlook.check_reach(given["target_loss"])
        value = _solve(
            lambda x: outlook.log_loss({name: x}),
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


def _reach(fit: FitResult, outlook: Outlook, loss: float, known: Mapping[str, float]) -> Variables:
    """The cheapest point with this loss, or the one at the size or tokens that are known."""
    free = "flops"
    if known:
        free = "tokens" if "params" in known else "params"

    def at(value: float) -> float:
        point = _complete({**known, free: value}, outlook.split)
        return outlook.log_loss({**point, "tokens_unique": point["tokens"]})

    fixed = [f"{format_count(value)} {name} and " for name, value in known.items()]
    solved = _solve(at, loss, _amount(fit, loss), f"{''.join(fixed)}any {free}")
    return _complete({**known, free: solved}, outlook.split)


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


def _farthest(beyond: Mapping[str, float]) -> tuple[str, float]:
    """The distance that decides: in FLOPs where known, else the largest."""
    if "flops" in beyond:
        return "flops", beyond["flops"]
    return max(beyond.items(), key=lambda item: item[1], default=("", 1.0))


def _warnings(fit: FitResult, at: Variables, doubts: Sequence[str]) -> list[str]:
    bound = f"a parameter is at its bound: {fit.message}" if fit.status == "at_bound" else ""
    every = [bound, *_distance_warnings(fit, at, _beyond(fit, at)), *doubts]
    return [words for words in every if words]


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


def _refusal(fit: FitResult, beyond: Mapping[str, float], missed: str) -> str:
    name, ratio = _farthest(beyond)
    too_far = _too_far(fit, name, ratio) if ratio > TOO_FAR else ""
    if too_far and not fit.samples:
        return too_far
    missed = missed if ratio > _SAME else ""
    what = "; ".join(why for why in (missed, too_far) if why)
    if not what:
        return ""
    return f"{what}: {'quote the range, never its middle' if fit.samples else _NO_RANGE}"


def _too_far(fit: FitResult, name: str, ratio: float) -> str:
    """Why a target ``ratio`` times beyond the largest run in ``name`` has no figure."""
    largest = f"largest run {format_count(fit.data_range[name][1], 2)} {name}"
    what = "a sweep this small" if fit.n_points else "the published data"
    orders = f"{math.log10(ratio):.1f} orders of magnitude"
    if not fit.samples:
        return f"{orders} beyond {what} ({largest}), and {_NO_RANGE}"
    return f"{what} ({largest}) does not support a figure {orders} beyond it"
