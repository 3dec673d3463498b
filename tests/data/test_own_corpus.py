"""A user's own corpus by its path: its settings, its hash in identity, its contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from scaling_law.config.load import load_config
from scaling_law.config.written import config_yaml
from scaling_law.data.prepare import prepare
from scaling_law.data.text import open_dataset
from scaling_law.errors import ConfigError
from scaling_law.spec.data import DataSpec
from tests.fakes import write_text

MINE = """
from dataclasses import dataclass

from scaling_law.data.sources import Corpus, Document


@dataclass(frozen=True, kw_only=True)
class Settings:
    spoiled: float = 0.0


def read(request):
    for number in range(120):
        words = " ".join("xx" if k < 20 * request.settings.spoiled else f"w{k * number % 97}"
                         for k in range(20))
        domain = "even" if number % 2 else "odd"
        if domain in request.domains:
            yield Document(f"mine/{number}", f"{number} {words}", domain)


CORPUS = Corpus(
    name="mine", description="made up", licence="none", how="made by rule",
    domains=("even", "odd"), read=read, state=lambda: 1, settings=Settings,
)
"""
CONFIG = """
name: own
data: {corpus: mine.py, spoiled: 0.5, tokenizer: bytes, vocab_size: 257, val_fraction: 0.2,
       mix: {even: 1}}
grid: [{sizes: [nano14k], tokens: [100k]}]
"""


def spec_of(folder: Path, mine: str = MINE, config: str = CONFIG, *overrides: str) -> DataSpec:
    (folder / "mine.py").write_text(mine)
    (folder / "c.yaml").write_text(config)
    made = load_config(folder / "c.yaml", device_kind="cpu", overrides=overrides)
    (folder / "again.yaml").write_text(config_yaml(made))
    again = load_config(folder / "again.yaml", device_kind="cpu")
    assert again.data_spec == made.data_spec and config_yaml(again) == config_yaml(made)
    assert isinstance(made.data_spec, DataSpec)
    return made.data_spec


def test_settings_and_content_of_an_own_corpus_belong_to_the_identity(tmp_path):
    spec = spec_of(tmp_path)
    assert spec.corpus == "mine" and spec.corpus_part is not None
    assert dict(spec.corpus_part.settings) == {"spoiled": 0.5}
    assert spec.corpus_part.source_sha256 is not None
    dataset = open_dataset(prepare(spec))
    assert "xx xx xx" in dataset.tokenizer.decode(map(int, dataset.tokens("train")[:200]))
    assert list(dataset.components) == ["even", "odd"]
    clean = spec_of(tmp_path, MINE, CONFIG, "data.spoiled=0")
    assert open_dataset(prepare(clean)).fingerprint != dataset.fingerprint
    other = spec_of(tmp_path, MINE.replace("% 97", "% 89"))
    assert other != spec and prepare(other) != prepare(spec)


def test_an_own_corpus_may_be_one_of_several_sources(tmp_path):
    write_text(tmp_path / "web")
    own = "{corpus: mine.py, spoiled: 0.5, domains: [odd]}"
    sources = f"sources: {{own: {own}, web: {{corpus: {tmp_path / 'web'}}}}}"
    config = CONFIG.replace("corpus: mine.py, spoiled: 0.5", sources).replace("even", "own")
    spec = spec_of(tmp_path, MINE, config)
    assert spec.corpus == "own+web" and spec.sources is not None
    assert spec.sources[0].corpus_part is not None and spec.sources[1].corpus_part is None
    dataset = open_dataset(prepare(spec))
    assert list(dataset.components) == ["own", "web"]
    documents = {split: row["domains"] for split, row in dataset.meta["splits"].items()}
    assert sum(domains["own"]["documents"] for domains in documents.values()) == 60


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("CORPUS = ", "TEXT = ", "mine.py: exports no CORPUS, expected CORPUS = Corpus(...)"),
        ("made up", 'made up" + 1 + "', "mine.py:22: this corpus does not load (TypeError: "),
        ('domains=("even", "odd")', "domains=()", "(ValueError: domains is empty, expected"),
    ],
)
def test_a_file_without_a_corpus_is_named(tmp_path, old, new, said):
    with pytest.raises(ConfigError) as refused:
        spec_of(tmp_path, MINE.replace(old, new))
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("number % 2", "number % 0", "mine.py:16: this corpus fails (ZeroDivisionError"),
        ("in request", "not in request", "is of the domain 'odd', expected one of even, which"),
        ("yield Document", "yield ", "its read yields ('mine/1', '1 "),
        ("lambda: 1,", "lambda: 1 / 0,", "mine.py:23: this corpus fails (ZeroDivisionError"),
    ],
)
def test_a_corpus_that_breaks_its_contract_is_named_by_file_and_line(tmp_path, old, new, said):
    mine = MINE.replace(old, new)
    config = CONFIG.replace("val_fraction", "domains: [even], val_fraction")
    with pytest.raises(ConfigError) as refused:
        prepare(spec_of(tmp_path, mine, config))
    assert said in str(refused.value) and len(refused.value.lines) == 1
