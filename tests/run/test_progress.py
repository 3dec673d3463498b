"""What a log shows while runs train, by a clock that tests set."""

from __future__ import annotations

import dataclasses

from scaling_law.config.load import load_config
from scaling_law.files import layout
from scaling_law.files.layout import SweepDir
from scaling_law.monitor import page_data
from scaling_law.plan.make import make_plan
from scaling_law.run.sweep_state.dashboard import Dashboard
from scaling_law.run.sweep_state.progress import NEWS_SECONDS, SweepProgress, describe_end
from scaling_law.run.sweep_state.reader import SweepReader, sweep_status
from scaling_law.run.sweep_state.text import (
    format_status,
    left_text,
    news_line,
    rate_text,
    throughput_text,
)
from scaling_law.run.sweep_state.warnings import log_warnings, not_measured
from tests.fakes import cpu_profile, record_of, tiny_spec
from tests.monitor.half_way import DONE, at_work, half_way, start_on, trunk_after


class Clock:
    """Seconds, set by hand."""

    now = 1e6

    def __call__(self) -> float:
        return self.now


def watched(news, seconds: int) -> SweepProgress:
    """A progress that is refreshed once a second for ``seconds``."""
    clock = Clock()
    progress = SweepProgress({"a": 1.0, "b": 3.0}, {"a"}, 1, news=news, clock=clock)
    for _ in range(seconds):
        clock.now += 1
        progress.refresh()
    progress.close()
    return progress


def test_a_log_gets_one_line_per_minute(capsys):
    watched(lambda: "half done", int(2.5 * NEWS_SECONDS))
    lines = capsys.readouterr().err.splitlines()
    assert [line[9:] for line in lines] == ["half done", "half done"]
    assert lines[0][2] == lines[0][5] == ":", "each with the time of day"
    watched(lambda: None, int(NEWS_SECONDS))
    assert capsys.readouterr().err.splitlines()[0][9:] == "1 of 2 runs finished"


def test_a_terminal_gets_bars_instead_of_lines(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    watched(lambda: "half done", int(2.5 * NEWS_SECONDS))
    err = capsys.readouterr().err
    assert "sweep" in err and "half done" not in err


def test_what_a_probe_failed_to_measure_is_said_and_is_a_warning(tmp_path):
    record = record_of(tiny_spec())
    failure = "mine is not measured at step 1 (ValueError: no such thing)"
    assert not describe_end(record).endswith(";")
    assert describe_end(dataclasses.replace(record, message=failure)).endswith(f"; {failure}")
    log = tmp_path / "log.txt"
    log.write_text(f"2026-11-29T23:57:28+00:00 started\n2026-11-29T23:57:32+00:00 {failure}\n")
    assert [warning.text for warning in log_warnings(log, "tiny")] == [failure]
    assert not_measured(log) == failure, "status shows it while the run trains"
    log.write_text("2026-11-29T23:57:28+00:00 started\n")
    assert not_measured(log) is None


def test_a_runs_bar_shows_its_newest_loss(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("LINES", "24")
    monkeypatch.setenv("COLUMNS", "110")
    sweep, plan = half_way(tmp_path / "sweep")
    spec = trunk_after(plan, DONE).spec
    dashboard = Dashboard(sweep)
    assert dashboard.loss(spec.run_id) == "5.0000"
    flops = {spec.run_id: 1.0}
    progress = SweepProgress(flops, set(), 1, loss=dashboard.loss)
    progress.started(spec, sweep.run(spec.run_id))
    progress.refresh()
    progress.close()
    err = capsys.readouterr().err
    assert "| loss 5.0000, " in err and "tok/s" in err


def test_speeds_name_what_the_runs_count(tmp_path, capsys, monkeypatch):
    for name, value in (("TERM", "xterm"), ("LINES", "24"), ("COLUMNS", "110")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    config = load_config("kernel_limit", device_kind="cpu")
    plan = make_plan(config, cpu_profile(), train_tokens=None)
    sweep = SweepDir(tmp_path / "sweep")
    layout.write_json(sweep.plan, plan.to_json())
    run = plan.runs[0]
    start_on(sweep, run, 0.5)
    progress = SweepProgress({run.run_id: 1.0}, set(), 1)
    progress.started(run.spec, sweep.run(run.run_id))
    progress.refresh()
    progress.close()
    err = capsys.readouterr().err
    assert "50K examples/s" in err and "0/1 runs, 50K examples/s" in err and "tok/s" not in err
    assert " examples/s" in describe_end(record_of(run.spec))
    with at_work(sweep):
        snapshot = Dashboard(sweep).snapshot()
        assert "50K examples/s" in format_status(sweep_status(sweep))
    assert snapshot is not None and throughput_text(snapshot) == "50K examples/s"
    assert "examples/s" in page_data.head(snapshot, ())
    assert rate_text(5e4, ["tokens", "examples"]) == "50K tok/s"


def test_the_line_shows_progress_running_runs_and_losses(tmp_path):
    sweep, plan = half_way(tmp_path / "sweep")
    run = trunk_after(plan, DONE).spec
    with at_work(sweep):
        snapshot = Dashboard(sweep).snapshot()
    assert snapshot is not None and snapshot.seconds_left is not None
    line = news_line(snapshot)
    assert line.startswith(
        f"{snapshot.n_ended} of 40 runs finished, {snapshot.flops_done_frac:.0%} of the FL"
    )
    assert f", {left_text(snapshot)}; running: {run.label} step " in line and "left" in line
    assert line.endswith(f"step {run.total_steps // 2}/{run.total_steps}, loss 5.0000 nats/token")
    idle = SweepReader(sweep).read()
    assert news_line(idle).endswith("running: no run has taken a step yet")


def test_a_finished_run_shows_the_same_time_left_as_the_monitor(tmp_path, capsys):
    sweep, _ = half_way(tmp_path / "sweep")
    dashboard, clock = Dashboard(sweep), Clock()
    assert dashboard.seconds_left() is None
    with at_work(sweep):
        dashboard.write()
    seconds_left = SweepReader(sweep).read().seconds_left
    assert seconds_left is not None and dashboard.seconds_left() is not None
    flops = {"a": 1.0, "b": 1.0, "c": 1.0}
    left = iter([3 * 3600.0, None])  # nothing is guessed where the plan's time is unknown
    progress = SweepProgress(flops, set(), 1, seconds_left=lambda: next(left), clock=clock)
    clock.now += 100
    for run_id in flops:
        progress.ended(run_id, "over")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "[1/3] over, about 3h00m left", "[2/3] over", "[3/3] over",
    ]  # fmt: skip


def test_an_unreadable_folder_gives_no_line(tmp_path):
    sweep, _ = half_way(tmp_path / "sweep")
    sweep.plan.write_text("{")
    assert Dashboard(sweep).snapshot() is None
