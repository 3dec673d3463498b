import dataclasses

import numpy as np
import pytest

from scaling_law.errors import ConfigError, FitError
from scaling_law.fit.points import points_from_records, points_from_table
from scaling_law.plan import make_plan
from tests.fakes import cpu_profile, record_of, small_config


@pytest.fixture(scope="module")
def records():
    plan = make_plan(small_config(), cpu_profile(), train_tokens=10**7)
    return [record_of(run.spec, loss_nats=4.0 + 0.1 * i) for i, run in enumerate(plan.runs)]


def test_only_annealed_endpoints_become_points_and_the_rest_is_listed(records):
    points = points_from_records(records)
    assert len(points) == 6
    assert points.n_clusters == 2
    assert [reason.split(":")[0] for _, reason in points.dropped] == ["trunk", "trunk"]
    assert set(points.cluster) == {run_id for run_id, _ in points.dropped}


@pytest.mark.parametrize("convention", ["total", "non_embedding", "matmul"])
def test_the_convention_decides_which_parameters_count(records, convention):
    points = points_from_records(records, convention=convention, flops="6nd")
    expected = {float(getattr(r, f"params_{convention}")) for r in records}
    assert set(points.params.tolist()) == expected
    np.testing.assert_allclose(points.flops, 6 * points.params * points.tokens)
    assert points.convention["params"] == convention


def test_diverged_and_overrepeated_runs_are_left_out_with_the_reason(records):
    branches = [r for r in records if r.kind == "branch"]
    diverged = dataclasses.replace(branches[0], status="diverged", message="loss is nan at 3")
    repeated = dataclasses.replace(branches[1], tokens_unique=branches[1].tokens // 5)
    points = points_from_records([diverged, repeated, *branches[2:]])
    assert len(points) == 4
    assert dict(points.dropped)[diverged.run_id] == "diverged: loss is nan at 3"
    assert "repeats its data 5.0 times" in dict(points.dropped)[repeated.run_id]


def test_mixed_corpora_are_said_and_nothing_to_fit_is_refused(records):
    branches = [r for r in records if r.kind == "branch"]
    other = dataclasses.replace(branches[0], corpus_fingerprint="fedcba")
    assert "mixed corpus fingerprints" in points_from_records([other, *branches[1:]]).notes[0]
    trunks = [r for r in records if r.kind == "trunk"]
    with pytest.raises(FitError, match="none of 2 runs can be fitted"):
        points_from_records(trunks)
    with pytest.raises(ConfigError, match="convention 'all'"):
        points_from_records(records, convention="all")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("params,tokens\n1,2\n", "no column loss"),
        ("params,tokens,loss\n1e4,1e6,four\n", "t.csv:2: loss is 'four'"),
        ("params,tokens,loss\n1e4,1e6,4\n1e4,0,4\n", "t.csv:3: tokens is 0"),
        ("params,tokens,loss\n1e4,1e6,inf\n", "t.csv:2: loss is inf"),
        ("", "no column params"),
    ],
)
def test_a_bad_table_is_one_line_with_its_place(tmp_path, text, said):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        points_from_table(path)


def test_a_table_with_a_byte_order_mark_is_read(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("\ufeffparams,tokens,loss,cluster\n1e4,1e6,4,a\n2e4,1e6,3.9,a\n")
    points = points_from_table(path)
    assert points.cluster == ("a", "a")
    assert points.flops.tolist() == [6e10, 12e10]
