"""A config as it applies to a device: its sections, its parts and its arms."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from scaling_law.config.data_section import SourcesSection, TaskSection, TextSection
from scaling_law.config.schema import SweepFile
from scaling_law.config.slots import SLOTS, Choice, Choices
from scaling_law.config.strict_yaml import Mark, Path_, YamlDocument
from scaling_law.errors import ConfigError, PlanError
from scaling_law.spec.arms import Values
from scaling_law.spec.data import DataSpec, TaskSpec
from scaling_law.spec.mix import FILES_DOMAINS, Mix
from scaling_law.spec.parallel import ONE_DEVICE, Parallel


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A combination of the values of a config's axes.

    ``values`` are (key, value as text) of every axis, by key;
    ``config`` is the config with them set, its grid cut down to the entries that are trained so.
    """

    values: Values
    config: SweepConfig


@dataclass(frozen=True, kw_only=True)
class SweepConfig(SweepFile):
    """A config as it applies to a device.

    ``device_kind`` is cpu, mps or cuda;
    ``choices`` are the parts that the config chooses, by kind;
    ``crossed`` are the arms of its axes, none without axes; the config's own sections then have
    the first value of each axis of the whole grid;
    ``places`` are the paths of the corpora that are files, and of files that cleaning rules read,
    by how the config spells them;
    ``marks`` knows where each key was written.
    """

    device_kind: str
    choices: Choices = field(default_factory=dict)
    crossed: tuple[Arm, ...] = ()
    places: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    marks: Mapping[Path_, Mark] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        for slot in SLOTS:
            for choice in self.choices.get(slot.word, ()) if slot.key is not None else ():
                section = getattr(self, slot.section)
                if choice.item:
                    section = getattr(section, str(slot.group))[choice.item]
                named = getattr(section, str(slot.key), choice.spelled)
                chosen = choice.spelled in named if slot.several else choice.spelled == named
                assert chosen, f"{slot.section}.{slot.key} is not the part chosen"

    def choice(self, word: str) -> Choice:
        """The one part of a kind that a config has exactly one of."""
        (only,) = self.choices[word]
        return only

    @property
    def arms(self) -> tuple[Arm, ...]:
        """The arms to train; without axes the config itself is the only one."""
        return self.crossed or (Arm(values=(), config=self),)

    @property
    def all_choices(self) -> tuple[Choice, ...]:
        """Every part that the config or an arm chooses."""
        configs = (self, *(arm.config for arm in self.crossed))
        return tuple(
            choice
            for config in configs
            for several in config.choices.values()
            for choice in several
        )

    @property
    def all_places(self) -> dict[str, str]:
        """The ``places`` of every arm."""
        return {name: path for arm in self.arms for name, path in arm.config.places.items()}

    def each(self, change: Callable[[SweepConfig], SweepConfig]) -> SweepConfig:
        """Apply ``change`` to the config and to each of its arms."""
        arms = tuple(dataclasses.replace(arm, config=change(arm.config)) for arm in self.crossed)
        return dataclasses.replace(change(self), crossed=arms)

    @property
    def data_spec(self) -> DataSpec | TaskSpec:
        """What a run records of its data."""
        if isinstance(self.data, TaskSection):
            return TaskSpec(source=self.choice("source").component)
        corpora = {choice.item: choice.beyond_name for choice in self.choices.get("corpus", ())}
        spec = self.data.spec({item: part for item, part in corpora.items() if part is not None})
        rules = tuple(choice.component for choice in self.choices.get("cleaner", ()))
        return dataclasses.replace(spec, clean=rules or None, places=tuple(self.places.items()))

    @property
    def devices(self) -> Parallel:
        """The devices that train each run now."""
        if self.parallel is None:
            return ONE_DEVICE
        return self.parallel.resuming() or self.parallel.spec() or ONE_DEVICE

    @property
    def mix(self) -> Mix | None:
        """What a run records of its mixture; None without one."""
        return self.data.mix_spec() if isinstance(self.data, TextSection) else None

    @property
    def mix_place(self) -> str:
        """Where the config gives the mixture, for messages."""
        phases = isinstance(self.data, TextSection) and self.data.phases is not None
        return self.where("data", "phases" if phases else "mix")

    @property
    def components(self) -> tuple[str, ...]:
        """The components that a mixture of the text may weigh; () for a task."""
        return components_of(self.data, self.choices) if isinstance(self.data, TextSection) else ()

    @property
    def data_specs(self) -> tuple[DataSpec | TaskSpec, ...]:
        """The data of every arm, each once."""
        return tuple(dict.fromkeys(arm.config.data_spec for arm in self.arms))

    @property
    def mixed_specs(self) -> tuple[DataSpec | TaskSpec, ...]:
        """The data that some arm reads in a mixture, each once."""
        mixed = (arm.config.data_spec for arm in self.arms if arm.config.mix is not None)
        return tuple(dict.fromkeys(mixed))

    @property
    def task_sizes(self) -> Any:
        """The task's ``TaskSizes``; None for text."""
        if isinstance(self.data, TextSection):
            return None
        return task_sizes_of(self.choices)

    @cached_property
    def solves(self) -> str:
        """The family of losses that the architecture minimises in closed form; "": it trains."""
        return str(self.choice("architecture").part.solves)

    @cached_property
    def has_cooldown(self) -> bool:
        """Whether learning rates stay at their peak until a cooldown."""
        return not self.solves and bool(self.choice("schedule").part.shares_trunk)

    @property
    def shares_trunk(self) -> bool:
        """Whether the horizons of a size branch from one trunk."""
        return self.has_cooldown and self.trainer is None

    @property
    def vocab_size(self) -> int:
        """Ids that a model reads and predicts: the tokenizer's, or the task's."""
        if isinstance(self.data, TextSection):
            return self.data.vocab_size
        return int(self.task_sizes.vocab_size)

    @property
    def n_ctx(self) -> int:
        """Tokens of context."""
        return self.model.n_ctx or int(self.task_sizes.n_ctx)

    def where(self, *path: str | int) -> str:
        """``quick.yaml:11: grid.1.seeds`` for a message about that key."""
        return str(YamlDocument(None, dict(self.marks)).mark(path))

    @contextlib.contextmanager
    def placing(self) -> Iterator[None]:
        """Say where a key was written in errors that begin with it alone, as those of data do."""
        try:
            yield
        except (ConfigError, PlanError) as problem:
            raise type(problem)(*map(self._placed, problem.lines)) from None

    def _placed(self, line: str) -> str:
        key, colon, rest = line.partition(": ")
        path = tuple(key.split("."))
        known = colon and len(path) > 1 and path[:1] in self.marks
        return f"{self.where(*path)}: {rest}" if known else line


def components_of(data: TextSection, choices: Choices) -> tuple[str, ...]:
    """The components that a mixture of this text may weigh."""
    if data.domains:
        return data.domains
    if isinstance(data, SourcesSection):
        return tuple(data.sources)
    domains = [choice.part.domains for choice in choices.get("corpus", ())]
    return tuple(domains[0]) if domains else FILES_DOMAINS


def task_sizes_of(choices: Choices) -> Any:
    """The ``TaskSizes`` of the task that a config chooses."""
    (chosen,) = choices["source"]
    return chosen.part.sizes(chosen.settings)
