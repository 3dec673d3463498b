"""Specify the optimizer, its learning rate, and the rule that sets them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from scaling_law.spec.component import Component
from scaling_law.spec.fields import OMIT_EMPTY, at_least, chosen_by, of_axis
from scaling_law.spec.to_json import SpecPart, fields_of

# The optimizer of runs whose JSON has none.
DEFAULT_OPTIMIZER = "adamw"


@dataclass(frozen=True, kw_only=True)
class RuleOverrides(SpecPart):
    """The values that a config sets instead of its rule; None where the rule decides.

    ``lr``: peak learning rate.
    ``lr_mult``: factor on the learning rate.
    ``batch_tokens``: tokens per optimiser step.
    ``beta2``: AdamW's beta2.
    ``warmup_tokens``: tokens of the warm-up.
    """

    lr: float | None = None
    lr_mult: float | None = None
    batch_tokens: int | None = None
    beta2: float | None = None
    warmup_tokens: int | None = None

    def __post_init__(self) -> None:
        for name in ("lr", "lr_mult", "beta2"):
            value = getattr(self, name)
            if value is not None:  # the JSON holds six digits: a spec read back is equal
                object.__setattr__(self, name, float(f"{value:g}"))
        at_least(0, lr=self.lr, lr_mult=self.lr_mult, beta2=self.beta2)
        at_least(1, batch_tokens=self.batch_tokens, warmup_tokens=self.warmup_tokens)

    @cached_property
    def words(self) -> tuple[str, ...]:
        """``("lr_mult=0.3", "batch_tokens=4096")``: what is set, as the JSON spells it."""
        values = ((name, getattr(self, name)) for name, _ in fields_of(RuleOverrides))
        return tuple(
            f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
            for name, value in values
            if value is not None
        )


_NO_OVERRIDES = RuleOverrides()


@dataclass(frozen=True, kw_only=True)
class OptimSpec(SpecPart):
    """The optimizer and its learning rate; of a run that is solved in closed form, ``solved()``.

    ``lr``: peak learning rate.
    ``rule``: name of the rule that sets lr, batch, beta2 and warm-up.
    ``beta1``, ``beta2``, ``eps``: AdamW's; None for an optimizer without them.
    ``weight_decay``: on matrices only.
    ``grad_clip``: largest norm of the gradient; None does not clip.
    ``overrides``: what the config sets instead of the rule. The JSON holds it within ``rule``,
    as ``slaw_small lr_mult=0.3 batch_tokens=4096``.
    ``optimizer``: the part; None for AdamW.
    ``rule_part``: the rule, where it has settings that are not at their default or is a user's own
    file; else None.
    """

    lr: float = field(metadata=of_axis("size"))
    rule: str
    beta1: float | None = field(default=0.9, metadata=OMIT_EMPTY)
    beta2: float | None = field(default=0.95, metadata=OMIT_EMPTY | of_axis("size"))
    eps: float | None = field(default=1e-8, metadata=OMIT_EMPTY)
    weight_decay: float = 0.1
    grad_clip: float | None = 1.0
    overrides: RuleOverrides = _NO_OVERRIDES
    optimizer: Component | None = field(
        default=None, metadata=chosen_by("optim.name", DEFAULT_OPTIMIZER)
    )
    rule_part: Component | None = field(default=None, metadata=chosen_by("optim.rule", None))

    def __post_init__(self) -> None:
        if "=" in self.rule:
            raise ValueError(f"rule is {self.rule!r}, expected a name without settings")
        if not self.lr > 0:
            raise ValueError(f"lr is {self.lr}, expected above 0")
        for name in ("beta1", "beta2"):
            beta = getattr(self, name)
            if beta is not None and not 0 <= beta < 1:
                raise ValueError(f"{name} is {beta}, expected in [0, 1)")
        at_least(0, weight_decay=self.weight_decay)

    @classmethod
    def solved(cls) -> OptimSpec:
        """What a run that is solved in closed form records: it has no optimizer."""
        return cls(lr=1.0, rule="closed_form", weight_decay=0.0, grad_clip=None)

    @property
    def component(self) -> Component:
        """The optimizer, AdamW spelled out."""
        return self.optimizer or Component(name=DEFAULT_OPTIMIZER)

    @property
    def rule_text(self) -> str:
        """The rule's name and its overrides, as the JSON spells them."""
        return " ".join((self.rule, *self.overrides.words))

    def json_fields(self) -> dict[str, Any]:
        """The fields as JSON values, the overrides within the rule."""
        plain = super().json_fields()
        del plain["overrides"]
        return plain | {"rule": self.rule_text}
