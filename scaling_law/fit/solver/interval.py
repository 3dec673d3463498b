"""The interval of a new run's loss under a law, and of the law's compute-optimal split.

In log loss, each side adds in quadrature (1) the bootstrap quantile of the law's value over
the resampled trunks; (2) a new run's noise, the larger of the residual scatter and of the seed
noise that repeats show, with both (1) and (2) widened by Student's t when trunks are few; (3) the
farthest value, on that side, of any other law in the same variables that fits the same points
about as well. Beyond ``FAR_ORDERS`` of magnitude no simulation or rollout can calibrate an
interval: it then turns, by degrees, into a range over laws, which admits worse laws and their own
intervals. Its upper end stays below that of the smaller model and data on the way there, with the
same laws by the same weights. That end may therefore lie above the interval that the nearer point
has of its own, which excludes the worse laws. The interval cannot hold what no law here contains,
such as a bend beyond the data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scaling_law.files.record import NATS, amount_unit
from scaling_law.fit.laws import Law
from scaling_law.fit.result import FitResult
from scaling_law.fit.solver.bootstrap import MANY_CLUSTERS, interval
from scaling_law.fit.solver.student import normal_reach, t_over_normal
from scaling_law.fit.split import Split, bounded_exp
from scaling_law.fit.surface import split_of

# A law whose rms log residual, or held-out error, is within this factor of the fit's own "fits
# about as well". Each order of magnitude beyond FAR_ORDERS adds as much again: residuals say
# which law is right where the points are, and less and less about where they are not (whether
# there is an irreducible loss, above all).
AS_GOOD = 1.5
FAR_ORDERS = 3.0
_FEWEST_DRAWS = 20
_FEW_TRUNKS = 12
# A cap that takes less than this share off the upper end does not show in what is printed.
_CAP_SHOWS = 0.005
# Share of the samples that must have an optimum: without the others the interval is too narrow.
_MOST_HAVE_ONE = 0.9


@dataclass(frozen=True)
class PredictionInterval:
    """Where a new run's loss falls.

    ``nats``: (low, high) in nats per token; None without samples.
    ``parts``: cause -> half-widths (below, above) in log loss.
    ``doubts``: what a reader should know about the interval.
    """

    nats: tuple[float, float] | None
    parts: dict[str, tuple[float, float]]
    doubts: tuple[str, ...]


def log_loss(law: Law, params: Mapping[str, float], target: Mapping[str, float]) -> float:
    """log L at a target {variable: value}; NaN where the parameters overflow."""
    variables = {name: np.array([target[name]]) for name in law.variables}
    try:
        with np.errstate(all="ignore"):
            return float(np.log(law.predict(params, variables)[0]))
    except (OverflowError, ZeroDivisionError):
        return math.nan


def prediction_interval(
    fit: FitResult,
    target: Mapping[str, float],
    *,
    level: float,
    seed_noise_log: float | None = None,
    alternatives: Sequence[FitResult] = (),
) -> PredictionInterval:
    """Where a new run's loss falls at ``target`` {variable: value}, with probability ``level``."""
    draws, wanted = _draws(fit, target)
    if len(draws) < _FEWEST_DRAWS:
        why = "published parameters" if fit.n_points == 0 else "the fit has no bootstrap samples"
        return PredictionInterval(None, {}, (f"no interval: {why}",))
    far = max(0.0, _orders_beyond(fit, target) - FAR_ORDERS)
    rivals = [(other, _weight(fit, other, AS_GOOD * (1 + far))) for other in alternatives]
    rivals = [(other, weight) for other, weight in rivals if weight > 0]
    share = min(far, 1.0)
    parts = _parts(fit, target, draws, level, seed_noise_log, rivals, share)
    low, high = _ends(fit, target, parts)
    doubts = _doubts(fit, rivals, parts)
    nearer = _towards(fit, target) if far else None
    near_draws, _ = _draws(fit, nearer) if nearer else ([], 0)
    if nearer and len(near_draws) >= _FEWEST_DRAWS:
        # A larger model on more data has no higher loss, nor may the upper end of its interval,
        # which quadrature about an ever lower centre would raise. The laws count here as they do
        # there: the nearer point's own interval leaves out laws that this one must hold.
        near = _parts(fit, nearer, near_draws, level, seed_noise_log, rivals, share)
        cap = _ends(fit, nearer, near)[1]
        if high > cap * (1 + _CAP_SHOWS):
            unit = amount_unit(fit.convention.get("loss", NATS))
            doubts.append(
                f"the parts add up to {high:.3g} {unit}; the upper end, {cap:.3g}, is that of the"
                f" smaller model and data {FAR_ORDERS:g} orders of magnitude out on the way there"
            )
        low, high = min(low, cap), min(high, cap)
    if len(draws) < wanted:
        doubts.append(f"{wanted - len(draws)} bootstrap samples could not be evaluated")
    return PredictionInterval((low, high), parts, tuple(doubts))


def _parts(
    fit: FitResult,
    target: Mapping[str, float],
    draws: Sequence[float],
    level: float,
    seed_noise_log: float | None,
    rivals: Sequence[tuple[FitResult, float]],
    share: float,
) -> dict[str, tuple[float, float]]:
    """Half-widths (below, above) in log loss by cause.

    ``rivals`` are laws and their weights; ``share``, 0 to 1, is how much of a rival's own interval
    counts.
    """
    centre = log_loss(fit.law, fit.params, target)
    widen = _widening(fit, level)
    low, high = interval(np.array(draws), centre, level, widen)
    noises = [x for x in (fit.residual_scatter_log, seed_noise_log) if x and math.isfinite(x)]
    # the scatter itself comes from few trunks: Student's t for the new run too
    noise = widen * normal_reach(level) * max(noises, default=0.0)
    others = [
        weight * (end - centre)
        for other, weight in rivals
        for end in _values(other, target, level, share)
    ]
    return {
        "parameters": (max(centre - low, 0.0), max(high - centre, 0.0)),
        "new_run": (noise, noise),
        "laws": (max([0.0, *(-x for x in others)]), max([0.0, *others])),
    }


def _ends(
    fit: FitResult, target: Mapping[str, float], parts: Mapping[str, tuple[float, float]]
) -> tuple[float, float]:
    """(low, high) in nats: the parts of each side in quadrature about the fit's own log loss."""
    centre = log_loss(fit.law, fit.params, target)
    below, above = (math.hypot(*(part[side] for part in parts.values())) for side in (0, 1))
    return bounded_exp(centre - below), bounded_exp(centre + above)


def _towards(fit: FitResult, target: Mapping[str, float]) -> dict[str, float] | None:
    """The point ``FAR_ORDERS`` beyond the data on the straight line in logarithms to ``target``.

    None where the target lies below the data in some variable: which loss is lower is then open.
    """
    known = {name: x for name, x in target.items() if name in fit.data_range}
    largest = {name: fit.data_range[name][1] for name in known}
    if not known or any(x < largest[name] for name, x in known.items()):
        return None
    share = FAR_ORDERS / _orders_beyond(fit, target)
    nearer = {name: largest[name] * (x / largest[name]) ** share for name, x in known.items()}
    if "tokens_unique" in target and "tokens" in nearer:
        nearer["tokens_unique"] = nearer["tokens"]
    return nearer


def _draws(fit: FitResult, target: Mapping[str, float]) -> tuple[list[float], int]:
    """log L under each of the fit's samples that can be evaluated, and the number of samples."""
    if not fit.samples:
        return [], 0
    variables = {name: np.array([target[name]]) for name in fit.law.variables}
    with np.errstate(all="ignore"):
        every = fit.law.log_losses(fit.internal_samples, variables)[:, 0]
    return every[np.isfinite(every)].tolist(), len(every)


def _values(fit: FitResult, target: Mapping[str, float], level: float, share: float) -> list[float]:
    """A law's log L, and the ends of its own interval times ``share`` where it has samples."""
    centre = log_loss(fit.law, fit.params, target)
    if not math.isfinite(centre):
        return []
    draws, _ = _draws(fit, target) if share else ([], 0)
    if len(draws) < _FEWEST_DRAWS:
        return [centre]
    ends = interval(np.array(draws), centre, level, _widening(fit, level))
    return [centre, *(centre + share * (end - centre) for end in ends)]


def _doubts(
    fit: FitResult,
    rivals: Sequence[tuple[FitResult, float]],
    parts: Mapping[str, tuple[float, float]],
) -> list[str]:
    doubts = []
    if not rivals:
        doubts.append("no other law fits about as well: the interval takes this one for true")
    elif max(parts["laws"]) > max(*parts["parameters"], *parts["new_run"]):
        near: list[str] = []
        whole: list[str] = []
        some: list[str] = []
        for other, weight in rivals:
            ratio = other.rms_log_residual / max(fit.rms_log_residual, 1e-300)
            if ratio <= AS_GOOD:
                near.append(other.law.name)
            else:
                words = f"{other.law.name} ({ratio:.2g}x the residuals)"
                (whole if weight == 1 else some).append(words)
        said = [
            f"{', '.join(names)} {words}"
            for names, words in (
                (near, "fit about as well"),
                (whole, "fit worse but cannot be excluded this far out"),
                (some, "fit worse, counted in part, the more the farther out"),
            )
            if names
        ]
        doubts.append(f"the choice of law matters most: {'; '.join(said)}")
    if fit.n_clusters < _FEW_TRUNKS:
        doubts.append(f"only {fit.n_clusters} independent trunks: the interval is itself uncertain")
    return doubts


def _widening(fit: FitResult, level: float) -> float:
    """Student's t over the normal quantile with few clusters, as in the fit's own intervals."""
    if fit.n_clusters >= MANY_CLUSTERS:
        return 1.0
    return t_over_normal(max(fit.n_clusters - 1, 1), level)


def _orders_beyond(fit: FitResult, target: Mapping[str, float]) -> float:
    """Orders of magnitude from the largest fitted value to the target, in its farthest variable."""
    ratios = [target[name] / fit.data_range[name][1] for name in target if name in fit.data_range]
    return max([0.0, *(math.log10(ratio) for ratio in ratios if ratio > 0)])


def _weight(fit: FitResult, other: FitResult, factor: float) -> float:
    """How much ``other`` counts, 0 to 1: it must be in the same variables and fitted to the same
    points.

    A law that is as good on the data, or on held-out runs, counts fully. For a worse one the weight
    rises from 0, where its rms is ``factor`` times the fit's, to 1 where ``factor`` has doubled, so
    that no forecast jumps.
    """
    comparable = (
        other.status == "converged"
        and other.law.name != fit.law.name
        and set(other.law.variables) == set(fit.law.variables)
        and (other.convention, other.n_points) == (fit.convention, fit.n_points)
    )
    if not comparable:
        return 0.0
    pairs = (
        (other.rms_log_residual, fit.rms_log_residual),
        (other.rollout_rms_log, fit.rollout_rms_log),
    )
    ratios = [x / y for x, y in pairs if y > 0 and math.isfinite(x / y)]
    if not ratios:
        return 1.0 if fit.rms_log_residual == 0 else 0.0
    # as good on the fitted runs, or on those held out
    ratio = min(ratios)
    if ratio <= AS_GOOD:
        return 1.0
    return min(1.0, max(0.0, math.log2(factor / ratio)))


def tokens_interval(fit: FitResult, params: float, *, level: float) -> tuple[float, float] | None:
    """Interval of the tokens for which ``params`` is compute-optimal under C = 6ND.

    None where there are no samples or some of them have no optimum.
    """
    draws = []
    for values in (fit.params, *fit.sampled_params()):
        split = split_of(fit.law, values)
        if split is not None:
            draws.append(math.log(split.tokens_for_params(params)))
    if len(draws) < max(_FEWEST_DRAWS, _MOST_HAVE_ONE * len(fit.samples)):
        return None
    low, high = interval(np.array(draws[1:]), draws[0], level, _widening(fit, level))
    return bounded_exp(low), bounded_exp(high)


def count_interval(
    fit: FitResult, centre: float, draws: Sequence[float], *, level: float
) -> tuple[float, float] | None:
    """Interval of a positive count from its values under the fit's samples, in logarithms.

    None with too few ``draws``.
    """
    if len(draws) < _FEWEST_DRAWS:
        return None
    low, high = interval(np.log(draws), math.log(centre), level, _widening(fit, level))
    return bounded_exp(low), bounded_exp(high)


def split_intervals(
    fit: FitResult, split: Split, flops: float, level: float
) -> tuple[tuple[float, float] | None, tuple[float, float] | None]:
    """(of params, of tokens) that spend a budget in FLOPs (6ND) best, over the fit's samples.

    ``split`` is the law's own. None, None without samples, or where some have no optimum.
    """
    splits = (split_of(fit.law, params) for params in fit.sampled_params())
    draws = [one.params(flops) for one in splits if one is not None]
    if len(draws) < _MOST_HAVE_ONE * len(fit.samples):
        return None, None
    ends = count_interval(fit, split.params(flops), draws, level=level)
    if ends is None:
        return None, None
    # under C = 6ND the fewest params go with the most tokens
    return ends, (flops / 6 / ends[1], flops / 6 / ends[0])
