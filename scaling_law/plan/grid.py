"""Expand a config's grid to size plans: one size and seed each, with all its horizons in steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from scaling_law import parts
from scaling_law.config.grid_section import FlopsLadder, GridEntry, SizeRange, StartSection
from scaling_law.config.sweep_config import SweepConfig
from scaling_law.errors import ConfigError, PlanError
from scaling_law.plan.horizons import (
    horizon_key,
    horizons_of,
    in_steps,
    why_impossible,
    why_too_long,
)
from scaling_law.plan.size_optim import steps_and_optim
from scaling_law.plan.size_plan import Horizon, SizePlan, schedule_with
from scaling_law.plan.sizes import sizes_of
from scaling_law.spec.counts import count_params
from scaling_law.spec.model import Model
from scaling_law.spec.schedule import check_rates
from scaling_law.spec.start import StartFrom
from scaling_law.units import format_count

MAX_POINTS = 10_000


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
            sizes = sizes_of(config, number, entry)
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
        if line := why_too_long(config, longest, train_tokens):
            problems[f"{config.where('grid', number, horizon_key(entry))}: {line}"] = None
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
    given, sizes, seeds = getattr(entry, horizon_key(entry)), entry.sizes, entry.seeds
    horizons = given.count if isinstance(given, FlopsLadder) else len(given)
    count = sizes.count if isinstance(sizes, SizeRange) else len(sizes)
    per_size = max(map(len, seeds.values()), default=1) if isinstance(seeds, dict) else len(seeds)
    return horizons * count * per_size


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
    wanted = horizons_of(config, number, entry, model, train_tokens)
    tokens = [horizon for horizon, _ in wanted]
    batch, warmup_steps, optim = steps_and_optim(config, model, tokens)
    horizons = tuple(
        in_steps(config, index, horizon, cell, batch)
        for index, (horizon, cell) in enumerate(wanted)
    )
    refusal = why_impossible(tokens, batch, warmup_steps, horizons)
    if refusal:
        where = config.where("grid", number, horizon_key(entry))
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
    start, reference = start_of(entry.start_from), start_of(entry.reference)
    if start is not None:  # a label holds no more than the end of the other run's id
        name += f"-on-{start.run_id[-10:]}"
    _check_reference(config, number, entry)
    if reference is not None:
        name += f"-by-{reference.run_id[-10:]}"
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
        reference=reference,
    )


def _check_reference(config: SweepConfig, number: int, entry: GridEntry) -> None:
    """Raise ``PlanError`` where the objective reads another run and the entry names none."""
    objective = config.choice("objective")
    if objective.part.reads_reference and entry.reference is None:
        raise PlanError(
            f"{config.where('grid', number)}: objective {objective.spelled} reads the losses of"
            " another run's final model; expected reference: {run: ...}, the folder of that run or"
            " the id of one of this sweep"
        )
    if entry.reference is not None and not objective.part.reads_reference:
        raise PlanError(
            f"{config.where('grid', number, 'reference')}: objective {objective.spelled} reads no"
            " other run; leave reference out, or take an objective that reads one, such as"
            " group_dro"
        )


def start_of(start: StartSection | None) -> StartFrom | None:
    """Return the run whose final weights a run starts from, or reads; None for none.

    The hash of the weights is part of a run's identity, so ``run.starts`` looks it up before
    planning. Raises ``PlanError`` where it is missing.
    """
    if start is None:
        return None
    if start.weights_sha256 is None:
        raise PlanError(f"run {start.run}: its weights were not looked up")
    return StartFrom(run_id=Path(start.run).name, weights_sha256=start.weights_sha256)


def _check_schedule(config: SweepConfig, warmup_steps: int, horizons: Sequence[Horizon]) -> None:
    """Raise ``PlanError`` where the schedule's part, or its cooldown's, gives no learning rate."""
    shape, cooldown = config.choice("schedule"), config.choice("cooldown")
    try:
        with (
            parts.users_code(shape.word, shape.reference),
            parts.users_code(cooldown.word, cooldown.reference),
        ):
            for horizon in horizons:
                schedule = schedule_with(config, warmup_steps, horizon.decay_steps)
                check_rates(schedule, horizon.steps)
    except (ConfigError, ValueError) as problem:
        raise PlanError(f"{config.where('schedule', 'shape')}: {problem}") from None
