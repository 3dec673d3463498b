"""What a size's rule and the config choose: learning rate, batch and warm-up."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from scaling_law import parts
from scaling_law.config.sweep_config import SweepConfig
from scaling_law.errors import ConfigError, PlanError
from scaling_law.spec.component import Component
from scaling_law.spec.hyperparams import RuleChoice, Sizing, beta2_for
from scaling_law.spec.model import Model
from scaling_law.spec.optim import DEFAULT_OPTIMIZER, OptimSpec, RuleOverrides


def steps_and_optim(
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


def rule_choice(config: SweepConfig, model: Model, tokens: Sequence[float]) -> RuleChoice:
    """Return what the config's rule chooses for one size with horizons of ``tokens``, rising.

    Raises ``PlanError`` where the rule has no choice.
    """
    rule = config.choice("rule")
    sizing = Sizing(
        model=model,
        shortest_tokens=tokens[0],
        longest_tokens=tokens[-1],
        shares_trunk=config.has_cooldown,
        batch_tokens=fixed_batch(config, model.n_ctx),
        weight_decay=config.optim.weight_decay,
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


def fixed_batch(config: SweepConfig, n_ctx: int) -> int | None:
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


def _overridden(config: SweepConfig, choice: RuleChoice, model: Model) -> RuleChoice:
    """Return the rule's choice with the values that ``optim`` sets itself."""
    optim = config.optim
    if optim.lr is not None:
        choice = dataclasses.replace(choice, lr=optim.lr)
    if optim.lr_mult != 1:
        choice = dataclasses.replace(choice, lr=float(f"{choice.lr * optim.lr_mult:.6g}"))
    batch = fixed_batch(config, model.n_ctx)
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
