"""Plans of mixtures: trunks, labels, epochs of each component, and what is refused."""

from __future__ import annotations

import pytest

from scaling_law.config.sweep_config import SweepConfig
from scaling_law.config.written import config_yaml
from scaling_law.errors import ConfigError, PlanError
from scaling_law.plan.make import make_plan
from scaling_law.plan.packing import makespan_seconds
from scaling_law.plan.plan import Plan, plan_from_json, tasks_of
from scaling_law.plan.table import render_plan
from scaling_law.plan.time_limit import WORKER_START_SECONDS
from scaling_law.spec.arms import arm_label, arm_of
from scaling_law.spec.from_json import run_spec_from_json
from scaling_law.spec.to_json import to_json
from tests.fakes import config_of, cpu_profile

TOKENS = {"cpp": 200_000, "py-code": 3_000_000, "py-docs": 800_000}
SWEEP = """
name: test
data: {{corpus: installed, tokenizer: bytes, vocab_size: 257{data}}}
model: {{n_ctx: 64}}
grid:
  - sizes: [nano14k, nano25k]
    tokens: [500K, 1M]
{more}
"""
COOLDOWN = "[{mix: {py-code: 1}, until: cooldown}, {mix: {py-docs: 1}}]"
ANNEALING = "axes: {data.phases.1.mix: [{py-docs: 1}, {py-code: .5, py-docs: .5}, natural]}"


def config_for(data: str = "", more: str = "") -> SweepConfig:
    return config_of(SWEEP.format(data=data, more=more))


def plan_of(data: str = "", more: str = "") -> Plan:
    config = config_for(data, more)
    return make_plan(
        config,
        cpu_profile(),
        train_tokens=sum(TOKENS.values()),
        component_tokens=dict.fromkeys(config.data_specs, TOKENS),
    )


def test_a_mixture_is_recipe_and_reads_back():
    plan = plan_of(", mix: {cpp: .25, py-code: .75, py-docs: 0}")
    plain = plan_of()
    assert len(plan.runs) == len(plain.runs) == 6
    for run in plan.runs:
        data = to_json(run.spec)
        assert data["mix"] == {"phases": [{"mix": {"cpp": 0.25, "py-code": 0.75}}]}
        again = run_spec_from_json(data)
        assert again == run.spec and again.run_id == run.run_id
    assert all("mix" not in to_json(run.spec) for run in plain.runs)
    assert plan_from_json(plan.to_json()) == plan
    longest = max(plan.runs, key=lambda run: run.spec.tokens)
    assert longest.component_epochs == pytest.approx(
        {"cpp": 1.25, "py-code": 0.25, "py-docs": 0.0}, rel=0.01
    )
    assert longest.epochs == longest.component_epochs["cpp"]
    text = render_plan(plan)
    (line,) = [line for line in text.splitlines() if line.startswith("mixture: ")]
    assert line.startswith("mixture: cpp=0.25 py-code=0.75; epochs at 1M tokens: cpp 1.")
    assert line.endswith(", py-code 0.25, py-docs 0")
    unknown = make_plan(config_for(", mix: natural"), cpu_profile(), train_tokens=None)
    assert {run.epochs for run in unknown.runs} == {None}
    assert "epochs of its components unknown until the data are prepared" in render_plan(unknown)


def test_arms_that_differ_in_the_mixture_of_the_cooldown_branch_from_one_trunk():
    plan = plan_of(f", phases: {COOLDOWN}", ANNEALING)
    trunks = [run for run in plan.runs if run.spec.kind == "trunk"]
    assert [run.spec.label for run in trunks] == [
        f"{size}-mix-py-code1-seed0-trunk" for size in ("nano14k", "nano25k")
    ]
    assert all(arm_of(run.spec) == () for run in trunks)
    branches = [run for run in plan.runs if run.spec.branch is not None]
    assert len(branches) == 2 * 2 * 3 and len(plan.runs) == 14
    assert len({run.spec.label for run in plan.runs}) == len(plan.by_id) == 14
    for run in branches:
        assert run.spec.branch is not None
        trunk = plan.by_id[run.spec.branch.trunk_id]
        assert run.spec.branch.at_step in trunk.resources.save_steps
        assert run.spec.mix_steps() == (0, run.spec.branch.at_step)
    assert plan.runs[1].spec.label == "nano14k-mix-py-docs1-seed0-h500K"
    packed = makespan_seconds(tasks_of(plan.runs)[0], plan.slots) + WORKER_START_SECONDS
    assert plan.seconds_estimate == pytest.approx(packed)
    text = render_plan(plan)
    assert "of several arms\nnano14k-mix-py-code1-seed0-trunk" in text
    assert "several arms together: 2 trunks" in text
    assert "arms that differ in the cooldown's mixture alone, branch from one" in text


def test_adding_an_arm_changes_neither_the_trunk_nor_other_arms():
    first = plan_of(f", phases: {COOLDOWN}", "axes: {data.phases.1.mix: [{py-docs: 1}]}")
    more = plan_of(f", phases: {COOLDOWN}", ANNEALING)
    assert set(first.by_id) < set(more.by_id)


def test_cooldown_mixtures_of_one_horizon_share_a_trunk():
    config = f", phases: {COOLDOWN}"
    one = config_of(SWEEP.format(data=config, more=ANNEALING), "grid.0.tokens=[1M]")
    plan = make_plan(one, cpu_profile(), train_tokens=None)
    assert [run.spec.kind for run in plan.runs].count("trunk") == 2
    assert [run.spec.kind for run in plan.runs].count("branch") == 6


def test_another_axis_gives_other_trunks_with_labels_of_their_own():
    axes = ANNEALING.replace("axes: {", "axes: {optim.weight_decay: [0, .3], ")
    plan = plan_of(f", phases: {COOLDOWN}", axes)
    trunks = [run.spec.label for run in plan.runs if run.spec.kind == "trunk"]
    assert len(set(trunks)) == len(trunks) == 4
    assert "nano14k-weight_decay0.3-mix-py-code1-seed0-trunk" in trunks
    assert len(plan.runs) == 4 + 2 * 2 * 6


def test_a_mixture_that_changes_at_a_share_of_the_run_has_no_trunk():
    plan = plan_of(", phases: [{mix: natural, until: .5}, {mix: {py-docs: 1}}]")
    assert [run.spec.kind for run in plan.runs] == ["single"] * 4
    assert all(abs(r.spec.mix_steps()[1] * 2 - r.spec.total_steps) <= 1 for r in plan.runs)
    assert "each is trained from step 0, none from a trunk" in render_plan(plan)
    longest = max(plan.runs, key=lambda run: run.spec.tokens)
    natural = 500_000 / sum(TOKENS.values())
    assert longest.component_epochs == pytest.approx(
        {"cpp": natural, "py-code": natural, "py-docs": natural + 500_000 / 800_000}, rel=0.01
    )


def test_labels_of_mixtures_are_readable_and_other_mappings_have_digests():
    assert arm_label((("data.mix", "code=0.7 docs=0.3"),)) == "mix-code0.7-docs0.3"
    assert arm_label((("data.mix", "natural"),)) == "mix-natural"
    assert arm_label((("data.mix", "w2=0.7 w20=0.3"),)).startswith("arm-")
    assert arm_label((("optim", "lr=0.7 eps=0.3"),)).startswith("arm-")


def test_a_temperature_is_an_axis():
    plan = plan_of("", "axes: {data.mix_temperature: [1, 2]}")
    assert {run.spec.mix.text for run in plan.runs if run.spec.mix is not None} == {
        "natural", "natural at temperature 2"
    }  # fmt: skip
    assert "nano14k-mix_temperature2-seed0-h1M" in {run.spec.label for run in plan.runs}


@pytest.mark.parametrize(
    ("data", "more", "said"),
    [
        (", mix: {cpp: .9, py-docs: .1}", "", "data.mix: size nano14k: the horizon of 1M tokens"
         " reads the 200K training tokens of cpp 4.5 times, more than data.max_epochs 4 (epochs:"
         " cpp 4.5, py-code 0, py-docs "),
        (f", phases: {COOLDOWN}", "schedule: {shape: cosine}",
         "a phase ends at the cooldown, and the schedule has none"),
        (", phases: [{mix: natural, until: .9}, {mix: {cpp: 1}, until: cooldown},"
         " {mix: natural}]", "", "the ends must rise"),
        (", mix: {cpp: .5, py-docs: .5}",
         "axes: {data.mix: [{cpp: .5, py-docs: .5}, {py-docs: .5, cpp: .5}]}",
         "are the same runs: this varies nothing"),
    ],
)  # fmt: skip
def test_mixtures_that_cannot_be_planned_are_refused(data, more, said):
    with pytest.raises(PlanError) as refused:
        plan_of(data, more)
    assert said in str(refused.value) and len(refused.value.lines) == 1


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (", mix: {cp: 1}", "fake.yaml:3: data.mix.cp: no component has this name (did you mean"
         " cpp?); the components are py-code, py-docs, cpp"),
        (", mix: {cpp: .5}", "data.mix: the weights sum to 0.5, expected 1"),
        (", mix: {cpp: -1}", "data.mix.cpp: expected at least 0, found -1"),
        (", mix: {cpp: .9999999, py-docs: .0000001}", "'py-docs' has the weight 1e-07, expected 0"),
        (", mix: naturally", "data.mix: found 'naturally' (did you mean natural?)"),
        (", mix: natural, phases: [{mix: natural}]", "data: expected one of mix and phases"),
        (", mix: {cpp: 1}, mix_temperature: 2", "data: mix_temperature flattens natural shares"),
        (", phases: []", "data.phases: expected at least one phase"),
        (", phases: [{mix: natural}, {mix: natural}]", "data.phases.0: until is missing"),
        (", phases: [{mix: natural, until: warmup}, {mix: natural}]",
         "data.phases.0.until: expected a number, or cooldown, found 'warmup'"),
        (", phases: [{mix: natural, until: .5}, {mix: natural, until: .4}, {mix: natural}]",
         "data.phases.1: until is 0.4, expected above 0.5, where the phase before it ends"),
        (", phases: [{mix: natural, until: cooldown}, {mix: natural, until: .9}, {mix: natural}]",
         "data.phases.1: the phase before it ends at the cooldown, and only the last may follow"),
        (", phases: [{mix: natural, until: .5}]", "data.phases.0: the last phase lasts to the"),
        (", phases: [{mix: {cpp: 1}, untill: .5}]", "data.phases.0.untill: unknown key (did you"),
    ],
)  # fmt: skip
def test_invalid_mixtures_are_refused_with_file_and_line(data, said):
    with pytest.raises(ConfigError) as refused:
        config_for(data)
    assert said in str(refused.value) and len(refused.value.lines) == 1


def test_each_source_is_a_component_of_the_text():
    text = SWEEP.replace("corpus: installed", "sources: {{a: {{corpus: sotu}}, b: {{corpus: pile,"
                         " max_bytes: 2MB}}}}")  # fmt: skip
    config = config_of(text.format(data=", mix: {a: .5, b: .5}", more=""))
    spec = config.data_spec
    assert spec.name == "a+b" and config.components == ("a", "b")
    data = to_json(spec)
    assert data["sources"] == [
        {"name": "a", "corpus": "sotu", "domains": [], "max_bytes": None},
        {"name": "b", "corpus": "pile", "domains": [], "max_bytes": 2_000_000},
    ]
    plan = make_plan(config, cpu_profile(), train_tokens=None)
    run = plan.runs[0].spec
    assert run_spec_from_json(to_json(run)) == run
    assert config_yaml(config_of(config_yaml(config))) == config_yaml(config)
    for change, said in (
        ("data.sources.a.corpos=x", "data.sources.a.corpos: unknown key (did you mean corpus?)"),
        ("data.corpus=sotu", "found corpus and sources"),
        ("data.sources={}", "data: sources is empty; expected corpora by name"),
        ("data.mix={c: 1}", "data.mix.c: no component has this name; the components are a, b"),
    ):
        with pytest.raises(ConfigError) as refused:
            config_of(text.format(data=", mix: {a: .5, b: .5}", more=""), change)
        assert said in str(refused.value)
