"""The models of a grid entry, by the name of their size."""

from __future__ import annotations

from scaling_law import parts
from scaling_law.config.grid_section import GridEntry, SizeRange
from scaling_law.config.slots import Choice
from scaling_law.config.sweep_config import SweepConfig
from scaling_law.errors import ConfigError, PlanError
from scaling_law.parts import Reference
from scaling_law.spec.architectures import (
    INSIDE,
    Architecture,
    Template,
    architecture_of,
    sized,
    why_broken,
)
from scaling_law.spec.component import Component
from scaling_law.spec.model import DEFAULT_PARAMETRISATION, Model
from scaling_law.units import parse_count


def _template(config: SweepConfig) -> Template:
    architecture = config.choice("architecture")
    if problem := _misfit(config, architecture):
        raise PlanError(problem)
    if architecture.reference.source_sha256 is not None and architecture.part.build is None:
        raise PlanError(
            f"{config.where('model', 'architecture')}: {architecture.spelled} gives no module:"
            " expected build=... in its ARCHITECTURE"
        )
    parametrisation = config.choice("parametrisation").component
    usual = parametrisation == Component(name=DEFAULT_PARAMETRISATION)
    return Template(
        architecture=architecture.component,
        settings=architecture.settings,
        vocab_size=config.vocab_size,
        n_ctx=config.n_ctx,
        parametrisation=None if usual else parametrisation,
        features=config.task_sizes.features if config.task_sizes else 0,
        outputs=config.task_sizes.outputs if config.task_sizes else 0,
    )


def _misfit(config: SweepConfig, architecture: Choice) -> str:
    """Say why the architecture does not fit the data or a probe; "" where it does."""
    part: Architecture = architecture.part
    task = config.task_sizes
    inputs = task.inputs if task else "ids"
    ids = ", of at least 2 kinds" if part.inputs == "ids" else ""
    if inputs != part.inputs or (ids and config.vocab_size < 2):
        return (
            f"{config.where('data', 'source')}: the task's inputs are {inputs}, with a vocabulary"
            f" of {config.vocab_size}; the architecture {architecture.spelled} reads"
            f" {part.inputs}{ids}"
        )
    targets = "numbers" if task and task.outputs else "ids"
    if part.solves and targets == "ids":
        return (
            f"{config.where('data', 'source')}: the task's targets are ids (TASK has no outputs),"
            f" and {architecture.spelled} is solved in closed form for numbers"
        )
    objective = config.choice("objective")
    if part.solves and objective.part.comparable != part.solves:
        return (
            f"{config.where('objective')}: {architecture.spelled} is solved in closed form,"
            f" which minimises {part.solves.replace('_', ' ')}; found"
            f" {objective.spelled}, expected objective: {part.solves}"
        )
    if objective.part.targets not in ("", targets):
        return (
            f"{config.where('objective')}: {objective.spelled} predicts {objective.part.targets},"
            f" and the data's targets are {targets}; expected an objective of {targets}, such as"
            f" objective: {'squared_error' if targets == 'numbers' else 'next_token'}"
        )
    if task and getattr(architecture.settings, "documents", None) is not None:
        return (
            f"{config.where('model', 'documents')}: the examples of a task are not cut into"
            " documents; leave it out, or train on text (data.corpus)"
        )
    number_format = config.choice("number_format")
    if number_format.part.round is not None and not part.rounds:
        return (
            f"{config.where('number_format')}: {number_format.spelled} rounds the products of"
            f" linear layers and convolutions, and the architecture {architecture.spelled} does not"
            " say that it has no others (rounds=True in its ARCHITECTURE); leave number_format"
            " out, or take an architecture that does, such as gpt"
        )
    if why := _untrainable(config, objective, architecture):
        return f"{config.where('objective')}: {objective.spelled}: {why}"
    if inputs == "numbers" and not (task and task.features):
        return (
            f"{config.where('data', 'source')}: the task does not say how many numbers an example"
            " has; expected features=... in its TASK"
        )
    if part.one_output and not task:
        return (
            f"{config.where('model', 'architecture')}: {architecture.spelled} gives one output for"
            " an example, and text has a target at every position; take a task (data.source)"
        )
    if part.one_output and task.n_targets > 1:
        return (
            f"{config.where('data', 'source')}: an example of the task has {task.n_targets}"
            f" targets; the architecture {architecture.spelled} gives one output for an example"
        )
    return _blind_probe(config, architecture)


def _untrainable(config: SweepConfig, objective: Choice, architecture: Choice) -> str:
    """Say why the architecture or the data do not offer what an objective needs; "" if they do."""
    attention = objective.part.attention
    if attention not in architecture.part.attentions:
        return (
            f"it needs {attention} attention, which the architecture {architecture.spelled} does"
            f" not have (it has {', '.join(architecture.part.attentions)}); take one that has it,"
            " such as gpt"
        )
    task = config.task_sizes
    if objective.part.reads_text and task and task.inputs == "numbers":
        return "it changes text, and the inputs of the task's examples are numbers"
    if objective.part.reads_text and task and task.n_targets != config.n_ctx:
        return (
            f"it changes text, which has a next token at each position; an example of the task has"
            f" {task.n_targets or 'an unknown number of'} targets in {config.n_ctx} positions"
        )
    if objective.part.reads_components and config.mix is None:
        return (
            "it weighs the components of a mixture, and the config has none; expected data.mix,"
            " such as data.mix: natural"
        )
    why: str = objective.part.refusal(objective.settings, config.vocab_size, config.n_ctx)
    return why


def _blind_probe(config: SweepConfig, architecture: Choice) -> str:
    """Say which probe measures what the architecture does not show of its layers; "" for none."""
    shown: Architecture = architecture.part
    for probe in config.choices["probe"]:
        if probe.part.needs and probe.part.needs not in shown.inside:
            shows = ", ".join(shown.inside) or "nothing of its layers"
            every = {
                name: parts.load("architecture", Reference(name=name)).inside
                for name in parts.names("architecture")
            }
            others = [name for name, inside in every.items() if probe.part.needs in inside]
            return (
                f"{config.where('probes')}: {probe.spelled} measures {INSIDE[probe.part.needs]},"
                f" which the architecture {architecture.spelled} does not show (it shows {shows});"
                f" leave the probe out, or take an architecture that does: {', '.join(others)}"
            )
    return ""


def sizes_of(config: SweepConfig, number: int, entry: GridEntry) -> list[tuple[str, Model]]:
    """Return the name and the model of each size of a grid entry. Raises ``PlanError``."""
    sizes = _usable_sizes(config, number, entry)
    parametrisation, width = (
        config.choice("parametrisation"),
        config.choice("architecture").part.width,
    )
    if width is None:
        return sizes
    where = config.where("model", "parametrisation")
    try:
        with parts.users_code(parametrisation.word, parametrisation.reference):
            refusals = [
                f"{where}: {parametrisation.spelled}: size {name}: {why}"
                for name, model in sizes
                if (why := parametrisation.part.refusal(width(model), parametrisation.settings))
            ]
    except ConfigError as problem:
        raise PlanError(f"{where}: {problem}") from None
    if refusals:
        raise PlanError(*refusals)
    return sizes


def _usable_sizes(config: SweepConfig, number: int, entry: GridEntry) -> list[tuple[str, Model]]:
    architecture = config.choice("architecture")
    if architecture.reference.source_sha256 is None:
        return _made_sizes(config, number, entry)
    where = config.where("model", "architecture")
    try:
        with parts.users_code(architecture.word, architecture.reference):
            sizes = _made_sizes(config, number, entry)
            broken = [why for _, model in sizes if (why := why_broken(model))]
    except ConfigError as problem:
        raise PlanError(f"{where}: {problem}") from None
    if broken:
        raise PlanError(f"{where}: {architecture.spelled}: {broken[0]}")
    return sizes


def _made_sizes(config: SweepConfig, number: int, entry: GridEntry) -> list[tuple[str, Model]]:
    template = _template(config)
    if isinstance(entry.sizes, SizeRange):
        return _range(config.where("grid", number, "sizes"), entry.sizes, template)
    part: Architecture = config.choice("architecture").part
    sizes: list[tuple[str, Model]] = []
    problems = []
    for position, size in enumerate(entry.sizes):
        try:
            if isinstance(size, str) and size not in part.scales:
                model = sized(parse_count(size), "non_embedding", template)
                if any(model == other for _, other in sizes):
                    raise ValueError(
                        f"{size}: the model nearest to it, {size_name(model)}, is already listed"
                    )
                sizes.append((size_name(model), model))
            elif isinstance(size, str):
                sizes.append((size, part.make(template, part.scales[size])))
            else:
                model = part.make(template, size)
                sizes.append((size_name(model), model))
        except ValueError as problem:
            problems.append(f"{config.where('grid', number, 'sizes', position)}: {problem}")
    if problems:
        raise PlanError(*problems)
    return sizes


def _range(where: str, sizes: SizeRange, template: Template) -> list[tuple[str, Model]]:
    low, high = sizes.params
    ratio = (high / low) ** (1 / max(1, sizes.count - 1))
    made: list[tuple[str, Model]] = []
    for position in range(sizes.count):
        wanted = low * ratio**position
        try:
            model = sized(wanted, sizes.convention, template, sizes.aspect_ratio)
        except ValueError as problem:
            raise PlanError(f"{where}: {problem}") from None
        if any(model == other for _, other in made):
            raise PlanError(
                f"{where}: {sizes.count} sizes are too many for this range: two of them have"
                f" {architecture_of(model).shape_text(model)}; lower count or widen params"
            )
        made.append((size_name(model), model))
    return made


def counted_sizes(config: SweepConfig) -> list[tuple[str, float, Model]]:
    """The sizes that the grid names by a count, as (text, non-embedding parameters, nearest model).

    Raises ``PlanError`` as ``sizes_of`` does.
    """
    part: Architecture = config.choice("architecture").part
    counted = []
    for number, entry in enumerate(config.grid):
        if isinstance(entry.sizes, SizeRange):
            continue
        models = sizes_of(config, number, entry)
        for size, (_, model) in zip(entry.sizes, models, strict=True):
            if isinstance(size, str) and size not in part.scales:
                counted.append((size, parse_count(size), model))
    return counted


def size_name(model: Model) -> str:
    """The name that a model's architecture gives its size."""
    return architecture_of(model).size_name(model)
