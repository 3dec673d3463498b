"""What a budget could buy: sizes and horizons around a config's grid, at the plan's own costs.

``Catalog`` numbers these candidates and the runs that are trained already in one list, for the
search.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from scaling_law.config.grid_section import GridEntry
from scaling_law.config.schema import Limits
from scaling_law.config.sweep_config import SweepConfig
from scaling_law.design.search import Costs, SearchSpace, Trunks
from scaling_law.design.variance import Runs
from scaling_law.errors import ConfigError, FitError, PlanError
from scaling_law.fit.laws.law import Floats
from scaling_law.fit.points.points import FitPoints
from scaling_law.forecast.budget import Budget
from scaling_law.plan.device_profile import DeviceProfile
from scaling_law.plan.grid import expand
from scaling_law.plan.make import make_plan
from scaling_law.plan.plan import Plan
from scaling_law.plan.size_optim import rule_choice
from scaling_law.plan.sizes import size_name
from scaling_law.plan.time_limit import WORKER_START_SECONDS
from scaling_law.spec.architectures import architecture_of, sized, template_of
from scaling_law.spec.counts import count_params, train_flops
from scaling_law.spec.model import Model
from scaling_law.spec.values import MAX_PARAMS
from scaling_law.units import format_count

# Tokens per matmul parameter of a candidate. Below, runs hardly leave the warm-up, where no law
# for the end of training holds.
LEAST_RATIO, MOST_RATIO = 2.0, 300.0
SIZE_STEP, HORIZON_STEP = 1.5, 2.0
MOST_SIZES, MOST_HORIZONS = 16, 10
# No single run may take more of the budget.
MOST_SHARE = 0.7
_LEAST_STEPS = 100


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One run that could be bought.

    Costs are in the budget's unit, in seconds of one slot.

    ``size``: name of its size.
    ``model``: its shape.
    ``tokens``: its horizon in tokens.
    ``horizon``: the number of that horizon on the common ladder.
    ``single``: cost of the run trained alone.
    ``trunk``: cost of its trunk up to the branch point.
    ``branch``: cost of its cooldown from there.
    """

    size: str
    model: Model
    tokens: float
    horizon: int
    single: float
    trunk: float
    branch: float


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """The runs that a budget could buy.

    ``config``: what the runs share, with one batch for all of them.
    ``runs``: the candidates, by rising size and by rising horizon within a size.
    ``ladder``: the horizons in tokens that the corpus allows, which the sizes share.
    ``most_tokens``: the longest run that the corpus allows; infinite without a limit.
    ``left_out``: what cannot be run, and why.
    """

    config: SweepConfig
    runs: tuple[Candidate, ...]
    ladder: tuple[float, ...]
    most_tokens: float
    left_out: tuple[str, ...]

    def config_of(
        self, entries: Sequence[tuple[Model, Sequence[float], Sequence[int]]]
    ) -> SweepConfig:
        """The config with these (model, tokens, seeds) as its grid."""
        grid = tuple(_entry(model, tokens, seeds) for model, tokens, seeds in entries)
        return dataclasses.replace(self.config, grid=grid)


def candidates(
    config: SweepConfig,
    profile: DeviceProfile,
    budget: Budget,
    *,
    train_tokens: int | None,
    component_tokens: Mapping[str, int] | None = None,
    models: Sequence[Model] = (),
    batches: Mapping[Model, Collection[float]] | None = None,
) -> Candidates:
    """The runs that the budget, the corpus and the memory allow.

    Sizes go from the config's smallest up, horizons from ``LEAST_RATIO`` to ``MOST_RATIO`` tokens a
    parameter. ``models`` are offered as well: the sizes that are trained already, ``batches`` are
    those that they were trained with, in tokens. A law describes one batch a size, so that a size
    which has another one than the new runs is left out.
    ``train_tokens`` are those of the text, ``component_tokens`` those of its components where it is
    read in a mixture; None where unknown. Horizons that repeat either more often than
    ``data.max_epochs`` are left out. Raises ``PlanError`` for a config that cannot be
    planned, ``FitError`` when the budget allows no run.
    """
    if config.crossed:
        raise ConfigError(
            f"{config.where('axes')}: runs are chosen for one recipe, and the axes give"
            f" {len(config.crossed)} arms; set one with --set KEY=VALUE and --set 'axes={{}}'"
        )
    # rough costs in the precision of the runs; the plan's own come later
    speeds = profile.at(profile.precision if config.precision == "auto" else config.precision)
    own = [size_plan.model for size_plan in expand(_bare(config), train_tokens=None)]
    wall = budget.amount * (MOST_SHARE if budget.unit == "flops" else 1.0)
    sizes = _sizes(own, speeds, budget, models)
    most_tokens = longest_run(train_tokens, config.data.max_epochs)
    ladder = ladder_of(min(count_params(m).matmul for m in sizes), most_tokens)
    base = dataclasses.replace(
        config, limits=Limits(memory=config.limits.memory), early_stop=None, question=""
    )
    base = _one_batch(base, sizes, ladder, batches or {})
    batch = base.optim.batch_tokens
    other = {model: had for model, had in (batches or {}).items() if set(had) != {batch}}
    left = [
        f"{size_name(model)}: trained with {_batch_words(had)} tokens a batch, and the new runs"
        f" have {batch:,}"
        for model, had in other.items()
    ]
    sizes = [model for model in sizes if model not in other]
    if not sizes:
        raise FitError(f"every size is trained with another batch than the new runs: {left[0]}")
    entries, too_often = [], dict[str, None]()
    for model in sizes:
        horizons = _possible(base, model, list(_horizons(model, ladder)))
        horizons = _repeated_less(base, model, horizons, component_tokens, too_often)
        cheap = [d for d in horizons if _cost(model, d, speeds, budget) <= wall]
        if cheap:
            entries.append(_entry(model, cheap, (0,)))
    left += too_often
    if not entries and too_often:
        raise PlanError(*too_often)
    if not entries:
        raise _no_run(sizes[0], ladder[0])
    components = None if component_tokens is None else {base.data_spec: component_tokens}
    priced = dataclasses.replace(base, grid=tuple(entries))
    plan = make_plan(priced, profile, train_tokens=None, component_tokens=components)
    left += [f"{item.label}: {item.reason}" for item in plan.left_out]
    runs = tuple(run for run in _priced(plan, budget, ladder) if _ends_within(run, budget))
    if not runs:
        raise _no_run(sizes[0], ladder[0])
    return Candidates(
        config=base,
        runs=runs,
        ladder=tuple(ladder),
        most_tokens=most_tokens,
        left_out=tuple(left),
    )


def _ends_within(run: Candidate, budget: Budget) -> bool:
    """Whether the run alone stays within the budget: a time has the start of its worker in it."""
    if budget.unit == "seconds":
        return WORKER_START_SECONDS + run.single <= budget.amount
    return run.single <= budget.amount


def _no_run(smallest: Model, tokens: float) -> FitError:
    return FitError(
        f"the budget does not pay for one run of the smallest size, {size_name(smallest)}, at"
        f" {format_count(tokens)} tokens; raise it"
    )


def _batch_words(batches: Collection[float]) -> str:
    return " and ".join(f"{tokens:,.0f}" for tokens in sorted(set(batches)))


def _bare(config: SweepConfig) -> SweepConfig:
    return dataclasses.replace(config, limits=Limits())


def _sizes(
    own: Sequence[Model], profile: DeviceProfile, budget: Budget, more: Sequence[Model]
) -> list[Model]:
    """Models from the smallest of ``own`` up, a factor of ``SIZE_STEP`` apart or more."""
    smallest = min(own, key=lambda model: count_params(model).non_embedding)
    low = count_params(smallest).non_embedding
    models: dict[Model, None] = {model: None for model in more if model.n_ctx == smallest.n_ctx}
    models[smallest] = None
    template = template_of(smallest)
    if architecture_of(smallest).shape_for is None:
        raise PlanError(
            f"no sizes to propose: the architecture {template.architecture.name} has no rule that"
            " gives a parameter count its shape"
        )
    params, larger = float(low), list[Model]()
    while (params := params * SIZE_STEP) < MAX_PARAMS:
        try:
            model = sized(params, "non_embedding", template)
        except ValueError:
            continue  # no shape is near: the ladder has a gap there
        tokens = 2 * LEAST_RATIO * count_params(model).matmul
        if _cost(model, tokens, profile, budget) > 0.5 * budget.amount:
            break
        larger.append(model)
    every = max(1, math.ceil(len(larger) / MOST_SIZES))
    models |= dict.fromkeys(larger[::-1][::every][::-1])
    apart: list[Model] = []
    for model in sorted(models, key=lambda m: (count_params(m).matmul, size_name(m))):
        known = model in more or model == smallest
        near = apart and count_params(model).matmul < 1.15 * count_params(apart[-1]).matmul
        if near and not known:
            continue
        if near and apart[-1] not in more:
            apart.pop()
        apart.append(model)
    return apart


def _cost(model: Model, tokens: float, profile: DeviceProfile, budget: Budget) -> float:
    """The rough cost of a run, before there is a plan."""
    if budget.unit == "seconds":
        return profile.seconds(model, tokens)
    return train_flops(model, tokens)


def longest_run(train_tokens: float | None, max_epochs: float | None) -> float:
    """Tokens of the longest run that ``train_tokens`` of text allow, infinite without a limit."""
    return train_tokens * max_epochs if train_tokens and max_epochs else math.inf


def ladder_of(smallest_params: float, most_tokens: float) -> list[float]:
    """Tokens of the horizons that the sizes share, rounded to three digits.

    Raises ``PlanError`` where ``most_tokens`` allow none.
    """
    tokens = 2 * LEAST_RATIO * smallest_params
    ladder: list[float] = []
    while tokens <= most_tokens and len(ladder) < 60:
        ladder.append(float(f"{tokens:.3g}"))
        tokens *= HORIZON_STEP
    if not ladder:
        raise PlanError(
            f"the corpus allows {format_count(most_tokens)} tokens (data.max_epochs), fewer than"
            f" the smallest model's parameters ({format_count(smallest_params)});"
            " take a larger corpus"
        )
    return ladder


def _horizons(model: Model, ladder: Sequence[float]) -> Iterator[float]:
    params = count_params(model).matmul
    within = [d for d in ladder if LEAST_RATIO <= d / params <= MOST_RATIO]
    yield from within[:MOST_HORIZONS]


def _one_batch(
    config: SweepConfig,
    sizes: Sequence[Model],
    ladder: Sequence[float],
    batches: Mapping[Model, Collection[float]],
) -> SweepConfig:
    """The config with one batch for all sizes, where it leaves the batch to its rule.

    A rule changes the batch from size to size and with the horizons, and the law would show it.
    Beside trained sizes it is the batch that most of them have.
    """
    if config.optim.batch_tokens is not None:
        return config
    trained = Counter(int(tokens) for had in batches.values() for tokens in set(had))
    if trained:
        batch_tokens = max(trained, key=lambda tokens: (trained[tokens], tokens))
    else:
        middle = sizes[len(sizes) // 2]
        near = list(_horizons(middle, ladder)) or list(ladder[:1])
        batch_tokens = rule_choice(config, middle, near).batch_tokens
    optim = dataclasses.replace(config.optim, batch_tokens=batch_tokens)
    return dataclasses.replace(config, optim=optim)


def _possible(config: SweepConfig, model: Model, horizons: list[float]) -> list[float]:
    """The horizons with enough steps, and with room for the warm-up."""
    batch = config.optim.batch_tokens
    assert batch is not None, "set by _one_batch"
    left = [d for d in horizons if d >= _LEAST_STEPS * batch]
    while left:
        try:
            expand(dataclasses.replace(config, grid=(_entry(model, left, (0,)),)), None)
        except PlanError:
            left = left[1:]
            continue
        break
    return left


def _repeated_less(
    config: SweepConfig,
    model: Model,
    tokens: list[float],
    component_tokens: Mapping[str, int] | None,
    left_out: dict[str, None],
) -> list[float]:
    """The horizons that repeat no component of the mixture too often; says what is left out.

    Raises ``PlanError`` for a mixture that no run can be read in.
    """
    allowed = config.data.max_epochs
    if config.mix is None or not component_tokens or allowed is None or not tokens:
        return tokens
    entry = _entry(model, tokens, (0,))
    (size_plan,) = expand(dataclasses.replace(config, grid=(entry,)), None)
    for number, horizon in enumerate(size_plan.horizons):
        steps, decay_steps = horizon.steps, horizon.decay_steps
        try:
            epochs = config.mix.epochs(component_tokens, size_plan.batch_tokens, steps, decay_steps)
        except ValueError as problem:
            raise PlanError(f"{config.mix_place}: {problem}") from None
        most = max(epochs, key=lambda name: epochs[name])
        if epochs[most] > allowed:
            left_out[
                f"{config.mix_place}: runs of {format_count(tokens[number])} tokens and more: they"
                f" would read the {format_count(component_tokens[most])} training tokens of {most}"
                f" more often than data.max_epochs {allowed:g}; give {most} a smaller share, use"
                " more text of it, or raise data.max_epochs"
            ] = None
            return tokens[:number]
    return tokens


@lru_cache(maxsize=4096)
def name_of(model: Model) -> str:
    """The name of this shape's scale, else the name that the grid gives it."""
    part, template = architecture_of(model), template_of(model)
    names = (name for name, shape in part.scales.items() if part.make(template, shape) == model)
    return next(names, size_name(model))


def _entry(model: Model, tokens: Sequence[float], seeds: Sequence[int]) -> GridEntry:
    part, name = architecture_of(model), name_of(model)
    size = name if name in part.scales else model.values_as(part.shape)
    return GridEntry(sizes=(size,), tokens=tuple(tokens), seeds=tuple(seeds))


def _priced(plan: Plan, budget: Budget, ladder: Sequence[float]) -> Iterator[Candidate]:
    """The annealed runs of a plan with one trunk a size, with their costs."""
    trunks = {run.run_id: run for run in plan.runs if run.spec.kind == "trunk"}
    for run in plan.runs:
        if run.run_id in trunks:
            continue
        spec, branch = run.spec, run.spec.branch
        shares = spec.schedule.decay_steps is not None
        own = run.seconds if budget.unit == "seconds" else run.flops_spent
        way, cooldown = 0.0, own
        if branch is not None:
            trunk = trunks[branch.trunk_id]
            whole = trunk.seconds if budget.unit == "seconds" else trunk.flops_spent
            way = whole * branch.at_step / trunk.spec.total_steps
        elif spec.schedule.decay_steps:
            cooldown = own * spec.schedule.decay_steps / spec.total_steps
            way = own - cooldown
        horizon = min(range(len(ladder)), key=lambda i: abs(math.log(ladder[i] / spec.tokens)))
        yield Candidate(
            size=dict(spec.tags)["size"],
            model=spec.model,
            tokens=ladder[horizon],
            horizon=horizon,
            single=way + cooldown,
            # without a trunk to share, every horizon pays for itself
            trunk=way if shares else 0.0,
            branch=cooldown if shares else way + cooldown,
        )


@dataclass(frozen=True)
class Catalog:
    """The candidates and the runs that are trained already, numbered in one list of n.

    ``offers``: the candidates, which come first.
    ``runs``: params and tokens of all.
    ``flops``: exact FLOPs of each, as the fit of a sweep counts them [n].
    ``costs``: what each costs; 0 for a run that is trained already.
    ``space``: what the search chooses from.
    ``seeds_taken``: name of a size -> seeds of its trained trunks.
    """

    offers: tuple[Candidate, ...]
    runs: Runs
    flops: Floats
    costs: Costs
    space: SearchSpace
    seeds_taken: Mapping[str, frozenset[int]]


def catalog_of(
    offer: Candidates,
    convention: str,
    points: FitPoints | None = None,
    models: Mapping[str, Model] | None = None,
) -> Catalog:
    """The catalog of the candidates, and of the trained runs.

    Parameters are counted by ``convention``. ``points`` are the trained runs, ``models`` the shapes
    of their sizes by name.
    """
    runs = offer.runs
    params = [float(count_params(run.model).by(convention)) for run in runs]
    tokens = [run.tokens for run in runs]
    flops = [train_flops(run.model, run.tokens) for run in runs]
    offered = list(dict.fromkeys(run.model for run in runs))
    of_size = tuple(tuple(i for i, r in enumerate(runs) if r.model == m) for m in offered)
    horizon = [run.horizon for run in runs]
    there: dict[int, Trunks] = {}
    taken: dict[str, frozenset[int]] = {}
    if points is not None:
        known = models or {}
        place_of = {name_of(m): i for i, m in enumerate(offered)}
        groups: dict[str, list[int]] = {}
        for row, name in enumerate(points.cluster):
            groups.setdefault(name, []).append(row)
        extra: dict[str, int] = {}
        for rows in groups.values():
            size = points.size[rows[0]]
            shape = name_of(known[size]) if size in known else size
            beyond = len(offered) + extra.setdefault(shape, len(extra))
            first = len(params)
            params += [float(points.params[row]) for row in rows]
            tokens += [float(points.tokens[row]) for row in rows]
            flops += [float(points.flops[row]) for row in rows]
            horizon += [_nearest_horizon(points.tokens[row], runs) for row in rows]
            place = place_of.get(shape, beyond)
            trunk = tuple(range(first, first + len(rows)))
            there[place] = (*there.get(place, ()), trunk)
            taken[shape] = taken.get(shape, frozenset()) | {points.seed[row] for row in rows}
    trained = np.zeros(len(params) - len(runs))
    costs = Costs(
        **{
            name: np.concatenate([[getattr(run, name) for run in runs], trained])
            for name in ("single", "trunk", "branch")
        }
    )
    return Catalog(
        offers=runs,
        runs=Runs(np.array(params), np.array(tokens)),
        flops=np.array(flops),
        costs=costs,
        space=SearchSpace(of_size, tuple(horizon), there),
        seeds_taken=taken,
    )


def _nearest_horizon(tokens: float, runs: Sequence[Candidate]) -> int:
    """The horizon of the common ladder nearest to ``tokens``."""
    return min(runs, key=lambda run: abs(math.log(run.tokens / tokens))).horizon
