"""A cleaned text: its identity, its counts, its card, and what is refused."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from scaling_law.cli.main import main
from scaling_law.data.access import check_ready
from scaling_law.data.cleaning import Cleaning
from scaling_law.data.dataset_folder import dataset_folder
from scaling_law.data.describe import facts
from scaling_law.data.prepare import prepare
from scaling_law.data.text import open_dataset
from scaling_law.errors import ConfigError
from scaling_law.spec.component import Component
from scaling_law.spec.data import DataSpec
from tests.data.conftest import write_files

CONFIG = """\
name: clean
data:
  corpus: {corpus}
  tokenizer: bytes
  vocab_size: 257
  val_fraction: 0.2
  clean: {clean}
grid: [{{sizes: [nano14k], tokens: [10k]}}]
"""


@pytest.fixture
def mixed(tmp_path: Path, texts: list[str]) -> Path:
    """200 texts, of which 20 are short, with 10 copies and an address in five."""
    long = [f"{text.strip()} {'considerable ' * 20}" for text in texts[:180]]
    several = long + [f"short {n}" for n in range(20)] + long[:10]
    several[20:25] = [f"{text} mail me@corp.org" for text in several[20:25]]
    return write_files(tmp_path / "mixed", several)


def spec_of(corpus: Path, *clean: Component) -> DataSpec:
    return DataSpec(
        corpus=str(corpus), tokenizer="bytes", vocab_size=257, val_fraction=0.2, clean=clean or None
    )


def config(tmp_path: Path, corpus: Path, clean: str) -> Path:
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG.format(corpus=corpus, clean=clean))
    return path


def slaw(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    code = main([*map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


def test_every_document_left_out_is_counted_by_rule(mixed: Path) -> None:
    length, mask = Component(name="length"), Component(name="personal_data")
    spec = spec_of(mixed, length, mask)
    prepare(spec)
    rows = facts(spec)
    of = {row["rule"]: row for row in rows["cleaning"]}
    assert [*of] == ["length", "personal_data", "exact duplicates"]
    assert of["length"]["in"]["documents"] == 210
    (reason,) = of["length"]["dropped"]
    assert (reason["why"], reason["count"]) == ("fewer than 50 words", 20)
    assert reason["begins"].startswith("short ")
    assert of["personal_data"]["changed"] == {"documents": 5, "counts": {"e-mail address": 5}}
    assert of["exact duplicates"]["out"]["documents"] == 180
    for before, after in zip(rows["cleaning"], rows["cleaning"][1:], strict=False):
        assert before["out"] == after["in"]
    splits = rows["splits"].values()
    assert sum(row["documents"] for row in splits) == 180
    assert sum(row["bytes"] for row in splits) == of["exact duplicates"]["out"]["bytes"]
    assert any("cleaning leaves 180 of 210 documents" in note for note in rows["notes"])


def test_rules_are_part_of_the_identity_and_absent_where_there_are_none(mixed: Path) -> None:
    plain, cleaned = spec_of(mixed), spec_of(mixed, Component(name="length"))
    other = spec_of(mixed, Component(name="length", settings=(("min_words", 10),)))
    assert "clean" not in plain.canonical
    assert len({dataset_folder(spec) for spec in (plain, cleaned, other)}) == 3
    prints = {open_dataset(prepare(spec)).fingerprint for spec in (plain, cleaned)}
    assert len(prints) == 2


def test_documents_that_no_rule_changes_stay_in_their_split(mixed: Path) -> None:
    def documents(spec: DataSpec, split: str) -> set[str]:
        dataset = open_dataset(prepare(spec))
        text = dataset.tokenizer.decode(map(int, dataset.tokens(split)), separator="\x1e")
        return set(text[1:].split("\x1e"))

    plain, cleaned = spec_of(mixed), spec_of(mixed, Component(name="length"))
    for split in ("train", "val"):
        assert documents(cleaned, split) < documents(plain, split)


def documents_of(spec: DataSpec, split: str) -> list[str]:
    dataset = open_dataset(prepare(spec))
    text = dataset.tokenizer.decode(map(int, dataset.tokens(split)), separator="\x1e")
    return text[1:].split("\x1e")


def test_spoiling_and_the_rules_after_it_leave_the_validation_split_alone(mixed: Path) -> None:
    spoil = Component(name="spoil", settings=(("share", 0.5),))
    clean, spoiled = spec_of(mixed), spec_of(mixed, spoil)
    filtered = spec_of(mixed, spoil, Component(name="length", settings=(("min_words", 1000),)))
    with pytest.raises(ConfigError, match=r"documents after data\.clean leave none for train"):
        prepare(filtered)
    filtered = spec_of(mixed, spoil, Component(name="length"))
    validation = documents_of(clean, "val")
    assert any(text.startswith("short") for text in validation)
    for spec in (spoiled, filtered):
        assert documents_of(spec, "val") == validation
    train, worse, kept = (documents_of(spec, "train") for spec in (clean, spoiled, filtered))
    changed = sum(a != b for a, b in zip(train, worse, strict=True))
    assert 0.3 < changed / len(train) < 0.7, "documents stay in their places"
    assert len(kept) < len(worse)
    prints = {open_dataset(prepare(spec)).fingerprint for spec in (clean, spoiled, filtered)}
    assert len(prints) == 3


def test_each_rule_of_a_spoiled_text_counts_all_documents(mixed: Path) -> None:
    spec = spec_of(mixed, Component(name="spoil"), Component(name="length"))
    prepare(spec)
    rows = facts(spec)["cleaning"]
    assert [row["rule"] for row in rows] == ["exact duplicates", "spoil", "length"]
    for before, after in itertools.pairwise(rows):
        assert before["out"] == after["in"]
    assert rows[1]["changed"]["documents"] == sum(rows[1]["changed"]["counts"].values()) > 50


def test_the_card_says_what_was_dropped_and_the_hashes(mixed: Path) -> None:
    folder = prepare(spec_of(mixed, Component(name="length")))
    card = (folder / "card.md").read_text()
    dataset = open_dataset(folder)
    assert "20 fewer than 50 words; first" in card
    assert dataset.fingerprint in card and dataset.token_hashes["train"] in card
    assert "licence: whatever the files' owner grants" in card
    assert "Cleaning" not in (prepare(spec_of(mixed)) / "card.md").read_text()


def test_a_changed_benchmark_is_another_text(mixed: Path, tmp_path: Path) -> None:
    bench = tmp_path / "bench.txt"
    settings = (("files", ("b",)), ("validation", False))
    spec = dataclasses.replace(
        spec_of(mixed, Component(name="contamination", settings=settings)),
        places=(("b", str(bench)),),
    )
    with pytest.raises(ConfigError, match=r"data.clean: contamination: .*bench.txt: neither"):
        dataset_folder(spec)
    bench.write_text("one")
    before = dataset_folder(spec)
    bench.write_text("another")
    assert dataset_folder(spec) != before


# Benchmarks without text that can be read: the file's name, its bytes, and what is said of it.
UNREADABLE = [
    ("bench.jsonl", b'{"text": "a b c"\n{"text": broken\n', "bench.jsonl:1: not JSON"),
    ("bench.parquet", b"PAR1 and nothing else", "bench.parquet"),
    ("bench.jsonl.gz", b"\x1f\x8b broken", "bench.jsonl.gz"),
    ("bench.txt", b"\0\1\2", "bench.txt: not UTF-8 text"),
    ("bench.txt", b"", "bench.txt holds no text"),
]


@pytest.mark.parametrize(("name", "raw", "said"), UNREADABLE)
def test_a_benchmark_that_cannot_be_read_is_refused_before_a_plan_is_made(
    mixed: Path, tmp_path: Path, name: str, raw: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(raw)
    settings = (("files", (str(tmp_path / name),)), ("validation", False))
    spec = spec_of(mixed, Component(name="contamination", settings=settings))
    with pytest.raises(ConfigError, match=f"^data.clean: contamination: .*{said}"):
        check_ready(spec)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"no json\n", r"bench.jsonl, read by text_keys q: .*bench.jsonl:1: not JSON"),
        (b'{"a": "b"}\n', r"bench.jsonl, read by text_keys q: .*found keys 'a'"),
        (b"\0\1\2", "bench.jsonl holds no text; left out 1 file: not UTF-8"),
    ],
)
def test_a_benchmark_that_cannot_be_read_is_refused_before_the_text_is_read(
    mixed: Path, tmp_path: Path, raw: bytes, said: str
) -> None:
    bench = tmp_path / "bench.jsonl"
    bench.write_bytes(raw)
    settings = (("files", (bench.name,)), ("text_keys", ("q",)))
    spec = dataclasses.replace(
        spec_of(mixed, Component(name="contamination", settings=settings)),
        places=((bench.name, str(bench)),),
    )
    with pytest.raises(ConfigError, match=f"^data.clean: contamination: {said}"):
        Cleaning(spec)


def test_the_command_shows_the_table_and_reads_files_beside_the_config(
    mixed: Path, texts: list[str], tmp_path: Path, capsys
) -> None:
    (tmp_path / "bench.txt").write_text(" ".join(texts[60].split()[3:30]))
    path = config(
        tmp_path, mixed,
        "[length, personal_data, {name: contamination, validation: false, files: [bench.txt]}]",
    )  # fmt: skip
    code, out, err = slaw(capsys, "data", "prepare", path)
    assert code == 0 and Path(out.strip()).is_dir()
    assert "210 -> 190" in err and "20 fewer than 50 words; first" in err
    assert "1 shares 13 words in a row with bench.txt; first document" in err
    code, out, _ = slaw(capsys, "data", "inspect", path)
    assert "210 -> 190" in out and "card.md" in out
    code, out, _ = slaw(capsys, "data", "inspect", path, "--json")
    assert json.loads(out)["cleaning"][0]["rule"] == "length"
    code, out, _ = slaw(capsys, "config", path)
    assert "files: [bench.txt]" in out
    again = tmp_path / "again.yaml"
    again.write_text(out)
    assert slaw(capsys, "config", again)[1] == out


@pytest.mark.parametrize(
    ("clean", "said"),
    [
        ("[lenght]", "data.clean.0: no cleaner is named 'lenght' (did you mean length?)"),
        ("[{name: length, min_word: 3}]", "data.clean.0.min_word: unknown key (did you mean min_w"),
        ("[{name: length, min_words: many}]", "data.clean.0.min_words: expected a whole number"),
        ("[length, length]", "data.clean.1: the cleaner 'length' is there twice"),
        ("length", "data.clean: expected a list or a mapping, found 'length'"),
        ("{length: {max_words: 3}}", "data.clean.length: the least is above the most"),
        ("[contamination, length]", "data.clean.1: length reads one document at a time, and"),
        ("[{name: contamination, files: [none.jsonl]}]", "no file or folder 'none.jsonl'"),
        (
            "[{name: length, min_words: 999}]",
            "data.clean: length(min_words=999) leaves no document",
        ),
    ],
)
def test_what_cannot_be_is_one_line(
    mixed: Path, tmp_path: Path, capsys, clean: str, said: str
) -> None:
    code, out, err = slaw(capsys, "data", "prepare", config(tmp_path, mixed, clean))
    assert code == 2 and not out
    lines = [line for line in err.splitlines() if line.startswith("slaw: ")]
    assert len(lines) == 1 and said in lines[0], err
    assert "c.yaml:7" in lines[0]


def test_a_missing_library_is_named_with_its_command(
    mixed: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.setattr("scaling_law.data.cleaners.near_duplicates.package_folder", lambda _: None)
    code, _, err = slaw(capsys, "data", "prepare", config(tmp_path, mixed, "[near_duplicates]"))
    assert code == 2
    assert "near_duplicates: needs rensa; pip install 'slaw[clean]'" in err


def test_rules_are_an_axis_and_part_of_the_recipe(mixed: Path, tmp_path: Path) -> None:
    from scaling_law.config.load import load_config

    path = config(tmp_path, mixed, "[length]")
    axis = "axes: {data.clean: [null, [length], [{name: length, min_words: 5}]]}\n"
    path.write_text(path.read_text() + axis)
    arms = load_config(path, device_kind="cpu").arms
    specs: list[Any] = [arm.config.data_spec for arm in arms]
    assert [spec.clean and str(spec.clean[0]) for spec in specs] == [
        None, "length", "length(min_words=5)",
    ]  # fmt: skip
    assert [dict(arm.values)["data.clean"] for arm in arms] == [
        "null", "length", "length min_words=5",
    ]  # fmt: skip


def test_a_users_own_rule_is_named_by_its_file(mixed: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "odd.py").write_text(
        "from scaling_law.data.cleaners import Cleaner, Dropped\n"
        "CLEANER = Cleaner(judge=lambda settings: lambda text:"
        " Dropped('odd') if text.startswith('1') else None)\n"
    )
    code, _, err = slaw(capsys, "data", "prepare", config(tmp_path, mixed, "[odd.py]"))
    assert code == 0 and "odd; first" in err


def test_a_users_own_rule_that_breaks_the_contract_is_named(
    mixed: Path, tmp_path: Path, capsys
) -> None:
    for body, said in (
        ("judge=lambda settings: lambda text: True", "it says True of a document, expected"),
        ("judge=lambda settings: lambda text: 1 / 0", "odd.py:2: this cleaner fails (ZeroDiv"),
        ("compare=lambda settings, documents: [(900, 'far')]", "it drops document 900 of 200"),
        ("", "odd.py:2: this cleaner does not load (ValueError: expected one of judge and com"),
    ):
        (tmp_path / "odd.py").write_text(
            f"from scaling_law.data.cleaners import Cleaner\nCLEANER = Cleaner({body})\n"
        )
        code, _, err = slaw(capsys, "data", "prepare", config(tmp_path, mixed, "[odd.py]"))
        assert code == 2 and said in err.splitlines()[-1], err


def test_rules_behind_one_that_leaves_nothing_are_not_asked(
    mixed: Path, tmp_path: Path, capsys
) -> None:
    (tmp_path / "all.py").write_text(
        "from scaling_law.data.cleaners import Cleaner\n"
        "CLEANER = Cleaner(compare=lambda settings, documents: "
        "[(n, 'any') for n in range(documents.count)])\n"
    )
    rules = "[all.py, near_duplicates]"
    code, _, err = slaw(capsys, "data", "prepare", config(tmp_path, mixed, rules))
    assert code == 2 and "leaves no document of" in err.splitlines()[-1], err
