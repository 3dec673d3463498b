"""A fitted or published law and a target -> a forecast with its interval and its distance.

The interval is for the loss of one new run; ``fit.solver.interval`` says how it is made.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from scipy import optimize

from scaling_law.errors import ConfigError, FitError
from scaling_law.fit.laws import load_law
from scaling_law.fit.result import FitResult, Prediction, bound_words, status_words
from scaling_law.fit.solver.interval import Spread, log_loss, prediction_interval, tokens_interval
from scaling_law.fit.solver.split import split_intervals
from scaling_law.fit.surface import Allocation, Surface, bounded_exp, surface_of
from scaling_law.forecast.published import law_name
from scaling_law.forecast.repeats import repeat_doubts, repeats_under
from scaling_law.spec.counts import flops_6nd
from scaling_law.units import format_count, rounded_count

# Beyond these factors in FLOPs (or the farthest variable) a forecast is warned about, refused.
FAR, TOO_FAR = 10.0, 1000.0
# A term below this share of the loss amid the data is not there (the solver's bound is 1e-4).
_ABSENT = 2e-4
_NEAR_BOUND = 1e-3
# No budget, model or corpus is larger: what needs more cannot be reached.
LARGEST = 1e60
_FEWEST_DRAWS, _LOSS_DRAWS = 20, 200
_FILLED = 0.99  # of the params: below, their excess over what the data fill is told


@dataclass(frozen=True)
class _Target:
    """Where to predict; None where a law of one variable leaves it open."""

    params: float | None = None
    tokens: float | None = None
    flops: float | None = None
    tokens_unique: float | None = None

    @property
    def known(self) -> dict[str, float]:
        """The variables that are set, by name; tokens are all different unless said."""
        every = {
            "params": self.params,
            "tokens": self.tokens,
            "flops": self.flops,
            "tokens_unique": self.tokens_unique or self.tokens,
        }
        return {name: value for name, value in every.items() if value is not None}


def extrapolate(
    fit: FitResult,
    *,
    params: float | None = None,
    tokens: float | None = None,
    flops: float | None = None,
    target_loss: float | None = None,
    tokens_unique: float | None = None,
    level: float = 0.9,
    seed_noise_log: float | None = None,
    alternatives: Sequence[FitResult] = (),
    trust_flops_factor: float | None = None,
) -> Prediction:
    """Forecast at a target: a size, tokens, FLOPs (6ND), a loss in nats, or two of them.

    One alone is completed compute-optimally; a target loss is reached as cheaply as possible.
    ``seed_noise_log`` is the standard deviation of log loss between seeds, ``alternatives``
    other laws fitted to the same points, ``trust_flops_factor`` how far beyond the largest
    FLOPs held-out runs support the law; ``tokens_unique`` the different tokens at hand, beyond
    which ``tokens`` are repeats (``forecast.repeats``, under any law of params and tokens).
    Raises ``ConfigError`` for a target that cannot be read, ``FitError`` when none is known.
    """
    given = {"params": params, "tokens": tokens, "flops": flops, "target_loss": target_loss}
    asked = {name: float(value) for name, value in given.items() if value is not None}
    _check(fit, asked, level)
    surface = _surface(fit)
    split, trouble = _allocation(fit, surface)
    target = _with_unique(fit, asked, _resolve(fit, asked, split, trouble), tokens_unique)
    valued, repeated = _valued(fit, surface, target, tokens_unique)
    spread = prediction_interval(
        fit, valued, level=level, seed_noise_log=seed_noise_log, alternatives=alternatives
    )
    beyond = _beyond(fit, target)
    doubts = [trouble, *spread.doubts, *_limits(fit, beyond, trust_flops_factor), *repeated]
    return Prediction(
        law=law_name(fit),
        form=fit.law,
        **dataclasses.asdict(target),
        **_optimum(fit, split, target, level),
        loss_nats=bounded_exp(log_loss(fit.law, fit.params, valued)),
        **_interval(spread, level),
        beyond_data=beyond,
        below_data=_below(fit, target),
        flops_interval=_flops_interval(fit, asked, level),
        convention={**fit.convention, "flops": "6nd"},
        interval_parts=spread.parts,
        source=fit.source,
        warnings=tuple(_warnings(fit, surface, target, doubts)),
        refused=_refusal(fit, beyond),
    )


def _interval(spread: Spread, level: float) -> dict[str, Any]:
    low, high = spread.nats or (None, None)
    return {"low_nats": low, "high_nats": high, "level": level if spread.nats else None}


def _with_unique(
    fit: FitResult, asked: Mapping[str, float], target: _Target, unique: float | None
) -> _Target:
    if unique is None:
        return target
    if not unique > 0:
        raise ConfigError(f"unique tokens {unique:g}: expected above 0")
    if target.tokens is None or not {"params", "tokens"} <= set(load_law(fit.law).variables):
        raise ConfigError(
            f"law {law_name(fit)} is not one of params and tokens: repeats cannot be valued under"
            " it; take another with --law"
        )
    if "target_loss" in asked:
        raise ConfigError(
            "unique tokens with a target loss: expected params and tokens; what a loss takes where"
            " data repeat, slaw allocate --target-loss --unique-tokens says"
        )
    return dataclasses.replace(target, tokens_unique=min(unique, target.tokens))


def _valued(
    fit: FitResult, surface: Surface | None, target: _Target, unique: float | None
) -> tuple[dict[str, float], list[str]]:
    """The variables that the law is asked at, repeats at their worth, and what to know of that."""
    known, seen = target.known, target.tokens_unique
    if unique is None or seen is None:
        return known, []
    assert surface is not None and target.params is not None and target.tokens is not None
    fitted = "tokens_unique" in load_law(fit.law).variables
    doubts = repeat_doubts(fitted or law_name(fit) == "muennighoff2023", target.tokens, seen)
    worth = repeats_under(fit.params, surface, unique).worth(target.params, target.tokens)
    if worth[0] < _FILLED * target.params:
        doubts.append(
            f"{format_count(target.params)} params are more than {format_count(seen)} different"
            f" tokens fill: they count as {format_count(worth[0])} (Muennighoff 2023, equation 6)"
        )
    if fitted:
        return known, doubts
    params, tokens = worth
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
    found = []
    ratio = beyond.get("flops", 1.0)
    if fit.n_points and trust_flops_factor and ratio > trust_flops_factor:
        found.append(
            f"beyond the {trust_flops_factor:g}x the largest FLOPs to which held-out runs support"
            f" the law ({rounded_count(ratio, 2)} times)"
        )
    names = load_law(fit.law).variables
    if fit.n_points and names in (("params",), ("tokens",)):
        other = "tokens" if names == ("params",) else "params"
        low, high = fit.data_range[other]
        found.append(
            f"a law of {names[0]} alone: it holds for runs as the fitted ones, which had"
            f" {format_count(low)} to {format_count(high)} {other}; if those limited them, the"
            " forecast is too high"
        )
    return found


def _optimum(
    fit: FitResult, split: Allocation | None, target: _Target, level: float
) -> dict[str, Any]:
    """What of a ``Prediction`` the compute-optimal split decides."""
    found: dict[str, Any] = {"params_optimal": None, "tokens_optimal": None}
    if split is None or target.params is None or target.flops is None:
        return found
    intervals = split_intervals(fit, split, target.flops, level)
    return {
        "params_optimal": split.params(target.flops),
        "tokens_optimal": split.tokens(target.flops),
        "params_optimal_interval": intervals[0],
        "tokens_optimal_interval": intervals[1],
        "tokens_for_params": split.tokens_for_params(target.params),
        "tokens_for_params_interval": tokens_interval(fit, target.params, level=level),
        "params_exponent": split.exponent,
        "params_exponent_interval": fit.optimum_intervals.get("a"),
    }


def check_request(asked: Collection[str], level: float) -> None:
    """What is wrong under any law of two variables or more, known without one.

    ``asked`` names what is given of the target. Raises ``ConfigError``.
    """
    if not 0.5 <= level < 1:
        raise ConfigError(f"level {level}: expected in [0.5, 1)")
    if len(asked) > 2 or {"target_loss", "flops"} <= set(asked):
        _refuse_together(asked)


def _refuse_together(asked: Collection[str]) -> NoReturn:
    raise ConfigError(
        f"{', '.join(asked) or 'no target'} given: expected one of params, tokens, flops, "
        "target loss, or params or tokens with one more (not flops with target loss)"
    )


def _check(fit: FitResult, asked: Mapping[str, float], level: float) -> None:
    if not fit.usable:
        raise FitError(
            f"law {law_name(fit)} is {status_words(fit.status)}:"
            f" {fit.message or 'it has no parameters'}"
        )
    check_request(asked, level)
    for name, value in asked.items():
        if not (math.isfinite(value) and value > 0):
            raise ConfigError(f"{name} is {value}: expected above 0 and finite")
        if value > LARGEST:
            raise ConfigError(f"{name} is {value:g}: expected at most {LARGEST:g}")
        if value < 1 and name != "target_loss":
            raise ConfigError(f"{name} is {value:g}: expected at least 1")


def _surface(fit: FitResult) -> Surface | None:
    try:
        return surface_of(fit.law, fit.params)
    except OverflowError:
        raise FitError(f"law {fit.law}: parameters too large to evaluate; refit it") from None


def _allocation(fit: FitResult, surface: Surface | None) -> tuple[Allocation | None, str]:
    """The compute-optimal split, or why there is none."""
    if surface is None:
        return None, ""
    if fit.n_points == 0 and fit.optimum:  # published, perhaps measured apart from the law
        return Allocation(fit.optimum["a"], math.log(fit.optimum["G"])), ""
    law, absent = load_law(fit.law), []
    for name, (low, high) in law.exponents.items():
        value = law.from_public(dict(fit.params))[name]
        if value <= low + _NEAR_BOUND or value >= high - _NEAR_BOUND:
            absent.append(f"{name} = {value:.3g} is at its bound")
    if {"params", "tokens"} <= fit.data_range.keys():
        amid = [math.sqrt(math.prod(fit.data_range[name])) for name in ("params", "tokens")]
        shares = surface.shares(*amid)
        absent += [
            f"the {name} term is {100 * shares[name]:.2g}% of the loss"
            for name in ("size", "data")
            if shares[name] < _ABSENT
        ]
    if absent or surface.allocation is None:
        why = "; ".join(absent) or "a term is missing"
        return None, f"no compute-optimal split ({why}): vary sizes and tokens more"
    return surface.allocation, ""


def _resolve(
    fit: FitResult, asked: Mapping[str, float], split: Allocation | None, trouble: str
) -> _Target:
    """The target with all its variables. Raises ``ConfigError``, ``FitError``."""
    names = load_law(fit.law).variables
    if len(names) == 1:
        return _resolve_single(fit, asked, names[0])
    known = {name: asked[name] for name in ("params", "tokens", "flops") if name in asked}
    loss = asked.get("target_loss")
    if not asked:
        _refuse_together(asked)
    if len(asked) == 1 and split is None:
        raise FitError(f"{trouble}; or give both params and tokens")
    if loss is not None:
        _refuse_floor(fit, loss)
        return _reach(fit, loss, known, split)
    return _complete(known, split)


def _complete(known: Mapping[str, float], split: Allocation | None) -> _Target:
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
    return _Target(params, tokens, flops_6nd(params, tokens) if flops is None else flops)


def _resolve_single(fit: FitResult, asked: Mapping[str, float], name: str) -> _Target:
    if set(asked) == {"params", "tokens"}:
        return _complete(asked, None)
    if set(asked) == {"target_loss"}:
        _refuse_floor(fit, asked["target_loss"])
        value = _solve(
            lambda x: log_loss(fit.law, fit.params, {name: x}),
            asked["target_loss"],
            f"any {name}",
        )
        return _Target(**{name: value})
    if set(asked) != {name}:
        raise ConfigError(
            f"law {law_name(fit)} knows {name} only; {', '.join(asked) or 'no target'} given: "
            f"expected {name}, target loss, or params and tokens"
        )
    return _Target(**{name: asked[name]})


def _refuse_floor(fit: FitResult, loss: float) -> None:
    """Refuse a loss that the irreducible one, or its interval, does not let be reached."""
    for name in ("E", "L_inf"):
        if name not in fit.params:
            continue
        if loss <= fit.params[name]:
            raise FitError(
                f"a loss of {loss:.6g} nats is at or below the irreducible loss {name} = "
                f"{fit.params[name]:.6g}: no compute reaches it under law {law_name(fit)}"
            )
        low, high = fit.intervals.get(name, (0.0, 0.0))
        if loss <= high:
            raise FitError(
                f"a loss of {loss:g} nats lies within the interval of the irreducible loss {name} "
                f"({bound_words(low, '.3g')} to {bound_words(high, '.3g')}): the data cannot say "
                "whether it can be reached"
            )


def _reach(
    fit: FitResult, loss: float, known: Mapping[str, float], split: Allocation | None
) -> _Target:
    """The cheapest target with this loss, or the one at the size or tokens that are known."""
    free = "flops"
    if known:
        free = "tokens" if "params" in known else "params"

    def at(value: float) -> float:
        return log_loss(fit.law, fit.params, _complete({**known, free: value}, split).known)

    fixed = [f"{format_count(value)} {name} and " for name, value in known.items()]
    return _complete({**known, free: _solve(at, loss, f"{''.join(fixed)}any {free}")}, split)


def _solve(log_loss_at: Callable[[float], float], loss: float, where: str) -> float:
    """The value at which a falling log loss is log(loss). Raises ``FitError`` if none is."""
    low, high, goal = 0.0, math.log(LARGEST), math.log(loss)
    if log_loss_at(LARGEST) >= goal:
        least = bounded_exp(log_loss_at(LARGEST))
        raise FitError(
            f"a loss of {loss:.12g} nats is out of reach at {where}: at best {least:.9g}"
        )
    if log_loss_at(1.0) <= goal:
        raise FitError(f"a loss of {loss:g} nats is above what the law gives at {where}")
    found = optimize.brentq(lambda x: log_loss_at(math.exp(x)) - goal, low, high, xtol=1e-12)
    return math.exp(found)


def _beyond(fit: FitResult, target: _Target) -> dict[str, float]:
    """Target / largest fitted value by variable, where both are known."""
    return {
        name: getattr(target, name) / fit.data_range[name][1]
        for name in ("params", "tokens", "flops")
        if name in fit.data_range and getattr(target, name) is not None
    }


def _below(fit: FitResult, target: _Target) -> dict[str, float]:
    """Smallest fitted value / target by variable, where the target is smaller."""
    known = target.known
    return {
        name: fit.data_range[name][0] / known[name]
        for name in ("params", "tokens", "flops")
        if name in fit.data_range and name in known and known[name] < fit.data_range[name][0]
    }


def _flops_interval(
    fit: FitResult, asked: Mapping[str, float], level: float
) -> tuple[float, float] | None:
    """Compute at which the target loss is reached, over the fit's samples; inf where never.

    None unless a target loss is asked for alone under a law with an optimum and samples.
    """
    loss = asked.get("target_loss")
    if loss is None or len(asked) > 1 or len(fit.samples) < _FEWEST_DRAWS:
        return None
    names, found = tuple(fit.params), []
    for values in fit.samples[:_LOSS_DRAWS]:
        params = dict(zip(names, values, strict=True))
        sample = dataclasses.replace(fit, params=params, intervals={}, optimum={})
        try:
            split = surface_of(fit.law, params)
            cheapest = _reach(sample, loss, {}, split.allocation if split else None)
            found.append(math.log(cheapest.flops or math.inf))
        except (AssertionError, FitError, OverflowError, ValueError):
            found.append(math.inf)
    found.sort()
    ends = [found[round(q * (len(found) - 1))] for q in (0.5 - level / 2, 0.5 + level / 2)]
    return bounded_exp(ends[0]), bounded_exp(ends[1]) if ends[1] < math.inf else math.inf


def _farthest(beyond: Mapping[str, float]) -> tuple[str, float]:
    """The distance that decides: in FLOPs where known, else the largest."""
    if "flops" in beyond:
        return "flops", beyond["flops"]
    return max(beyond.items(), key=lambda item: item[1], default=("", 1.0))


def _warnings(
    fit: FitResult, surface: Surface | None, target: _Target, doubts: Sequence[str]
) -> list[str]:
    beyond = _beyond(fit, target)
    bound = f"a parameter is at its bound: {fit.message}" if fit.status == "at_bound" else ""
    found = [bound, *_distance_warnings(fit, target, beyond), *doubts]
    return [words for words in [*found, *_floor_warning(surface, target, beyond)] if words]


def _distance_warnings(fit: FitResult, target: _Target, beyond: Mapping[str, float]) -> list[str]:
    found = []
    for words, least, most in (("far beyond", TOO_FAR, math.inf), ("beyond", FAR, TOO_FAR)):
        listed = [
            f"{name} {rounded_count(ratio, 2)} times ({math.log10(ratio):.1f} orders of magnitude)"
            for name, ratio in beyond.items()
            if least < ratio <= most
        ]
        if listed:
            found.append(f"{words} the largest fitted values: {', '.join(listed)}")
    below = [
        f"{name} {ratio:.2g} times" for name, ratio in _below(fit, target).items() if ratio > 1.5
    ]
    if below:
        found.append(f"below the smallest fitted values: {', '.join(below)}; small models stray")
    return found


def _floor_warning(
    surface: Surface | None, target: _Target, beyond: Mapping[str, float]
) -> list[str]:
    if surface is None or _farthest(beyond)[1] <= FAR:
        return []
    assert target.params is not None and target.tokens is not None
    share = surface.shares(target.params, target.tokens)["floor"]
    if share > 0.5:
        return [f"{100 * share:.0f}% of the figure is the irreducible loss, known least of all"]
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
