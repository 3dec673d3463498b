"""What ``slaw plan --target`` does: the sweep that makes a forecast sharpest for a budget.

Candidates with their costs (``candidates``), what is believed of the losses (``design.prior``), the
search (``design.search``), and the chosen runs as a config and its plan.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scaling_law.config.load import SweepConfig, config_yaml
from scaling_law.design.candidates import Budget, Candidates, candidates, name_of
from scaling_law.design.catalog import Board, board_of
from scaling_law.design.prior import Prior, prior_from_fits, prior_of
from scaling_law.design.search import Guards, Search, State
from scaling_law.design.simulate import expected_fits
from scaling_law.design.variance import Beliefs, Noise, Runs, believe
from scaling_law.errors import ConfigError, FitError
from scaling_law.fit.laws import load_law
from scaling_law.fit.points.points import FitPoints
from scaling_law.fit.result import FitResult, Prediction, finite_json
from scaling_law.fit.session import KnownLaws
from scaling_law.forecast.extrapolate import extrapolate
from scaling_law.plan.device_profile import DeviceProfile
from scaling_law.plan.plan import Plan, make_plan
from scaling_law.plan.stacking import with_stacks
from scaling_law.spec.counts import CONVENTIONS, count_params
from scaling_law.spec.run import Model
from scaling_law.units import format_count, format_seconds

# So many times smaller than the smallest run, a target is thought to be a slip.
_FAR_BELOW = 10.0
# What slots cannot share evenly: the first allowance is so much of slots x time.
_PACKED = 0.9
_TRIES = 5
_SAME = 1e-3
LEVEL = 0.9


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The forecast to sharpen: ``target`` as ``extrapolate`` takes it (params, tokens, flops,
    target_loss; None where not given), and the budget of the runs to choose."""

    target: Mapping[str, Any]
    budget: Budget
    level: float = LEVEL

    def __post_init__(self) -> None:
        if not any(value is not None for value in self.target.values()):
            raise ConfigError(
                "no target: give --target N (parameters), --target-flops or --target-loss"
            )


@dataclass(frozen=True, kw_only=True)
class Before:
    """What is there already: the fit so far, its points, and the models of their sizes."""

    known: KnownLaws
    points: FitPoints
    models: Mapping[str, Model]
    origin: str

    @property
    def fit(self) -> FitResult:
        """The law to forecast with. Raises ``FitError`` when there is none that may be used."""
        name = self.known.best_law
        if name not in self.known.laws or self.known.laws[name].status != "converged":
            why = self.known.laws[name].message if name in self.known.laws else "none was fitted"
            raise FitError(
                f"{self.origin}: the law to forecast with, {name or 'none'}, does not extrapolate:"
                f" {why}"
            )
        return self.known.laws[name]


@dataclass(frozen=True, kw_only=True)
class ChosenRun:
    """An annealed run of the design; ``gain_frac``: how much larger the forecast's variance
    would be without it, as a share. Counts of params by convention."""

    label: str
    seed: int
    params_non_embedding: int
    params_matmul: int
    params_total: int
    tokens: float
    tokens_per_param: float
    flops: float
    seconds: float
    gain_frac: float


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """The chosen sweep, and what it is expected to tell.

    ``before`` and ``after``: (low, high) of the target's loss in nats at the level; ``after``
    is the expected fit's own forecast. ``before_alone`` and ``alone``: by its law without rivals.
    """

    config: SweepConfig
    plan: Plan
    wanted: Wanted
    chosen: tuple[ChosenRun, ...]
    target: Prediction
    before: tuple[float, float]
    before_alone: tuple[float, float]
    before_from: str
    after: Prediction
    alone: tuple[float, float]
    prior: Prior
    noise: Noise
    candidates: int
    notes: tuple[str, ...] = field(default=())

    @property
    def yaml(self) -> str:
        """The config as ``slaw run`` takes it."""
        low, high = self.after.low_nats, self.after.high_nats
        asked = {k: v for k, v in self.wanted.target.items() if v is not None}
        words = ", ".join(f"{name} {value:g}" for name, value in asked.items())
        return (
            f"# chosen by `slaw plan` for {words}, budget {budget_words(self.wanted.budget)}:\n"
            f"# expected {100 * self.wanted.level:g}% interval there {low:.3g} to {high:.3g} nats\n"
            f"{config_yaml(self.config)}"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        found: dict[str, Any] = finite_json({
            "target": {k: getattr(self.target, k) for k in ("params", "tokens", "flops")},
            "budget": dataclasses.asdict(self.wanted.budget),
            "level": self.wanted.level,
            "prior": {"laws": list(self.prior.laws), "truths": len(self.prior.truths),
                      "origin": self.prior.origin},
            "noise": dataclasses.asdict(self.noise),
            "before_nats": list(self.before),
            "before_alone_nats": list(self.before_alone),
            "before_from": self.before_from,
            "after_nats": [self.after.low_nats, self.after.high_nats],
            "after_alone_nats": list(self.alone),
            "beyond_data": self.after.beyond_data,
            "refused": self.after.refused,
            "warnings": list(self.after.warnings),
            "runs": [dataclasses.asdict(run) for run in self.chosen],
            "flops": self.plan.flops_total,
            "seconds": self.plan.seconds_estimate,
            "candidates": self.candidates,
            "notes": list(self.notes),
        })  # fmt: skip
        return found


def budget_words(budget: Budget) -> str:
    """``4h00m`` or ``1e+15 FLOPs``."""
    if budget.unit == "seconds":
        return format_seconds(budget.amount)
    return f"{format_count(budget.amount)} FLOPs"


def propose(
    config: SweepConfig,
    profile: DeviceProfile,
    wanted: Wanted,
    *,
    train_tokens: int | None = None,
    before: Before | None = None,
) -> Proposal:
    """Choose the runs. Raises ``FitError`` for a target or budget no design can serve,
    ``ConfigError`` for a malformed target, ``PlanError`` for a config that cannot be planned."""
    offer = candidates(
        config,
        profile,
        wanted.budget,
        train_tokens=train_tokens,
        models=tuple(before.models.values()) if before else (),
    )
    convention = _convention(before)
    board = board_of(
        offer, convention, before.points if before else None, before.models if before else {}
    )
    prior = _prior(board, before)
    noise = _noise(before)
    target = _target(wanted, prior, board, before, noise, convention)
    _refuse_within(target, wanted, offer, profile)
    assert target.params is not None and target.tokens is not None
    beliefs = believe(prior.truths, board.runs, (target.params, target.tokens), noise)
    search = Search(beliefs, board.costs, board.choices, _guards(board))
    state, chosen_config, plan = _fitting(search, offer, board, wanted, profile, train_tokens)
    fits = _expected(prior, board, state, noise, convention, before)
    after = _forecast(fits, prior, noise, target, wanted.level)
    only = _forecast({prior.truths[0].law: fits[prior.truths[0].law]}, prior, noise, target,
                     wanted.level)  # fmt: skip
    return Proposal(
        config=chosen_config,
        plan=plan,
        wanted=wanted,
        chosen=tuple(_chosen(search, state, board, plan, convention)),
        target=target,
        before=_before_interval(target, beliefs, before),
        before_alone=_before_alone(wanted, beliefs, before),
        before_from=_before_words(before, prior),
        after=after,
        alone=_ends(only),
        prior=prior,
        noise=noise,
        candidates=len(offer.runs),
        notes=offer.left_out,
    )


def _convention(before: Before | None) -> str:
    """Which parameters count: as in the fit so far."""
    found = before.fit.convention["params"] if before else "matmul"
    if found not in CONVENTIONS:
        raise FitError(f"the fit counts parameters as {found!r}: fit again with --convention")
    return found


def _prior(board: Board, before: Before | None) -> Prior:
    if before is None:
        return prior_of(board.runs)
    return prior_from_fits(before.known.laws, before.known.best_law, board.runs)


def _noise(before: Before | None) -> Noise:
    """The reference sweep's noise, or as far as this sweep's own was measured, that."""
    if before is None:
        return Noise()
    usual, fit = Noise(), before.fit
    seeds = before.known.seed_noise_log or math.hypot(usual.run_log, usual.trunk_log)
    share = seeds / math.hypot(usual.run_log, usual.trunk_log)
    scatter = fit.residual_scatter_log if math.isfinite(fit.residual_scatter_log) else 0.0
    misfit = math.sqrt(max(scatter**2 - seeds**2, (0.5 * usual.misfit_log) ** 2))
    return Noise(
        run_log=usual.run_log * share, trunk_log=usual.trunk_log * share, misfit_log=misfit
    )


def _guards(board: Board) -> Guards:
    """As they are, or what few sizes and horizons allow."""
    usual = Guards()
    sizes = len([cells for cells in board.choices.of_size if cells])
    horizons = len({run.horizon for run in board.offers})
    if sizes < usual.sizes or horizons < usual.horizons:
        raise FitError(
            f"the budget, the corpus and the memory allow runs of {sizes} sizes at {horizons}"
            f" horizons; at least {usual.sizes} of each are needed to see whether a law holds:"
            " raise the budget, or begin with smaller sizes in the grid"
        )
    return usual


def _target(
    wanted: Wanted, prior: Prior, board: Board, before: Before | None, noise: Noise,
    convention: str,
) -> Prediction:  # fmt: skip
    """The target completed (tokens of a size, say) by the law to forecast with."""
    if before is not None:
        return forecast_now(before, wanted)
    every = tuple((row,) for row in range(len(board.runs.params)))
    fits = expected_fits(
        prior.truths[0], (), board.runs, every, noise, _counts(convention), flops=board.flops
    )
    return extrapolate(fits[prior.truths[0].law], level=wanted.level, **wanted.target)


def forecast_now(before: Before, wanted: Wanted) -> Prediction:
    """What the fit so far says of the target, as ``slaw extrapolate`` would."""
    known = before.known
    return extrapolate(
        before.fit,
        level=wanted.level,
        seed_noise_log=known.seed_noise_log,
        alternatives=[law for law in known.laws.values() if law is not before.fit],
        trust_flops_factor=known.trust_flops_factor,
        **wanted.target,
    )


def _refuse_within(
    target: Prediction, wanted: Wanted, offer: Candidates, profile: DeviceProfile
) -> None:
    """Refuse a target that needs no law: it lies amid the data, or the budget buys it."""
    assert target.params is not None and target.tokens is not None and target.flops is not None
    words = f"{format_count(target.params)} params on {format_count(target.tokens)} tokens"
    within = target.source == "fitted" and max(target.beyond_data.values(), default=2) <= 1
    if within and max(target.below_data.values(), default=0) > _FAR_BELOW:
        raise FitError(
            f"the target, {words}, lies far below the runs there, where their law does not hold;"
            " was a larger one meant, as in 3e9?"
        )
    if within:
        raise FitError(
            f"the target, {words}, lies inside the data: `slaw extrapolate` reads it off the fit,"
            " there is nothing to plan"
        )
    if wanted.budget.unit == "flops":
        price = target.flops
    else:
        largest = max((run.model for run in offer.runs), key=lambda m: count_params(m).matmul)
        price = target.flops / profile.flops_per_second(largest)
    if price <= wanted.budget.amount:
        takes = budget_words(Budget(unit=wanted.budget.unit, amount=price))
        raise FitError(
            f"the target, {words}, takes {takes}, within the budget of"
            f" {budget_words(wanted.budget)}: train it, there is nothing to extrapolate"
        )


def _fitting(
    search: Search, offer: Candidates, board: Board, wanted: Wanted, profile: DeviceProfile,
    train_tokens: int | None,
) -> tuple[State, SweepConfig, Plan]:  # fmt: skip
    """The best design whose plan keeps within the budget, with its config and plan."""
    budget = wanted.budget
    slots = profile.slots if budget.unit == "seconds" else 1
    allowance = budget.amount * (slots * _PACKED if budget.unit == "seconds" else 1.0)
    for _ in range(_TRIES):
        state = search.run(allowance)
        config = offer.config_of(_entries(state, board))
        plan = make_plan(config, profile, train_tokens=train_tokens)
        plan = with_stacks(plan) if config.stacking == "auto" else plan
        spent = plan.seconds_estimate if budget.unit == "seconds" else plan.flops_total
        if spent <= budget.amount * (1 + _SAME):
            return state, config, plan
        allowance *= 0.98 * budget.amount / spent
    raise FitError(f"no design keeps within {budget_words(budget)}; raise the budget")


def _entries(state: State, board: Board) -> list[tuple[Model, list[float], list[int]]]:
    """(model, tokens, seeds), trunks of one size and the same horizons together."""
    found: dict[tuple[str, tuple[float, ...]], tuple[Model, list[float], list[int]]] = {}
    for size, trunk, seed in _seeded(state, board):
        offers = [board.offers[run] for run in trunk]
        tokens = [offer.tokens for offer in offers]
        entry = found.setdefault((size, tuple(tokens)), (offers[0].model, tokens, []))
        entry[2].append(seed)
    return list(found.values())


def _seeded(state: State, board: Board) -> list[tuple[str, tuple[int, ...], int]]:
    """(name of the size, runs, seed) of each chosen trunk; seeds not taken yet, from 0 up."""
    used: dict[str, set[int]] = {}
    found = []
    for _, trunk in state.trunks:
        size = name_of(board.offers[trunk[0]].model)
        taken = used.setdefault(size, set(board.seeds_taken.get(size, ())))
        seed = min(set(range(len(taken) + 1)) - taken)
        taken.add(seed)
        found.append((size, trunk, seed))
    return found


def _chosen(
    search: Search, state: State, board: Board, plan: Plan, convention: str
) -> list[ChosenRun]:
    gains = search.contributions(state)
    planned = {
        (dict(run.spec.tags)["size"], run.spec.seed, run.spec.total_steps): run
        for run in plan.runs
        if run.spec.kind != "trunk"
    }
    batch = plan.runs[0].spec.batch_tokens
    found = []
    for size, trunk, seed in _seeded(state, board):
        for run in trunk:
            offer = board.offers[run]
            spec = planned[size, seed, round(offer.tokens / batch)]
            counts = count_params(offer.model)
            found.append(
                ChosenRun(
                    label=spec.spec.label,
                    seed=seed,
                    params_non_embedding=counts.non_embedding,
                    params_matmul=counts.matmul,
                    params_total=counts.total,
                    tokens=spec.spec.tokens,
                    tokens_per_param=spec.spec.tokens / counts.by(convention),
                    flops=spec.flops_alone,
                    seconds=spec.seconds,
                    gain_frac=gains[trunk, run],
                )
            )
    return found


def _counts(convention: str) -> dict[str, str]:
    return {"params": convention, "flops": "exact", "loss": "nats per token"}


def _expected(
    prior: Prior, board: Board, state: State, noise: Noise, convention: str, before: Before | None
) -> dict[str, FitResult]:
    """The fits to be expected after the chosen runs, with those there already.

    With a fit so far, of every law that counts in its forecast: what is expected after is then
    told apart by the runs, not by fewer laws.
    """
    trunks = [t for ts in board.choices.there.values() for t in ts]
    trunks += [trunk for _, trunk in state.trunks]
    rows = [run for trunk in trunks for run in trunk]
    place = {run: i for i, run in enumerate(rows)}
    runs = Runs(board.runs.params[rows], board.runs.tokens[rows])
    groups = [tuple(place[run] for run in trunk) for trunk in trunks]
    known = _rivals(before) if before else {}
    found = expected_fits(
        prior.truths[0], [*prior.laws, *known], runs, groups, noise, _counts(convention),
        flops=board.flops[rows],
    )  # fmt: skip
    return {
        name: _told_apart(fit, found[prior.truths[0].law], known[name], known[prior.truths[0].law])
        if name in known
        else fit
        for name, fit in found.items()
    }


def _told_apart(
    fit: FitResult, best: FitResult, known: FitResult, known_best: FitResult
) -> FitResult:
    """An expected fit of a law that is as bad as it is ``known`` to be beside the best law.

    How it did on held-out runs is known so far only; and runs that told it from the best are
    there still: more of them do not bring a law back.
    """
    worse = known.rms_log_residual / max(known_best.rms_log_residual, 1e-300)
    return dataclasses.replace(
        fit,
        rms_log_residual=max(fit.rms_log_residual, worse * best.rms_log_residual),
        rollout_rms_log=known.rollout_rms_log,
    )


def _rivals(before: Before) -> dict[str, FitResult]:
    """The laws that count in the forecast of the fit so far, its own among them, by name."""
    variables = set(load_law(before.fit.law).variables)
    return {
        name: law
        for name, law in before.known.laws.items()
        if law.status == "converged" and set(load_law(name).variables) == variables
    }


def _forecast(
    fits: Mapping[str, FitResult], prior: Prior, noise: Noise, target: Prediction, level: float
) -> Prediction:
    fit = fits[prior.truths[0].law]
    return extrapolate(
        fit,
        params=target.params,
        tokens=target.tokens,
        level=level,
        seed_noise_log=noise.new_run_log,
        alternatives=[other for other in fits.values() if other is not fit],
    )


def _ends(prediction: Prediction) -> tuple[float, float]:
    low, high = prediction.low_nats, prediction.high_nats
    return (math.nan if low is None else low), (math.nan if high is None else high)


def _before_interval(
    target: Prediction, beliefs: Beliefs, before: Before | None
) -> tuple[float, float]:
    if before is not None:
        return _ends(target)
    low, high = np.quantile(np.exp(beliefs.aim_log), [0.0, 1.0])
    return float(low), float(high)


def _before_alone(wanted: Wanted, beliefs: Beliefs, before: Before | None) -> tuple[float, float]:
    if before is None:
        losses = np.exp(beliefs.aim_log[[law == beliefs.laws[0] for law in beliefs.laws]])
        return float(losses.min()), float(losses.max())
    only = {before.fit.law: before.fit}
    known = dataclasses.replace(before.known, laws=only)
    return _ends(forecast_now(dataclasses.replace(before, known=known), wanted))


def _before_words(before: Before | None, prior: Prior) -> str:
    if before is not None:
        return f"the fit so far ({before.origin})"
    laws = f"{len(prior.laws)} laws ({', '.join(prior.laws)})"
    return f"no run yet: the range of {len(prior.truths)} planted truths of {laws}"
