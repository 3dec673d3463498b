"""A real sweep whose longest cooldown ends early, says so, and does not count as measured."""

from __future__ import annotations

import dataclasses
import json

import pytest

from scaling_law.data.prepare import prepare
from scaling_law.data.text import open_dataset
from scaling_law.files import layout
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import RunRecord, load_records, read_record
from scaling_law.fit.points.points import points_from_records
from scaling_law.plan.make import make_plan
from scaling_law.plan.plan import Plan
from scaling_law.plan.table import early_stop_words
from scaling_law.run.runner import Runner
from scaling_law.run.sweep_state.progress import describe_end
from scaling_law.run.sweep_state.reader import sweep_status
from scaling_law.run.sweep_state.text import format_status
from scaling_law.run.text import closing
from scaling_law.spec.from_json import run_spec_from_json
from scaling_law.spec.to_json import to_json
from tests.fakes import config_of, cpu_profile, on_disk, text_spec, write_text
from tests.inline_engine import InlineExecutor

SWEEP = """
name: early
data: {{corpus: {corpus}, tokenizer: bytes, vocab_size: 257, val_fraction: 0.2, max_epochs: 50}}
model: {{n_ctx: 16}}
grid:
  - sizes: [{{n_layer: 1, d_model: 16, n_head: 2}}]
    tokens: [4k, 8k, 16k]
optim: {{rule: slaw_small, lr: 0.01, batch_tokens: 32}}
eval: {{val_tokens: 1024, curve_tokens: 1024, curve_points: 20}}
precision: fp32
early_stop: {early_stop}
"""


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return write_text(tmp_path_factory.mktemp("text"), words=60)


@pytest.fixture(scope="module")
def swept(text, tmp_path_factory):
    """``swept(setting)`` is the sweep's folder, its plan and how it ended; each made once."""
    known: dict[tuple[str, int], tuple[SweepDir, Plan, Runner]] = {}

    def go(setting: str, again: int = 0):
        if (setting, again) not in known:
            config = config_of(SWEEP.format(corpus=text, early_stop=setting))
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("SLAW_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
                dataset = open_dataset(prepare(text_spec(config)))
            plan = make_plan(config, cpu_profile(), train_tokens=dataset.n_tokens("train"))
            sweep = SweepDir(tmp_path_factory.mktemp("sweep"))
            spec, folder = to_json(text_spec(config)), str(dataset.folder)
            pin = {"spec": spec, "folder": folder, "fingerprint": dataset.fingerprint}
            layout.write_json(sweep.data, pin)
            layout.write_json(sweep.plan, plan.to_json())
            runner = Runner(plan, sweep, InlineExecutor(sweep, slots=4))
            runner.run()
            known[setting, again] = sweep, plan, runner
        return known[setting, again]

    return go


def stopped(sweep: SweepDir) -> RunRecord:
    early = [r for r in load_records(sweep) if r.status == "stopped_early"]
    assert len(early) == 1
    return early[0]


def losses(sweep: SweepDir):
    return {r.run_id: (r.status, r.val_loss_nats, r.metrics, r.tokens) for r in load_records(sweep)}


def test_the_longest_branch_ends_early_with_a_predicted_loss(swept):
    sweep, plan, runner = swept("0.1")
    record = stopped(sweep)
    assert record.spec.total_steps == max(run.spec.total_steps for run in plan.runs)
    assert record.val_loss_nats is None
    metrics = record.metrics
    low, middle, high = (metrics[f"predicted_{n}_nats"] for n in ("low", "loss", "high"))
    assert low < middle < high
    assert (high - low) / 2 <= 0.1 * middle
    assert record.spec.start_step < metrics["stopped_at_step"] < record.spec.total_steps
    assert record.tokens == metrics["stopped_at_step"] * record.spec.batch_tokens
    planned = plan.by_id[record.run_id].flops_spent
    assert record.flops_spent + metrics["flops_saved"] == pytest.approx(planned)
    assert "FLOPs saved" in record.message
    assert list(runner.outcome.stopped_early) == [record.run_id]
    assert not list(sweep.runs.glob("*/ckpt/*.pt")), "spent states are removed"


def test_the_forecast_is_near_the_loss_of_the_whole_run(swept):
    record = stopped(swept("0.1")[0])
    whole = max(load_records(swept("false")[0]), key=lambda r: r.spec.total_steps)
    assert whole.spec == dataclasses.replace(record.spec, early_stop=None)
    assert record.metrics["predicted_loss_nats"] == pytest.approx(whole.val_loss_nats, rel=0.1)


def test_early_stop_is_deterministic_and_changes_no_other_run_id(swept):
    first, again, off = (swept(*which)[0] for which in (("0.1",), ("0.1", 1), ("false",)))
    assert losses(first) == losses(again)
    both = losses(first).keys() & losses(off).keys()
    assert len(both) == 3, "the trunk and the two shortest branches"
    assert all(losses(first)[run_id] == losses(off)[run_id] for run_id in both)


def test_a_tight_tolerance_trains_to_the_end(swept):
    records = losses(swept("1e-9")[0])
    assert {status for status, *_ in records.values()} == {"done"}
    last = max(loss for _, loss, *_ in losses(swept("false")[0]).values())
    assert last == max(loss for _, loss, *_ in records.values())


def test_a_branch_waits_for_the_siblings_it_learns_from(swept):
    sweep, plan, runner = swept("0.1")
    record = stopped(sweep)
    order = runner.executor.trained
    assert record.spec.early_stop is not None
    siblings = record.spec.early_stop.siblings
    assert all(order.index(s) < order.index(record.run_id) for s in siblings)
    trunk = plan.runs[0]
    saved = on_disk({trunk.run_id: trunk.resources.save_steps})
    ready = {run.run_id for run in plan.ready([trunk.run_id], saved)}
    assert ready == set(siblings)
    ready = {run.run_id for run in plan.ready([trunk.run_id, *siblings], saved)}
    assert ready == {record.run_id}


def test_status_and_progress_report_an_early_stop(swept):
    sweep, plan, runner = swept("0.1")
    record = stopped(sweep)
    assert "allowed to 1 of the points" in early_stop_words(plan)[0]
    assert "within 10% at 90%" in early_stop_words(plan)[0]
    assert not early_stop_words(swept("false")[1])
    assert "STOPPED EARLY (loss predicted" in describe_end(record)
    assert "1 of them stopped early" in closing(sweep, plan, runner.outcome)
    status = sweep_status(sweep)
    assert status["counts"] == {"done": 3, "stopped_early": 1}
    assert status["flops_done_frac"] == pytest.approx(1.0)
    assert "nats/token predicted" in format_status(status)


def test_a_fit_leaves_out_early_stops_unless_keep_names_them(swept):
    sweep, _, _ = swept("0.1")
    record = stopped(sweep)
    records = load_records(sweep)
    points = points_from_records(records)
    assert len(points) == 2
    assert dict(points.dropped)[record.run_id].startswith("stopped_early: loss predicted")
    kept = points_from_records(records, keep=["stopped_early"])
    row = kept.run_id.index(record.run_id)
    assert kept.loss_nats[row] == record.metrics["predicted_loss_nats"]
    assert kept.tokens[row] == record.spec.tokens
    assert kept.flops[row] > record.flops_exact
    assert "1 of 3 losses are predicted, not measured" in kept.notes


def test_specs_and_records_survive_json(swept):
    sweep, _, _ = swept("0.1")
    record = stopped(sweep)
    assert run_spec_from_json(json.loads(json.dumps(to_json(record.spec)))) == record.spec
    assert read_record(sweep.run(record.run_id).record) == record
    assert "early_stop" not in to_json(dataclasses.replace(record.spec, early_stop=None))
