"""The screen and the lines: readable at any width, whatever runs are called."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import psutil
import pytest
from rich.cells import cell_len
from rich.console import Console

from scaling_law.cli.main import main
from scaling_law.errors import EXIT_USAGE, ConfigError
from scaling_law.files import layout
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import read_curve, read_record, write_curve, write_record
from scaling_law.monitor import session
from scaling_law.monitor.terminal import (
    ASCII_BLOCKS,
    BLOCKS,
    Size,
    metric_line,
    news,
    plain_line,
    screen,
    sparkline,
)
from scaling_law.run.sweep_state.host import Gpu, Host, HostMeter, host_text
from scaling_law.run.sweep_state.reader import SweepReader
from tests.fakes import record_of
from tests.monitor.half_way import DONE, at_work, half_way, trunk_after

ROOT = Path(__file__).parents[2]
HOST = Host(cpus=2, cpu_busy_frac=0.5, memory_used_bytes=1e9, memory_total_bytes=8e9)


@pytest.fixture(scope="module")
def halved(tmp_path_factory):
    return half_way(tmp_path_factory.mktemp("m") / "s")


def drawn(snapshot, curve, width, height, metric=None):
    file = io.StringIO()
    console = Console(file=file, width=width, height=height, force_terminal=True)
    console.print(screen(snapshot, curve, HOST, Size(width=width, height=height), metric))
    return re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue())


@pytest.mark.parametrize(("width", "height"), [(40, 24), (60, 24), (80, 24), (120, 40), (20, 10)])
def test_the_screen_fits_and_shows_running_runs(halved, width, height):
    sweep, _ = halved
    watch = SweepReader(sweep)
    with at_work(sweep):
        text = drawn(watch.read(), watch.curve, width, height)
    lines = text.splitlines()
    assert max(map(cell_len, lines)) <= width
    assert width < 40 or len(lines) <= height
    assert "\x1b" not in text, "a run's words reached the terminal as commands"
    if width >= 40:
        assert "5.0000" in text
        assert f"{DONE} done" in text and "1 diverged" in text and "1 running" in text
    if width >= 80:
        assert "stable" in text and "50K/s" in text and "5.2500" in text and "█" in text
        assert "micro-batch halved" in text and "CPU 50% of 2" in text


def test_plain_lines_have_no_control_codes_and_report_each_event_once(halved, tmp_path):
    sweep, plan = half_way(tmp_path / "t")
    watch = SweepReader(sweep)
    before = watch.read()
    assert news(None, before) == [] and news(before, watch.read()) == []
    waiting = before.in_state("waiting")[0]
    write_record(
        sweep.run(waiting.run_id), record_of(plan.by_id[waiting.run_id].spec, loss_nats=3.25)
    )
    now = watch.read()
    (line,) = news(before, now)
    assert line.startswith(f"{waiting.label}: done, 3.2500 nats/token")
    words = plain_line(now)
    assert f"{DONE + 1} done, 1 diverged, 1 failed" in words and "of work left" in words
    assert "no worker is running" in words and words.isprintable()


@pytest.fixture
def measuring(tmp_path):
    """A sweep half-way whose running trunk and first finished run measure two metrics."""
    sweep, plan = half_way(tmp_path / "s")
    values = {"accuracy.val": 0.25, "weight_norm": 12.5}
    working = sweep.run(trunk_after(plan, DONE).run_id)
    points = read_curve(working)
    write_curve(working, [*points[:-1], dataclasses.replace(points[-1], metrics=values)])
    done = sweep.run(plan.runs[1].run_id)
    record = dataclasses.replace(
        read_record(done.record),
        metrics=values,
        metric_units={"accuracy.val": "share"},
        finished_at="2030-01-01T00:00:00+00:00",
    )
    write_record(done, record)
    return sweep


def test_the_screen_has_a_column_per_metric_where_it_fits(measuring):
    watch = SweepReader(measuring)
    with at_work(measuring):
        snapshot = watch.read()
    wide = drawn(snapshot, watch.curve, 120, 40)
    assert wide.count("accuracy.val (share)") == 2 and wide.count("12.5") == 2
    chosen = drawn(snapshot, watch.curve, 120, 40, metric="weight_norm")
    assert "accuracy" not in chosen and chosen.count("12.5") == 2
    narrow = drawn(snapshot, watch.curve, 80, 40)
    assert max(map(cell_len, narrow.splitlines())) <= 80 and "accuracy.val" in narrow


def test_lines_name_the_newest_metrics(measuring):
    watch = SweepReader(measuring)
    with at_work(measuring):
        before = watch.read()
    assert metric_line(before, None).endswith("accuracy.val 0.25, weight_norm 12.5")
    assert metric_line(before, "weight_norm").endswith(" weight_norm 12.5")
    measured = next(run for run in before.in_state("done") if run.metrics)
    others = tuple(run for run in before.runs if run is not measured)
    (line,) = news(dataclasses.replace(before, runs=others), before)
    assert line.endswith("nats/token, accuracy.val 0.25, weight_norm 12.5")


def test_layers_of_a_measure_are_one_column(measuring):
    with at_work(measuring):
        (working,) = SweepReader(measuring).read().in_state("started")
    folder = measuring.run(working.run_id)
    points = read_curve(folder)
    layers = {f"probe.rms.layers.{layer}": 1.0 + layer for layer in range(12)}
    write_curve(folder, [*points[:-1], dataclasses.replace(points[-1], metrics=layers)])
    watch = SweepReader(measuring)
    with at_work(measuring):
        snapshot = watch.read()
    screen_shown = drawn(snapshot, watch.curve, 120, 40)
    assert "probe.rms" in screen_shown and "1 to 12" in screen_shown
    assert "layers.3" not in screen_shown
    assert metric_line(snapshot, None).endswith("probe.rms 1 to 12")
    assert metric_line(snapshot, "probe.rms.layers.3").endswith("probe.rms.layers.3 4")
    session.check_metric(snapshot, "probe.rms", must=True)
    with pytest.raises(ConfigError, match=r"several metrics; expected one of probe\.rms$"):
        session.check_metric(snapshot, "probe", must=True)


def test_a_metric_that_no_run_has_is_one_line(measuring, capsys):
    words = ["monitor", str(measuring.path), "--once", "--metric", "accuracy.vl"]
    assert main(words) == EXIT_USAGE
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert "did you mean accuracy.val?); expected one of accuracy.val, weight_norm" in said.err


def test_lines_are_printed_until_the_sweep_has_finished(tmp_path):
    sweep, plan = half_way(tmp_path / "s")
    said: list[str] = []
    rests = []

    def sleep(seconds):
        rests.append(seconds)
        for run in plan.runs:
            write_record(sweep.run(run.run_id), record_of(run.spec))

    session._lines(SweepReader(sweep), False, 30.0, said.append, sleep)
    assert len(rests) == 1 and "40 done; 100% of the FLOPs; finished; next: slaw fit" in said[-1]
    assert len(said) == 2 + len(plan.runs) - DONE


def test_the_monitor_waits_for_a_sweep_and_says_so(tmp_path):
    said: list[str] = []
    later = tmp_path / "later"
    reader = SweepReader(session.sweep_to_watch(later, once=False))

    def sleep(seconds):
        sweep, plan = half_way(later)
        for run in plan.runs:
            write_record(sweep.run(run.run_id), record_of(run.spec))

    session._lines(reader, False, 30.0, said.append, sleep)
    assert "waiting: no such folder yet" in said[0] and "40 done" in said[-1]


def test_lines_end_when_no_process_works_on_the_sweep(tmp_path):
    sweep, _ = half_way(tmp_path / "s")
    said: list[str] = []
    rests: list[float] = []

    with contextlib.ExitStack() as work:
        work.enter_context(at_work(sweep))

        def sleep(seconds):
            rests.append(seconds)
            if len(rests) == 20:
                work.close()

        session._lines(SweepReader(sweep), False, 30.0, said.append, sleep)
    assert 20 < len(rests) < 30, "it has patience, and not without end"
    assert said[-1].endswith(f"no process works on {sweep.path}; no longer watching it")
    assert any("run the same command again to resume" in line for line in said)


def begin(sweep: SweepDir) -> None:
    """Leave the folder of a run that has begun."""
    layout.write_json(sweep.run("a").spec, {})


def test_a_typo_does_not_wait_silently(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert session.sweep_to_watch(Path("results/quick"), once=False).path == Path("results/quick")
    with pytest.raises(ConfigError, match="reslts/quick: no such folder, nor reslts; name"):
        session.sweep_to_watch(Path("reslts/quick"), once=False)
    begin(SweepDir(Path("results/quick")))
    said = SweepReader(SweepDir(Path("results/quikc"))).read().note
    assert said.endswith("makes it (or did you mean results/quick?)")
    assert SweepReader(SweepDir(Path("results/other"))).read().note.endswith("makes it")


def test_several_sweeps_are_listed_and_none_is_guessed(tmp_path):
    for name in ("one", "two"):
        begin(SweepDir(tmp_path / name))
    with pytest.raises(ConfigError, match="2 sweeps there; name one"):
        session.sweep_to_watch(tmp_path, once=False)
    two = SweepDir(tmp_path / "two")
    with at_work(two):
        assert session.sweep_to_watch(tmp_path, once=False) == two
    with pytest.raises(ConfigError, match="no such folder"):
        session.sweep_to_watch(tmp_path / "nowhere", once=True)


def test_once_shows_how_the_reference_sweep_ended(capsys):
    reference = ROOT / "results" / "reference" / "quick-cpu"
    assert main(["monitor", str(reference), "--once"]) == 0
    assert "quick: 40 done; 100% of the FLOPs; finished" in capsys.readouterr().out


def test_ctrl_c_on_a_terminal_leaves_cleanly(halved):
    """On a real pseudo-terminal: the picture comes, ^C ends it with 0 and the cursor is back."""
    sweep, _ = halved
    parent, child = pty.openpty()
    with at_work(sweep):
        process = subprocess.Popen(
            [sys.executable, "-m", "scaling_law.cli", "monitor", str(sweep.path)],
            stdin=child, stdout=child, stderr=child, start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "80"},
        )  # fmt: skip
        os.close(child)
        seen, deadline = b"", time.monotonic() + 600
        while b"running" not in seen and time.monotonic() < deadline:
            seen += os.read(parent, 65536)
        process.send_signal(signal.SIGINT)
        try:
            while piece := os.read(parent, 65536):
                seen += piece
        except OSError:  # how Linux says that the other end is closed
            pass
    assert process.wait(timeout=600) == 0
    assert b"Traceback" not in seen
    assert seen.rfind(b"\x1b[?25h") > seen.rfind(b"\x1b[?25l") > -1


def test_a_sparkline_follows_the_loss():
    assert sparkline([8.0, 4.0, 2.0, 1.0], 4) == "█▆▃▁"
    assert sparkline([8.0, 4.0, 2.0, 1.0], 2, ASCII_BLOCKS) == ASCII_BLOCKS[-1] + ASCII_BLOCKS[0]
    assert sparkline([3.0, 3.0], 8) == BLOCKS[0] * 2
    assert sparkline([3.0], 8) == "" and len(sparkline(range(1, 100), 8)) == 8


def test_the_machine_is_described_without_unknown_figures(tmp_path, monkeypatch):
    cpu = namedtuple("cpu", "user idle iowait guest")
    memory = namedtuple("memory", "total available")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(psutil, "cpu_times", lambda: cpu(20, 80, 0, 5))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory(1000 * 1024, 250 * 1024))
    smi = tmp_path / "nvidia-smi"
    smi.write_text(
        f"#!{sys.executable}\nprint('NVIDIA H200, 37, 1024, 2048')\nprint('x, [N/A], 1')"
    )
    smi.chmod(0o755)
    meter = HostMeter()
    monkeypatch.setattr(psutil, "cpu_times", lambda: cpu(50, 140, 10, 25))
    reading = meter.read()
    assert reading.cpu_busy_frac == pytest.approx(0.3)
    assert (reading.memory_used_bytes, reading.memory_total_bytes) == (750 * 1024, 1000 * 1024)
    mib = 2**20
    assert reading.gpus == (
        Gpu(name="NVIDIA H200", busy_frac=0.37, used_bytes=1024 * mib, total_bytes=2048 * mib),
    )
    assert "NVIDIA H200 37%, 1.07 GB of 2.15 GB" in host_text(reading)
    smi.unlink()
    monkeypatch.setattr(psutil, "cpu_times", unreadable)
    monkeypatch.setattr(psutil, "virtual_memory", unreadable)
    nothing = HostMeter().read()
    assert nothing.cpu_busy_frac is None and nothing.memory_total_bytes is None
    assert nothing.gpus == ()


def unreadable():
    raise PermissionError("/proc/stat")
