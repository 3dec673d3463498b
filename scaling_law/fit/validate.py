"""Is the law to be believed? Held-out runs, order, noise and odd points, then one plain verdict.

A good fit to its own points proves nothing (R^2 in log-log is high for any falling curve), so
the law is fitted to some runs and asked for others: every size in turn left out (all its
trunks together: branches share init and data), then rollouts, where the small predict the
large. Errors are relative, predicted / measured - 1: positive means measured below forecast.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling_law.errors import FitError
from scaling_law.fit.laws import load_law
from scaling_law.fit.parametric import fit_law
from scaling_law.fit.points import FitPoints
from scaling_law.fit.solve import Objective
from scaling_law.outcome import FitResult, finite_json

# A rollout passes when the median relative error of its held-out runs is within the first
# figure and 90% of them (below ten: all) within the second, which noise of single runs may
# use up; with fewer than LEAST_HELD_OUT runs only the second counts.
PASS_MEDIAN_FRAC = 0.01
PASS_P90_FRAC = 0.03
LEAST_HELD_OUT = 3
# Trust reaches tested_factor^power: errors are taken to grow no faster than log(factor), so
# power = PASS_MEDIAN_FRAC / median error, at most MAX_POWER (in logs, times what was tested).
MAX_POWER = 1.5
# A rollout that extrapolates less than this in FLOPs tests next to nothing.
LEAST_FACTOR = 1.2
LEAST_SIZES = 3
MAX_FOLDS = 8
MAX_PARAMS_ROLLOUTS = 4
FLOPS_CUTS = (2.0, 4.0, 8.0, 16.0, 64.0)
# A rise of loss counts when beyond this many standard deviations of a difference of two runs.
MONOTONE_SIGMAS = 2.0
OUTLIER_SIGMAS = 5.0
# Below this in log loss no residual is odd: evaluation noise and rounding reach it.
LEAST_SIGMA_LOG = 1e-3
_SAME_LOG = 1e-4


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Runs predicted by a law fitted without them.

    ``held_out`` says which; ``n_fitted``, ``n_held_out`` count points. ``factors`` maps
    ``params``/``tokens``/``flops`` to largest held out / largest fitted. Errors are relative
    (fractions): ``median_abs_error``, ``p90_abs_error`` (the largest, below ten runs),
    ``max_abs_error``, signed mean ``bias``, and ``errors`` (run_id, signed). ``params`` are
    the law's. All None or empty when ``status`` is ``refused`` for ``reason``.
    """

    held_out: str
    status: str
    reason: str
    n_fitted: int
    n_held_out: int
    factors: dict[str, float]
    median_abs_error: float | None = None
    p90_abs_error: float | None = None
    max_abs_error: float | None = None
    bias: float | None = None
    errors: tuple[tuple[str, float], ...] = ()
    params: dict[str, float] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether the errors are within ``PASS_MEDIAN_FRAC`` and ``PASS_P90_FRAC``."""
        if self.median_abs_error is None or self.p90_abs_error is None:
            return False
        few = self.n_held_out < LEAST_HELD_OUT
        typical = few or self.median_abs_error <= PASS_MEDIAN_FRAC
        return typical and self.p90_abs_error <= PASS_P90_FRAC


@dataclass(frozen=True, kw_only=True)
class Rise:
    """Loss that rose where it should fall: ``along`` is ``tokens`` or ``params``.

    ``lower`` and ``higher`` are run_ids (of the smaller, then the larger); ``rise_log`` the
    rise of log loss, ``allowed_log`` what seed noise explains.
    """

    along: str
    lower: str
    higher: str
    rise_log: float
    allowed_log: float


@dataclass(frozen=True, kw_only=True)
class Validation:
    """What speaks for and against the law.

    ``seed_noise_log`` is the pooled standard deviation of log loss over repeats of the same
    size and tokens (None without any), from ``seed_groups`` groups. ``leave_size_out``,
    ``rollout_params`` and ``rollout_flops`` are in order of size or of held-out share.
    ``influence`` maps each size to the change its absence makes in ``alpha``, ``beta`` and
    ``a``. ``rises`` are violations of order among ``pairs_compared`` neighbours.
    ``trust_flops_factor``: how far beyond the largest FLOPs, None for not at all.
    """

    law: str
    verdict: str
    trust_flops_factor: float | None
    seed_noise_log: float | None
    seed_groups: int
    leave_size_out: tuple[HeldOut, ...]
    rollout_params: tuple[HeldOut, ...]
    rollout_flops: tuple[HeldOut, ...]
    influence: dict[str, dict[str, float]]
    rises: tuple[Rise, ...]
    pairs_compared: int
    reasons: dict[str, str]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values, non-finite numbers as null."""
        plain: dict[str, Any] = finite_json(self)
        return plain


def validate(
    points: FitPoints, *, objective: Objective | None = None, law: str = "chinchilla"
) -> Validation:
    """Every check of ``law`` that the points allow; ``reasons`` says why one was refused.

    Deterministic. Raises ``ConfigError`` for an unknown law.
    """
    score = _Scorer(points, law, objective or Objective())
    sizes = sizes_in_order(points)
    reasons: dict[str, str] = {}
    if len(sizes) <= LEAST_SIZES:
        lack = f"{len(sizes)} sizes, at least {LEAST_SIZES + 1} needed to hold one out"
        reasons = {"leave_size_out": lack, "rollout_params": lack}
    by_size = [] if reasons else _leave_out(score, sizes)
    by_params = [] if reasons else _rollout_params(score, sizes)
    by_flops = _rollout_flops(score)
    if not by_flops:
        reasons["rollout_flops"] = (
            f"no cut in FLOPs leaves {LEAST_SIZES} sizes to fit: add sizes or horizons"
        )
    noise, groups = seed_noise(points)
    if noise is None:
        reasons["seed_noise_log"] = "no size and horizon was run with two seeds"
    rises, pairs = find_rises(points, noise or 0.0)
    verdict, trust = _verdict([*by_params, *by_flops], reasons)
    notes = [f"loss rose in {len(rises)} of {pairs} comparisons"] if rises else []
    if noise is None and rises:
        notes.append("without repeats any rise counts: repeat one size with 3 seeds")
    return Validation(
        law=law,
        verdict=verdict,
        trust_flops_factor=trust,
        seed_noise_log=noise,
        seed_groups=groups,
        leave_size_out=tuple(by_size),
        rollout_params=tuple(by_params),
        rollout_flops=tuple(by_flops),
        influence=_influence(score, by_size),
        rises=tuple(rises),
        pairs_compared=pairs,
        reasons=reasons,
        notes=tuple(notes),
    )


def sizes_in_order(points: FitPoints) -> list[str]:
    """Names of the sizes from the smallest up, by their median params."""
    params: dict[str, list[float]] = defaultdict(list)
    for name, value in zip(points.size, points.params, strict=True):
        params[name].append(float(value))
    return sorted(params, key=lambda name: (float(np.median(params[name])), name))


class _Scorer:
    """Fits without some points, then predicts them."""

    def __init__(self, points: FitPoints, law: str, objective: Objective) -> None:
        self.points, self.law, self.objective = points, load_law(law), objective
        self.size = np.array(points.size)

    def whole(self) -> FitResult | None:
        """The fit to all points, None where none can be had."""
        try:
            result = fit_law(self.points, self.law.name, objective=self.objective)
        except FitError:
            return None
        return result if result.usable else None

    def hold_out(self, held_out: str, held: NDArray[np.bool_]) -> HeldOut:
        """Score the points where ``held`` [n] is true."""
        points, variables = self.points, ("params", "tokens", "flops")
        factors = {
            name: float(points.variable(name)[held].max() / points.variable(name)[~held].max())
            for name in variables
        }
        counts = int((~held).sum()), int(held.sum())
        try:
            result = fit_law(points.take(~held), self.law.name, objective=self.objective)
        except FitError as problem:
            return _refused(held_out, str(problem), counts, factors)
        if not result.usable:
            return _refused(held_out, f"{result.status}: {result.message}", counts, factors)
        measured = points.loss_nats[held]
        inputs = {name: points.variable(name)[held] for name in variables}
        errors = self.law.predict(result.params, inputs) / measured - 1
        names = [points.run_id[row] for row in np.flatnonzero(held)]
        return HeldOut(
            held_out=held_out,
            status=result.status,
            reason=result.message,
            n_fitted=counts[0],
            n_held_out=counts[1],
            factors=factors,
            median_abs_error=float(np.median(np.abs(errors))),
            p90_abs_error=float(np.quantile(np.abs(errors), 0.9, method="higher")),
            max_abs_error=float(np.abs(errors).max()),
            bias=float(errors.mean()),
            errors=tuple(zip(names, errors.tolist(), strict=True)),
            params=result.params,
        )


def _refused(
    held_out: str, reason: str, counts: tuple[int, int], factors: dict[str, float]
) -> HeldOut:
    return HeldOut(
        held_out=held_out,
        status="refused",
        reason=reason,
        n_fitted=counts[0],
        n_held_out=counts[1],
        factors=factors,
    )


def _leave_out(score: _Scorer, sizes: Sequence[str]) -> list[HeldOut]:
    """Each size left out; many sizes in at most ``MAX_FOLDS`` runs of neighbours."""
    folds = np.array_split(np.array(sizes), min(len(sizes), MAX_FOLDS))
    found = []
    for fold in folds:
        name = str(fold[0]) if len(fold) == 1 else f"{fold[0]} to {fold[-1]}"
        found.append(score.hold_out(name, np.isin(score.size, fold)))
    return found


def _rollout_params(score: _Scorer, sizes: Sequence[str]) -> list[HeldOut]:
    """The largest size held out, then the two largest, ... while three are left to fit."""
    most = len(sizes) - LEAST_SIZES
    steps = np.unique(np.linspace(1, most, min(most, MAX_PARAMS_ROLLOUTS)).round().astype(int))
    found = []
    for count in steps.tolist():
        name = "largest size" if count == 1 else f"{count} largest sizes"
        found.append(score.hold_out(name, np.isin(score.size, sizes[-count:])))
    return found


def _rollout_flops(score: _Scorer) -> list[HeldOut]:
    """All points above a cut held out, the cut at the largest FLOPs over 2, 4, 8, ..."""
    flops = score.points.flops
    found: list[HeldOut] = []
    for cut in FLOPS_CUTS:
        held = flops > float(flops.max()) / cut * (1 + _SAME_LOG)
        if len(set(score.size[~held].tolist())) < LEAST_SIZES:
            break
        if found and int(held.sum()) == found[-1].n_held_out:
            continue
        found.append(score.hold_out(f"above 1/{cut:g} of the largest FLOPs", held))
    return found


def _influence(score: _Scorer, by_size: Sequence[HeldOut]) -> dict[str, dict[str, float]]:
    whole = score.whole()
    if whole is None or "alpha" not in whole.params:
        return {}
    base = _exponents(whole.params)
    return {
        fold.held_out: {k: v - base[k] for k, v in _exponents(fold.params).items()}
        for fold in by_size
        if fold.params
    }


def _exponents(params: dict[str, float]) -> dict[str, float]:
    alpha, beta = params["alpha"], params["beta"]
    return {"alpha": alpha, "beta": beta, "a": beta / max(alpha + beta, 1e-300)}


def _verdict(rollouts: list[HeldOut], reasons: dict[str, str]) -> tuple[str, float | None]:
    """One plain line, and how far to trust in FLOPs beyond the largest run."""
    scored = [r for r in rollouts if r.p90_abs_error is not None]
    scored = [r for r in scored if r.factors["flops"] >= LEAST_FACTOR]
    scored.sort(key=lambda r: r.factors["flops"])
    if not scored:
        why = "; ".join(reasons[k] for k in ("rollout_params", "rollout_flops") if k in reasons)
        failed = "; ".join(f"{r.held_out}: {r.reason}" for r in rollouts if r.reason)
        return f"not validated: {why or failed or 'no rollout reaches beyond its fit'}", None
    # a longer rollout counts only when all shorter ones pass
    passing = list(itertools.takewhile(lambda r: r.passed, scored))
    if not passing:
        missed = scored[0]
        return f"held-out {_what(missed)}: missed by too much; do not extrapolate", None
    # the worst median of them: a lucky one does not reach further
    telling = [r for r in passing if r.n_held_out >= LEAST_HELD_OUT] or passing
    error = max(r.median_abs_error or 0.0 for r in telling)
    power = min(PASS_MEDIAN_FRAC / max(error, 1e-12), MAX_POWER)
    trust = float(f"{passing[-1].factors['flops'] ** power:.1g}")
    return (
        f"held-out {_what(passing[-1])}; trust to about {trust:g}x the largest FLOPs",
        trust,
    )


def _what(rollout: HeldOut) -> str:
    share = "" if rollout.n_held_out < 10 else "90% "
    return (
        f"{rollout.held_out} ({rollout.factors['flops']:.3g}x the fitted FLOPs) predicted "
        f"{share}within {_percent(rollout.p90_abs_error)} "
        f"(median {_percent(rollout.median_abs_error)})"
    )


def _percent(fraction: float | None) -> str:
    return f"{100 * (fraction or 0.0):.2g}%"


def seed_noise(points: FitPoints) -> tuple[float | None, int]:
    """Pooled standard deviation of log loss over repeats, and the number of groups.

    Repeats share size, params and tokens but not their trunk. None without any.
    """
    groups: dict[tuple[str, int, int], dict[str, float]] = defaultdict(dict)
    for row in range(len(points)):
        key = points.size[row], _bin(points.params[row]), _bin(points.tokens[row])
        groups[key][points.cluster[row]] = math.log(points.loss_nats[row])
    repeats = [np.array(list(g.values())) for g in groups.values() if len(g) > 1]
    # equal to the last bit, it is one run listed twice, not a repeat
    repeats = [values for values in repeats if np.ptp(values) > 0]
    if not repeats:
        return None, 0
    squares = sum(float(((v - v.mean()) ** 2).sum()) for v in repeats)
    return math.sqrt(squares / sum(len(v) - 1 for v in repeats)), len(repeats)


def _bin(value: float) -> int:
    return round(math.log(value) / 1e-3)


def find_rises(points: FitPoints, noise_log: float) -> tuple[list[Rise], int]:
    """Where loss rises beyond noise, and how many neighbours were compared.

    Along tokens: neighbours within a trunk (a size, where no trunks are known). Along params:
    each run against the next smaller size at the same tokens, whose log loss is interpolated
    in log tokens between its horizons (never beyond them; a chord lies above the curve, so no
    rise is made up).
    """
    allowed = MONOTONE_SIGMAS * math.sqrt(2) * noise_log + 1e-9
    logs, rises, pairs = np.log(points.loss_nats), [], 0
    trunks: dict[str, list[int]] = defaultdict(list)
    # a table without trunks has one run each: then a size's runs are compared
    names = points.cluster if points.n_clusters < len(points) else points.size
    for row in np.argsort(points.tokens, kind="stable").tolist():
        trunks[names[row]].append(row)
    for rows in trunks.values():
        for low, high in itertools.pairwise(rows):
            if points.tokens[high] > points.tokens[low] * (1 + _SAME_LOG):
                pairs += 1
                rises.append(("tokens", low, high, float(logs[high] - logs[low])))
    members = _rows_by_size(points)
    for small, large in itertools.pairwise(sizes_in_order(points)):
        found = _against(points, members[small], members[large])
        pairs += len(found)
        rises += found
    return [
        Rise(
            along=along,
            lower=points.run_id[low],
            higher=points.run_id[high],
            rise_log=rise,
            allowed_log=allowed,
        )
        for along, low, high, rise in rises
        if rise > allowed
    ], pairs


def _rows_by_size(points: FitPoints) -> dict[str, list[int]]:
    members: dict[str, list[int]] = defaultdict(list)
    for row, name in enumerate(points.size):
        members[name].append(row)
    return members


def _against(
    points: FitPoints, small: list[int], large: list[int]
) -> list[tuple[str, int, int, float]]:
    """(params, nearest run of the smaller size, run, rise of log loss) at equal tokens."""
    tokens, losses = np.log(points.tokens), np.log(points.loss_nats)
    horizons, place, times = np.unique(
        np.round(tokens[small], 3), return_inverse=True, return_counts=True
    )
    means = np.bincount(place, losses[small]) / times
    found = []
    for row in large:
        if horizons[0] - 1e-3 <= tokens[row] <= horizons[-1] + 1e-3:
            before = float(np.interp(tokens[row], horizons, means))
            nearest = small[int(np.abs(tokens[small] - tokens[row]).argmin())]
            found.append(("params", nearest, row, float(losses[row]) - before))
    return found


def flag_outliers(points: FitPoints, result: FitResult) -> list[tuple[str, str]]:
    """(run_id, reason) of points that do not look like the others: flagged, never excluded.

    Log residuals from ``result``'s law beyond ``OUTLIER_SIGMAS`` robust standard deviations
    (1.4826 times the median absolute one, at least ``LEAST_SIGMA_LOG``), and rows equal to
    an earlier one. Without a usable fit only the latter.
    """
    flagged = _duplicates(points)
    if not result.usable:
        return flagged
    inputs = {name: points.variable(name) for name in ("params", "tokens", "flops")}
    residual = np.log(points.loss_nats / load_law(result.law).predict(result.params, inputs))
    middle = float(np.median(residual))
    sigma = max(1.4826 * float(np.median(np.abs(residual - middle))), LEAST_SIGMA_LOG)
    small = points.flops <= np.median(points.flops)
    for row in np.flatnonzero(np.abs(residual - middle) > OUTLIER_SIGMAS * sigma).tolist():
        away = residual[row] - middle
        size = f"{abs(away) / sigma:.0f} robust sigmas ({100 * math.expm1(abs(away)):.2g}%)"
        if away < 0:
            reason = f"loss {size} below the law: another data set or count?"
        elif small[row]:
            reason = f"loss {size} above the law at a small budget: still on the early plateau?"
        else:
            reason = f"loss {size} above the law: spike, wrong batch or learning rate?"
        flagged.append((points.run_id[row], reason))
    return flagged


def _duplicates(points: FitPoints) -> list[tuple[str, str]]:
    seen: dict[tuple[float, float, float], str] = {}
    flagged = []
    for row, name in enumerate(points.run_id):
        key = (points.params[row], points.tokens[row], points.loss_nats[row])
        if key in seen:
            flagged.append((name, f"same params, tokens and loss as {seen[key]}"))
        else:
            seen[key] = name
    return flagged
