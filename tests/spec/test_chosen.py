"""The parts of runs that are shown: those that are not the default ones, with their settings."""

from __future__ import annotations

import dataclasses

from scaling_law import parts
from scaling_law.plan.make import make_plan
from scaling_law.plan.table import parts_words, render_plan
from scaling_law.spec.chosen import chosen_parts, parts_of
from scaling_law.spec.component import Component
from scaling_law.spec.data import TaskSpec
from scaling_law.spec.model import OtherModel
from tests.fakes import config_of, cpu_profile, tiny_spec

CONFIG = """
name: chosen
data: {corpus: installed, tokenizer: bytes, vocab_size: 257}
model: {n_ctx: 16}
grid: [{sizes: [nano14k], tokens: [20k]}]
precision: fp32
"""


def plan_of(text: str):
    return make_plan(config_of(text), cpu_profile(), train_tokens=None)


def test_a_default_config_shows_no_parts():
    assert parts_words(plan_of(CONFIG)) == []
    assert "parts:" not in render_plan(plan_of(CONFIG))


def test_the_plan_names_each_part_with_its_settings():
    more = "optim: {name: sgd, momentum: 0.5}\nprobes: [weight_norm, gradient_norm]\n"
    (line,) = parts_words(plan_of(CONFIG + more))
    assert line == "parts: optimizer sgd (momentum=0.5); probe weight_norm, gradient_norm"
    assert line in render_plan(plan_of(CONFIG + more)).splitlines()


def test_parts_that_arms_vary_are_all_named():
    (line,) = parts_words(plan_of(CONFIG + "axes: {optim.name: [adamw, sgd]}\n"))
    assert line == "parts: optimizer adamw or sgd"


def test_a_users_own_file_shows_the_start_of_its_hash():
    spec = tiny_spec(objective=Component(name="mine", source_sha256="ab" * 32))
    assert chosen_parts([spec])["objective"] == ["mine (own file abababababab)"]


def test_every_field_that_holds_a_part_is_listed():
    spec = tiny_spec()
    task = tiny_spec(data=TaskSpec(source=Component(name="copy")))
    words = {kind.key: word for word, kind in parts.KINDS.items()}
    holders = (spec, spec.model, OtherModel, spec.schedule, spec.optim, task.data)
    keys = {
        field.metadata["config_key"]
        for holder in holders
        for field in dataclasses.fields(holder)
        if "config_key" in field.metadata
    }
    assert {words[key] for key in keys} <= {*parts_of(spec), *parts_of(task)}
