"""From a config's grid to courses: one size and seed each, with all its horizons in steps."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from scaling_law import parts
from scaling_law.config.load import SweepConfig
from scaling_law.config.schema import (
    HORIZONS,
    FlopsLadder,
    GridEntry,
    Shape,
    SizeRange,
)
from scaling_law.decode import build_shared
from scaling_law.errors import ConfigError, PlanError
from scaling_law.spec.component import Component
from scaling_law.spec.counts import count_params, flops_per_token
from scaling_law.spec.hyperparams import RuleChoice, Sizing, beta2_for
from scaling_law.spec.run import (
    DEFAULT_OPTIMIZER,
    ModelSpec,
    OptimSpec,
    RuleOverrides,
    ScheduleSpec,
)
from scaling_law.spec.scales import (
    MODEL_SCALES,
    Scale,
    default_d_ff,
    heads_for,
    model_of,
    shape_for,
)
from scaling_law.spec.schedule import check_rates
from scaling_law.units import format_count

MAX_POINTS = 10_000


@dataclass(frozen=True, kw_only=True)
class Horizon:
    """``steps`` to take in all, ``decay_steps`` of them in the cooldown (None without one).

    ``index`` counts the size's horizons from 0; ``cell`` is the exact-FLOPs budget of the
    IsoFLOP cell it belongs to, if any.
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
class Course:
    """One size and seed: all that its trunk and branches share.

    With ``grow_from`` the trunk starts as that size's, of the same seed, after ``grow_step``
    steps of it (``grow_tokens``, as it was asked for); ``root`` is the size that growing began
    with. ``grow_steps`` are the steps of this one's trunk that others grow from. ``growth`` fills
    in what takes a look at all courses.
    """

    size: str
    model: ModelSpec
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

    @cached_property
    def horizon_names(self) -> tuple[str, ...]:
        """``h4.19M`` for each horizon, with its steps where two would share a name."""
        names = [format_count(h.steps * self.batch_tokens) for h in self.horizons]
        return tuple(
            f"h{name}-{h.steps}" if names.count(name) > 1 else f"h{name}"
            for name, h in zip(names, self.horizons, strict=True)
        )

    def schedule(self, config: SweepConfig, decay_steps: int | None) -> ScheduleSpec:
        """The learning rate of the trunk (``decay_steps`` None) or of one horizon."""
        return _schedule(config, self.warmup_steps, decay_steps)


def expand(config: SweepConfig, train_tokens: int | None) -> list[Course]:
    """Every course of the grid, smallest size first.

    ``train_tokens`` is the length of the training text, where known. Raises ``PlanError``
    with a line for each thing in the grid that cannot be run as asked.
    """
    problems: dict[str, None] = {}
    courses: list[Course] = []
    seen: set[tuple[ModelSpec, int, str]] = set()
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
                course = _course(config, number, entry, name, model)
            except PlanError as problem:
                problems.update(dict.fromkeys(problem.lines))
                continue
            longest = max(longest, course.horizons[-1].steps * course.batch_tokens)
            for seed in seeds[name]:
                start = course.size.removeprefix(name)  # what it grows from, if anything
                if (model, seed, start) in seen:
                    problems[f"{where}: size {name} with seed {seed} is in the grid twice"] = None
                seen.add((model, seed, start))
                courses.append(dataclasses.replace(course, seed=seed))
        if line := _too_long(config, longest, train_tokens):
            problems[f"{config.where('grid', number, _given(entry))}: {line}"] = None
    if problems:
        raise PlanError(*problems)
    return sorted(courses, key=lambda c: (count_params(c.model).non_embedding, c.size, c.seed))


def refuse_too_many(config: SweepConfig) -> None:
    """Raise ``PlanError`` for more points than anybody means: a slip in a range must not plan for
    hours."""
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
    if train_tokens is None or longest <= train_tokens * allowed:
        return None
    return (
        f"the longest horizon, {format_count(longest)} tokens, is"
        f" {longest / max(train_tokens, 1):.3g} epochs of the corpus's {format_count(train_tokens)}"
        f" training tokens, more than data.max_epochs {allowed:g}; shorten the horizon,"
        " take a larger corpus or raise data.max_epochs"
    )


def _template(config: SweepConfig) -> ModelSpec:
    section = config.model
    return ModelSpec(
        vocab_size=config.data.vocab_size,
        n_ctx=section.n_ctx,
        n_layer=1,
        d_model=2,
        n_head=1,
        n_kv_head=1,
        d_ff=1,
        norm=section.norm,
        position=section.position,
        activation=section.activation,
        qk_norm=section.qk_norm,
        tied=section.tied,
    )


def _sizes(config: SweepConfig, number: int, entry: GridEntry) -> list[tuple[str, ModelSpec]]:
    template = _template(config)
    if isinstance(entry.sizes, SizeRange):
        return _range(config.where("grid", number, "sizes"), entry.sizes, template)
    found: list[tuple[str, ModelSpec]] = []
    problems = []
    for position, size in enumerate(entry.sizes):
        try:
            if isinstance(size, Shape):
                model = _explicit(size, template)
                found.append((size_name(model), model))
            else:
                found.append((size, model_of(MODEL_SCALES[size], template)))
        except ValueError as problem:
            problems.append(f"{config.where('grid', number, 'sizes', position)}: {problem}")
    if problems:
        raise PlanError(*problems)
    return found


def _range(where: str, sizes: SizeRange, template: ModelSpec) -> list[tuple[str, ModelSpec]]:
    low, high = sizes.params
    ratio = (high / low) ** (1 / max(1, sizes.count - 1))
    found: list[tuple[str, ModelSpec]] = []
    for position in range(sizes.count):
        wanted = low * ratio**position
        try:
            scale = shape_for(wanted, sizes.convention, template, sizes.aspect_ratio)
        except ValueError as problem:
            raise PlanError(f"{where}: {problem}") from None
        model = model_of(scale, template)
        if any(model == other for _, other in found):
            raise PlanError(
                f"{where}: {sizes.count} sizes are too many for this range: two of them have"
                f" {scale.n_layer} layers of width {scale.d_model}; lower count or widen params"
            )
        found.append((size_name(model), model))
    return found


def _explicit(shape: Shape, template: ModelSpec) -> ModelSpec:
    scale = Scale(n_layer=shape.n_layer, d_model=shape.d_model, n_head=shape.n_head)
    return dataclasses.replace(
        model_of(scale, template),
        n_kv_head=shape.n_kv_head or shape.n_head,
        d_ff=shape.d_ff or default_d_ff(shape.d_model, template.activation),
    )


def size_name(model: ModelSpec) -> str:
    """``4x96-444k``: layers, width, non-embedding parameters, and heads or MLP if unusual."""
    name = f"{model.n_layer}x{model.d_model}"
    try:
        usual_heads = heads_for(model.d_model)
    except ValueError:
        usual_heads = 0
    if model.n_head != usual_heads:
        name += f"h{model.n_head}"
    if model.n_kv_head != model.n_head:
        name += f"k{model.n_kv_head}"
    if model.d_ff != default_d_ff(model.d_model, model.activation):
        name += f"f{model.d_ff}"
    return f"{name}-{format_count(count_params(model).non_embedding).replace('K', 'k')}"


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


def _course(
    config: SweepConfig, number: int, entry: GridEntry, name: str, model: ModelSpec
) -> Course:
    wanted = _horizons(entry, model)
    tokens = [horizon for horizon, _ in wanted]
    choice = _overridden(config, rule_choice(config, model, tokens), model)
    batch = choice.batch_tokens
    warmup_steps = max(1, round(choice.warmup_tokens / batch))
    horizons = tuple(
        _in_steps(config, index, horizon, cell, batch)
        for index, (horizon, cell) in enumerate(wanted)
    )
    refusal = _impossible(config, tokens, batch, warmup_steps, horizons)
    if refusal:
        where = config.where("grid", number, _given(entry))
        raise PlanError(f"{where}: size {name}: {refusal}")
    _check_schedule(config, warmup_steps, horizons)
    if entry.grow_from is not None:
        name += f"-from-{entry.grow_from}"
        name += f"-{format_count(entry.grow_at)}" if entry.grow_at is not None else ""
    return Course(
        size=name,
        model=model,
        seed=0,
        optim=_optim(config, choice),
        batch_tokens=batch,
        warmup_steps=warmup_steps,
        horizons=horizons,
        where=config.where("grid", number, "grow_from"),
        grow_from=entry.grow_from,
        grow_tokens=entry.grow_at,
    )


def rule_choice(config: SweepConfig, model: ModelSpec, tokens: Sequence[float]) -> RuleChoice:
    """What the config's rule says for one size with horizons of ``tokens``, rising.

    Raises ``PlanError`` where the rule has no answer.
    """
    rule = config.choice("rule")
    sizing = Sizing(
        model=model,
        shortest_tokens=tokens[0],
        longest_tokens=tokens[-1],
        shares_trunk=config.choice("schedule").part.shares_trunk,
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
    """Raises ``PlanError`` where the schedule's part, or its cooldown's, gives no learning rate."""
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
    """The learning rate of a run."""
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
    spec = build_shared(ScheduleSpec, fields)  # a hundred seeds have the same
    if shape.reference.source_sha256 is None:
        return spec
    return build_shared(ScheduleSpec, {**fields, "recorded_end": spec.end_by_part()})


def _given(entry: GridEntry) -> str:
    """The key that gives the entry's horizons."""
    return next(name for name in HORIZONS if getattr(entry, name) is not None)


def _horizons(entry: GridEntry, model: ModelSpec) -> list[tuple[float, float | None]]:
    """(tokens, IsoFLOP budget) of each horizon of one size, rising."""
    if entry.tokens is not None:
        return [(tokens, None) for tokens in sorted(entry.tokens)]
    if entry.tokens_per_param is not None:
        params = count_params(model).by(entry.convention)
        return [(ratio * params, None) for ratio in sorted(entry.tokens_per_param)]
    per_token = flops_per_token(model)
    if entry.flops is not None:
        return [(budget / per_token, budget) for budget in sorted(entry.flops)]
    ladder = entry.flops_ladder
    assert ladder is not None  # GridEntry holds exactly one of the four
    distance = math.log(ladder.tokens_near * per_token / ladder.base_flops)
    first = round(distance / math.log(ladder.ratio))
    budgets = [ladder.base_flops * ladder.ratio**i for i in range(first, first + ladder.count)]
    return [(budget / per_token, budget) for budget in budgets]


def _in_steps(
    config: SweepConfig, index: int, tokens: float, cell: float | None, batch_tokens: int
) -> Horizon:
    steps = round(tokens / batch_tokens)
    cools_down = config.choice("schedule").part.shares_trunk
    decay_steps = max(1, round(config.schedule.decay_frac * steps)) if cools_down else None
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
            return f"two horizons come to the same {later.steps} steps of {batch_tokens} tokens"
    if warmup_steps >= shortest.branch_step:
        return (
            f"the warm-up of {warmup_steps} steps leaves nothing before the shortest horizon"
            f" ({shortest.steps} steps) decays at step {shortest.branch_step}; lengthen the"
            " horizon or lower optim.warmup_tokens or optim.batch_tokens"
        )
    return None


def _overridden(config: SweepConfig, choice: RuleChoice, model: ModelSpec) -> RuleChoice:
    """The rule's choice with what ``optim`` sets itself."""
    optim = config.optim
    if optim.lr is not None:
        choice = dataclasses.replace(choice, lr=optim.lr)
    if optim.lr_mult != 1:
        choice = dataclasses.replace(choice, lr=float(f"{choice.lr * optim.lr_mult:.6g}"))
    if optim.batch_tokens is not None:
        batch = optim.batch_tokens
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
    """What a run records of the optimizer: settings that ``OptimSpec`` has are its fields."""
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
