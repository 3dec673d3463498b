import dataclasses

import numpy as np
import pytest

from scaling_law.errors import ConfigError, FitError
from scaling_law.fit.points.points import points_from_records
from scaling_law.plan.make import make_plan
from tests.fakes import cpu_profile, record_of, small_config


@pytest.fixture(scope="module")
def records():
    plan = make_plan(small_config(), cpu_profile(), train_tokens=10**7)
    return [record_of(run.spec, loss_nats=4.0 + 0.1 * i) for i, run in enumerate(plan.runs)]


def test_only_annealed_ends_become_points_and_the_rest_is_listed(records):
    points = points_from_records(records)
    assert len(points) == 6
    assert points.n_clusters == 2
    assert [reason.split(":")[0] for _, reason in points.dropped] == ["not_annealed"] * 2
    assert len(points_from_records(records, keep=["not_annealed"])) == 8


def test_a_seed_is_one_trunk_for_all_horizons_and_another_for_another_recipe(records):
    branches = [r for r in records if r.kind == "branch"]
    longer = dataclasses.replace(branches[0].spec, total_steps=branches[0].spec.total_steps + 1)
    other = dataclasses.replace(longer, branch=dataclasses.replace(longer.branch, trunk_id="t-1"))
    again = dataclasses.replace(branches[0], spec=other, run_id=other.run_id)
    points = points_from_records([*branches, again])
    assert len(points) == 7 and points.n_clusters == 2 and set(points.recipe) == {""}
    lower = dataclasses.replace(branches[0].spec, precision="bf16")
    copy = dataclasses.replace(branches[0], spec=lower, run_id=lower.run_id)
    points = points_from_records([*branches, copy])
    assert len(points) == 7 and points.n_clusters == 3
    assert any("mixed precisions" in note for note in points.notes)
    assert any("2 recipes fitted as one: precision=fp32 in 6" in note for note in points.notes)


@pytest.mark.parametrize("convention", ["total", "non_embedding", "matmul"])
def test_the_convention_decides_which_parameters_count(records, convention):
    points = points_from_records(records, convention=convention, flops="6nd")
    expected = {float(getattr(r, f"params_{convention}")) for r in records}
    assert set(points.params.tolist()) == expected
    np.testing.assert_allclose(points.flops, 6 * points.params * points.tokens)
    assert points.convention["params"] == convention


def test_diverged_runs_are_left_out_with_the_reason(records):
    branches = [r for r in records if r.kind == "branch"]
    diverged = dataclasses.replace(branches[0], status="diverged", message="loss is nan at 3")
    points = points_from_records([diverged, *branches[1:]])
    assert len(points) == 5
    assert dict(points.dropped)[diverged.run_id] == "diverged: loss is nan at 3"


def test_mixed_corpora_are_reported_and_an_empty_set_is_refused(records):
    branches = [r for r in records if r.kind == "branch"]
    other = dataclasses.replace(branches[0], corpus_fingerprint="fedcba")
    assert "mixed corpus fingerprints" in points_from_records([other, *branches[1:]]).notes[0]
    trunks = [r for r in records if r.kind == "trunk"]
    with pytest.raises(FitError, match=r"none of 2 runs can be fitted: .*; --keep not_annealed"):
        points_from_records(trunks)
    with pytest.raises(ConfigError, match="convention 'all'"):
        points_from_records(records, convention="all")
