"""Disks that are full, read-only or another user's, and a corpus that cannot be reached.

| fault | what happens |
|---|---|
| disk full in a worker | the run fails, exit 3; once freed it ends with the same bits |
| disk full in `slaw run` itself | one line, exit 2; the same |
| read-only folder, no permission to write | one line naming the folder, exit 2; nothing written |
| a record that may not be read, a folder that may not be entered | one line that names it, exit 2 |
| no permission to write a fit beside others' records | fitted and printed, not saved |
| hub unreachable | one line with what to do, exit 2 (`tests/data/test_hub.py`) |
| out of memory | micro-batch halved; at one sequence the run fails (`train/test_loop.py`) |
| loss not finite, loss spike | diverged; or gone back over where asked (`test_spikes.py`) |
| damaged state, record, text, ... | `test_states.py`, `test_corruption.py` |
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from scaling_law.cli.main import main
from scaling_law.files import layout
from scaling_law.files import record as records
from scaling_law.files.layout import SweepDir
from scaling_law.plan.device_profile import save_profile
from scaling_law.report import exports, html, style
from tests.bad_input.world import good_sweep
from tests.fakes import cpu_profile
from tests.faults.world import CONFIG, begin_sweep, results, write_text

NOBODY = 65534
root = pytest.mark.skipif(os.geteuid() != 0, reason="needs to mount, or to become another user")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Text, its cache, and what an undisturbed sweep ends with."""
    folder = tmp_path_factory.mktemp("disk")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLAW_CACHE", str(folder / "cache"))
        whole = begin_sweep(folder / "whole", write_text(folder / "text"))
        assert whole.run().exit_code == 0
        yield folder, results(whole.dir)


class FullDisk:
    """Every write from number ``first`` on fails; ``count`` were asked for."""

    def __init__(self, patch: pytest.MonkeyPatch, first: int) -> None:
        self.first, self.count = first, 0
        atomic, append = layout.atomic_file, records.append_curve

        @contextlib.contextmanager
        def atomic_file(*words: object) -> Iterator[Path]:
            with atomic(*words) as temporary:  # type: ignore[arg-type]
                yield temporary
                self.write(temporary)

        def append_curve(run_dir: layout.RunDir, point: records.CurvePoint) -> None:
            if self.count >= self.first:  # half a line was written
                with run_dir.curve.open("a") as file:
                    file.write('{"step": 1')
            self.write(run_dir.curve)
            append(run_dir, point)

        patch.setattr(layout, "atomic_file", atomic_file)
        patch.setattr(records, "append_curve", append_curve)

    def write(self, path: Path) -> None:
        self.count += 1
        if self.count > self.first:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))


def fill(base, tmp_path: Path, first: int) -> int:
    """Run a sweep whose disk is full from write ``first`` on, then freed; return the number of
    writes."""
    folder, expected = base
    sweep = begin_sweep(tmp_path / f"full{first}", folder / "text")
    with pytest.MonkeyPatch.context() as patch:
        disk = FullDisk(patch, first)
        try:
            failed = sweep.run().exit_code
        except OSError as problem:
            assert problem.errno == errno.ENOSPC
            failed = 2
    left = [p.name for p in sweep.dir.path.rglob("*") if p.name.endswith((".tmp", ".part"))]
    assert not left, "something half-written"
    if disk.count <= first:
        assert failed == 0
    else:
        assert failed in (2, 3)
        assert sweep.run().exit_code == 0
    assert results(sweep.dir) == expected
    return disk.count


def test_a_run_failed_by_a_full_disk_resumes_to_the_same_bits(base, tmp_path):
    for first in (2, 9, 16):
        assert fill(base, tmp_path, first) > first


@pytest.mark.slow
def test_the_disk_may_be_full_at_any_write(base, tmp_path, capsys):
    first = 0
    while fill(base, tmp_path, first) > first:
        first += 1
    with capsys.disabled():
        print(f"\ndisk full at each of {first} writes")
    assert first > 20


def slaw(folder: Path, *words: str) -> tuple[int, str, str]:
    """Run the command in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "scaling_law.cli", *words],
        capture_output=True,
        text=True,
        cwd=folder,
        env={
            **os.environ,
            "SLAW_CACHE": str(folder / "cache"),
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        timeout=600,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


@contextlib.contextmanager
def mounted(folder: Path, size: str) -> Iterator[None]:
    """A small file system of memory at ``folder``."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("may not mount here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def prepared(tmp_path: Path, base) -> str:
    """A config, and a cache that knows the CPU and the text; returns the config's name."""
    import importlib.metadata

    folder, _ = base
    (tmp_path / "c.yaml").write_text(CONFIG.format(text=folder / "text", more=""))
    shutil.copytree(folder / "cache", tmp_path / "cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLAW_CACHE", str(tmp_path / "cache"))
        version = importlib.metadata.version("torch")
        save_profile(cpu_profile(torch_version=version), "cpu")
    return "c.yaml"


@root
@pytest.mark.slow
@pytest.mark.parametrize("kilobytes", [4, 32, 64, 112])
def test_a_sweep_survives_a_small_disk_that_fills_and_is_freed(base, tmp_path, kilobytes):
    config = prepared(tmp_path, base)
    words = ("run", config, "--device", "cpu", "--out", "small/sweep")
    with mounted(tmp_path / "small", f"{kilobytes}k"):
        code, _, err = slaw(tmp_path, *words)
        assert code in (2, 3), err
        assert "No space left on device" in err or "space" in err
        assert not list((tmp_path / "small").rglob("*.tmp"))
        remount(tmp_path / "small", "size=100m")
        code, _, err = slaw(tmp_path, *words)
        assert code == 0, err
        assert results(SweepDir(tmp_path / "small/sweep")) == base[1]


@root
@pytest.mark.slow
def test_a_read_only_disk_is_one_clear_line(base, tmp_path):
    config = prepared(tmp_path, base)
    with mounted(tmp_path / "small", "10m"):
        good_sweep(tmp_path / "small" / "good")
        remount(tmp_path / "small", "ro")
        code, _, err = slaw(tmp_path, "run", config, "--device", "cpu", "--out", "small/new")
        assert code == 2
        assert err.splitlines()[-1].startswith("slaw: small/new: cannot be written (Read-only")
        code, _, err = slaw(tmp_path, "fit", "small/good", "--resamples", "0")
        assert code == 0, err
        code, _, err = slaw(tmp_path, "report", "small/good")
        assert code == 2
        assert "Read-only file system" in err and err.count("\n") == 1


@root
def test_missing_permission_is_reported_in_one_line(capsys):
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        place = Path(name)
        place.chmod(0o755)
        good_sweep(place / "good")
        fit = ["fit", str(place / "good"), "--resamples", "0"]
        assert main(fit) == 0  # and all it needs is loaded
        shut = SweepDir(place / "good").run_dirs()[2].record
        shut.chmod(0)
        capsys.readouterr()
        os.seteuid(NOBODY)
        try:
            code = main(fit)
        finally:
            os.seteuid(0)
        out, err = capsys.readouterr()
        assert (code, out) == (2, "")
        assert str(shut) in err and "Permission denied" in err and err.count("\n") == 1


@root
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("status", "{shut}"), "{shut}/runs: cannot be used (Permission denied); try another path"),
        (("fit", "{shut}"), "{shut}/runs: cannot be used (Permission denied); try another path"),
        (("fit", "{table}"), "{table}: cannot be read (Permission denied)"),
        (("import", "{open}", "--out", "{shut}/runs/t.csv"), "{shut}/runs: cannot be used (Perm"),
        (
            ("data", "prepare", "{config}", "--set", "data.corpus={open}"),
            "(Permission denied); set SLAW_CACHE to a folder that can be written",
        ),
    ],
)
def test_a_folder_that_may_not_be_entered_is_named(words, said, monkeypatch, capsys):
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        place = Path(name)
        place.chmod(0o755)
        names = {"shut": place / "shut", "table": place / "t.csv", "open": place / "open.csv",
                 "config": place / "c.yaml"}  # fmt: skip
        monkeypatch.setenv("SLAW_CACHE", str(place / "shut" / "runs" / "cache"))
        good_sweep(names["shut"])
        for table in ("table", "open"):
            names[table].write_text("params,tokens,loss\n1e6,2e7,3\n2e6,4e7,2.9\n4e6,8e7,2.8\n")
        names["config"].write_text(CONFIG.format(text=names["open"], more=""))
        names["table"].chmod(0)
        (names["shut"] / "runs").chmod(0)
        filled = [word.format(**names) for word in words]
        os.seteuid(NOBODY)
        try:
            code = main(filled)
        finally:
            os.seteuid(0)
        err = capsys.readouterr().err.splitlines()
        assert code == 2 and said.format(**names) in err[-1]


def test_a_full_disk_is_reported_with_what_to_do(tmp_path, monkeypatch, capsys):
    good_sweep(tmp_path / "good")
    fit = ["fit", str(tmp_path / "good"), "--resamples", "0"]
    assert main(fit) == 0

    def full(path: Path, *rest: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    for module in (layout, html, exports, style):
        monkeypatch.setattr(module, "atomic_write", full)
    assert main(fit) == 0, "printed, not saved"
    capsys.readouterr()
    assert main(["report", str(tmp_path / "good")]) == 2
    err = capsys.readouterr().err
    assert err.startswith("slaw: ") and err.count("\n") == 1
    assert "No space left on device" in err
