"""What a corpus is, and finding one by its name or path.

A corpus is one file in ``sources/`` that exports ``CORPUS``; there is no registry. Anything
that is not such a name is a path, read by ``local``.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scaling_law.data import sources
from scaling_law.errors import ConfigError, did_you_mean, quoted


@dataclass(frozen=True, slots=True)
class Document:
    """One text. ``id`` says where it came from; ``domain`` is one of its corpus's domains."""

    id: str
    text: str
    domain: str


@dataclass(frozen=True, kw_only=True)
class ReadRequest:
    """What a corpus is asked for.

    ``domains`` to yield (never empty); ``max_bytes`` of text the caller will keep (None: all),
    which lets a streamed source stop; ``note`` takes one line about anything left out.
    """

    domains: frozenset[str]
    max_bytes: int | None = None
    note: Callable[[str], None] = print


def nothing_missing() -> None:
    """The ``missing`` of a corpus that every installation has."""


def no_versions() -> dict[str, str]:
    """The ``versions`` of a corpus that comes from no package."""
    return {}


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A named source of documents.

    ``licence`` and ``how`` (how it is had, with its size) are one line each. ``read`` yields
    documents in any order, duplicates allowed. ``state`` is a cheap JSON value that changes
    when the documents would. ``missing`` says what must be installed first, None if nothing.
    ``versions`` are those of the packages the text comes from.
    """

    name: str
    description: str
    licence: str
    how: str
    domains: tuple[str, ...]
    read: Callable[[ReadRequest], Iterator[Document]] = field(repr=False)
    state: Callable[[], Any] = field(repr=False)
    missing: Callable[[], str | None] = field(default=nothing_missing, repr=False)
    versions: Callable[[], dict[str, str]] = field(default=no_versions, repr=False)

    def documents(
        self,
        domains: tuple[str, ...] = (),
        *,
        max_bytes: int | None = None,
        note: Callable[[str], None] = print,
    ) -> Iterator[Document]:
        """The documents of ``domains`` (all when empty), in any order, duplicates allowed.

        Raises ``ConfigError`` on an unknown domain, when something must be installed first,
        or when the source cannot be read.
        """
        unknown = sorted(set(domains) - set(self.domains))
        if unknown:
            raise ConfigError(
                f"data.domains: {self.name} has no domain {', '.join(unknown)}; "
                f"expected some of {', '.join(self.domains)}"
            )
        lacking = self.missing()
        if lacking is not None:
            raise ConfigError(f"data.corpus: {self.name}: {lacking}")
        wanted = frozenset(domains or self.domains)
        return self.read(ReadRequest(domains=wanted, max_bytes=max_bytes, note=note))


def package_folder(name: str) -> Path | None:
    """The folder of an installed package, located without importing it; None if absent.

    A mere folder of that name in the working directory (``datasets`` is a likely one) is a
    namespace package to Python, not an installed one, and does not count.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def state_digest(value: Any) -> str:
    """Hex SHA-256 of a JSON value, in one spelling."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def corpus_names() -> list[str]:
    """Names of the corpora of ``sources/``, sorted."""
    found = pkgutil.iter_modules(sources.__path__)
    return sorted(module.name for module in found if not module.name.startswith("_"))


def _exists(path: str) -> bool:
    try:
        return bool(path) and Path(path).expanduser().exists()
    except (OSError, RuntimeError):  # a name too long, an unknown ~user
        return False


def corpus_problem(name_or_path: str) -> str:
    """Why there is no such corpus, without reading it; empty where there is."""
    names = corpus_names()
    if name_or_path in names or _exists(name_or_path):
        return ""
    return (
        f"{quoted(name_or_path)}{did_you_mean(name_or_path, names)} is neither a corpus"
        f" ({', '.join(names)}) nor an existing file or folder"
    )


def load_corpus(name_or_path: str) -> Corpus:
    """The corpus of that name, else the file or folder at that path.

    A name wins over a path of the same spelling (``./pile`` is always the path).
    Raises ``ConfigError`` when it is neither.
    """
    if name_or_path in corpus_names():
        module = importlib.import_module(f"{sources.__name__}.{name_or_path}")
        corpus = module.CORPUS
        assert isinstance(corpus, Corpus) and corpus.name == name_or_path
        return corpus
    if problem := corpus_problem(name_or_path):
        raise ConfigError(f"data.corpus: {problem}")
    path = Path(name_or_path).expanduser()
    from scaling_law.data.local import local_corpus

    return local_corpus(path)
