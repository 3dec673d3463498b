from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
from pathlib import Path
from typing import Any

import pyarrow
import pytest

from scaling_law.data import content as content_module
from scaling_law.data import local as local_module
from scaling_law.data import rows as module
from scaling_law.data.content import TextScan
from scaling_law.data.corpus import load_corpus
from scaling_law.data.local import cut_prose
from scaling_law.data.sources import Document, Tally
from scaling_law.errors import ConfigError
from tests.data.conftest import write_parquet


def _texts(path: Path) -> list[str]:
    return [document.text for document in _documents(path)[0]]


def _documents(path: Path, key: str | None = None) -> tuple[list[Document], Tally]:
    tally = Tally()
    corpus = load_corpus(str(path))
    return list(corpus.documents(text_key=key, tally=tally)), tally


def _left_out(path: Path, key: str | None = None) -> dict[str, int]:
    return {reason: count for (_, reason), count in _documents(path, key)[1].left_out.items()}


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
    assert _texts(tmp_path) == texts
    assert _left_out(tmp_path) == {"its text is null": 1}


def test_parquet_problems_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "part.parquet"
    write_parquet(file, {"body": ["x"]}, rows_per_group=10)
    with pytest.raises(ConfigError, match=r"columns body; expected one called text; text_key"):
        _texts(file)
    file.write_bytes(b"PAR1 not really PAR1")
    with pytest.raises(ConfigError, match="not readable as parquet"):
        _texts(file)
    monkeypatch.setattr(module, "package_folder", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install 'slaw\[parquet\]'"):
        _texts(file)


def _write_column(file: Path, values: Any, kind: str) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="parquet files are read with pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet", reason="parquet files are read with pyarrow")
    types = {
        "list": pyarrow.list_(pyarrow.string()),
        "dictionary": pyarrow.dictionary(pyarrow.int32(), pyarrow.string()),
        "struct": pyarrow.struct([("body", pyarrow.string())]),
    }
    column = pyarrow.array(values, types.get(kind) or pyarrow.type_for_alias(kind))
    parquet.write_table(pyarrow.table({"text": column}), file)


@pytest.mark.parametrize(
    "kind", ["string", "large_string", "string_view", "dictionary", "binary", "large_binary"]
)
def test_every_kind_of_strings_in_parquet_is_read(tmp_path: Path, kind: str) -> None:
    texts = ["one", None, "zwei é", "one"]
    given = [t and t.encode() for t in texts] if "binary" in kind else texts
    _write_column(tmp_path / "a.parquet", given, kind)
    assert _texts(tmp_path) == ["one", "zwei é", "one"]
    assert _left_out(tmp_path) == {"its text is null": 1}


def test_bytes_in_parquet_that_are_not_utf8_are_counted(tmp_path: Path) -> None:
    _write_column(tmp_path / "a.parquet", [b"caf\xe9", b"fine"], "binary")
    assert _texts(tmp_path) == ["fine"]
    assert _left_out(tmp_path) == {"its text is not UTF-8": 1}


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        ("list", [["a"]], "of type list<.*expected strings"),
        ("int64", [1], "of type int64; expected strings"),
        ("null", [None], "of type null; expected strings"),
        (
            "struct",
            [{"body": "a"}],
            "of type struct.*text_key, beside the corpus, may name text.body",
        ),
    ],
)
def test_a_column_without_strings_is_refused_with_its_type(
    tmp_path: Path, kind: str, values: list[Any], message: str
) -> None:
    _write_column(tmp_path / "a.parquet", values, kind)
    with pytest.raises(ConfigError, match=rf"a\.parquet: column text is {message}"):
        _texts(tmp_path)


def test_a_field_of_a_struct_in_parquet_may_be_named(tmp_path: Path) -> None:
    _write_column(tmp_path / "a.parquet", [{"body": "a"}, None, {"body": None}], "struct")
    documents, tally = _documents(tmp_path, "text.body")
    assert [document.text for document in documents] == ["a"]
    assert tally.left_out == {("row", "its text is null"): 2}


def test_rows_beyond_a_batch_are_read_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"{n % 7} of a row" for n in range(50)]
    write_parquet(tmp_path / "a.parquet", {"text": texts}, rows_per_group=20)
    sizes = []

    def counted(column: Any, fields: list[str]) -> Any:
        sizes.append(len(column))
        return read(column, fields)

    read = module._texts
    monkeypatch.setattr(module, "_texts", counted)
    assert _texts(tmp_path) == texts and sizes == [20, 20, 10]
    sizes.clear()
    monkeypatch.setattr(module, "_WHOLE_BYTES", 1)
    assert _texts(tmp_path) == texts and sizes == [1] * 50


def test_a_folder_is_read_with_its_subfolders(tmp_path: Path) -> None:
    nested = tmp_path / "a 'quoted'\nname" / "b"
    nested.mkdir(parents=True)
    (nested / "x.py").write_text("print()\r\n")
    (tmp_path / "y.MD").write_bytes(b"\xef\xbb\xbfwith a byte order mark")
    (tmp_path / ".hidden.txt").write_text("no")
    (tmp_path / "image.png").write_bytes(b"\x89PNG")
    (tmp_path / "more.tar.gz").write_bytes(gzip.compress(b"files"))
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    (tmp_path / "dangling.txt").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.txt")
    documents, tally = _documents(tmp_path)
    assert sorted(d.text for d in documents) == ["print()\n", "with a byte order mark"]
    assert tally.read == {".py file": 1, ".md file": 1}
    assert [line.partition(" (first")[0] for line in tally.left_out_lines()] == [
        "left out 1 file: a link that leads nowhere",
        "left out 1 file: a pipe, socket or device",
        "left out 1 file: hidden, its name begins with a dot",
        "left out 1 file: not UTF-8 text (Latin-1 or another 8-bit code, or binary)",
        "left out 1 file: of an unknown kind ('.png')",
        "left out 1 file: of an unknown kind ('.tar.gz')",
    ]


ROWS = [{"id": n, "text": f"row {n} é"} for n in range(3)]
LINES = "\n".join(json.dumps(row) for row in ROWS).encode()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", LINES),
        ("a.ndjson", LINES.replace(b"\n", b"\r\n\r\n")),
        ("a.json", LINES),
        ("a.txt", b"\xef\xbb\xbf" + LINES),
        ("part-0001", LINES),
        ("a.jsonl.gz", gzip.compress(LINES, mtime=0)),
        ("a.json.xz", lzma.compress(LINES)),
        ("a.ndjson.bz2", bz2.compress(LINES)),
        ("a.json", json.dumps(ROWS).encode()),
        ("b.json", json.dumps(ROWS, indent=2).encode()),
        ("c.json", json.dumps({"version": 1, "data": ROWS, "tags": ["x"]}).encode()),
        ("d.json", json.dumps({"data": ROWS, "notes": [{"by": "x"}]}, indent=2).encode()),
    ],
)
def test_rows_of_json_are_documents_with_any_file_suffix(
    tmp_path: Path, name: str, content: bytes
) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    assert _texts(file) == [row["text"] for row in ROWS]


def test_a_json_file_without_rows_of_text_is_read_whole_and_named(tmp_path: Path) -> None:
    values: dict[str, object] = {
        "a": {"name": "x"},
        "b": ["one", "two"],
        "c": {"text": 3},
        "e": {"one": [{"text": "x"}], "two": [{"text": "y"}]},
    }
    for name, value in values.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
    (tmp_path / "d.txt").write_text("[[a wiki page]] {{of text}}")
    documents, tally = _documents(tmp_path)
    assert [document.text for document in documents] == [
        '{"name": "x"}', '["one", "two"]', '{"text": 3}', "[[a wiki page]] {{of text}}",
        '{"one": [{"text": "x"}], "two": [{"text": "y"}]}',
    ]  # fmt: skip
    assert [count for (_, how), count in tally.remarks.items() if 'under "text"' in how] == [4]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"text": "one two', r"a\.json: not JSON \(Unterminated string .*; mend it, or name it"),
        ('{"text": "one"}\n{"text": "two"\n', r"a\.json:2: not JSON \("),
        ("plain words", r"a\.json: not JSON \(Expecting value"),
        ("[1, 2", r"a\.json: not JSON"),
    ],
)
def test_a_json_file_that_is_no_json_is_refused_and_in_a_folder_named(
    tmp_path: Path, content: str, said: str
) -> None:
    file = tmp_path / "a.json"
    file.write_text(content)
    with pytest.raises(ConfigError, match=said):
        _texts(file)
    (tmp_path / "b.txt").write_text("words")
    documents, tally = _documents(tmp_path)
    assert [document.text for document in documents] == [content, "words"]
    ((_, how),) = tally.remarks
    assert how == "named .json and not JSON, read as plain text"


def test_the_text_key_may_be_named_and_nested(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"doc": {"body": "one"}}\n{"doc": {"body": null}}\n{"doc.body": "two"}\n')
    documents, tally = _documents(file, "doc.body")
    assert [document.text for document in documents] == ["one", "two"]
    assert tally.to_json()["left_out"] == [
        {"what": "row", "why": "its text is null", "count": 1, "first": f"{file}:2"}
    ]
    with pytest.raises(
        ConfigError, match=r"found keys 'doc'; .*name the key beside the corpus, as in text_key"
    ):
        _texts(file)
    plain = tmp_path / "plain.txt"
    plain.write_text("no rows here")
    with pytest.raises(ConfigError, match=r"^data.text_key: body, and no file .* holds rows"):
        _documents(plain, "body")


def test_a_shipped_corpus_takes_no_text_key() -> None:
    with pytest.raises(ConfigError, match=r"^data.text_key: the documents of synthetic are not"):
        load_corpus("synthetic").documents(text_key="body")
    with pytest.raises(ConfigError, match=r"^data.sources.web.text_key: the documents"):
        load_corpus("synthetic").documents(text_key="body", section="data.sources.web")


TEXT = "Text of some words, as one writes it.\n" * 20


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (TEXT.encode("utf-16-le"), "UTF-16 without a mark"),
        (TEXT.encode("utf-16-be"), "UTF-16 without a mark"),
        (TEXT.encode("utf-32-le"), "UTF-32 without a mark"),
        (TEXT.encode("utf-16"), "but UTF-16"),
        ("приветмир".encode("utf-16-le") * 9, "control characters"),
        (TEXT.encode() + bytes(4096), "padded with NUL bytes"),
        ("café".encode("latin-1"), "Latin-1"),
        (bytes(range(256)), "binary"),
        (gzip.compress(TEXT.encode(), mtime=0), "gzip"),
        (bz2.compress(TEXT.encode()), "bzip2"),
        (lzma.compress(TEXT.encode()), "xz"),
        (b"\x28\xb5\x2f\xfd\x04" + bytes(20), "zstd"),
        (b"PK\x03\x04" + TEXT.encode(), "zip"),
        (b"%PDF-1.7 " + TEXT.encode(), "PDF"),
        (b" \n", "empty or blank"),
    ],
)
def test_a_file_that_is_not_text_is_left_out_with_the_reason(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    (tmp_path / "good.txt").write_text(TEXT)
    for name in ("bad.txt", "bad.py"):
        (tmp_path / name).write_bytes(content)
    assert _texts(tmp_path) == [TEXT]
    ((why, count),) = _left_out(tmp_path).items()
    assert reason in why and count == 2


def test_a_log_with_colours_is_text(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_bytes(b"\x1b[31mred\x1b[0m and plain\f\n" * 30)
    assert len(_texts(tmp_path)) == 1


def test_json_lines_that_are_not_text_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(LINES)
    (tmp_path / "b.jsonl").write_bytes(LINES.decode().encode("utf-16-le"))
    (tmp_path / "c.jsonl").write_text('{"text": "a\\u0000b\\u0000"}\n')
    assert _texts(tmp_path) == [row["text"] for row in ROWS]
    assert sorted(_left_out(tmp_path)) == [
        "not UTF-8 text but UTF-16 without a mark", "not text: NUL characters",
    ]  # fmt: skip


@pytest.mark.parametrize("content", [gzip.compress(LINES, mtime=0)[:-9], LINES])
def test_a_damaged_archive_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(content)
    with pytest.raises(ConfigError, match=r"a\.jsonl\.gz: damaged, it cannot be unpacked"):
        _texts(tmp_path)


def test_files_packed_with_zstd_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines, prose = LINES, ("Prose, line by line.\n" * 5000).encode()
    for name, content in (("a.jsonl.zst", lines), ("b.txt.zst", prose)):
        with pyarrow.CompressedOutputStream(str(tmp_path / name), "zstd") as stream:
            stream.write(content)
    (tmp_path / "a.jsonl").write_bytes(lines)
    (tmp_path / "b.txt").write_bytes(prose)
    assert _texts(tmp_path / "a.jsonl.zst") == _texts(tmp_path / "a.jsonl")
    assert _texts(tmp_path / "b.txt.zst") == _texts(tmp_path / "b.txt")
    packed = tmp_path / "b.txt.zst"
    packed.write_bytes(packed.read_bytes()[:-9])
    with pytest.raises(ConfigError, match=r"b\.txt\.zst: damaged, it cannot be unpacked"):
        _texts(packed)
    monkeypatch.setattr(content_module, "package_folder", lambda _: None)
    with pytest.raises(ConfigError, match=r"needs pyarrow; pip install 'slaw\[parquet\]'"):
        _texts(packed)


BOOK = "\ufeff" + "".join(f"Café {n}: приве́т,\r\n🚀 sea\r\r\n\r\n" * 9 for n in range(400))


@pytest.mark.parametrize("name", ["book.txt", "book.py"])
def test_a_text_is_the_same_however_it_is_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / name
    file.write_bytes(BOOK.encode())
    whole = _texts(file)
    assert "".join(whole) == BOOK.removeprefix("\ufeff").replace("\r\n", "\n")
    assert (len(whole) > 1) == (name == "book.txt")
    monkeypatch.setattr(content_module, "_CHUNK_BYTES", 7)
    assert _texts(file) == whole


def test_only_a_file_that_is_one_document_has_a_largest_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_module, "_LARGEST_DOCUMENT", 100_000)
    for name in ("book.txt", "book.csv"):
        (tmp_path / name).write_bytes(BOOK.encode())
    assert "".join(_texts(tmp_path / "book.txt")).count("sea") == 3600
    with pytest.raises(ConfigError, match=r"book\.csv: .* of at most 100 kB; cut it into several"):
        _texts(tmp_path / "book.csv")


@pytest.mark.parametrize("size", [1, 3, 50, 10**6])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"plain", ""),
        ("приве́т".encode(), ""),
        ("приве́т".encode()[:-1], "Latin-1"),
        (bytes(9) + "café".encode() + bytes(9), "padded with NUL bytes"),
        (bytes(2) + b"some bytes\0and more", "binary"),
        (bytes(9), "padded with NUL bytes"),
        (b"\x01\x02text", "control characters"),
        (TEXT.encode("utf-16-le"), "UTF-16 without a mark"),
    ],
)
def test_a_scan_says_the_same_of_chunks_of_any_size(size: int, content: bytes, reason: str) -> None:
    scan = TextScan()
    for start in range(0, len(content), size):
        scan.feed(content[start : start + size])
    assert reason in scan.reason() and bool(scan.reason()) == bool(reason)


def test_linked_folders_are_read_once(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    (inside / "sub").mkdir(parents=True)
    outside.mkdir()
    (inside / "a.txt").write_text("a")
    (inside / "sub" / "b.txt").write_text("b")
    (outside / "c.txt").write_text("c")
    (inside / "books").symlink_to(outside)
    (inside / "again").symlink_to("sub")
    (inside / "sub" / "up").symlink_to("..")
    (inside / ".git").mkdir()
    assert sorted(_texts(inside)) == ["a", "b", "c"]
    assert _left_out(inside) == {
        "a link to a folder that is read already": 2,
        "hidden, its name begins with a dot": 1,
    }
    assert _texts(inside / "books") == ["c"]


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
    pieces = list(cut_prose([text]))
    assert "".join(pieces) == text
    parts = [text[start : start + 9_999] for start in range(0, len(text), 9_999)]
    assert list(cut_prose(parts)) == pieces, "wherever the text is cut as it is read"
    assert max(map(len, pieces)) <= 32_001


@pytest.mark.parametrize(
    "name", ["", "no/such/place", "\0", "x" * 5000, "~nobody-of-that-name/x", "Installed"]
)
def test_what_is_neither_a_corpus_nor_a_path_is_refused(name: str) -> None:
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
