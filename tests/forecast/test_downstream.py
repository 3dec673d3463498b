"""Metrics of tasks by way of the loss: planted sigmoids, floors, rankings, and what is refused."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from scaling_law.cli.main import main
from scaling_law.errors import ConfigError, FitError
from scaling_law.fit.floored_sigmoid import fit_floored_sigmoid, fit_sigmoid_with_errors
from scaling_law.fit.points.table_settings import TableSettings
from scaling_law.forecast.downstream.measured import Reading, read_measured
from scaling_law.forecast.downstream.ranking import rank
from scaling_law.forecast.downstream.session import Question, answer, format_downstream
from scaling_law.forecast.target import Target

SIZES = (1e7, 2e7, 4e7, 8e7, 1.6e8)


def loss_of(params, tokens, worse=0.0):
    return 1.7 + worse + 400 / params**0.34 + 410 / tokens**0.28


def accuracy_of(loss, ceiling=1.0):
    return 0.25 + (ceiling - 0.25) / (1 + math.exp(-(9 - 2.8 * loss)))


def table(path, recipes=(("a", 0.0),), ceiling=1.0, noise=0.002):
    random = np.random.default_rng(0)
    rows = ["recipe,params,tokens,loss,acc,size"]
    for name, worse in recipes:
        for params in SIZES:
            for factor in (10, 20, 40):
                tokens = params * factor
                loss = loss_of(params, tokens, worse) * math.exp(random.normal(0, 0.001))
                acc = accuracy_of(loss, ceiling) + random.normal(0, noise)
                rows.append(f"{name},{params:g},{tokens:g},{loss!r},{acc!r},s{params:g}")
    path.write_text("\n".join(rows) + "\n")
    return path


def test_two_steps_hold_the_planted_accuracy_of_a_larger_model(tmp_path):
    path = table(tmp_path / "runs.csv")
    target = Target(params=1e9, tokens=2e10)
    result = answer(path, ["acc"], Reading(metric="acc", floor=0.25), Question(target=target))
    (one,) = result.metrics
    truth = accuracy_of(loss_of(1e9, 2e10))
    assert one.predicted is not None
    assert one.predicted.two_steps.low < truth < one.predicted.two_steps.high
    assert abs(one.predicted.two_steps.value - truth) < 0.02
    assert not isinstance(one.check, str)
    assert one.check.two_steps < 0.01 and one.check.two_steps_inside > 0.6
    assert json.dumps(result.to_json(), allow_nan=False)
    assert "note: which parameters were counted is not stated" in format_downstream(result)


def test_a_ceiling_below_one_is_fitted():
    x = [(4 - 0.1 * i,) for i in range(30)]
    y = [accuracy_of(one[0], 0.8) for one in x]
    fit = fit_floored_sigmoid(x, y, 0.25, None)
    assert fit.ceiling == pytest.approx(0.8, abs=1e-3)
    assert fit_floored_sigmoid(x, y, 0.25, 0.8).weights == pytest.approx((9, -2.8), rel=1e-2)


def test_the_interval_of_a_sigmoid_holds_new_values_and_grows_away_from_them():
    random = np.random.default_rng(1)
    x = [(3.5 - 0.05 * i,) for i in range(24)]
    inside = []
    for _ in range(40):
        y = [accuracy_of(one[0]) + random.normal(0, 0.01) for one in x]
        fit = fit_sigmoid_with_errors(x, y, [str(i) for i in range(24)], 0.25)
        low, high = fit.interval(2.0, level=0.9)
        inside.append(low <= accuracy_of(2.0) + random.normal(0, 0.01) <= high)
    assert 0.8 <= np.mean(inside) <= 1.0
    near, far = (fit.interval(one, level=0.9) for one in (3.0, 2.0))
    wider = fit.interval(2.0, level=0.9, sum_sd=0.5)
    assert wider[1] - wider[0] > far[1] - far[0] > 0 and near[1] < far[0]


def test_runs_of_one_trunk_widen_the_interval():
    x = [(3.0 - 0.1 * (i // 2),) for i in range(16)]
    y = [accuracy_of(one[0]) + (0.02 if i // 4 % 2 else -0.02) for i, one in enumerate(x)]
    alone = fit_sigmoid_with_errors(x, y, [str(i) for i in range(16)], 0.25)
    trunks = fit_sigmoid_with_errors(x, y, [str(i // 4) for i in range(16)], 0.25)
    (shared, independent), (own, same) = trunks.covariances, alone.covariances
    assert shared[1][1] > own[1][1] and independent == same and trunks.free < alone.free


def test_the_interval_covers_where_few_runs_are_above_the_floor():
    random = np.random.default_rng(5)
    x = [(loss_of(n, n * r),) for n in (1e7, 3e7, 1e8, 3e8) for r in (10, 20, 40)]
    inside = []
    for _ in range(60):
        values = [accuracy_of(one + 0.6) + random.normal(0, 0.005) for (one,) in x]
        fit = fit_sigmoid_with_errors(x, values, [str(i) for i in range(12)], 0.25)
        far = loss_of(1e9, 2e10)
        low, high = fit.interval(far, level=0.9)
        inside.append(low <= accuracy_of(far + 0.6) + random.normal(0, 0.005) <= high)
    assert np.mean(inside) >= 0.85


def test_a_metric_that_no_run_changes_is_refused(tmp_path):
    path = tmp_path / "runs.csv"
    rows = [f"{n:g},{n * 20:g},{loss_of(n, n * 20)!r},.25" for n in SIZES]
    path.write_text("\n".join(["params,tokens,loss,acc", *rows]) + "\n")
    with pytest.raises(FitError, match=r"all 5 runs have 0.25; .*another metric"):
        answer(path, ["acc"], Reading(metric="acc", floor=0.25), Question())


def test_runs_left_out_and_a_recipe_of_one_run_are_named(tmp_path):
    path = table(tmp_path / "runs.csv")
    more = "lonely,1e7,1e8,4,.3,s\na,1e7,1e8,inf,.3,s\na,1e7,1e8,4,oops,s\n"
    path.write_text(path.read_text() + more)
    result = answer(path, ["acc"], Reading(metric="acc", by=("recipe",)), Question())
    (_, first), (_, second) = result.left_out
    assert "loss" in first and second == "no acc"
    assert "left out: 2 runs" in format_downstream(result)
    assert result.failed == (("acc recipe=lonely", "1 run with the metric; expected 2 or more"),)


def falling(lines):
    """A table's lines with an error rate in the place of the accuracy."""
    cells = [line.split(",") for line in lines[1:]]
    return [lines[0], *(",".join([*c[:4], repr(1 - float(c[4])), c[5]]) for c in cells)]


def test_decision_accuracy_counts_pairs_in_the_order_of_the_largest_size(tmp_path):
    recipes = [("a", 0.0), ("b", 0.1), ("c", 0.2), ("d", 0.3)]
    path = table(tmp_path / "runs.csv", recipes, noise=0.0)
    ranking = rank(read_measured(path, Reading(metric="acc", floor=0.25, by=("recipe",))))
    assert [name for name, _ in ranking.recipes] == [f"recipe={name}" for name in "abcd"]
    assert len(ranking.decisions) == 4
    assert all(one.by_loss[0] == 1.0 for one in ranking.decisions)
    path.write_text("\n".join(falling(path.read_text().splitlines())) + "\n")
    errors = rank(read_measured(path, Reading(metric="acc", by=("recipe",))))
    assert errors.lower_is_better and not ranking.lower_is_better
    assert [name for name, _ in errors.recipes] == [name for name, _ in ranking.recipes]
    assert errors.decisions == ranking.decisions
    with pytest.raises(FitError, match="3 recipes"):
        rank(read_measured(path, Reading(metric="acc", by=("recipe",)))[:2])


def test_recipes_are_compared_at_a_horizon_that_all_have(tmp_path):
    recipes = [("a", 0.0), ("b", 0.1), ("c", 0.2)]
    header, *rows = table(tmp_path / "runs.csv", recipes, noise=0.0).read_text().splitlines()
    longer = "c,1e7,1e12,1.5,0.9,s1e+07"  # the worst recipe, trained for much longer
    odd = [f"{name},4e8,{4e9 * i:g},2.1,0.7,s4e+08" for i, (name, _) in enumerate(recipes, 1)]
    (tmp_path / "runs.csv").write_text("\n".join([header, *rows, longer, *odd]) + "\n")
    reading = Reading(metric="acc", floor=0.25, by=("recipe",))
    ranking = rank(read_measured(tmp_path / "runs.csv", reading))
    assert (ranking.size, ranking.decisions[0].tokens) == ("s1.6e+08", 4e8)
    assert ranking.decisions[0].by_metric[0] == 1.0
    assert ranking.left_out == (("s4e+08", "no horizon that every recipe has"),)


def test_recipes_of_few_runs_are_ranked_without_a_law(tmp_path):
    path = table(tmp_path / "runs.csv", [(name, 0.1 * i) for i, name in enumerate("abcd")])
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *rows[::3]]) + "\n")  # 5 runs of a recipe
    reading = Reading(metric="acc", floor=0.25, by=("recipe",))
    result = answer(path, ["acc"], reading, Question())
    assert [name for name, _ in result.failed] == [f"acc recipe={name}" for name in "abcd"]
    assert "5 points for 5 parameters" in result.failed[0][1]
    text = format_downstream(result)
    assert "decision accuracy" in text and "recipe=a" in text
    assert json.dumps(result.to_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("reading", "metric", "says"),
    [
        (Reading(metric="accc"), "accc", "no column 'accc'"),
        (Reading(metric="acc", floor=0.99), "acc", "state others"),
        (Reading(metric="acc", floor=1.5), "acc", "a floor of 1.5"),
        (Reading(metric="acc", loss="x"), "acc", "is for sweeps"),
        (Reading(metric="acc", table=TableSettings(columns={"loss": "oops"})), "acc", "oops"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path, reading, metric, says):
    path = table(tmp_path / "runs.csv")
    with pytest.raises(ConfigError, match=says):
        answer(path, [metric], reading, Question())


def test_without_a_metric_those_that_are_there_are_listed(tmp_path, capsys):
    assert main(["downstream", str(table(tmp_path / "runs.csv"))]) == 2
    assert "name a metric with --metric; its runs have recipe, acc" in capsys.readouterr().err
    assert main(["downstream", "results/reference/downstream"]) == 2
    said = capsys.readouterr().err
    assert "multiple_choice.val.accuracy, " in said and said.count("\n") == 1


def test_a_sweep_knows_its_own_floor_and_loss(capsys):
    words = ["results/reference/downstream", "--metric", "multiple_choice.val.accuracy"]
    assert main(["downstream", *words, "--params", "1e5", "--tokens", "2e6"]) == 0
    text = capsys.readouterr().out
    assert "floor 0.25 (multiple_choice.val.chance of the runs)" in text
    assert "(multiple_choice.val.nats)" in text and "two steps are off by" in text
    assert main(["downstream", words[0], "--metric", "multiple_choice.val.acuracy"]) == 2
    assert "did you mean multiple_choice.val.accuracy" in capsys.readouterr().err
