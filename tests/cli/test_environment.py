"""``slaw`` in a restricted environment: no home, closed streams, dumb terminals, umasks."""

from __future__ import annotations

import importlib.metadata
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scaling_law import console
from scaling_law.cli.main import main
from scaling_law.errors import ConfigError
from scaling_law.files import layout
from scaling_law.files.layout import SweepDir
from scaling_law.files.lease import Leases
from scaling_law.parts import NoSettings, shipped_files
from scaling_law.plan import device_profile
from scaling_law.run.engines import local
from scaling_law.spec.to_json import to_json
from tests.fakes import cpu_profile


@pytest.fixture
def measured(monkeypatch):
    """A measurement that takes no time; returns the messages."""
    profile = cpu_profile(torch_version=importlib.metadata.version("torch"))
    document = json.dumps(to_json(profile))
    monkeypatch.setattr(local, "_measure", lambda command, say: (0, document, []))
    return profile


def refuse(*arguments, **more):
    raise PermissionError(13, "Permission denied")


def test_a_measurement_is_used_where_the_cache_cannot_be_written(measured, monkeypatch, tmp_path):
    monkeypatch.setenv("SLAW_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("scaling_law.files.checksum.write", refuse)
    said: list[str] = []
    profile = local.profile(NoSettings(), "cpu", said.append)
    assert profile == measured
    assert said == [
        "the measurement is used now and not saved (Permission denied); to save it, set SLAW_CACHE"
        " to a folder that can be written"
    ]


def test_a_measurement_is_used_without_a_home_folder(measured, monkeypatch):
    for name in ("SLAW_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    said: list[str] = []
    assert local.profile(NoSettings(), "cpu", said.append) == measured
    assert "no home folder is known" in said[0] and "SLAW_CACHE" in said[0]
    with pytest.raises(ConfigError, match=r"no home folder is known.*set SLAW_CACHE"):
        layout.cache_dir()


def test_a_cache_without_permission_counts_as_empty(monkeypatch):
    monkeypatch.setattr(Path, "is_file", refuse)
    assert device_profile.load_profile("cpu") is None


@pytest.mark.parametrize(
    ("umask", "file", "folder"), [(0o077, 0o600, 0o700), (0o022, 0o644, 0o755)]
)
def test_every_files_permissions_follow_the_umask(tmp_path, umask, file, folder):
    before = os.umask(umask)
    try:
        layout.atomic_write(tmp_path / "new" / "whole", "text")
        work = layout.temporary_folder(tmp_path / "work")
        with Leases() as leases:
            leases.take(tmp_path / "new" / "claim")
            modes = {
                path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "new").iterdir()
            }
    finally:
        os.umask(before)
    assert modes == {"whole": file, "claim": file}
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "new", work)} == {folder}


@pytest.mark.parametrize(
    ("term", "moves"), [("xterm", True), ("dumb", False), ("DUMB", False), ("", False)]
)
def test_a_terminal_that_cannot_move_its_cursor_gets_lines(monkeypatch, term, moves):
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setenv("TERM", term)
    assert console.is_screen(stream) is moves


def test_unwritable_messages_end_no_command(monkeypatch):
    class Gone(io.StringIO):
        def write(self, text):
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(sys, "stderr", Gone())
    console.say("one")
    console.complain(["two"])
    monkeypatch.setattr(sys, "stdout", Gone())
    monkeypatch.setattr(console, "silence", lambda stream: None)
    console.answer("the exit code stays what it was")


def run_slaw(words: str, redirect: str = "") -> subprocess.CompletedProcess[str]:
    command = f'"{sys.executable}" -m scaling_law {words} {redirect}'
    return subprocess.run(command, shell=True, capture_output=True, text=True, timeout=600)


@pytest.mark.parametrize("words", ["", "help", "--help"])
def test_slaw_without_arguments_prints_its_help(words):
    run = run_slaw(words)
    assert run.returncode == 0 and run.stderr == "" and "commands:" in run.stdout


def test_closed_streams_are_ignored_and_a_full_disk_is_an_error():
    assert run_slaw("parts", "<&- >&- 2>&-").returncode == 0
    assert "cache" not in run_slaw("-v parts", "2>&-").stdout, "no news among the results"
    if Path("/dev/full").exists():
        run = run_slaw("parts", "> /dev/full")
        assert run.returncode == 2
        assert run.stderr == (
            "slaw: writing failed (No space left on device); free some space and run the same"
            " command again\n"
        )


def test_help_shows_a_command_or_lists_all_commands(capsys):
    with pytest.raises(SystemExit) as end:
        main(["help", "fit"])
    assert end.value.code == 0 and "usage: slaw fit" in capsys.readouterr().out
    with pytest.raises(SystemExit) as end:
        main(["help", "walk"])
    assert end.value.code == 2


def test_run_without_a_config_lists_the_shipped_ones(capsys):
    assert main(["run"]) == main(["run", "--dry-run"]) == 2
    err = capsys.readouterr().err
    for config in shipped_files("configs", "*.yaml"):
        assert f"--mode {config.stem} (" in err, "with what it takes"
    assert "YAML file" in err and "folder" in err


def test_quiet_prints_results_and_errors_and_verbose_adds_details(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(["-v", "status", "gone"]) == main(["status", "-v", "gone"]) == 2
    err = capsys.readouterr().err
    assert err.count("Traceback") == 2 and err.count("cache in") == 2
    assert main(["status", "-q", "gone"]) == 2
    assert capsys.readouterr().err.startswith("slaw: gone: no such folder")
    assert main(["-q", "status"]) == 0
    assert "no sweep yet" in capsys.readouterr().out
    console.say("news")
    console.set_loudness(quiet=False, verbose=False)
    assert capsys.readouterr().err == ""


def test_a_path_that_is_not_utf8_is_refused_with_the_reason(capsys):
    assert main(["config", "quick", "--set", "data.corpus=caf\udce9"]) == 2
    assert capsys.readouterr().err == (
        "slaw: --set data.corpus=caf\\udce9: its bytes are not UTF-8, in which configs are written;"
        " of a file or folder, rename it or name a link to it\n"
    )


def test_a_read_only_folder_is_refused_before_fitting_and_suggests_out(
    capsys, monkeypatch, tmp_path
):
    from scaling_law.report import html

    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(ConfigError, match=r"no permission.*name another place with --out"):
        html.write_report(SweepDir(tmp_path))
