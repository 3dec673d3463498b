"""Measured kernels: planned by shape, pinned with the sweep, used and recorded by its runs."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from types import SimpleNamespace
from typing import Any

import pytest

from scaling_law.data.prepare import prepare
from scaling_law.data.text import open_dataset
from scaling_law.errors import ConfigError
from scaling_law.files import checksum, layout
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import read_record, record_from_json, write_record
from scaling_law.parts import NoSettings
from scaling_law.plan.device_profile import (
    DeviceProfile,
    format_profiles,
    load_profile,
    profile_from_json,
    save_profile,
)
from scaling_law.plan.make import make_plan, step_shapes
from scaling_law.plan.plan import Plan, plan_from_json
from scaling_law.plan.stacking import with_stacks
from scaling_law.plan.steps import MeasuredStep
from scaling_law.plan.table import render_plan
from scaling_law.run import planning
from scaling_law.run.engines import local
from scaling_law.run.pinned import with_begun_kernels
from scaling_law.run.verify import verify
from scaling_law.run.worker import work_on
from scaling_law.spec.data import DataSpec
from scaling_law.spec.kernels import Kernels
from scaling_law.spec.resources import Resources, resources_from_json
from scaling_law.spec.to_json import to_json
from scaling_law.train import kernels
from tests.fakes import config_of, cpu_profile, record_of, tiny_spec, write_text

TEXT = """
name: two
data: {corpus: synthetic, tokenizer: bytes, vocab_size: 257}
model: {n_ctx: 64}
grid:
  - sizes: [nano14k, nano25k]
    tokens: [1M]
optim: {batch_tokens: 512}
precision: fp32
"""
BLOCKED = Kernels(attention_block=64, fused=True)
CHUNKED = Kernels(head_rows=256)


def profile_with(*chosen: Kernels, text: str = TEXT) -> DeviceProfile:
    """A CPU that has measured the first steps of the config, each with these kernels."""
    shapes = step_shapes(config_of(text), cpu_profile(), train_tokens=None)
    steps = (
        MeasuredStep(
            shape=shape,
            kernels=one,
            over_thresholds=1.1,
            over_plain=1.2,
            seconds=0.01,
            eval_seconds=1e-6,
        )
        for shape, one in zip(shapes, chosen, strict=False)
    )
    return cpu_profile(steps=tuple(steps))


def plan_of(profile: DeviceProfile, text: str = TEXT) -> Plan:
    return make_plan(config_of(text), profile, train_tokens=None)


def kernels_of(plan: Plan) -> list[Kernels | None]:
    return [run.resources.kernels for run in plan.runs]


def test_a_run_takes_the_kernels_and_the_time_of_its_own_shape():
    plan = plan_of(profile_with(BLOCKED))
    assert kernels_of(plan) == [BLOCKED, None]
    first, second = plan.runs
    steps, scored = first.spec.total_steps, first.spec.eval
    tokens = scored.val_tokens + scored.curve_points * scored.curve_tokens
    assert first.seconds == pytest.approx(0.5 + 0.01 * steps + 1e-6 * tokens)
    assert second.seconds == plan_of(cpu_profile()).runs[1].seconds
    assert [run.run_id for run in plan.runs] == [run.run_id for run in plan_of(cpu_profile()).runs]
    assert "kernels: of 1 of 2 runs the fastest for their shape" in render_plan(plan)
    assert "kernels" not in render_plan(plan_of(cpu_profile()))


def test_a_stack_gains_what_was_measured():
    seeds = TEXT.replace("tokens: [1M]", "tokens: [1M]\n    seeds: [0, 1, 2]")
    for gain, stacks in ((2.0, True), (0.9, False), (None, True)):
        known = profile_with(BLOCKED, BLOCKED, text=seeds)
        steps = tuple(dataclasses.replace(step, stack_gain=gain) for step in known.steps)
        known = dataclasses.replace(known, slots=1, steps=steps)
        alone = plan_of(known, seeds)
        together = with_stacks(alone, known.step_of)
        assert all(bool(run.resources.stack) == stacks for run in together.runs)
        if gain == 2:
            assert together.runs[0].seconds == alone.runs[0].seconds / 2


def test_files_hold_the_kernels_and_are_as_before_without():
    for plan in (plan_of(profile_with(BLOCKED)), plan_of(cpu_profile())):
        assert plan_from_json(json.loads(json.dumps(plan.to_json()))) == plan
    measured = profile_with(BLOCKED, CHUNKED)
    assert profile_from_json(json.loads(json.dumps(to_json(measured)))) == measured
    assert "kernels" not in to_json(Resources())
    own = Resources(kernels=BLOCKED)
    assert resources_from_json(to_json(own)) == own
    record = record_of(tiny_spec())
    assert "kernels" not in to_json(record)
    chosen = dataclasses.replace(record, kernels=BLOCKED)
    assert record_from_json(checksum.with_digest(to_json(chosen))) == chosen


def test_a_begun_sweep_goes_on_with_the_kernels_it_began_with(tmp_path):
    sweep = SweepDir(tmp_path)
    now = plan_of(profile_with(CHUNKED, CHUNKED))
    assert with_begun_kernels(now, sweep) == now
    checksum.write(sweep.plan, plan_of(cpu_profile()).to_json())
    assert kernels_of(with_begun_kernels(now, sweep)) == [None, None]
    one = TEXT.replace("[nano14k, nano25k]", "[nano14k]")
    checksum.write(sweep.plan, plan_of(profile_with(BLOCKED, text=one), one).to_json())
    assert kernels_of(with_begun_kernels(now, sweep)) == [BLOCKED, CHUNKED]


@pytest.mark.parametrize(("began_with", "goes_on"), [(None, None), (BLOCKED, CHUNKED)])
def test_without_its_plan_the_records_say_what_a_sweep_began_with(tmp_path, began_with, goes_on):
    sweep = SweepDir(tmp_path)
    now = plan_of(profile_with(CHUNKED, CHUNKED))
    record = dataclasses.replace(record_of(now.runs[0].spec), kernels=began_with)
    write_record(sweep.run(record.run_id), record)
    assert kernels_of(with_begun_kernels(now, sweep)) == [began_with, goes_on]


@pytest.mark.slow
def test_a_run_is_trained_and_verified_with_its_own_kernels(tmp_path, monkeypatch):
    monkeypatch.setenv("SLAW_CACHE", str(tmp_path / "cache"))
    data = DataSpec(
        corpus=str(write_text(tmp_path / "text")), tokenizer="bytes", vocab_size=257,
        val_fraction=0.2,
    )  # fmt: skip
    folder = prepare(data)
    sweep, spec = SweepDir(tmp_path / "sweep"), tiny_spec(data=data)
    fingerprint = open_dataset(folder).fingerprint
    pin = {"spec": to_json(data), "folder": str(folder), "fingerprint": fingerprint}
    layout.write_json(sweep.data, pin)
    run_dir = sweep.run(spec.run_id)
    layout.write_json(run_dir.spec, to_json(spec))
    layout.write_json(run_dir.resources, to_json(Resources(kernels=BLOCKED)))
    used: list[Kernels | None] = []
    real = kernels.use

    def use(chosen: Kernels | None) -> None:
        used.append(chosen)
        real(chosen)

    monkeypatch.setattr(kernels, "use", use)
    work_on([run_dir], lambda: False)
    assert read_record(run_dir.record).kernels == BLOCKED
    run_dir.resources.unlink()  # the record alone says it
    monkeypatch.undo()
    monkeypatch.setenv("SLAW_CACHE", str(tmp_path / "cache"))
    verification = verify(sweep, "all", "auto", lambda line: None)
    assert verification.exit_code == 0, verification.text
    assert used == [BLOCKED]
    assert not any("attention_block" in each for each in verification.comparisons[0].surroundings)


def steps_json(profile: DeviceProfile) -> str:
    return "".join(json.dumps(to_json(step)) + "\n" for step in profile.steps)


def test_shapes_are_measured_once_and_saved(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SLAW_CACHE", str(tmp_path))
    asked: list[list[Any]] = []

    def run(command, *, input, **options):
        asked.append(json.loads(input))
        done = steps_json(profile_with(BLOCKED, CHUNKED))
        return SimpleNamespace(returncode=0, stdout=done, stderr="")

    monkeypatch.setattr(subprocess, "run", run)
    shapes = step_shapes(config_of(TEXT), cpu_profile(), train_tokens=None)
    save_profile(cpu_profile(), "cpu")
    said: list[str] = []
    for _ in range(2):
        known = load_profile("cpu")
        assert known is not None
        measured = local.measure_steps(NoSettings(), "cpu", known, shapes, said.append)
        assert [step.kernels for step in measured.steps] == [BLOCKED, CHUNKED]
    assert [len(shapes) for shapes in asked] == [2]
    assert len(said) == 1 and said[0].startswith("measuring the training steps of 2 shapes")
    shown = format_profiles()
    assert (
        "width 24, 2 heads, vocabulary 257, 8 x 64 tokens, fp32: attention by 64 queries" in shown
    )
    assert "(1.20x plain, 1.10x the thresholds'); 51.2K tokens/s" in shown


def test_where_measuring_fails_the_runs_are_planned_without(tmp_path, monkeypatch):
    monkeypatch.setenv("SLAW_CACHE", str(tmp_path))
    failed = SimpleNamespace(returncode=1, stdout=steps_json(profile_with(BLOCKED)), stderr="a\nb")
    monkeypatch.setattr(subprocess, "run", lambda command, **options: failed)
    shapes = step_shapes(config_of(TEXT), cpu_profile(), train_tokens=None)
    said: list[str] = []
    measured = local.measure_steps(NoSettings(), "cpu", cpu_profile(), shapes, said.append)
    assert kernels_of(plan_of(measured)) == [BLOCKED, None]
    assert said[1] == "1 of them could not be measured (b); planned without"


@pytest.mark.parametrize(
    ("policy", "tokens", "measures"),
    [("measured", "100M", True), ("measured", "10K", False), ("thresholds", "100M", False)],
)
def test_steps_are_measured_for_sweeps_that_are_worth_it(monkeypatch, policy, tokens, measures):
    monkeypatch.setenv("SLAW_KERNELS", policy)
    asked = []

    def with_steps(engine, device, known, shapes, say):
        asked.append(shapes)
        return known

    monkeypatch.setattr("scaling_law.run.engines.with_steps", with_steps)
    config = config_of(TEXT.replace("1M", tokens))
    known = planning.with_steps(config, cpu_profile(), None, {}, print, "cpu")
    assert (known, bool(asked)) == (cpu_profile(), measures)


def test_a_fixed_choice_leaves_measured_steps_out(monkeypatch):
    monkeypatch.setenv("SLAW_KERNELS", "thresholds")
    known = profile_with(BLOCKED, CHUNKED)
    fixed = planning.with_steps(config_of(TEXT), known, None, {}, print, "cpu")
    assert kernels_of(plan_of(fixed)) == [None, None]
    monkeypatch.setenv("SLAW_KERNELS", "fast")
    with pytest.raises(ConfigError, match="SLAW_KERNELS is 'fast', expected measured or threshold"):
        planning.with_steps(config_of(TEXT), known, None, {}, print, "cpu")


def test_what_cannot_be_measured_beforehand_takes_the_thresholds():
    mup = ("model.parametrisation=mup", "model.base_width=8")
    for changes in (("optim.name=sgd",), mup):
        config = config_of(TEXT, *changes)
        assert step_shapes(config, cpu_profile(), train_tokens=None) == ()
    on_gpu = cpu_profile(kind="cuda")
    assert step_shapes(config_of(TEXT), on_gpu, train_tokens=None) == ()
