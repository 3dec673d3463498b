"""What a budget could buy: sizes and horizons about a config's grid, with the plan's own costs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from scaling_law.config.load import SweepConfig
from scaling_law.config.schema import GridEntry, Limits
from scaling_law.errors import ConfigError, FitError, PlanError
from scaling_law.plan.device_profile import DeviceProfile
from scaling_law.plan.grid import expand, rule_choice, size_name
from scaling_law.plan.plan import Plan, make_plan
from scaling_law.spec.architectures import architecture_of, sized, template_of
from scaling_law.spec.counts import count_params, flops_per_token
from scaling_law.spec.run import Model
from scaling_law.spec.values import MAX_PARAMS
from scaling_law.units import format_count

UNITS = ("seconds", "flops")
# Tokens per matmul parameter of a candidate; below, runs hardly leave the warm-up, and no law
# for the end of training speaks of them.
LEAST_RATIO, MOST_RATIO = 2.0, 300.0
SIZE_STEP, HORIZON_STEP = 1.5, 2.0
MOST_SIZES, MOST_HORIZONS = 16, 10
# No single run may take more of the budget.
MOST_SHARE = 0.7
_LEAST_STEPS = 100


@dataclass(frozen=True, kw_only=True)
class Budget:
    """``amount`` of ``unit``: seconds of the device, all its slots together, or exact FLOPs."""

    unit: str
    amount: float

    def __post_init__(self) -> None:
        assert self.unit in UNITS, self.unit


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One run that could be bought: ``tokens`` of a ``size``.

    ``horizon`` counts the common ladder of tokens; ``single`` its cost alone, else ``trunk`` up
    to its branch point and ``branch`` for the cooldown, all in the budget's unit (seconds of one
    slot).
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
    """All that could be bought, sizes rising and horizons rising within a size.

    ``config`` is what the runs share (one batch for all); ``left_out`` says what cannot be run.
    """

    config: SweepConfig
    runs: tuple[Candidate, ...]
    left_out: tuple[str, ...]

    def config_of(
        self, entries: Sequence[tuple[Model, Sequence[float], Sequence[int]]]
    ) -> SweepConfig:
        """The config whose grid are these (model, tokens, seeds)."""
        grid = tuple(_entry(model, tokens, seeds) for model, tokens, seeds in entries)
        return dataclasses.replace(self.config, grid=grid)


def candidates(
    config: SweepConfig,
    profile: DeviceProfile,
    budget: Budget,
    *,
    train_tokens: int | None,
    models: Sequence[Model] = (),
) -> Candidates:
    """Sizes from the config's smallest up, horizons of ``LEAST_RATIO`` to ``MOST_RATIO`` tokens a
    parameter, what the budget, the corpus and the memory allow of them.

    ``models`` are offered as well (sizes that are there already). ``train_tokens`` as in
    ``make_plan``. Raises ``PlanError`` for a config that cannot be planned, ``FitError`` when the
    budget allows no run.
    """
    if config.crossed:
        raise ConfigError(
            f"{config.where('axes')}: runs are chosen for one recipe, and the axes give"
            f" {len(config.crossed)} arms; set one with --set KEY=VALUE and --set 'axes={{}}'"
        )
    # rough costs in the precision of the runs; the plan's own come later
    speeds = profile.at(profile.precision if config.precision == "auto" else config.precision)
    own = [course.model for course in expand(_bare(config), train_tokens=None)]
    wall = budget.amount * (MOST_SHARE if budget.unit == "flops" else 1.0)
    sizes = _sizes(own, speeds, budget, models)
    allowed = config.data.max_epochs
    most_tokens = train_tokens * allowed if train_tokens and allowed else math.inf
    ladder = _ladder(min(count_params(m).matmul for m in sizes), most_tokens)
    base = dataclasses.replace(
        config, limits=Limits(memory=config.limits.memory), early_stop=None, question=""
    )
    base = _one_batch(base, sizes, ladder)
    entries = []
    for model in sizes:
        horizons = _possible(base, model, list(_horizons(model, ladder)))
        cheap = [d for d in horizons if _cost(model, d, speeds, budget) <= wall]
        if cheap:
            entries.append(_entry(model, cheap, (0,)))
    if not entries:
        raise FitError(
            f"the budget does not pay for one run of the smallest size,"
            f" {size_name(sizes[0])}, at {format_count(ladder[0])} tokens; raise it"
        )
    plan = make_plan(dataclasses.replace(base, grid=tuple(entries)), profile, train_tokens=None)
    left = tuple(f"{item.label}: {item.reason}" for item in plan.left_out)
    return Candidates(config=base, runs=tuple(_priced(plan, budget, ladder)), left_out=left)


def _bare(config: SweepConfig) -> SweepConfig:
    return dataclasses.replace(config, limits=Limits())


def _sizes(
    own: Sequence[Model], profile: DeviceProfile, budget: Budget, more: Sequence[Model]
) -> list[Model]:
    """Models from the smallest of ``own`` up, a factor of ``SIZE_STEP`` apart or more."""
    smallest = min(own, key=lambda model: count_params(model).non_embedding)
    low = count_params(smallest).non_embedding
    found: dict[Model, None] = {model: None for model in more if model.n_ctx == smallest.n_ctx}
    found[smallest] = None
    template = template_of(smallest)
    if architecture_of(smallest).shape_for is None:
        raise PlanError(
            f"no sizes to propose: the architecture {template.architecture.name} has no rule that"
            " gives a parameter count its shape"
        )
    wanted, larger = float(low), list[Model]()
    while (wanted := wanted * SIZE_STEP) < MAX_PARAMS:
        try:
            model = sized(wanted, "non_embedding", template)
        except ValueError:
            continue  # no shape near: the ladder has a gap there
        tokens = 2 * LEAST_RATIO * count_params(model).matmul
        if _cost(model, tokens, profile, budget) > 0.5 * budget.amount:
            break
        larger.append(model)
    every = max(1, math.ceil(len(larger) / MOST_SIZES))
    found |= dict.fromkeys(larger[::-1][::every][::-1])
    apart: list[Model] = []
    for model in sorted(found, key=lambda m: (count_params(m).matmul, size_name(m))):
        known = model in more or model == smallest
        near = apart and count_params(model).matmul < 1.15 * count_params(apart[-1]).matmul
        if near and not known:
            continue
        if near and apart[-1] not in more:
            apart.pop()
        apart.append(model)
    return apart


def _cost(model: Model, tokens: float, profile: DeviceProfile, budget: Budget) -> float:
    """Roughly what a run costs: before there is a plan."""
    if budget.unit == "seconds":
        return profile.seconds(model, tokens)
    return flops_per_token(model) * tokens


def _ladder(smallest_params: float, most_tokens: float) -> list[float]:
    """Tokens of the horizons that sizes share, in three digits."""
    tokens = 2 * LEAST_RATIO * smallest_params
    found: list[float] = []
    while tokens <= most_tokens and len(found) < 60:
        found.append(float(f"{tokens:.3g}"))
        tokens *= HORIZON_STEP
    if not found:
        raise PlanError(
            f"the corpus allows {format_count(most_tokens)} tokens (data.max_epochs), fewer than"
            f" the smallest model's parameters ({format_count(smallest_params)});"
            " take a larger corpus"
        )
    return found


def _horizons(model: Model, ladder: Sequence[float]) -> Iterator[float]:
    params = count_params(model).matmul
    within = [d for d in ladder if LEAST_RATIO <= d / params <= MOST_RATIO]
    yield from within[:MOST_HORIZONS]


def _one_batch(config: SweepConfig, sizes: Sequence[Model], ladder: Sequence[float]) -> SweepConfig:
    """One batch for all sizes where the config leaves it to its rule.

    The rule's steps from size to size and with the horizons chosen would show in the law.
    """
    if config.optim.batch_tokens is not None:
        return config
    middle = sizes[len(sizes) // 2]
    near = list(_horizons(middle, ladder)) or list(ladder[:1])
    batch_tokens = rule_choice(config, middle, near).batch_tokens
    optim = dataclasses.replace(config.optim, batch_tokens=batch_tokens)
    return dataclasses.replace(config, optim=optim)


def _possible(config: SweepConfig, model: Model, horizons: list[float]) -> list[float]:
    """The horizons that leave steps enough, and room for the warm-up."""
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


@lru_cache(maxsize=4096)
def name_of(model: Model) -> str:
    """The named scale of this shape, else the name that the grid gives it."""
    part, template = architecture_of(model), template_of(model)
    names = (name for name, shape in part.scales.items() if part.make(template, shape) == model)
    return next(names, size_name(model))


def _entry(model: Model, tokens: Sequence[float], seeds: Sequence[int]) -> GridEntry:
    part, name = architecture_of(model), name_of(model)
    size = name if name in part.scales else model.values_as(part.shape)
    return GridEntry(sizes=(size,), tokens=tuple(tokens), seeds=tuple(seeds))


def _priced(plan: Plan, budget: Budget, ladder: Sequence[float]) -> Iterator[Candidate]:
    """Every annealed run of a plan of one trunk a size, with its costs."""
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
