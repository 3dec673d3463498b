"""Open the data that a run's spec names, be it text or a task."""

from __future__ import annotations

from pathlib import Path

from scaling_law import parts
from scaling_law.data.dataset import Dataset
from scaling_law.data.prepare import COMPONENTS, META, Progress, dataset_folder, prepare
from scaling_law.data.task import TaskDataset
from scaling_law.data.text import open_dataset, read_components
from scaling_law.errors import ConfigError, quoted
from scaling_law.files import layout
from scaling_law.spec.data import DataSpec, TaskSpec

DataOf = DataSpec | TaskSpec


def known_train_tokens(spec: DataOf) -> int | None:
    """Return the tokens of the training split, without preparing or making any.

    None for text that is not prepared, and for a task whose training examples have no end.
    """
    if isinstance(spec, TaskSpec):
        return open_task(spec).train_tokens
    try:
        folder = dataset_folder(spec)
    except ConfigError:  # the text is gone; a sweep that has its tokens continues without it
        return None
    return open_dataset(folder).train_tokens if layout.is_file(folder / META) else None


def known_components(spec: DataOf) -> dict[str, int] | None:
    """Return the training tokens of each component of a text, without preparing any.

    None for a task, and for text that is not prepared.
    """
    if isinstance(spec, TaskSpec):
        return None
    try:
        folder = dataset_folder(spec)
    except ConfigError:  # the text is gone; a sweep that has its tokens continues without it
        return None
    if not (folder / COMPONENTS).is_file():
        return None
    return {name: row["train"] for name, row in read_components(folder).items()}


def open_task(spec: TaskSpec) -> TaskDataset:
    """The task's examples. Raises ``ConfigError`` where this installation has no such task."""
    task = parts.load("source", spec.source.reference)
    try:
        settings = spec.source.settings_as(task.settings)
    except ValueError as problem:
        raise ConfigError(f"the source {quoted(spec.source.name)}: {problem}") from None
    return TaskDataset(spec.source.name, task, settings)


def open_data(spec: DataOf, folder: Path | None = None) -> Dataset:
    """Open data that are prepared; text from ``folder``, or else from this machine's cache.

    Raises ``ConfigError`` where text is not prepared or damaged.
    """
    if isinstance(spec, TaskSpec):
        return open_task(spec)
    if folder is None or not layout.is_file(folder / META):
        folder = dataset_folder(spec)
    return open_dataset(folder)


def prepared_data(spec: DataOf, progress: Progress | None = None) -> Dataset:
    """Open the data, prepared first if need be. Raises ``ConfigError`` as ``prepare`` does."""
    if isinstance(spec, TaskSpec):
        return open_task(spec)
    return open_dataset(prepare(spec, progress=progress))
