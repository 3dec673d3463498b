"""Find a corpus by its name or path.

A name is that of a file in ``sources/``; anything else is a path, read by ``local``.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any

from scaling_law import parts
from scaling_law.data.sources import Corpus, Document, ReadRequest
from scaling_law.errors import ConfigError, did_you_mean, quoted

__all__ = ["Corpus", "Document", "ReadRequest", "load_corpus"]


def package_folder(name: str) -> Path | None:
    """Find the folder of an installed package without importing it; None if absent.

    Python takes any folder of that name in the working directory (``datasets``, say) for a
    namespace package; such a folder does not count.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


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
    """Say why there is no such corpus, without reading it; "" where there is."""
    names = corpus_names()
    if name_or_path in names or _exists(name_or_path):
        return ""
    return (
        f"{quoted(name_or_path)}{did_you_mean(name_or_path, names)} is neither a corpus"
        f" ({', '.join(names)}) nor an existing file or folder"
    )


def load_corpus(name_or_path: str) -> Corpus:
    """Return the corpus of that name, else the file or folder at that path.

    A name wins over a path of the same spelling (``./pile`` is always the path).
    Raises ``ConfigError`` when there is neither.
    """
    if name_or_path in corpus_names():
        corpus: Corpus = parts.load("corpus", parts.Reference(name=name_or_path))
        assert corpus.name == name_or_path
        return corpus
    if problem := corpus_problem(name_or_path):
        raise ConfigError(f"data.corpus: {problem}")
    path = Path(name_or_path).expanduser()
    from scaling_law.data.local import local_corpus

    return local_corpus(path)
