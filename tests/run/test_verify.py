"""`slaw run --verify`: finished runs trained again, and changed files noticed."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from pathlib import Path

import pytest

from scaling_law.data.prepare import prepare
from scaling_law.data.text import open_dataset
from scaling_law.errors import ConfigError
from scaling_law.files import checksum, layout
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import CurvePoint, RunRecord, curve_digest, load_records, read_curve
from scaling_law.plan.make import make_plan
from scaling_law.plan.plan import Plan
from scaling_law.run import engines
from scaling_law.run.compare_runs import CLOCK, COMPARED, POINT_COMPARED, SURROUNDINGS, compare
from scaling_law.run.engines import engine_named, start
from scaling_law.run.runner import Runner
from scaling_law.run.verify import verify
from scaling_law.run.worker import work_on
from scaling_law.spec.data import DataSpec
from scaling_law.spec.resources import Resources
from scaling_law.spec.schedule import ScheduleSpec
from scaling_law.spec.start import Branch
from scaling_law.spec.to_json import to_json
from tests import inline_engine
from tests.fakes import config_of, cpu_profile, record_of, tiny_spec, write_text

TRUNK = ScheduleSpec(warmup_steps=4, decay_steps=None)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = write_text(tmp_path_factory.mktemp("text"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLAW_CACHE", str(tmp_path_factory.mktemp("cache")))
        spec = DataSpec(corpus=str(folder), tokenizer="bytes", vocab_size=257, val_fraction=0.2)
        yield spec, prepare(spec)


def pin(sweep: SweepDir, spec: DataSpec, folder: Path) -> None:
    content = {
        "spec": to_json(spec),
        "folder": str(folder),
        "fingerprint": open_dataset(folder).fingerprint,
    }
    layout.write_json(sweep.data, content)


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """A trunk and its branch, trained by a worker in this process."""
    spec, folder = data
    sweep = SweepDir(tmp_path_factory.mktemp("kept"))
    pin(sweep, spec, folder)
    trunk = tiny_spec(schedule=TRUNK, label="trunk", data=spec)
    branch = tiny_spec(label="branch", data=spec, branch=Branch(trunk_id=trunk.run_id, at_step=32))
    for run, steps in ((trunk, (32,)), (branch, ())):
        run_dir = sweep.run(run.run_id)
        layout.write_json(run_dir.spec, to_json(run))
        layout.write_json(run_dir.resources, to_json(Resources(save_steps=steps)))
        work_on([run_dir], lambda: False)
    for path in sweep.run(trunk.run_id).checkpoints.iterdir():  # as after a whole sweep
        path.unlink()
    return sweep, trunk, branch


def contents(sweep: SweepDir) -> dict[str, str]:
    files = (p for p in sweep.path.rglob("*") if p.is_file())
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.mark.slow
def test_a_branch_and_its_trunk_are_equal_and_the_sweep_is_unchanged(trained):
    sweep, _, _ = trained
    before = contents(sweep)
    said: list[str] = []
    outcome = verify(sweep, "all", "auto", said.append)
    assert outcome.exit_code == 0, outcome.text
    assert "2 of 2 runs equal to the last bit" in outcome.text
    assert re.search(r"^branch: equal.*from its trunk's first step$", outcome.text, re.M)
    assert "training 2 of the sweep's runs again, in a temporary folder" in said[0]
    assert contents(sweep) == before


def test_verify_trains_on_the_requested_engine(trained):
    sweep, _, branch = trained
    engine = engine_named(str(Path(inline_engine.__file__)))
    verification = verify(sweep, "branch", "auto", lambda line: None, engine)
    assert verification.exit_code == 0, verification.text
    assert [one.label for one in verification.comparisons] == ["trunk", branch.label]


class Repeater:
    """An executor whose every run comes out as it did in ``sweep``."""

    slots = 1

    def __init__(self, sweep: SweepDir, again: SweepDir) -> None:
        self.sweep, self.again = sweep, again

    def submit(self, runs):
        for run in runs:
            run_dir, kept = self.again.run(run.run_id), self.sweep.run(run.run_id)
            for step in run.resources.save_steps:
                run_dir.checkpoints.mkdir()
                run_dir.checkpoint(step).touch()
            for source in (kept.curve, kept.record):
                (run_dir.path / source.name).write_bytes(source.read_bytes())

    def state(self, handle):
        return "ended"

    def cancel(self, handle): ...

    def close(self): ...


def test_files_changed_afterwards_are_detected(trained, tmp_path, monkeypatch):
    sweep, trunk, branch = trained
    monkeypatch.setattr(engines, "start", lambda engine, again, slots: Repeater(sweep, again))
    changed = SweepDir(tmp_path)
    layout.write_json(changed.data, layout.read_json(sweep.data))
    for run in (trunk, branch):
        for source in (sweep.run(run.run_id).record, sweep.run(run.run_id).curve):
            target = changed.run(run.run_id).path / source.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    curve = changed.run(trunk.run_id).curve
    lines = curve.read_text().splitlines()
    point = checksum.open_line(lines[3])
    point["train_loss_nats"] *= 1 + 2**-50
    lines[3] = checksum.line(point).strip()
    curve.write_text("\n".join(lines) + "\n")
    new_digest = curve_digest(read_curve(changed.run(trunk.run_id)))
    record = checksum.read(changed.run(trunk.run_id).record, "")
    checksum.write(changed.run(trunk.run_id).record, {**record, "curve_sha256": new_digest})
    record = checksum.read(changed.run(branch.run_id).record, "")
    checksum.write(
        changed.run(branch.run_id).record,
        {**record, "val_loss_nats": 1.0, "versions": {**record["versions"], "torch": "0.1"}},
    )
    outcome = verify(changed, "all", "auto", lambda line: None)
    assert outcome.exit_code == 3
    assert "2 of 2 runs are NOT" in outcome.text
    assert f"starts at step {point['step']}: train_loss_nats" in outcome.text
    assert "val_loss_nats (record): 1.0 saved" in outcome.text
    assert "may explain it: torch 0.1 then" in outcome.text
    assert "the saved files were changed" in outcome.text  # the trunk's surroundings are the same


def test_a_trunk_is_trained_only_up_to_the_requested_branch(trained, monkeypatch):
    sweep, trunk, _ = trained
    cancelled: list[str] = []

    class Endless(Repeater):
        """The trunk saves its state and does not end by itself."""

        def submit(self, runs):
            super().submit(runs)
            (run,) = runs
            if run.run_id == trunk.run_id:
                self.again.run(run.run_id).record.unlink()
            return run.run_id

        def state(self, handle):
            return "running" if handle == trunk.run_id and not cancelled else "ended"

        def cancel(self, handle):
            cancelled.append(handle)

    monkeypatch.setattr(engines, "start", lambda engine, again, slots: Endless(sweep, again))
    said: list[str] = []
    outcome = verify(sweep, "branch", "auto", said.append)
    assert outcome.exit_code == 0
    assert [one.label for one in outcome.comparisons] == ["branch"]
    assert cancelled == [trunk.run_id]
    assert "with 1 more that they depend on" in said[0]


def test_a_state_that_the_trunk_still_has_is_used(trained, tmp_path, monkeypatch):
    sweep, trunk, branch = trained
    taken: list[Plan] = []

    def run(self):
        taken.append(self.plan)
        assert self._has_what_branches_need(self.plan.runs[0], load_records(sweep)[1])
        raise ConfigError("enough seen")

    monkeypatch.setattr(Runner, "run", run)
    state = sweep.run(trunk.run_id).checkpoint(32)
    state.write_text("a state")
    try:
        said: list[str] = []
        with pytest.raises(ConfigError, match="enough seen"):
            verify(sweep, "branch", "cpu", said.append)
    finally:
        state.unlink()
    assert "more that they depend on" not in said[0]
    assert [r.run_id for r in taken[0].runs] == [trunk.run_id, branch.run_id]


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("brunch", "no finished run 'brunch' among its 2 (did you mean branch?)"),
        ("../x", "no finished run '../x'"),
    ],
)
def test_a_run_that_does_not_exist_is_refused(trained, wanted, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        verify(trained[0], wanted, "auto", lambda line: None)
    with pytest.raises(ConfigError, match="no such sweep"):
        verify(SweepDir(trained[0].path / "none"), wanted, "auto", lambda line: None)


def test_every_field_of_a_record_is_compared_or_known_to_change():
    known = [*CLOCK, *SURROUNDINGS, *COMPARED]
    assert sorted(known) == sorted(field.name for field in dataclasses.fields(RunRecord))
    points = [field.name for field in dataclasses.fields(CurvePoint)]
    assert sorted(["step", "seconds", *POINT_COMPARED]) == sorted(points)


def test_times_are_no_difference_and_a_missing_point_is_one(trained):
    sweep, trunk, _ = trained
    record, curve = record_of(trunk), read_curve(sweep.run(trunk.run_id))
    later = dataclasses.replace(record, seconds=9.0, finished_at="later", peak_memory_bytes=1)
    slower = [dataclasses.replace(point, seconds=99.0) for point in curve]
    assert compare(record, curve, later, slower, origin="").equal
    short = compare(record, curve, record, curve[:-1], origin="from its first step")
    assert [(d.name, d.step) for d in short.differences] == [("curve", curve[-1].step)]
    assert "no point now" in short.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("unit", "said"),
    [(None, "(4.0 nats/token, 0 curve points"), ("squared errors", "(4.0 squared errors, 0")],
)
def test_the_loss_has_the_unit_of_its_record(unit, said):
    record = dataclasses.replace(record_of(tiny_spec()), loss_unit=unit)
    assert said in compare(record, [], record, [], origin="from its first step").text


@pytest.mark.slow
def test_one_or_three_workers_in_either_order_give_the_same_bits(data, tmp_path):
    spec, folder = data
    config = config_of(f"""
name: orders
data: {{corpus: {spec.corpus}, tokenizer: bytes, vocab_size: 257, val_fraction: 0.2,
        max_epochs: 99}}
model: {{n_ctx: 16}}
grid:
  - sizes: [{{n_layer: 1, d_model: 8, n_head: 2}}, {{n_layer: 1, d_model: 16, n_head: 2}}]
    tokens: [2k, 4k]
optim: {{rule: slaw_small, lr: 0.01, batch_tokens: 32}}
eval: {{val_tokens: 512, curve_tokens: 256, curve_points: 8}}
precision: fp32
""")
    plan = make_plan(config, cpu_profile(), train_tokens=10**5)
    results = []
    for name, slots, step in (("one", 1, 1), ("three", 3, 1), ("backwards", 2, -1)):
        sweep = SweepDir(tmp_path / name)
        pin(sweep, spec, folder)
        runs = plan.runs[::step]
        # least urgent first, too: which worker takes what must not matter
        order = dataclasses.replace(plan, runs=runs)
        if step < 0:
            order.__dict__["priority"] = {k: -v for k, v in plan.priority.items()}
        assert Runner(order, sweep, start(engine_named(), sweep, slots)).run().exit_code == 0
        results.append(
            {
                record.run_id: (
                    record.val_loss_nats,
                    [
                        to_json({**p.__dict__, "seconds": 0})
                        for p in read_curve(sweep.run(record.run_id))
                    ],
                )
                for record in load_records(sweep)
            }
        )
    assert results[0] == results[1] == results[2]
