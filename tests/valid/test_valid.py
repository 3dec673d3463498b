"""Configs drawn from the schema: accepted ones train as planned, changed ones are refused plainly.

The seed of each test is in its name; a failing draw prints its YAML.
"""

from __future__ import annotations

import copy
import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from scaling_law.cli.main import main
from tests import inline_engine
from tests.fakes import write_text
from tests.valid import checks, stopping_engine
from tests.valid.draw import Drawn, draws, features, yaml_of
from tests.valid.keys import every_key
from tests.valid.slips import changed

pytestmark = pytest.mark.usefixtures("one_thread")

# A refusal names its line.
PLAIN = re.compile(r"slaw: c\.yaml:\d+: \S")
STRAIGHT, STOPPING = Path(inline_engine.__file__), Path(stopping_engine.__file__)


@pytest.fixture
def text(tmp_path, monkeypatch):
    """A text of files and rows, with a second one in a folder of its own."""
    monkeypatch.setenv("SLAW_CACHE", str(tmp_path / "cache"))
    folder = write_text(tmp_path / "text")
    write_text(folder / "more", 30)
    for place in (folder, folder / "more"):
        rows = [f"Row {number} of {place.name}: {'and so on ' * number}" for number in range(9)]
        lines = [
            json.dumps({"text": row, "body": row.upper(), "all": {"of": {"it": row[::-1]}}})
            for row in rows
        ]
        (place / "rows.jsonl").write_text("\n".join(lines))
    return folder


def _train_as_planned(drawn: Drawn, folder: Path) -> None:
    print(drawn.text)  # shown where the test fails
    checks.check_config(drawn, folder)
    checks.check_plan(drawn)
    checks.check_models(drawn)
    straight = checks.train(drawn, folder / "straight", STRAIGHT)
    stopped = checks.train(drawn, folder / "stopped", STOPPING)
    checks.check_records(drawn, straight, stopped)


@pytest.mark.parametrize("seed", [0])
def test_drawn_configs_train_as_planned_and_resume_bit_for_bit(seed, text, tmp_path):
    for number, drawn in enumerate(draws(seed, 2, text, tmp_path, most_runs=2)):
        (tmp_path / f"{number}").mkdir()
        _train_as_planned(drawn, tmp_path / f"{number}")


@pytest.mark.first
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 102))
def test_many_drawn_configs_train_as_planned_and_resume_bit_for_bit(seed, text, tmp_path):
    for number, drawn in enumerate(draws(seed, 60, text, tmp_path)):
        (tmp_path / f"{number}").mkdir()
        _train_as_planned(drawn, tmp_path / f"{number}")


@pytest.mark.first
@pytest.mark.slow
def test_enough_drawn_configs_have_every_key_and_part(text, tmp_path):
    missing = features(every_key())
    for one in draws(101, 600, text, tmp_path):
        missing -= one.features
        if not missing:
            break
    assert missing == frozenset()


def _all_refused_plainly(
    seed: int, drawn: int, count: int, text: Path, folder: Path, capsys: Any
) -> None:
    """Change ``drawn`` valid configs ``count`` times; what is not valid then is refused."""
    rng = random.Random(seed)
    valid = [yaml.safe_load(one.text) for one in draws(seed, drawn, text, folder, most_runs=2)]
    refusals = 0
    for _ in range(count):
        written = yaml_of(changed(copy.deepcopy(rng.choice(valid)), rng))
        (folder / "c.yaml").write_text(written)
        code = main(["run", "c.yaml", "--dry-run", "--device", "cpu", "--engine", str(STRAIGHT)])
        out, err = capsys.readouterr()
        said = f"{written}\n{err}"
        assert code in (0, 2), said
        if code == 2:
            refusals += 1
            assert err and not out, said
            for line in err.splitlines():
                assert PLAIN.match(line) and len(line) < 600, said
    assert refusals > count / 2


def test_changed_configs_are_refused_in_lines_with_their_place(text, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    _all_refused_plainly(3, 2, 30, text, tmp_path, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_many_changed_configs_are_refused_plainly(seed, text, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    _all_refused_plainly(200 + seed, 6, 300, text, tmp_path, capsys)
