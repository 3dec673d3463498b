import dataclasses
import json

import pytest

from scaling_law.spec import derive_seed, run_spec_from_json, to_json
from tests.fakes import tiny_spec


def test_json_round_trip_keeps_the_run_id():
    spec = tiny_spec()
    again = run_spec_from_json(json.loads(json.dumps(to_json(spec))))
    assert again == spec
    assert again.run_id == spec.run_id


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


def test_seeds_for_purposes_are_stable_and_apart():
    assert derive_seed(0, "init") == derive_seed(0, "init")
    seeds = {derive_seed(seed, name) for seed in range(50) for name in ("init", "data")}
    assert len(seeds) == 100
    assert all(0 <= seed < 2**63 for seed in seeds)
