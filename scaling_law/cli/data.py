"""``slaw data`` and ``config``."""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING

from scaling_law.cli.options import Commands, add_config_options, add_json_option, config_of
from scaling_law.console import say, show
from scaling_law.errors import EXIT_OK, one_line
from scaling_law.spec.data import DataSpec, TaskSpec
from scaling_law.units import format_count

if TYPE_CHECKING:
    from scaling_law.config.sweep_config import SweepConfig
    from scaling_law.data.dataset import Dataset


def _data(options: argparse.Namespace) -> int:
    from scaling_law.data import describe

    if options.action == "list":
        if options.json:
            rows = [dataclasses.asdict(row) for row in describe.list_corpora()]
            show(json.dumps(rows, indent=1))
            return EXIT_OK
        show(f"{describe.format_corpora(describe.list_corpora())}\n\n{describe.format_tasks()}")
        return EXIT_OK
    from scaling_law.data.corpus import corpus_problem

    config = _loaded(options, corpus_problem)
    spec = config.data_spec
    with config.placing():
        words = _prepared(spec, config) if options.action == "prepare" else describe.inspect(spec)
        show(json.dumps(describe.facts(spec), indent=1) if options.json else words)
    return EXIT_OK


def _prepared(spec: DataSpec | TaskSpec, config: SweepConfig) -> str:
    """Return the folder of the prepared text; for a task, its summary.

    The text of a mixture has its components checked as well.
    """
    if isinstance(spec, TaskSpec):
        from scaling_law.data.access import open_task

        task = open_task(spec)
        task.check()
        return f"{task.summary}; made as they are needed, nothing to prepare"
    from scaling_law.data.card import cleaning_lines
    from scaling_law.data.describe import cleaning_of
    from scaling_law.data.prepare import prepare
    from scaling_law.data.text import open_dataset

    said: list[str] = []

    def progress(line: str) -> None:
        said.append(line)
        say(line)

    folder = prepare(spec, progress=progress)
    dataset = open_dataset(folder)
    for note in dataset.notes:
        if note not in said:  # the text was prepared before
            say(one_line(note))
    for line in cleaning_lines(cleaning_of(dataset)):
        say(line)
    if any(arm.config.mix for arm in config.arms):
        from scaling_law.run.components import components_of

        datasets: dict[DataSpec | TaskSpec, Dataset] = {spec: dataset}
        one_text = dataclasses.replace(
            config, crossed=tuple(arm for arm in config.crossed if arm.config.data_spec == spec)
        )
        for name, tokens in components_of(one_text, datasets, say)[spec].items():
            say(f"component {name}: {format_count(tokens)} training tokens")
    return str(folder)


def _loaded(options: argparse.Namespace, corpus_problem=None):  # type: ignore[no-untyped-def]
    from scaling_law.config.load import load_config

    return load_config(
        config_of(options),
        overrides=options.set or [],
        device_kind="cpu" if options.device == "auto" else options.device,
        corpus_problem=corpus_problem,
    )


def _config(options: argparse.Namespace) -> int:
    from scaling_law.config import editor_schema, written

    if options.schema:
        show(json.dumps(editor_schema.json_schema(), indent=1))
        return EXIT_OK
    show(written.config_yaml(_loaded(options)), end="")
    return EXIT_OK


def add(commands: Commands) -> None:
    """Declare the commands of this file."""
    data = commands.add_parser(
        "data",
        help="list, prepare or inspect the data of a config",
        description="List the corpora and tasks, prepare the text of a config as tokens"
        " (with what was read and left out, by reason), or show the data: what was prepared, or"
        " what a task makes.",
    )
    data.add_argument("action", choices=("list", "prepare", "inspect"), help="what to do")
    add_config_options(data)
    add_json_option(data)
    data.set_defaults(handler=_data)
    load = commands.add_parser(
        "config",
        help="show a config in full, or its JSON schema",
        description="Print a config with every key and its value, or the JSON schema of configs.",
    )
    add_config_options(load)
    load.add_argument("--schema", action="store_true", help="the JSON schema, for editors")
    load.set_defaults(handler=_config)
