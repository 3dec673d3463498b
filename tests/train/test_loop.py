"""Runs on a tiny corpus: branches equal straight runs, resumed runs equal undisturbed ones."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch

from scaling_law.errors import RunFailed
from scaling_law.files.layout import RunDir
from scaling_law.files.record import CurvePoint, RunRecord, read_curve
from scaling_law.spec.optim import OptimSpec
from scaling_law.spec.parallel import Parallel
from scaling_law.spec.resources import Resources
from scaling_law.spec.run import RunSpec
from scaling_law.spec.schedule import ScheduleSpec
from scaling_law.spec.start import Branch
from scaling_law.train import checkpoint, loop, stack_loop
from scaling_law.train.architectures._gpt_stack import StackedGPT
from scaling_law.train.begin import Job, begin
from scaling_law.train.loop import evaluation_steps, train_run
from scaling_law.train.stack_loop import train_stack
from scaling_law.train.static_step import StaticStep
from scaling_law.train.tensors import Tensors
from tests.fakes import tiny_spec

# two trainings of one run may differ only in rounding and in times
CHANGING = (
    *("val_loss_nats", "val_loss_sem_nats", "val_bits_per_byte", "curve_sha256"),
    *("run_id", "spec", "seconds", "tokens_per_second", "peak_memory_bytes", "finished_at"),
)
TRUNK = ScheduleSpec(warmup_steps=4, decay_steps=None)


def job(dataset, folder, spec: RunSpec, **changes) -> Job:
    run_dir = RunDir(folder / spec.run_id)
    run_dir.path.mkdir(parents=True, exist_ok=True)
    resources = changes.pop("resources", Resources())
    return Job(spec=spec, resources=resources, run_dir=run_dir, dataset=dataset, **changes)


def losses(points: list[CurvePoint]) -> list[tuple[int, float, float | None]]:
    return [(p.step, p.train_loss_nats, p.val_loss_nats) for p in points]


def test_trunk_and_branch_equal_the_straight_run_loss_for_loss(dataset, tmp_path, monkeypatch):
    taken: list[tuple[int, float]] = []
    original = loop.accumulate_gradients

    def noting(job, state):
        loss = original(job, state)
        taken.append((state.step, loss))
        return loss

    monkeypatch.setattr(loop, "accumulate_gradients", noting)
    straight = tiny_spec()
    whole = train_run(job(dataset, tmp_path, straight))
    straight_losses, taken[:] = list(taken), []
    trunk = tiny_spec(schedule=TRUNK, total_steps=50, label="trunk")
    start = 40 - 8
    parent = job(dataset, tmp_path, trunk, resources=Resources(save_steps=(start,)))
    train_run(parent)
    trunk_losses, taken[:] = list(taken), []
    branch = tiny_spec(branch=Branch(trunk_id=trunk.run_id, at_step=start))
    cooled = train_run(job(dataset, tmp_path, branch, trunk=parent.run_dir))
    assert [*trunk_losses[:start], *taken] == straight_losses
    assert whole is not None
    assert cooled is not None
    assert cooled.val_loss_nats == whole.val_loss_nats
    assert (whole.kind, cooled.kind, cooled.cluster) == ("single", "branch", trunk.run_id)
    assert cooled.flops_exact == whole.flops_exact
    assert cooled.flops_spent == pytest.approx(whole.flops_spent * 8 / 40)


@pytest.mark.parametrize("stop_at", [3, 17, 39])
def test_a_stopped_run_resumes_to_the_same_bits(dataset, tmp_path, stop_at):
    spec = tiny_spec()
    undisturbed = job(dataset, tmp_path / "a", spec)
    expected = train_run(undisturbed)
    asked = 0

    def stop_once() -> bool:
        nonlocal asked
        asked += 1
        return asked == stop_at

    broken = job(dataset, tmp_path / "b", spec, should_stop=stop_once)
    assert train_run(broken) is None
    assert checkpoint.checkpoint_steps(broken.run_dir) == [stop_at]
    result = train_run(job(dataset, tmp_path / "b", spec))
    assert result is not None
    assert expected is not None
    assert result.val_loss_nats == expected.val_loss_nats
    assert losses(read_curve(broken.run_dir)) == losses(read_curve(undisturbed.run_dir))


@pytest.mark.parametrize("written", [False, True], ids=["in its midst", "after its curve point"])
@pytest.mark.parametrize("stacked", [False, True])
def test_a_run_interrupted_in_its_final_evaluation_ends_with_the_same_record(
    dataset, tmp_path, monkeypatch, written, stacked
):
    spec = tiny_spec(schedule=TRUNK)
    undisturbed = job(dataset, tmp_path / "a", spec)
    broken = job(dataset, tmp_path / "b", spec, resources=Resources(save_steps=(40,)))

    def train(one: Job) -> RunRecord | None:
        ended: list[RunRecord | None] = []
        if not stacked:
            return train_run(one)
        train_stack([one], lambda _, record: ended.append(record))
        return ended[0]

    expected = train(undisturbed)
    if written:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(loop, "describe", lambda **_: (_ for _ in ()).throw(KeyboardInterrupt))
            train(broken)
    else:
        broken.should_stop = lambda: broken.run_dir.checkpoint(40).exists()
        assert train(broken) is None
    result = train(job(dataset, tmp_path / "b", spec))
    assert expected is not None and result is not None
    assert result.val_loss_nats == expected.val_loss_nats
    curves = [read_curve(one.run_dir) for one in (broken, undisturbed)]
    points = [[dataclasses.replace(p, seconds=0.0) for p in curve] for curve in curves]
    assert points[0] == points[1]


def test_a_crash_between_checkpoints_neither_loses_nor_repeats_curve_points(dataset, tmp_path):
    spec = tiny_spec()
    undisturbed = job(dataset, tmp_path / "a", spec)
    train_run(undisturbed)
    resources = Resources(save_steps=(12,))

    def die() -> bool:
        if len(read_curve(crashed.run_dir)) == 6:  # some way past step 12's checkpoint
            raise KeyboardInterrupt
        return False

    crashed = job(dataset, tmp_path / "b", spec, resources=resources, should_stop=die)
    with pytest.raises(KeyboardInterrupt):
        train_run(crashed)
    assert read_curve(crashed.run_dir)[-1].step > 12
    train_run(job(dataset, tmp_path / "b", spec, resources=resources))
    assert losses(read_curve(crashed.run_dir)) == losses(read_curve(undisturbed.run_dir))


def test_the_loss_falls_and_the_record_counts_what_was_done(dataset, tmp_path):
    spec = tiny_spec(total_steps=150, batch_tokens=128)
    this = job(dataset, tmp_path, spec)
    record = train_run(this)
    assert record is not None
    assert record.val_loss_nats is not None
    assert record.val_loss_sem_nats is not None
    assert record.val_bits_per_byte is not None
    assert record.val_loss_nats < math.log(257) - 1.5
    assert 0 < record.val_loss_sem_nats < 0.2
    # bytes: a token is a byte, but for the few separators
    assert record.val_bits_per_byte == pytest.approx(record.val_loss_nats / math.log(2), rel=0.02)
    assert record.tokens == 150 * 128
    assert record.flops_6nd == 6 * record.params_total * record.tokens
    curve = read_curve(this.run_dir)
    assert tuple(p.step for p in curve) == evaluation_steps(spec)
    assert curve[-1].val_loss_nats == record.val_loss_nats


@pytest.mark.parametrize("micro", [1, 3, 7])
def test_accumulated_gradients_equal_the_whole_batch(dataset, tmp_path, micro):
    spec = tiny_spec(batch_tokens=16 * 8)
    whole = train_run(job(dataset, tmp_path / "w", spec))
    parts = train_run(job(dataset, tmp_path / "p", spec, resources=Resources(micro_seqs=micro)))
    assert whole is not None
    assert parts is not None
    assert parts.micro_seqs == micro
    assert parts.val_loss_nats == pytest.approx(whole.val_loss_nats, abs=2e-4)


def test_out_of_memory_halves_the_micro_batch_and_training_continues(
    dataset, tmp_path, monkeypatch
):
    original = loop._micro_batches

    def short_of_memory(job, state, ids):
        if state.micro_seqs > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(job, state, ids)

    monkeypatch.setattr(loop, "_micro_batches", short_of_memory)
    messages: list[str] = []
    this = job(dataset, tmp_path, tiny_spec(batch_tokens=16 * 8), log=messages.append)
    record = train_run(this)
    assert record is not None
    assert record.micro_seqs == 2
    assert messages == [f"out of memory: micro-batch halved to {n} sequences" for n in (4, 2)]
    monkeypatch.setattr(
        loop, "_micro_batches", lambda *a: (_ for _ in ()).throw(torch.OutOfMemoryError("no"))
    )
    with pytest.raises(RunFailed, match="out of memory at one sequence"):
        train_run(job(dataset, tmp_path / "again", tiny_spec()))


def test_other_runtime_errors_are_not_taken_for_memory(dataset, tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(loop, "_micro_batches", broken)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        train_run(job(dataset, tmp_path, tiny_spec()))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_non_finite_loss_ends_the_run_before_the_update(dataset, tmp_path, monkeypatch, bad):
    original = loop.accumulate_gradients
    seen = {}

    def poisoned(job, state):
        loss = original(job, state)
        if state.step == 20:
            seen["weights"] = state.model.head.weight.detach().clone()
            seen["model"] = state.model
            return bad
        return loss

    monkeypatch.setattr(loop, "accumulate_gradients", poisoned)
    this = job(dataset, tmp_path, tiny_spec())
    record = train_run(this)
    assert record is not None
    assert record.status == "diverged"
    assert "step 20" in record.message
    assert record.val_loss_nats is None
    assert record.tokens == 20 * 32
    assert torch.equal(seen["weights"], seen["model"].head.weight)
    assert read_curve(this.run_dir)[-1].step <= 20


def test_a_non_finite_gradient_ends_the_run_too(dataset, tmp_path, monkeypatch):
    original = loop.accumulate_gradients

    def poisoned(job, state):
        loss = original(job, state)
        if state.step == 5:
            state.model.head.weight.grad[0, 0] = math.nan
        return loss

    monkeypatch.setattr(loop, "accumulate_gradients", poisoned)
    record = train_run(job(dataset, tmp_path, tiny_spec()))
    assert record is not None
    assert record.status == "diverged"
    assert "gradient norm is nan at step 5" in record.message


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_trains_to_nearly_the_same_loss(dataset, tmp_path, precision):
    spec = tiny_spec(total_steps=80, batch_tokens=64)
    full = train_run(job(dataset, tmp_path, spec))
    half = train_run(job(dataset, tmp_path, dataclasses.replace(spec, precision=precision)))
    assert full is not None
    assert half is not None
    assert half.status == "done"
    assert half.val_loss_nats == pytest.approx(full.val_loss_nats, abs=0.1)
    assert half.val_loss_nats != full.val_loss_nats


def test_a_state_of_another_corpus_is_refused(dataset, tmp_path):
    asked = iter([False, True])
    spec = tiny_spec()
    assert train_run(job(dataset, tmp_path, spec, should_stop=lambda: next(asked))) is None
    path = job(dataset, tmp_path, spec).run_dir.checkpoint(2)
    state = checkpoint.load_checkpoint(path)
    sample = Path(__file__).parents[1] / "samples" / "checkpoint-2.pt"
    known = {*checkpoint.load_checkpoint(sample), "run_id"}
    assert set(state) == known, "a new version of checkpoints"
    checkpoint.save_checkpoint(RunDir(path.parents[1]), 2, {**state, "corpus_fingerprint": "x"})
    with pytest.raises(RunFailed, match="trained on corpus x"):
        train_run(job(dataset, tmp_path, spec))


def test_a_branch_without_its_trunk_s_state_says_so(dataset, tmp_path):
    trunk = tiny_spec(schedule=TRUNK, label="trunk")
    branch = tiny_spec(branch=Branch(trunk_id=trunk.run_id, at_step=32))
    parent = job(dataset, tmp_path, trunk).run_dir
    with pytest.raises(RunFailed, match="trunk's state cannot be read"):
        train_run(job(dataset, tmp_path, branch, trunk=parent))


def test_seeds_change_init_and_order_and_weight_decay_reaches_the_loss(dataset, tmp_path):
    results = set()
    for spec in (
        tiny_spec(),
        tiny_spec(seed=1),
        tiny_spec(optim=OptimSpec(lr=0.01, rule="test", weight_decay=1.0)),
        tiny_spec(optim=OptimSpec(lr=0.01, rule="test", grad_clip=None)),
    ):
        record = train_run(job(dataset, tmp_path, spec))
        assert record is not None
        results.add(record.val_loss_nats)
    assert len(results) == 4


def seeds_of(dataset, folder, seeds, **changes) -> list[Job]:
    resources = changes.pop("resources", Resources(stack="s"))
    specs = [tiny_spec(seed=seed, label=f"seed{seed}") for seed in seeds]
    return [job(dataset, folder, spec, resources=resources, **changes) for spec in specs]


def stacked(jobs: list[Job]) -> dict[int, RunRecord | None]:
    records: dict[int, RunRecord | None] = {}
    train_stack(jobs, lambda job, record: records.update({job.spec.seed: record}))
    return records


def test_stacked_runs_are_those_trained_alone_within_rounding(dataset, tmp_path):
    together = stacked(seeds_of(dataset, tmp_path / "s", [0, 1, 2]))
    for this in seeds_of(dataset, tmp_path / "a", [0, 1, 2]):
        alone, record = train_run(this), together[this.spec.seed]
        assert alone is not None
        assert record is not None
        assert record.val_loss_nats == pytest.approx(alone.val_loss_nats, abs=2e-4)
        ours = dataclasses.replace(alone, **{k: getattr(record, k) for k in CHANGING})
        assert ours == record
        curve = read_curve(RunDir(tmp_path / "s" / record.run_id))
        assert [p.step for p in curve] == [p.step for p in read_curve(this.run_dir)]


def test_a_stopped_stack_member_resumes_in_another_stack_to_the_same_bits(dataset, tmp_path):
    expected = stacked(seeds_of(dataset, tmp_path / "a", [0, 1, 2]))
    asked = 0

    def stop_from_13() -> bool:
        nonlocal asked
        asked += 1
        return asked > 3 * 12

    stopped = stacked(seeds_of(dataset, tmp_path / "b", [0, 1, 2], should_stop=stop_from_13))
    assert stopped == dict.fromkeys((0, 1, 2))
    # one continues alone, the others start after it has ended
    one = stacked(seeds_of(dataset, tmp_path / "b", [1]))
    rest = stacked(seeds_of(dataset, tmp_path / "b", [2, 0]))
    for seed, record in {**one, **rest}.items():
        whole = expected[seed]
        assert record is not None
        assert whole is not None
        assert record.val_loss_nats == whole.val_loss_nats
        folders = (RunDir(tmp_path / name / record.run_id) for name in "ab")
        assert losses(read_curve(next(folders))) == losses(read_curve(next(folders)))


def test_a_diverging_stack_member_leaves_the_others_unchanged(dataset, tmp_path, monkeypatch):
    expected = stacked(seeds_of(dataset, tmp_path / "a", [0, 2]))
    original = stack_loop._gradients

    def break_seed_1(active, stack):
        step_losses = original(active, stack)
        for index, (job, state) in enumerate(active):
            if job.spec.seed == 1 and state.step == 9:
                next(iter(stack.weights.values())).grad[index] = math.nan
        return step_losses

    monkeypatch.setattr(stack_loop, "_gradients", break_seed_1)
    records = stacked(seeds_of(dataset, tmp_path / "b", [0, 1, 2]))
    broken = records[1]
    assert broken is not None
    assert (broken.status, broken.message) == ("diverged", "gradient norm is nan at step 9")
    assert broken.tokens == 9 * 32
    for seed in (0, 2):
        ours, theirs = records[seed], expected[seed]
        assert ours is not None
        assert theirs is not None
        assert ours.val_loss_nats == theirs.val_loss_nats


def test_the_static_program_takes_the_same_steps_bit_for_bit(dataset, tmp_path, monkeypatch):
    expected = stacked(seeds_of(dataset, tmp_path / "a", [0, 1, 2]))
    monkeypatch.setattr(stack_loop, "records_steps", lambda active: True)
    taken: list[int] = []
    original = StaticStep.take

    def counting(self, inputs, targets):
        taken.append(len(inputs))
        return original(self, inputs, targets)

    monkeypatch.setattr(StaticStep, "take", counting)
    asked = 0

    def stop_from_13() -> bool:
        nonlocal asked
        asked += 1
        return asked > 3 * 12

    stacked(seeds_of(dataset, tmp_path / "b", [0, 1, 2], should_stop=stop_from_13))
    assert taken == [3] * 13
    for seed, record in stacked(seeds_of(dataset, tmp_path / "b", [0, 1, 2])).items():
        whole = expected[seed]
        assert record is not None
        assert whole is not None
        assert record.val_loss_nats == whole.val_loss_nats
        folders = (RunDir(tmp_path / name / record.run_id) for name in "ab")
        assert losses(read_curve(next(folders))) == losses(read_curve(next(folders)))
    assert taken == [3] * 40


def test_a_static_program_without_memory_falls_back_to_ordinary_steps(
    dataset, tmp_path, monkeypatch
):
    expected = stacked(seeds_of(dataset, tmp_path / "a", [0, 1]))
    monkeypatch.setattr(stack_loop, "records_steps", lambda active: True)

    def no_room(self, inputs, targets):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(StaticStep, "take", no_room)
    said: list[str] = []
    records = stacked(seeds_of(dataset, tmp_path / "b", [0, 1], log=said.append))
    assert sum("no longer recorded" in line for line in said) == 1
    for seed in (0, 1):
        ours, theirs = records[seed], expected[seed]
        assert ours is not None
        assert theirs is not None
        assert ours.val_loss_nats == theirs.val_loss_nats


def test_out_of_memory_halves_the_micro_batch_of_the_whole_stack(dataset, tmp_path, monkeypatch):
    original, tried = StackedGPT.losses, []

    def tight(self, tokens, targets):
        tried.append(tokens.shape[1])
        if tokens.shape[1] > 1:
            raise torch.OutOfMemoryError("out of memory")
        return original(self, tokens, targets)

    monkeypatch.setattr(StackedGPT, "losses", tight)
    records = stacked(seeds_of(dataset, tmp_path, [0, 1]))
    assert tried[:2] == [2, 1]
    assert [record and record.micro_seqs for record in records.values()] == [1, 1]


def test_a_stack_members_checkpoint_is_as_large_as_a_lone_runs(dataset, tmp_path):
    sizes = []
    for name, seeds in (("one", [0]), ("four", [0, 1, 2, 3])):
        jobs = seeds_of(dataset, tmp_path / name, seeds, resources=Resources(stack="s"))
        jobs = [dataclasses.replace(j, should_stop=lambda: True) for j in jobs]
        stacked(jobs)
        folder = jobs[0].run_dir
        sizes.append(folder.checkpoint(checkpoint.checkpoint_steps(folder)[0]).stat().st_size)
    assert sizes[0] == sizes[1]


def test_final_weights_are_saved_on_request_and_give_the_recorded_loss(dataset, tmp_path):
    resources = Resources(keep_weights=True)
    this = job(dataset, tmp_path, tiny_spec(), resources=resources)
    record = train_run(this)
    assert record is not None
    kept = checkpoint.load_checkpoint(this.run_dir.weights)
    assert kept["tokenizer"] == dataset.tokenizer.to_json()
    state = begin(this)
    state.model.load_state_dict(kept["model"])
    measured = loop.measure(this, state, final=True)
    assert measured is not None
    assert measured.val.loss_nats == record.val_loss_nats
    other = job(dataset, tmp_path / "off", tiny_spec())
    train_run(other)
    assert not other.run_dir.weights.exists()
    (stacks,) = seeds_of(
        dataset, tmp_path / "s", [0], resources=Resources(stack="s", keep_weights=True)
    )
    stacked([stacks])
    size = this.run_dir.weights.stat().st_size
    assert stacks.run_dir.weights.stat().st_size == pytest.approx(size, rel=0.02)


def test_a_state_of_other_devices_is_taken_up_only_where_that_is_allowed(dataset, tmp_path):
    spec, asked = tiny_spec(), 0

    def stop_once() -> bool:
        nonlocal asked
        asked += 1
        return asked == 5

    broken = job(dataset, tmp_path, spec, should_stop=stop_once)
    assert train_run(broken) is None
    state = checkpoint.load_checkpoint(broken.run_dir.checkpoint(5))
    checkpoint.save_checkpoint(broken.run_dir, 5, {**state, "devices": 2})
    with pytest.raises(RunFailed, match=r"trains on 1 now.*set parallel.resume_on: 1 to resume"):
        train_run(job(dataset, tmp_path, spec))
    allowed = Resources(resume_on=Parallel(kind="ddp", devices=1))
    record = train_run(job(dataset, tmp_path, spec, resources=allowed))
    assert record is not None
    assert record.message == (
        "from step 5 on 1 device instead of 2: its bits are not those of an undisturbed run"
    )


def test_the_parts_of_a_batch_weigh_as_much_as_the_whole():
    ids, weights = torch.arange(12).view(6, 2), torch.zeros(6, 2)
    weights[0], weights[5] = 1.0, 3.0
    whole = Tensors(inputs=ids, targets=ids, weights=weights)
    halves = [whole.of_rank(rank, 2) for rank in (0, 1)]
    assert [half.share for half in halves] == [0.25, 0.75]
    parts = [part for half in halves for part in half.split(1, all_parts=True)]
    assert [part.share for part in parts] == [0.25, 0, 0, 0, 0, 0.75]
    assert [part.weights is None for part in parts] == [False, True, True, True, True, False]
    assert [part.share for part in whole.split(1)] == [0.25, 0.75]
