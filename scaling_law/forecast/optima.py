"""Finds what to train under any law in params and tokens, given as a plain function.

Training costs 6 N D FLOPs (Kaplan 2020, arXiv 2001.08361, section 2.1). Nothing here uses a
closed form: each answer is a minimum in one variable, located on a coarse grid of log params and
then refined. ``surface.Surface`` has the closed form of the simple laws; the tests compare both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from scaling_law.errors import ConfigError, FitError
from scaling_law.fit.solver.scalar import minimum, root

Loss = Callable[[float, float], float]
"""Maps (params, tokens) to the natural logarithm of the loss in nats per token."""

MOST_FLOPS = 1e60
"""The FLOPs at which a law's lowest loss is read, and the most params, tokens or FLOPs searched."""
_LOG_MOST = math.log(MOST_FLOPS)
# Used in place of infinity, which the minimiser's interpolation would turn into NaN.
_UNREACHABLE = 1e9
_GRID = 240
# Step in log params of the derivative that refines the last digits: the place of a minimum is only
# exact to the square root of the rounding error, the zero of the derivative to the error itself.
_STEP = 0.02
_SHRINK = (1.0, 0.75, 0.5, 0.35, 0.25)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A model to train.

    ``params``: its parameters.
    ``tokens``: its training tokens.
    ``flops``: training FLOPs: 6 x params x tokens, in an answer as the law's points count them.
    ``loss_nats``: the law's loss, in nats per token.
    ``tokens_per_param``: tokens over params.
    ``kind``: the question that it answers.
    ``extra``: figures that only this question has, by name.
    """

    params: float
    tokens: float
    flops: float
    loss_nats: float
    tokens_per_param: float
    kind: str
    extra: dict[str, float] = field(default_factory=dict)


def choice_at(
    params: float,
    tokens: float,
    log_loss: float,
    kind: str,
    extra: Mapping[str, float] | None = None,
) -> Choice:
    """Return the choice of these parameters and tokens; ``log_loss`` is the law's there."""
    return Choice(
        params=params,
        tokens=tokens,
        flops=6 * params * tokens,
        loss_nats=math.exp(log_loss),
        tokens_per_param=tokens / params,
        kind=kind,
        extra=dict(extra or {}),
    )


def _log_loss(log_loss: Loss, log_params: float, log_tokens: float) -> float:
    """The law at exp of both arguments; ``_UNREACHABLE`` where it gives no number."""
    try:
        value = float(log_loss(math.exp(log_params), math.exp(log_tokens)))
    except (OverflowError, ZeroDivisionError):
        return _UNREACHABLE
    if math.isnan(value):
        return _UNREACHABLE
    return max(-_UNREACHABLE, min(value, _UNREACHABLE))


def _positive(what: str, value: float) -> float:
    if not 0 < value <= MOST_FLOPS:
        raise FitError(f"{what} is {value}, expected above 0 and at most {MOST_FLOPS:.0e}")
    return float(value)


def _minimum(objective: Callable[[float], float], low: float, high: float) -> float | None:
    """Where ``objective`` is least between ``low`` and ``high``; None when that is an end."""
    grid = np.linspace(low, high, _GRID)
    values = [objective(float(x)) for x in grid]
    best = int(np.argmin(values))
    if best in (0, _GRID - 1) or values[best] >= _UNREACHABLE:
        return None
    least = minimum(objective, float(grid[best - 1]), float(grid[best + 1]))
    return _refined(objective, least)


def _refined(objective: Callable[[float], float], x: float) -> float:
    """The zero of the five-point derivative near ``x``; ``x`` where that is no better."""

    def slope(at: float) -> float:
        near = objective(at + _STEP) - objective(at - _STEP)
        return 8 * near - objective(at + 2 * _STEP) + objective(at - 2 * _STEP)

    low, high = x - 1e-3, x + 1e-3
    if not slope(low) < 0 < slope(high):
        return x
    zero = root(slope, low, high, tolerance=1e-13)
    # a cliff within the stencil (the smallest size that can reach a loss) bends the derivative
    return zero if objective(zero) <= objective(x) + 1e-12 else x


def _choice(
    log_loss: Loss, log_params: float, log_tokens: float, kind: str, extra: dict[str, float]
) -> Choice:
    logged = _log_loss(log_loss, log_params, log_tokens)
    params, tokens = math.exp(log_params), math.exp(log_tokens)
    if abs(logged) >= _UNREACHABLE:
        raise FitError(f"the law gives no finite loss at {params:.3g} params, {tokens:.3g} tokens")
    return choice_at(params, tokens, logged, kind, extra)


def compute_optimal(log_loss: Loss, flops: float) -> Choice:
    """The split of ``flops`` training FLOPs with the lowest loss under C = 6ND.

    Hoffmann 2022, arXiv 2203.15556, equation 4 (there in closed form). Raises ``FitError`` when
    the loss falls all the way to one parameter or one token, so that there is no optimum.
    """
    log_product = math.log(_positive("flops", flops) / 6)
    log_params = None
    if log_product > 0:
        log_params = _minimum(lambda x: _log_loss(log_loss, x, log_product - x), 0.0, log_product)
    if log_params is None:
        raise FitError(
            f"the law has no compute-optimal split of {flops:.3g} FLOPs: its loss is lowest at"
            " an end of the range or nowhere finite; one of its terms is missing or does not fall"
        )
    return _choice(log_loss, log_params, log_product - log_params, "compute_optimal", {})


def over_trained(log_loss: Loss, flops: float, tokens_per_param: float) -> Choice:
    """``flops`` spent at a given tokens/params r: params = sqrt(flops / 6 / r), tokens = r params.

    ``extra`` has ``loss_penalty_nats``, the loss above that of the compute-optimal split of the
    same FLOPs, and ``compute_ratio``, these FLOPs over the fewest that reach the same loss (Gadre
    2024, arXiv 2403.08540, studies both). Raises ``FitError`` as ``compute_optimal`` does.
    """
    log_product = math.log(_positive("flops", flops) / 6)
    log_ratio = math.log(_positive("tokens_per_param", tokens_per_param))
    log_params, log_tokens = (log_product - log_ratio) / 2, (log_product + log_ratio) / 2
    best = compute_optimal(log_loss, flops)
    plain = _choice(log_loss, log_params, log_tokens, "over_trained", {})
    cheapest = cheapest_for_loss(log_loss, plain.loss_nats)
    extra = {
        "loss_penalty_nats": plain.loss_nats - best.loss_nats,
        "compute_ratio": plain.flops / cheapest.flops,
    }
    return _choice(log_loss, log_params, log_tokens, "over_trained", extra)


def _tokens_for(log_loss: Loss, log_params: float, log_target: float) -> float | None:
    """log tokens at which this size reaches the target; None when no number of tokens does."""

    def excess(log_tokens: float) -> float:
        return _log_loss(log_loss, log_params, log_tokens) - log_target

    at_most = excess(_LOG_MOST)
    if at_most > 0:
        return None
    at_once = excess(0.0)
    if at_once <= 0:  # a target above the loss after a single token needs no training
        return 0.0
    return root(excess, 0.0, _LOG_MOST, ends=(at_once, at_most))


def _reachable(log_loss: Loss, target_loss_nats: float) -> float:
    """log of the target. Raises ``FitError`` when the law does not come down to it."""
    if not (math.isfinite(target_loss_nats) and target_loss_nats > 0):
        raise FitError(f"target loss is {target_loss_nats}, expected a positive number of nats")
    lowest = compute_optimal(log_loss, MOST_FLOPS).loss_nats
    if target_loss_nats <= lowest:
        raise FitError(
            f"no model reaches {target_loss_nats:.6g} nats: the lowest loss the law gives is"
            f" {lowest:.6g} nats (at {MOST_FLOPS:.0e} FLOPs)"
        )
    return math.log(target_loss_nats)


def _cheapest(log_loss: Loss, target_loss_nats: float, tokens_served: float) -> tuple[float, float]:
    """(log params, log tokens) with the least 6ND + 2N tokens_served at the target loss."""
    log_target = _reachable(log_loss, target_loss_nats)

    def log_cost(log_params: float) -> float:
        log_tokens = _tokens_for(log_loss, log_params, log_target)
        if log_tokens is None:
            return _UNREACHABLE
        return log_params + math.log(6 * math.exp(log_tokens) + 2 * tokens_served)

    log_params = _minimum(log_cost, 0.0, _LOG_MOST)
    log_tokens = None if log_params is None else _tokens_for(log_loss, log_params, log_target)
    if log_params is None or log_tokens is None:
        raise FitError(
            f"no cheapest model for {target_loss_nats:.6g} nats: the cost is least at an end of"
            " the range (a loss so high that one parameter or one token would do?)"
        )
    return log_params, log_tokens


def cheapest_for_loss(log_loss: Loss, target_loss_nats: float) -> Choice:
    """The fewest training FLOPs 6ND that reach a loss: ``inference_aware`` with no tokens served.

    It is the same model as ``compute_optimal`` gives at those FLOPs (one problem and its dual).
    Raises ``FitError`` for a loss that the law does not reach, with the lowest that it gives.
    """
    where = _cheapest(log_loss, target_loss_nats, 0.0)
    return _choice(log_loss, *where, "cheapest_for_loss", {})


def inference_aware(log_loss: Loss, target_loss_nats: float, tokens_served: float) -> Choice:
    """The model with the least 6ND + 2N ``tokens_served`` among those of the target loss.

    Sardana 2023, arXiv 2401.00448, equation 3: a forward pass costs 2N FLOPs a token, over all
    tokens served in the model's life. ``extra`` has ``inference_flops`` and ``total_flops``;
    ``compute_optimal_params`` and ``compute_optimal_total_flops`` of the model with the fewest
    training FLOPs for the same loss and the same service; and ``saving``, the share of that
    total that is saved. Raises ``FitError`` as ``cheapest_for_loss`` does, ``ConfigError`` for
    tokens out of range.
    """
    if not 0 <= tokens_served <= MOST_FLOPS:
        raise ConfigError(f"tokens served are {tokens_served:g}: expected 0 to {MOST_FLOPS:.0e}")
    plain = cheapest_for_loss(log_loss, target_loss_nats)
    where = _cheapest(log_loss, target_loss_nats, tokens_served)
    inference = 2 * math.exp(where[0]) * tokens_served
    total = 6 * math.exp(sum(where)) + inference
    plain_total = plain.flops + 2 * plain.params * tokens_served
    extra = {
        "inference_flops": inference,
        "total_flops": total,
        "compute_optimal_params": plain.params,
        "compute_optimal_total_flops": plain_total,
        "saving": 1 - total / plain_total,
    }
    return _choice(log_loss, *where, "inference_aware", extra)


def size_cost_curve(
    log_loss: Loss, flops: float, shrink: Sequence[float] = _SHRINK
) -> list[dict[str, float | None]]:
    """What smaller models of the same loss cost to train, from the optimum at ``flops``.

    There is a row for each factor in ``shrink`` on the optimal params: ``shrink``, ``params``,
    ``loss_nats`` (the optimum's), and ``tokens``, ``flops``, ``tokens_per_param``,
    ``compute_ratio`` (FLOPs over the optimum's; 1.12: 12% more training), which are None where
    no number of tokens makes up for the size. De Vries 2023 describes the trade-off in "Go smol or
    go home" (www.harmdevries.com/post/model-size-vs-compute-overhead). Raises ``FitError`` as
    ``compute_optimal`` does and for a factor that is not positive.
    """
    best = compute_optimal(log_loss, flops)
    rows: list[dict[str, float | None]] = []
    for factor in shrink:
        params = best.params * _positive("shrink", factor)
        log_tokens = _tokens_for(log_loss, math.log(params), math.log(best.loss_nats))
        tokens = None if log_tokens is None else math.exp(log_tokens)
        needed = None if tokens is None else 6 * params * tokens
        rows.append(
            {
                "shrink": float(factor),
                "params": params,
                "loss_nats": best.loss_nats,
                "tokens": tokens,
                "flops": needed,
                "tokens_per_param": None if tokens is None else tokens / params,
                "compute_ratio": None if needed is None else needed / best.flops,
            }
        )
    return rows


def lifetime_optimal(log_loss: Loss, flops: float, tokens_served: float) -> Choice:
    """The lowest loss where ``flops`` pay for training and for serving: 6ND + 2N served.

    It is the dual of ``inference_aware`` (Sardana 2023, arXiv 2401.00448, equation 3). ``extra``
    has ``inference_flops`` and ``total_flops``. Raises ``FitError`` where no size leaves FLOPs to
    train with, or the loss has no minimum among those that do.
    """
    if not 0 <= tokens_served <= MOST_FLOPS:
        raise ConfigError(f"tokens served are {tokens_served:g}: expected 0 to {MOST_FLOPS:.0e}")
    budget = _positive("flops", flops)

    def log_tokens(log_params: float) -> float | None:
        left = budget / math.exp(log_params) - 2 * tokens_served
        return math.log(left / 6) if left > 0 else None

    def objective(log_params: float) -> float:
        tokens = log_tokens(log_params)
        return _UNREACHABLE if tokens is None else _log_loss(log_loss, log_params, tokens)

    largest = math.log(budget / (2 * tokens_served + 6))
    best = _minimum(objective, 0.0, largest) if largest > 0 else None
    tokens = None if best is None else log_tokens(best)
    if best is None or tokens is None:
        raise FitError(
            f"{flops:.3g} FLOPs do not pay for any model that then serves {tokens_served:.3g}"
            " tokens"
        )
    inference = 2 * math.exp(best) * tokens_served
    extra = {"inference_flops": inference, "total_flops": budget}
    return _choice(log_loss, best, tokens, "lifetime_optimal", extra)


def at_size(log_loss: Loss, params: float, flops: float) -> Choice:
    """``flops`` training FLOPs spent on a model of ``params``, optimal or not."""
    log_params = math.log(_positive("params", params))
    log_tokens = math.log(_positive("flops", flops) / 6) - log_params
    return _choice(log_loss, log_params, log_tokens, "at_size", {})


def at_size_for_loss(log_loss: Loss, params: float, target_loss_nats: float) -> Choice:
    """The tokens that bring a model of ``params`` to a loss.

    Raises ``FitError`` where no number of tokens does, with the lowest loss of that size.
    """
    log_params = math.log(_positive("params", params))
    log_tokens = _tokens_for(log_loss, log_params, math.log(_positive("loss", target_loss_nats)))
    if log_tokens is None:
        lowest = math.exp(_log_loss(log_loss, log_params, _LOG_MOST))
        raise FitError(
            f"no number of tokens brings {params:.3g} params to {target_loss_nats:.6g} nats: they"
            f" end at {lowest:.6g}"
        )
    return _choice(log_loss, log_params, log_tokens, "at_size", {})
