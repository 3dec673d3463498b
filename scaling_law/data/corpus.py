"""Find the text that a spec names: a corpus by its name or path, or several sources as one.

A name is that of a file in ``sources/``; a path that ends in ``.py`` is a user's own corpus;
anything else is a path to text, read by ``local``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling_law import parts
from scaling_law.data.cleaning import check_rules, state_of, versions_of
from scaling_law.data.sources import Corpus, Document, Tally
from scaling_law.errors import ConfigError, did_you_mean, quoted
from scaling_law.spec.data import DataSpec, SourceSpec


def state_digest(value: Any) -> str:
    """Return the hex SHA-256 of a JSON value in its canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def corpus_names() -> list[str]:
    """Names of the corpora of ``sources/``, sorted."""
    return list(parts.names("corpus"))


def _exists(path: str) -> bool:
    try:
        return bool(path) and Path(path).expanduser().exists()
    except (OSError, RuntimeError):  # a name too long, an unknown ~user
        return False


def corpus_problem(name_or_path: str) -> str:
    """Say why a corpus does not exist, without reading it; "" if it exists."""
    names = corpus_names()
    if name_or_path in names or _exists(name_or_path):
        return ""
    return (
        f"{quoted(name_or_path)}{did_you_mean(name_or_path, names)} is neither a corpus"
        f" ({', '.join(names)}) nor an existing file or folder"
    )


def load_corpus(name_or_path: str, section: str = "data") -> Corpus:
    """Return the corpus of that name, else the file or folder at that path.

    A name wins over a path of the same spelling (``./pile`` is always the path). ``section`` is the
    section of the config that names it. Raises ``ConfigError`` when there is neither.
    """
    if name_or_path in corpus_names():
        corpus: Corpus = parts.load("corpus", parts.Reference(name=name_or_path))
        assert corpus.name == name_or_path
        return corpus
    if problem := corpus_problem(name_or_path):
        raise ConfigError(f"{section}.corpus: {problem}")
    path = Path(name_or_path).expanduser()
    from scaling_law.data.local import local_corpus

    return local_corpus(path)


@dataclass(frozen=True, kw_only=True)
class CorpusText:
    """A text to prepare: a corpus as a spec asks for it, or several sources one after the other.

    ``name`` names its folder;
    ``licence`` is one line;
    ``components`` are the domains of its documents, or the names of its sources;
    ``state`` is a JSON value that changes when the documents change;
    ``versions`` gives those of the packages that the text is from;
    ``check_ready`` raises ``ConfigError`` where the text could not be prepared now; it may ask the
    network for a few seconds;
    ``documents`` yields the documents before they are cleaned, the domain of each one of
    ``components``; it takes a function for lines of news, and counts what is read and left out in
    a tally.
    """

    name: str
    licence: str
    components: tuple[str, ...]
    state: Any
    versions: Callable[[], dict[str, str]]
    check_ready: Callable[[], None]
    documents: Callable[[Callable[[str], None], Tally], Iterator[Document]]


def text_of(spec: DataSpec) -> CorpusText:
    """Return the text of a spec. Raises ``ConfigError`` where there is no such corpus."""
    text = _uncleaned(spec)
    if spec.clean is None:
        return text

    def check_ready() -> None:
        check_rules(spec)
        text.check_ready()

    return dataclasses.replace(
        text,
        state=[text.state, state_of(spec)],
        versions=lambda: {**text.versions(), **versions_of(spec)},
        check_ready=check_ready,
    )


def _uncleaned(spec: DataSpec) -> CorpusText:
    if spec.sources is None:
        return _one(spec, spec.place(spec.corpus))
    texts = {source.name: _one(source, spec.place(source.corpus)) for source in spec.sources}
    wanted = tuple(name for name in texts if not spec.domains or name in spec.domains)
    if unknown := sorted(set(spec.domains) - set(texts)):
        raise ConfigError(
            f"data.domains: there is no source {', '.join(unknown)}; expected some of"
            f" {', '.join(texts)}"
        )

    def check_ready() -> None:
        for name in wanted:
            texts[name].check_ready()

    def documents(note: Callable[[str], None], tally: Tally) -> Iterator[Document]:
        for name in wanted:
            for document in texts[name].documents(note, tally):
                yield Document(f"{name}/{document.id}", document.text, name)

    return CorpusText(
        name=spec.corpus,
        licence="; ".join(f"{name}: {texts[name].licence}" for name in wanted),
        components=wanted,
        state=[[name, texts[name].state] for name in wanted],
        versions=lambda: {
            key: value for name in wanted for key, value in texts[name].versions().items()
        },
        check_ready=check_ready,
        documents=documents,
    )


def _one(spec: DataSpec | SourceSpec, place: str) -> CorpusText:
    """Return the text of one corpus, which this machine has at ``place``."""
    component = spec.corpus_part
    if component is None:
        corpus, settings = load_corpus(place, spec.section), None
    else:
        corpus = parts.load("corpus", component.reference)
        try:
            settings = component.settings_as(corpus.settings)
        except ValueError as problem:
            raise ConfigError(f"the corpus {quoted(spec.corpus)}: {problem}") from None

    def check_ready() -> None:
        with _users_code(component.reference if component is not None else None):
            corpus.check_ready(spec.text_key, spec.section)
            if problem := corpus.unreachable():
                raise ConfigError(f"{spec.section}.corpus: {corpus.name}: {problem}")

    def documents(note: Callable[[str], None], tally: Tally) -> Iterator[Document]:
        given = corpus.documents(
            spec.domains,
            max_bytes=spec.max_bytes,
            note=note,
            text_key=spec.text_key,
            settings=settings,
            tally=tally,
            section=spec.section,
        )
        if component is None:
            return given
        named = f"{spec.section}.corpus: {corpus.name}"
        return _checked(component.reference, named, spec.domains or corpus.domains, given)

    with _users_code(component.reference if component is not None else None):
        return CorpusText(
            name=corpus.name,
            licence=corpus.licence,
            components=spec.domains or corpus.domains,
            state=corpus.state(),
            versions=corpus.versions,
            check_ready=check_ready,
            documents=documents,
        )


def _users_code(reference: parts.Reference | None) -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext() if reference is None else parts.users_code("corpus", reference)


def _checked(
    reference: parts.Reference, named: str, wanted: tuple[str, ...], documents: Iterator[Document]
) -> Iterator[Document]:
    """Yield the documents of a part, each checked against the contract.

    ``named`` is its key in the config and its name, for messages.
    """
    with parts.users_code("corpus", reference):
        for document in documents:
            if not isinstance(document, Document) or not isinstance(document.text, str):
                raise ConfigError(
                    f"{named}: its read yields {quoted(document)}, expected a Document with text"
                )
            if document.domain not in wanted:
                raise ConfigError(
                    f"{named}: {quoted(document.id)} is of the domain"
                    f" {quoted(document.domain)}, expected one of {', '.join(wanted)}, which it was"
                    " asked for"
                )
            yield document
