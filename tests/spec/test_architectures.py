"""Architectures as parts: what a plan, a record and a recipe need of them, without torch."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scaling_law import parts
from scaling_law.config.load import load_config
from scaling_law.config.written import config_yaml
from scaling_law.decode import build
from scaling_law.errors import ConfigError, PlanError
from scaling_law.parts import Reference
from scaling_law.plan.make import make_plan
from scaling_law.plan.plan import plan_from_json
from scaling_law.plan.stacking import stackable, with_stacks
from scaling_law.plan.steps import measured_model
from scaling_law.plan.table import render_plan
from scaling_law.spec.architectures import (
    Architecture,
    Template,
    architecture_of,
    sized,
    template_of,
    why_not_grown,
)
from scaling_law.spec.component import Component
from scaling_law.spec.counts import (
    CONVENTIONS,
    count_params,
    flops_per_token,
    memory_bytes,
    params_if_known,
)
from scaling_law.spec.from_json import run_spec_from_json
from scaling_law.spec.model import ModelSpec, OtherModel
from scaling_law.spec.recipe import recipe_names
from scaling_law.spec.to_json import to_json
from tests.fakes import cpu_profile, record_of, tiny_model, tiny_spec

MLP = OtherModel(
    architecture=Component(name="mlp"), shape=(("width", 128),), vocab_size=59, n_ctx=2
)
SWEEP = """
name: small
data: {source: modular_addition}
model: {architecture: mlp, activation: relu}
grid:
  - sizes: [{width: 16}, {width: 32}]
    tokens: [40k, 80k]
"""
OWN = '''
"""A linear model."""
from dataclasses import dataclass
from scaling_law.spec.architectures import Architecture
from scaling_law.spec.counts import ParamCounts


@dataclass(frozen=True, kw_only=True)
class Shape:
    rank: int


def counts(model):
    size = 2 * model.values_as(Shape).rank * model.vocab_size
    return ParamCounts(groups={"tables": size}, non_embedding=size, matmul=size)


def build(model, seed, gradient_checkpointing):
    import torch
    from torch import nn

    rank = model.values_as(Shape).rank
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Embedding(model.vocab_size, rank), nn.Linear(rank, model.vocab_size, bias=False)
        )


ARCHITECTURE = Architecture(
    shape=Shape,
    count_params=counts,
    flops_per_token=lambda model: 6 * counts(model).matmul,
    activation_bytes=lambda model, micro_seqs, precision, checkpointing: 100 * micro_seqs,
    build=build,
)
'''


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(text=SWEEP):
        (tmp_path / "s.yaml").write_text(text)
        return "s.yaml"

    return write


def planned(path, *overrides):
    config = load_config(path, device_kind="cpu", overrides=overrides)
    return make_plan(config, cpu_profile(), train_tokens=10**7)


def template_for(name: str, vocab_size: int = 300, n_ctx: int = 8) -> Template:
    """What models of an architecture share, on data that it reads."""
    part: Architecture = parts.load("architecture", Reference(name=name))
    sizes: dict[str, Any] = (
        {"vocab_size": vocab_size, "n_ctx": n_ctx}
        if part.inputs == "ids"
        else {"vocab_size": 0, "n_ctx": 1, "features": 6, "outputs": 2}
    )
    return Template(architecture=Component(name=name), settings=part.settings(), **sizes)


def test_the_scores_that_alibi_keeps_are_counted():
    plain, biased = (tiny_model(position=p, n_ctx=4096) for p in ("none", "alibi"))
    scores = 4 * 2 * 4096**2 * plain.n_head
    more = memory_bytes(biased, 2, "fp32") - memory_bytes(plain, 2, "fp32")
    assert more == scores * (plain.n_layer + 1)


def architectures_with_a_rule_for_shapes() -> list[str]:
    names = parts.names("architecture")
    return [n for n in names if parts.load("architecture", Reference(name=n)).shape_for]


@pytest.mark.parametrize("name", architectures_with_a_rule_for_shapes())
def test_every_architecture_keeps_its_contract(name):
    part: Architecture = parts.load("architecture", Reference(name=name))
    template = template_for(name)
    model = sized(60_000, "total", template)
    counts = count_params(model)
    assert counts.total == sum(counts.groups.values()) == pytest.approx(60_000, rel=0.25)
    assert all(0 < counts.by(convention) <= counts.total for convention in CONVENTIONS)
    assert flops_per_token(model) > 0
    assert memory_bytes(model, 4, "fp32") > 16 * counts.total
    more = memory_bytes(model, 8, "fp32") - memory_bytes(model, 4, "fp32")
    # what is solved reads its examples a fixed number at a time
    assert more == 0 if part.solves else more > 0
    # a model is its template and its shape
    assert template_of(model) == template
    assert part.make(template, model.values_as(part.shape)) == model
    for scale in part.scales.values():
        assert part.make(template, scale) is not None
    # what a run of it records is read back
    spec = tiny_spec(model=model, batch_tokens=32)
    assert run_spec_from_json(json.loads(json.dumps(to_json(spec)))) == spec


def test_a_gpt_has_the_json_it_had_before_other_architectures():
    plain = to_json(tiny_spec())["model"]
    assert sorted(plain) == [
        "activation", "d_ff", "d_model", "n_ctx", "n_head", "n_kv_head", "n_layer", "norm",
        "position", "qk_norm", "tied", "vocab_size",
    ]  # fmt: skip
    assert tiny_spec().run_id == run_spec_from_json(to_json(tiny_spec())).run_id
    mup = dataclasses.replace(
        tiny_model(), parametrisation=Component(name="mup", settings=(("base_width", 8),))
    )
    written = to_json(tiny_spec(model=mup))
    assert written["model"]["parametrisation"] == {"name": "mup", "settings": {"base_width": 8}}
    assert run_spec_from_json(written).model == mup


def test_another_model_is_written_as_its_part_and_shape():
    assert to_json(tiny_spec(model=MLP))["model"] == {
        "architecture": {"name": "mlp"},
        "shape": {"width": 128},
        "vocab_size": 59,
        "n_ctx": 2,
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"shape": None}, "shape is None, expected keys and values"),
        ({"n_ctx": 0}, "n_ctx is 0, expected at least 1"),
        ({"n_layer": 2}, "unknown key 'n_layer'"),
        ({"architecture": "mlp"}, "found 'mlp', expected keys and values"),
    ],
)
def test_a_damaged_model_is_refused_by_name(change, said):
    data = to_json(tiny_spec(model=MLP))
    data["model"] |= change
    with pytest.raises(ValueError, match=said):
        run_spec_from_json(data)


def test_an_architecture_refuses_settings_that_it_does_not_have():
    with pytest.raises(ValueError, match="no width"):
        count_params(dataclasses.replace(MLP, shape=(("depth", 3),)))


def test_the_width_belongs_to_the_size_and_the_activation_to_the_recipe():
    wide = dataclasses.replace(MLP, shape=(("width", 256),))
    specs = [tiny_spec(model=MLP), tiny_spec(model=wide)]
    assert recipe_names(specs) == ["", ""]
    relu = Component(name="mlp", settings=(("activation", "relu"),))
    specs.append(tiny_spec(model=dataclasses.replace(MLP, architecture=relu)))
    assert recipe_names(specs)[-1] == "model.activation=relu"
    specs = [tiny_spec(), tiny_spec(model=tiny_model(parametrisation=Component(name="mup")))]
    assert recipe_names(specs)[-1] == "model.parametrisation=mup"


def test_a_sweep_of_another_architecture_is_planned(write, tmp_path):
    plan = planned(write())
    assert [run.spec.label for run in plan.runs][:2] == [
        "w16-2.83k-seed0-trunk", "w16-2.83k-seed0-h39.9K",
    ]  # fmt: skip
    models = {run.spec.model for run in plan.runs}
    assert all(isinstance(model, OtherModel) for model in models)
    assert {model.dimensions["width"] for model in models} == {16, 32}
    assert all(dict(model.architecture.settings) == {"activation": "relu"} for model in models)
    assert plan_from_json(plan.to_json()) == plan
    # an unknown model trains alone
    assert not any(stackable(run, kind) for run in plan.runs for kind in ("cpu", "cuda"))
    assert with_stacks(plan) == plan
    table = render_plan(plan)
    assert "both matrices" in table and "blocks and final norm" not in table


def test_sizes_of_another_architecture_may_be_a_range(write):
    plan = planned(write(), "grid.0.sizes={params: [10k, 160k], count: 3}")
    widths = {run.spec.model.dimensions["width"]: None for run in plan.runs}
    assert list(widths) == [56, 226, 904]


def test_a_config_of_another_architecture_reads_back(write, tmp_path):
    config = load_config(
        write(), device_kind="cpu", overrides=["model.parametrisation=mup", "model.base_width=16"]
    )
    (tmp_path / "again.yaml").write_text(config_yaml(config))
    again = load_config("again.yaml", device_kind="cpu")
    assert again == config
    assert again.choice("parametrisation").settings.base_width == 16
    assert again.grid[0].sizes == config.grid[0].sizes


def test_a_default_config_is_written_as_before_other_architectures():
    written = config_yaml(load_config("quick", device_kind="cpu"))
    section = written[written.index("model:") : written.index("grid:")]
    assert section == (
        "model: {n_ctx: 64, norm: rmsnorm, position: rotary, activation: relu2, qk_norm: true,"
        " tied: false, gradient_checkpointing: false}\n"
    )


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("model.architecture=mpl", "no architecture is named 'mpl' (did you mean mlp?)"),
        ("model.norm=layernorm", "unknown key; known: n_ctx, architecture, parametrisation,"),
        ("model.activation=relu3", "found 'relu3' (did you mean relu?)"),
        ("grid.0.sizes=[nano14k]", "'nano14k'; this architecture has sizes by width only"),
        ("grid.0.sizes=[{widht: 3}]", "unknown key (did you mean width?)"),
        ("grid.0.sizes=[{width: 0}]", "expected at least 1, found 0"),
        ("model.parametrisation=nup", "no parametrisation is named 'nup' (did you mean mup?)"),
        ("model.base_width=3", "unknown key"),
        ("model.architecture=my.py", "no file 'my.py' for the architecture"),
    ],
)
def test_an_unknown_setting_of_an_architecture_is_one_line(write, override, said):
    with pytest.raises(ConfigError) as problem:
        load_config(write(), device_kind="cpu", overrides=[override])
    assert said in problem.value.lines[0] and "--set" in problem.value.lines[0]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["grid.0.sizes={params: [10k, 20k], count: 2, aspect_ratio: 4}"], "has no aspect ratio"),
        (["grid.0.sizes={params: [100, 200], count: 2}"], "no width has 100 non_embedding"),
        (["grid.0.sizes={params: [1770, 1800], count: 2}"], "two of them have width 10"),
    ],
)
def test_an_invalid_size_is_one_line(write, overrides, said):
    with pytest.raises(PlanError) as problem:
        planned(write(), *overrides)
    assert len(problem.value.lines) == 1 and said in problem.value.lines[0]


def test_an_architecture_must_fit_its_data(write):
    text = SWEEP.replace("source: modular_addition", "corpus: installed")
    with pytest.raises(PlanError) as problem:
        planned(write(text), "model.n_ctx=4")
    assert problem.value.lines == (
        "s.yaml:4: model.architecture: mlp gives one output for an example, and text has a target"
        " at every position; take a task (data.source)",
    )


def test_a_model_that_cannot_grow_is_refused(write):
    wide = dataclasses.replace(MLP, shape=(("width", 256),))
    assert why_not_grown(MLP, wide) == "a model of the architecture mlp cannot grow"
    assert why_not_grown(MLP, tiny_model()) == "architecture gpt, the smaller model has mlp"
    mup = Component(name="mup")
    large = tiny_model(n_layer=2, parametrisation=mup)
    assert "only standard can grow" in why_not_grown(tiny_model(parametrisation=mup), large)
    grown = "  - sizes: [{width: 64}]\n    tokens: [80k]\n    grow_from: w16-2.83k\n"
    with pytest.raises(PlanError, match="mlp cannot grow"):
        planned(write(SWEEP + grown))


def test_a_users_own_architecture_is_read_from_a_file(write, tmp_path):
    (tmp_path / "low_rank.py").write_text(OWN)
    text = SWEEP.replace("architecture: mlp, activation: relu", "architecture: low_rank.py")
    plan = planned(write(text.replace("width: 16", "rank: 3").replace("width: 32", "rank: 5")))
    model = plan.runs[0].spec.model
    assert model.architecture.source_sha256 and architecture_of(model).build is not None
    assert plan.runs[0].spec.label.startswith("rank3-354-seed0")
    assert params_if_known(model) is not None
    assert run_spec_from_json(to_json(plan.runs[0].spec)) == plan.runs[0].spec


def test_a_users_own_architecture_without_a_module_is_not_planned(write, tmp_path):
    (tmp_path / "low_rank.py").write_text(OWN.replace("    build=build,\n", ""))
    text = SWEEP.replace("mlp, activation: relu", "low_rank.py").replace("width", "rank")
    with pytest.raises(PlanError) as problem:
        planned(write(text))
    assert problem.value.lines == (
        "s.yaml:4: model.architecture: low_rank.py gives no module: expected build=... in its"
        " ARCHITECTURE",
    )


def test_a_record_of_a_users_own_architecture_is_read_without_its_file():
    own = Component(name="low_rank", source_sha256="0" * 64)
    model = dataclasses.replace(MLP, architecture=own)
    assert params_if_known(model) is None
    with pytest.raises(ConfigError, match="put it back"):
        count_params(model)
    known = record_of(tiny_spec(model=MLP))
    record = dataclasses.replace(known, spec=tiny_spec(model=model))
    assert recipe_names([record.spec]) == [""]


def test_architectures_load_no_torch():
    names = [f"scaling_law.spec.architectures.{name}" for name in parts.names("architecture")]
    code = f"import sys, {', '.join(names)}; print({{'torch', 'numpy'}} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.stdout.strip() == "set()"


def test_a_model_may_not_be_two_architectures():
    with pytest.raises(ValueError, match="unknown key"):
        build(ModelSpec, {**to_json(tiny_model()), "shape": {}})


def test_the_architecture_says_which_step_is_measured_for_its_kernels():
    gpt = tiny_model()
    assert measured_model(gpt) is gpt
    assert measured_model(dataclasses.replace(gpt, parametrisation=Component(name="mup"))) is None
    silent = dataclasses.replace(architecture_of(gpt), measured_as=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scaling_law.plan.steps.architecture_of", lambda model: silent)
        assert measured_model(gpt) is None, "no model class decides it"
