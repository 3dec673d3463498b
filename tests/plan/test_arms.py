"""Plans of several arms: labels, tags, costs, and what stays as it was without axes."""

from __future__ import annotations

import pytest

from scaling_law.config.written import config_yaml
from scaling_law.errors import PlanError
from scaling_law.plan.make import make_plan
from scaling_law.plan.plan import plan_from_json
from scaling_law.plan.stacking import stackable
from scaling_law.plan.table import render_plan
from scaling_law.spec.arms import arm_label, arm_of, short_names, value_text
from scaling_law.spec.recipe import recipes
from tests.fakes import ONE_SIZE, config_of, cpu_profile, plan_of

SWEEP = ONE_SIZE + "    seeds: [0, 1]\n"


def test_each_arm_has_the_whole_grid_and_its_runs_know_their_values():
    plan = plan_of(SWEEP + "axes: {optim.weight_decay: [0, .3]}\n")
    without = plan_of(SWEEP)
    assert len(plan.runs) == 2 * len(without.runs) == 12
    assert len({run.spec.label for run in plan.runs}) == len(plan.by_id) == 12
    assert plan.runs[1].spec.label == "nano14k-weight_decay0-seed0-h500K"
    for run in plan.runs:
        values = dict(arm_of(run.spec))
        assert values == {"optim.weight_decay": value_text(run.spec.optim.weight_decay)}
        assert ("axis:optim.weight_decay", values["optim.weight_decay"]) in run.spec.tags
        if run.spec.branch:
            assert arm_of(plan.by_id[run.spec.branch.trunk_id].spec) == arm_of(run.spec)
    assert plan.flops_total == 2 * without.flops_total
    # a tag is no part of a recipe
    assert len({tuple(recipe.items()) for recipe in recipes([r.spec for r in plan.runs])}) == 2


def test_adding_arms_changes_no_run():
    first = plan_of(SWEEP + "axes: {optim.weight_decay: [0, .3]}\n")
    more = plan_of(SWEEP + "axes: {optim.weight_decay: [1, .3, 0, .25]}\n")
    assert set(first.by_id) < set(more.by_id)


def test_without_axes_nothing_names_an_arm():
    plan = plan_of(SWEEP)
    assert plan.arms == () and "arms" not in plan.to_json()
    assert all(not tag.startswith("axis:") for run in plan.runs for tag, _ in run.spec.tags)
    assert not [line for line in render_plan(plan).splitlines() if line.startswith("arm")]


def test_the_cost_of_each_arm_is_in_the_json_and_in_the_table():
    plan = plan_of(SWEEP + "axes: {optim.weight_decay: [0, .3], model.position: [rotary, alibi]}\n")
    document = plan.to_json()
    assert [arm["values"] for arm in document["arms"]] == [
        {"model.position": position, "optim.weight_decay": decay}
        for decay in ("0", "0.3")
        for position in ("rotary", "alibi")
    ]
    assert sum(arm["flops_spent"] for arm in document["arms"]) == plan.flops_total
    assert [(arm["points"], arm["trunks"]) for arm in document["arms"]] == [(4, 2)] * 4
    assert plan_from_json(document) == plan
    lines = render_plan(plan).splitlines()
    heads = [i for i, line in enumerate(lines) if line.startswith("arm ")]
    assert lines[heads[1]] == "arm model.position=alibi, optim.weight_decay=0"
    assert heads[1] - heads[0] == 7, "an arm's runs stand under its name"
    assert "weight decay 0 or 0.3" in render_plan(plan)


def test_a_long_or_unusual_value_has_a_digest_as_its_label():
    values = [f"[{', '.join(f'domain{i}' for i in range(n))}]" for n in (20, 21)]
    plan = plan_of(SWEEP + f"axes: {{data.domains: [{', '.join(values)}]}}\n")
    labels = {run.spec.label for run in plan.runs}
    assert len(labels) == len(plan.runs) and all("-arm-" in label for label in labels)
    assert arm_label((("optim.name", "sgd"),)) == "optim-sgd"
    assert arm_label((("optim.lr", "1e-05"), ("model.qk_norm", "true"))) == "lr1e-05-qk_norm-true"
    assert arm_label((("data.corpus", "/a b"),)).startswith("arm-")
    assert short_names([(("a.b", "1"), ("a.c", "2")), (("a.b", "1"), ("a.c", "3"))]) == [
        "c 2", "c 3"
    ]  # fmt: skip
    assert short_names([(), (("a.b", "1"),)]) == ["without axes", "b 1"]


def test_arms_with_identical_runs_are_refused_with_the_place_of_their_axis():
    with pytest.raises(PlanError) as caught:
        plan_of(SWEEP + "axes: {model.gradient_checkpointing: [true, false]}\n")
    (line,) = caught.value.lines
    assert "yaml:9: axes.model.gradient_checkpointing" in line and "are the same runs" in line


def test_an_arms_problem_is_reported_once_with_its_place():
    with pytest.raises(PlanError) as caught:
        plan_of(SWEEP + "axes: {optim.batch_tokens: [512, 100], optim.weight_decay: [0, 1]}\n")
    (line,) = caught.value.lines
    assert "yaml:9: axes.optim.batch_tokens: 100 is not a multiple of model.n_ctx 64" in line


def test_a_problem_of_some_arms_names_them():
    text = SWEEP + "    axes: {optim.weight_decay: [0, .3]}\n"
    text += "  - sizes: [nano14k]\n    tokens: [2M]\n    axes: {optim.weight_decay: [.3, 1]}\n"
    with pytest.raises(PlanError) as caught:
        plan_of(text)
    (line,) = caught.value.lines
    assert line.endswith(
        "size nano14k with seed 0 is in the grid twice (arm optim.weight_decay=0.3)"
    )


def test_points_are_counted_over_all_arms():
    seeds = f"    seeds: {list(range(300))}\n"
    text = SWEEP.replace("    seeds: [0, 1]\n", seeds)
    config = config_of(f"{text}axes: {{optim.weight_decay: {list(range(20))}}}\n")
    with pytest.raises(PlanError, match=r"up to 12000 points \(arms x sizes x seeds x horizons\)"):
        make_plan(config, cpu_profile(), train_tokens=None)


def test_precision_may_be_an_axis():
    plan = plan_of(SWEEP + "axes: {precision: [fp32, bf16]}\n")
    assert plan.precision == "fp32, bf16"
    assert {run.spec.precision for run in plan.runs} == {"fp32", "bf16"}


def test_an_arm_grows_from_its_own_trunks():
    config = config_of(
        SWEEP.replace("nano14k", "{n_layer: 1, d_model: 16, n_head: 2}")
        + "  - sizes: [{n_layer: 2, d_model: 16, n_head: 2}]\n    tokens: [500K]\n"
        "    grow_from: 1x16-3.12k\naxes: {optim.weight_decay: [0, .3]}\n"
    )
    plan = make_plan(config, cpu_profile(), train_tokens=None)
    grown = [run.spec for run in plan.runs if run.spec.growth]
    assert len(grown) == 2
    for spec in grown:
        assert spec.growth is not None
        assert arm_of(plan.by_id[spec.growth.trunk_id].spec) == arm_of(spec)


def test_a_stack_asks_the_optimizer():
    plan = plan_of(SWEEP + "axes: {optim.name: [adamw, sgd]}\noptim: {batch_tokens: 512}\n")
    stacks = {(run.spec.optim.component.name, stackable(run, "cpu")) for run in plan.runs}
    assert stacks == {("adamw", True), ("sgd", False)}


def test_a_sweep_folder_reads_its_own_config_again():
    config = config_of(SWEEP + "axes: {optim.weight_decay: [0, .3]}\n")
    assert config_of(config_yaml(config)) == config


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (
            "axes: {optim.rule: [slaw_small, steplaw]}\n"
            "optim: {lr: 0.001, batch_examples: 8, warmup_tokens: 4096}\n",
            "optim.rule",
        ),
        (
            "axes: {schedule.cooldown: [linear, cosine]}\nschedule: {shape: cosine}\n",
            "schedule.cooldown",
        ),
        ("axes: {schedule.decay_frac: [0.1, 0.2]}\nschedule: {shape: linear}\n", "decay_frac"),
    ],
)
def test_arms_with_the_same_steps_and_rates_are_the_same_runs(text, key):
    with pytest.raises(PlanError, match="are the same runs") as caught:
        plan_of(SWEEP + text)
    assert key in str(caught.value)


def test_schedules_that_differ_in_their_rates_are_arms():
    assert len(plan_of(SWEEP + "axes: {schedule.shape: [linear, cosine, wsd]}\n").arms) == 3
    assert len(plan_of(SWEEP + "axes: {schedule.cooldown: [linear, cosine]}\n").arms) == 2


def test_arms_of_more_steps_than_a_float_counts_are_compared():
    text = SWEEP + "axes: {optim.weight_decay: [0, .1]}\nlimits: {time: 1e30h, memory: 1TB}\n"
    plan = plan_of(text, "grid.0.tokens=[1e30]", "schedule.shape=constant")
    assert len(plan.arms) == 2


def test_axes_from_the_command_line_that_vary_nothing_are_refused():
    key = "axes={model.gradient_checkpointing: [true, false]}"
    with pytest.raises(PlanError, match="are the same runs"):
        plan_of(SWEEP, key)
