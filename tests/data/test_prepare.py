from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scaling_law.console import Say
from scaling_law.data import corpus as corpora
from scaling_law.data import prepare as module
from scaling_law.data.corpus import CorpusText
from scaling_law.data.dataset_folder import dataset_folder
from scaling_law.data.prepare import prepare
from scaling_law.data.sources import Corpus, Document, ReadRequest
from scaling_law.data.text import TextDataset, open_dataset
from scaling_law.errors import ConfigError
from scaling_law.spec.data import DataSpec
from scaling_law.spec.to_json import to_json
from tests.data.conftest import write_files


def _spec(corpus: Path | str, **changes: object) -> DataSpec:
    fields: dict[str, object] = {"tokenizer": "bytes", "vocab_size": 257, "val_fraction": 0.2}
    return DataSpec(corpus=str(corpus), **{**fields, **changes})  # type: ignore[arg-type]


def _documents(dataset: TextDataset, split: str) -> list[str]:
    text = dataset.tokenizer.decode((int(i) for i in dataset.tokens(split)), separator="\x1e")
    assert text.startswith("\x1e")
    return text[1:].split("\x1e")


def test_every_text_lands_in_exactly_one_split(folder: Path, texts: list[str]) -> None:
    dataset = open_dataset(prepare(_spec(folder)))
    train, val = _documents(dataset, "train"), _documents(dataset, "val")
    assert sorted(train + val) == sorted(text.strip() for text in texts)
    assert not set(train) & set(val)
    assert 20 <= len(val) <= 60  # 40 expected of 200


def test_order_and_split_do_not_depend_on_the_disk(
    folder: Path, texts: list[str], tmp_path: Path
) -> None:
    other = write_files(tmp_path / "other", texts[::-1], lambda n: f"{997 * n % 200}-x.md")
    first, second = (open_dataset(prepare(_spec(f))) for f in (folder, other))
    assert first.fingerprint == second.fingerprint
    for split in ("train", "val"):
        assert first.tokens(split).tobytes() == second.tokens(split).tobytes()


def test_duplicates_are_dropped_and_never_leak(texts: list[str], tmp_path: Path) -> None:
    # the same text with other line ends and blank margins is the same text
    doubled = texts + [f"\n{text}\r\n\r\n" for text in texts]
    dataset = open_dataset(prepare(_spec(write_files(tmp_path / "doubled", doubled))))
    assert dataset.meta["duplicates_dropped"] == len(texts)
    documents = _documents(dataset, "train") + _documents(dataset, "val")
    assert len(documents) == len(set(documents)) == len(texts)


def test_max_bytes_keeps_a_prefix_of_the_order(folder: Path) -> None:
    whole = open_dataset(prepare(_spec(folder)))
    part = open_dataset(prepare(_spec(folder, max_bytes=40_000)))
    kept = sum(part.meta["splits"][split]["bytes"] for split in ("train", "val"))
    assert 38_000 < kept <= 40_000
    for split in ("train", "val"):
        assert _documents(whole, split)[: len(_documents(part, split))] == _documents(part, split)
    assert part.fingerprint != whole.fingerprint


def test_the_counts_in_meta_add_up(folder: Path) -> None:
    dataset = open_dataset(prepare(_spec(folder, tokenizer="bpe", vocab_size=400)))
    assert dataset.tokenizer.vocab_size == 400
    for split in ("train", "val"):
        held = dataset.meta["splits"][split]
        lengths = dataset.tokenizer.byte_lengths[dataset.tokens(split)]
        assert held["tokens"] == dataset.n_tokens(split)
        assert held["bytes"] == lengths.sum() == held["domains"]["text"]["bytes"]
        assert held["documents"] == (dataset.tokens(split) == 399).sum()
    assert dataset.meta["versions"]["tiktoken"]
    assert dataset.meta["spec"]["vocab_size"] == 400


def test_validation_text_does_not_shape_the_tokenizer(folder: Path, tmp_path: Path) -> None:
    spec = _spec(folder, tokenizer="bpe", vocab_size=400)
    first = open_dataset(prepare(spec))
    for file in folder.iterdir():
        if file.read_text().strip() in _documents(first, "val"):
            file.unlink()
    survivors = [file.read_text() for file in folder.iterdir()]
    # one document that hashes into validation is needed, or there is no split at all
    extra = next(t for t in (f"zqzqzq {n}" for n in range(1000)) if _is_val(t, 0.2))
    second = open_dataset(prepare(_spec(write_files(tmp_path / "b", [*survivors, extra]),
                                        tokenizer="bpe", vocab_size=400)))  # fmt: skip
    assert first.tokenizer.to_json() == second.tokenizer.to_json()


def _is_val(text: str, fraction: float) -> bool:
    import hashlib

    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[-8:], "big") < fraction * 2**64


def test_a_prepared_folder_is_reused(folder: Path) -> None:
    lines: list[str] = []
    first = prepare(_spec(folder), progress=lines.append)
    written = (first / "meta.json").stat().st_mtime_ns
    assert len(lines) == 4  # files, documents, train, val
    second = prepare(_spec(folder), progress=lines.append)
    assert first == second == dataset_folder(_spec(folder))
    assert "prepared already" in lines[-1]
    assert (first / "meta.json").stat().st_mtime_ns == written
    assert prepare(_spec(folder, val_fraction=0.3)) != first


def test_a_changed_file_is_prepared_again(folder: Path) -> None:
    first = prepare(_spec(folder))
    (folder / "new.txt").write_text("something that was not there before")
    second = prepare(_spec(folder))
    assert first != second
    assert open_dataset(first).fingerprint != open_dataset(second).fingerprint


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_interrupted_prepare_leaves_nothing(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    def interrupted(*_: object) -> Iterator[object]:
        raise failure
        yield

    monkeypatch.setattr(module, "_encode", interrupted)
    expected = ConfigError if isinstance(failure, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        prepare(_spec(folder))
    assert list((cache / "data").iterdir()) == []


def test_leftovers_of_killed_processes_are_cleared(folder: Path, cache: Path) -> None:
    target = dataset_folder(_spec(folder))
    old, new = (cache / "data" / f".{target.name}.{n}.tmp" for n in ("old", "new"))
    for left in (old, new, target):
        left.mkdir(parents=True)
        (left / "train.bin").write_bytes(b"half")
    os.utime(old, (time.time() - 1e6,) * 2)
    open_dataset(prepare(_spec(folder)))
    assert not old.exists() and new.exists()


def test_two_processes_may_prepare_the_same_data_at_once(folder: Path, cache: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:
        made = pool.map(prepare, [_spec(folder)] * 4, chunksize=1)
    assert len(set(made)) == 1
    open_dataset(made[0]).check()
    assert [entry.name for entry in (cache / "data").iterdir()] == [made[0].name]


def test_the_slower_of_two_keeps_the_first_result(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = module._build

    def overtaken(text: CorpusText, spec: DataSpec, work: Path, say: Say) -> None:
        build(text, spec, work, say)
        monkeypatch.setattr(module, "_build", build)
        prepare(spec)

    monkeypatch.setattr(module, "_build", overtaken)
    made = prepare(_spec(folder))
    open_dataset(made).check()
    assert list((cache / "data").iterdir()) == [made]


def test_empty_and_tiny_corpora_are_refused(tmp_path: Path, cache: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ConfigError, match="holds no text"):
        prepare(_spec(empty))
    (empty / "blank.txt").write_text(" \n\t\n")
    with pytest.raises(ConfigError, match="holds no text"):
        prepare(_spec(empty))
    (empty / "one.txt").write_text("just one text")
    with pytest.raises(ConfigError, match="too small"):
        prepare(_spec(empty))
    assert list((cache / "data").iterdir()) == []


def test_max_bytes_below_every_document_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"10 B hold no document .* has \d+ B; raise max_bytes"):
        prepare(_spec(folder, max_bytes=10))


def test_an_unwritable_cache_is_refused_with_the_remedy(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SLAW_CACHE", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match="SLAW_CACHE"):
        prepare(_spec(folder))


def test_a_large_vocabulary_is_stored_in_32_bits(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow = open_dataset(prepare(_spec(folder, tokenizer="bpe", vocab_size=65_536)))
    wide = open_dataset(prepare(_spec(folder, tokenizer="bpe", vocab_size=65_537)))
    assert narrow.tokens("train").dtype == "uint16" and wide.tokens("train").dtype == "uint32"
    assert wide.tokens("train")[0] == 65_536
    assert (wide.tokens("train")[1:50] == narrow.tokens("train")[1:50]).all()


def test_domains_are_counted_and_filtered(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    def read(request: ReadRequest) -> Iterator[Document]:
        for n in range(100):
            domain = ("a", "b")[n % 2]
            if domain in request.domains:
                yield Document(str(n), f"text {n} of {domain}", domain)

    corpus = Corpus(
        name="two", description="", licence="none", how="", domains=("a", "b"), read=read,
        state=lambda: 0,
    )  # fmt: skip
    monkeypatch.setattr(corpora, "load_corpus", lambda *_: corpus)
    both = open_dataset(prepare(_spec("two"))).meta["splits"]
    only = open_dataset(prepare(_spec("two", domains=("b",)))).meta["splits"]
    assert set(both["train"]["domains"]) == {"a", "b"}
    assert set(only["train"]["domains"]) == {"b"}
    assert only["val"]["domains"]["b"] == both["val"]["domains"]["b"]
    with pytest.raises(ConfigError, match=r"no domain c; expected some of a, b"):
        prepare(_spec("two", domains=("b", "c")))


def test_meta_is_plain_json(folder: Path) -> None:
    meta = json.loads((prepare(_spec(folder)) / "meta.json").read_text())
    assert meta["schema_version"] == 1
    sample = Path(__file__).parents[1] / "samples" / "dataset-1" / "meta.json"
    known = {*json.loads(sample.read_text()), "digest", "checks"}
    assert set(meta) == known, "a new version of datasets"
    assert meta["licence"] and meta["fingerprint"]


def test_a_text_key_is_in_the_spec_only_where_it_is_set(tmp_path: Path, texts: list[str]) -> None:
    assert "text_key" not in to_json(_spec("x"))
    with pytest.raises(ValueError, match="text_key is empty"):
        _spec("x", text_key="")
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps({"body": text}) + "\n" for text in texts))
    dataset = open_dataset(prepare(_spec(file, text_key="body")))
    assert sorted(_documents(dataset, "train") + _documents(dataset, "val")) == sorted(
        text.strip() for text in texts
    )


def test_a_corpus_of_only_bad_files_lists_the_reasons(tmp_path: Path) -> None:
    folder = tmp_path / "bad"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.txt").write_bytes("words".encode("utf-16-le"))
    with pytest.raises(ConfigError, match=r"no text; .*; left out 3 files: not UTF-8 .* UTF-16"):
        prepare(_spec(folder))


def test_what_is_left_out_is_counted_in_the_dataset(folder: Path) -> None:
    with open(os.fsencode(folder) + b"/\xff\x1b.txt", "wb") as file:  # noqa: PTH123
        file.write(b"caf\xe9")
    rows = [{"text": " \n"}, {"text": "a row of its own"}]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    dataset = open_dataset(prepare(_spec(folder)))
    checks = dataset.meta["checks"]
    assert checks["read"] == {".jsonl file": 1, ".txt file": 200}
    assert {(row["what"], row["count"]) for row in checks["left_out"]} == {
        ("document", 1), ("file", 1),
    }  # fmt: skip
    assert all(note.isprintable() for note in dataset.notes)
    assert dataset.ids_in_use == len(set(dataset.tokens("train").tolist()))
