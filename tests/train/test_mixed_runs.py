"""Runs of a mixture: branches of one trunk, resumption, and what records say."""

from __future__ import annotations

import dataclasses

import pytest

from scaling_law.data.mixture import dataset_of
from scaling_law.data.prepare import prepare
from scaling_law.data.text import open_dataset
from scaling_law.files.layout import RunDir
from scaling_law.files.record import read_curve
from scaling_law.spec.data import DataSpec, SourceSpec
from scaling_law.spec.mix import COOLDOWN, Mix, Phase
from scaling_law.spec.resources import Resources
from scaling_law.spec.run import RunSpec
from scaling_law.spec.schedule import ScheduleSpec
from scaling_law.spec.start import Branch
from scaling_law.train.begin import Job
from scaling_law.train.loop import train_run
from tests.fakes import tiny_spec, write_text

FEW = Phase(shares=(("code", 0.2), ("web", 0.8)), until=COOLDOWN)
SWITCHED = Mix(phases=(FEW, Phase(shares=(("code", 1.0),))))


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    for name, words in (("code", 20), ("web", 80)):
        write_text(folder / name, words)
    sources = tuple(SourceSpec(name=n, corpus=str(folder / n)) for n in ("code", "web"))
    spec = DataSpec(
        corpus="code+web", sources=sources, tokenizer="bytes", vocab_size=257, val_fraction=0.2
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLAW_CACHE", str(tmp_path_factory.mktemp("cache")))
        return open_dataset(prepare(spec))


def job(text, folder, spec: RunSpec, **changes) -> Job:
    run_dir = RunDir(folder / spec.run_id)
    run_dir.path.mkdir(parents=True, exist_ok=True)
    resources = changes.pop("resources", Resources())
    dataset = dataset_of(spec, text)
    return Job(spec=spec, resources=resources, run_dir=run_dir, dataset=dataset, **changes)


def test_branches_with_other_cooldown_mixtures_equal_straight_runs(text, tmp_path):
    straight = tiny_spec(mix=SWITCHED)
    whole = train_run(job(text, tmp_path, straight))
    trunk = tiny_spec(
        label="trunk",
        mix=SWITCHED.of_trunk,
        schedule=ScheduleSpec(warmup_steps=4, decay_steps=None),
        total_steps=50,
    )
    parent = job(text, tmp_path, trunk, resources=Resources(save_steps=(32,)))
    train_run(parent)
    at = Branch(trunk_id=trunk.run_id, at_step=32)
    branches = [
        train_run(job(text, tmp_path, tiny_spec(branch=at, mix=mix), trunk=parent.run_dir))
        for mix in (SWITCHED, Mix(phases=(FEW, Phase(shares=None))))
    ]
    assert whole is not None and branches[0] is not None and branches[1] is not None
    assert branches[0].val_loss_nats == whole.val_loss_nats
    assert branches[0].metrics == whole.metrics
    assert branches[1].val_loss_nats != whole.val_loss_nats


def test_records_have_the_loss_and_epochs_of_each_component(text, tmp_path):
    spec = tiny_spec(mix=SWITCHED)
    record = train_run(made := job(text, tmp_path, spec))
    assert record is not None
    metrics, units = record.metrics, record.metric_units
    assert metrics.keys() == {
        "loss.val:code", "loss.val:web", "epochs.code", "epochs.web"
    }  # fmt: skip
    assert units["loss.val:code"] == "nats per token" and units["epochs.code"] == "epochs"
    # 32 steps of 2 sequences with a fifth of code, then 8 steps of code alone
    taken = {"code": 13 + 16, "web": 51}
    for name, count in taken.items():
        assert metrics[f"epochs.{name}"] == pytest.approx(
            count / text.n_seqs(f"train:{name}", 16), rel=0.08
        )
    assert record.corpus_fingerprint == text.fingerprint
    curve = read_curve(made.run_dir)
    assert {"loss.val:code", "loss.val:web"} <= curve[-1].metrics.keys()


def test_a_stopped_run_of_a_mixture_resumes_to_the_same_bits(text, tmp_path):
    spec = tiny_spec(mix=SWITCHED)
    expected = train_run(job(text, tmp_path / "a", spec))
    steps = iter(range(10**6))
    stopped = job(text, tmp_path / "b", spec, should_stop=lambda: next(steps) == 33)
    assert train_run(stopped) is None
    resumed = train_run(dataclasses.replace(stopped, should_stop=lambda: False))
    assert expected is not None and resumed is not None
    assert resumed.val_loss_nats == expected.val_loss_nats
    assert resumed.metrics == expected.metrics
