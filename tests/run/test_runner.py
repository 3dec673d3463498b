"""The runner on a fake executor: order, restart, deaths, divergence, stops."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from scaling_law.files import layout
from scaling_law.files.layout import SweepDir
from scaling_law.files.lease import Leases, LeaseWatch
from scaling_law.files.record import write_record
from scaling_law.plan.make import make_plan
from scaling_law.plan.plan import Plan
from scaling_law.plan.stacking import with_stacks
from scaling_law.run import peers
from scaling_law.run.runner import Runner
from scaling_law.run.signals import stop_caught
from scaling_law.spec.run import RunSpec
from scaling_law.train.provenance import versions
from tests.fakes import config_of, cpu_profile, record_of, small_config
from tests.plan.test_stacking import SEEDS

Fate = Callable[[RunSpec], str]


class FakeExecutor:
    """Ends every run at once; ``fate(spec)`` may say diverged, failed, died or busy."""

    def __init__(self, plan: Plan, sweep: SweepDir, fate: Fate) -> None:
        self.plan, self.sweep, self.fate, self.slots = plan, sweep, fate, 2
        self.submitted: list[str] = []
        self.cancelled: list[list[str]] = []
        self.groups: list[list[str]] = []

    def submit(self, runs):
        assert len(runs) == 1 or runs[0].resources.stack
        self.groups.append([run.spec.label for run in runs])
        fates = [self._end(run) for run in runs]
        return ([run.run_id for run in runs], fates)

    def _end(self, run):
        run_dir, spec, resources = self.sweep.run(run.run_id), run.spec, run.resources
        self.submitted.append(spec.label)
        if spec.branch:
            trunk = self.sweep.run(spec.branch.trunk_id)
            assert trunk.checkpoint(spec.branch.at_step).is_file(), "its trunk was not there yet"
        fate = self.fate(spec)
        if fate in ("done", "diverged"):
            for step in resources.save_steps if fate == "done" else ():
                path = run_dir.checkpoint(step)
                path.parent.mkdir(exist_ok=True)
                path.touch()
            write_record(run_dir, record_of(spec, status=fate))
        elif fate == "failed":
            layout.write_json(run_dir.failure, {"error": "boom"})
        return fate

    def state(self, handle):
        waiting = "busy" in handle[1] and handle[0] not in self.cancelled
        return "running" if waiting else "ended"

    def cancel(self, handle):
        self.cancelled.append(handle[0])

    def close(self):
        pass


@pytest.fixture
def world(tmp_path):
    plan = make_plan(small_config(), cpu_profile(), train_tokens=10**7)
    sweep = SweepDir(tmp_path)

    def go(fate=lambda spec: "done"):
        engine = FakeExecutor(plan, sweep, fate)
        return Runner(plan, sweep, engine).run(), engine

    return plan, sweep, go


def test_everything_runs_once_parents_first_and_states_are_dropped(world):
    plan, sweep, go = world
    outcome, engine = go()
    assert outcome.exit_code == 0
    assert sorted(outcome.done) == sorted(plan.by_id)
    assert len(engine.submitted) == len(set(engine.submitted)) == len(plan.runs)
    assert not list(sweep.runs.glob("*/ckpt/*.pt")), "spent states are removed"


def test_the_same_command_again_does_nothing_more(world):
    plan, _, go = world
    go()
    outcome, engine = go()
    assert engine.submitted == []
    assert sorted(outcome.done) == sorted(plan.by_id)


def test_a_failed_run_is_reported_and_tried_again_next_time(world):
    plan, _, go = world
    victim = plan.runs[-1].spec.label
    outcome, _ = go(lambda spec: "failed" if spec.label == victim else "done")
    assert outcome.exit_code == 3
    assert list(outcome.failed.values()) == ["boom"]
    outcome, engine = go()
    assert engine.submitted == [victim]
    assert outcome.exit_code == 0


def test_a_missing_trunk_state_retrains_the_trunk(world):
    plan, sweep, go = world
    victim = next(run for run in plan.runs if run.spec.branch)
    go(lambda spec: "failed" if spec.label == victim.spec.label else "done")
    trunk_id = victim.spec.branch.trunk_id
    for path in sweep.run(trunk_id).checkpoints.glob("*.pt"):
        path.unlink()
    outcome, engine = go()
    assert engine.submitted == [plan.by_id[trunk_id].spec.label, victim.spec.label]
    assert outcome.exit_code == 0


def test_a_diverged_trunk_is_a_result_and_its_branches_are_reported_as_blocked(world):
    plan, _, go = world
    trunk = next(run for run in plan.runs if run.spec.kind == "trunk")
    outcome, _ = go(lambda spec: "diverged" if spec.label == trunk.spec.label else "done")
    assert outcome.exit_code == 0
    assert list(outcome.diverged) == [trunk.run_id]
    branches = [
        r.run_id for r in plan.runs if r.spec.branch and r.spec.branch.trunk_id == trunk.run_id
    ]
    assert sorted(outcome.blocked) == sorted(branches)
    assert all(
        "its trunk did not reach the branch point" in reason for reason in outcome.blocked.values()
    )


def test_a_dead_worker_gets_one_more_try(world):
    plan, _, go = world
    victim = plan.runs[0].spec.label
    deaths: list[int] = []

    def die_once(spec):
        if spec.label == victim and not deaths:
            deaths.append(1)
            return "died"
        return "done"

    assert go(die_once)[0].exit_code == 0
    assert deaths == [1]


def test_a_worker_that_dies_every_time_fails_its_run(world):
    plan, _, go = world
    victim = plan.runs[-1].spec.label
    outcome, engine = go(lambda spec: "died" if spec.label == victim else "done")
    assert outcome.exit_code == 3
    assert engine.submitted.count(victim) == 2
    assert "died twice" in next(iter(outcome.failed.values()))


def test_a_hung_worker_is_distinguished_from_a_dead_one(world, monkeypatch):
    plan, _, go = world
    victim = plan.runs[-1]
    monkeypatch.setattr(FakeExecutor, "state", _hangs(victim.run_id))
    outcome, engine = go(lambda spec: "died" if spec.label == victim.spec.label else "done")
    assert engine.submitted.count(victim.spec.label) == 2
    assert "its worker hung twice" in outcome.failed[victim.run_id]
    assert "SLAW_HUNG_SECONDS" in outcome.failed[victim.run_id]


def _hangs(run_id):
    return lambda self, handle: "hung" if handle[0] == [run_id] else "ended"


def test_runs_of_other_processes_are_left_alone_and_their_results_are_noted(
    world, monkeypatch, capfd
):
    plan, sweep, go = world
    theirs = next(run for run in plan.runs if run.spec.kind == "trunk")
    monkeypatch.setattr(peers, "_LOOK_SECONDS", 0.0)
    monkeypatch.setattr(peers, "LeaseWatch", lambda: LeaseWatch(look_seconds=0.0))
    with Leases() as leases:  # the other process's worker
        lease = leases.take(sweep.run(theirs.run_id).lease)

        def they_end_it() -> None:
            run_dir = sweep.run(theirs.run_id)
            for step in theirs.resources.save_steps:
                run_dir.checkpoint(step).parent.mkdir(exist_ok=True)
                run_dir.checkpoint(step).touch()
            write_record(run_dir, record_of(theirs.spec))
            leases.drop(lease)

        tell = peers.Peers.report_waiting

        def report_twice(self, say) -> None:  # twice, to see that it says it once
            tell(self, say)
            tell(self, say)
            they_end_it()

        monkeypatch.setattr(peers.Peers, "report_waiting", report_twice)
        outcome, engine = go()
    assert theirs.spec.label not in engine.submitted
    assert len(engine.submitted) == len(plan.runs) - 1
    assert sorted(outcome.done) == sorted(plan.by_id)
    assert capfd.readouterr().err.count("waiting for runs that are trained elsewhere: 1 by") == 1


def test_a_run_leased_by_others_meanwhile_does_not_count_as_a_dead_worker(world, monkeypatch):
    plan, _, go = world
    victim = plan.runs[-1].spec.label
    refused: list[int] = []

    def fate(spec):
        if spec.label == victim and len(refused) < 5:
            refused.append(1)
            return "elsewhere"
        return "done"

    state = FakeExecutor.state
    monkeypatch.setattr(
        FakeExecutor,
        "state",
        lambda self, handle: "elsewhere" if "elsewhere" in handle[1] else state(self, handle),
    )
    outcome, engine = go(fate)
    assert engine.submitted.count(victim) == 6
    assert outcome.exit_code == 0


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, 130),
        (signal.SIGTERM, 75),
        (signal.SIGUSR1, 75),
        (signal.SIGUSR2, 75),
        (signal.SIGHUP, 75),
    ],
)
def test_a_signal_cancels_what_runs_and_says_so_by_exit_code(world, number, code):
    _, _, go = world
    before = signal.getsignal(number)
    sent: list[int] = []

    def fate(spec):
        if not sent:
            sent.append(1)
            os.kill(os.getpid(), number)
        return "busy"

    outcome, engine = go(fate)
    assert outcome.exit_code == code
    assert len(engine.cancelled) == len(engine.submitted) == 2
    assert signal.getsignal(number) == before


def test_a_hang_up_that_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_caught(lambda number, frame: None):
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            assert signal.getsignal(signal.SIGUSR2) != signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


def test_records_name_the_versions_that_can_change_a_loss():
    assert {"torch", "numpy", "tiktoken", "rustbpe", "python", "slaw"} <= set(versions())


def test_a_stack_is_submitted_once_all_its_trunks_have_finished(tmp_path):
    plan = with_stacks(make_plan(config_of(SEEDS), cpu_profile(slots=1), train_tokens=10**7))
    sweep = SweepDir(tmp_path)
    engine = FakeExecutor(plan, sweep, lambda spec: "done")
    outcome = Runner(plan, sweep, engine).run()
    assert len(outcome.done) == len(plan.runs)
    together = [group for group in engine.groups if len(group) > 1]
    assert sorted(map(len, together)) == [3, 3, 3]
    # one of a stack is lost: it alone is trained again, still by the stacked program
    lost = next(r for r in plan.runs if r.resources.stack and r.spec.branch and r.spec.seed == 1)
    assert lost.spec.branch is not None
    trunk_id = lost.spec.branch.trunk_id
    sweep.run(lost.run_id).record.unlink()
    engine = FakeExecutor(plan, sweep, lambda spec: "done")
    assert Runner(plan, sweep, engine).run().exit_code == 0
    assert engine.groups == [[plan.by_id[trunk_id].spec.label], [lost.spec.label]]


def test_a_stack_continues_without_the_member_whose_trunk_failed(tmp_path):
    plan = with_stacks(make_plan(config_of(SEEDS), cpu_profile(slots=1), train_tokens=10**7))
    sweep = SweepDir(tmp_path)

    def fate(spec):
        return "diverged" if spec.kind == "trunk" and spec.seed == 2 else "done"

    engine = FakeExecutor(plan, sweep, fate)
    outcome = Runner(plan, sweep, engine).run()
    assert len(outcome.blocked) == 4  # two horizons of two sizes
    assert sorted(map(len, [g for g in engine.groups if len(g) > 1])) == [2, 2, 3]


def test_a_failing_stack_member_fails_alone_and_the_others_finish(tmp_path):
    plan = with_stacks(make_plan(config_of(SEEDS), cpu_profile(slots=1), train_tokens=10**7))
    sweep = SweepDir(tmp_path)
    bad = next(r for r in plan.runs if r.resources.stack and r.spec.branch and r.spec.seed == 1)
    engine = FakeExecutor(plan, sweep, lambda spec: "done")

    def fate(spec):
        mates = engine.groups[-1]
        return "failed" if bad.spec.label in mates else "done"

    engine.fate = fate
    outcome = Runner(plan, sweep, engine).run()
    assert list(outcome.failed) == [bad.run_id]
    assert len(outcome.done) == len(plan.runs) - 1
    assert engine.groups.count([bad.spec.label]) == 1
