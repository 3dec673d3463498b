"""Check what no section of a config can check alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from scaling_law.config.data_section import DataSection, TaskSection, TextSection
from scaling_law.config.error_lines import line_number
from scaling_law.config.slots import SLOTS, Choices
from scaling_law.config.strict_yaml import Path_, YamlDocument
from scaling_law.config.sweep_config import SweepConfig, components_of, task_sizes_of
from scaling_law.errors import ConfigError, did_you_mean
from scaling_law.spec.mix import phases_problem, shares_problem


def mix_problems(
    document: YamlDocument, data: TextSection, choices: Choices, spikes: bool
) -> list[tuple[int, str]]:
    """Weights that no mixture can have, or of components that the text does not have."""
    lines: list[tuple[int, str]] = []

    def add(path: Path_, said: str) -> None:
        mark = document.mark(path)
        lines.append((line_number(mark), f"{mark}: {said}"))

    known = components_of(data, choices)
    mixes: dict[Path_, Any] = {
        ("data", "phases", n, "mix"): phase.mix for n, phase in enumerate(data.phases or ())
    }
    mixes |= {("data", "mix"): data.mix} if data.mix is not None else {}
    for path, weights in mixes.items():
        if not isinstance(weights, dict):
            continue
        unknown = [name for name in weights if name not in known]
        for name in unknown:
            components = f"; the components are {', '.join(known)}"
            if isinstance(data, DataSection) and not choices.get("corpus"):
                components = (
                    f"; files at a path are one component, {known[0]}: name several under"
                    " data.sources"
                )
            add((*path, name), f"no component has this name{did_you_mean(name, known)}{components}")
        if not unknown and (why := shares_problem(weights)):
            add(path, why)
    if data.phases is not None:
        if wrong := phases_problem([phase.until for phase in data.phases]):
            add(("data", "phases", wrong[0]) if data.phases else ("data", "phases"), wrong[1])
        elif spikes and len(data.phases) > 1:
            add(
                ("spikes",),
                "a batch that replaces a spike's would be of another phase of data.phases; leave"
                " one of them out",
            )
    return lines


def experiment_problems(
    document: YamlDocument, data: TextSection | TaskSection, choices: Choices
) -> list[tuple[int, str]]:
    """Settings of the experiment that do not fit the components of the text."""
    components = components_of(data, choices) if isinstance(data, TextSection) else ()
    mark = document.mark(("experiment",))
    return [
        (line_number(mark), f"{mark}: {choice.spelled}: {why}")
        for choice in choices.get("experiment", ())
        if (why := choice.part.refusal(choice.settings, components))
    ]


def mixture_problems(config: SweepConfig) -> list[str]:
    """An experiment on mixtures, in a config of which some arm reads none."""
    lacking = [arm for arm in config.arms if arm.config.mix is None]
    if not lacking:
        return []
    values = ", ".join(f"{key}={value}" for key, value in lacking[0].values)
    without = f"the runs with {values} read none" if values else "the runs read none"
    return [
        f"{config.where('experiment')}: {choice.spelled}: it reads the losses of a mixture's"
        f" components, and {without}; expected data.mix, such as data.mix: natural, or"
        " an axis of it"
        for choice in config.choices.get("experiment", ())
        if choice.part.reads_mixture
    ]


def cleaning_problems(document: YamlDocument, choices: Choices) -> list[tuple[int, str]]:
    """A rule that reads one document at a time after one that compares documents."""
    rules = choices.get("cleaner", ())
    comparing = ""
    for number, choice in enumerate(rules):
        if choice.part.compare is not None:
            comparing = choice.spelled
        elif comparing:
            key = choice.spelled if choice.is_key else number
            mark = document.mark(("data", "clean", key))
            said = (
                f"{choice.spelled} reads one document at a time, and {comparing} before it"
                f" compares documents; put {choice.spelled} first"
            )
            return [(line_number(mark), f"{mark}: {said}")]
    return []


def check_task(document: YamlDocument, choices: Choices, n_ctx: int | None) -> None:
    """Raise ``ConfigError`` where the task gives no sizes, or its examples have another length."""
    try:
        sizes = task_sizes_of(choices)
    except ConfigError as problem:
        raise ConfigError(f"{document.mark(('data', 'source'))}: {problem}") from None
    if n_ctx not in (None, sizes.n_ctx):
        raise ConfigError(
            f"{document.mark(('model', 'n_ctx'))}: found {n_ctx}, and an example of the task has"
            f" {sizes.n_ctx}; leave n_ctx out"
        )


def trainer_problems(
    document: YamlDocument, sections: Mapping[str, Any], choices: Choices
) -> list[tuple[int, str]]:
    """A command that trains runs without data of its own, or such data without a command."""
    tasks = choices.get("source", ())
    external = any(choice.part.external for choice in tasks)
    has_trainer = sections["trainer"] is not None
    if external == has_trainer:
        return []
    mark = document.mark(("trainer",) if has_trainer else ("data", "source"))
    said = "data that only a command of your own reads; name it with trainer: {command: ...}"
    if has_trainer:
        said = (
            "a command of your own reads its data itself; expected data: {source: external, text:"
            " NAME, vocab_size: N, n_ctx: N}, which are not prepared here"
        )
    return [(line_number(mark), f"{mark}: {said}")]


def settings_twice(
    document: YamlDocument, sections: Mapping[str, Any], choices: Choices
) -> list[tuple[int, str]]:
    """Settings of parts with the name of a key of their section; one of the two would be lost."""
    lines = []
    for slot in SLOTS:
        beside = slot.key and not slot.several and slot.section in sections
        for choice in choices.get(slot.word, ()) if beside else ():
            section = sections[slot.section]
            where: Path_ = (slot.section, str(slot.key))
            if choice.item:
                section = getattr(section, str(slot.group))[choice.item]
                where = (slot.section, str(slot.group), choice.item, str(slot.key))
            keys = {f.name for f in dataclasses.fields(section)}
            mark = document.mark(where)
            lines += [
                (
                    line_number(mark),
                    f"{mark}: {choice.spelled} has a setting {name}, which is a key of"
                    f" {slot.section} itself; rename it in the file",
                )
                for name in sorted(keys & {f.name for f in dataclasses.fields(choice.settings)})
            ]
    return lines
