"""Holds runs out and predicts them: by size, by trunk, by tokens, by FLOPs, one block ahead.

Residuals are relative, measured / predicted - 1: negative means measured below forecast. Trunks
stay whole in ``trunks_left_out`` and ``sizes_left_out`` (branches share init and data);
rollouts by tokens and FLOPs cut through trunks, as when a user trains for longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from scaling_law.errors import FitError
from scaling_law.fit.approaches.parametric import Refitter
from scaling_law.fit.checks.monotone import seed_noise, sizes_in_order
from scaling_law.fit.laws import Law
from scaling_law.fit.points.points import FitPoints
from scaling_law.fit.result import FitResult, status_words
from scaling_law.fit.solver.interval import prediction_interval
from scaling_law.fit.solver.solve import Objective

# A rollout passes when the median relative error of its held-out runs is within the first
# figure and 90% of them (below ten: all) are within the second, which the noise of single runs
# may reach; with fewer than LEAST_HELD_OUT runs only the second counts.
PASS_MEDIAN_FRAC = 0.01
PASS_P90_FRAC = 0.03
LEAST_HELD_OUT = 3
LEAST_SIZES = 3
# With fewer sizes held out a rollout shows how one size continues, not how sizes compare.
LEAST_SIZES_HELD_OUT = 2
MAX_FOLDS = 8
MAX_TRUNK_FOLDS = 16
MAX_ROLLOUTS = 4
WINDOWS = 5
FLOPS_CUTS = (2.0, 4.0, 8.0, 16.0, 64.0)
# The cuts that laws are compared by, and the sizes that must be left to fit when sizes are held out
# for it: few runs would favour the law with the fewest parameters.
COMPARING_CUTS = (4.0, 16.0)
LEAST_SIZES_COMPARING = 4
# A run within this share of a cut in FLOPs is at the cut: whole steps round its FLOPs.
_SAME = 1e-4

Mask = NDArray[np.bool_]
"""True for the points that are held out, [n]."""
Fold = tuple[str, Mask]
"""Which points are held out, in words, and as a mask."""


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Runs predicted by a law fitted without them.

    The errors are None, and the others empty, when refused.

    ``held_out``: which runs, in words.
    ``status``: of the fit; ``refused`` for ``reason`` where there is none.
    ``reason``: why it was refused, or what the fit says.
    ``n_fitted``: number of points fitted.
    ``n_held_out``: number of points held out.
    ``n_sizes``: number of sizes among those held out.
    ``n_trunks``: number of trunks among them.
    ``factors``: ``params``, ``tokens``, ``flops`` -> largest held out / largest fitted.
    ``median_abs_error``: median of the absolute residuals.
    ``p90_abs_error``: 90% of them are at most this (below ten runs: all).
    ``max_abs_error``: the largest of them.
    ``mean_residual``: mean residual, with its sign.
    ``residuals``: (run_id, measured loss / predicted - 1).
    ``coverage``: share of the held-out runs within their prediction interval at ``level``; None
        where no intervals were requested or none are available.
    ``level``: confidence level of these intervals; None without.
    ``params``: the law's parameters.
    """

    held_out: str
    status: str
    reason: str
    n_fitted: int
    n_held_out: int
    n_sizes: int
    n_trunks: int
    factors: dict[str, float]
    median_abs_error: float | None = None
    p90_abs_error: float | None = None
    max_abs_error: float | None = None
    mean_residual: float | None = None
    residuals: tuple[tuple[str, float], ...] = ()
    coverage: float | None = None
    level: float | None = None
    params: dict[str, float] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether the errors are within ``PASS_MEDIAN_FRAC`` and ``PASS_P90_FRAC``."""
        if self.median_abs_error is None or self.p90_abs_error is None:
            return False
        few = self.n_held_out < LEAST_HELD_OUT
        typical = few or self.median_abs_error <= PASS_MEDIAN_FRAC
        return typical and self.p90_abs_error <= PASS_P90_FRAC


class HoldOuts:
    """Fits without some points, then predicts them; ``resamples`` adds interval coverage."""

    def __init__(
        self,
        points: FitPoints,
        law: Law,
        objective: Objective | None = None,
        *,
        resamples: int = 0,
        level: float = 0.9,
        refitter: Refitter | None = None,
    ) -> None:
        self.points, self.law, self.resamples, self.level = points, law, resamples, level
        self.size = np.array(points.size)
        self.trunk = np.array(points.cluster)
        self.sizes = sizes_in_order(points)
        self._refit = refitter
        if refitter is None:
            try:
                self._refit = Refitter(points, law, objective)
            except FitError as problem:
                self._why = str(problem)

    @property
    def whole(self) -> FitResult | None:
        """The fit to all points; None where there is none."""
        if self._refit is None or not self._refit.whole.usable:
            return None
        return self._refit.whole

    def hold_out(self, held_out: str, held: Mask) -> HeldOut:
        """Predict the points where ``held`` [n] is true from the others."""
        points, variables = self.points, ("params", "tokens", "flops")
        factors = {
            name: float(points.variable(name)[held].max() / points.variable(name)[~held].max())
            for name in variables
        }
        sizes, trunks = (len(set(of[held].tolist())) for of in (self.size, self.trunk))
        counts = int((~held).sum()), int(held.sum()), sizes, trunks
        if self._refit is None:
            return _refused(held_out, self._why, counts, factors)
        try:
            fit = self._refit.on(~held, resamples=self.resamples, level=self.level)
        except FitError as problem:
            return _refused(held_out, str(problem), counts, factors)
        if not fit.usable:
            return _refused(held_out, f"{status_words(fit.status)}: {fit.message}", counts, factors)
        rest = points.take(held)
        inputs = {name: rest.variable(name) for name in self._refit.law.variables}
        residuals = rest.loss_nats / self._refit.law.predict(fit.params, inputs) - 1
        errors = np.abs(residuals)
        return HeldOut(
            held_out=held_out,
            status=fit.status,
            reason=fit.message,
            n_fitted=counts[0],
            n_held_out=counts[1],
            n_sizes=sizes,
            n_trunks=trunks,
            factors=factors,
            median_abs_error=float(np.median(errors)),
            p90_abs_error=float(np.quantile(errors, 0.9, method="higher")),
            max_abs_error=float(errors.max()),
            mean_residual=float(residuals.mean()),
            residuals=tuple(zip(rest.run_id, residuals.tolist(), strict=True)),
            coverage=self._coverage(fit, rest, self.points.take(~held)),
            level=self.level if self.resamples else None,
            params=fit.params,
        )

    def _coverage(self, fit: FitResult, rest: FitPoints, fitted: FitPoints) -> float | None:
        if not fit.samples:
            return None
        noise, _ = seed_noise(fitted)
        inside = []
        for row in range(len(rest)):
            target = {
                name: float(rest.variable(name)[row])
                for name in ("params", "tokens", "flops", "tokens_unique")
            }
            spread = prediction_interval(fit, target, level=self.level, seed_noise_log=noise)
            if spread.nats is None:
                return None
            inside.append(spread.nats[0] <= rest.loss_nats[row] <= spread.nats[1])
        return float(np.mean(inside))

    def each(self, folds: Sequence[Fold]) -> list[HeldOut]:
        """``hold_out`` of each fold, whose fits are made at once."""
        if self._refit is not None:
            self._refit.prepare(~held for _, held in folds)
        return [self.hold_out(words, held) for words, held in folds]

    def sizes_left_out(self) -> list[Fold]:
        """Each size left out; many sizes in at most ``MAX_FOLDS`` runs of neighbours."""
        if len(self.sizes) <= LEAST_SIZES:
            return []
        return _folds(self.sizes, self.size, MAX_FOLDS)

    def trunks_left_out(self) -> list[Fold]:
        """Each trunk left out; many trunks in at most ``MAX_TRUNK_FOLDS`` folds."""
        trunks = list(dict.fromkeys(self.points.cluster))
        return _folds(trunks, self.trunk, MAX_TRUNK_FOLDS) if len(trunks) > 1 else []

    def rollout_params(self) -> list[Fold]:
        """The largest size held out, then the two largest, ... while three are left to fit."""
        most = len(self.sizes) - LEAST_SIZES
        folds = []
        for count in _steps(most) if most >= 1 else []:
            words = "largest size" if count == 1 else f"{count} largest sizes"
            folds.append((words, np.isin(self.size, self.sizes[-count:])))
        return folds

    def rollout_tokens(self) -> list[Fold]:
        """The longest horizon held out, then the two longest, ... while three are left."""
        tokens = np.round(np.log(self.points.tokens), 2)
        horizons = np.unique(tokens)
        most = len(horizons) - LEAST_SIZES
        folds = []
        for count in _steps(most) if most >= 1 else []:
            words = "longest tokens" if count == 1 else f"{count} longest token counts"
            folds.append((words, tokens >= horizons[-count]))
        return folds

    def rollout_flops(self) -> list[Fold]:
        """All points above a cut held out, the cut at the largest FLOPs over 2, 4, 8, ..."""
        folds: list[Fold] = []
        for cut in FLOPS_CUTS:
            held = above_flops(self.points, cut)
            if _sizes_fitted(self.points, held) < LEAST_SIZES:
                break
            if not folds or int(held.sum()) != int(folds[-1][1].sum()):
                folds.append((f"above 1/{cut:g} of the largest FLOPs", held))
        return folds

    def expanding_window(self) -> list[HeldOut]:
        """Blocks of runs in order of FLOPs, each predicted from all blocks before it."""
        order = np.argsort(self.points.flops, kind="stable")
        blocks = np.array_split(order, WINDOWS + 1)
        results = []
        for number in range(2, len(blocks)):
            past, ahead = np.concatenate(blocks[:number]), blocks[number]
            if not len(ahead) or len(set(self.size[past].tolist())) < LEAST_SIZES:
                continue
            some = np.sort(np.concatenate([past, ahead]))
            window = self._window(some)
            held = np.isin(some, ahead)
            results.append(window.hold_out(f"block {number + 1} of {len(blocks)} by FLOPs", held))
        return results

    def _window(self, rows: NDArray[np.int64]) -> HoldOuts:
        objective = self._refit.objective if self._refit else None
        some = self.points.take(rows)
        return HoldOuts(some, self.law, objective, resamples=self.resamples, level=self.level)


def _folds(names: Sequence[str], of: NDArray[np.str_], most: int) -> list[Fold]:
    """Each of ``names`` held out, or at most ``most`` runs of neighbours; ``of`` [n] are names."""
    folds = []
    for fold in np.array_split(np.array(names), min(len(names), most)):
        words = str(fold[0]) if len(fold) == 1 else f"{fold[0]} to {fold[-1]}"
        folds.append((words, np.isin(of, fold)))
    return folds


def largest_sizes(points: FitPoints, least_runs: int) -> Mask:
    """The largest size, or as many of the largest as make ``least_runs`` runs."""
    size, held = np.array(points.size), np.zeros(len(points), dtype=bool)
    for name in reversed(sizes_in_order(points)):
        held |= size == name
        if held.sum() >= least_runs:
            break
    return held


def above_flops(points: FitPoints, cut: float, *, allowance: float = _SAME) -> Mask:
    """The points whose FLOPs exceed the largest over ``cut`` by more than a share of it."""
    return np.asarray(points.flops > float(points.flops.max()) / cut * (1 + allowance))


def comparing_folds(points: FitPoints) -> list[Mask]:
    """What is held out in turn to compare laws: the largest sizes, then by FLOPs.

    Only folds that leave enough sizes to fit.
    """
    largest = largest_sizes(points, LEAST_HELD_OUT)
    folds = [largest] if _sizes_fitted(points, largest) >= LEAST_SIZES_COMPARING else []
    for cut in COMPARING_CUTS:
        # no allowance: it would change which law the stored sweeps forecast with
        held = above_flops(points, cut, allowance=0.0)
        known = any(np.array_equal(held, other) for other in folds)
        if held.any() and _sizes_fitted(points, held) >= LEAST_SIZES and not known:
            folds.append(held)
    return folds


def _sizes_fitted(points: FitPoints, held: Mask) -> int:
    return len(set(np.array(points.size)[~held].tolist()))


def _steps(most: int) -> list[int]:
    steps = np.unique(np.linspace(1, most, min(most, MAX_ROLLOUTS)).round().astype(int))
    return [int(step) for step in steps]


def _refused(
    held_out: str, reason: str, counts: tuple[int, int, int, int], factors: dict[str, float]
) -> HeldOut:
    return HeldOut(
        held_out=held_out,
        status="refused",
        reason=reason,
        n_fitted=counts[0],
        n_held_out=counts[1],
        n_sizes=counts[2],
        n_trunks=counts[3],
        factors=factors,
    )
