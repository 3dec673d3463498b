"""Configs drawn from the schema: accepted ones train as planned, changed ones are refused plainly.

The seed of each test is in its name; a failing draw prints its YAML.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from tests import inline_engine
from tests.fakes import write_text
from tests.valid import checks, stopping_engine
from tests.valid.draw import draws, features
from tests.valid.keys import every_key

STRAIGHT, STOPPING = Path(inline_engine.__file__), Path(stopping_engine.__file__)


@pytest.fixture
def text(tmp_path, monkeypatch):
    """A text with a second one in a folder of its own."""
    monkeypatch.setenv("SLAW_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "fsync", lambda file: None)  # no power cut here
    folder = write_text(tmp_path / "text")
    write_text(folder / "more", 30)
    return folder


@pytest.fixture(autouse=True)
def one_thread():
    """As a worker has it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _train_as_planned(seed: int, count: int, text: Path, folder: Path) -> set[str]:
    """Check ``count`` draws; return the features that they had."""
    seen: set[str] = set()
    for number, drawn in enumerate(draws(seed, count, text, folder)):
        print(f"# seed {seed}, draw {number}:\n{drawn.text}")
        checks.check_config(drawn, folder)
        checks.check_plan(drawn)
        checks.check_models(drawn)
        straight = checks.train(drawn, folder / f"{number}-straight", STRAIGHT)
        stopped = checks.train(drawn, folder / f"{number}-stopped", STOPPING)
        checks.check_records(drawn, straight, stopped)
        seen |= drawn.features
    return seen


@pytest.mark.parametrize("seed", [0, 1])
def test_drawn_configs_train_as_planned_and_resume_bit_for_bit(seed, text, tmp_path):
    _train_as_planned(seed, 12, text, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 106))
def test_many_drawn_configs_train_as_planned_and_have_every_key_and_part(seed, text, tmp_path):
    seen = _train_as_planned(seed, 60, text, tmp_path)
    assert seen >= features(every_key())
