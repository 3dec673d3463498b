"""Plans: trunks and branches, costs, limits, what is refused, the dry-run table."""

import cProfile
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from scaling_law.config.load import load_config
from scaling_law.config.schema import DEVICE_KINDS
from scaling_law.errors import ConfigError, PlanError
from scaling_law.plan.device_profile import DeviceProfile, SpeedPoint
from scaling_law.plan.make import make_plan
from scaling_law.plan.packing import TimedTask, chain_seconds, makespan_seconds
from scaling_law.plan.plan import PlannedRun, plan_from_json
from scaling_law.plan.table import render_plan
from scaling_law.spec.counts import count_params, flops_per_token
from scaling_law.spec.from_json import run_spec_from_json
from scaling_law.spec.optim import RuleOverrides
from scaling_law.spec.schedule import lr_factor
from tests.fakes import config_of, cpu_profile, on_disk, text_spec

SWEEP = """\
name: test
data: {corpus: installed, vocab_size: 512}
model: {n_ctx: 64}
grid:
  - sizes: [nano14k]
    tokens: [1M, 2M, 4M, 8M]
optim: {batch_tokens: 1600, warmup_tokens: 16000}
eval: {val_tokens: 1024, curve_tokens: 1024, curve_points: 4}
"""


@pytest.fixture
def plan_of(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text(SWEEP)

    def plan_of(*overrides, train_tokens=None, **profile):
        config = load_config("s.yaml", device_kind="cpu", overrides=overrides)
        return make_plan(config, cpu_profile(**profile), train_tokens=train_tokens)

    return plan_of


def refusal(plan_of: Any, *overrides: str, **options: Any) -> list[str]:
    with pytest.raises(PlanError) as caught:
        plan_of(*overrides, **options)
    return list(caught.value.lines)


def test_one_trunk_and_a_branch_per_horizon(plan_of):
    plan = plan_of()
    trunk, *branches = plan.runs
    assert trunk.spec.kind == "trunk" and trunk.spec.schedule.decay_steps is None
    assert [run.spec.total_steps for run in branches] == [625, 1250, 2500, 5000]
    assert [run.spec.branch.at_step for run in branches] == [500, 1000, 2000, 4000]
    assert trunk.resources.save_steps == (500, 1000, 2000, 4000)
    assert trunk.spec.total_steps == 4000
    assert all(run.spec.branch.trunk_id == trunk.run_id for run in branches)
    assert len({run.spec.label for run in plan.runs}) == 5
    tags = [dict(run.spec.tags) for run in branches]
    assert [tag["horizon"] for tag in tags] == ["0", "1", "2", "3"]
    assert all(tag["size"] == "nano14k" and tag["seed"] == "0" for tag in tags)


def test_branching_saves_37_percent(plan_of):
    """Horizons 1, 2, 4, 8 with 20% cooldown: (.8 * 8 + .2 * 15) / 15 = 9.4 / 15 = 63%."""
    plan = plan_of()
    assert plan.flops_total / plan.flops_if_from_scratch == pytest.approx(9.4 / 15, rel=1e-12)
    assert plan.saving_frac == pytest.approx(1 - 0.62667, abs=1e-4)


def test_trunk_then_branch_has_the_learning_rate_of_the_straight_run(plan_of):
    trunk, *branches = plan_of().runs
    for branch in branches:
        spec = branch.spec
        for step in range(spec.total_steps):
            own = spec if step >= spec.start_step else trunk.spec
            straight = lr_factor(spec.schedule, step, spec.total_steps)
            assert lr_factor(own.schedule, step, own.total_steps) == straight
        last = lr_factor(spec.schedule, spec.total_steps - 1, spec.total_steps)
        assert last < 0.01
    for name in ("model", "data", "optim", "batch_tokens", "seed", "precision"):
        assert all(getattr(b.spec, name) == getattr(trunk.spec, name) for b in branches)


def test_single_runs_where_nothing_is_shared(plan_of):
    (single,) = plan_of("grid.0.tokens=[1M]").runs
    assert single.spec.kind == "single" and single.spec.schedule.decay_steps == 125
    cosine = plan_of("schedule.shape=cosine")
    assert [run.spec.kind for run in cosine.runs] == ["single"] * 4
    assert cosine.saving_frac == 0


def test_horizons_are_given_in_several_units(plan_of):
    plan = plan_of("grid.0={sizes: [nano14k, nano25k], tokens_per_param: [20], convention: total}")
    for run in plan.runs:
        params = count_params(run.spec.model).total
        assert run.spec.tokens == pytest.approx(20 * params, abs=800)
    plan = plan_of("grid.0={sizes: [nano14k, nano25k], flops: [1e11, 4e11]}")
    ends = [run for run in plan.runs if run.spec.branch]
    assert [dict(run.spec.tags)["cell"] for run in ends] == ["1e+11", "4e+11"] * 2
    for run, flops in zip(ends, (1e11, 4e11, 1e11, 4e11), strict=True):
        assert run.flops_alone == pytest.approx(flops, rel=0.01)


def test_a_ladder_puts_sizes_in_cells_of_equal_compute(plan_of):
    plan = plan_of(
        "grid.0={sizes: [nano14k, nano25k, nano55k, nano98k, nano220k, nano440k],"
        " flops_ladder: {base_flops: 2e11, tokens_near: 400K}}"
    )
    cells: dict[str, list[float]] = {}
    firsts = []
    for run in plan.runs:
        tags = dict(run.spec.tags)
        if run.spec.branch:
            cells.setdefault(tags["cell"], []).append(run.flops_alone)
            firsts += [run.spec.tokens] if tags["horizon"] == "0" else []
    assert all(
        flops == pytest.approx([float(c)] * len(flops), rel=0.01) for c, flops in cells.items()
    )
    assert max(map(len, cells.values())) >= 4
    assert all(4e5 / 2**0.51 < tokens < 4e5 * 2**0.51 for tokens in firsts)


def test_sizes_are_given_by_range_and_shape(plan_of):
    plan = plan_of(
        "grid.0={sizes: {params: [10k, 400k], count: 6}, tokens: [1M]}",
    )
    sizes = [count_params(run.spec.model).non_embedding for run in plan.runs]
    assert sizes == pytest.approx([1e4 * 40 ** (i / 5) for i in range(6)], rel=0.14)
    shape = "{n_layer: 2, d_model: 32, n_head: 4, n_kv_head: 2, d_ff: 96}"
    (run,) = plan_of(f"grid.0={{sizes: [{shape}], tokens: [1M]}}").runs
    assert run.spec.label == "2x32h4k2f96-18.6k-seed0-h1M"
    assert (run.spec.model.n_kv_head, run.spec.model.d_ff) == (2, 96)


def test_seeds_are_given_for_one_size(plan_of):
    plan = plan_of("grid.0.sizes=[nano14k, nano25k]", "grid.0.seeds={nano25k: [0, 1, 2]}")
    trunks = [run.spec for run in plan.runs if run.spec.kind == "trunk"]
    sizes_and_seeds = [(dict(spec.tags)["size"], spec.seed) for spec in trunks]
    assert sizes_and_seeds == [("nano14k", 0), ("nano25k", 0), ("nano25k", 1), ("nano25k", 2)]


def test_overrides_win_and_are_named_in_the_rule(plan_of):
    (run,) = plan_of("grid.0.tokens=[1M]", "optim={lr_mult: 2, beta2: .9, batch_tokens: 640}").runs
    assert run.spec.optim.rule == "slaw_small"
    assert run.spec.optim.overrides == RuleOverrides(lr_mult=2, batch_tokens=640, beta2=0.9)
    assert run.spec.optim.rule_text == "slaw_small lr_mult=2 batch_tokens=640 beta2=0.9"
    assert (run.spec.batch_tokens, run.spec.optim.beta2) == (640, 0.9)
    (plain,) = plan_of("grid.0.tokens=[1M]", "optim={batch_tokens: 640}").runs
    assert run.spec.optim.lr == pytest.approx(2 * plain.spec.optim.lr)
    (given,) = plan_of("grid.0.tokens=[1M]", "optim={lr: 1e-3, grad_clip: null}").runs
    assert given.spec.optim.lr == 1e-3 and given.spec.optim.overrides == RuleOverrides(lr=1e-3)
    assert given.spec.optim.grad_clip is None


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["grid.0.tokens=[1K]"], "a horizon of 1K tokens is below one step of 1.6K tokens"),
        (["optim.warmup_tokens=2M"], "the warm-up of 1250 steps leaves nothing before"),
        (["optim.batch_tokens=1000"], "1000 is not a multiple of model.n_ctx 64; nearest: 960 and"),
        (["grid.0.sizes=[nano14k, nano14k]"], "size nano14k with seed 0 is in the grid twice"),
        (["grid.0.tokens=[1M, 1M]"], "two horizons become the same 625 steps"),
        (["grid.0.seeds={tiny: [0]}"], "no size of this entry has that name; it has nano14k"),
        (["grid.0.sizes={params: [10k, 11k], count: 5}"], "5 sizes are too many"),
        (["grid.0.sizes={params: [1k, 2k], count: 2, convention: total}"], "no shape has 1e+03"),
        (["grid.0.sizes=[{n_layer: 1, d_model: 9, n_head: 3}]"], "need an even head size, found 3"),
    ],
)
def test_impossible_grids_are_one_clear_line(plan_of, overrides, said):
    (line,) = refusal(plan_of, *overrides)
    assert said in line and line.startswith(("--set ", "s.yaml:6: grid.0.tokens: "))


def test_every_problem_at_once_with_file_and_line(plan_of):
    message = refusal(plan_of, "optim.warmup_tokens=2M", train_tokens=1_000_000)
    assert message[0].startswith("s.yaml:6: grid.0.tokens: size nano14k: the warm-up of 1250 steps")
    message = refusal(plan_of, train_tokens=1_000_000)
    assert message == [
        "s.yaml:6: grid.0.tokens: the longest horizon, 8M tokens, is 8 epochs of the corpus's 1M"
        " training tokens, more than data.max_epochs 4; shorten the horizon, take a larger"
        " corpus or raise data.max_epochs"
    ]
    plan = plan_of("data.max_epochs=8", train_tokens=1_000_000)
    assert plan.runs[-1].epochs == 8


def test_the_time_limit_leaves_out_the_longest_points(plan_of):
    sizes = "grid.0.sizes=[nano14k, nano55k, nano220k]"
    whole = plan_of(sizes)
    assert not whole.left_out
    limit = whole.seconds_estimate / 2
    plan = plan_of(sizes, f"limits.time={limit}")
    assert 0 < plan.seconds_estimate <= limit
    points = [run for run in plan.runs if run.spec.kind != "trunk"]
    assert len(points) + len(plan.left_out) == 12
    assert "nano220k-seed0-h8M" in {item.label for item in plan.left_out}
    assert "over limits.time" in plan.left_out[0].reason
    assert {dict(run.spec.tags)["size"] for run in points} >= {"nano14k", "nano55k"}
    # no point that stays would be more expensive alone than one that goes
    assert "nano14k-seed0-h8M" in {run.spec.label for run in points}
    assert "nothing of the grid fits" in refusal(plan_of, sizes, "limits.time=1s")[0]


def test_the_memory_limit_shrinks_the_micro_batch_then_leaves_out(plan_of):
    wide = ("grid.0={sizes: [nano14k, medium], tokens: [1M]}", "model.n_ctx=512",
            "optim={batch_tokens: 65536}")  # fmt: skip
    roomy = plan_of(*wide, memory_bytes=120 * 10**9)
    assert [run.resources.micro_seqs for run in roomy.runs] == [None, None]
    tight = plan_of(*wide, memory_bytes=10 * 10**9)
    assert tight.runs[1].resources.micro_seqs < 128
    assert [r.run_id for r in tight.runs] == [r.run_id for r in roomy.runs]
    small = plan_of(*wide, memory_bytes=80 * 10**9, slots=1)
    assert small.runs[1].memory_bytes == roomy.runs[1].memory_bytes
    none = plan_of(*wide, "limits.memory=2GB", memory_bytes=80 * 10**9)
    assert [dict(run.spec.tags)["size"] for run in none.runs] == ["nano14k"]
    assert none.left_out[0].label == "medium-seed0-h983K"
    assert "one sequence at a time" in none.left_out[0].reason


def test_precision_and_device_come_from_the_profile(plan_of):
    auto = plan_of(kind="cuda", precision="bf16")
    assert auto.runs[0].spec.precision == "bf16" and auto.runs[0].resources.device == "cuda"
    asked = plan_of("precision=fp16", kind="cuda", precision="bf16")
    assert asked.runs[0].spec.precision == "fp16" and asked.precision_reason == "asked for"


def test_ready_follows_what_is_saved_longest_chain_first(plan_of):
    plan = plan_of("grid.0.sizes=[nano14k, nano55k]")
    small, large = (run for run in plan.runs if run.spec.kind == "trunk")
    assert [run.run_id for run in plan.ready((), on_disk({}))] == [large.run_id, small.run_id]
    assert plan.priority[large.run_id] > large.seconds
    saved = on_disk({large.run_id: [500, 1000]})
    ready = list(plan.ready((), saved, busy={large.run_id}))
    assert ready[0] == small and len(ready) == 3
    assert {run.spec.branch.at_step for run in ready[1:]} == {500, 1000}
    done = {run.run_id for run in plan.runs}
    assert not list(plan.ready(done, saved))
    assert plan.by_id[small.run_id] is small


def test_horizons_that_round_to_one_name_are_told_apart_by_their_steps(plan_of):
    plan = plan_of("grid.0.tokens=[1M, 4000000, 4003200]")
    names = [run.spec.label.rpartition("-seed0-")[2] for run in plan.runs]
    assert names == ["trunk", "h1M", "h4M-2500", "h4M-2502"]


def test_a_larger_grid_does_not_change_run_ids(plan_of):
    before = {run.run_id for run in plan_of("grid.0.sizes=[nano14k]").runs}
    after = {run.run_id for run in plan_of("grid.0.sizes=[nano14k, nano25k]").runs}
    assert before < after


def test_reference_runs_keep_their_names():
    folder = Path(__file__).parents[2] / "results" / "reference" / "quick-cpu" / "runs"
    specs = sorted(folder.glob("*/spec.json"))
    assert len(specs) == 40
    for path in specs:
        assert run_spec_from_json(json.loads(path.read_text())).run_id == path.parent.name


def test_plans_are_read_back_from_json(plan_of):
    plan = plan_of("grid.0.sizes=[nano14k, medium]", "limits.time=2h", train_tokens=10**7)
    again = plan_from_json(json.loads(json.dumps(plan.to_json(), allow_nan=False)))
    assert again == plan and again.left_out
    with pytest.raises(PlanError, match="schema_version 0, expected 1 to 3"):
        plan_from_json({**plan.to_json(), "schema_version": 0})


def test_runs_are_packed_on_slots():
    trunk = [TimedTask(10.0), TimedTask(2.0, 0, 2.5), TimedTask(2.0, 0, 10.0)]
    assert chain_seconds(trunk) == [12.0, 2.0, 2.0]
    assert makespan_seconds(trunk, 1) == 14.0
    assert makespan_seconds(trunk, 2) == 12.0
    assert makespan_seconds([TimedTask(3.0), TimedTask(2.0), TimedTask(1.0)], 2) == 3.0
    assert makespan_seconds([], 2) == 0.0


def calls_of_planning(plan_of, n_seeds):
    """Runs of a plan, and the function calls that making it took."""
    grid = (
        f"grid.0={{sizes: {{params: [30k, 3M], count: 16}}, seeds: {list(range(n_seeds))},"
        " flops_ladder: {base_flops: 1e12, count: 10, tokens_near: 1M}}"
    )
    profiler = cProfile.Profile()
    plan = profiler.runcall(plan_of, grid, memory_bytes=10**12, slots=64)
    return len(plan.runs), sum(entry.callcount for entry in profiler.getstats())


def test_the_cost_of_planning_is_linear_in_the_runs(plan_of):
    # 10,000 runs take 3 CPU seconds at most (benchmarks/startup.py); calls do not depend on load
    plan_of()  # caches, imports
    few, calls_few = calls_of_planning(plan_of, 3)
    many, calls_many = calls_of_planning(plan_of, 12)
    assert (few, many) == (16 * 3 * 11, 16 * 12 * 11)
    assert (calls_many - calls_few) / (many - few) < 550
    assert calls_many < 4.5 * calls_few


def test_the_table_shows_every_run_and_what_was_left_out(plan_of):
    plan = plan_of("grid.0.sizes=[nano14k, nano220k]", "limits.time=4m", train_tokens=10**7)
    text = render_plan(plan)
    assert all(run.spec.label in text for run in plan.runs)
    assert all(item.label in text for item in plan.left_out) and plan.left_out
    table = text.split("\n\n")[0].splitlines()
    assert len(table) == 2 + len(plan.runs)
    assert max(map(len, text.splitlines())) <= 140
    assert "branching saves" in text and "over limits.time" in text
    assert "causality not halved" in text
    assert "left out: nothing" in render_plan(plan_of())


def profile_of(kind: str) -> DeviceProfile:
    if kind == "cpu":
        return cpu_profile()
    memory, slow, fast = {"mps": (16e9, 1e11, 4e12), "cuda": (140e9, 4e12, 2e14)}[kind]
    return cpu_profile(
        kind=kind,
        slots=1,
        memory_bytes=int(memory),
        precision="bf16",
        speed=(
            SpeedPoint(params_matmul=10**6, flops_per_second=slow),
            SpeedPoint(params_matmul=10**8, flops_per_second=fast),
        ),
    )


@pytest.mark.parametrize("mode", ["quick", "dev", "full"])
@pytest.mark.parametrize("kind", DEVICE_KINDS)
def test_shipped_modes_give_a_grid_on_every_device(mode, kind):
    config = load_config(mode, device_kind=kind)
    tokens = 700_000_000 if text_spec(config).corpus == "fineweb_edu" else 28_000_000
    plan = make_plan(config, profile_of(kind), train_tokens=tokens)
    points = [run for run in plan.runs if run.spec.kind != "trunk"]
    sizes = {count_params(run.spec.model).non_embedding for run in points}
    assert len(sizes) >= 4 and max(sizes) / min(sizes) >= 15
    assert any(len(seeds) >= 3 for seeds in _seeds(points).values())
    assert plan.seconds_estimate <= (config.limits.time or 0)
    if (mode, kind) == ("quick", "cpu"):
        assert len(sizes) >= 6 and max(sizes) / min(sizes) >= 30


def _seeds(points: list[PlannedRun]) -> dict[str, frozenset[int]]:
    sizes: dict[str, frozenset[int]] = {}
    for run in points:
        size = dict(run.spec.tags)["size"]
        sizes[size] = sizes.get(size, frozenset()) | {run.spec.seed}
    return sizes


def test_the_estimates_of_runs_add_up(plan_of):
    plan = plan_of()
    trunk, *branches = plan.runs
    per_token = flops_per_token(trunk.spec.model)
    assert trunk.flops_spent == trunk.flops_alone == per_token * trunk.spec.tokens
    for run in branches:
        own = run.spec.batch_tokens * (run.spec.total_steps - run.spec.start_step)
        assert run.flops_spent == per_token * own
        assert run.flops_alone == per_token * run.spec.tokens
    assert plan.disk_bytes > 4 * 12 * count_params(trunk.spec.model).total
    slow = dataclasses.replace(cpu_profile(), slots=1)
    config = load_config("s.yaml", device_kind="cpu")
    alone = make_plan(config, slow, train_tokens=None)
    assert alone.seconds_estimate == pytest.approx(4 + sum(run.seconds for run in plan.runs))


def test_rollback_states_count_in_the_disk_estimate():
    text = """
name: t
data: {corpus: installed, tokenizer: bytes, vocab_size: 257}
model: {n_ctx: 64}
grid:
  - {sizes: [nano14k], tokens: [100k]}
optim: {rule: slaw_small, lr: 0.01, batch_tokens: 512}
precision: fp32
"""
    plain, watched = (
        make_plan(config_of(text + more), cpu_profile(), train_tokens=10**7).disk_bytes
        for more in ("", "spikes: true\n")
    )
    assert 1.5 * plain < watched < 3 * plain


@pytest.mark.parametrize("size", ["1M", "1e6", "1_000_000", "1000000"])
def test_a_size_may_be_given_by_its_parameters(plan_of, size):
    (run,) = plan_of(f"grid.0={{sizes: [{size}], tokens: [1M]}}").runs
    assert count_params(run.spec.model).non_embedding == pytest.approx(1e6, rel=0.1)
    both = plan_of(f"grid.0={{sizes: [nano14k, {size}], tokens: [1M]}}")
    assert len({run.spec.model for run in both.runs}) == 2


def test_two_counts_of_one_model_are_refused_by_name(plan_of):
    with pytest.raises(
        PlanError, match=r"sizes.*1.001M: the model nearest to it, .* is already listed"
    ):
        plan_of("grid.0={sizes: [1M, 1.001M], tokens: [1M]}")


@pytest.mark.parametrize("size", ["0.5", "tinny", "-1M", "1e30"])
def test_a_size_that_is_neither_a_scale_nor_a_count_is_refused(plan_of, size):
    with pytest.raises(ConfigError, match=r"grid\.0\.sizes\.0: found"):
        plan_of(f"grid.0={{sizes: [{size}], tokens: [1M]}}")
