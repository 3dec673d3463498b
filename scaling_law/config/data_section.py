"""The section ``data`` of a config: text from one corpus or several sources, or a task."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from scaling_law.config.part_settings import FORBID
from scaling_law.spec.component import Component
from scaling_law.spec.data import TOKENIZERS, UNIQUE_FROM, WINDOWS, DataSpec, SourceSpec, joined
from scaling_law.spec.mix import COOLDOWN, NATURAL, Mix, Phase, shares_from
from scaling_law.spec.values import MAX_TABLE, Either, Number, NumberOr, Text

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,60}$"
Weights = Annotated[
    dict[str, Annotated[float, Number("the component's share", low=0, high=1)]]
    | Annotated[str, Text("the shares that the text has", (NATURAL,))],
    Either("shares by component, which sum to 1, or natural"),
]
TextKey = Annotated[
    str | None, Text("key of JSON rows or column of parquet with the text; a.b for b under a")
]


@dataclass(frozen=True, kw_only=True)
class PhaseSection:
    """A part of a run with one mixture."""

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID

    mix: Weights
    until: Annotated[
        float | str | None,
        NumberOr(
            "where the phase ends: a share of the run's steps, or the start of the cooldown",
            above=0, below=1, words=(COOLDOWN,), whole=False,
        ),
    ] = None  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TextSection:
    """A text and its tokenizer, and the mixture in which its components are read."""

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID

    corpus: Annotated[str | None, Text("a named corpus, a path to files, or a corpus's own .py")]
    tokenizer: Annotated[str, Text("how text is cut into tokens", TOKENIZERS)] = "bpe"
    vocab_size: Annotated[
        int, Number("tokens in the vocabulary", "count", low=257, high=MAX_TABLE)
    ] = 1024
    domains: tuple[Annotated[str, Text("a domain of the corpus, or a source")], ...] = ()
    max_bytes: Annotated[int | None, Number("bytes of text to read", "bytes")] = None
    val_fraction: Annotated[float, Number("share of documents held out", above=0, below=1)] = 0.02
    max_epochs: Annotated[
        float,
        Number("times the training text, or a component of a mix, may be read", above=0, high=1e6),
    ] = 4.0
    unique_tokens: Annotated[
        int | None,
        Number("tokens of the training text to use; validation text stays", "count", low=2),
    ] = None
    unique_share: Annotated[
        float | None,
        Number("share of the training text to use; validation text stays", above=0, high=1),
    ] = None
    unique_from: Annotated[
        str | None,
        Text(
            "sequences drawn from the whole text by the seed; null for its beginning", UNIQUE_FROM
        ),
    ] = None
    windows: Annotated[
        str | None,
        Text("each epoch cuts the text at other places; null for the same places", WINDOWS),
    ] = None
    mix: Weights | None = None
    mix_temperature: Annotated[
        float | None,
        Number("T of natural shares n^(1/T); 1 keeps the text's own", low=0.01, high=1e6),
    ] = None
    phases: tuple[PhaseSection, ...] | None = None
    # the names alone: each rule's settings are its own (``config.compose``)
    clean: tuple[Annotated[str, Text("a rule, see `slaw parts cleaner`")], ...] | None = None

    def __post_init__(self) -> None:
        self.spec({})
        if self.mix is not None and self.phases is not None:
            raise ValueError("expected one of mix and phases; found both")
        weights: list[Any] = [phase.mix for phase in self.phases or ()] or [self.mix or NATURAL]
        if self.mix_temperature is not None and NATURAL not in weights:
            raise ValueError("mix_temperature flattens natural shares; expected mix: natural")
        caps = {"unique_tokens": self.unique_tokens, "unique_share": self.unique_share}
        cap = next((key for key, value in caps.items() if value is not None), None)
        if cap is not None and self.mix_spec() is not None:
            raise ValueError(
                f"{cap} cuts the training text as a whole, and a mix reads it by component;"
                " leave one of them out, or cap a component by its source's max_bytes"
            )

    def spec(self, parts_of: Mapping[str, Component]) -> DataSpec:
        """What a run records of this section.

        ``parts_of`` are the corpora that a name alone does not describe, by source; "" for the
        corpus of the section.
        """
        return DataSpec(
            corpus=parts_of[""].name if "" in parts_of else self.corpus or "",
            tokenizer=self.tokenizer,
            vocab_size=self.vocab_size,
            domains=self.domains,
            max_bytes=self.max_bytes,
            val_fraction=self.val_fraction,
            unique_tokens=self.unique_tokens,
            unique_share=self.unique_share,
            unique_from=self.unique_from,
            windows=self.windows,
            corpus_part=parts_of.get(""),
        )

    def mix_spec(self) -> Mix | None:
        """What a run records of its mixture; None without one."""
        temperature = 1.0 if self.mix_temperature is None else self.mix_temperature
        if self.phases is not None:
            phases = tuple(
                Phase(shares=shares_from(phase.mix), until=phase.until) for phase in self.phases
            )
            return Mix(phases=phases, temperature=temperature)
        if self.mix is None and self.mix_temperature is None:
            return None
        return Mix(phases=(Phase(shares=shares_from(self.mix or NATURAL)),),
                   temperature=temperature)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class DataSection(TextSection):
    """The text of one corpus, whose domains are its components.

    The corpus's own settings stand beside these (``config.compose``).
    """

    corpus: Annotated[str, Text("a named corpus, a path to files, or a corpus's own .py")]
    text_key: TextKey = None

    def spec(self, parts_of: Mapping[str, Component]) -> DataSpec:
        """What a run records of this section."""
        return dataclasses.replace(super().spec(parts_of), text_key=self.text_key)


@dataclass(frozen=True, kw_only=True)
class SourceSection:
    """One of several sources of a text.

    The corpus's own settings stand beside these (``config.compose``).
    """

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID

    corpus: Annotated[str, Text("a named corpus, a path to files, or a corpus's own .py")]
    domains: tuple[Annotated[str, Text("a domain of the corpus")], ...] = ()
    max_bytes: Annotated[int | None, Number("bytes of text to read", "bytes")] = None
    text_key: TextKey = None


@dataclass(frozen=True, kw_only=True)
class SourcesSection(TextSection):
    """The text of several sources, each of which is a component; one tokenizer serves all."""

    corpus: None = None
    sources: dict[Annotated[str, Text("a component", pattern=NAME)], SourceSection]

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("sources is empty; expected corpora by name")
        super().__post_init__()

    def spec(self, parts_of: Mapping[str, Component]) -> DataSpec:
        """What a run records of this section."""
        sources = tuple(
            SourceSpec(
                name=name,
                corpus=parts_of[name].name if name in parts_of else section.corpus,
                domains=section.domains,
                max_bytes=section.max_bytes,
                text_key=section.text_key,
                corpus_part=parts_of.get(name),
            )
            for name, section in sorted(self.sources.items())
        )
        return dataclasses.replace(super().spec({}), corpus=joined(sources), sources=sources)


@dataclass(frozen=True, kw_only=True)
class TaskSection:
    """A task that makes its own examples, in place of text.

    The task's own settings stand beside these (``config.compose``).
    """

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID

    source: Annotated[str, Text("the task, see `slaw parts source`")]
    max_epochs: Annotated[
        float | None,
        Number("times the training examples may be seen; without limit", above=0, high=1e9),
    ] = None
