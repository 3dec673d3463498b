"""Runs left out, then predicted: by size, by trunk, by tokens, by FLOPs, one block ahead.

Errors are relative, predicted / measured - 1: positive means measured below forecast. Trunks
stay whole in ``leave_trunks_out`` and ``leave_sizes_out`` (branches share init and data);
rollouts by tokens and FLOPs cut through trunks, as a user does who trains for longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from scaling_law.errors import FitError
from scaling_law.fit.approaches.parametric import Refitter
from scaling_law.fit.checks.monotone import seed_noise, sizes_in_order
from scaling_law.fit.points.points import FitPoints
from scaling_law.fit.result import FitResult, status_words
from scaling_law.fit.solver.interval import prediction_interval
from scaling_law.fit.solver.solve import Objective

# A rollout passes when the median relative error of its held-out runs is within the first
# figure and 90% of them (below ten: all) within the second, which noise of single runs may
# use up; with fewer than LEAST_HELD_OUT runs only the second counts.
PASS_MEDIAN_FRAC = 0.01
PASS_P90_FRAC = 0.03
LEAST_HELD_OUT = 3
LEAST_SIZES = 3
# Fewer sizes held out would show how one size goes on, not how sizes compare.
LEAST_SIZES_HELD_OUT = 2
MAX_FOLDS = 8
MAX_TRUNK_FOLDS = 16
MAX_ROLLOUTS = 4
WINDOWS = 5
FLOPS_CUTS = (2.0, 4.0, 8.0, 16.0, 64.0)
_SAME_LOG = 1e-4


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Runs predicted by a law fitted without them.

    ``held_out`` says which; ``n_fitted``, ``n_held_out`` count points, ``n_sizes`` and
    ``n_trunks`` the sizes and trunks of those held out. ``factors`` maps
    ``params``/``tokens``/``flops`` to largest held out / largest fitted. ``residuals`` are
    (run_id, measured loss over predicted minus one); of their absolute values
    ``median_abs_error``, ``p90_abs_error`` (the largest, below ten runs) and ``max_abs_error``;
    ``mean_residual`` has their sign. ``params`` are the law's. ``coverage`` is the share of
    held-out runs within their prediction interval at ``level``, None where intervals were not
    asked for or cannot be had. All None or empty when ``status`` is ``refused`` for ``reason``.
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
        law: str,
        objective: Objective | None = None,
        *,
        resamples: int = 0,
        level: float = 0.9,
        refitter: Refitter | None = None,
    ) -> None:
        self.points, self.resamples, self.level = points, resamples, level
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
        """The fit to all points, None where none can be had."""
        if self._refit is None or not self._refit.whole.usable:
            return None
        return self._refit.whole

    def hold_out(self, held_out: str, held: NDArray[np.bool_]) -> HeldOut:
        """Score the points where ``held`` [n] is true."""
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

    def leave_sizes_out(self) -> list[HeldOut]:
        """Each size left out; many sizes in at most ``MAX_FOLDS`` runs of neighbours."""
        if len(self.sizes) <= LEAST_SIZES:
            return []
        return self._folds(self.sizes, self.size, MAX_FOLDS)

    def leave_trunks_out(self) -> list[HeldOut]:
        """Each trunk left out; many trunks in at most ``MAX_TRUNK_FOLDS`` folds."""
        trunks = list(dict.fromkeys(self.points.cluster))
        return self._folds(trunks, self.trunk, MAX_TRUNK_FOLDS) if len(trunks) > 1 else []

    def _folds(self, names: Sequence[str], of: NDArray[np.str_], most: int) -> list[HeldOut]:
        found = []
        for fold in np.array_split(np.array(names), min(len(names), most)):
            name = str(fold[0]) if len(fold) == 1 else f"{fold[0]} to {fold[-1]}"
            found.append(self.hold_out(name, np.isin(of, fold)))
        return found

    def rollout_params(self) -> list[HeldOut]:
        """The largest size held out, then the two largest, ... while three are left to fit."""
        most = len(self.sizes) - LEAST_SIZES
        if most < 1:
            return []
        found = []
        for count in _steps(most):
            name = "largest size" if count == 1 else f"{count} largest sizes"
            found.append(self.hold_out(name, np.isin(self.size, self.sizes[-count:])))
        return found

    def rollout_tokens(self) -> list[HeldOut]:
        """The longest horizon held out, then the two longest, ... while three are left."""
        tokens = np.round(np.log(self.points.tokens), 2)
        horizons = np.unique(tokens)
        most = len(horizons) - LEAST_SIZES
        if most < 1:
            return []
        found = []
        for count in _steps(most):
            name = "longest tokens" if count == 1 else f"{count} longest token counts"
            found.append(self.hold_out(name, tokens >= horizons[-count]))
        return found

    def rollout_flops(self) -> list[HeldOut]:
        """All points above a cut held out, the cut at the largest FLOPs over 2, 4, 8, ..."""
        flops = self.points.flops
        found: list[HeldOut] = []
        for cut in FLOPS_CUTS:
            held = flops > float(flops.max()) / cut * (1 + _SAME_LOG)
            if len(set(self.size[~held].tolist())) < LEAST_SIZES:
                break
            if found and int(held.sum()) == found[-1].n_held_out:
                continue
            found.append(self.hold_out(f"above 1/{cut:g} of the largest FLOPs", held))
        return found

    def expanding_window(self) -> list[HeldOut]:
        """Runs in order of FLOPs, in blocks: each block predicted from all before it."""
        order = np.argsort(self.points.flops, kind="stable")
        blocks = np.array_split(order, WINDOWS + 1)
        found = []
        for number in range(2, len(blocks)):
            past, ahead = np.concatenate(blocks[:number]), blocks[number]
            if not len(ahead) or len(set(self.size[past].tolist())) < LEAST_SIZES:
                continue
            some = np.sort(np.concatenate([past, ahead]))
            window = self._window(some)
            held = np.isin(some, ahead)
            found.append(window.hold_out(f"block {number + 1} of {len(blocks)} by FLOPs", held))
        return found

    def _window(self, rows: NDArray[np.int64]) -> HoldOuts:
        assert self._refit is not None or self._why
        some = self.points.take(rows)
        law, objective = "chinchilla", None
        if self._refit is not None:
            law, objective = self._refit.law.name, self._refit.objective
        return HoldOuts(some, law, objective, resamples=self.resamples, level=self.level)


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
