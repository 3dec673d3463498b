"""One reading of a sweep's folder, in any state of it."""

from __future__ import annotations

import dataclasses
import json

import pytest

from scaling_law.errors import PlanError
from scaling_law.files import layout
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import read_curve, read_record, write_curve, write_record
from scaling_law.plan.make import make_plan
from scaling_law.plan.packing import TimedTask, makespan_seconds
from scaling_law.run.runner import Runner
from scaling_law.run.sweep_state.dashboard import Dashboard
from scaling_law.run.sweep_state.reader import SweepReader
from scaling_law.run.sweep_state.snapshot import SCHEMA_VERSION
from scaling_law.run.sweep_state.text import end_text, format_status, loss_unit_text
from tests.fakes import config_of, cpu_profile, record_of, small_config
from tests.monitor.half_way import DONE, at_work, diverging, half_way, trunk_after
from tests.run.test_runner import FakeExecutor


@pytest.fixture
def halved(tmp_path):
    return half_way(tmp_path / "s")


def states(snapshot):
    return {run.run_id: run.state for run in snapshot.runs}


def test_every_state_is_shown(halved):
    sweep, plan = halved
    with at_work(sweep):
        snapshot = SweepReader(sweep).read()
    assert snapshot.phase == "running" and snapshot.at_work
    lost = diverging(plan)
    blocked = [r for r in plan.runs if r.spec.branch and r.spec.branch.trunk_id == lost.run_id]
    assert snapshot.counts == {
        "done": DONE, "diverged": 1, "failed": 1, "blocked": len(blocked), "started": 1,
        "waiting": len(plan.runs) - DONE - 3 - len(blocked),
    }  # fmt: skip
    assert {run.run_id for run in snapshot.in_state("blocked")} == {r.run_id for r in blocked}
    (working,) = snapshot.in_state("started")
    assert working.run_id == trunk_after(plan, DONE).run_id
    assert (working.lr_phase, working.last_val_loss_nats) == ("stable", 5.0)
    assert working.last_train_loss_nats == 5.25 and working.share == pytest.approx(0.5, abs=0.01)
    left = (working.total_steps - working.step) * working.batch_tokens / 5e4
    assert working.seconds_left == pytest.approx(left, rel=1e-6)
    assert snapshot.tokens_per_second == 5e4
    words = [warned.text for warned in snapshot.warnings]
    assert any("micro-batch halved" in text for text in words)
    assert any("using an older one" in text for text in words)
    assert any(text.startswith("failed: RunFailed") for text in words)
    assert any("training loss is nan at step 9" in text for text in words)
    assert all(text.isprintable() for text in words)


def test_a_branch_whose_step_was_saved_before_its_trunk_diverged_still_waits(halved):
    sweep, plan = halved
    lost = diverging(plan)
    first = next(r for r in plan.runs if r.spec.branch and r.spec.branch.trunk_id == lost.run_id)
    saved = sweep.run(lost.run_id).checkpoint(first.spec.start_step)
    layout.atomic_write(saved, b"a state")
    assert states(SweepReader(sweep).read())[first.run_id] == "waiting"


def test_time_left_is_the_planned_cost_at_the_measured_pace(tmp_path):
    """All records took three times as long as planned; the rest is packed on the two slots."""
    sweep = SweepDir(tmp_path)
    plan = make_plan(small_config(), cpu_profile(), train_tokens=10**7)
    plan = dataclasses.replace(
        plan, runs=tuple(dataclasses.replace(run, seconds=10.0) for run in plan.runs)
    )
    layout.write_json(sweep.plan, plan.to_json())
    trunk, *branches = [run for run in plan.runs if run.spec.model == plan.runs[0].spec.model]
    write_record(sweep.run(trunk.run_id), dataclasses.replace(record_of(trunk.spec), seconds=30.0))
    snapshot = SweepReader(sweep).read()
    assert snapshot.pace == pytest.approx(3.0)
    others = [run for run in plan.runs if run not in (trunk, *branches)]
    steps = others[0].spec.total_steps
    tasks = [TimedTask(30.0) for _ in branches] + [TimedTask(30.0)]
    tasks += [TimedTask(30.0, 3, 30.0 * run.spec.start_step / steps) for run in others[1:]]
    assert snapshot.seconds_left == pytest.approx(makespan_seconds(tasks, 2))
    for run in plan.runs:
        write_record(sweep.run(run.run_id), record_of(run.spec))
    snapshot = SweepReader(sweep).read()
    assert (snapshot.phase, snapshot.seconds_left, snapshot.flops_done_frac) == ("over", None, 1.0)


def test_time_left_is_learned_by_size_where_the_plan_is_of_milliseconds(tmp_path):
    """As of a user's own command: one size took a second a run, the other a minute."""
    plan = make_plan(small_config(), cpu_profile(), train_tokens=10**7)
    runs = tuple(dataclasses.replace(run, seconds=0.01) for run in plan.runs)
    plan = dataclasses.replace(plan, runs=runs, slots=1)
    sweep = SweepDir(tmp_path)
    layout.write_json(sweep.plan, plan.to_json())
    small, large = (
        [run for run in plan.runs if run.spec.model == model]
        for model in dict.fromkeys(run.spec.model for run in plan.runs)
    )
    for (first, *_), seconds in ((small, 2.0), (large, 60.0)):
        record = dataclasses.replace(record_of(first.spec), seconds=seconds)
        write_record(sweep.run(first.run_id), record)
    left = SweepReader(sweep).read().seconds_left
    assert left == pytest.approx(2.0 * (len(small) - 1) + 60.0 * (len(large) - 1))


def test_a_reader_sees_changes_and_reads_each_record_once(halved, monkeypatch):
    sweep, plan = halved
    watch = SweepReader(sweep)
    before = watch.read()
    read: list[str] = []
    real = layout.read_json

    def noting(path, remedy=""):
        read.append(path.name)
        return real(path, remedy)

    monkeypatch.setattr(layout, "read_json", noting)
    assert watch.read().runs == before.runs
    assert read == ["failure.json"]
    waiting = plan.by_id[before.in_state("waiting")[0].run_id]
    write_record(sweep.run(waiting.run_id), record_of(waiting.spec, loss_nats=3.25))
    now = watch.read()
    assert states(now)[waiting.run_id] == "done" and now.counts["done"] == DONE + 1
    sweep.run(waiting.run_id).record.unlink()  # as the runner does to train it again
    assert states(watch.read())[waiting.run_id] == "waiting"


def test_a_record_removed_while_it_is_read_does_not_count_as_damaged(halved, monkeypatch):
    sweep, plan = halved
    first = plan.runs[0].run_id
    real = layout.read_json

    def vanishing(path, remedy=""):
        if path == sweep.run(first).record:
            path.unlink()
        return real(path, remedy)

    monkeypatch.setattr(layout, "read_json", vanishing)
    assert states(SweepReader(sweep).read(strict=True))[first] == "waiting"


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"schema_version": 1}', "\x00\xff", "[" * 9999]
)
def test_torn_files_never_raise(halved, content):
    sweep, plan = halved
    run = trunk_after(plan, DONE)
    for path in (sweep.run(plan.runs[0].run_id).record, sweep.run(plan.runs[1].run_id).curve,
                 sweep.run(run.run_id).progress, sweep.run(run.run_id).curve,
                 sweep.run(plan.runs[DONE + 1].run_id).failure):  # fmt: skip
        path.write_text(content)
    with at_work(sweep):
        snapshot = SweepReader(sweep).read()
        assert snapshot.counts["damaged"] == 1 and snapshot.counts["failed"] == 1
        assert all(SweepReader(sweep).curve(planned.run_id) is not None for planned in plan.runs)
    json.dumps(snapshot.to_json(), allow_nan=False)
    sweep.plan.write_text(content)
    assert SweepReader(sweep).read().phase == "no_plan"
    assert "plan.json" in SweepReader(sweep).read().note


def test_before_the_sweep_the_note_says_what_is_missing(tmp_path):
    sweep = SweepDir(tmp_path / "later")
    assert "no such folder yet" in SweepReader(sweep).read().note
    sweep.path.mkdir()
    assert "no plan yet; `slaw run`" in SweepReader(sweep).read().note
    with at_work(sweep):
        assert "preparing data" in SweepReader(sweep).read().note
    with pytest.raises(PlanError):
        sweep.plan.write_text("{}")
        SweepReader(sweep).read(strict=True)


def test_the_dashboard_equals_the_snapshot_and_a_full_disk_does_not_end_a_sweep(
    halved, monkeypatch
):
    sweep, _ = halved
    Dashboard(sweep).write()
    content = json.loads(sweep.dashboard.read_text())
    expected = json.loads(json.dumps(SweepReader(sweep).read().to_json()))
    for document in (content, expected):
        document.pop("read_at")
    host = content.pop("host")
    assert host["cpus"] >= 1 and "cpu_busy_frac" in host and "memory_used_bytes" in host
    assert host["gpus"] == [] or host["gpus"][0]["name"]
    assert content == expected and content["schema_version"] == SCHEMA_VERSION

    def refuse(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("scaling_law.run.sweep_state.dashboard.atomic_write", refuse)
    Dashboard(sweep).write()


def test_the_runner_keeps_the_dashboard_current(tmp_path):
    sweep = SweepDir(tmp_path)
    plan = make_plan(small_config(), cpu_profile(), train_tokens=10**7)
    layout.write_json(sweep.plan, plan.to_json())
    runner = Runner(plan, sweep, FakeExecutor(plan, sweep, lambda spec: "done"))
    runner.run()
    early = json.loads(sweep.dashboard.read_text())
    runner.dashboard.write()
    late = json.loads(sweep.dashboard.read_text())
    assert sum(early["counts"].values()) == len(plan.runs)
    assert late["counts"] == {"done": len(plan.runs)} and late["phase"] == "over"


def test_a_running_run_shows_its_newest_metrics(tmp_path):
    sweep, plan = half_way(tmp_path / "s")
    working = sweep.run(trunk_after(plan, DONE).run_id)
    points = read_curve(working)
    measured = dataclasses.replace(points[-2], metrics={"accuracy.val": 0.25})
    write_curve(working, [*points[:-2], measured, points[-1]])
    with at_work(sweep):
        snapshot = SweepReader(sweep).read()
    (run,) = snapshot.in_state("started")
    assert run.metrics == {"accuracy.val": 0.25}
    assert "accuracy.val 0.25" in format_status(snapshot.to_json())
    assert all(run.metrics is None for run in snapshot.in_state("done"))


def test_a_probe_that_failed_is_shown_with_its_run(tmp_path):
    sweep, plan = half_way(tmp_path / "s")
    failure = "mine is not measured at step 1 (ValueError: no such thing)"
    done = sweep.run(plan.runs[0].run_id)
    write_record(done, dataclasses.replace(read_record(done.record), message=failure))
    status = SweepReader(sweep).read().to_json()
    notes = {run["run_id"]: run["note"] for run in status["runs"] if run["note"]}
    assert notes == {done.path.name: failure}
    (line,) = [line for line in format_status(status).splitlines() if failure in line]
    assert plan.runs[0].spec.label in line


def test_a_finished_run_has_its_metrics_with_units(tmp_path):
    sweep, plan = half_way(tmp_path / "s")
    run_dir = sweep.run(plan.runs[0].run_id)
    record = dataclasses.replace(
        read_record(run_dir.record),
        metrics={"accuracy.val": 0.5, "batches_skipped": 2.0},
        metric_units={"accuracy.val": "share of targets"},
    )
    write_record(run_dir, record)
    status = SweepReader(sweep).read().to_json()
    (run,) = (run for run in status["runs"] if run["run_id"] == record.run_id)
    assert run["metrics"] == {"accuracy.val": 0.5}
    assert status["metric_units"] == {"accuracy.val": "share of targets"}
    text = format_status(status)
    assert "metrics: accuracy.val (share of targets)" in text and "accuracy.val 0.5" in text


def test_a_run_whose_rate_never_decays_is_not_annealed(tmp_path):
    sweep = SweepDir(tmp_path / "s")
    plan = make_plan(
        config_of(
            """
name: hot
data: {corpus: synthetic, tokenizer: bytes, vocab_size: 257}
grid: [{sizes: [nano14k], tokens: [1M]}]
schedule: {shape: constant}
"""
        ),
        cpu_profile(),
        train_tokens=10**9,
    )
    layout.write_json(sweep.plan, plan.to_json())
    (planned,) = plan.runs
    write_record(sweep.run(planned.run_id), record_of(planned.spec))
    (run,) = SweepReader(sweep).read().runs
    assert not run.annealed and end_text(run).endswith(", not annealed")


def test_a_loss_has_the_unit_of_its_record(tmp_path):
    sweep, plan = half_way(tmp_path / "s")
    run_dir = sweep.run(plan.runs[0].run_id)
    write_record(run_dir, dataclasses.replace(read_record(run_dir.record), loss_unit="squares"))
    snapshot = SweepReader(sweep).read()
    (run,) = (run for run in snapshot.runs if run.run_id == plan.runs[0].run_id)
    assert run.loss_unit == "squares" and " squares" in end_text(run)
    assert " squares" in format_status(snapshot.to_json())
    assert loss_unit_text(snapshot) == "loss"
    assert loss_unit_text(dataclasses.replace(snapshot, runs=(run,))) == "squares"
