"""What a log shows while runs train, by a clock that tests set."""

from __future__ import annotations

from scaling_law.run.sweep_state.dashboard import Dashboard
from scaling_law.run.sweep_state.progress import NEWS_SECONDS, SweepProgress
from scaling_law.run.sweep_state.snapshot import SweepReader
from scaling_law.run.sweep_state.text import left_text, news_line
from tests.monitor.half_way import DONE, at_work, half_way, trunk_after


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


def test_a_log_gets_a_line_every_minute(capsys):
    watched(lambda: "half done", int(2.5 * NEWS_SECONDS))
    lines = capsys.readouterr().err.splitlines()
    assert [line[9:] for line in lines] == ["half done", "half done"]
    assert lines[0][2] == lines[0][5] == ":", "each with the time of day"
    watched(lambda: None, int(NEWS_SECONDS))
    assert capsys.readouterr().err.splitlines()[0][9:] == "1 of 2 runs finished"


def test_a_terminal_gets_bars_and_no_such_lines(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    watched(lambda: "half done", int(2.5 * NEWS_SECONDS))
    err = capsys.readouterr().err
    assert "sweep" in err and "half done" not in err


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


def test_the_line_says_how_far_the_sweep_is_what_runs_and_its_loss(tmp_path):
    sweep, plan = half_way(tmp_path / "sweep")
    run = trunk_after(plan, DONE).spec
    with at_work(sweep):
        found = Dashboard(sweep).snapshot()
    assert found is not None and found.seconds_left is not None
    line = news_line(found)
    assert line.startswith(
        f"{found.n_over} of 40 runs finished, {found.flops_done_frac:.0%} of the FL"
    )
    assert f", {left_text(found)}; running: {run.label} step " in line and "left" in line
    assert line.endswith(f"step {run.total_steps // 2}/{run.total_steps}, loss 5.0000 nats/token")
    idle = SweepReader(sweep).read()
    assert news_line(idle).endswith("running: no run has taken a step yet")


def test_a_finished_run_shows_the_same_time_left_as_the_monitor(tmp_path, capsys):
    sweep, _ = half_way(tmp_path / "sweep")
    dashboard, clock = Dashboard(sweep), Clock()
    assert dashboard.seconds_left() is None
    with at_work(sweep):
        dashboard.write()
    found = SweepReader(sweep).read().seconds_left
    assert found is not None and dashboard.seconds_left() is not None
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


def test_what_cannot_be_read_is_no_news(tmp_path):
    sweep, _ = half_way(tmp_path / "sweep")
    sweep.plan.write_text("{")
    assert Dashboard(sweep).snapshot() is None
