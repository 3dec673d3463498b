"""Leases under interleavings that would lose or double a run: takers, late holders, other hosts."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from scaling_law.errors import ConfigError
from scaling_law.files import layout
from scaling_law.files import lease as module
from scaling_law.files import process as process_module
from scaling_law.files.layout import RunDir
from scaling_law.files.lease import (
    Lease,
    LeasedElsewhere,
    LeaseHolder,
    LeaseLost,
    Leases,
    LeaseWatch,
    Stillness,
    clear_leftovers,
    read_lease,
    remove_lease,
    wait_for,
)
from scaling_law.files.process import Process, tag_is_dead, this_process
from scaling_law.files.record import CurvePoint, append_curve, cut_curve, read_curve

POINT = CurvePoint(
    step=1, tokens=32, train_loss_nats=5.0, val_loss_nats=5.0, lr=0.1, grad_norm=1.0, seconds=0.1
)


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def foreign(path: Path, token: str = "theirs", beats: int = 0, **changes) -> Process:
    """Write a lease of another process, by default on another host, to ``path``."""
    fields = {"host": "elsewhere/1", "boot": "b", "space": "pid:[1]", "pid": 1, "started": "1"}
    process = Process(**{**fields, **changes})
    head = json.dumps({"token": token, "process": dataclasses.asdict(process)})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{head}\n{beats:012d}\n")
    return process


def of_this_machine(**changes: Any) -> dict[str, Any]:
    return {**dataclasses.asdict(this_process()), **changes}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "claim"


def test_a_lease_names_its_process_counts_up_and_is_removed(path, monkeypatch):
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.01)
    with Leases() as leases:
        lease = leases.take(path)
        first = read_lease(path)
        assert first is not None
        assert (first.process, first.token) == (this_process(), lease.token)
        deadline = time.monotonic() + 10
        while read_lease(path) == first and time.monotonic() < deadline:
            time.sleep(0.01)
        assert read_lease(path) != first
        lease.check()
        with pytest.raises(LeasedElsewhere, match=f"leased by pid {os.getpid()} on "):
            Leases().take(path)
    assert list(path.parent.iterdir()) == []


def test_the_counter_stops_without_a_sign_of_life(path, monkeypatch):
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.01)
    with Leases(hung_seconds=0.05) as leases:
        lease = leases.take(path)
        time.sleep(0.2)
        beats = lease.beats
        time.sleep(0.1)
        assert lease.beats == beats
        deadline = time.monotonic() + 10
        while lease.beats == beats and time.monotonic() < deadline:
            leases.alive()
            time.sleep(0.01)
        assert lease.beats > beats


def _try(path: Path, barrier, answers) -> None:
    barrier.wait()
    with Leases() as leases:
        try:
            leases.take(path)
            answers.put(True)
        except LeasedElsewhere:
            answers.put(False)
        barrier.wait()


@pytest.mark.parametrize("left", [None, "dead", "torn"])
def test_one_of_many_processes_gets_the_lease(path, left):
    if left == "dead":
        foreign(path, **of_this_machine(pid=2**22 - 3, started="1"))
    context, count = multiprocessing.get_context("fork"), 6
    for _ in range(3):
        barrier, answers = context.Barrier(count), context.Queue()
        takers = [context.Process(target=_try, args=(path, barrier, answers)) for _ in range(count)]
        for taker in takers:
            taker.start()
        for taker in takers:
            taker.join()
        assert sum(answers.get() for _ in takers) == 1
        assert list(path.parent.iterdir()) == []


DEAD: dict[str, dict[str, Any]] = {
    "pid gone": {"pid": 2**22 - 3},
    "pid of another": {"started": "1"},
    "another boot": {"boot": "an earlier one"},
}
UNKNOWN: dict[str, dict[str, Any]] = {
    "another host": {"host": "elsewhere/1"},
    "another container": {"space": "pid:[1]", "pid": 2**22 - 3},
    "alive": {},
}


@pytest.mark.parametrize("how", DEAD)
def test_a_lease_whose_process_is_known_to_be_dead_is_taken_at_once(path, how):
    process = foreign(path, **of_this_machine(**DEAD[how]))
    assert process.is_surely_dead() and not process.is_surely_alive()
    assert LeaseWatch().holder(path) is None
    foreign(path, **of_this_machine(**DEAD[how]))
    with Leases() as leases:
        leases.take(path).check()


@pytest.mark.parametrize("how", UNKNOWN)
def test_a_lease_is_stale_after_its_counter_has_stood_still_long_enough(path, how):
    process = foreign(path, **of_this_machine(**UNKNOWN[how]))
    assert not process.is_surely_dead()
    with pytest.raises(LeasedElsewhere), Leases() as leases:
        leases.take(path)
    clock = Clock()
    watch = LeaseWatch(silent_seconds=120, clock=clock)
    for beats in (0, 1, 2):  # as long as it moves, however slowly, it lives
        foreign(path, beats=beats, **of_this_machine(**UNKNOWN[how]))
        for _ in range(110):
            assert watch.holder(path) is not None
            clock.now += 1
    while watch.holder(path) is not None:
        clock.now += 1
    assert 119 <= clock.now - (1000 + 2 * 110) <= 122
    assert not path.exists()


def test_a_zombie_counts_as_dead(path):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = _stat(child.pid)
    process = Process(**of_this_machine(pid=child.pid, started=started))
    assert process.is_surely_alive()
    child.kill()
    deadline = time.monotonic() + 10
    while not process.is_surely_dead() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.is_surely_dead()
    child.communicate()


def _stat(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def test_a_frozen_observers_pause_does_not_count():
    clock = Clock()
    still = Stillness(clock)
    assert still.seconds("x") == 0
    clock.now += 10_000  # a sleeping laptop with all its processes
    assert still.seconds("x") < 10
    for _ in range(200):
        clock.now += 1
        seconds = still.seconds("x")
    assert 200 <= seconds < 210
    assert still.seconds("y") == 0


def test_only_the_observers_own_clock_is_used(path, monkeypatch):
    def broken(*_):
        raise AssertionError("the time of day was asked")

    monkeypatch.setattr(time, "time", broken)
    with Leases() as leases:
        lease = leases.take(path)
        os.utime(path, (2**33, 2**33))
        lease.beat()
        lease.check()
        assert LeaseWatch().holder(path) is not None


@pytest.mark.parametrize("what", ["torn", "pipe", "dangling link"])
def test_an_unreadable_lease_becomes_stale_by_standing_still(path, what):
    path.parent.mkdir()
    make = {
        "torn": path.touch,
        "pipe": lambda: os.mkfifo(path),
        "dangling link": lambda: path.symlink_to("nowhere"),
    }
    make[what]()
    with pytest.raises(LeasedElsewhere, match="unknown process"):
        Leases().take(path)
    clock = Clock()
    watch = LeaseWatch(clock=clock)
    while watch.holder(path) is not None:
        clock.now += 1
    assert clock.now >= 1119
    with Leases() as leases:
        leases.take(path)


# two takers of one stale lease: the second judged it before the first replaced it


@pytest.fixture
def no_locks(monkeypatch):
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.0001)

    def refuse(file, how):
        raise OSError(errno.EBADF, "locks are not for this file")

    monkeypatch.setattr(fcntl, "flock", refuse)


def test_where_folders_can_be_locked_the_slower_taker_moves_nothing(path, monkeypatch):
    foreign(path, "stale")
    with Leases() as leases:
        assert remove_lease(path, "stale")
        mine = leases.take(path)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", lambda *_: pytest.fail("moved a live lease"))
            assert not remove_lease(path, "stale")
        mine.check()


def test_a_stopped_process_that_holds_the_lock_delays_others_briefly(path, monkeypatch):
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.0001)
    foreign(path, "stale")
    other = os.open(path.parent, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    try:
        assert remove_lease(path, "stale")
    finally:
        os.close(other)


@pytest.mark.usefixtures("no_locks")
def test_the_slower_taker_puts_back_the_live_lease_it_moved(path):
    foreign(path, "stale")
    with Leases() as leases:
        assert remove_lease(path, "stale")
        mine = leases.take(path)
        assert not remove_lease(path, "stale")  # the slower one acts on its outdated judgement
        mine.check()
        mine.beat()  # still the same file: its counter moves
        seen = read_lease(path)
        assert seen is not None and int(seen.beat) == 1
        assert [p.name for p in path.parent.iterdir()] == ["claim"]


@pytest.mark.usefixtures("no_locks")
def test_a_third_process_may_win_while_the_lease_is_moved_and_the_holder_notices(path, monkeypatch):
    foreign(path, "stale")
    with Leases() as leases, Leases() as others:
        remove_lease(path, "stale")
        mine = leases.take(path)
        link = os.link
        third = []

        def interrupted(source, target):
            monkeypatch.setattr(os, "link", link)
            third.append(others.take(path))
            link(source, target)

        monkeypatch.setattr(os, "link", interrupted)
        remove_lease(path, "stale")
        third[0].check()
        with pytest.raises(LeaseLost, match="lost to pid"):
            mine.check()
    assert list(path.parent.iterdir()) == []


def test_a_holder_waits_while_its_lease_is_moved(path, monkeypatch):
    with Leases() as leases:
        mine = leases.take(path)
        aside = path.with_name("aside")
        path.rename(aside)
        threading.Timer(0.005, lambda: os.link(aside, path)).start()
        mine.check()


def test_two_observers_of_one_stale_lease_leave_one_new_holder(path):
    for _ in range(20):
        foreign(path, "stale", **of_this_machine(pid=2**22 - 3))
        got: list[tuple[Leases, Lease]] = []

        def take(got=got):
            with contextlib.suppress(LeasedElsewhere):
                LeaseWatch().holder(path)
                held = Leases()
                got.append((held, held.take(path)))

        threads = [threading.Thread(target=take) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        holding = [lease for _, lease in got if _holds(lease)]
        assert len(holding) == 1
        for held, _ in got:
            held.close()
        assert list(path.parent.iterdir()) == []


def _holds(lease) -> bool:
    try:
        lease.check()
    except LeaseLost:
        return False
    return True


# a holder that is stopped in the middle of a write and wakes when another process has its run


def taken_over(path: Path, leases: Leases) -> RunDir:
    """Take over the run of a holder that is believed dead, as ``run.worker`` does."""
    seen = read_lease(path)
    assert seen is not None
    remove_lease(path, seen.token)
    lease = leases.take(path)
    run_dir = RunDir(path.parent, guard=lease.check)
    clear_leftovers(lease, layout.leftovers(run_dir.record, run_dir.curve))
    for left in run_dir.path.rglob(".*.tmp"):
        left.unlink()
    cut_curve(run_dir, 10**9)
    return run_dir


@pytest.mark.parametrize("moment", ["before", "written", "asked"])
def test_a_record_started_before_a_takeover_is_never_published(path, monkeypatch, moment):
    with Leases() as leases, Leases() as others:
        mine = RunDir(path.parent, guard=leases.take(path).check)
        if moment == "before":
            taken_over(path, others)
        elif moment == "written":  # all but the last question
            fsync = os.fsync

            def late(file):
                monkeypatch.setattr(os, "fsync", fsync)
                taken_over(path, others)

            monkeypatch.setattr(os, "fsync", late)
        else:  # the question was answered, the rename comes after the takeover
            replace = Path.replace

            def after(self, target):
                monkeypatch.setattr(Path, "replace", replace)
                taken_over(path, others)
                return replace(self, target)

            monkeypatch.setattr(Path, "replace", after)
        with pytest.raises(LeaseLost):
            layout.write_json(mine.record, {"whose": "mine"}, mine.guard)
        assert not mine.record.exists()
        assert not list(path.parent.glob(".*.tmp"))


def test_a_curve_point_started_before_a_takeover_is_never_written(path):
    with Leases() as leases, Leases() as others:
        lease = leases.take(path)
        append_curve(RunDir(path.parent, guard=lease.check), POINT)

        def too_late():
            taken_over(path, others)
            lease.check()

        with pytest.raises(LeaseLost):
            append_curve(RunDir(path.parent, guard=too_late), POINT)
        others.close()
        lease = leases.take(path)

        def just_in_time():  # and then asleep: the line lands in the file that was replaced
            lease.check()
            taken_over(path, others)

        append_curve(RunDir(path.parent, guard=just_in_time), POINT)
        assert read_curve(RunDir(path.parent)) == [POINT]


def test_releasing_does_not_remove_anothers_lease(path):
    with Leases() as others:
        with Leases() as leases:
            leases.take(path)
            taken_over(path, others)
        assert read_lease(path) is not None
        assert others._held[0].token == read_lease(path).token  # type: ignore[union-attr]


def test_leftovers_of_killed_processes_are_removed_but_no_moved_live_lease(path):
    with Leases() as leases:
        lease = leases.take(path)
        lost = layout.temporary_sibling(path)
        foreign(lost, "dead")
        returning = layout.temporary_sibling(path)
        os.link(path, returning)
        write = layout.temporary_sibling(path.with_name("record.json"))
        write.write_text("{")
        clear_leftovers(lease, layout.leftovers(path.with_name("record.json")))
        assert {p for p in path.parent.iterdir() if p != path} == {returning}


def test_a_holder_that_slept_removes_no_file_of_the_next_holder(path):
    with Leases() as leases, Leases() as others:
        lease = leases.take(path)  # and asleep, before it has cleared anything
        taken_over(path, others)
        writing = layout.temporary_sibling(path.with_name("curve.jsonl"))
        writing.write_text("{")
        with pytest.raises(LeaseLost):
            clear_leftovers(lease, layout.leftovers(path.with_name("curve.jsonl")))
        assert writing.exists()


def test_leases_work_without_hard_links(path, monkeypatch):
    def no_links(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", no_links)
    with Leases() as leases:
        lease = leases.take(path)
        lease.beat()
        lease.check()
        with pytest.raises(LeasedElsewhere):
            Leases().take(path)
    assert list(path.parent.iterdir()) == []


def test_waiting_names_the_holder_once_and_continues_when_it_is_free(path):
    foreign(path, **of_this_machine())
    threading.Timer(0.3, path.unlink).start()
    holders: list[LeaseHolder] = []
    with Leases() as leases:
        wait_for(path, leases, holders.append).check()
    assert len(holders) == 1


@pytest.mark.parametrize("name", ["SLAW_STALE_SECONDS", "SLAW_HUNG_SECONDS"])
@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan", "1e400"])
def test_invalid_time_limits_are_refused_by_name(monkeypatch, name, text):
    monkeypatch.setenv(name, text)
    with pytest.raises(ConfigError, match=f"{name}={text}: expected seconds"):
        {"SLAW_STALE_SECONDS": module.stale_seconds, "SLAW_HUNG_SECONDS": module.hung_seconds}[
            name
        ]()


def test_a_tag_in_a_file_name_shows_whether_its_process_lives(path):
    mine = this_process()
    assert not tag_is_dead(mine.tag)
    assert tag_is_dead(dataclasses.replace(mine, pid=2**22 - 3).tag)
    assert not tag_is_dead(dataclasses.replace(mine, host="elsewhere/1", pid=2**22 - 3).tag)
    assert not tag_is_dead("anything")


def without_proc(monkeypatch):
    """Hide /proc, as on macOS, but not from what is cached of the machine for later tests."""
    this_process()
    monkeypatch.setattr(process_module, "_text", lambda path: "")


def test_without_proc_a_reused_pid_is_not_the_process_that_had_it(monkeypatch):
    without_proc(monkeypatch)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    me = this_process()
    theirs = dataclasses.replace(me, pid=child.pid, started=process_module._started(child.pid))
    later = dataclasses.replace(theirs, started=repr(float(theirs.started) + 60))
    assert me.is_surely_alive() and theirs.is_surely_alive() and not tag_is_dead(theirs.tag)
    assert later.is_surely_dead() and tag_is_dead(later.tag)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert theirs.is_surely_dead(), "a zombie"
    child.communicate()
    assert theirs.is_surely_dead()


def test_a_process_that_may_not_be_asked_about_counts_as_alive(monkeypatch):
    def refuse(pid):
        raise psutil.AccessDenied(pid)

    without_proc(monkeypatch)
    monkeypatch.setattr(psutil, "Process", refuse)
    assert this_process().is_surely_alive()


@pytest.mark.parametrize("content", ["", "{", "x" * 50])
def test_an_old_file_that_is_not_a_lease_is_stale(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    assert module.who_has([path]), "it may be one that is being written"
    assert LeaseWatch().holder(path) is not None
    old = time.time() - module.stale_seconds() - 1
    os.utime(path, (old, old))
    assert module.who_has([path]) == []
    assert LeaseWatch(removes=False).holder(path) is None
    assert path.exists(), "only looked at"
    with Leases() as leases:
        lease = leases.take(path)
        lease.check()


def test_a_watch_without_removal_still_sees_a_lease_go_stale(path):
    with Leases():
        path.parent.mkdir(parents=True, exist_ok=True)
        elsewhere = dataclasses.replace(this_process(), host="other/1")
        head = {"token": "t", "process": dataclasses.asdict(elsewhere)}
        path.write_text(json.dumps(head) + "\n000000000001\n")
    now = [0.0]
    watch = LeaseWatch(silent_seconds=10, look_seconds=0, clock=lambda: now[0], removes=False)
    looks = []
    for _ in range(8):
        looks.append(watch.holder(path) is not None)
        now[0] += 2.0
    assert (looks[0], looks[-1]) == (True, False)
    assert path.exists()


def test_a_lease_in_a_removed_folder_makes_no_folder(tmp_path):
    gone = tmp_path / "moved" / "run" / "claim"
    with Leases() as leases, pytest.raises(FileNotFoundError):
        leases.take(gone, new_folder=False)
    assert not (tmp_path / "moved").exists()
