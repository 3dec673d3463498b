"""Specify what a run trains on: a text, from one corpus or several sources, or a task."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from scaling_law.errors import quoted
from scaling_law.spec.component import Component
from scaling_law.spec.fields import OMIT_EMPTY, UNWRITTEN, at_least, chosen_by, of_axis, one_of
from scaling_law.spec.to_json import SpecPart

TOKENIZERS = ("bytes", "bpe")
# Where the unique tokens of a text are, if not at its beginning.
UNIQUE_FROM = ("whole",)
# Where the sequences of an epoch begin, if not always at the same places.
WINDOWS = ("shifted",)


@dataclass(frozen=True, kw_only=True)
class SourceSpec(SpecPart):
    """One of several sources of a text, each of which is a component that mixtures weigh.

    ``name``: the component's name.
    ``corpus``: a named corpus or a path.
    ``domains``: the only domains that are read; all when empty.
    ``max_bytes``: bytes of text to read, in the order of the content's hash; None for all.
    ``text_key``: the key of a row of JSON, or the column of parquet, that holds the text; None for
    the corpus's own.
    ``corpus_part``: the corpus, where it has settings that are not at their default or is a user's
    own file; else None.
    """

    name: str
    corpus: str
    domains: tuple[str, ...] = ()
    max_bytes: int | None = field(default=None, metadata=of_axis("horizon"))
    text_key: str | None = field(default=None, metadata=OMIT_EMPTY)
    corpus_part: Component | None = field(default=None, metadata=OMIT_EMPTY)

    def __post_init__(self) -> None:
        at_least(1, max_bytes=self.max_bytes)
        _check_key(self.text_key)

    @property
    def section(self) -> str:
        """The section of a config that gives this source, for messages."""
        return f"data.sources.{self.name}"

    def __str__(self) -> str:
        """The source in a recipe, where the amount of text is no part of it."""
        words = [f"{self.name}={self.corpus}", *self.domains]
        if self.text_key is not None:
            words.append(f"text_key={self.text_key}")
        if self.corpus_part is not None:
            words += [f"{key}={value}" for key, value in self.corpus_part.settings]
            words += [(self.corpus_part.source_sha256 or "")[:12]]
        return " ".join(filter(None, words))


@dataclass(frozen=True, kw_only=True)
class DataSpec(SpecPart):
    """A text and its tokenizer.

    ``corpus``: a named source or a path; the names of several sources, joined by ``+``.
    ``tokenizer``: its kind.
    ``vocab_size``: tokens of the vocabulary.
    ``domains``: the only domains that are read; all when empty.
    ``max_bytes``: bytes of text to read, in the order of the content's hash; None for all.
    ``val_fraction``: share of documents held out by hash.
    ``unique_tokens``: tokens of the training text that are trained on, None for all; validation
    text and tokenizer do not depend on it.
    ``unique_share``: the same as a share of that text, None without.
    ``unique_from``: where these tokens are: None at the beginning of the text, ``whole`` in
    sequences drawn from all of it by the run's seed.
    ``windows``: where the training text is cut into sequences: None at the same places in every
    epoch, ``shifted`` at other places in each.
    ``text_key``: the key of a row of JSON, or the column of parquet, that holds the text; None for
    the corpus's own.
    ``corpus_part``: the corpus, where it has settings that are not at their default or is a user's
    own file; else None.
    ``sources``: the sources of a text from several; None for one corpus.
    ``clean``: the rules by which documents are dropped or changed, in their order; None for none.
    ``places``: where this machine has the corpora and other files, (name as a config spells it,
    path) pairs; no part of the identity, and not written.
    """

    corpus: str
    tokenizer: str = "bpe"
    vocab_size: int = 1024
    domains: tuple[str, ...] = ()
    max_bytes: int | None = field(default=None, metadata=of_axis("horizon"))
    val_fraction: float = 0.02
    unique_tokens: int | None = field(default=None, metadata=OMIT_EMPTY | of_axis("horizon"))
    unique_share: float | None = field(default=None, metadata=OMIT_EMPTY | of_axis("horizon"))
    unique_from: str | None = field(default=None, metadata=OMIT_EMPTY)
    windows: str | None = field(default=None, metadata=OMIT_EMPTY)
    text_key: str | None = field(default=None, metadata=OMIT_EMPTY)
    corpus_part: Component | None = field(default=None, metadata=chosen_by("data.corpus", None))
    sources: tuple[SourceSpec, ...] | None = field(default=None, metadata=OMIT_EMPTY)
    clean: tuple[Component, ...] | None = field(default=None, metadata=OMIT_EMPTY)
    places: tuple[tuple[str, str], ...] = field(
        default=(), compare=False, repr=False, metadata=UNWRITTEN | of_axis("label")
    )

    def __post_init__(self) -> None:
        one_of("tokenizer", self.tokenizer, TOKENIZERS)
        # 256 bytes and the document separator are the smallest vocabulary either can have
        at_least(257, vocab_size=self.vocab_size)
        if self.tokenizer == "bytes" and self.vocab_size != 257:
            raise ValueError(f"vocab_size is {self.vocab_size}, expected 257 with bytes")
        at_least(1, max_bytes=self.max_bytes)
        at_least(2, unique_tokens=self.unique_tokens)
        if self.unique_share is not None and not 0 < self.unique_share <= 1:
            raise ValueError(f"unique_share is {self.unique_share}, expected above 0, at most 1")
        if self.unique_share is not None and self.unique_tokens is not None:
            raise ValueError("found both unique_tokens and unique_share; leave one of them out")
        if self.unique_from is not None:
            one_of("unique_from", self.unique_from, UNIQUE_FROM)
        if self.windows is not None:
            one_of("windows", self.windows, WINDOWS)
            if self.unique_from is not None:
                raise ValueError(
                    f"windows {self.windows} reads on across the ends of sequences, and unique_from"
                    f" {self.unique_from} takes sequences apart; leave one of them out"
                )
        _check_key(self.text_key)
        if not 0 < self.val_fraction < 1:
            raise ValueError(f"val_fraction is {self.val_fraction}, expected between 0 and 1")
        if self.sources is not None and self.corpus != joined(self.sources):
            raise ValueError(f"corpus is {quoted(self.corpus)}, expected {joined(self.sources)!r}")
        if self.clean == ():
            raise ValueError("clean is empty, expected rules; leave it out for none")

    def place(self, name: str) -> str:
        """Where this machine has a corpus, or another file: its path, or its name."""
        return dict(self.places).get(name, name)

    @property
    def name(self) -> str:
        """The name of the text or the task that the examples come from."""
        return self.corpus

    @property
    def section(self) -> str:
        """The section of a config that gives this text, for messages."""
        return "data"

    @property
    def key(self) -> str:
        """The config key that names the text, for messages."""
        return f"{self.section}.{'corpus' if self.sources is None else 'sources'}"

    @property
    def coding(self) -> str:
        """What a target is, beside the size of the vocabulary: losses of two codings differ."""
        return self.tokenizer

    @property
    def repeats_by_design(self) -> bool:
        """Whether repeating the data is intended: for text it is not, because it costs loss."""
        return False


def _check_key(text_key: str | None) -> None:
    if text_key == "":
        raise ValueError("text_key is empty, expected a key or column; leave it out for text")


def joined(sources: Iterable[SourceSpec]) -> str:
    """The name of a text from several sources: ``code+web``."""
    return "+".join(source.name for source in sources)


@dataclass(frozen=True, kw_only=True)
class TaskSpec(SpecPart):
    """A task that makes its own examples.

    ``source``: the task, with its settings.
    """

    source: Component = field(metadata=chosen_by("data.source", None))

    @property
    def name(self) -> str:
        """The name of the text or the task that the examples come from."""
        return self.source.name

    @property
    def coding(self) -> str:
        """What a target is, beside the size of the vocabulary: losses of two codings differ."""
        return f"task {self.source.name}"

    @property
    def repeats_by_design(self) -> bool:
        """Whether repeating the data is intended: a task's examples are what the model learns."""
        return True
