"""Checks whether a law can be trusted: held-out runs, order and noise, then one plain verdict.

A good fit to its own points proves nothing (R^2 in log-log is high for any falling curve). So the
law is fitted to some runs and predicts the others (``hold_out``), and the runs themselves are
checked for order and seed noise (``monotone``).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scaling_law.fit.approaches.parametric import Refitter
from scaling_law.fit.checks.hold_out import (
    LEAST_HELD_OUT,
    LEAST_SIZES,
    LEAST_SIZES_HELD_OUT,
    HeldOut,
    HoldOuts,
)
from scaling_law.fit.checks.monotone import Rise, find_rises, seed_noise
from scaling_law.fit.laws import load_law
from scaling_law.fit.points.points import FitPoints
from scaling_law.fit.result import finite_json
from scaling_law.fit.solver.solve import Objective
from scaling_law.units import count_of

# A rollout that extrapolates less than this in FLOPs tests next to nothing.
LEAST_FACTOR = 1.2
# How the verdict ends on a law that misses even the nearest held-out runs.
_DO_NOT = "missed by too much; do not extrapolate"
# A factor in exact FLOPs differs from the same factor in 6ND, 2 or 16 say, by less than this share.
_SAME_FACTOR = 0.005


@dataclass(frozen=True, kw_only=True)
class Validation:
    """The checks of one law on one set of points.

    ``law``: the law's name.
    ``verdict``: in one line.
    ``trust_flops_factor``: how many times beyond the largest FLOPs the law may be trusted, never
        more than a held-out rollout of several sizes reached beyond its own fit; None: not at all.
    ``seed_noise_log``: pooled standard deviation of log loss over repeats of one size and tokens;
        None without any.
    ``seed_groups``: number of such groups of repeats.
    ``leave_size_out``: each size held out, in order of size.
    ``rollout_params``: the largest sizes held out, one, then two, ...
    ``rollout_flops``: the runs above a cut in FLOPs held out, the highest cut first.
    ``leave_trunk_out``: each trunk held out; in the long form only.
    ``rollout_tokens``: the longest horizons held out; in the long form only.
    ``expanding``: each block of FLOPs from all before it; in the long form only.
    ``influence``: size -> the change that its absence makes in ``alpha``, ``beta`` and ``a``.
    ``rises``: losses that rise where they should fall.
    ``pairs_compared``: number of neighbours compared for them.
    ``reasons``: check -> why it was not possible.
    ``notes``: what a reader should know.
    """

    law: str
    verdict: str
    trust_flops_factor: float | None
    seed_noise_log: float | None
    seed_groups: int
    leave_size_out: tuple[HeldOut, ...]
    rollout_params: tuple[HeldOut, ...]
    rollout_flops: tuple[HeldOut, ...]
    leave_trunk_out: tuple[HeldOut, ...]
    rollout_tokens: tuple[HeldOut, ...]
    expanding: tuple[HeldOut, ...]
    influence: dict[str, dict[str, float]]
    rises: tuple[Rise, ...]
    pairs_compared: int
    reasons: dict[str, str]
    notes: tuple[str, ...] = ()

    @property
    def shown_errors(self) -> tuple[tuple[float, float], ...]:
        """(FLOPs over the largest fitted, error) of each rollout that the trust rests on.

        90% of its runs (below ten: all) were predicted within the error, a share of the loss.
        """
        return tuple(
            (rollout.factors["flops"], rollout.p90_abs_error)
            for rollout in _passing([*self.rollout_params, *self.rollout_flops])
            if _tells(rollout) and rollout.p90_abs_error is not None
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values, non-finite numbers as null."""
        plain: dict[str, Any] = finite_json(self)
        return plain


def validate(
    points: FitPoints,
    *,
    objective: Objective | None = None,
    law: str = "chinchilla",
    refitter: Refitter | None = None,
    resamples: int = 0,
    level: float = 0.9,
    full: bool = False,
) -> Validation:
    """Every check of ``law`` that the points allow; ``reasons`` says why one was refused.

    ``full`` adds trunks left out, rollouts by tokens and an expanding window; ``resamples``
    the coverage of prediction intervals at ``level``. Deterministic. Raises ``ConfigError`` for
    an unknown law.
    """
    score = HoldOuts(
        points, load_law(law), objective, resamples=resamples, level=level, refitter=refitter
    )
    reasons: dict[str, str] = {}
    if len(score.sizes) <= LEAST_SIZES:
        sizes = count_of(len(score.sizes), "size")
        lack = f"{sizes}, at least {LEAST_SIZES + 1} needed to hold one out"
        reasons = {"leave_size_out": lack, "rollout_params": lack}
    folds = [score.sizes_left_out(), score.rollout_params(), score.rollout_flops()]
    folds += [score.trunks_left_out(), score.rollout_tokens()] if full else [[], []]
    every = iter(score.each([fold for some in folds for fold in some]))
    by_size, by_params, by_flops, by_trunk, by_tokens = (
        tuple(itertools.islice(every, len(some))) for some in folds
    )
    if not by_flops:
        reasons["rollout_flops"] = (
            f"no cut in FLOPs leaves {LEAST_SIZES} sizes to fit: add sizes or horizons"
        )
    noise, groups = seed_noise(points)
    if noise is None:
        reasons["seed_noise_log"] = "no size and horizon was run with two seeds"
    rises, pairs = find_rises(points, noise or 0.0)
    verdict, trust = _verdict([*by_params, *by_flops], reasons)
    return Validation(
        law=law,
        verdict=verdict,
        trust_flops_factor=trust,
        seed_noise_log=noise,
        seed_groups=groups,
        leave_size_out=by_size,
        rollout_params=by_params,
        rollout_flops=by_flops,
        leave_trunk_out=by_trunk,
        rollout_tokens=by_tokens,
        expanding=tuple(score.expanding_window() if full else ()),
        influence=_influence(score, by_size),
        rises=tuple(rises),
        pairs_compared=pairs,
        reasons=reasons,
        notes=tuple(_order_notes(rises, pairs, noise)),
    )


def warning_off(verdict: str) -> str:
    """The verdict where it says not to extrapolate; empty for any other."""
    return verdict if verdict.endswith(_DO_NOT) else ""


def _order_notes(rises: Sequence[Rise], pairs: int, noise: float | None) -> list[str]:
    notes = [f"loss rose in {len(rises)} of {pairs} comparisons"] if rises else []
    if noise is None and rises:
        notes.append("without repeats any rise counts: repeat one size with 3 seeds")
    return notes


def _influence(score: HoldOuts, by_size: Sequence[HeldOut]) -> dict[str, dict[str, float]]:
    whole = score.whole
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
    """The verdict in one line, and how far in FLOPs beyond the largest run to trust the law.

    That is as far as was tested and no farther: no run has shown that errors stay small beyond it.
    """
    scored = _scored(rollouts)
    if not scored:
        why = "; ".join(reasons[k] for k in ("rollout_params", "rollout_flops") if k in reasons)
        failed = "; ".join(f"{r.held_out}: {r.reason}" for r in rollouts if r.reason)
        return f"not validated: {why or failed or 'no rollout reaches beyond its fit'}", None
    passing = _passing(rollouts)
    if not passing:
        missed = scored[0]
        return f"held-out {_what(missed)}: {_DO_NOT}", None
    telling = [r for r in passing if _tells(r)]
    if not telling:
        return (
            f"not validated: held-out {_what(passing[-1])} are too few; at least"
            f" {LEAST_HELD_OUT} runs of {LEAST_SIZES_HELD_OUT} sizes are needed: add sizes or"
            " horizons"
        ), None
    widest = telling[-1]
    trust = _rounded_down(widest.factors["flops"])
    return f"held-out {_what(widest)}; trust to {trust:g}x the largest FLOPs, no further", trust


def _scored(rollouts: Sequence[HeldOut]) -> list[HeldOut]:
    """Those that reach beyond their own fit, the shortest first."""
    far = [r for r in rollouts if r.p90_abs_error is not None]
    far = [r for r in far if r.factors["flops"] >= LEAST_FACTOR]
    return sorted(far, key=lambda r: r.factors["flops"])


def _passing(rollouts: Sequence[HeldOut]) -> list[HeldOut]:
    """A longer rollout counts only when all shorter ones pass."""
    return list(itertools.takewhile(lambda r: r.passed, _scored(rollouts)))


def _tells(rollout: HeldOut) -> bool:
    return rollout.n_held_out >= LEAST_HELD_OUT and rollout.n_sizes >= LEAST_SIZES_HELD_OUT


def _rounded_down(factor: float) -> float:
    """Rounded down to two digits: 17.9 is 17, but 15.99 is 16."""
    unit = 10.0 ** (math.floor(math.log10(factor)) - 1)
    return float(f"{math.floor(factor / unit * (1 + _SAME_FACTOR)) * unit:.2g}")


def _what(rollout: HeldOut) -> str:
    share = "" if rollout.n_held_out < 10 else "90% "
    counts = ", ".join(
        f"{count} {noun}{'' if count == 1 else 's'}"
        for count, noun in (
            (rollout.n_held_out, "run"),
            (rollout.n_sizes, "size"),
            (rollout.n_trunks, "trunk"),
        )
    )
    reach = ", ".join(
        f"{_rounded_down(rollout.factors[name]):g}x the {words}"
        for name, words in (("flops", "fitted FLOPs"), ("params", "params"), ("tokens", "tokens"))
    )
    return (
        f"{rollout.held_out} ({counts}; {reach}) predicted {share}within"
        f" {_percent(rollout.p90_abs_error)} (median {_percent(rollout.median_abs_error)})"
    )


def _percent(fraction: float | None) -> str:
    return f"{100 * (fraction or 0.0):.2g}%"
