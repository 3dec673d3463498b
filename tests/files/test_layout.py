"""What a path that is not there may have meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from scaling_law.files.layout import near_path


@pytest.mark.parametrize(
    ("path", "near"),
    [
        ("nano", "results/nano"),
        ("nanp", "results/nano"),
        ("results/nan", "results/nano"),
        ("nanno.yaml", "nano.yaml"),
        ("nano.yml", "nano.yaml"),
        ("table", "tables.csv"),
        ("gone.yaml", ""),
        ("no/such/folder", ""),
        ("a\0b", ""),
    ],
)
def test_a_path_that_is_not_there_names_the_one_that_is_near(path, near, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results" / "nano").mkdir(parents=True)
    for name in ("nano.yaml", "tables.csv"):
        (tmp_path / name).touch()
    assert near_path(Path(path)) == (f" (did you mean {Path(near)}?)" if near else "")


def test_without_results_only_what_lies_beside_is_near(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert near_path(Path("nano")) == ""
    Path("nano1").mkdir()
    assert near_path(Path("nano")) == " (did you mean nano1?)"
