"""Where a config chooses parts, and a part as a config chooses it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling_law import parts
from scaling_law.parts import Reference
from scaling_law.spec.component import Component
from scaling_law.spec.model import DEFAULT_ARCHITECTURE, DEFAULT_PARAMETRISATION
from scaling_law.spec.optim import DEFAULT_OPTIMIZER
from scaling_law.spec.run import DEFAULT_NUMBER_FORMAT, DEFAULT_OBJECTIVE


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A place in a config where a part is chosen.

    ``word`` is the kind of part;
    ``section`` is the top-level key that holds it, or that it is;
    ``key`` names the part within the section; None where the section is the part itself: a name,
    or its name and settings;
    ``default`` is the part of a config that names none, None for no part;
    ``several`` says that the section, or its key, is a list of parts, or a mapping of their names
    to settings;
    ``before`` is the key that what the part adds is with_parts before: the settings within their
    section, or else the section;
    ``always`` says that the key is with_parts at its default too;
    ``others`` says that the key may hold something else than a part (a path to text, for a corpus),
    which is then not a choice of one;
    ``group`` is a key of the section whose items have the slot too, by name.

    With ``before`` and ``always`` a config is with_parts as it was before parts could be chosen, so
    that folders know it again.
    """

    word: str
    section: str
    key: str | None = None
    default: str | None = None
    several: bool = False
    before: str | None = None
    always: bool = False
    others: bool = False
    group: str | None = None


DEFAULT_ENGINE = "local"
SLOTS = (
    Slot(word="source", section="data", key="source", before="max_epochs"),
    Slot(
        word="corpus", section="data", key="corpus", before="max_epochs", others=True,
        group="sources",
    ),
    Slot(word="cleaner", section="data", key="clean", several=True),
    Slot(
        word="architecture", section="model", key="architecture", default=DEFAULT_ARCHITECTURE,
        before="gradient_checkpointing",
    ),
    Slot(
        word="parametrisation", section="model", key="parametrisation",
        default=DEFAULT_PARAMETRISATION, before="gradient_checkpointing",
    ),
    Slot(
        word="optimizer", section="optim", key="name", default=DEFAULT_OPTIMIZER,
        before="weight_decay",
    ),
    Slot(
        word="rule", section="optim", key="rule", default="slaw_small", before="weight_decay",
        always=True,
    ),
    Slot(
        word="schedule", section="schedule", key="shape", default="wsd", before="decay_frac",
        always=True,
    ),
    Slot(
        word="cooldown", section="schedule", key="cooldown", default="1-sqrt", before="decay_frac",
        always=True,
    ),
    Slot(word="tracker", section="trackers", several=True, before="limits", always=True),
    Slot(word="objective", section="objective", default=DEFAULT_OBJECTIVE),
    Slot(word="number_format", section="number_format", default=DEFAULT_NUMBER_FORMAT),
    Slot(word="probe", section="probes", several=True),
    Slot(word="engine", section="engine", default=DEFAULT_ENGINE),
    Slot(word="experiment", section="experiment"),
)  # fmt: skip
# Sections that hold only a part, or a list of parts.
PART_SECTIONS = tuple(slot.section for slot in SLOTS if slot.key is None)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A part as a config chooses it.

    ``word`` is its kind;
    ``reference`` says which part it is;
    ``settings`` is an instance of the part's ``Settings``;
    ``is_key`` says that the config writes the name as a key that holds the settings;
    ``item`` is the item of the slot's group that the part is chosen in, "" for the section itself.
    """

    word: str
    reference: Reference
    settings: Any
    is_key: bool = False
    item: str = ""

    @property
    def part(self) -> Any:
        """What the part's file exports."""
        return parts.load(self.word, self.reference)

    @property
    def spelled(self) -> str:
        """The name as a config writes it."""
        own = self.reference.source_sha256 is not None
        return f"{self.reference.name}.py" if own else self.reference.name

    @property
    def component(self) -> Component:
        """What a run records of it: settings at their default are absent."""
        return Component(
            name=self.reference.name,
            settings=tuple(sorted(parts.set_fields(self.settings).items())),
            source_sha256=self.reference.source_sha256,
        )

    @property
    def beyond_name(self) -> Component | None:
        """The component of a part that a run's spec names elsewhere; None if that says all."""
        plain = Component(name=self.reference.name)
        return None if self.component == plain else self.component


Choices = Mapping[str, tuple[Choice, ...]]


def own_files(choices: Iterable[Choice]) -> dict[Path, bytes]:
    """Return the users' own files that a config names: their content by the sweep folder's copy."""
    files = [(choice, parts.content_of(choice.word, choice.reference)) for choice in choices]
    return {
        parts.own_place(choice.word, choice.spelled): content
        for choice, content in files
        if content is not None
    }
