"""Open the data that a run's spec names, be it text or a task."""

from __future__ import annotations

from pathlib import Path

from scaling_law import parts
from scaling_law.console import Say
from scaling_law.data.corpus import text_of
from scaling_law.data.dataset import Dataset
from scaling_law.data.dataset_folder import META, dataset_folder
from scaling_law.data.prepare import prepare
from scaling_law.data.task import TaskDataset
from scaling_law.data.text import TextDataset, open_dataset
from scaling_law.errors import ConfigError, quoted
from scaling_law.files import layout
from scaling_law.spec.data import DataSpec, TaskSpec

DataOf = DataSpec | TaskSpec


def known_data(spec: DataOf) -> Dataset | None:
    """Open the data without preparing any; None for text that is not prepared."""
    if isinstance(spec, TaskSpec):
        return open_task(spec)
    try:
        folder = dataset_folder(spec)
    except ConfigError:  # the text is gone; a sweep that has its tokens continues without it
        return None
    if not layout.is_file(folder / META):
        return None
    return open_dataset(folder, spec)


def check_ready(spec: DataSpec) -> None:
    """Raise ``ConfigError`` where text that is not prepared could not be prepared now.

    A corpus of the hub is asked for over the network, for a few seconds.
    """
    text_of(spec).check_ready()


def known_components(dataset: Dataset | None) -> dict[str, int] | None:
    """Return the training tokens of each component of a text.

    None for a task, for text that is not prepared, and where an older slaw did not write them.
    """
    if not isinstance(dataset, TextDataset) or not dataset.has_components:
        return None
    return {name: row["train"] for name, row in dataset.components.items()}


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
    return open_dataset(folder, spec)


def prepared_data(spec: DataOf, progress: Say | None = None) -> Dataset:
    """Open the data, prepared first if need be. Raises ``ConfigError`` as ``prepare`` does."""
    if isinstance(spec, TaskSpec):
        return open_task(spec)
    return open_dataset(prepare(spec, progress=progress), spec)
