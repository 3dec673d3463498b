"""A sweep in which sizes grow from smaller ones: which run waits for which, and refusals."""

from __future__ import annotations

import dataclasses

import pytest

from scaling_law.config.written import config_yaml
from scaling_law.errors import ConfigError, FitError, PlanError
from scaling_law.fit.points.points import points_from_records
from scaling_law.plan.make import make_plan
from scaling_law.plan.plan import Plan, plan_from_json, tasks_of
from scaling_law.plan.stacking import with_stacks
from scaling_law.spec.architectures import why_not_grown
from scaling_law.spec.counts import train_flops
from scaling_law.spec.from_json import run_spec_from_json
from scaling_law.spec.model import ModelSpec
from scaling_law.spec.to_json import to_json
from tests.fakes import config_of, cpu_profile, on_disk, record_of

GRID = """
name: growing
data: {corpus: installed, tokenizer: bytes, vocab_size: 257}
model: {n_ctx: 64}
grid:
  - sizes: [nano14k, {n_layer: 2, d_model: 48, n_head: 4}]
    tokens: [100k, 200k, 400k]
    seeds: [0, 1, 2]
  - sizes: [{n_layer: 2, d_model: 48, n_head: 4}]
    tokens: [100k, 200k]
    seeds: [0, 1]
    grow_from: nano14k
  - sizes: [{n_layer: 4, d_model: 48, n_head: 4}]
    tokens: [100k]
    grow_from: 2x48h4-55.5k
    grow_at: 150k
optim: {rule: slaw_small, lr: 0.01, batch_tokens: 512}
precision: fp32
"""
WIDE = "2x48h4-55.5k-from-nano14k"


def planned(text: str = GRID, **changes) -> Plan:
    return make_plan(config_of(text), cpu_profile(**changes), train_tokens=10**7)


def run_of(plan: Plan, label: str):
    return next(run for run in plan.runs if run.spec.label == label)


def test_a_grown_trunk_waits_for_its_parents_state_and_counts_its_parents_tokens():
    plan = planned()
    trunk, grown = run_of(plan, "nano14k-seed1-trunk"), run_of(plan, f"{WIDE}-seed1-trunk")
    growth = grown.spec.growth
    last = trunk.spec.total_steps
    assert (growth.trunk_id, growth.at_step, growth.model) == (
        trunk.run_id,
        last,
        trunk.spec.model,
    )
    assert growth.parent_tokens == last * 512
    assert growth.parent_flops == train_flops(trunk.spec.model, last * 512)
    assert (
        grown.flops_spent == grown.flops_alone == train_flops(grown.spec.model, grown.spec.tokens)
    )
    assert grown.spec.data_step == last
    assert grown not in plan.ready([], on_disk({}))
    assert grown in plan.ready([], on_disk({trunk.run_id: [last]}))
    deep = run_of(plan, "4x48h4-111k-from-2x48h4-55.5k-150K-seed0-h99.8K")
    assert deep.spec.kind == "single"
    parent = run_of(plan, "2x48h4-55.5k-seed0-trunk")
    assert deep.spec.growth.at_step == round(150_000 / 512)
    assert deep.spec.growth.at_step in parent.resources.save_steps


def test_parents_come_first_and_the_estimate_matches_the_runs():
    plan = planned()
    place = {run.run_id: number for number, run in enumerate(plan.runs)}
    for run in plan.runs:
        assert run.spec.parent is None or place[run.spec.parent.trunk_id] < place[run.run_id]
    tasks, index = tasks_of(plan.runs)
    grown = run_of(plan, f"{WIDE}-seed0-trunk")
    assert tasks[index[grown.run_id]].parent == index[grown.spec.growth.trunk_id]
    chain = plan.priority[run_of(plan, "nano14k-seed0-trunk").run_id]
    assert chain > plan.priority[run_of(plan, "nano14k-seed2-trunk").run_id]
    assert plan_from_json(plan.to_json()) == plan
    assert run_spec_from_json(to_json(grown.spec)) == grown.spec


def test_runs_that_do_not_grow_keep_their_ids_and_json():
    assert "growth" not in to_json(run_of(planned(), "nano14k-seed0-trunk").spec)
    assert "grow_" not in config_yaml(config_of(GRID.split("  - sizes: [{n_layer: 2")[0]))
    alone = planned(
        GRID.split("  - sizes: [{n_layer: 2")[0] + "optim: {rule: slaw_small, lr:"
        " 0.01, batch_tokens: 512}\nprecision: fp32\n"
    )
    ids = {run.run_id for run in planned().runs}
    same = {run.run_id for run in alone.runs if run.spec.kind == "branch"}
    assert same <= ids


def test_a_stack_has_runs_that_start_alike():
    plan = with_stacks(planned(slots=1))
    stacks: dict[str, set[str]] = {}
    for run in plan.runs:
        if run.resources.stack:
            stacks.setdefault(run.resources.stack, set()).add(
                f"{dict(run.spec.tags)['size']} {run.spec.kind}"
            )
    assert all(len(kinds) == 1 for kinds in stacks.values())
    assert {f"{WIDE} trunk"} in stacks.values()


def test_a_time_limit_never_cuts_a_trunk_that_others_grow_from():
    text = GRID.replace("tokens: [100k, 200k, 400k]", "tokens: [100k, 200k, 40M]")
    whole = planned(text)
    limited = planned(text + "limits: {time: 4m}\n")
    assert limited.left_out
    assert limited.seconds_estimate <= 240 < whole.seconds_estimate
    ids = {run.run_id for run in limited.runs}
    assert all(run.spec.parent.trunk_id in ids for run in limited.runs if run.spec.parent)
    for run in limited.runs:
        if growth := run.spec.growth:
            assert growth.at_step <= limited.by_id[growth.trunk_id].spec.total_steps


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("grow_from: nano14k", "grow_from: nano25k", "no size nano25k with seed 0 in the grid"),
        ("seeds: [0, 1]\n", "seeds: [7]\n", "no size nano14k with seed 7"),
        ("n_head: 4}]\n    tokens: [100k, 200k]\n", "n_head: 2}]\n    tokens: [100k, 200k]\n",
         "head_size 24, the smaller model has 12; take n_head 4"),
        ("grow_at: 150k", "grow_at: 2M", "grow_at 2M tokens is outside"),
        ("precision: fp32", "schedule: {shape: cosine}", "schedule.shape wsd"),
        ("    grow_from: 2x48h4-55.5k\n", "", "grow_from is missing"),
    ],
)  # fmt: skip
def test_a_size_that_cannot_grow_is_one_line(before, after, said):
    assert before in GRID
    with pytest.raises((PlanError, ConfigError), match=said) as caught:
        planned(GRID.replace(before, after))
    assert "grow_from" in str(caught.value)


def test_grown_runs_are_points_only_on_request_and_share_their_roots_cluster():
    plan = planned()
    records = [record_of(run.spec) for run in plan.runs]
    points = points_from_records(records)
    grown = [r for r in records if r.spec.growth and r.kind != "trunk"]
    assert not set(points.run_id) & {r.run_id for r in grown}
    reasons = [why for _, why in points.dropped if why.startswith("grown: began as nano14k-seed")]
    assert len(reasons) == 6  # four branches and their two trunks
    kept = points_from_records(records, keep=["grown"])
    assert {r.run_id for r in grown} <= set(kept.run_id)
    clusters = {c for c, s in zip(kept.cluster, kept.size, strict=True) if s == WIDE}
    assert clusters == {"nano14k seed 0", "nano14k seed 1"}
    assert any("5 of 23 runs grew from smaller ones" in note for note in kept.notes)
    with pytest.raises(FitError, match=r"grown \(5\)"):
        points_from_records(grown)


def test_a_model_is_not_grown_into_itself():
    model = planned().runs[0].spec.model
    assert isinstance(model, ModelSpec)
    assert why_not_grown(model, model)
    assert not why_not_grown(model, dataclasses.replace(model, n_layer=3))
