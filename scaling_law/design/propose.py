"""What ``slaw plan --target`` does: the sweep that makes a forecast sharpest for a budget.

The search (``design.search``) chooses among candidates with their costs (``design.candidates``)
under the laws that may hold (``design.prior``); the chosen runs become a config and its plan.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scaling_law.config.sweep_config import SweepConfig
from scaling_law.config.written import config_yaml
from scaling_law.design.candidates import Candidates, Catalog, candidates, catalog_of, name_of
from scaling_law.design.prior import Prior, prior_from_fits, prior_of
from scaling_law.design.search import Design, Minimums, Search
from scaling_law.design.simulate import expected_fits
from scaling_law.design.variance import Noise, Posterior, Runs, Trunk, posterior_of
from scaling_law.errors import ConfigError, FitError
from scaling_law.fit.laws import load_law
from scaling_law.fit.make_worlds import METHOD, edges_of
from scaling_law.fit.points.points import FitPoints
from scaling_law.fit.result import FitResult, Prediction, finite_json
from scaling_law.fit.session import KnownLaws
from scaling_law.fit.worlds import Worlds, worlds_of
from scaling_law.forecast.budget import Budget
from scaling_law.forecast.extrapolate import extrapolate
from scaling_law.forecast.target import Target
from scaling_law.plan.device_profile import DeviceProfile
from scaling_law.plan.make import ComponentTokens, TrainTokens, make_plan
from scaling_law.plan.plan import Plan
from scaling_law.plan.stacking import with_stacks
from scaling_law.spec.counts import CONVENTIONS, count_params
from scaling_law.spec.model import Model
from scaling_law.units import count_of, format_count

# A target this many times smaller than the smallest run is taken for a slip.
_FAR_BELOW = 10.0
# Runs do not fill slots evenly: the first allowance is this share of slots x time.
_PACKED = 0.9
_TRIES = 5
_SAME = 1e-3
LEVEL = 0.9


@dataclass(frozen=True, kw_only=True)
class DesignGoal:
    """The forecast to make sharp, and what may be spent on it.

    ``target``: where to forecast.
    ``budget``: for the runs of all rounds.
    ``level``: confidence level of the forecast's interval.
    ``width_nats``: the interval's width to stop at, in nats; None: spend the budget.
    ``rounds``: the most rounds of runs to spend the budget in.
    """

    target: Target
    budget: Budget
    level: float = LEVEL
    width_nats: float | None = None
    rounds: int = 1

    def __post_init__(self) -> None:
        if not self.target.given:
            raise ConfigError(
                "no target: give --target N (parameters), --target-flops or --target-loss"
            )
        width = self.width_nats
        if width is not None and not (math.isfinite(width) and width > 0):
            raise ConfigError(f"--width is {width:g}, expected nats above 0")
        if self.rounds < 1:
            raise ConfigError(f"--rounds is {self.rounds}, expected at least 1")


@dataclass(frozen=True, kw_only=True)
class FitSoFar:
    """What the finished runs of a sweep say.

    ``known``: the laws fitted to them.
    ``points``: the runs as points.
    ``models``: the shapes of their sizes, by name.
    ``origin``: where they come from, in words.
    """

    known: KnownLaws
    points: FitPoints
    models: Mapping[str, Model]
    origin: str

    @property
    def batches(self) -> dict[Model, set[float]]:
        """The batches that each size was trained with, in tokens."""
        known = self.points.batch_tokens
        if known is None:
            return {}
        each: dict[Model, set[float]] = {}
        for size, tokens in zip(self.points.size, known.tolist(), strict=True):
            if size in self.models:
                each.setdefault(self.models[size], set()).add(tokens)
        return each

    @property
    def fit(self) -> FitResult:
        """The law to forecast with. Raises ``FitError`` when none may be extrapolated."""
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
    """An annealed run of the design.

    ``label``: the run's label.
    ``seed``: its seed.
    ``params_non_embedding``: parameters by that convention.
    ``params_matmul``: parameters by that convention.
    ``params_total``: parameters by that convention.
    ``tokens``: training tokens.
    ``tokens_per_param``: tokens over the parameters that the law counts.
    ``flops``: exact FLOPs of the run alone.
    ``seconds``: estimated seconds.
    ``epochs``: passes over the training text; None while its length is unknown, 0 where a task's
    examples have no end.
    ``gain_frac``: how much larger the forecast's variance would be without it, as a share.
    """

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
    epochs: float | None


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """The chosen sweep, and the forecast that is expected of it.

    ``config``: the sweep's config.
    ``plan``: its plan.
    ``goal``: what it was chosen for.
    ``chosen``: its annealed runs.
    ``now``: the forecast at the target before these runs.
    ``before``: (low, high) of the target's loss in nats before them, over all laws.
    ``before_alone``: the same by the law to forecast with alone.
    ``before_from``: where these come from, in words.
    ``after``: the forecast that is expected after the runs.
    ``alone``: (low, high) of it by its law alone.
    ``prior``: the laws that it was chosen under.
    ``noise``: the noise that it was chosen under.
    ``candidates``: number of runs to choose from.
    ``notes``: what could not be run, and why.
    """

    config: SweepConfig
    plan: Plan
    goal: DesignGoal
    chosen: tuple[ChosenRun, ...]
    now: Prediction
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
        words = ", ".join(f"{name} {value:g}" for name, value in self.goal.target.given.items())
        return (
            f"# chosen by `slaw plan` for {words}, budget {self.goal.budget.text}:\n"
            f"# expected {100 * self.goal.level:g}% interval there {low:.3g} to {high:.3g} nats\n"
            f"{config_yaml(self.config)}"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        document: dict[str, Any] = finite_json({
            "target": {k: getattr(self.now, k) for k in ("params", "tokens", "flops")},
            "budget": dataclasses.asdict(self.goal.budget),
            "level": self.goal.level,
            "prior": {"laws": list(self.prior.laws), "truths": len(self.prior.planted),
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
        return document


def propose(
    config: SweepConfig,
    profile: DeviceProfile,
    goal: DesignGoal,
    *,
    train_tokens: int | None = None,
    component_tokens: Mapping[str, int] | None = None,
    so_far: FitSoFar | None = None,
) -> Proposal:
    """Choose the runs; ``train_tokens`` and ``component_tokens`` are as for ``candidates``.

    Raises ``FitError`` for a target or budget that no design can serve, ``ConfigError`` for a
    target that the law cannot read, ``PlanError`` for a config that cannot be planned.
    """
    offer = candidates(
        config,
        profile,
        goal.budget,
        train_tokens=train_tokens,
        component_tokens=component_tokens,
        models=tuple(so_far.models.values()) if so_far else (),
        batches=so_far.batches if so_far else None,
    )
    convention = _convention(so_far)
    catalog = catalog_of(
        offer, convention, so_far.points if so_far else None, so_far.models if so_far else {}
    )
    prior = _prior(catalog, so_far)
    noise = _noise(so_far)
    now = _now(goal, prior, catalog, so_far, noise, convention)
    _refuse_within(now, goal, offer, profile)
    assert now.params is not None and now.tokens is not None
    posterior = posterior_of(
        prior.planted, catalog.runs, (now.params, now.tokens), noise, prior.weights
    )
    search = Search(posterior, catalog.costs, catalog.space, _minimums(catalog, offer))
    tokens = {config.data_spec: train_tokens}
    components = {config.data_spec: component_tokens}
    design, chosen_config, plan = _fitting(
        search, offer, catalog, goal, profile, tokens, components
    )
    trunks = [t for ts in catalog.space.there.values() for t in ts]
    trunks += [trunk for _, trunk in design.trunks]
    main, fits = _expected(prior, catalog, trunks, noise, convention, so_far)
    worlds = _expected_worlds(fits, catalog, trunks, noise, so_far)
    after = _forecast(main, worlds, noise, now, goal.level)
    only = _forecast(main, None, noise, now, goal.level)
    return Proposal(
        config=chosen_config,
        plan=plan,
        goal=goal,
        chosen=tuple(_chosen(search, design, catalog, plan, convention)),
        now=now,
        before=_before_interval(now, posterior, so_far),
        before_alone=_before_alone(now, posterior, so_far),
        before_from=_before_words(so_far, prior),
        after=after,
        alone=_ends(only),
        prior=prior,
        noise=noise,
        candidates=len(offer.runs),
        notes=offer.left_out,
    )


def _convention(so_far: FitSoFar | None) -> str:
    """Which parameters count: those that the fit so far counts."""
    counted = so_far.fit.convention["params"] if so_far else "matmul"
    if counted not in CONVENTIONS:
        raise FitError(f"the fit counts parameters as {counted!r}: fit again with --convention")
    return counted


def _prior(catalog: Catalog, so_far: FitSoFar | None) -> Prior:
    if so_far is None:
        return prior_of(catalog.runs)
    known = so_far.known
    return prior_from_fits(known.laws, known.best_law, catalog.runs, known.worlds)


def _noise(so_far: FitSoFar | None) -> Noise:
    """The reference sweep's noise, or this sweep's own as far as it was measured."""
    if so_far is None:
        return Noise()
    usual, fit = Noise(), so_far.fit
    seeds = so_far.known.seed_noise_log or math.hypot(usual.run_log, usual.trunk_log)
    share = seeds / math.hypot(usual.run_log, usual.trunk_log)
    scatter = fit.residual_scatter_log if math.isfinite(fit.residual_scatter_log) else 0.0
    misfit = math.sqrt(max(scatter**2 - seeds**2, (0.5 * usual.misfit_log) ** 2))
    return Noise(
        run_log=usual.run_log * share, trunk_log=usual.trunk_log * share, misfit_log=misfit
    )


def _minimums(catalog: Catalog, offer: Candidates) -> Minimums:
    """What any design must have. Raises ``FitError`` where the candidates do not allow it."""
    usual = Minimums()
    if len(offer.ladder) < usual.horizons:
        raise FitError(
            f"the corpus allows {format_count(offer.most_tokens)} tokens a run (data.max_epochs),"
            f" enough for {count_of(len(offer.ladder), 'horizon')} from"
            f" {format_count(offer.ladder[0])} tokens on; at least {usual.horizons} are needed to"
            " see whether a law holds: take a larger corpus, or begin with smaller sizes in the"
            " grid"
        )
    sizes = len([cells for cells in catalog.space.of_size if cells])
    horizons = len({run.horizon for run in catalog.offers})
    if sizes < usual.sizes or horizons < usual.horizons:
        raise FitError(
            f"the budget, the corpus and the memory allow runs of {count_of(sizes, 'size')} at"
            f" {count_of(horizons, 'horizon')}; at least {usual.sizes} of each are needed to see"
            " whether a law holds:"
            " raise the budget, or begin with smaller sizes in the grid"
        )
    return usual


def _now(
    goal: DesignGoal, prior: Prior, catalog: Catalog, so_far: FitSoFar | None, noise: Noise,
    convention: str,
) -> Prediction:  # fmt: skip
    """The forecast before the runs; the law to forecast with completes the target."""
    if so_far is not None:
        return forecast_now(so_far, goal)
    every = tuple((row,) for row in range(len(catalog.runs.params)))
    main = prior.planted[0]
    fits = expected_fits(
        main, (), catalog.runs, every, noise, _counts(convention), flops=catalog.flops
    )
    return extrapolate(fits[main.law.name], goal.target, level=goal.level)


def forecast_now(so_far: FitSoFar, goal: DesignGoal) -> Prediction:
    """What the fit so far says of the target, as ``slaw extrapolate`` would."""
    fit = so_far.fit
    return extrapolate(fit, goal.target, level=goal.level, **so_far.known.beside)


def _refuse_within(
    now: Prediction, goal: DesignGoal, offer: Candidates, profile: DeviceProfile
) -> None:
    """Raises ``FitError`` for a target that needs no law: inside the data, or within the budget."""
    assert now.params is not None and now.tokens is not None and now.flops is not None
    words = f"{format_count(now.params)} params on {format_count(now.tokens)} tokens"
    within = now.source == "fitted" and max(now.beyond_data.values(), default=2) <= 1
    if within and max(now.below_data.values(), default=0) > _FAR_BELOW:
        raise FitError(
            f"the target, {words}, lies far below the runs there, where their law does not hold;"
            " was a larger one meant, as in 3e9?"
        )
    if within:
        raise FitError(
            f"the target, {words}, lies inside the data: `slaw extrapolate` reads it off the fit,"
            " no new runs are needed"
        )
    if goal.budget.unit == "flops":
        price = now.flops
    else:
        largest = max((run.model for run in offer.runs), key=lambda m: count_params(m).matmul)
        price = now.flops / profile.flops_per_second(largest)
    if price <= goal.budget.amount:
        takes = Budget(unit=goal.budget.unit, amount=price).text
        raise FitError(
            f"the target, {words}, takes {takes}, within the budget of"
            f" {goal.budget.text}: train it, there is nothing to extrapolate"
        )


def _fitting(
    search: Search, offer: Candidates, catalog: Catalog, goal: DesignGoal, profile: DeviceProfile,
    tokens: TrainTokens, components: ComponentTokens,
) -> tuple[Design, SweepConfig, Plan]:  # fmt: skip
    """The best design whose plan stays within the budget, with its config and plan."""
    budget = goal.budget
    slots = profile.slots if budget.unit == "seconds" else 1
    allowance = budget.amount * (slots * _PACKED if budget.unit == "seconds" else 1.0)
    for _ in range(_TRIES):
        design = search.run(allowance)
        config = offer.config_of(_entries(design, catalog))
        plan = make_plan(config, profile, train_tokens=tokens, component_tokens=components)
        plan = with_stacks(plan, profile.step_of) if config.stacking == "auto" else plan
        spent = plan.seconds_estimate if budget.unit == "seconds" else plan.flops_total
        if spent <= budget.amount * (1 + _SAME):
            return design, config, plan
        # a design may cost less than it was allowed and yet take longer than the budget
        allowance = 0.98 * min(allowance, design.cost) * budget.amount / spent
    raise FitError(f"no design stays within {budget.text}; raise the budget")


def _entries(design: Design, catalog: Catalog) -> list[tuple[Model, list[float], list[int]]]:
    """(model, tokens, seeds) of the design; trunks of one size and the same horizons together."""
    entries: dict[tuple[str, tuple[float, ...]], tuple[Model, list[float], list[int]]] = {}
    for size, trunk, seed in _seeded(design, catalog):
        offers = [catalog.offers[run] for run in trunk]
        tokens = [offer.tokens for offer in offers]
        entry = entries.setdefault((size, tuple(tokens)), (offers[0].model, tokens, []))
        entry[2].append(seed)
    return list(entries.values())


def _seeded(design: Design, catalog: Catalog) -> list[tuple[str, tuple[int, ...], int]]:
    """(name of the size, runs, seed) of each chosen trunk; seeds count up from the first free."""
    used: dict[str, set[int]] = {}
    seeded = []
    for _, trunk in design.trunks:
        size = name_of(catalog.offers[trunk[0]].model)
        taken = used.setdefault(size, set(catalog.seeds_taken.get(size, ())))
        seed = min(set(range(len(taken) + 1)) - taken)
        taken.add(seed)
        seeded.append((size, trunk, seed))
    return seeded


def _chosen(
    search: Search, design: Design, catalog: Catalog, plan: Plan, convention: str
) -> list[ChosenRun]:
    gains = search.contributions(design)
    planned = {
        (dict(run.spec.tags)["size"], run.spec.seed, run.spec.total_steps): run
        for run in plan.runs
        if run.spec.kind != "trunk"
    }
    batch = plan.runs[0].spec.batch_tokens
    chosen = []
    for size, trunk, seed in _seeded(design, catalog):
        for run in trunk:
            offer = catalog.offers[run]
            spec = planned[size, seed, round(offer.tokens / batch)]
            counts = count_params(offer.model)
            chosen.append(
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
                    epochs=spec.epochs,
                )
            )
    return chosen


def _counts(convention: str) -> dict[str, str]:
    return {"params": convention, "flops": "exact", "loss": "nats per token"}


def _expected(
    prior: Prior, catalog: Catalog, trunks: Sequence[Trunk], noise: Noise, convention: str,
    so_far: FitSoFar | None,
) -> tuple[FitResult, dict[str, FitResult]]:  # fmt: skip
    """The fits that are expected after the runs of ``trunks``.

    That of the law to forecast with, and by name those of the laws that count in the forecast,
    weighted as ``fit.make_worlds`` does.
    """
    rows = [run for trunk in trunks for run in trunk]
    place = {run: i for i, run in enumerate(rows)}
    runs = Runs(catalog.runs.params[rows], catalog.runs.tokens[rows])
    groups = [tuple(place[run] for run in trunk) for trunk in trunks]
    worlds = so_far.known.worlds if so_far else None
    laws = [load_law(name) for name in (*prior.laws, *(worlds.laws if worlds else ()))]
    planted, counts, flops = prior.planted[0], _counts(convention), catalog.flops[rows]
    alone = expected_fits(planted, (), runs, groups, noise, counts, flops=flops)
    weighted = expected_fits(planted, laws, runs, groups, noise, counts, flops=flops, method=METHOD)
    return alone[planted.law.name], weighted


def _expected_worlds(
    fits: Mapping[str, FitResult], catalog: Catalog, trunks: Sequence[Trunk], noise: Noise,
    so_far: FitSoFar | None,
) -> Worlds | None:  # fmt: skip
    """The worlds that are expected after the runs of ``trunks``.

    With a fit so far its laws keep their weights and their misfit: what is expected after then
    differs by the runs alone. Without one all laws count the same.
    """
    if so_far is None:
        return worlds_of(fits, noise_log=noise.new_run_log)
    rows = [run for trunk in trunks for run in trunk]
    edges = edges_of(catalog.runs.params[rows], catalog.runs.tokens[rows], catalog.flops[rows])
    worlds = so_far.known.worlds
    return worlds.refitted(fits, edges) if worlds else None


def _forecast(
    fit: FitResult, worlds: Worlds | None, noise: Noise, now: Prediction, level: float
) -> Prediction:
    return extrapolate(
        fit,
        Target(params=now.params, tokens=now.tokens),
        worlds=worlds,
        level=level,
        seed_noise_log=noise.new_run_log,
    )


def _ends(prediction: Prediction) -> tuple[float, float]:
    low, high = prediction.low_nats, prediction.high_nats
    return (math.nan if low is None else low), (math.nan if high is None else high)


def _before_interval(
    now: Prediction, posterior: Posterior, so_far: FitSoFar | None
) -> tuple[float, float]:
    if so_far is not None:
        return _ends(now)
    low, high = np.quantile(np.exp(posterior.target_log_loss), [0.0, 1.0])
    return float(low), float(high)


def _before_alone(
    now: Prediction, posterior: Posterior, so_far: FitSoFar | None
) -> tuple[float, float]:
    if so_far is None:
        main = [law == posterior.laws[0] for law in posterior.laws]
        losses = np.exp(posterior.target_log_loss[main])
        return float(losses.min()), float(losses.max())
    target = Target(params=now.params, tokens=now.tokens)
    level = now.level or LEVEL
    return _ends(extrapolate(so_far.fit, target, level=level, **so_far.known.beside_one))


def _before_words(so_far: FitSoFar | None, prior: Prior) -> str:
    if so_far is not None:
        return f"the fit so far ({so_far.origin})"
    laws = f"{len(prior.laws)} laws ({', '.join(prior.laws)})"
    return f"no run yet: the range of {len(prior.planted)} planted truths of {laws}"
