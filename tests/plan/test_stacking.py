"""Which runs are stacked; stacking never lengthens the estimated time of a sweep."""

import dataclasses
from collections import Counter

import pytest

from scaling_law.errors import ConfigError, PlanError
from scaling_law.plan.device_profile import SpeedPoint, shared_by
from scaling_law.plan.make import make_plan
from scaling_law.plan.plan import Plan, plan_from_json, tasks_of
from scaling_law.plan.stacking import gain, stackable, with_stacks
from scaling_law.plan.table import render_plan
from scaling_law.spec.model import ModelSpec
from tests.fakes import config_of, cpu_profile

SEEDS = """
name: seeds
data: {corpus: installed, tokenizer: bytes, vocab_size: 257}
model: {n_ctx: 64}
grid:
  - sizes: [{n_layer: 2, d_model: 24, n_head: 1}, {n_layer: 2, d_model: 96, n_head: 3}]
    tokens: [100k, 200k]
    seeds: [0, 1, 2]
optim: {rule: slaw_small, lr: 0.01, batch_tokens: 512}
precision: fp32
"""


def planned(slots: int = 1, **changes) -> Plan:
    profile = cpu_profile(slots=slots, **changes)
    return make_plan(config_of(SEEDS), profile, train_tokens=10**7)


def test_seeds_of_a_narrow_size_are_stacked_trunks_and_branches_separately():
    plan = with_stacks(planned())
    stacks: dict[str, list[str]] = {}
    for run in plan.runs:
        if run.resources.stack:
            stacks.setdefault(run.resources.stack, []).append(run.spec.label)
            assert run.spec.model.dimensions["d_model"] == 24
    kinds = sorted(label.split("-")[-1] for labels in stacks.values() for label in labels)
    assert len(stacks) == 3  # the trunk, and each horizon's cooldown
    assert all(len(labels) == 3 for labels in stacks.values())
    assert kinds.count("trunk") == 3
    before = planned()
    assert [run.run_id for run in plan.runs] == [run.run_id for run in before.runs]
    assert plan.seconds_estimate < before.seconds_estimate
    assert "9 runs of one shape each as 3 programs" in render_plan(plan)
    assert plan_from_json(plan.to_json()) == plan


def test_a_stack_that_would_leave_slots_idle_is_not_made():
    plan = planned(slots=3)
    alone = with_stacks(plan)
    assert alone == plan
    assert all(run.resources.stack is None for run in alone.runs)


def test_many_seeds_are_divided_among_the_slots():
    config = config_of(SEEDS.replace("[0, 1, 2]", "[0, 1, 2, 3, 4, 5]"))
    plan = with_stacks(make_plan(config, cpu_profile(slots=2), train_tokens=10**7))
    members = Counter(run.resources.stack for run in plan.runs if run.resources.stack)
    assert set(members.values()) == {3}
    assert len(members) == 6


def test_memory_limits_a_stack():
    roomy = with_stacks(planned())
    largest = max(run.memory_bytes for run in roomy.runs if run.resources.stack)
    single = min(run.memory_bytes for run in planned().runs)
    tight = with_stacks(planned(memory_bytes=(largest + single) // 2))
    sizes = {run.resources.stack for run in tight.runs if run.resources.stack}
    assert all(run.memory_bytes <= tight.memory_limit_bytes for run in tight.runs)
    members = [run for run in tight.runs if run.resources.stack in sizes]
    assert len(members) < sum(bool(run.resources.stack) for run in roomy.runs)


def test_tasks_of_a_plan_with_stacks_keep_the_work_and_the_order():
    plan = with_stacks(planned())
    tasks, index = tasks_of(plan.runs)
    assert sum(task.seconds for task in tasks) == pytest.approx(sum(r.seconds for r in plan.runs))
    for run in plan.runs:
        task = tasks[index[run.run_id]]
        assert (task.parent is None) == (run.spec.branch is None)
        if run.spec.branch:
            assert task.parent == index[run.spec.branch.trunk_id]
            assert 0 < task.after_seconds <= tasks[task.parent].seconds
    assert set(plan.priority) == {run.run_id for run in plan.runs}


def test_runs_that_cannot_share_a_program_are_not_stacked():
    run = planned().runs[0]
    assert stackable(run, "cpu")
    for changes in ({"gradient_checkpointing": True}, {"micro_seqs": 2}):
        resources = dataclasses.replace(run.resources, **changes)
        assert not stackable(dataclasses.replace(run, resources=resources), "cpu")
    assert isinstance(run.spec.model, ModelSpec)
    wide = dataclasses.replace(run.spec.model, d_model=96, n_head=3, n_kv_head=3)
    assert gain(wide, 512, "cpu") == 1
    assert stackable(run, "cuda")


@pytest.mark.parametrize("limit", [None, "12s", "15s", "18s", "21s", "24s"])
def test_seeds_with_other_horizons_are_planned_too(limit):
    """A trunk of another length is not stacked, and neither are its cooldowns."""
    text = (
        SEEDS.split("grid:")[0]
        + """grid:
  - {sizes: [{n_layer: 2, d_model: 24, n_head: 1}], tokens: [100k, 200k], seeds: [0, 3]}
  - {sizes: [{n_layer: 2, d_model: 24, n_head: 1}], tokens: [100k, 400k], seeds: [1, 2]}
optim: {rule: slaw_small, lr: 0.01, batch_tokens: 512}
precision: fp32
"""
    )
    text += f"limits: {{time: {limit}}}\n" if limit else ""
    profile = cpu_profile(slots=1, speed=(SpeedPoint(params_matmul=10**4, flops_per_second=2e10),))
    plan = with_stacks(make_plan(config_of(text), profile, train_tokens=10**7))
    tasks, index = tasks_of(plan.runs)
    trunk_of = {r.run_id: r.spec.branch.trunk_id for r in plan.runs if r.spec.branch}
    for run_id, trunk_id in trunk_of.items():
        assert tasks[index[run_id]].parent == index[trunk_id] < index[run_id]
    assert limit or any(run.resources.stack for run in plan.runs)


def test_large_steps_and_vocabularies_are_not_stacked():
    spec = planned().runs[0].spec
    assert gain(spec.model, 512, "cpu") > 1
    assert gain(spec.model, 4096, "cpu") == 1
    assert gain(dataclasses.replace(spec.model, vocab_size=4096), 512, "cpu") == 1


def test_several_runs_at_once_on_a_gpu_share_its_memory_and_its_speed():
    card = cpu_profile(kind="cuda", slots=1, memory_bytes=80 * 10**9)
    config = config_of(SEEDS + "limits: {slots: 4}\n")
    assert config.limits.slots == 4
    shared = shared_by(card, config.limits.slots)
    plan = with_stacks(make_plan(config, shared, train_tokens=10**7))
    whole = with_stacks(make_plan(config, card, train_tokens=10**7))
    assert (plan.slots, plan.memory_limit_bytes) == (4, whole.memory_limit_bytes)
    assert plan.runs[0].seconds > 3 * whole.runs[0].seconds
    assert [run.run_id for run in plan.runs] == [run.run_id for run in whole.runs]
    # a program of one is a stack too: its step is recorded
    assert all(run.resources.stack for run in plan.runs)
    small = dataclasses.replace(card, memory_bytes=10**9)
    assert make_plan(config, small, train_tokens=10**7).runs
    with pytest.raises(PlanError, match=r"a slot has 250 MB"):
        make_plan(config, shared_by(small, 4), train_tokens=10**7)


def test_a_cpu_may_be_given_fewer_runs_than_cores_but_not_more():
    profile = cpu_profile(slots=4)
    assert shared_by(profile, None) is profile
    fewer = shared_by(profile, 2)
    assert (fewer.slots, fewer.speed) == (2, profile.speed)
    with pytest.raises(ConfigError, match=r"limits.slots: 5, this machine has 4 cores"):
        shared_by(profile, 5)


def test_runs_whose_loss_no_model_computes_itself_take_the_plain_path(tmp_path):
    (tmp_path / "odd.py").write_text(
        "from scaling_law.train.objectives import Objective\n\n"
        "OBJECTIVE = Objective(loss=min, unit='x', comparable='x')\n"
    )
    plain = config_of(SEEDS)
    odd = config_of(SEEDS + f"objective: {tmp_path / 'odd.py'}\nprobes: [accuracy]\n")
    for device in ("cpu", "cuda"):
        plans = [make_plan(c, cpu_profile(slots=1), train_tokens=10**7) for c in (plain, odd)]
        small = [plan.runs[0] for plan in plans]
        assert [stackable(run, device) for run in small] == [True, False]
    spec = plans[1].runs[0].spec
    assert spec.objective is not None and spec.objective.name == "odd"
    assert [probe.name for probe in spec.probes or ()] == ["accuracy"]
    assert (plans[0].runs[0].spec.objective, plans[0].runs[0].spec.probes) == (None, None)
