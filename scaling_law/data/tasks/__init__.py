"""Tasks, one file each: ``data: {source: copy}`` is ``tasks/copy.py``.

A task makes its own examples from its settings instead of reading text. It needs numpy only to
make examples: plans and ``--help`` need only its sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scaling_law.data.batch import Batch
from scaling_law.errors import ConfigError, one_line
from scaling_law.parts import NoSettings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_EXAMPLES = 2**40
# Runs begin to read an unlimited training split at multiples of this, by their seed.
STRETCH = 2**30


@dataclass(frozen=True, kw_only=True)
class TaskSizes:
    """The sizes of a task that a plan needs.

    ``vocab_size``: how many ids there are, 0 where there are none.
    ``n_ctx``: positions of an example.
    ``splits``: examples of each split; None for a training split without end.
    ``inputs``: ``"ids"`` or ``"numbers"``.
    ``features``: numbers of an example's inputs, 0 for ids.
    ``outputs``: numbers of an example's targets, 0 for ids.
    ``n_targets``: positions of an example that have a target, 0 where the task does not say.
    """

    vocab_size: int
    n_ctx: int
    splits: Mapping[str, int | None]
    inputs: str = "ids"
    features: int = 0
    outputs: int = 0
    n_targets: int = 0

    @property
    def train_seqs(self) -> int | None:
        """Training examples; None where they are unlimited."""
        return self.splits["train"]

    @property
    def train_tokens(self) -> int | None:
        """Positions of all training examples; None where they are unlimited."""
        seqs = self.train_seqs
        return None if seqs is None else seqs * self.n_ctx


@dataclass(frozen=True, kw_only=True)
class Task:
    """Examples by rule. Every function is pure and takes the task's settings.

    ``vocab_size(settings)``: how many ids inputs and targets may hold, from 0 up; 0 where neither
    holds ids.
    ``n_ctx(settings)``: positions of every example's inputs; 1 where they have none (features,
    images).
    ``splits(settings)``: how many examples ``train``, ``val`` and any further ``val:NAME`` have;
    None for ``train`` makes every training example a new one.
    ``examples(settings, split, indices)``: those examples of a split, numbered from 0, as a
    ``Batch``. Of a split without end the numbers reach 2**47, and a run's first one is a multiple
    of ``STRETCH``. Its inputs are [B, n_ctx] int64 ids, or [B, ...] float32 numbers; its targets
    [B, T'], those of the last T' positions where inputs have positions; its weights [B, T']
    float32, or None.
    ``settings``: a dataclass, which refuses values that do not fit in its ``__post_init__``.
    ``inputs``: whether the inputs are ``"ids"`` or ``"numbers"``.
    ``features(settings)``: how many numbers the inputs of an example are; 0 where they are ids.
    ``outputs(settings)``: how many numbers the targets of an example are; 0 where they are ids.
    ``n_targets(settings)``: targets of an example (T'), by which a plan refuses an architecture
    with fewer outputs; 0 where that is not known before examples are made.
    ``external``: whether only the user's own trainer reads the data, so that there are no examples.
    ``licence``: a line about whose examples these are.
    ``versions(settings)``: what the examples are made from on this machine, text by name, of a task
    that reads files; records hold it.
    """

    vocab_size: Callable[[Any], int]
    n_ctx: Callable[[Any], int]
    splits: Callable[[Any], Mapping[str, int | None]]
    examples: Callable[[Any, str, NDArray[np.int64]], Batch]
    settings: type = NoSettings
    inputs: str = "ids"
    features: Callable[[Any], int] = lambda settings: 0
    outputs: Callable[[Any], int] = lambda settings: 0
    n_targets: Callable[[Any], int] = lambda settings: 0
    external: bool = False
    licence: str = "made by rule; no licence applies"
    versions: Callable[[Any], Mapping[str, str]] = lambda settings: {}

    def __post_init__(self) -> None:
        if self.inputs not in ("ids", "numbers"):
            raise ValueError(f"inputs is {self.inputs!r}, expected ids or numbers")

    def sizes(self, settings: Any) -> TaskSizes:
        """Return the task's sizes. Raises ``ConfigError`` where they break the contract.

        The file may be a user's own.
        """
        names = ("vocab_size", "n_ctx", "splits", "features", "outputs", "n_targets")
        asked = {name: getattr(self, name) for name in names}
        answers: dict[str, Any] = {}
        for name, function in asked.items():
            try:
                answers[name] = function(settings)
            except Exception as problem:  # a user's own file may raise anything
                why = f"{type(problem).__name__}: {one_line(str(problem))}"
                raise ConfigError(f"the task's {name} fails ({why})") from None
        counts = {"vocab_size": 0, "n_ctx": 1, "features": 0, "outputs": 0, "n_targets": 0}
        for name, low in counts.items():
            if not _is_count(answers[name], low):
                raise ConfigError(
                    f"the task's {name} is {answers[name]!r}, expected a whole number of at least"
                    f" {low}"
                )
        _check_splits(answers["splits"])
        return TaskSizes(**answers, inputs=self.inputs)


def _is_count(value: Any, low: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= MAX_EXAMPLES


def _check_splits(splits: Any) -> None:
    """Raise ``ConfigError`` for splits that are not as ``Task`` says."""
    if not isinstance(splits, Mapping):
        raise ConfigError(f"the task's splits are {splits!r}, expected counts by name")
    for name in ("train", "val"):
        if name not in splits:
            raise ConfigError(f"the task has no split {name}, expected train and val")
    for name, count in splits.items():
        if name not in ("train", "val") and not str(name).startswith("val:"):
            raise ConfigError(f"the task has a split {name!r}, expected train, val or val:NAME")
        if not (_is_count(count, 1) or (count is None and name == "train")):
            raise ConfigError(
                f"the task's split {name} has {count!r} examples, expected a whole number of at"
                " least 1"
            )
