import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from scaling_law.decode import build, build_shared
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import load_records
from scaling_law.spec.from_json import run_spec_from_json
from scaling_law.spec.optim import OptimSpec, RuleOverrides
from scaling_law.spec.run import EarlyStop, RunSpec, SpikeSpec, derive_seed
from scaling_law.spec.start import Branch, Growth
from scaling_law.spec.to_json import canonical_json, to_json
from tests.fakes import tiny_spec


def test_json_round_trip_keeps_the_run_id():
    spec = tiny_spec()
    again = run_spec_from_json(json.loads(json.dumps(to_json(spec))))
    assert again == spec
    assert again.run_id == spec.run_id


def _every_part(spec: RunSpec) -> dict[str, Any]:
    growth = Growth(trunk_id="a", at_step=3, model=spec.model, parent_tokens=99, parent_flops=1e9)
    stop = EarlyStop(within=0.005, siblings=("b", "c"))
    spikes = SpikeSpec(sigmas=6)
    return {
        "branch": Branch(trunk_id="t", at_step=1), "growth": growth, "early_stop": stop,
        "spikes": spikes, "tags": (("size", "n\u00fcn\""), ("seed", "0")),
        "optim": OptimSpec(lr=1, rule="r", weight_decay=-0.0, grad_clip=None),
    }  # fmt: skip


def test_a_run_is_named_by_the_hash_of_its_whole_canonical_json():
    spec = tiny_spec()
    for changes in ({}, *({k: v} for k, v in _every_part(spec).items()), _every_part(spec)):
        one = dataclasses.replace(spec, **changes)
        digest = hashlib.sha256(canonical_json(to_json(one)).encode()).hexdigest()
        assert one.run_id == f"{one.label}-{digest[:10]}"


@pytest.mark.parametrize(("name", "count"), [("quick-cpu", 40), ("allocation-cpu", 27)])
def test_the_run_ids_of_the_reference_sweeps_stay(name, count):
    folder = Path(__file__).parents[2] / "results" / "reference" / name
    records = load_records(SweepDir(folder))
    assert len(records) == count
    assert [record.spec.run_id for record in records] == [record.run_id for record in records]


EVERY_OVERRIDE = RuleOverrides(
    lr=0.00123456789, lr_mult=1 / 3, batch_tokens=4096, beta2=0.9, warmup_tokens=10**7
)
SPELLED = "slaw_small lr=0.00123457 lr_mult=0.333333 batch_tokens=4096 beta2=0.9"


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (RuleOverrides(), "slaw_small"),
        (RuleOverrides(lr_mult=2), "slaw_small lr_mult=2"),
        (RuleOverrides(lr=1e-6), "slaw_small lr=1e-06"),
        # a factor so near to 1 is spelled as 1, and was always written
        (RuleOverrides(lr_mult=1.00000001), "slaw_small lr_mult=1"),
        (EVERY_OVERRIDE, f"{SPELLED} warmup_tokens=10000000"),
    ],
)
def test_overrides_are_fields_in_memory_and_text_in_the_json(overrides, text):
    spec = tiny_spec(optim=OptimSpec(lr=0.001, rule="slaw_small", overrides=overrides))
    plain = json.loads(json.dumps(to_json(spec)))
    assert plain["optim"]["rule"] == text and "overrides" not in plain["optim"]
    again = run_spec_from_json(plain)
    assert again.optim.overrides == overrides and again.optim.rule == "slaw_small"
    assert again == spec and again.run_id == spec.run_id


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("r lr=1 colour=2", "unknown key 'colour'"),
        ("r lr=x", "could not convert"),
        ("r lr=nan", "lr is nan, expected at least 0"),
        ("r lr=1e999", "lr is inf, expected a number"),
        ("r batch_tokens=1.5", "invalid literal"),
        ("r batch_tokens=0", "batch_tokens is 0, expected at least 1"),
        ("r lr_mult=2 lr=1", "expected 'r lr=1 lr_mult=2'"),
        ("r lr=1.0", "expected 'r lr=1'"),
        ("lr=1 r", "expected 'r lr=1'"),
    ],
)
def test_a_rule_that_is_spelled_in_another_way_is_refused(rule, words):
    plain = to_json(tiny_spec())
    plain["optim"]["rule"] = rule
    with pytest.raises(ValueError, match=words) as caught:
        run_spec_from_json(plain)
    assert f"rule is {rule!r}" in str(caught.value)


def test_overrides_come_only_from_their_own_field():
    with pytest.raises(ValueError, match="expected a name without settings"):
        OptimSpec(lr=1, rule="r lr=1")
    plain = to_json(tiny_spec())
    plain["optim"]["overrides"] = {"lr": 1}
    with pytest.raises(ValueError, match="unknown key 'overrides'"):
        run_spec_from_json(plain)


def test_only_parts_with_equal_json_are_shared():
    plain = {"lr": 1.0, "rule": "r", "weight_decay": 0.0}
    first = build_shared(OptimSpec, dict(plain))
    assert build_shared(OptimSpec, dict(plain)) is first
    for change in ({"lr": 1}, {"weight_decay": -0.0}):
        other = build_shared(OptimSpec, {**plain, **change})
        assert other is not first
        assert other.canonical != first.canonical
    for wrong in (True, "1.0", None, 10**400, float("inf")):
        with pytest.raises(ValueError, match="lr is"):
            build_shared(OptimSpec, {**plain, "lr": wrong})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"at_step": True}, "at_step is True, expected a whole number"),
        ({"at_step": 1.0}, "at_step is 1.0, expected a whole number"),
        ({"at_step": 10**301}, "at_step is 1"),
        ({"trunk_id": None}, "trunk_id is None, expected text"),
        ({"other": 1}, "unknown key 'other'"),
    ],
)
def test_a_value_of_another_type_is_refused_by_name(change, words):
    with pytest.raises(ValueError, match=words):
        build(Branch, {"trunk_id": "t", "at_step": 1, **change})


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"total_steps": 41}, {"batch_tokens": 64}, {"precision": "bf16"}],
)
def test_whatever_changes_the_loss_changes_the_run_id(change):
    assert tiny_spec(**change).run_id != tiny_spec().run_id


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"batch_tokens": 33}, "multiple of n_ctx"),
        ({"label": "../x"}, "label"),
        ({"precision": "fp8"}, "precision"),
        ({"total_steps": 0}, "total_steps"),
    ],
)
def test_impossible_runs_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        tiny_spec(**change)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"n_head": 3}, "multiple of n_head"),
        ({"n_head": 4, "n_kv_head": 3}, "n_kv_head"),
        ({"norm": "batchnorm"}, "norm"),
        ({"n_layer": 0}, "n_layer"),
        ({"d_model": 6, "n_head": 2, "n_kv_head": 2}, "even head size"),
    ],
)
def test_impossible_models_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(tiny_spec().model, **change)


def test_derived_seeds_are_stable_and_differ_by_purpose():
    assert derive_seed(0, "init") == derive_seed(0, "init")
    seeds = {derive_seed(seed, name) for seed in range(50) for name in ("init", "data")}
    assert len(seeds) == 100
    assert all(0 <= seed < 2**63 for seed in seeds)
