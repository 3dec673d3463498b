"""Which runs are of one recipe, and how the differences between recipes are named."""

from __future__ import annotations

import dataclasses
import json
import typing
from pathlib import Path
from typing import Any

import pytest

from scaling_law.config.grid_section import FlopsLadder
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import load_records
from scaling_law.plan.make import make_plan
from scaling_law.spec.component import Component
from scaling_law.spec.fields import Axis, axis_of, of_axis
from scaling_law.spec.model import ModelSpec
from scaling_law.spec.optim import OptimSpec
from scaling_law.spec.recipe import cells, recipe_differences, recipe_names, recipes
from scaling_law.spec.run import RunSpec
from tests.fakes import cpu_profile, ladder_config, tiny_spec


def specs_of(ladder=None, **sections):
    overrides = []
    for name, changes in sections.items():
        keys = (
            {f"{name}.{key}": value for key, value in changes.items()}
            if isinstance(changes, dict)
            else {name: changes}
        )
        overrides += [f"{key}={json.dumps(value)}" for key, value in keys.items()]
    config = ladder_config(*overrides)
    if ladder is not None:
        entry = dataclasses.replace(config.grid[0], flops_ladder=ladder)
        config = dataclasses.replace(config, grid=(entry,))
    plan = make_plan(config, cpu_profile(), train_tokens=None)
    return [run.spec for run in plan.runs]


def names(*groups):
    return set(recipe_names([spec for group in groups for spec in group]))


@pytest.mark.parametrize("rule", ["slaw_small", "steplaw"])
def test_a_rule_is_one_recipe_at_every_size_and_horizon(rule):
    optim = {"rule": rule, "batch_tokens": None}
    first = specs_of(optim=optim)
    longer = specs_of(
        FlopsLadder(base_flops=8.7e11, ratio=2, count=4, tokens_near=4_000_000), optim=optim
    )
    learning_rates = {spec.optim.lr for spec in (*first, *longer)}
    assert len(learning_rates) > 3, "they differ by the rule"
    assert names(first, longer) == {""}
    assert recipe_differences(longer, first) == []


def test_a_batch_that_a_config_sets_is_the_rules_recipe_only_where_it_is_the_rules_batch():
    by_rule = specs_of(optim={"batch_tokens": None})
    assert {spec.batch_tokens for spec in by_rule} == {2048}
    assert names(by_rule, specs_of(optim={"batch_tokens": 2048})) == {""}
    assert names(by_rule, specs_of(optim={"batch_tokens": 4096})) == {
        "optim.batch_tokens=by rule", "optim.batch_tokens=4096",
    }  # fmt: skip
    two = names(specs_of(optim={"batch_tokens": 512}), specs_of(optim={"batch_tokens": 1024}))
    assert two == {"optim.batch_tokens=512", "optim.batch_tokens=1024"}


@pytest.mark.parametrize(
    ("section", "changes", "said"),
    [
        ("optim", {"lr_mult": 0.3}, "optim.lr_mult=0.3"),
        ("optim", {"lr": 0.001}, "optim.lr=0.001"),
        ("optim", {"rule": "olmo_ladder"}, "optim.rule=olmo_ladder"),
        ("optim", {"weight_decay": 0.0}, "optim.weight_decay=0"),
        ("optim", {"grad_clip": None}, "optim.grad_clip=null"),
        ("schedule", {"decay_frac": 0.1}, "schedule.decay_frac=0.1"),
        ("schedule", {"cooldown": "linear"}, "schedule.cooldown=linear"),
        ("model", {"tied": True}, "model.tied=true"),
        ("model", {"n_ctx": 128}, "model.n_ctx=128"),
        ("data", {"corpus": "synthetic"}, "data.corpus=synthetic"),
        ("precision", "bf16", "precision=bf16"),
        ("spikes", 6.0, "spikes=6"),
    ],
)
def test_differences_between_recipes_use_the_names_of_the_config(section, changes, said):
    changed = specs_of(**{section: changes})
    recipe_texts = names(specs_of(), changed)
    assert len(recipe_texts) == 2 and said in recipe_texts
    key, _, value = said.partition("=")
    phrases = recipe_differences(changed, specs_of())
    assert len(phrases) == 1 and phrases[0].startswith(f"{key} {value} here, ")
    # and conditions can ask for it
    chosen = [cell for cell in cells([*specs_of(), *changed]) if str(cell[key]) == value]
    assert len(chosen) == len(changed)


def test_more_of_a_text_is_the_same_recipe_but_other_data():
    more = specs_of(data={"max_bytes": 10**6})
    assert names(specs_of(), more) == {""}
    assert recipe_differences(more, specs_of()) == ["data.max_bytes 1000000 here, null there"]


REFERENCE = Path(__file__).parents[2] / "results" / "reference"


@pytest.mark.parametrize("name", ["quick-cpu", "allocation-cpu"])
def test_a_reference_sweep_is_one_recipe(name):
    records = load_records(SweepDir(REFERENCE / name))
    assert names([record.spec for record in records]) == {""}


def with_field(name, axis):
    """A copy of ``ModelSpec`` with one more field, and runs of the ladder that hold it."""
    metadata = {} if axis == "recipe" else of_axis(axis)
    added = [(name, float, dataclasses.field(default=1e4, metadata=metadata))]
    kind = dataclasses.make_dataclass(
        "LaterModelSpec", added, bases=(ModelSpec,), frozen=True, kw_only=True
    )

    def runs(value):
        return [
            dataclasses.replace(spec, model=kind(**vars_of(spec.model), **{name: value}))
            for spec in specs_of()
        ]

    return runs


def vars_of(part):
    return {field.name: getattr(part, field.name) for field in dataclasses.fields(part)}


@pytest.mark.parametrize("axis", typing.get_args(Axis))
def test_a_field_that_a_later_version_adds_is_recipe_unless_it_says_otherwise(axis):
    runs = with_field("rope_base", axis)
    assert runs(1e4)[0].run_id != runs(5e5)[0].run_id
    if axis == "recipe":
        assert names(runs(1e4), runs(5e5)) == {"model.rope_base=10000", "model.rope_base=500000"}
        assert recipe_differences(runs(5e5), runs(1e4)) == [
            "model.rope_base 500000 here, 10000 there"
        ]
        # and runs of a part that has no such setting are a third recipe
        assert len(names(runs(1e4), runs(5e5), specs_of())) == 3
        assert "model.rope_base=default" in names(runs(1e4), specs_of())
    else:
        assert names(runs(1e4), runs(5e5)) == {""}


def test_values_that_agree_in_six_digits_are_two_recipes():
    runs = with_field("rope_base", "recipe")
    assert len(names(runs(10000.001), runs(10000.002))) == 2


def test_a_model_vocabulary_other_than_the_datas_is_another_recipe():
    padded = [
        dataclasses.replace(spec, model=dataclasses.replace(spec.model, vocab_size=1088))
        for spec in specs_of()
    ]
    assert names(padded) == {""}
    assert names(padded, specs_of()) == {"model.vocab_size=1088", "model.vocab_size=1024"}


def test_a_part_that_is_off_has_its_default_settings():
    spikes = specs_of(spikes=6.0)
    assert names(specs_of(), spikes) == {"spikes=6", "spikes=false"}
    slower = [
        dataclasses.replace(spec, spikes=dataclasses.replace(spec.spikes, every_steps=99))
        for spec in spikes
    ]
    assert names(slower, spikes) == {"spikes.every_steps=99", "spikes.every_steps=50"}


def test_every_field_of_a_run_belongs_to_a_known_axis():
    kinds: list[Any] = [RunSpec]
    known = set(typing.get_args(Axis))
    while kinds:
        kind = kinds.pop()
        for field, hint in zip(
            dataclasses.fields(kind), typing.get_type_hints(kind).values(), strict=True
        ):
            assert axis_of(field) in known, f"{kind.__name__}.{field.name}"
            kinds += [k for k in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(k)]
    assert recipes([]) == []


def test_a_part_and_its_settings_belong_to_the_recipe_under_their_config_keys():
    def run(**settings):
        optimizer = Component(name="sgd", settings=tuple(settings.items()))
        spec = tiny_spec()
        optim = OptimSpec(
            lr=0.1, rule="slaw_small", beta1=None, beta2=None, eps=None, optimizer=optimizer
        )
        return dataclasses.replace(spec, optim=optim)

    assert recipe_names([run(), run(momentum=0.5)]) == [
        "optim.momentum=default",
        "optim.momentum=0.5",
    ]
    adamw, sgd = recipe_names([tiny_spec(), run()])
    assert "optim.name=adamw" in adamw and "optim.name=sgd" in sgd
