"""Which parts a run is made of, and which of them are not the default ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from scaling_law.errors import one_line
from scaling_law.spec.arms import value_text
from scaling_law.spec.component import Component
from scaling_law.spec.data import DataSpec, SourceSpec, TaskSpec
from scaling_law.spec.model import DEFAULT_ARCHITECTURE, DEFAULT_PARAMETRISATION
from scaling_law.spec.optim import DEFAULT_OPTIMIZER
from scaling_law.spec.run import DEFAULT_NUMBER_FORMAT, DEFAULT_OBJECTIVE, RunSpec

# The part of each kind that a config has unless it chooses another.
DEFAULTS: Mapping[str, str] = {
    "corpus": "installed",
    "architecture": DEFAULT_ARCHITECTURE,
    "parametrisation": DEFAULT_PARAMETRISATION,
    "objective": DEFAULT_OBJECTIVE,
    "number_format": DEFAULT_NUMBER_FORMAT,
    "optimizer": DEFAULT_OPTIMIZER,
    "schedule": "wsd",
    "cooldown": "1-sqrt",
    "rule": "slaw_small",
}


# The parts that a run solved in closed form does not have.
_NOT_SOLVED = ("number_format", "optimizer", "schedule", "cooldown", "rule")


def parts_of(spec: RunSpec) -> dict[str, tuple[Component, ...]]:
    """The parts of a run by the kind's word; several of one kind where a run may have several."""
    model, schedule, optim = spec.model, spec.schedule, spec.optim
    one_each = {
        "architecture": model.architecture,
        "parametrisation": model.parametrisation or Component(name=DEFAULT_PARAMETRISATION),
        "objective": spec.objective_component,
        "number_format": spec.number_format or Component(name=DEFAULT_NUMBER_FORMAT),
        "optimizer": optim.component,
        "schedule": schedule.shape_part or Component(name=schedule.shape),
        "cooldown": schedule.cooldown_part or Component(name=schedule.cooldown),
        "rule": optim.rule_part or Component(name=optim.rule),
    }
    if spec.is_solved:
        one_each = {w: p for w, p in one_each.items() if w not in _NOT_SOLVED}
    return {
        **_data_parts(spec.data),
        **{word: (part,) for word, part in one_each.items()},
        "probe": spec.probes or (),
    }


def _data_parts(data: DataSpec | TaskSpec) -> dict[str, tuple[Component, ...]]:
    """The task, or the corpus of each source and what cleans the text."""
    if isinstance(data, TaskSpec):
        return {"source": (data.source,)}
    sources: Iterable[DataSpec | SourceSpec] = (data,) if data.sources is None else data.sources
    return {
        "corpus": tuple(one.corpus_part or Component(name=one.corpus) for one in sources),
        "cleaner": data.clean or (),
    }


def chosen_parts(specs: Iterable[RunSpec]) -> dict[str, list[str]]:
    """The parts of these runs by kind, where not all have the default one, as text.

    ``{"optimizer": ["adamw", "sgd (momentum=0.5)"]}``: a part with its settings that are not at
    their default.
    """
    used: dict[str, dict[Component, None]] = {}
    for spec in specs:
        for word, components in parts_of(spec).items():
            used.setdefault(word, {}).update(dict.fromkeys(components))
    return {
        word: [part_text(part) for part in components]
        for word, components in used.items()
        if any(part != Component(name=DEFAULTS.get(word, "")) for part in components)
    }


def part_text(part: Component) -> str:
    """``weight_norm (every=10)``: the name and the settings that are not at their default.

    A user's own file has the start of its hash.
    """
    said = [f"{key}={value_text(value)}" for key, value in part.settings]
    if part.source_sha256 is not None:
        said.append(f"own file {part.source_sha256[:12]}")
    return one_line(part.name + (f" ({', '.join(said)})" if said else ""))
