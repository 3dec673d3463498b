"""Expand a config's grid to size plans: one size and seed each, with all its horizons in steps."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from scaling_law import parts
from scaling_law.config.compose import Choice
from scaling_law.config.grid_section import HORIZONS, FlopsLadder, GridEntry, SizeRange
from scaling_law.config.sweep_config import SweepConfig
from scaling_law.decode import build_shared
from scaling_law.errors import ConfigError, PlanError
from scaling_law.spec.architectures import (
    Architecture,
    Template,
    architecture_of,
    sized,
    why_broken,
)
from scaling_law.spec.component import Component
from scaling_law.spec.counts import count_params, tokens_for, train_flops
from scaling_law.spec.hyperparams import RuleChoice, Sizing, beta2_for
from scaling_law.spec.model import DEFAULT_PARAMETRISATION, Model
from scaling_law.spec.optim import DEFAULT_OPTIMIZER, OptimSpec, RuleOverrides
from scaling_law.spec.schedule import ScheduleSpec, check_rates
from scaling_law.spec.start import StartFrom
from scaling_law.units import format_count, parse_count

MAX_POINTS = 10_000


@dataclass(frozen=True, kw_only=True)
class Horizon:
    """One length of training of a size.

    ``index`` counts the size's horizons from 0;
    ``steps`` are all its steps, from step 0 of the trunk;
    ``decay_steps`` are those of them in the cooldown, None without a cooldown;
    ``cell`` is the IsoFLOP budget that it belongs to, in exact FLOPs; None for no budget.
    """

    index: int
    steps: int
    decay_steps: int | None
    cell: float | None

    @property
    def branch_step(self) -> int:
        """The first step of the cooldown."""
        return self.steps - (self.decay_steps or 0)


@dataclass(frozen=True, kw_only=True)
class SizePlan:
    """One size and seed: everything that its trunk and branches share.

    ``size`` names the size, with what it grows from or starts from;
    ``batch_tokens`` are the tokens of one step;
    ``warmup_steps`` are the steps of the warm-up;
    ``horizons`` rise in steps;
    ``where`` is the place of ``grow_from`` in the config, for messages;
    ``grow_from`` is the size whose trunk, of the same seed, this trunk starts from; None for none;
    ``grow_tokens`` are that trunk's tokens at that point as the config gives them, None for all;
    ``grow_step`` is that trunk's step at that point;
    ``root`` is the smallest size of the chain that this one grows from, None where it does not;
    ``grow_steps`` are the steps of this trunk that others grow from;
    ``start_from`` is the run whose final weights it starts from, None for fresh weights.

    ``plan.growth`` fills in ``grow_step``, ``root`` and ``grow_steps``, which need all size plans.
    """

    size: str
    model: Model
    seed: int
    optim: OptimSpec
    batch_tokens: int
    warmup_steps: int
    horizons: tuple[Horizon, ...]
    where: str
    grow_from: str | None = None
    grow_tokens: float | None = None
    grow_step: int = 0
    root: str | None = None
    grow_steps: tuple[int, ...] = ()
    start_from: StartFrom | None = None

    @cached_property
    def horizon_names(self) -> tuple[str, ...]:
        """A name for each horizon, such as ``h4.19M``; with its steps where two share a name."""
        names = [format_count(h.steps * self.batch_tokens) for h in self.horizons]
        return tuple(
            f"h{name}-{h.steps}" if names.count(name) > 1 else f"h{name}"
            for name, h in zip(names, self.horizons, strict=True)
        )

    def schedule(self, config: SweepConfig, decay_steps: int | None) -> ScheduleSpec:
        """Return the schedule of the trunk (``decay_steps`` None) or of one horizon."""
        return _schedule(config, self.warmup_steps, decay_steps)


def expand(config: SweepConfig, train_tokens: int | None) -> list[SizePlan]:
    """Return every size plan of the grid, smallest size first.

    ``train_tokens`` is the length of the training split, None where it is not known. Raises
    ``PlanError`` with a line for each entry of the grid that cannot run as the config asks.
    """
    problems: dict[str, None] = {}
    size_plans: list[SizePlan] = []
    seen: set[tuple[Model, int, str]] = set()
    for number, entry in enumerate(config.grid):
        where = config.where("grid", number, "sizes")
        try:
            sizes = _sizes(config, number, entry)
            seeds = _seeds(config, number, entry, [name for name, _ in sizes])
        except PlanError as problem:
            problems.update(dict.fromkeys(problem.lines))
            continue
        longest = 0
        for name, model in sizes:
            try:
                size_plan = _size_plan(config, number, entry, name, model, train_tokens)
            except PlanError as problem:
                problems.update(dict.fromkeys(problem.lines))
                continue
            longest = max(longest, size_plan.horizons[-1].steps * size_plan.batch_tokens)
            for seed in seeds[name]:
                start = size_plan.size.removeprefix(name)  # what it grows from, if anything
                if (model, seed, start) in seen:
                    problems[f"{where}: size {name} with seed {seed} is in the grid twice"] = None
                seen.add((model, seed, start))
                size_plans.append(dataclasses.replace(size_plan, seed=seed))
        if line := _too_long(config, longest, train_tokens):
            problems[f"{config.where('grid', number, _given(entry))}: {line}"] = None
    if problems:
        raise PlanError(*problems)
    return sorted(size_plans, key=lambda c: (count_params(c.model).non_embedding, c.size, c.seed))


def refuse_too_many(config: SweepConfig) -> None:
    """Raise ``PlanError`` for a grid of more than ``MAX_POINTS`` points.

    A slip in a range would otherwise keep the planner busy for hours.
    """
    points = sum(map(_points, (entry for arm in config.arms for entry in arm.config.grid)))
    if points > MAX_POINTS:
        arms = "arms x " if config.crossed else ""
        raise PlanError(
            f"{config.where('grid')}: up to {points} points ({arms}sizes x seeds x horizons),"
            f" expected at most {MAX_POINTS}; shorten the lists, or make several sweeps of them"
        )


def _points(entry: GridEntry) -> int:
    given, sizes, seeds = getattr(entry, _given(entry)), entry.sizes, entry.seeds
    horizons = given.count if isinstance(given, FlopsLadder) else len(given)
    count = sizes.count if isinstance(sizes, SizeRange) else len(sizes)
    per_size = max(map(len, seeds.values()), default=1) if isinstance(seeds, dict) else len(seeds)
    return horizons * count * per_size


def _too_long(config: SweepConfig, longest: int, train_tokens: int | None) -> str | None:
    allowed = config.data.max_epochs
    if train_tokens is None or allowed is None or longest <= train_tokens * allowed:
        return None
    of, larger = ("task", "more examples") if config.task_sizes else ("corpus", "a larger corpus")
    return (
        f"the longest horizon, {format_count(longest)} tokens, is"
        f" {longest / max(train_tokens, 1):.3g} epochs of the {of}'s {format_count(train_tokens)}"
        f" training tokens, more than data.max_epochs {allowed:g}; shorten the horizon,"
        f" take {larger} or raise data.max_epochs"
    )


def _template(config: SweepConfig) -> Template:
    architecture = config.choice("architecture")
    if problem := _misfit(config, architecture):
        raise PlanError(problem)
    if architecture.reference.source_sha256 is not None and architecture.part.build is None:
        raise PlanError(
            f"{config.where('model', 'architecture')}: {architecture.spelled} gives no module:"
            " expected build=... in its ARCHITECTURE"
        )
    parametrisation = config.choice("parametrisation").component
    usual = parametrisation == Component(name=DEFAULT_PARAMETRISATION)
    return Template(
        architecture=architecture.component,
        settings=architecture.settings,
        vocab_size=config.vocab_size,
        n_ctx=config.n_ctx,
        parametrisation=None if usual else parametrisation,
        features=config.task_sizes.features if config.task_sizes else 0,
        outputs=config.task_sizes.outputs if config.task_sizes else 0,
    )


def _misfit(config: SweepConfig, architecture: Choice) -> str:
    """Say why the architecture and the data do not fit each other; "" where they do."""
    part: Architecture = architecture.part
    task = config.task_sizes
    inputs = task.inputs if task else "ids"
    ids = ", of at least 2 kinds" if part.inputs == "ids" else ""
    if inputs != part.inputs or (ids and config.vocab_size < 2):
        return (
            f"{config.where('data', 'source')}: the task's inputs are {inputs}, with a vocabulary"
            f" of {config.vocab_size}; the architecture {architecture.spelled} reads"
            f" {part.inputs}{ids}"
        )
    if part.solves:
        objective = config.choice("objective")
        if objective.part.comparable != part.solves:
            return (
                f"{config.where('objective')}: {architecture.spelled} is solved in closed form,"
                f" which minimises {part.solves.replace('_', ' ')}; found"
                f" {objective.spelled}, expected objective: {part.solves}"
            )
    lacking = [
        name
        for name, needed in (("features", inputs == "numbers"), ("outputs", bool(part.solves)))
        if needed and not getattr(task, name)
    ]
    if lacking:
        return (
            f"{config.where('data', 'source')}: the task does not say how many numbers an example"
            f" has; expected {'=... and '.join(lacking)}=... in its TASK"
        )
    if part.one_output and not task:
        return (
            f"{config.where('model', 'architecture')}: {architecture.spelled} gives one output for"
            " an example, and text has a target at every position; take a task (data.source)"
        )
    if part.one_output and task.n_targets > 1:
        return (
            f"{config.where('data', 'source')}: an example of the task has {task.n_targets}"
            f" targets; the architecture {architecture.spelled} gives one output for an example"
        )
    return ""


def _sizes(config: SweepConfig, number: int, entry: GridEntry) -> list[tuple[str, Model]]:
    architecture = config.choice("architecture")
    if architecture.reference.source_sha256 is None:
        return _made_sizes(config, number, entry)
    where = config.where("model", "architecture")
    try:
        with parts.users_code(architecture.word, architecture.reference):
            sizes = _made_sizes(config, number, entry)
            broken = [why for _, model in sizes if (why := why_broken(model))]
    except ConfigError as problem:
        raise PlanError(f"{where}: {problem}") from None
    if broken:
        raise PlanError(f"{where}: {architecture.spelled}: {broken[0]}")
    return sizes


def _made_sizes(config: SweepConfig, number: int, entry: GridEntry) -> list[tuple[str, Model]]:
    template = _template(config)
    if isinstance(entry.sizes, SizeRange):
        return _range(config.where("grid", number, "sizes"), entry.sizes, template)
    part: Architecture = config.choice("architecture").part
    sizes: list[tuple[str, Model]] = []
    problems = []
    for position, size in enumerate(entry.sizes):
        try:
            if isinstance(size, str) and size not in part.scales:
                model = sized(parse_count(size), "non_embedding", template)
                if any(model == other for _, other in sizes):
                    raise ValueError(
                        f"{size}: the model nearest to it, {size_name(model)}, is already listed"
                    )
                sizes.append((size_name(model), model))
            elif isinstance(size, str):
                sizes.append((size, part.make(template, part.scales[size])))
            else:
                model = part.make(template, size)
                sizes.append((size_name(model), model))
        except ValueError as problem:
            problems.append(f"{config.where('grid', number, 'sizes', position)}: {problem}")
    if problems:
        raise PlanError(*problems)
    return sizes


def _range(where: str, sizes: SizeRange, template: Template) -> list[tuple[str, Model]]:
    low, high = sizes.params
    ratio = (high / low) ** (1 / max(1, sizes.count - 1))
    made: list[tuple[str, Model]] = []
    for position in range(sizes.count):
        wanted = low * ratio**position
        try:
            model = sized(wanted, sizes.convention, template, sizes.aspect_ratio)
        except ValueError as problem:
            raise PlanError(f"{where}: {problem}") from None
        if any(model == other for _, other in made):
            raise PlanError(
                f"{where}: {sizes.count} sizes are too many for this range: two of them have"
                f" {architecture_of(model).shape_text(model)}; lower count or widen params"
            )
        made.append((size_name(model), model))
    return made


def size_name(model: Model) -> str:
    """The name that a model's architecture gives its size."""
    return architecture_of(model).size_name(model)


def _seeds(
    config: SweepConfig, number: int, entry: GridEntry, names: list[str]
) -> dict[str, tuple[int, ...]]:
    if not isinstance(entry.seeds, dict):
        return dict.fromkeys(names, entry.seeds)
    problems = [
        f"{config.where('grid', number, 'seeds', name)}: no size of this entry has that name;"
        f" it has {', '.join(names)}"
        for name in entry.seeds
        if name not in names
    ]
    if problems:
        raise PlanError(*problems)
    return {name: entry.seeds.get(name, (0,)) for name in names}


def _size_plan(
    config: SweepConfig,
    number: int,
    entry: GridEntry,
    name: str,
    model: Model,
    train_tokens: int | None,
) -> SizePlan:
    wanted = _horizons(config, number, entry, model, train_tokens)
    tokens = [horizon for horizon, _ in wanted]
    batch, warmup_steps, optim = _steps_and_optim(config, model, tokens)
    horizons = tuple(
        _in_steps(config, index, horizon, cell, batch)
        for index, (horizon, cell) in enumerate(wanted)
    )
    refusal = _impossible(config, tokens, batch, warmup_steps, horizons)
    if refusal:
        where = config.where("grid", number, _given(entry))
        raise PlanError(f"{where}: size {name}: {refusal}")
    _check_schedule(config, warmup_steps, horizons)
    if config.solves and (entry.grow_from is not None or entry.start_from is not None):
        key = "grow_from" if entry.grow_from is not None else "start_from"
        raise PlanError(
            f"{config.where('grid', number, key)}: {config.choice('architecture').spelled} is"
            " solved in closed form and has no first weights; leave it out"
        )
    if entry.grow_from is not None:
        name += f"-from-{entry.grow_from}"
        name += f"-{format_count(entry.grow_at)}" if entry.grow_at is not None else ""
    start = start_of(entry)
    if start is not None:  # a label holds no more than the end of the other run's id
        name += f"-on-{start.run_id[-10:]}"
    return SizePlan(
        size=name,
        model=model,
        seed=0,
        optim=optim,
        batch_tokens=batch,
        warmup_steps=warmup_steps,
        horizons=horizons,
        where=config.where("grid", number, "grow_from"),
        grow_from=entry.grow_from,
        grow_tokens=entry.grow_at,
        start_from=start,
    )


def _steps_and_optim(
    config: SweepConfig, model: Model, tokens: Sequence[float]
) -> tuple[int, int, OptimSpec]:
    """Return a size's tokens of a step, steps of warm-up, and optimizer.

    What is solved in closed form has none; it counts each example as a step.
    """
    if config.solves:
        return model.n_ctx, 0, OptimSpec.solved()
    choice = _overridden(config, rule_choice(config, model, tokens), model)
    warmup_steps = max(1, round(choice.warmup_tokens / choice.batch_tokens))
    return choice.batch_tokens, warmup_steps, _optim(config, choice)


def start_of(entry: GridEntry) -> StartFrom | None:
    """Return the run whose final weights an entry's runs start from, None for none.

    The hash of the weights is part of a run's identity, so ``run.starts`` looks it up before
    planning. Raises ``PlanError`` where it is missing.
    """
    start = entry.start_from
    if start is None:
        return None
    if start.weights_sha256 is None:
        raise PlanError(f"start_from {start.run}: its weights were not looked up")
    return StartFrom(run_id=Path(start.run).name, weights_sha256=start.weights_sha256)


def rule_choice(config: SweepConfig, model: Model, tokens: Sequence[float]) -> RuleChoice:
    """Return what the config's rule chooses for one size with horizons of ``tokens``, rising.

    Raises ``PlanError`` where the rule has no choice.
    """
    rule = config.choice("rule")
    sizing = Sizing(
        model=model,
        shortest_tokens=tokens[0],
        longest_tokens=tokens[-1],
        shares_trunk=config.shares_trunk,
    )
    try:
        with parts.users_code(rule.word, rule.reference):
            choice = rule.part.choose(sizing, rule.settings)
        if not isinstance(choice, RuleChoice):
            raise ValueError(f"rule {rule.spelled} chooses {choice!r}, expected a RuleChoice")
        if choice.batch_tokens % model.n_ctx:
            raise ValueError(
                f"rule {rule.spelled} chooses a batch of {choice.batch_tokens} tokens, no multiple"
                f" of model.n_ctx {model.n_ctx}"
            )
        return choice
    except (ConfigError, ValueError) as problem:
        raise PlanError(f"{config.where('optim', 'rule')}: {problem}") from None


def _check_schedule(config: SweepConfig, warmup_steps: int, horizons: Sequence[Horizon]) -> None:
    """Raise ``PlanError`` where the schedule's part, or its cooldown's, gives no learning rate."""
    shape, cooldown = config.choice("schedule"), config.choice("cooldown")
    try:
        with (
            parts.users_code(shape.word, shape.reference),
            parts.users_code(cooldown.word, cooldown.reference),
        ):
            for horizon in horizons:
                schedule = _schedule(config, warmup_steps, horizon.decay_steps)
                check_rates(schedule, horizon.steps)
    except (ConfigError, ValueError) as problem:
        raise PlanError(f"{config.where('schedule', 'shape')}: {problem}") from None


def _schedule(config: SweepConfig, warmup_steps: int, decay_steps: int | None) -> ScheduleSpec:
    """Return the schedule of a run with ``decay_steps`` of cooldown."""
    if config.solves:
        return ScheduleSpec(shape="constant", recorded_end="annealed")
    shape, cooldown = config.choice("schedule"), config.choice("cooldown")
    fields = {
        "shape": shape.reference.name,
        "warmup_steps": warmup_steps,
        "decay_steps": decay_steps,
        "cooldown": cooldown.reference.name,
        "final_frac": config.schedule.final_frac,
        "shape_part": shape.beyond_name,
        "cooldown_part": cooldown.beyond_name,
    }
    spec = build_shared(ScheduleSpec, fields)  # many seeds share one schedule
    if shape.reference.source_sha256 is None:
        return spec
    return build_shared(ScheduleSpec, {**fields, "recorded_end": spec.end_by_part()})


def _given(entry: GridEntry) -> str:
    """Return the key that gives the entry's horizons."""
    return next(name for name in HORIZONS if getattr(entry, name) is not None)


def _horizons(
    config: SweepConfig,
    number: int,
    entry: GridEntry,
    model: Model,
    train_tokens: int | None,
) -> list[tuple[float, float | None]]:
    """Return the tokens and the IsoFLOP budget of each horizon of one size, rising."""
    if entry.tokens is not None:
        return [(tokens, None) for tokens in sorted(entry.tokens)]
    if entry.examples is not None:
        return [(count * model.n_ctx, None) for count in sorted(entry.examples)]
    if entry.epochs is not None:
        where = config.where("grid", number, "epochs")
        tokens = _epoch_tokens(config, where, model.n_ctx, train_tokens)
        return [(count * tokens, None) for count in sorted(entry.epochs)]
    if entry.steps is not None:
        batch = _fixed_batch(config, model.n_ctx)
        if batch is None:
            raise PlanError(
                f"{config.where('grid', number, 'steps')}: the batch, and so the length of a step,"
                " would follow from the horizon; set optim.batch_tokens or optim.batch_examples"
            )
        return [(count * batch, None) for count in sorted(entry.steps)]
    if entry.tokens_per_param is not None:
        params = count_params(model).by(entry.convention)
        return [(ratio * params, None) for ratio in sorted(entry.tokens_per_param)]
    if entry.flops is not None:
        return [(tokens_for(model, budget), budget) for budget in sorted(entry.flops)]
    ladder = entry.flops_ladder
    assert ladder is not None  # GridEntry holds exactly one of them
    distance = math.log(train_flops(model, ladder.tokens_near) / ladder.base_flops)
    first = round(distance / math.log(ladder.ratio))
    budgets = [ladder.base_flops * ladder.ratio**i for i in range(first, first + ladder.count)]
    return [(tokens_for(model, budget), budget) for budget in budgets]


def _epoch_tokens(config: SweepConfig, where: str, n_ctx: int, train_tokens: int | None) -> int:
    """Return the tokens of the training split in whole sequences."""
    if config.task_sizes:
        train_tokens = config.task_sizes.train_tokens
        if train_tokens is None:
            raise PlanError(
                f"{where}: the task's training examples are unlimited, so they have no epoch; give"
                " examples, tokens or steps"
            )
        return train_tokens
    if train_tokens is None:
        raise PlanError(
            f"{where}: the length of the text is not known yet; run `slaw data prepare` with this"
            " config first, or give tokens"
        )
    return (train_tokens - 1) // n_ctx * n_ctx  # a sequence's last token is only a target


def _fixed_batch(config: SweepConfig, n_ctx: int) -> int | None:
    """Return the tokens of a step where the config sets them itself, else None."""
    examples = config.optim.batch_examples
    if config.solves:
        return n_ctx
    if examples is None:
        return config.optim.batch_tokens
    if examples != "all":
        return int(examples) * n_ctx
    tokens = config.task_sizes.train_tokens if config.task_sizes else None
    if tokens is None:
        data = "a task's unlimited examples" if config.task_sizes else "text"
        raise PlanError(
            f"{config.where('optim', 'batch_examples')}: found all, and the data are {data};"
            " expected a number"
        )
    return int(tokens)


def _in_steps(
    config: SweepConfig, index: int, tokens: float, cell: float | None, batch_tokens: int
) -> Horizon:
    steps = round(tokens / batch_tokens)
    decay_steps = None
    if config.shares_trunk:
        decay_steps = max(1, round(config.schedule.decay_frac * steps))
    return Horizon(index=index, steps=steps, decay_steps=decay_steps, cell=cell)


def _impossible(
    config: SweepConfig,
    tokens: list[float],
    batch_tokens: int,
    warmup_steps: int,
    horizons: tuple[Horizon, ...],
) -> str | None:
    shortest = horizons[0]
    if tokens[0] < batch_tokens:
        return (
            f"a horizon of {format_count(tokens[0])} tokens is below one step of"
            f" {format_count(batch_tokens)} tokens"
        )
    for earlier, later in itertools.pairwise(horizons):
        if earlier.steps == later.steps:
            return f"two horizons become the same {later.steps} steps of {batch_tokens} tokens"
    if warmup_steps >= shortest.branch_step:
        return (
            f"the warm-up of {warmup_steps} steps leaves nothing before the shortest horizon"
            f" ({shortest.steps} steps) decays at step {shortest.branch_step}; lengthen the"
            " horizon or lower optim.warmup_tokens or optim.batch_tokens"
        )
    return None


def _overridden(config: SweepConfig, choice: RuleChoice, model: Model) -> RuleChoice:
    """Return the rule's choice with the values that ``optim`` sets itself."""
    optim = config.optim
    if optim.lr is not None:
        choice = dataclasses.replace(choice, lr=optim.lr)
    if optim.lr_mult != 1:
        choice = dataclasses.replace(choice, lr=float(f"{choice.lr * optim.lr_mult:.6g}"))
    batch = _fixed_batch(config, model.n_ctx)
    if batch is not None:
        if batch % model.n_ctx:
            below = batch // model.n_ctx * model.n_ctx
            near = [str(b) for b in (below, below + model.n_ctx) if b]
            raise PlanError(
                f"{config.where('optim', 'batch_tokens')}: {batch} is not a multiple of"
                f" model.n_ctx {model.n_ctx}; nearest: {' and '.join(near)}"
            )
        choice = dataclasses.replace(choice, batch_tokens=batch, beta2=beta2_for(batch))
    beta2 = getattr(config.choice("optimizer").settings, "beta2", None)
    if beta2 is not None:
        choice = dataclasses.replace(choice, beta2=beta2)
    if optim.warmup_tokens is not None:
        choice = dataclasses.replace(choice, warmup_tokens=float(optim.warmup_tokens))
    return choice


def _optim(config: SweepConfig, choice: RuleChoice) -> OptimSpec:
    """Return the optimizer as a run records it: settings that ``OptimSpec`` has are its fields."""
    section = config.optim
    optimizer = config.choice("optimizer").component
    settings = config.choice("optimizer").settings
    betas = {name: getattr(settings, name, None) for name in ("beta1", "beta2", "eps")}
    if hasattr(settings, "beta2"):
        betas["beta2"] = choice.beta2
    rest = tuple(pair for pair in optimizer.settings if pair[0] not in betas)
    optimizer = dataclasses.replace(optimizer, settings=rest)
    return OptimSpec(
        lr=choice.lr,
        rule=config.choice("rule").reference.name,
        **betas,
        weight_decay=section.weight_decay,
        grad_clip=section.grad_clip,
        overrides=RuleOverrides(
            lr=section.lr,
            lr_mult=section.lr_mult if section.lr_mult != 1 else None,
            batch_tokens=section.batch_tokens,
            beta2=getattr(settings, "beta2", None),
            warmup_tokens=section.warmup_tokens,
        ),
        optimizer=None if optimizer == Component(name=DEFAULT_OPTIMIZER) else optimizer,
        rule_part=config.choice("rule").beyond_name,
    )
