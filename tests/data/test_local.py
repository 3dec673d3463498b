from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from scaling_law.data import local as module
from scaling_law.data.corpus import Document, load_corpus
from scaling_law.data.local import cut_prose
from scaling_law.errors import ConfigError
from tests.data.conftest import write_parquet


def _texts(path: Path) -> list[str]:
    return [document.text for document in _documents(path)[0]]


def _documents(path: Path) -> tuple[list[Document], list[str]]:
    notes: list[str] = []
    corpus = load_corpus(str(path))
    return list(corpus.documents(note=notes.append)), notes


def test_jsonl_lines_are_documents(tmp_path: Path) -> None:
    file = tmp_path / "data.jsonl"
    rows = [{"text": "one"}, {"text": "two\n\u2028\ud83d\ude80", "id": 3}]
    file.write_text("\n\n".join(json.dumps(row) for row in rows) + "\n")
    assert _texts(file) == ["one", "two\n\u2028\ud83d\ude80".encode("utf-16", "surrogatepass")
                            .decode("utf-16")]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON"),
        ('{"content": "x"}', "found keys 'content'; expected a \"text\" key"),
        ('{"text": 3}', 'expected a "text" key with a string'),
        ("[1]", "found no object"),
    ],
)
def test_bad_jsonl_names_file_and_line(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "data.jsonl"
    file.write_text('{"text": "fine"}\n' + line + "\n")
    with pytest.raises(ConfigError, match=message) as raised:
        _texts(file)
    assert str(raised.value).startswith(f"{file}:2: ")


def test_parquet_rows_are_documents(tmp_path: Path) -> None:
    texts = [f"row {n} é" for n in range(3000)]
    columns: dict[str, list[str | None]] = {"id": ["an id"] * 3001, "text": [*texts, None]}
    write_parquet(tmp_path / "part.parquet", columns, rows_per_group=700)
    assert _texts(tmp_path) == [*texts, ""]


def test_parquet_problems_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "part.parquet"
    write_parquet(file, {"body": ["x"]}, rows_per_group=10)
    with pytest.raises(ConfigError, match="found columns body; expected one called text"):
        _texts(file)
    file.write_bytes(b"PAR1 not really PAR1")
    with pytest.raises(ConfigError, match="not readable as parquet"):
        _texts(file)
    monkeypatch.setattr(module, "package_folder", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install 'scaling-law\[parquet\]'"):
        _texts(file)


def test_a_folder_is_read_to_the_bottom(tmp_path: Path) -> None:
    nested = tmp_path / "a 'quoted'\nname" / "b"
    nested.mkdir(parents=True)
    (nested / "x.py").write_text("print()\r\n")
    (tmp_path / "y.MD").write_bytes(b"\xef\xbb\xbfwith a byte order mark")
    (tmp_path / ".hidden.txt").write_text("no")
    (tmp_path / "image.png").write_bytes(b"\x89PNG")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    (tmp_path / "dangling.txt").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.txt")
    documents, notes = _documents(tmp_path)
    assert sorted(d.text for d in documents) == ["print()\n", "with a byte order mark"]
    assert [note.split(": ")[1] for note in notes] == [
        "left out 1 files not UTF-8 text",
        "left out 3 files of an unknown kind",
    ]


def test_a_named_file_of_any_kind_is_read(tmp_path: Path) -> None:
    file = tmp_path / "README"
    file.write_text("no suffix")
    assert _texts(file) == ["no suffix"]
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8 text"):
        _texts(file)


def test_a_long_text_is_cut_at_blank_lines(tmp_path: Path) -> None:
    paragraphs = [f"paragraph {n} " + "word " * 150 for n in range(300)]
    book = "\n\n".join(paragraphs)
    (tmp_path / "book.txt").write_text(book)
    pieces = _texts(tmp_path / "book.txt")
    assert len(pieces) > 8
    assert "".join(pieces) == book
    assert all(piece.startswith("paragraph") for piece in pieces)
    (tmp_path / "code.py").write_text(book)
    assert _texts(tmp_path / "code.py") == [book]


@pytest.mark.parametrize(
    "text", ["", "x" * 100_000, "line\n" * 20_000, "x" * 32_000, "\n" * 99_999]
)
def test_cutting_loses_nothing(text: str) -> None:
    pieces = list(cut_prose(text))
    assert "".join(pieces) == text
    assert max(map(len, pieces)) <= 32_001


@pytest.mark.parametrize(
    "name", ["", "no/such/place", "\0", "x" * 5000, "~nobody-of-that-name/x", "Installed"]
)
def test_neither_a_corpus_nor_a_path(name: str) -> None:
    with pytest.raises(ConfigError, match=r"neither a corpus .*installed.* nor an existing file"):
        load_corpus(name)


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="neither a file nor a folder"):
        _texts(tmp_path / "pipe")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("secret")
    (tmp_path / "x.txt").chmod(0)
    with pytest.raises(ConfigError, match=r"x\.txt: not readable"):
        _texts(tmp_path)


def test_state_follows_the_files(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("one")
    corpus = load_corpus(str(tmp_path))
    before = corpus.state()
    assert corpus.state() == before
    (tmp_path / "x.txt").write_text("three")
    assert corpus.state() != before
