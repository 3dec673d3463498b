"""The folder of a prepared text: its name, its files, and how it appears whole or not at all."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from scaling_law.data.corpus import CorpusText, state_digest, text_of
from scaling_law.errors import ConfigError
from scaling_law.files import layout
from scaling_law.files.process import tag_is_dead, this_process
from scaling_law.spec.data import DataSpec
from scaling_law.spec.to_json import to_json
from scaling_law.versions import DATASET

META, TOKENIZER, COMPONENTS = "meta.json", "tokenizer.json", "components.json"
# The key in meta.json of what was read and left out, and of what was counted; absent in older ones.
CHECKS = "checks"
SPLITS = ("train", "val")
_STALE_SECONDS = 24 * 3600


def dataset_folder(spec: DataSpec) -> Path:
    """Return the folder in which ``prepare(spec)`` puts its result; it may not exist yet.

    The name's key covers the spec and the corpus's state (for files: names, sizes and times),
    so a changed corpus gets a new folder. Raises ``ConfigError`` on an unknown corpus.
    """
    return folder_of(text_of(spec), whole_text(spec))


def whole_text(spec: DataSpec) -> DataSpec:
    """The spec of the text that is prepared: without its cap on training tokens and its windows."""
    return dataclasses.replace(
        spec, unique_tokens=None, unique_share=None, unique_from=None, windows=None
    )


def folder_of(text: CorpusText, spec: DataSpec) -> Path:
    """The folder of a text whose spec has no cap on training tokens (``whole_text``)."""
    state = {"schema": DATASET.current, "spec": to_json(spec), "state": text.state}
    name = re.sub(r"[^A-Za-z0-9._-]", "_", text.name)[:40].lstrip(".") or "corpus"
    return layout.cache_dir() / "data" / f"{name}-{state_digest(state)[:12]}"


@contextlib.contextmanager
def work_folder(folder: Path, spec: DataSpec) -> Iterator[Path]:
    """Make a temporary folder next to ``folder``. Raises ``ConfigError`` for a full disk, say."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(folder)
        work = layout.temporary_folder(folder, f"{this_process().tag}.")
    except OSError as problem:
        raise ConfigError(
            f"{folder.parent}: cannot be written ({problem.strerror}); {layout.CACHE_REMEDY}"
        ) from None
    try:
        yield work
    except OSError as problem:
        raise ConfigError(
            f"preparing {spec.corpus} in {folder.parent}: {problem.strerror or problem}; free some"
            f" space or {layout.CACHE_REMEDY}"
        ) from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


def documents_file(split: str) -> str:
    """The name of the file with the component and the tokens of each document of a split."""
    return f"{split}.documents.bin"


def _remove_stale(folder: Path) -> None:
    """Remove the folders of killed processes, and a folder whose meta.json was deleted.

    Whether a process on another machine is alive is not known, so the folder's age decides.
    """
    for left in folder.parent.glob(f".{folder.name}.*.tmp"):
        tag = left.name.removeprefix(f".{folder.name}.").partition(".")[0]
        with contextlib.suppress(FileNotFoundError):
            old = time.time() - left.stat().st_mtime > _STALE_SECONDS
            if old or tag_is_dead(tag):
                shutil.rmtree(left, ignore_errors=True)
    if folder.is_dir() and not (folder / META).is_file():
        shutil.rmtree(folder)


def publish(work: Path, folder: Path) -> None:
    """Rename a finished folder to its place, unless another process was first."""
    try:
        work.rename(folder)
    except OSError:
        # renaming to a folder that is not empty fails
        if not (folder / META).is_file():
            raise
