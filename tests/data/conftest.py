"""A cache of the test's own, and small corpora to prepare from."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

_WORDS = ("the", "law", "of", "scale", "says", "that", "loss", "falls", "as", "a", "power", "of")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test prepares into its own folder."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("SLAW_CACHE", str(folder))
    return folder


@pytest.fixture
def texts() -> list[str]:
    """200 distinct texts of about 400 bytes."""
    rng = random.Random(7)
    return [f"{n}: " + " ".join(rng.choices(_WORDS, k=80)) + ".\n" for n in range(200)]


@pytest.fixture
def folder(tmp_path: Path, texts: list[str]) -> Path:
    """The texts as files."""
    return write_files(tmp_path / "text files", texts)


def write_files(folder: Path, texts: list[str], name: Callable[[int], str] | None = None) -> Path:
    """``texts`` as one file each."""
    folder.mkdir()
    for number, text in enumerate(texts):
        file = folder / (name(number) if name else f"{number:03d}.txt")
        file.write_text(text, encoding="utf-8")
    return folder


def write_parquet(
    path: Path, columns: Mapping[str, Sequence[str | None]], rows_per_group: int
) -> None:
    """A parquet file with ``columns``; skips the test without pyarrow."""
    pytest.importorskip("pyarrow", reason="parquet files are read with pyarrow")
    import pyarrow
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=rows_per_group)
