"""States written in the background: copied when handed over, on the disk before the record."""

from __future__ import annotations

import errno
import threading
import time
from typing import Any

import pytest
import torch

from scaling_law.errors import RunFailed
from scaling_law.files.layout import RunDir
from scaling_law.files.record import read_curve
from scaling_law.spec.resources import Resources
from scaling_law.spec.run import RunSpec
from scaling_law.spec.schedule import ScheduleSpec
from scaling_law.train import begin, checkpoint, loop, writer
from scaling_law.train.begin import Job
from scaling_law.train.loop import train_run
from scaling_law.train.provenance import describe
from scaling_law.train.stack_loop import train_stack
from scaling_law.train.writer import Writer, on_host, with_tensors
from tests.fakes import tiny_spec

TRUNK = ScheduleSpec(warmup_steps=4, decay_steps=None)
OFTEN = Resources(checkpoint_every_steps=5, save_steps=(12, 32))


@pytest.fixture()
def beside(monkeypatch):
    monkeypatch.setattr(begin, "writes_beside", lambda kind: True)


def job(dataset, folder, spec: RunSpec, **changes) -> Job:
    run_dir = RunDir(folder / spec.run_id)
    run_dir.path.mkdir(parents=True, exist_ok=True)
    resources = changes.pop("resources", OFTEN)
    return Job(spec=spec, resources=resources, run_dir=run_dir, dataset=dataset, **changes)


def same(one: object, other: object) -> bool:
    """Whether plain values and tensors are equal, except for times."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        clock = {"seconds"}
        return one.keys() == other.keys() and all(
            same(one[key], other[key]) for key in one if key not in clock
        )
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def test_states_written_in_the_background_equal_those_written_in_place(
    dataset, tmp_path, monkeypatch
):
    spec = tiny_spec(schedule=TRUNK)
    written_states: list[tuple[list[int], object, object]] = []
    for way in (False, True):
        monkeypatch.setattr(begin, "writes_beside", lambda kind, way=way: way)
        this = job(dataset, tmp_path / str(way), spec)
        record = train_run(this)
        assert record is not None
        steps = checkpoint.checkpoint_steps(this.run_dir)
        states = [checkpoint.load_checkpoint(this.run_dir.checkpoint(step)) for step in steps]
        written_states.append((steps, states, record.val_loss_nats))
    assert written_states[0][0] == [35, 32, 30, 12]
    assert same(*written_states)


def test_stacked_members_states_written_in_the_background_are_their_own(dataset, tmp_path, beside):
    jobs = [job(dataset, tmp_path, tiny_spec(seed=seed, schedule=TRUNK)) for seed in range(3)]
    train_stack(jobs, lambda job, record: None)
    model = checkpoint.load_checkpoint(jobs[1].run_dir.checkpoint(32))["model"]
    assert all(w.untyped_storage().nbytes() == w.numel() * 4 for w in model.values())
    own = Resources(save_steps=(32,), stack=jobs[0].spec.run_id)
    alone = job(dataset, tmp_path / "alone", jobs[1].spec, resources=own)
    train_stack([alone], lambda job, record: None)
    state = checkpoint.load_checkpoint(alone.run_dir.checkpoint(32))
    assert same(state["model"], model)


def test_a_state_handed_to_the_writer_no_longer_changes():
    weight = torch.zeros(3)
    may_write = threading.Event()
    written: list[torch.Tensor] = []

    def write(content):
        may_write.wait(30)
        written.append(content["deep"][0]["weight"].clone())

    states = Writer(beside=True)
    states.put({"deep": [{"weight": weight}]}, write)
    weight += 1
    states.check()
    assert not written
    may_write.set()
    states.settle()
    assert written[0].tolist() == [0, 0, 0]


def test_in_place_a_view_is_copied_and_a_whole_tensor_is_not():
    whole = torch.arange(6.0)
    written: list[dict[str, torch.Tensor]] = []
    Writer().put({"whole": whole, "view": whole[2:4]}, written.append)
    (content,) = written
    assert content["whole"] is whole
    assert content["view"].tolist() == [2, 3]
    assert content["view"].untyped_storage().nbytes() == 8


def test_a_run_ends_only_when_its_states_are_on_the_disk(dataset, tmp_path, beside, monkeypatch):
    this = job(dataset, tmp_path, tiny_spec(), resources=Resources(save_steps=(40,)))
    was_there = []

    def noting(**known):
        was_there.append(this.run_dir.checkpoint(40).is_file())
        return describe(**known)

    monkeypatch.setattr(loop, "describe", noting)
    assert train_run(this) is not None
    assert was_there == [True]


@pytest.mark.parametrize("stop_at", [3, 17, 39])
def test_a_stopped_run_has_its_state_on_the_disk_and_resumes_to_the_same_bits(
    dataset, tmp_path, beside, stop_at
):
    spec, asked = tiny_spec(), iter(range(1, 1000))
    undisturbed = job(dataset, tmp_path / "a", spec)
    expected = train_run(undisturbed)
    broken = job(dataset, tmp_path / "b", spec, should_stop=lambda: next(asked) == stop_at)
    assert train_run(broken) is None
    assert stop_at in checkpoint.checkpoint_steps(broken.run_dir)
    result = train_run(job(dataset, tmp_path / "b", spec))
    assert result is not None and expected is not None
    assert result.val_loss_nats == expected.val_loss_nats
    curves = [read_curve(each.run_dir) for each in (broken, undisturbed)]
    assert [p.val_loss_nats for p in curves[0]] == [p.val_loss_nats for p in curves[1]]


@pytest.mark.parametrize("last", [False, True], ids=["with steps to come", "at the end"])
def test_a_full_disk_stops_the_run_as_in_place_writing_does(
    dataset, tmp_path, beside, monkeypatch, last
):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_checkpoint", full)
    resources = Resources(save_steps=(40 if last else 5,))
    with pytest.raises(OSError, match="No space left"):
        train_run(job(dataset, tmp_path, tiny_spec(), resources=resources))


@pytest.mark.parametrize("stacked", [False, True])
def test_a_state_handed_to_the_writer_is_on_the_disk_when_the_run_fails(
    dataset, tmp_path, beside, monkeypatch, stacked
):
    def fail() -> bool:
        if asked := next(steps) == 6:
            raise RunFailed("something else")
        return asked

    steps, original = iter(range(1, 1000)), checkpoint.save_checkpoint

    def slow(*given):
        time.sleep(0.2)
        return original(*given)

    monkeypatch.setattr(checkpoint, "save_checkpoint", slow)
    resources = Resources(save_steps=(5,), stack="s" if stacked else None)
    this = job(dataset, tmp_path, tiny_spec(), resources=resources, should_stop=fail)
    with pytest.raises(RunFailed, match="something else"):
        if stacked:
            train_stack([this], lambda job, record: None)
        else:
            train_run(this)
    assert checkpoint.checkpoint_steps(this.run_dir) == [5]


def test_a_stop_right_after_a_save_writes_no_second_state(dataset, tmp_path, monkeypatch):
    written = []
    original = checkpoint.save_checkpoint

    def noting(run_dir, step, state):
        written.append(step)
        return original(run_dir, step, state)

    monkeypatch.setattr(checkpoint, "save_checkpoint", noting)
    asked = iter(range(1, 1000))
    this = job(dataset, tmp_path, tiny_spec(), should_stop=lambda: next(asked) == 5)
    assert train_run(this) is None
    assert written == [5]


def test_without_pinned_memory_plain_copies_are_used(monkeypatch):
    def refused(tensor):
        raise RuntimeError("cannot lock memory")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(writer, "_locked_copy", refused)
    tensor = torch.ones(3)
    copied = on_host([tensor])[0]
    assert copied.tolist() == [1, 1, 1]
    assert copied is not tensor


def test_values_that_are_not_tensors_are_unchanged():
    content: dict[str, Any] = {"a": (1, [torch.ones(2), "text"]), "b": None}
    doubled: Any = with_tensors(content, lambda tensor: 2 * tensor)
    assert doubled["a"][1][0].tolist() == [2, 2]
    assert (doubled["a"][0], doubled["a"][1][1], doubled["b"]) == (1, "text", None)
    assert isinstance(doubled["a"], tuple)
    assert on_host(content)["a"][1][0] is not content["a"][1][0]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_copy_of_gpu_tensors_lies_in_host_memory():
    tensor = torch.arange(1000.0, device="cuda")
    copied = on_host({"x": tensor[10:20]})["x"]
    tensor.zero_()
    assert copied.device.type == "cpu"
    assert copied.tolist() == list(range(10, 20))
