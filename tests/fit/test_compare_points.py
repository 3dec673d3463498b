"""``slaw compare``: planted multipliers come back from few runs; verdicts, targets, refusals."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

from scaling_law.cli.main import main
from scaling_law.errors import EXIT_FIT, EXIT_OK, EXIT_USAGE, ConfigError, FitError
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import write_record
from scaling_law.fit.points.points import FitPoints, points_from_arrays
from scaling_law.fit.recipes.compare_points import PointComparison, Question, compare_points
from scaling_law.fit.recipes.compare_sources import compare_sources
from tests.fakes import planted_arms
from tests.fit.test_arms import KEY, SWEEP
from tests.test_benchmarks import benchmark

NAMES = ("base", "other")


def loss(params, tokens):
    return 1.8 + 480 * params**-0.34 + 2000 * tokens**-0.36


def points(sizes, times=1.0, *, power=0.0, seeds=2, noise=0.002, ratio=20.0, seed=0) -> FitPoints:
    """Runs whose compute is worth ``times`` as much at 1e18 FLOPs, by a power of the compute."""
    draw = np.random.default_rng(seed)
    n = np.repeat(np.asarray(sizes, dtype=np.float64), seeds)
    worth = np.sqrt(times * (6 * n * ratio * n / 1e18) ** power)
    losses = loss(n * worth, ratio * n * worth) * np.exp(noise * draw.normal(size=len(n)))
    return points_from_arrays(n, ratio * n, losses)


A, B = (2e7, 6e7, 2e8), (3e7, 1.2e8)


def compared(first: FitPoints, second: FitPoints, **asked) -> PointComparison:
    return compare_points(first, second, NAMES, Question(**asked))


@pytest.mark.parametrize("times", [0.6, 1.0, 1.5])
def test_a_planted_multiplier_comes_back_from_unequal_grids(times):
    comparison = compared(points(A), points(B, times, seed=1))
    assert [round(at.params) for at in comparison.at] == [30_000_000, 120_000_000]
    for at in comparison.at:
        assert at.compute.low < times < at.compute.high
        assert at.compute.high / at.compute.low < 1.3
        assert at.beyond == 1
    assert comparison.trend is not None and not comparison.trend.changes
    assert 0.0005 < comparison.noise < 0.006


def test_a_trend_is_seen_and_carried_to_a_target_with_a_wider_interval():
    first, second = points(A, noise=0.0005), points(A, 1.3, power=-0.06, noise=0.0005, seed=1)
    comparison = compared(first, second, params=(1e9,), flops=(1.2e20,))
    assert comparison.trend is not None and comparison.trend.changes
    assert comparison.trend.low < -0.06 < comparison.trend.high
    by_size, by_compute = comparison.targets
    assert by_size.flops == pytest.approx(1.2e20, rel=0.1)  # 20 tokens a parameter
    assert by_compute.flops == pytest.approx(1.2e20)
    truth = 1.3 * (by_compute.flops / 1e18) ** -0.06
    assert by_compute.compute.low < truth < by_compute.compute.high
    assert by_compute.beyond == pytest.approx(1.2e20 / 4.8e18)
    widths = [at.compute.high / at.compute.low for at in (comparison.at[-1], by_compute)]
    assert widths[1] > widths[0]


def test_the_multiplier_counts_what_a_token_costs_and_how_fast_it_is():
    def timed(side, flops, speed):
        return dataclasses.replace(
            side,
            flops=flops * side.flops,
            tokens_per_second=speed * 1e9 / side.params,
            convention={**side.convention, "flops": "exact"},
        )

    first, second = points(A, noise=0.0005), points(B, 1.2, noise=0.0005, seed=1)
    plain = compared(first, second).at[0]
    charged = compared(timed(first, 1.0, 1.0), timed(second, 1.5, 0.5)).at[0]
    assert plain.clock is None and charged.clock is not None
    assert charged.compute.value == pytest.approx(plain.compute.value / 1.5)
    assert charged.clock.value == pytest.approx(plain.compute.value * 0.5)
    assert charged.flops == pytest.approx(1.5 * plain.flops)


@pytest.mark.parametrize(("times", "outcome"), [(1.5, "pass"), (0.8, "fail"), (1.03, "undecided")])
def test_a_bar_is_passed_failed_or_undecided(times, outcome):
    verdict = compared(points(A), points(A, times, seed=1), at_least=1.02).verdict
    assert verdict is not None and verdict.outcome == outcome
    assert outcome == "undecided" or verdict.seeds_needed is None


def test_the_bar_is_for_the_largest_target_in_any_order():
    first, second = points(A), points(A, 1.5, seed=1)
    both = [compared(first, second, at_least=1.02, flops=f) for f in ((1e19, 1e23), (1e23, 1e19))]
    for verdict in (one.verdict for one in both):
        assert verdict is not None and verdict.flops == pytest.approx(1e23)
        assert verdict.beyond == pytest.approx(1e23 / 4.8e18)


def test_the_seeds_that_are_said_to_decide_do():
    first, second = points(A, noise=0.004), points(A, 1.06, noise=0.004, seed=2)
    verdict = compared(first, second, at_least=1.0).verdict
    assert verdict is not None and verdict.outcome == "undecided"
    assert verdict.seeds_needed is not None and verdict.runs_needed == 6 * verdict.seeds_needed
    more = 2 + 2 * verdict.seeds_needed
    first, second = (
        points(A, times, seeds=more, noise=0.004, seed=seed) for times, seed in ((1, 6), (1.06, 7))
    )
    again = compared(first, second, at_least=1.0).verdict
    assert again is not None and again.outcome == "pass"


def test_one_size_with_horizons_is_compared_along_its_tokens():
    def horizons(times, seed):
        draw = np.random.default_rng(seed)
        d = np.repeat([4e8, 8e8, 1.6e9], 2)
        losses = loss(3e7, times * d) * np.exp(0.0005 * draw.normal(size=6))
        return points_from_arrays(np.full(6, 3e7), d, losses)

    comparison = compared(horizons(1, 0), horizons(1.4, 1))
    assert comparison.path_share == 0
    for at in comparison.at:
        assert at.compute.low < 1.4 < at.compute.high
    with pytest.raises(ConfigError, match="of one size; name the target's compute with --flops"):
        compared(horizons(1, 0), horizons(1.4, 1), params=(1e9,))


def test_a_recipe_at_one_scale_has_a_multiplier_and_no_trend():
    comparison = compared(points(A), points((6e7,), 1.3, seed=1))
    (at,) = comparison.at
    assert at.compute.low < 1.3 < at.compute.high
    assert comparison.trend is None and "other has runs at one scale" in comparison.why_no_trend
    with pytest.raises(ConfigError, match="a target needs a trend"):
        compared(points(A), points((6e7,), 1.3, seed=1), flops=(1e20,))


def test_seeds_under_one_trunks_name_are_no_pairs():
    """A table may call a size a trunk; then every seed of it has the name, under both recipes."""
    first, second = (
        dataclasses.replace(side, cluster=tuple(f"{n:g}" for n in side.params))
        for side in (points(A), points(A, 1.3, seed=1))
    )
    comparison = compare_points(first, second, NAMES, paired=True)
    assert comparison.at[1].compute.low < 1.3 < comparison.at[1].compute.high


def test_what_runs_do_not_support_is_refused():
    with pytest.raises(FitError, match="its runs are of one scale"):
        compared(points((6e7,)), points(A))
    with pytest.raises(FitError, match="none repeated and none to spare"):
        compared(points(B, seeds=1), points(B, 1.3, seeds=1))
    known = compared(points(B, seeds=1), points(B, 1.3, seeds=1), noise=0.002)
    assert known.at[0].compute.low < 1.3 < known.at[0].compute.high
    with pytest.raises(FitError, match="the recipes share no losses"):
        compared(points(A), points((2e10, 8e10), seed=1))


def test_what_does_not_compare_is_bad_input():
    rising = dataclasses.replace(points(A), loss_nats=points(A).params ** 0.1)
    with pytest.raises(ConfigError, match="other: what is read as its loss rises with compute"):
        compared(points(A), rising)
    bits = dataclasses.replace(
        points(B), convention={**points(B).convention, "loss": "nats per byte"}
    )
    with pytest.raises(ConfigError, match="different units"):
        compared(points(A), bits)
    with pytest.raises(ConfigError, match="expected above 0 and below 1"):
        Question(level=9)
    with pytest.raises(ConfigError, match="expected a standard deviation of log loss"):
        Question(noise=2)


def test_intervals_hold_planted_multipliers_as_often_as_they_say():
    """A few draws of the benchmark, which has the shares of many."""
    module = benchmark("compare")
    held = []
    for number in range(16):
        draw = np.random.default_rng([11, number])
        row = module.score(module.plant(draw, 2 + number % 3, number % 2 == 0))
        held += [row[place][0] for place in ("lowest", "middle", "highest")]
    assert 0.8 <= np.mean(held) < 1


# from files


def table(path, recipes, columns="params,tokens,loss"):
    """A table of each recipe's points, with a column ``recipe`` where there are several."""
    several = len(recipes) > 1
    lines = [columns + (",recipe" if several else "")]
    for name, side in recipes.items():
        for n, d, value in zip(side.params, side.tokens, side.loss_nats, strict=True):
            lines.append(f"{n:.6g},{d:.6g},{value:.6f}" + (f",{name}" if several else ""))
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_two_tables_print_the_verdict_first_and_the_same_as_json(tmp_path, capsys):
    words = ["compare", table(tmp_path / "a.csv", {"a": points(A)})]
    words += [table(tmp_path / "b.csv", {"b": points(B, 1.3, seed=1)}), "--at-least", "1.02"]
    assert main(words) == EXIT_OK
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "base: a.csv" and "above 1x the recipe saves compute" in lines[1]
    assert lines[3] == "b.csv" and lines[4].startswith("pass: 1.")
    assert any("not stated on which text" in line for line in lines)
    assert main([*words, "--json"]) == EXIT_OK
    (one,) = json.loads(capsys.readouterr().out)["compared"]
    assert one["verdict"]["outcome"] == "pass" and one["trend"]["changes"] is False
    assert f"{one['at'][0]['compute']['value']:.2f}x" in "\n".join(lines)


def test_tables_may_name_their_columns_each_in_its_own_words(tmp_path, capsys):
    rows = [(n, 20 * n, loss(n, 20 * n)) for n in (1e7, 3e7, 1e8)]
    heads = ("N,D,val", ",size,toks,loss")  # an index without a name, as pandas writes it
    paths = [tmp_path / name for name in ("a.csv", "b.csv")]
    for path, head in zip(paths, heads, strict=True):
        index = [""] if head.startswith(",") else []
        lines = (",".join(map(str, [*index, *row])) for row in rows)
        path.write_text("\n".join([head, *lines]) + "\n")
    words = ["compare", *map(str, paths), "--columns", "params=N,tokens=D,loss=val"]
    assert main(words) == EXIT_USAGE
    err = capsys.readouterr().err
    assert "b.csv: no column 'N'; found (a column without a name), size, toks, loss" in err
    assert "take --columns once for each, in their order" in err
    each = [*words, "--columns", "params=size,tokens=toks", "--noise", "0.003"]
    assert main(each) == EXIT_OK
    assert main([*words, *(["--columns", "params=size"] * 2)]) == EXIT_USAGE
    assert "--columns 3 times for 2 sources" in capsys.readouterr().err


def test_a_verdict_beyond_the_runs_says_so_and_heads_the_table_of_several(tmp_path, capsys):
    words = ["compare", table(tmp_path / "a.csv", {"a": points(A)})]
    words += [table(tmp_path / f"{n}.csv", {n: points(A, 1.5, seed=1)}) for n in "bc"]
    assert main([*words, "--at-least", "1.02", "--flops", "4.8e19"]) == EXIT_OK
    out = capsys.readouterr().out
    row = next(line for line in out.splitlines() if line.startswith("b.csv  "))
    verdict = next(line for line in out.splitlines() if line.startswith("pass: "))
    assert "FLOPs, 10 times beyond the runs; the bar is" in verdict
    assert row.split()[1] == verdict.split()[1] and "4.8e+19 FLOPs  pass" in row


def test_values_of_a_column_are_compared_with_the_named_base(tmp_path, capsys):
    sides = {"muon": points(A, 1.3, seed=1), "adam": points(A), "few": points((6e7,), seeds=1)}
    path = table(tmp_path / "t.csv", sides)
    assert main(["compare", path, "--by", "recipe", "--base", "adam"]) == EXIT_OK
    out = capsys.readouterr().out
    assert out.startswith("base: recipe=adam\n") and "\nrecipe=muon  1." in out
    assert "not compared: recipe=few: " in out
    assert main(["compare", path, "--by", "recipe", "--base", "few"]) != EXIT_OK
    assert "the base, recipe=few: " in capsys.readouterr().err
    assert main(["compare", path, "--by", "recipe", "--base", "adan"]) == EXIT_USAGE
    assert "did you mean adam?" in capsys.readouterr().err


def test_the_arms_of_a_sweep_are_compared_by_flops_and_by_the_clock(tmp_path):
    sweep = SweepDir(tmp_path / "arms")
    for record in planted_arms(SWEEP, lambda spec: spec.optim.weight_decay == 0):
        speed = 2000.0 if record.spec.optim.weight_decay == 0 else 1000.0
        write_record(sweep.run(record.run_id), dataclasses.replace(record, tokens_per_second=speed))
    comparisons = compare_sources([sweep.path], Question(), by=[KEY], base="0.3")
    (one,) = comparisons.compared
    assert comparisons.base == f"{KEY}=0.3" and one.names[1] == f"{KEY}=0"
    assert one.convention == "matmul" and one.flops == "exact"
    for at in one.at:
        assert at.compute.low > 1 and at.clock is not None
        assert at.clock.value == pytest.approx(2 * at.compute.value, rel=1e-4)


def test_a_source_of_several_recipes_is_named(tmp_path, capsys):
    sweeps = [SweepDir(tmp_path / name) for name in ("one", "several")]
    for record in planted_arms(SWEEP, lambda spec: False):
        write_record(sweeps[1].run(record.run_id), record)
        if record.spec.optim.weight_decay == 0:
            write_record(sweeps[0].run(record.run_id), record)
    assert main(["compare", *(str(sweep.path) for sweep in sweeps)]) == EXIT_FIT
    assert f"{sweeps[1].path}: runs of 2 recipes" in capsys.readouterr().err


def test_a_base_that_gives_no_curve_may_be_chosen_again(tmp_path, capsys):
    recipes = {"a": points((6e7,)), "b": points(A), "c": points(A, 1.3, seed=1)}
    path = table(tmp_path / "t.csv", recipes)
    assert main(["compare", path, "--by", "recipe"]) == EXIT_FIT
    assert capsys.readouterr().err.endswith("--base NAME chooses another base\n")
    assert main(["compare", path, "--by", "recipe", "--base", "b"]) == EXIT_OK


def test_recipes_that_fail_alike_are_named_in_one_line(tmp_path, capsys):
    recipes = {"a": points((6e7,)), **{name: points(A) for name in ("b", "c", "d")}}
    path = table(tmp_path / "t.csv", recipes)
    assert main(["compare", path, "--by", "recipe"]) == EXIT_FIT
    first, hint = capsys.readouterr().err.splitlines()
    assert first.startswith("slaw: recipe=b, recipe=c, recipe=d: ")
    assert hint == "slaw: --base NAME chooses another base"


def test_two_sweeps_on_different_text_or_devices(tmp_path, capsys):
    sweeps = [SweepDir(tmp_path / name) for name in ("a", "b", "c")]
    for record in planted_arms(SWEEP, lambda spec: False):
        if record.spec.optim.weight_decay == 0:
            slower = dataclasses.replace(record, device="cpu: another")
            foreign = dataclasses.replace(record, corpus_fingerprint="f" * 16)
            for sweep, own in zip(sweeps, (record, slower, foreign), strict=True):
                write_record(sweep.run(own.run_id), own)
    first, slow, other = (str(sweep.path) for sweep in sweeps)
    assert main(["compare", first, slow, "--clock", "--at-least", "1"]) == EXIT_FIT
    assert "trained on different devices" in capsys.readouterr().err
    assert main(["compare", first, other]) == EXIT_USAGE
    assert "different validation text" in capsys.readouterr().err
    (one,) = compare_sources([sweeps[0].path, sweeps[1].path], Question()).compared
    assert math.isclose(one.at[0].compute.value, 1, abs_tol=0.05)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["{a}"], EXIT_USAGE, "1 source to compare: expected two or more"),
        (["{a}", "{a}"], EXIT_USAGE, "named twice"),
        (["{a}", "gone.csv"], EXIT_USAGE, "gone.csv: no such file"),
        (["{a}", "{b}", "--by", "x"], EXIT_USAGE, "2 sources; expected one"),
        (["{a}", "--by", "x"], EXIT_USAGE, "no column 'x'"),
        (["{a}", "{other}"], EXIT_USAGE, "different validation text (a.csv: c4; other.csv: pile)"),
    ],
)
def test_bad_sources_are_refused_in_a_line(words, code, said, tmp_path, capsys):
    places = {}
    for name, text in (("a", "c4"), ("b", "c4"), ("other", "pile")):
        rows = "".join(f"{n},{20 * n},{loss(n, 20 * n)},{text}\n" for n in A)
        (tmp_path / f"{name}.csv").write_text("params,tokens,loss,val_set\n" + rows)
        places[name] = str(tmp_path / f"{name}.csv")
    assert main(["compare", *(word.format(**places) for word in words)]) == code
    captured = capsys.readouterr()
    assert said in captured.err and captured.err.count("\n") == 1 and not captured.out


@pytest.mark.parametrize("words", [["both.csv", "--by", "recipe"], ["both.csv", "--by", "val_set"]])
def test_arms_of_a_table_on_different_text_are_refused(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    Path("both.csv").write_text(
        "params,tokens,loss,val_set,recipe\n5M,1B,4.5,c4,a\n9M,2B,4.2,c4,a\n"
        "5M,1B,4.3,pile,b\n9M,2B,4.0,pile,b\n"
    )
    assert main(["compare", *words]) == EXIT_USAGE
    assert "different validation text" in capsys.readouterr().err


def test_conditions_choose_the_text_that_losses_are_on_and_other_data_are_noted(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    header, *rows = Path(table(tmp_path / "a.csv", {"a": points(A)})).read_text().splitlines()
    two = [f"{header},val_set,dataset", *(f"{row},c4,web" for row in rows), f"{rows[0]},pile,web"]
    Path("two.csv").write_text("\n".join(two) + "\n")
    one = [f"{header},val_set,dataset", *(f"{row},c4,books" for row in rows)]
    Path("one.csv").write_text("\n".join(one) + "\n")
    assert main(["compare", "two.csv", "one.csv"]) == EXIT_USAGE
    assert "two.csv: c4, pile" in capsys.readouterr().err.replace(" and", ",")
    assert main(["compare", "two.csv", "one.csv", "--where", "val_set=c4"]) == EXIT_OK
    no_set = [f"{header},dataset", *(f"{row},web" for row in rows)]
    Path("web.csv").write_text("\n".join(no_set) + "\n")
    Path("books.csv").write_text(
        "\n".join(line.replace(",web", ",books") for line in no_set) + "\n"
    )
    assert main(["compare", "web.csv", "books.csv"]) == EXIT_OK
    assert "the data differ (web.csv: web; books.csv: books)" in capsys.readouterr().out
