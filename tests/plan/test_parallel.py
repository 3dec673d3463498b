"""What several devices need to train a run together, and what they are refused."""

from __future__ import annotations

import dataclasses
import itertools
import json

import pytest

from scaling_law.errors import ConfigError, PlanError
from scaling_law.plan.device_profile import profile_from_json
from scaling_law.plan.make import joint_shapes, make_plan
from scaling_law.plan.packing import TimedTask, makespan_seconds
from scaling_law.plan.plan import plan_from_json
from scaling_law.plan.stacking import with_stacks
from scaling_law.plan.steps import JointStep
from scaling_law.plan.table import render_plan
from scaling_law.spec.counts import count_params, memory_bytes
from scaling_law.spec.from_json import run_spec_from_json
from scaling_law.spec.parallel import ONE_DEVICE, Parallel
from scaling_law.spec.sharding import (
    Layout,
    device_bytes,
    layout_bytes,
    layout_on,
    smallest_layouts,
    state_bytes,
)
from scaling_law.spec.to_json import to_json
from tests.fakes import ONE_SIZE, config_of, cpu_profile, plan_of, tiny_model, tiny_spec

TWO = "parallel={kind: ddp, devices: 2}"
SHARED_OUT = "parallel={kind: fsdp, devices: 2}"


def test_devices_belong_to_a_runs_identity_but_one_device_does_not():
    plain, one, two = (
        plan_of(ONE_SIZE, *words) for words in ([], ["parallel={devices: 1}"], [TWO])
    )
    ids = [[run.run_id for run in plan.runs] for plan in (plain, one, two)]
    assert ids[0] == ids[1]
    assert not {*ids[0]} & {*ids[2]}
    spec = two.runs[0].spec
    assert spec.parallel == Parallel(kind="ddp", devices=2)
    assert run_spec_from_json(to_json(spec)).run_id == spec.run_id
    assert plan_from_json(two.to_json()) == two


def test_a_run_resumes_on_other_devices_under_its_own_name():
    plain, resumed = plan_of(ONE_SIZE), plan_of(ONE_SIZE, "parallel={kind: fsdp, resume_on: 2}")
    assert [run.run_id for run in plain.runs] == [run.run_id for run in resumed.runs]
    run = resumed.runs[0]
    assert run.resources.devices_of(run.spec) == Parallel(kind="fsdp", devices=2)
    assert plain.runs[0].resources.devices_of(run.spec) == ONE_DEVICE
    assert "its record says so" in render_plan(resumed)


def test_the_plan_says_what_a_run_of_several_devices_takes():
    text = render_plan(plan_of(ONE_SIZE, SHARED_OUT))
    assert "devices: each run fsdp on 2 devices; memory is that of one device" in text
    assert "the time assumes ideal scaling over them, not measured" in text
    assert not any(run.resources.stack for run in plan_of(ONE_SIZE, TWO).runs)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["parallel.devices=3"],
            r"parallel.devices: 3, and 2 cores may be used here, one a device",
        ),
        (
            ["parallel.devices=2", "optim.batch_tokens=192"],
            r"batch of size nano14k is 3 sequences, which 2 devices cannot share evenly; set"
            r" optim.batch_tokens: 256 \(4 sequences\)",
        ),
        ([SHARED_OUT, "probes=[accuracy]"], r"probes \(accuracy\) read all of it; take kind: ddp"),
        ([SHARED_OUT, "optim.name=muon"], "the optimizer muon is not known to be elementwise"),
        ([SHARED_OUT, "spikes=true"], "spikes keeps whole states to go back to"),
        ([SHARED_OUT, "precision=fp16"], "fp16's loss scale is not shared by devices"),
        ([SHARED_OUT, "number_format=e4m3"], "the number format e4m3 rounds whole weights"),
        (
            [SHARED_OUT, "model.architecture=lstm", "grid.0.sizes=[{n_layer: 1, d_model: 8}]"],
            "the architecture lstm cannot be shared out",
        ),
    ],
)
def test_what_devices_cannot_do_together_is_refused_by_name(words, said):
    with pytest.raises(PlanError, match=said) as refused:
        plan_of(ONE_SIZE, *words)
    assert len(refused.value.lines) == 1


def test_every_reason_is_listed_at_once():
    with pytest.raises(PlanError) as refused:
        plan_of(ONE_SIZE, SHARED_OUT, "probes=[accuracy]", "spikes=true", "optim.name=muon")
    assert len(refused.value.lines) == 3


def test_a_run_of_several_devices_takes_as_many_slots():
    wide, narrow = TimedTask(10.0, slots=2), TimedTask(10.0)
    assert makespan_seconds([wide, narrow, narrow], 2) == 20.0
    assert makespan_seconds([wide, wide], 2) == 20.0
    plan = plan_of(ONE_SIZE, TWO)
    assert [run.slots for run in plan.runs] == [2] * len(plan.runs)
    assert with_stacks(plan).seconds_estimate == plan.seconds_estimate
    assert plan.seconds_estimate < plan_of(ONE_SIZE).seconds_estimate


def test_a_measured_speedup_decides_the_time_and_the_plan_says_so():
    config = config_of(ONE_SIZE, TWO)
    (shape,) = joint_shapes(config, cpu_profile(), train_tokens=None)
    assert shape.seqs % 2 == 0 and shape.parallel == Parallel(kind="ddp", devices=2)
    slow = cpu_profile(joint_steps=(JointStep(shape=shape, speedup=1.25),))
    assert profile_from_json(json.loads(json.dumps(to_json(slow)))) == slow
    measured, guessed = (
        make_plan(config, profile, train_tokens=None) for profile in (slow, cpu_profile())
    )
    assert measured.seconds_estimate > guessed.seconds_estimate
    assert "the time is theirs as measured, 1.2 times one's speed" in render_plan(measured)
    assert {run.speedup for run in measured.runs} == {1.25}
    one, *others = measured.runs
    partly = dataclasses.replace(
        measured, runs=(dataclasses.replace(one, speedup=None), *others, *others)
    )
    text = render_plan(partly)
    assert (
        "1.2 times one's speed; for 1 run it assumes ideal scaling over them, not measured" in text
    )
    assert joint_shapes(config_of(ONE_SIZE), cpu_profile(), train_tokens=None) == ()


def test_each_stage_splits_what_zero_says():
    # bytes a parameter over 4 devices: weights 4, gradients 4, moments 8
    each = [state_bytes(1.0, 0.0, "fp32", stage, 4) for stage in range(4)]
    assert each == [16.0, 8 / 4 + 8, 12 / 4 + 4, 16 / 4]
    assert state_bytes(1.0, 0.0, "bf16", 0, 4) == 18.0
    model = tiny_model(n_layer=8, d_model=64, d_ff=256)
    whole = memory_bytes(model, 4, "fp32")
    assert device_bytes(model, 4, "fp32", False, Parallel(kind="ddp", devices=8)) == whole
    shares = device_bytes(model, 4, "fp32", False, Parallel(kind="fsdp", devices=8))
    assert whole - 16 * count_params(model).total < shares < whole


def test_a_model_is_laid_on_the_fewest_devices_that_hold_it():
    model = tiny_model(n_layer=8, d_model=64, d_ff=256)
    alone = layout_bytes(model, "bf16", Layout(recompute=True))
    (one,) = smallest_layouts(model, "bf16", alone, 64)
    assert one.devices == 1 and one.recompute
    tight = layout_bytes(model, "bf16", Layout(stage=3, data=4, recompute=True))
    sharded, split = smallest_layouts(model, "bf16", tight, 64)
    assert sharded == Layout(stage=3, data=4, recompute=True)
    assert split.data == 1 and split.tensor * split.pipeline > 1
    assert layout_on(model, "bf16", tight, 64, 4) == sharded
    assert layout_on(model, "bf16", tight, 64, 3) is None, "64 sequences are not shared by 3"
    assert smallest_layouts(model, "bf16", 1.0, 64) == []
    assert str(sharded) == "ZeRO-3 over 4 devices"
    assert str(Layout(tensor=2, pipeline=4)) == "tensor parallel 2 x pipeline 4, 8 devices"


def test_tensor_parallel_devices_have_the_same_number_of_heads():
    odd = tiny_model(n_layer=1, d_model=60, n_head=5, n_kv_head=5, vocab_size=16)
    tight = layout_bytes(odd, "bf16", Layout(recompute=True)) / 1.5
    assert not any(layout.tensor > 1 for layout in smallest_layouts(odd, "bf16", tight, 1))
    even = tiny_model(n_layer=1, d_model=64, n_head=8, n_kv_head=8, vocab_size=16)
    tight = layout_bytes(even, "bf16", Layout(recompute=True)) / 1.5
    (split,) = smallest_layouts(even, "bf16", tight, 1)
    assert split == Layout(tensor=2)


def test_a_pipelines_memory_is_that_of_its_fullest_stage():
    model = tiny_model(n_layer=5, d_model=64, d_ff=256, n_head=1, n_kv_head=1)
    of_layers = [layout_bytes(model, "fp32", Layout(pipeline=stages)) for stages in (1, 2, 3, 5)]
    each = 16 * count_params(model).non_embedding / 5
    # 5, 3, 2 and 1 layers; embedding and head stay
    saved = [before - after for before, after in itertools.pairwise(of_layers)]
    assert saved == pytest.approx([2 * each, each, each])
    # four stages of five layers have two layers at most, as three have
    assert layout_bytes(model, "fp32", Layout(pipeline=4)) == of_layers[2]
    (*_, split) = smallest_layouts(model, "fp32", of_layers[2], 7)
    assert split.pipeline == 3


def test_every_stage_of_a_pipeline_has_a_sequence_and_data_parallel_devices_as_many():
    model = tiny_model(n_layer=8, d_model=64, d_ff=256, n_head=1, n_kv_head=1)
    tight = layout_bytes(model, "fp32", Layout(stage=3, data=5, recompute=True))
    (*_, split) = smallest_layouts(model, "fp32", tight, 64)
    assert split.pipeline * split.data <= 64
    sharded, *_ = smallest_layouts(model, "fp32", tight, 15)
    assert sharded.data == 5, "15 sequences are shared by 5, and not by 2, 4 or 8"
    assert all(layout.pipeline == 1 for layout in smallest_layouts(model, "fp32", tight, 1))


def test_zero_shares_out_the_moments_of_each_stage_of_a_pipeline():
    model = tiny_model(n_layer=2, d_model=64, n_head=1, n_kv_head=1, d_ff=256)
    deepest = layout_bytes(model, "fp32", Layout(pipeline=2, recompute=True))
    both = Layout(stage=1, data=4, pipeline=2, recompute=True)
    assert layout_bytes(model, "fp32", both) < deepest
    assert str(both) == "ZeRO-1 4 x pipeline 2, 8 devices"


def test_engines_refuse_devices_when_a_sweep_is_planned():
    with pytest.raises(PlanError, match=r"nodes: 3, and the 2 devices of a run cannot be spread"):
        plan_of(ONE_SIZE, TWO, "engine={name: slurm, nodes: 3}")
    with pytest.raises(PlanError, match="nodes: 2, and the 1 device of a run"):
        plan_of(ONE_SIZE, "engine={name: slurm, nodes: 2}")
    config = config_of(ONE_SIZE, TWO, "engine=ray")
    small, large = (cpu_profile(slots=4, devices=devices) for devices in (1, 2))
    with pytest.raises(PlanError, match="devices: 2, and 1 core may be used on one node"):
        make_plan(config, small, train_tokens=None)
    assert {run.slots for run in make_plan(config, large, train_tokens=None).runs} == {2}


def test_more_gpus_than_there_are_are_refused_where_they_were_counted():
    config = config_of(ONE_SIZE, "parallel.devices=4")
    counted = cpu_profile(kind="cuda", slots=1, devices=2)
    with pytest.raises(PlanError, match="devices: 4, and 2 GPUs may be used here"):
        make_plan(config, counted, train_tokens=None)
    assert profile_from_json(json.loads(json.dumps(to_json(counted)))) == counted
    earlier = cpu_profile(kind="cuda", slots=1)
    assert make_plan(config, earlier, train_tokens=None).runs
    assert "devices" not in to_json(earlier)


def test_parallel_without_a_number_of_devices_is_refused():
    with pytest.raises(ConfigError, match="devices: missing; expected how many train each run"):
        config_of(ONE_SIZE, "parallel={kind: fsdp}")


def test_a_spec_refuses_devices_that_cannot_share_its_batch():
    with pytest.raises(ValueError, match="2 sequences cannot be split evenly over 3 devices"):
        tiny_spec(parallel=Parallel(kind="ddp", devices=3))
    with pytest.raises(ValueError, match="expected one of ddp, fsdp"):
        Parallel(kind="tensor", devices=2)


def test_the_cluster_says_how_many_devices_it_has():
    config = config_of(ONE_SIZE, "engine=slurm", "parallel.devices=4")
    plan = make_plan(config, cpu_profile(slots=1), train_tokens=None)
    assert {run.resources.devices_of(run.spec).devices for run in plan.runs} == {4}
