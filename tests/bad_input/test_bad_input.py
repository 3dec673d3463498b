"""Every bad input gives its one line and exit code: no traceback, no result, no file."""

from __future__ import annotations

import os
import sys
from collections import Counter
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest

from scaling_law.cli.main import main
from scaling_law.plan import device_profile
from tests.bad_input.case import Case
from tests.bad_input.commands import COMMANDS
from tests.bad_input.configs import CONFIGS, GOOD
from tests.bad_input.folders import FOLDERS
from tests.bad_input.tables import TABLES
from tests.bad_input.world import GOOD_TABLE, good_sweep, lay_out, snapshot
from tests.fakes import cpu_profile

CASES = [*CONFIGS, *COMMANDS, *TABLES, *FOLDERS]
SUBCOMMANDS = {
    "run", "plan", "status", "monitor", "fit", "validate", "extrapolate", "hardware", "report",
    "data", "config", "completion", "allocate", "retrodict", "export", "sample",
}  # fmt: skip


@dataclass(frozen=True)
class Places:
    """A finished sweep, a cache with the CPU's profile, and what lies in both."""

    sweep: Path
    cache: Path
    content: list[dict[str, bytes]]


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> Places:
    """What no case changes; no case waits for a calibration."""
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLAW_CACHE", str(cache))
        device_profile.save_profile(cpu_profile(torch_version=version("torch")), "cpu")
    (cache / "data").mkdir()  # where prepared text would lie
    sweep = good_sweep(tmp_path_factory.mktemp("good") / "sweep")
    return Places(sweep, cache, [snapshot(sweep), snapshot(cache)])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_bad_input_is_one_clear_line(case: Case, places, tmp_path, monkeypatch, capsys):
    if case.id == "command-plan-no-such-device" and sys.platform == "darwin":
        pytest.skip("that device may be here")
    monkeypatch.setenv("SLAW_CACHE", str(places.cache))
    monkeypatch.chdir(tmp_path)
    words = lay_out(case, tmp_path, places.sweep)
    before = [snapshot(tmp_path), *places.content]
    try:
        code = main(words)
    except SystemExit as ended:  # argparse
        assert isinstance(ended.code, int)
        code = ended.code
    out, err = capsys.readouterr()
    after = [snapshot(folder) for folder in (tmp_path, places.sweep, places.cache)]
    assert after == before, "a file was written"
    assert out == ""
    assert "Traceback" not in err
    lines = err.splitlines()
    assert all(line.startswith("slaw: ") and line.isprintable() for line in lines), err
    assert all(piece in err for piece in case.pieces), err
    assert (code, len(lines)) == (case.code, case.lines), err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize(
    ("closed", "words"),
    [
        ("s.yaml", "plan s.yaml --device cpu"),
        ("t.csv", "fit t.csv"),
        ("sweep", "status sweep"),
        ("sweep/runs/a/record.json", "fit sweep"),
        ("text", "data prepare s.yaml --set data.corpus=text"),
        (".", "plan s.yaml --device cpu"),
    ],
)
def test_an_unreadable_file_is_reported_in_one_line(closed, words, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SLAW_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text(GOOD)
    (tmp_path / "t.csv").write_text(GOOD_TABLE)
    for folder in ("text", "sweep/runs/a"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "sweep/runs/a/record.json").write_text("{}")
    (tmp_path / closed).chmod(0)
    try:
        code = main(words.split())
    finally:
        (tmp_path / closed).chmod(0o700)
    out, err = capsys.readouterr()
    assert (code, out) == (2, "") and "Permission denied" in err and err.count("\n") == 1


def test_the_table_of_bad_input_covers_every_command():
    assert len(CASES) >= 120
    assert not [name for name, times in Counter(case.id for case in CASES).items() if times > 1]
    assert {case.words[0] for case in CASES if case.words} >= SUBCOMMANDS
    assert all(case.pieces and all(len(piece) > 10 for piece in case.pieces) for case in CASES)
