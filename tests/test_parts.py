"""Every part of the package is found by its name and keeps the contract of its kind."""

from __future__ import annotations

import dataclasses

import pytest

from scaling_law import parts
from scaling_law.config.part_settings import part_settings
from scaling_law.data.corpus import corpus_names, load_corpus
from scaling_law.errors import ConfigError
from scaling_law.fit.laws import law_names, load_law
from scaling_law.parts import Reference

WORDS = [word for word in parts.KINDS if parts.has_folder(word)]


@pytest.mark.parametrize("word", WORDS)
def test_parts_load_and_their_settings_are_dataclasses(word):
    assert parts.names(word)
    for name in parts.names(word):
        part = parts.load(word, Reference(name=name))
        assert dataclasses.is_dataclass(getattr(part, "settings", parts.NoSettings))


def test_a_default_without_a_point_is_written_as_the_float_it_is_read_as():
    @dataclasses.dataclass(frozen=True)
    class Settings:
        power: float = 2
        count: int = 2

    for values in ({}, {"count": 3}):
        settings = part_settings(Settings, values)
        assert (type(settings.power), type(settings.count)) == (float, int)


@pytest.mark.parametrize("word", WORDS)
def test_an_unknown_part_is_refused_with_the_list_of_known_ones(word):
    with pytest.raises(ConfigError, match=f"no {word} is named '_none'; expected one of"):
        parts.load(word, Reference(name="_none"))


def test_laws_and_corpora_are_parts():
    assert law_names() == parts.names("law")
    assert all(load_law(name) is parts.load("law", Reference(name=name)) for name in law_names())
    assert tuple(corpus_names()) == parts.names("corpus")
    for name in corpus_names():
        assert load_corpus(name) is parts.load("corpus", Reference(name=name))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("measure=3, unit='x'", "PROBE.measure is 3, expected a function"),
        ("measure=print, unit=3", "PROBE.unit is 3, expected a text"),
        ("measure=print, unit='x', settings=3", "PROBE.settings is 3, expected a dataclass"),
        ("measure=print, unit='x', settings=dict", "expected a dataclass"),
    ],
)
def test_a_field_of_the_wrong_kind_is_named(tmp_path, text, said):
    path = tmp_path / "own.py"
    path.write_text(f"from scaling_law.train.probes import Probe\nPROBE = Probe({text})\n")
    with pytest.raises(ConfigError, match=said):
        parts.read_file("probe", path)


def test_a_field_that_is_no_value_of_its_class_is_named(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(
        "from scaling_law.experiment import Experiment\n"
        "EXPERIMENT = Experiment(question='q', analyse=print, planted=print)\n"
    )
    with pytest.raises(ConfigError, match=r"EXPERIMENT.planted is .*, expected Planted\(\.\.\.\)"):
        parts.read_file("experiment", path)


@pytest.mark.parametrize("word", WORDS)
def test_the_parts_of_the_package_have_fields_of_the_right_kinds(word):
    for name in parts.names(word):
        assert parts.load(word, Reference(name=name)) is not None


def test_a_users_own_file_is_kept_as_it_was_read(tmp_path, monkeypatch):
    path = tmp_path / "own_probe.py"
    text = (
        "from scaling_law.train.probes import Probe\n"
        f"PROBE = Probe(measure=print, unit='x')  # {tmp_path}\n"
    )
    path.write_text(text)
    monkeypatch.chdir(tmp_path)
    reference = parts.read_file("probe", path.relative_to(tmp_path))
    monkeypatch.chdir("/")
    assert parts.file_of("probe", reference) == path
    path.unlink()
    assert parts.content_of("probe", reference) == text.encode()
