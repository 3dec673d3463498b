"""Specify a trainer of the user's own: the command that trains a run, with its placeholders.

A placeholder such as ``{n_layer}`` stands for a figure of the run's spec, in Python's format syntax
(``{lr:.3g}``); ``{{`` is a brace. The command is split as a shell splits it, and no shell runs it.
"""

from __future__ import annotations

import re
import shlex
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling_law.errors import did_you_mean, quoted
from scaling_law.spec.fields import OMIT_EMPTY, of_axis
from scaling_law.spec.to_json import SpecPart

if TYPE_CHECKING:
    from scaling_law.spec.run import RunSpec

METRICS = "metrics.jsonl"


@dataclass(frozen=True, kw_only=True)
class TrainerSpec(SpecPart):
    """A command that trains a run.

    ``command``: the command with placeholders.
    ``resume``: what is added to the command to resume; None where it cannot resume.
    ``metrics``: the file that it writes, below its folder; None for ``METRICS``.
    """

    command: str
    resume: str | None = field(default=None, metadata=OMIT_EMPTY | of_axis("label"))
    metrics: str | None = field(default=None, metadata=OMIT_EMPTY | of_axis("label"))

    def __post_init__(self) -> None:
        if not self.words(resuming=False):
            raise ValueError("trainer: command is empty, expected a program and its arguments")
        self.words(resuming=True)
        name = self.metrics_name
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
            raise ValueError(
                f"trainer: metrics is {quoted(name)}, expected the plain name of a file"
            )

    @property
    def metrics_name(self) -> str:
        """The name of the metrics file."""
        return self.metrics or METRICS

    def words(self, *, resuming: bool) -> list[str]:
        """The words of the command, not yet filled. Raises ``ValueError``."""
        try:
            words = shlex.split(self.command)
            return words + (shlex.split(self.resume) if resuming and self.resume else [])
        except ValueError as problem:
            raise ValueError(f"trainer: the command cannot be split ({problem})") from None

    def filled(self, values: Mapping[str, Any], *, resuming: bool = False) -> list[str]:
        """The words with their placeholders filled.

        Raises ``ValueError`` naming a placeholder that is none of ``values``.
        """
        return [_filled(word, values) for word in self.words(resuming=resuming)]


def _filled(word: str, values: Mapping[str, Any]) -> str:
    try:
        for _, name, _, conversion in string.Formatter().parse(word):
            if name is not None and (name not in values or conversion):
                raise KeyError(name)
        return word.format_map(values)
    except KeyError as unknown:
        name = str(unknown.args[0])
        raise ValueError(
            f"trainer: no placeholder {{{name}}}{did_you_mean(name, values)}; there are"
            f" {', '.join(values)}; write a brace twice to mean itself"
        ) from None
    except (ValueError, TypeError, IndexError) as problem:
        raise ValueError(f"trainer: {quoted(word)} cannot be filled ({problem})") from None


def _divisor(steps: int, points: int) -> int:
    """The least number of steps that divides a run into at most so many equal parts."""
    return next(n for n in range(-(-steps // max(points, 1)), steps + 1) if steps % n == 0)


def placeholder_values(spec: RunSpec, folder: Path) -> dict[str, Any]:
    """What each placeholder stands for; ``folder`` is the command's own in the run's."""
    assert spec.trainer is not None, "the caller checks"
    optim, schedule = spec.optim, spec.schedule
    values = {
        **spec.model.dimensions,
        "vocab_size": spec.model.vocab_size,
        "n_ctx": spec.model.n_ctx,
        "lr": optim.lr,
        "final_lr": optim.lr * schedule.final_frac,
        "warmup_steps": schedule.warmup_steps,
        "decay_steps": schedule.decay_steps,
        "weight_decay": optim.weight_decay,
        "grad_clip": optim.grad_clip,
        "beta1": optim.beta1,
        "beta2": optim.beta2,
        "batch_tokens": spec.batch_tokens,
        "batch_seqs": spec.batch_seqs,
        "total_steps": spec.total_steps,
        "tokens": spec.tokens,
        "eval_every": _divisor(spec.total_steps, spec.eval.curve_points),
        "precision": spec.precision,
        "seed": spec.seed,
        "label": spec.label,
        "run_id": spec.run_id,
        "run_dir": folder,
        "metrics": folder / spec.trainer.metrics_name,
    }
    # a shape may hold tables, which no argument of a command is
    return {key: value for key, value in values.items()
            if value is not None and isinstance(value, str | int | float | Path)}  # fmt: skip
