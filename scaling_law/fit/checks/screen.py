"""Leaves out the runs that do not belong, and lists each with the name of the rule.

A law describes annealed runs of one recipe on fresh data; ``RULES`` says what breaks that. The
rules ``not_annealed``, ``stopped_early`` and ``grown`` apply where records become points. Where
records of several recipes are gathered no recipe is the odd one, so ``recipes`` refuses the fit
(``points.dataset``). Rules that judge losses (``plateau``, ``spike``, ``too_low``) need a law to
judge by: a run is odd when it lies off two laws, each fitted to the runs left in, above or below.
Of few tokens for their size, good runs lie below a law, which knows no bound on losses:
such a run of the smaller budgets is too low only where one with no fewer params and tokens has a
higher loss. When many runs are odd the laws are wrong, and none is left out; a note says whether
the runs fall into two groups (``two_groups``).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from scaling_law.errors import ConfigError, FitError, did_you_mean
from scaling_law.fit.approaches.parametric import Refitter
from scaling_law.fit.checks.two_groups import find_two_groups
from scaling_law.fit.laws import load_law
from scaling_law.fit.numerics import plane_residuals
from scaling_law.fit.points.points import FitPoints, Floats

# Repeats beyond this no longer act like new data (Muennighoff 2023, arXiv 2305.16264).
MAX_EPOCHS = 4.0
# A rule's batches lie within this factor of their trend; rounding to powers of two gives 1.4.
BATCH_FACTOR = 3.0
# A run is odd when it lies off the law by both: robust standard deviations, and log loss.
ODD_SIGMAS, ODD_LOG = 8.0, 0.05
# With more odd runs than this share, it is the law that does not describe the runs.
MOST_ODD = 0.1
_LEAST_POINTS = 10
_ROUNDS = 3
_JUDGES = ("chinchilla", "skaling")
# A law that judges by several percent needs no more starts.
_STARTS = 12

RULES = {
    "not_annealed": "the learning rate never decayed: a trunk, or a constant schedule",
    "stopped_early": "its final loss was predicted, not measured",
    "recipes": "refused: runs of several recipes, of which a law describes one",
    "grown": "began as a smaller trained model, whose tokens and FLOPs are not in its own",
    "duplicates": "the same params, tokens and loss as an earlier row",
    "repeats": f"text seen more than {MAX_EPOCHS:g} times (a task repeats its examples by design)",
    "batch": f"batch more than {BATCH_FACTOR:g}x off the other runs' trend in size and tokens",
    "plateau": f"loss over {100 * ODD_LOG:g}% above the laws, among the smaller budgets",
    "spike": f"loss over {100 * ODD_LOG:g}% above the laws, among the larger budgets",
    "too_low": f"loss over {100 * ODD_LOG:g}% below the laws: another loss, or a slip of digits",
}
"""The name of each rule -> what it leaves out."""


def check_rules(names: Collection[str]) -> None:
    """Raises ``ConfigError`` for a rule that does not exist."""
    for name in names:
        if name not in RULES:
            raise ConfigError(
                f"rule {name!r}{did_you_mean(name, RULES)}: expected one of {', '.join(RULES)}"
            )


def screen(points: FitPoints, *, keep: Collection[str] = ()) -> FitPoints:
    """``points`` without the runs that a rule leaves out; these are in ``dropped``.

    ``keep`` names rules that leave no run out. Raises ``ConfigError`` for an unknown rule,
    ``FitError`` when no run is left.
    """
    check_rules(keep)
    for rule, find in (("duplicates", _duplicates), ("repeats", _repeats), ("batch", _batch)):
        if rule not in keep:
            points = _without(points, find(points))
    if {"plateau", "spike", "too_low"} <= set(keep):
        return points
    odd = _odd(points)
    many = len(odd) > MOST_ODD * len(points)
    # a single odd run would look like a second surface; of two surfaces no run is the odd one
    others = [row for row in range(len(points)) if many or row not in odd]
    judged = points.take(others)
    groups = find_two_groups(judged)
    if groups is not None:
        return dataclasses.replace(points, notes=(*points.notes, groups.words(judged)))
    above = sum(off > 0 for off in odd.values())
    if many:
        lie = f"{above} of {len(points)} runs lie over {100 * ODD_LOG:g}% above the laws"
        if above < len(odd):
            lie += f" and {len(odd) - above} below"
        note = f"{lie}: the laws do not describe these runs; none was left out for it"
        return dataclasses.replace(points, notes=(*points.notes, note))
    middle = float(np.median(points.flops))
    reasons = {}
    for row, off in odd.items():
        if off < 0:
            rule, guess = "too_low", "another loss, or a slip of digits?"
        elif points.flops[row] <= middle:
            rule, guess = "plateau", "still on the early plateau?"
        else:
            rule, guess = "spike", "spike or wrong settings?"
        if rule not in keep:
            side = "above" if off > 0 else "below"
            share = abs(100 * math.expm1(off))
            reasons[row] = f"{rule}: {share:.3g}% {side} the law; {guess}"
    return _without(points, reasons)


def _without(points: FitPoints, reasons: dict[int, str]) -> FitPoints:
    if not reasons:
        return points
    rows = [row for row in range(len(points)) if row not in reasons]
    if not rows:
        first = next(iter(reasons.values()))
        rule = first.partition(":")[0]
        raise FitError(f"every run is left out; first: {first}; --keep {rule} takes them")
    listed = ((points.run_id[row], reason) for row, reason in sorted(reasons.items()))
    return dataclasses.replace(points.take(rows), dropped=(*points.dropped, *listed))


def _duplicates(points: FitPoints) -> dict[int, str]:
    seen: dict[tuple[float, float, float], str] = {}
    reasons = {}
    for row, name in enumerate(points.run_id):
        key = (points.params[row], points.tokens[row], points.loss_nats[row])
        if key in seen:
            reasons[row] = f"duplicates: same params, tokens and loss as {seen[key]}"
        else:
            seen[key] = name
    return reasons


def _repeats(points: FitPoints) -> dict[int, str]:
    epochs = points.tokens / points.tokens_unique
    by_design = points.repeats_by_design or (False,) * len(points)
    return {
        int(row): f"repeats: saw its data {epochs[row]:.1f} times (more than {MAX_EPOCHS:g})"
        for row in np.flatnonzero(epochs > MAX_EPOCHS * (1 + 1e-9))
        if not by_design[row]
    }


def _batch(points: FitPoints) -> dict[int, str]:
    """Batches that lie off a plane through the logarithms of all, by least absolute deviations."""
    if points.batch_tokens is None or len(points) < _LEAST_POINTS:
        return {}
    known = np.isfinite(points.batch_tokens)
    if known.sum() < _LEAST_POINTS:
        return {}
    rows = np.flatnonzero(known)
    off = plane_residuals(points.take(rows), np.log(points.batch_tokens[rows]))
    reasons = {}
    for place in np.flatnonzero(np.abs(off) > math.log(BATCH_FACTOR)):
        way = "above" if off[place] > 0 else "below"
        times = math.exp(abs(off[place]))
        reasons[int(rows[place])] = (
            f"batch: {points.batch_tokens[rows[place]]:.6g} tokens a step, {times:.2g}x {way}"
            " the other runs' trend"
        )
    return reasons if len(reasons) <= MOST_ODD * len(points) else {}


def _odd(points: FitPoints) -> dict[int, float]:
    """Rows above or below every judging law, refitted without them, and how far in log loss."""
    odd: dict[int, float] = {}
    for _ in range(_ROUNDS):
        kept = np.ones(len(points), dtype=bool)
        kept[list(odd)] = False
        if kept.sum() < _LEAST_POINTS:
            return {}
        above, below = np.full(len(points), math.inf), np.full(len(points), -math.inf)
        for name in _JUDGES:
            off = _off(points, kept, name)
            above = np.minimum(above, np.maximum(off, 0.0))
            below = np.maximum(below, np.minimum(off, 0.0))
            if not (above - below > 0).any():
                return odd
        off = above + below
        fresh = {int(row): float(off[row]) for row in np.flatnonzero(off)}
        if fresh.keys() <= odd.keys():
            return odd
        odd |= fresh
    return odd


def _off(points: FitPoints, kept: NDArray[np.bool_], name: str) -> Floats:
    """Log loss above law ``name`` (negative: below), fitted to the ``kept`` rows [n].

    0 where that is not odd.
    """
    none = np.zeros(len(points))
    try:
        fit = Refitter(points.take(kept), load_law(name), most_starts=_STARTS).whole
    except FitError:
        return none
    if not fit.usable:
        return none
    inputs = {variable: points.variable(variable) for variable in fit.law.variables}
    residual = np.log(points.loss_nats / fit.law.predict(fit.params, inputs))
    middle = float(np.median(residual[kept]))
    sigma = 1.4826 * float(np.median(np.abs(residual[kept] - middle)))
    least = max(ODD_LOG, ODD_SIGMAS * sigma)
    off = np.where(np.abs(residual) > least, residual, none)
    ratio = points.tokens / points.params
    few = (points.flops <= np.median(points.flops)) & (ratio <= np.median(ratio))
    for row in np.flatnonzero((off < 0) & few):
        larger = (points.params >= points.params[row]) & (points.tokens >= points.tokens[row])
        higher = np.log(points.loss_nats / points.loss_nats[row]) > least / 2
        if not (larger & higher & kept).any():
            off[row] = 0.0
    return off
