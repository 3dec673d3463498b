"""Specify a run: ``RunSpec``, frozen, with every choice made.

A ``RunSpec`` holds everything that can change the loss; its canonical JSON names the run. What
changes only the speed is in ``spec.resources``.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

from scaling_law.spec.component import Component
from scaling_law.spec.data import DataSpec, TaskSpec
from scaling_law.spec.fields import OMIT_EMPTY, at_least, chosen_by, of_axis, one_of, written_as
from scaling_law.spec.mix import Mix
from scaling_law.spec.model import Model
from scaling_law.spec.optim import OptimSpec
from scaling_law.spec.parallel import Parallel
from scaling_law.spec.schedule import ScheduleSpec
from scaling_law.spec.start import Branch, Growth, StartFrom
from scaling_law.spec.to_json import SpecPart, canonical_json, fields_of, to_json
from scaling_law.spec.trainer import TrainerSpec, placeholder_values

KINDS = ("single", "trunk", "branch")
PRECISIONS = ("fp32", "bf16", "fp16")
STAGE_TAG = "stage"  # of runs of an experiment's later stages: the stage's number
MAX_LABEL = 61  # characters of a run's label, which begins the name of its folder
EVAL_SEQS = 32  # examples of one batch of an evaluation
DEFAULT_OBJECTIVE = "next_token"  # of runs whose JSON has none
DEFAULT_NUMBER_FORMAT = "native"  # likewise


@dataclass(frozen=True, kw_only=True)
class EvalSpec(SpecPart):
    """The amount of validation text that is scored, and when.

    ``val_tokens``: tokens scored at the end.
    ``curve_tokens``: tokens scored at each point of the curve.
    ``curve_points``: points of the curve.
    """

    val_tokens: int = field(default=131_072, metadata=of_axis("label"))
    curve_tokens: int = field(default=16_384, metadata=of_axis("label"))
    curve_points: int = field(default=20, metadata=of_axis("label"))

    def __post_init__(self) -> None:
        at_least(1, val_tokens=self.val_tokens, curve_tokens=self.curve_tokens)
        at_least(0, curve_points=self.curve_points)


# With fewer finished branches the spread of gains cannot be estimated.
LEAST_SIBLINGS = 2


@dataclass(frozen=True, kw_only=True)
class EarlyStop(SpecPart):
    """A run may end once its final loss is known.

    ``within``: half the 90% interval of the forecast, as a share of the loss.
    ``siblings``: run ids of the shorter branches that the forecast may read; it leaves out one
    that failed. They are named here so that the outcome does not depend on other runs in the
    folder.
    """

    within: float = field(metadata=of_axis("horizon"))
    siblings: tuple[str, ...] = field(metadata=of_axis("horizon"))

    def __post_init__(self) -> None:
        if not self.within > 0:
            raise ValueError(f"within is {self.within}, expected above 0")


@dataclass(frozen=True, kw_only=True)
class SpikeSpec(SpecPart):
    """When a step's loss is a spike, and how often a run may go back for one.

    ``sigmas``: a spike is above the mean of recent losses by this many standard deviations.
    ``above_frac``: a spike is above that mean by this share of it as well.
    ``window_steps``: how many steps the recent losses span.
    ``every_steps``: steps between the states to go back to.
    ``most_rollbacks``: after so many the run has diverged.
    """

    sigmas: float
    above_frac: float = 0.1
    window_steps: int = 64
    every_steps: int = 50
    most_rollbacks: int = 5

    def __post_init__(self) -> None:
        at_least(0, sigmas=self.sigmas, above_frac=self.above_frac)
        at_least(2, window_steps=self.window_steps)
        at_least(1, every_steps=self.every_steps, most_rollbacks=self.most_rollbacks)


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """One training run.

    ``label``: the readable half of the run id.
    ``model``, ``data``, ``schedule``, ``optim``, ``eval``: the parts.
    ``batch_tokens``: tokens per optimiser step.
    ``total_steps``: all its steps; those of a branch count from the trunk's step 0.
    ``precision``: name of the type that products are computed in.
    ``seed``: the seed from which those of first weights and data derive.
    ``family``: name of the kind of run.
    ``branch``: the trunk that the run starts from; None starts from step 0.
    ``tags``: free (key, value) pairs for analysis.
    ``early_stop``: when the run may end early; None trains to the end.
    ``growth``: the smaller trunk that the run, or its own trunk, grows from; None starts from
    random weights.
    ``spikes``: when a batch is replaced; None takes every batch in order.
    ``start_from``: the run whose final weights this run, or its own trunk, starts from; None
    starts from random weights.
    ``reference``: the run whose final model's losses the objective reads; None reads none.
    ``objective``: the targets and their loss; None is the next token.
    ``probes``: what is measured besides the loss; None for nothing.
    ``mix``: the mixture of the text's components; None reads the text as a whole, shuffled.
    ``number_format``: what products with weights are rounded to; None rounds nothing.
    ``trainer``: the user's own command that trains the run; None trains it here.
    ``parallel``: the devices that train the run together; None is one device.
    """

    label: str = field(metadata=of_axis("label"))
    model: Model
    data: DataSpec | TaskSpec
    schedule: ScheduleSpec
    optim: OptimSpec
    eval: EvalSpec
    batch_tokens: int = field(metadata=of_axis("size"))
    total_steps: int = field(metadata=of_axis("horizon"))
    precision: str
    seed: int = field(metadata=of_axis("seed"))
    family: str = "grid"
    branch: Branch | None = None
    tags: tuple[tuple[str, str], ...] = field(default=(), metadata=of_axis("label"))
    early_stop: EarlyStop | None = field(default=None, metadata=OMIT_EMPTY)
    growth: Growth | None = field(default=None, metadata=OMIT_EMPTY)
    spikes: SpikeSpec | None = field(default=None, metadata=OMIT_EMPTY)
    start_from: StartFrom | None = field(default=None, metadata=OMIT_EMPTY)
    reference: StartFrom | None = field(default=None, metadata=OMIT_EMPTY)
    objective: Component | None = field(
        default=None, metadata=chosen_by("objective", DEFAULT_OBJECTIVE)
    )
    probes: tuple[Component, ...] | None = field(
        default=None, metadata=OMIT_EMPTY | of_axis("label")
    )
    mix: Mix | None = field(default=None, metadata=written_as("data.mix"))
    number_format: Component | None = field(
        default=None, metadata=chosen_by("number_format", DEFAULT_NUMBER_FORMAT)
    )
    trainer: TrainerSpec | None = field(default=None, metadata=OMIT_EMPTY)
    parallel: Parallel | None = field(default=None, metadata=OMIT_EMPTY | of_axis("label"))

    def __post_init__(self) -> None:
        one_of("precision", self.precision, PRECISIONS)
        at_least(1, total_steps=self.total_steps)
        if not re.fullmatch(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_LABEL - 1}}}", self.label):
            raise ValueError(f"label {self.label!r} may hold only letters, digits, . _ and -")
        if self.batch_tokens < self.model.n_ctx or self.batch_tokens % self.model.n_ctx:
            raise ValueError(
                f"batch_tokens {self.batch_tokens} is not a multiple of n_ctx {self.model.n_ctx}"
            )
        if self.branch is not None and not 0 < self.branch.at_step < self.total_steps:
            raise ValueError(
                f"branch at step {self.branch.at_step} is outside (0, {self.total_steps})"
            )
        if self.mix is not None:
            if isinstance(self.data, TaskSpec):
                raise ValueError("mix: a task has no components to mix")
            self.mix_steps()
        if self.trainer is not None:
            self._check_trainer(self.trainer)
        if self.parallel is not None:
            devices = self.parallel.devices
            at_least(2, **{"parallel.devices": devices})
            if self.batch_seqs % devices:
                raise ValueError(
                    f"a batch of {self.batch_seqs} sequences cannot be split evenly over {devices}"
                    " devices"
                )

    def _check_trainer(self, trainer: TrainerSpec) -> None:
        """Raise ``ValueError`` for a placeholder without a figure, and for what only we train."""
        own = ("branch", "growth", "start_from", "reference", "early_stop", "spikes", "probes",
               "objective", "mix", "number_format", "parallel")  # fmt: skip
        if others := [name for name in own if getattr(self, name) is not None]:
            raise ValueError(
                f"trainer: a command of your own trains the run, and {', '.join(others)} would have"
                " no effect; leave one of them out"
            )
        trainer.filled(placeholder_values(self, Path()), resuming=True)

    @property
    def objective_component(self) -> Component:
        """The objective, next-token prediction spelled out."""
        return self.objective or Component(name=DEFAULT_OBJECTIVE)

    @property
    def is_solved(self) -> bool:
        """Whether the run is solved in closed form, without an optimizer or a schedule."""
        return self.optim == OptimSpec.solved()

    @property
    def batch_seqs(self) -> int:
        """Sequences per optimiser step."""
        return self.batch_tokens // self.model.n_ctx

    @property
    def tokens(self) -> int:
        """Tokens seen by the end, as if trained alone from step 0."""
        return self.batch_tokens * self.total_steps

    @property
    def start_step(self) -> int:
        """First step this run itself takes."""
        return self.branch.at_step if self.branch else 0

    @property
    def parent(self) -> Branch | Growth | None:
        """The run whose saved state this run starts from: its trunk, or the one it grows from."""
        return self.branch or self.growth

    @property
    def data_step(self) -> int:
        """The batch, in the order of the data, that step 0 takes; above 0 for a grown run."""
        return -(-self.growth.parent_tokens // self.batch_tokens) if self.growth else 0

    def mix_steps(self) -> tuple[int, ...]:
        """Return the first step of every phase of the mixture; () without a mixture.

        Raises ``ValueError`` where a phase has no step.
        """
        if self.mix is None:
            return ()
        return self.mix.first_steps(self.total_steps, self.schedule.decay_steps)

    @property
    def kind(self) -> str:
        """``trunk`` (never annealed, exists to be branched), ``branch`` or ``single``."""
        if self.branch is not None:
            return "branch"
        return "trunk" if self.schedule.end == "trunk" else "single"

    @cached_property
    def run_id(self) -> str:
        """``label-`` and ten hex digits of the canonical JSON's SHA-256; never parsed."""
        digest = hashlib.sha256(_canonical(self).encode()).hexdigest()
        return f"{self.label}-{digest[:10]}"


@cache
def _by_name() -> list[tuple[str, bool]]:
    return sorted(fields_of(RunSpec))


def _canonical(spec: RunSpec) -> str:
    """``canonical_json(to_json(spec))``, put together from that of its parts."""
    words = []
    for name, omit in _by_name():
        value = getattr(spec, name)
        if isinstance(value, SpecPart):
            words.append(f'"{name}":{value.canonical}')
        elif value is not None or not omit:
            # setting up an encoder takes longer than writing a whole number
            text = str(value) if type(value) is int else canonical_json(to_json(value))
            words.append(f'"{name}":{text}')
    return "{" + ",".join(words) + "}"


def stage_of(spec: RunSpec) -> int:
    """The stage of a staged experiment that a run belongs to, from 1."""
    return int(dict(spec.tags).get(STAGE_TAG, 1))


def derive_seed(seed: int, purpose: str) -> int:
    """Derive a 63-bit seed for one purpose (``"init"``, ``"data"``, ...) from a run's seed."""
    digest = hashlib.sha256(f"{seed}:{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
