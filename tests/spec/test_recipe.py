"""Which runs are of one recipe, and what is said of those that are not."""

from __future__ import annotations

import dataclasses

import pytest

from scaling_law.config.schema import FlopsLadder
from scaling_law.plan.plan import make_plan
from scaling_law.spec.recipe import apart, cells, recipe_name, recipes, told_apart
from tests.fakes import cpu_profile, ladder_config


def specs_of(ladder=None, **sections):
    config = ladder_config()
    for name, changes in sections.items():
        changed = (
            dataclasses.replace(getattr(config, name), **changes)
            if isinstance(changes, dict)
            else changes
        )
        config = dataclasses.replace(config, **{name: changed})
    if ladder is not None:
        entry = dataclasses.replace(config.grid[0], flops_ladder=ladder)
        config = dataclasses.replace(config, grid=(entry,))
    plan = make_plan(config, cpu_profile(), train_tokens=None)
    return [run.spec for run in plan.runs]


def names(*groups):
    return {recipe_name(one) for one in apart(recipes([s for group in groups for s in group]))}


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
    assert told_apart(longer, first) == []


def test_one_batch_beside_the_rules_own_is_one_recipe_until_it_is_far_off():
    by_rule = specs_of(optim={"batch_tokens": None})
    assert {spec.batch_tokens for spec in by_rule} == {2048}
    assert names(by_rule, specs_of(optim={"batch_tokens": 4096})) == {""}
    assert names(by_rule, specs_of(optim={"batch_tokens": 8192})) == {
        "optim.batch_tokens=by rule", "optim.batch_tokens=8192",
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
    ],
)
def test_what_sets_a_recipe_apart_is_named_as_in_the_config(section, changes, said):
    changed = specs_of(**{section: changes})
    found = names(specs_of(), changed)
    assert len(found) == 2 and said in found
    key, _, value = said.partition("=")
    phrases = told_apart(changed, specs_of())
    assert len(phrases) == 1 and phrases[0].startswith(f"{key} {value} here, ")
    # and conditions can ask for it
    chosen = [cell for cell in cells([*specs_of(), *changed]) if str(cell[key]) == value]
    assert len(chosen) == len(changed)


def test_more_text_is_no_other_recipe_but_another_text():
    more = specs_of(data={"max_bytes": 10**6})
    assert names(specs_of(), more) == {""}
    assert told_apart(more, specs_of()) == ["data.max_bytes 1000000 here, null there"]
