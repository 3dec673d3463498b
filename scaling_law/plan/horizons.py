"""The horizons of a grid entry: tokens, then steps."""

from __future__ import annotations

import itertools
import math

from scaling_law.config.grid_section import HORIZONS, GridEntry
from scaling_law.config.sweep_config import SweepConfig
from scaling_law.errors import PlanError
from scaling_law.plan.size_optim import fixed_batch
from scaling_law.plan.size_plan import Horizon
from scaling_law.spec.counts import count_params, tokens_for, train_flops
from scaling_law.spec.model import Model
from scaling_law.units import format_count


def why_too_long(config: SweepConfig, longest: int, train_tokens: int | None) -> str | None:
    """Say why the data are too short for a horizon of ``longest`` tokens; None if they are not."""
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


def horizon_key(entry: GridEntry) -> str:
    """Return the key that gives the entry's horizons."""
    return next(name for name in HORIZONS if getattr(entry, name) is not None)


def horizons_of(
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
        batch = fixed_batch(config, model.n_ctx)
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


def in_steps(
    config: SweepConfig, index: int, tokens: float, cell: float | None, batch_tokens: int
) -> Horizon:
    """Return the horizon of ``tokens``, in whole steps."""
    steps = round(tokens / batch_tokens)
    decay_steps = None
    if config.has_cooldown:
        decay_steps = max(1, round(config.schedule.decay_frac * steps))
    return Horizon(index=index, steps=steps, decay_steps=decay_steps, cell=cell)


def why_impossible(
    tokens: list[float],
    batch_tokens: int,
    warmup_steps: int,
    horizons: tuple[Horizon, ...],
) -> str | None:
    """Say why a size cannot be trained to these horizons; None if it can."""
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
