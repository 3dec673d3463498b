"""``data.json``: runs on several data in one folder, resumed and held to what they began with."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from scaling_law.data.task import TaskDataset
from scaling_law.errors import ConfigError, RunFailed
from scaling_law.files import checksum, layout
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import load_records, write_record
from scaling_law.plan.make import make_plan
from scaling_law.plan.plan import Plan
from scaling_law.run import worker
from scaling_law.run.pins import pinned_data_of, pinned_datasets, read_pins
from scaling_law.run.runner import Runner
from scaling_law.run.verify import verify
from tests.fakes import config_of, cpu_profile, record_of, tiny_spec, write_text
from tests.inline_engine import InlineExecutor

CONFIG = """
name: t
data: {{{data}}}
grid:
  - sizes: [{{n_layer: 1, d_model: 16, n_head: 2}}]
    steps: [12]
optim: {{batch_examples: 8, lr: 0.01}}
schedule: {{shape: constant}}
model: {{{model}}}
eval: {{val_tokens: 64, curve_tokens: 32, curve_points: 2}}
precision: fp32
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLAW_CACHE", str(tmp_path / "cache"))
    worker._open_data.cache_clear()


def quiet(line: str) -> None:
    """Say nothing."""


def joined(*data: str, model: str = "") -> Plan:
    """One plan over several data, as an axis over a key of ``data`` makes it."""
    configs = [config_of(CONFIG.format(data=each, model=model)) for each in data]
    plans = [make_plan(config, cpu_profile(), train_tokens=None) for config in configs]
    return dataclasses.replace(plans[0], runs=tuple(run for plan in plans for run in plan.runs))


def fractions(*values: float) -> Plan:
    return joined(*(f"source: modular_addition, modulus: 7, train_frac: {v}" for v in values))


def test_runs_on_several_data_share_a_folder(tmp_path):
    plan, sweep = fractions(0.3, 0.6), SweepDir(tmp_path / "sweep")
    specs = [run.spec.data for run in plan.runs]
    datasets = pinned_datasets(specs, sweep, quiet)
    assert [dataset.train_tokens for dataset in datasets.values()] == [30, 58]
    pins = layout.read_json(sweep.data)["datasets"]
    assert [pin["fingerprint"] for pin in pins] == [d.fingerprint for d in datasets.values()]
    assert Runner(plan, sweep, InlineExecutor(sweep)).run().exit_code == 0
    records = {record.spec.data: record for record in load_records(sweep)}
    for spec, dataset in datasets.items():
        assert records[spec].corpus_fingerprint == dataset.fingerprint
        assert records[spec].val_bits_per_byte is None
    assert len({record.val_loss_nats for record in records.values()}) == 2
    before = sweep.data.read_bytes()
    pinned_datasets(specs, sweep, quiet)
    assert sweep.data.read_bytes() == before


@pytest.mark.slow
def test_runs_on_several_data_are_verified_together(tmp_path):
    plan, sweep = fractions(0.3, 0.6), SweepDir(tmp_path / "sweep")
    pinned_datasets([run.spec.data for run in plan.runs], sweep, quiet)
    layout.write_json(sweep.plan, plan.to_json())
    assert Runner(plan, sweep, InlineExecutor(sweep)).run().exit_code == 0
    verified = verify(sweep, "all", "auto", quiet)
    assert verified.exit_code == 0 and len(verified.comparisons) == 2


def test_new_data_is_added_to_that_of_finished_runs(tmp_path):
    sweep = SweepDir(tmp_path / "sweep")
    first, second = (run.spec for run in fractions(0.3, 0.6).runs)
    pinned_datasets([first.data], sweep, quiet)
    alone = layout.read_json(sweep.data)
    assert "datasets" not in alone and "folder" not in alone
    # nothing was trained on the first: it is no longer part of the sweep
    pinned_datasets([second.data], sweep, quiet)
    assert len(read_pins(sweep, "")) == 1
    pinned_datasets([first.data], sweep, quiet)
    write_record(sweep.run(first.run_id), record_of(first))
    pinned_datasets([second.data], sweep, quiet)
    assert len(read_pins(sweep, "")) == 2


def test_text_and_a_task_may_share_a_folder(tmp_path):
    text = write_text(tmp_path / "text")
    plan = joined(
        f"corpus: {text}, tokenizer: bytes, vocab_size: 257, val_fraction: 0.2", model="n_ctx: 16"
    )
    runs = (*plan.runs, *fractions(0.5).runs)
    sweep = SweepDir(tmp_path / "sweep")
    datasets = pinned_datasets([run.spec.data for run in runs], sweep, quiet)
    assert [isinstance(each, TaskDataset) for each in datasets.values()] == [False, True]
    for run in runs:
        opened = pinned_data_of(run.spec.data, sweep, "", worker._open_data)
        assert opened.fingerprint == datasets[run.spec.data].fingerprint


def test_a_changed_task_of_the_same_name_is_refused(tmp_path):
    sweep = SweepDir(tmp_path / "sweep")
    spec = fractions(0.5).runs[0].spec.data
    pinned_datasets([spec], sweep, quiet)
    pin = read_pins(sweep, "")[0]
    checksum.write(sweep.data, {**pin, "fingerprint": "0123456789abcdef"})
    with pytest.raises(ConfigError, match="began on examples 0123456789abcdef, and the task mod"):
        pinned_datasets([spec], sweep, quiet)
    with pytest.raises(RunFailed, match="names corpus 0123456789abcdef, but this run's data are"):
        pinned_data_of(spec, sweep, "", worker._open_data)
    other = fractions(0.7).runs[0].spec.data
    with pytest.raises(RunFailed, match="but not the modular_addition of this run"):
        pinned_data_of(other, sweep, "", worker._open_data)


def test_a_damaged_file_is_written_again_from_the_records(tmp_path):
    plan, sweep = fractions(0.3, 0.6), SweepDir(tmp_path / "sweep")
    specs = [run.spec.data for run in plan.runs]
    datasets = pinned_datasets(specs, sweep, quiet)
    for run in plan.runs:
        fingerprint = datasets[run.spec.data].fingerprint
        record = dataclasses.replace(record_of(run.spec), corpus_fingerprint=fingerprint)
        write_record(sweep.run(run.run_id), record)
    before = read_pins(sweep, "")
    sweep.data.write_text('{"datasets": [3]}')
    messages: list[str] = []
    pinned_datasets(specs, sweep, messages.append)
    assert read_pins(sweep, "") == before
    assert messages == [f"{sweep.data}: damaged (it names no data); written again"]


def test_a_damaged_file_that_no_record_explains_is_refused(tmp_path):
    sweep = SweepDir(tmp_path / "sweep")
    write_record(sweep.run(tiny_spec().run_id), record_of(tiny_spec()))
    sweep.data.write_text("{")
    with pytest.raises(ConfigError, match="no record says which text the runs began with"):
        pinned_datasets([fractions(0.5).runs[0].spec.data], sweep, quiet)
