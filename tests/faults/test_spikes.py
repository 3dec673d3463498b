"""Loss spikes and non-finite losses: rolled back with other batches, to the same bits."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest

from scaling_law.data.prepare import prepare
from scaling_law.data.text import TextDataset, open_dataset
from scaling_law.files.layout import RunDir
from scaling_law.files.record import RunRecord, read_curve
from scaling_law.fit.points.points import points_from_records
from scaling_law.spec.data import DataSpec
from scaling_law.spec.from_json import run_spec_from_json
from scaling_law.spec.resources import Resources
from scaling_law.spec.run import RunSpec, SpikeSpec
from scaling_law.spec.schedule import ScheduleSpec
from scaling_law.spec.start import Branch
from scaling_law.spec.to_json import to_json
from scaling_law.train import loop, stack_loop
from scaling_law.train.begin import Job
from scaling_law.train.loop import train_run
from scaling_law.train.spikes import SpikeDetector
from scaling_law.train.stack_loop import train_stack
from scaling_law.train.state import State
from tests.fakes import tiny_spec
from tests.faults.world import without_clock, write_text

SPIKES = SpikeSpec(sigmas=6.0, above_frac=0.5, window_steps=8, every_steps=5, most_rollbacks=3)
TRUNK = ScheduleSpec(warmup_steps=4, decay_steps=None)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> TextDataset:
    text = write_text(tmp_path_factory.mktemp("text"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLAW_CACHE", str(tmp_path_factory.mktemp("cache")))
        spec = DataSpec(corpus=str(text), tokenizer="bytes", vocab_size=257, val_fraction=0.2)
        return open_dataset(prepare(spec))


class Bad:
    """Batches with a wrong loss, by step; replacement batches are good."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.factors: dict[tuple[int, int], float] = {}  # by seed and step
        self.always: set[int] = set()  # steps that are bad with any batch
        alone, together = loop._accumulate_gradients, stack_loop._gradients
        monkeypatch.setattr(
            loop, "_accumulate_gradients", lambda j, s: self.times(j, s) * alone(j, s)
        )
        monkeypatch.setattr(
            stack_loop,
            "_gradients",
            lambda a, s: [self.times(*m) * x for m, x in zip(a, together(a, s), strict=True)],
        )

    def times(self, job: Job, state: State) -> float:
        factor = self.factors.get((job.spec.seed, state.step), 1.0)
        spare = state.guard is not None and state.guard.spare_of(state.step) is not None
        return 1.0 if spare and state.step not in self.always else factor


@pytest.fixture
def bad(monkeypatch):
    return Bad(monkeypatch)


def spec_of(**changes) -> RunSpec:
    return tiny_spec(**{"spikes": SPIKES, **changes})


def job_of(dataset, folder: Path, spec: RunSpec, **changes) -> Job:
    run_dir = RunDir(folder / spec.run_id)
    run_dir.path.mkdir(parents=True, exist_ok=True)
    return Job(
        spec=spec,
        resources=changes.pop("resources", Resources()),
        run_dir=run_dir,
        dataset=dataset,
        **changes,
    )


def train(dataset, folder: Path, spec: RunSpec, **changes) -> RunRecord:
    record = train_run(job_of(dataset, folder, spec, **changes))
    assert record is not None
    return record


def test_spikes_are_off_by_default_and_do_not_change_the_run_id():
    assert "spikes" not in to_json(tiny_spec())
    assert spec_of().run_id != tiny_spec().run_id
    assert run_spec_from_json(to_json(spec_of())) == spec_of()


def test_watching_changes_no_bit_without_a_spike(dataset, tmp_path):
    watched, plain = (train(dataset, tmp_path, s) for s in (spec_of(), tiny_spec()))
    assert watched.curve_sha256 == plain.curve_sha256
    assert watched.val_loss_nats == plain.val_loss_nats
    assert watched.metrics == {}


@pytest.mark.parametrize("factor", [9.0, math.nan, math.inf])
def test_a_spike_is_rolled_back_and_its_batch_replaced(dataset, tmp_path, bad, factor):
    bad.factors[0, 23] = factor
    record = train(dataset, tmp_path, spec_of())
    assert record.status == "done"
    assert record.message == "loss spikes: other batches at steps 23"
    assert record.metrics == {"batches_skipped": 1.0, "rollbacks": 1.0, "steps_repeated": 8.0}
    assert record.tokens == 40 * 32
    curve = read_curve(RunDir(tmp_path / record.run_id), record)
    assert [p.step for p in curve] == list(loop.evaluation_steps(record.spec))
    assert "1 of 1 runs took other batches" in points_from_records([record]).notes[-1]
    unwatched = train(dataset, tmp_path, tiny_spec())
    if not math.isfinite(factor):
        assert unwatched.status == "diverged", "without spikes it ends there, as ever"


def test_a_persistent_spike_replaces_earlier_batches_and_then_ends_the_run(dataset, tmp_path, bad):
    bad.factors[0, 23] = 9.0
    bad.always.add(23)
    record = train(dataset, tmp_path, spec_of())
    assert record.status == "diverged"
    assert "at step 23" in record.message
    assert record.message.endswith("loss spikes: other batches at steps 21, 22, 23")
    assert record.metrics["rollbacks"] == 3


@pytest.mark.parametrize("stop_at", [16, 22, 24, 28])
def test_a_run_killed_around_a_spike_ends_with_the_same_bits(dataset, tmp_path, bad, stop_at):
    bad.factors[0, 23] = 9.0
    expected = train(dataset, tmp_path / "whole", spec_of())
    asked = iter(range(1, 1000))
    stopped = job_of(
        dataset, tmp_path / "hurt", spec_of(), should_stop=lambda: next(asked) == stop_at
    )
    assert train_run(stopped) is None
    record = train(dataset, tmp_path / "hurt", spec_of())
    assert without_clock(record) == without_clock(expected)


def test_a_crash_between_two_states_replays_the_spike(dataset, tmp_path, bad):
    bad.factors[0, 23] = 9.0
    expected = train(dataset, tmp_path / "whole", spec_of())
    often = Resources(checkpoint_every_steps=7)

    def die() -> bool:
        if any(p.step >= 28 for p in read_curve(crashed.run_dir)):
            raise KeyboardInterrupt
        return False

    crashed = job_of(dataset, tmp_path / "hurt", spec_of(), resources=often, should_stop=die)
    with pytest.raises(KeyboardInterrupt):
        train_run(crashed)
    record = train(dataset, tmp_path / "hurt", spec_of(), resources=often)
    assert without_clock(record) == without_clock(expected)


def test_stacked_runs_roll_back_independently(dataset, tmp_path, bad):
    bad.factors[1, 23] = 9.0
    bad.factors[2, 23] = 9.0
    bad.factors[2, 31] = math.nan

    def stacked(folder: Path, seeds: list[int], stop_at: int = 0) -> dict[int, RunRecord | None]:
        asked = iter(range(1, 10_000))
        jobs = [
            job_of(
                dataset,
                folder,
                spec_of(seed=seed, label=f"seed{seed}"),
                resources=Resources(stack="s"),
                should_stop=lambda: next(asked) == stop_at,
            )
            for seed in seeds
        ]
        records: dict[int, RunRecord | None] = {}
        train_stack(jobs, lambda job, record: records.update({job.spec.seed: record}))
        return records

    together = stacked(tmp_path / "all", [0, 1, 2])
    alone = {seed: stacked(tmp_path / "alone", [seed])[seed] for seed in (0, 1, 2)}
    stacked(tmp_path / "hurt", [0, 1, 2], stop_at=70)
    again = stacked(tmp_path / "hurt", [0, 1, 2])
    for seed, rollbacks in ((0, None), (1, 1.0), (2, 2.0)):
        record, lone, resumed = together[seed], alone[seed], again[seed]
        assert record is not None and lone is not None and resumed is not None
        assert record.metrics.get("rollbacks") == rollbacks
        assert without_clock(record) == without_clock(lone) == without_clock(resumed)


def test_a_branch_inherits_replaced_batches_and_never_rolls_back_past_its_start(
    dataset, tmp_path, bad
):
    bad.factors[0, 23] = 9.0
    bad.factors[0, 33] = 9.0
    trunk = spec_of(schedule=TRUNK, total_steps=36, label="trunk")
    parent = job_of(dataset, tmp_path, trunk, resources=Resources(save_steps=(32,)))
    ended = train_run(parent)
    assert ended is not None
    assert ended.metrics == {"batches_skipped": 2.0, "rollbacks": 2.0, "steps_repeated": 9.0}
    spec = spec_of(branch=Branch(trunk_id=trunk.run_id, at_step=32))
    branch = train(dataset, tmp_path, spec, trunk=parent.run_dir)
    # step 33 is the branch's own: it starts from the state at 32
    assert branch.metrics == {"batches_skipped": 2.0, "rollbacks": 1.0, "steps_repeated": 1.0}
    assert branch.message == "loss spikes: other batches at steps 23, 33"


def test_a_spike_needs_a_full_window_and_exceeds_both_margins():
    guard = SpikeDetector(dataclasses.replace(SPIKES, above_frac=0.1, window_steps=4))
    for loss in (2.0, 2.2, 1.8):
        guard.losses.append(loss)
    assert guard.why_spike(3, 99.0) == ""
    guard.losses.append(2.0)
    assert guard.why_spike(4, 2.5) == ""  # 10% above, but within six deviations of .14
    assert guard.why_spike(4, 3.0) == "training loss rose from 2 to 3 at step 4"
    guard.losses.extend([2.0, 2.0, 2.0, 2.0])
    assert guard.why_spike(8, 2.21) != ""
    assert guard.why_spike(8, 2.19) == ""  # no deviation at all, but not 10% above


def test_replacement_batches_come_from_the_end_of_the_epoch_backwards():
    guard = SpikeDetector(SPIKES)
    guard.replaced = [23, 40, 23]
    assert [guard.spare_of(step) for step in (22, 23, 40)] == [None, 2, 1]
