"""One size and seed of a sweep, with all its horizons in steps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from scaling_law.config.sweep_config import SweepConfig
from scaling_law.decode import build_shared
from scaling_law.spec.model import Model
from scaling_law.spec.optim import OptimSpec
from scaling_law.spec.schedule import ScheduleSpec
from scaling_law.spec.start import StartFrom
from scaling_law.units import format_count


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
    ``start_from`` is the run whose final weights it starts from, None for fresh weights;
    ``reference`` is the run whose final model's losses its objective reads, None for none.

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
    reference: StartFrom | None = None

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
        return schedule_with(config, self.warmup_steps, decay_steps)


def schedule_with(config: SweepConfig, warmup_steps: int, decay_steps: int | None) -> ScheduleSpec:
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
