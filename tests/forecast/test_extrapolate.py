import dataclasses
import json
import math
import random
import re
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from scaling_law.cli.main import main
from scaling_law.errors import ConfigError, FitError
from scaling_law.fit.result import FitResult, Prediction
from scaling_law.fit.worlds import Worlds, worlds_of
from scaling_law.forecast.extrapolate import extrapolate
from scaling_law.forecast.published import PUBLISHED, PUBLISHED_SURFACES, comparison, published_law
from scaling_law.forecast.target import Target
from scaling_law.forecast.text import format_prediction, prediction_json
from scaling_law.units import format_count, rounded_count
from tests.fit.test_parametric import planted_fits

CONVENTION = {"params": "matmul", "flops": "exact", "loss": "nats per token"}


@pytest.fixture(scope="module")
def fits() -> dict[str, FitResult]:
    assert planted_fits()["chinchilla"].status == "converged"
    return planted_fits()


@pytest.fixture
def fit(fits: dict[str, FitResult]) -> FitResult:
    return fits["chinchilla"]


def ends(prediction: Prediction) -> tuple[float, float]:
    assert prediction.low_nats is not None and prediction.high_nats is not None
    return prediction.low_nats, prediction.high_nats


def width(prediction: Prediction) -> float:
    low, high = ends(prediction)
    return math.log(high / low)


def test_published_laws_answer_without_runs():
    prediction = extrapolate(published_law("besiroglu2024"), Target(params=70e9, tokens=1.4e12))
    assert prediction.loss_nats == pytest.approx(
        1.8172 + 482.01 / 70e9**0.3478 + 2085.43 / 1.4e12**0.3658
    )
    assert prediction.flops == 6 * 70e9 * 1.4e12
    assert prediction.low_nats is None and prediction.level is None
    assert any("no interval" in words for words in prediction.warnings)
    assert "arXiv 2404.10102" in prediction.source


@pytest.mark.parametrize("name", PUBLISHED_SURFACES)
def test_targets_print_and_read_back(name):
    fit = published_law(name)
    by_flops = extrapolate(fit, Target(flops=1e22))
    assert by_flops.params and by_flops.tokens
    assert 6 * by_flops.params * by_flops.tokens == pytest.approx(1e22)
    assert (by_flops.params_optimal, by_flops.tokens_optimal) == pytest.approx(
        (by_flops.params, by_flops.tokens)
    )
    targets: list[dict[str, Any]] = [
        {"params": by_flops.params},
        {"tokens": by_flops.tokens},
        {"params": by_flops.params, "flops": 1e22},
        {"tokens": by_flops.tokens, "flops": 1e22},
        {"params": by_flops.params, "tokens": by_flops.tokens},
        {"target_loss": by_flops.loss_nats},
        {"params": by_flops.params, "target_loss": by_flops.loss_nats},
        {"tokens": by_flops.tokens, "target_loss": by_flops.loss_nats},
    ]
    for target in targets:
        again = extrapolate(fit, Target(**target))
        assert again.loss_nats == pytest.approx(by_flops.loss_nats, rel=1e-9)
        assert again.flops == pytest.approx(1e22, rel=1e-6)
        assert again.tokens_for_params == pytest.approx(by_flops.tokens, rel=1e-6)


def test_a_size_alone_gets_the_tokens_for_which_it_is_optimal(fit):
    prediction = extrapolate(fit, Target(params=175e9))
    best = minimize_scalar(
        lambda x: extrapolate(fit, Target(params=math.exp(x), flops=prediction.flops)).loss_nats,
        bounds=(math.log(1e9), math.log(1e13)),
        options={"xatol": 1e-6},
    )
    assert best.x == pytest.approx(math.log(175e9), abs=0.02)


def test_the_cheapest_run_for_a_loss_has_its_closed_form():
    fit = published_law("hoffmann2022")
    scale = (0.34 * 406.4 / (0.28 * 410.7)) ** (1 / 0.62)
    height = 406.4 * scale**-0.34 + 410.7 * scale**0.28
    flops = 6 * (height / (2.0 - 1.69)) ** (0.62 / (0.34 * 0.28))
    assert extrapolate(fit, Target(target_loss=2.0)).flops == pytest.approx(flops, rel=1e-9)


def test_single_variable_laws_use_their_own_variable():
    assert extrapolate(
        published_law("kaplan2020_n"), Target(params=1e9)
    ).loss_nats == pytest.approx(2.38, abs=0.005)
    compute = published_law("kaplan2020_c")
    first, tenfold = (extrapolate(compute, Target(flops=x)).loss_nats for x in (1e21, 1e22))
    assert 1 - tenfold / first == pytest.approx(0.109, abs=5e-4)
    back = extrapolate(compute, Target(target_loss=first))
    assert back.flops == pytest.approx(1e21, rel=1e-6)
    assert (back.params, back.tokens, comparison(back)) == (None, None, [])
    with pytest.raises(ConfigError, match="knows flops only"):
        extrapolate(compute, Target(params=1e9))
    assert "flops" not in format_prediction(back, compute, []).split("\n")[0]


def test_the_interval_widens_with_distance_and_with_each_source_of_error(fit):
    widths = [width(extrapolate(fit, Target(flops=1e14 * 10**i))) for i in range(0, 9, 2)]
    assert widths == sorted(widths)
    plain = extrapolate(fit, Target(flops=1e16))
    assert ends(plain)[0] < plain.loss_nats < ends(plain)[1]
    assert width(extrapolate(fit, Target(flops=1e16), seed_noise_log=0.02)) > width(plain)
    assert width(extrapolate(fit, Target(flops=1e16), level=0.99)) > width(plain)


@pytest.fixture(scope="module")
def worlds(fits: dict[str, FitResult]) -> Worlds:
    made = worlds_of(fits, {"chinchilla": 0.6, "coupled": 0.4}, noise_log=0.003, notes=("a note",))
    assert made is not None
    return made


def test_a_forecast_over_laws_lies_between_them_and_its_interval_holds_them(fit, fits, worlds):
    over = extrapolate(fit, Target(params=1e8, tokens=1e9), worlds=worlds)
    alone = [extrapolate(one, Target(params=1e8, tokens=1e9)).loss_nats for one in fits.values()]
    assert min(alone) < over.loss_nats < max(alone)
    low, high = ends(over)
    assert low < min(alone) and max(alone) < high
    weights = {one.law: one.weight for one in over.by_law}
    assert weights == pytest.approx({"chinchilla": 0.6, "coupled": 0.4})
    assert [one.loss_nats for one in over.by_law] == pytest.approx(alone, rel=0.02)
    mean = sum(one.weight * math.log(one.loss_nats) for one in over.by_law)
    assert math.log(over.loss_nats) == pytest.approx(mean)
    assert sum(over.variance_shares.values()) == pytest.approx(1)
    for side, end in zip((0, 1), ends(over), strict=True):
        total = math.hypot(*(part[side] for part in over.interval_parts.values()))
        assert abs(math.log(end / over.loss_nats)) == pytest.approx(total)
    assert "a note" in over.warnings


def test_a_larger_model_at_its_own_tokens_has_no_higher_forecast_or_interval(fit, worlds):
    sizes = np.geomspace(1e4, 1e12, 33).tolist()
    made = [extrapolate(fit, Target(params=size), worlds=worlds) for size in sizes]
    for name in ("low_nats", "loss_nats", "high_nats"):
        values: list[float] = [getattr(one, name) for one in made]
        assert values == sorted(values, reverse=True), name
    tokens = [one.tokens or 0.0 for one in made]
    assert tokens == sorted(tokens)
    with_more = extrapolate(fit, Target(params=1e8, tokens=1e9), worlds=worlds, level=0.99)
    assert width(with_more) > width(extrapolate(fit, Target(params=1e8, tokens=1e9), worlds=worlds))


def test_every_target_of_a_forecast_over_laws_reads_back(fit, worlds):
    by_flops = extrapolate(fit, Target(flops=1e15), worlds=worlds)
    assert by_flops.params and by_flops.tokens and by_flops.is_best_split
    targets: list[dict[str, Any]] = [
        {"params": by_flops.params},
        {"tokens": by_flops.tokens},
        {"params": by_flops.params, "tokens": by_flops.tokens},
        {"target_loss": by_flops.loss_nats},
        {"params": by_flops.params, "target_loss": by_flops.loss_nats},
    ]
    for target in targets:
        again = extrapolate(fit, Target(**target), worlds=worlds)
        assert again.loss_nats == pytest.approx(by_flops.loss_nats, rel=1e-9)
        assert again.flops == pytest.approx(1e15, rel=1e-6)
    best = minimize_scalar(
        lambda x: extrapolate(fit, Target(params=math.exp(x), flops=1e15), worlds=worlds).loss_nats,
        bounds=(math.log(1e4), math.log(1e11)),
        options={"xatol": 1e-6},
    )
    assert math.log(by_flops.params) == pytest.approx(best.x, abs=0.02)


def test_a_target_loss_that_some_worlds_never_reach_says_how_many(fit, fits, worlds):
    floor = fits["chinchilla"].params["E"]
    far = extrapolate(fit, Target(target_loss=1.02 * floor), worlds=worlds)
    (said,) = [words for words in far.warnings if "never reach" in words]
    assert re.match(r"worlds with \d+% of the forecast's weight never reach a loss of", said)
    assert far.flops_interval is not None and far.flops_interval[1] == math.inf
    near = extrapolate(fit, Target(target_loss=2 * floor), worlds=worlds)
    assert not any("never reach" in words for words in near.warnings)
    assert near.flops_interval is not None and near.flops is not None
    assert near.flops_interval[0] < near.flops < near.flops_interval[1] < math.inf
    with pytest.raises(FitError, match="worlds with 60% of the forecast's weight never"):
        extrapolate(fit, Target(target_loss=0.5 * floor), worlds=worlds)


def test_too_few_worlds_leave_the_law_alone_with_their_note(fit, fits):
    bare = {name: dataclasses.replace(one, samples=()) for name, one in fits.items()}
    few = worlds_of(bare, noise_log=0.003, notes=("one law only",))
    over = extrapolate(fit, Target(params=1e8, tokens=1e9), worlds=few)
    alone = extrapolate(fit, Target(params=1e8, tokens=1e9))
    assert (ends(over), over.by_law, over.variance_shares) == (ends(alone), (), {})
    assert "one law only" in over.warnings
    assert "the interval takes the chinchilla law for true" in alone.warnings


def test_the_text_says_what_a_forecast_over_laws_rests_on(fit, worlds):
    near = extrapolate(fit, Target(params=3e6, tokens=1e7), worlds=worlds)
    text = format_prediction(near, fit, comparison(near))
    assert "90% interval over 2 laws" in text.splitlines()[0]
    assert re.search(r"loss by each law, .*: chinchilla \d\.\d\d+, coupled \d\.\d\d+\n", text)
    assert re.search(r"the interval's variance comes from: .*which law holds \d+%", text)
    assert "\nthis forecast " in text and "chinchilla (this" not in text
    assert "slaw fit shows the parameters of one law, chinchilla" in text
    assert "laws (weight: loss" in str(near)
    far = extrapolate(fit, Target(params=175e9), worlds=worlds)
    text = format_prediction(far, fit, comparison(far))
    assert "loss by each law" not in text, "no figure so far beyond the data"
    assert "laws (weight): chinchilla .60; coupled .40 (" in str(far)


def test_an_interval_of_many_orders_of_magnitude_is_not_determined(fit):
    made = extrapolate(fit, Target(params=1e6, tokens=1e6))
    wide = dataclasses.replace(
        made,
        tokens_for_params_interval=(33e3, 2.9e261),
        params_optimal_interval=(340e3, 1.3e54),
        tokens_optimal_interval=(1e2, 1e50),
        flops_interval=(1e12, 1e40),
    )
    text = format_prediction(wide, fit, [])
    assert "tokens (interval not determined)" in text and "e+" not in text.split("conventions")[0]
    assert "params on" in text and "compute for this loss: FLOPs not determined" in text
    refused = dataclasses.replace(wide, refused="too far")
    text = format_prediction(refused, fit, [])
    assert "best split of 6T FLOPs: not determined" in text


def test_the_order_of_resamples_does_not_matter_and_bad_ones_are_counted(fit):
    shuffled = list(fit.samples)
    random.Random(0).shuffle(shuffled)
    mixed = dataclasses.replace(fit, samples=tuple(shuffled))
    first, second = (extrapolate(f, Target(params=1e9)) for f in (fit, mixed))
    assert (first.low_nats, first.high_nats) == (second.low_nats, second.high_nats)
    assert first.tokens_for_params_interval == pytest.approx(second.tokens_for_params_interval)
    broken = dataclasses.replace(fit, samples=(*fit.samples, (math.nan,) * 5))
    assert any("1 bootstrap samples" in w for w in extrapolate(broken, Target(params=1e9)).warnings)
    bare = extrapolate(dataclasses.replace(fit, samples=()), Target(params=1e7))
    assert bare.low_nats is None and any("no bootstrap samples" in w for w in bare.warnings)


def test_the_distance_is_stated_and_a_figure_too_far_away_is_refused(fit):
    near = extrapolate(fit, Target(params=1e6, tokens=2e6))
    assert near.refused == "" and not any("beyond" in words for words in near.warnings)
    far = extrapolate(fit, Target(params=175e9))
    assert far.beyond_data["params"] == pytest.approx(175e9 / 1e6)
    assert any("params 180K times (5.2 orders of magnitude)" in w for w in far.warnings)
    assert "no held-out runs support the law beyond its own runs (slaw validate)" in far.warnings
    split = extrapolate(fit, Target(flops=1e27))
    assert "the middle of the best splits" in format_prediction(split, fit, comparison(split))
    assert "a sweep this small" in far.refused and "orders of magnitude" in far.refused
    text = format_prediction(far, fit, comparison(far))
    refused, answer = text.splitlines()[:2]
    assert refused == far.refused and refused.endswith("quote the range, never its middle")
    assert f"{far.loss_nats:.2f}" not in text and f"{far.loss_nats:.3f}" not in text
    assert answer.startswith("loss somewhere in ") and "90% interval" in answer
    low, high = (float(x) for x in answer.split(" in ")[1].split(" nats")[0].split(" to "))
    assert low <= ends(far)[0] < ends(far)[1] <= high
    shown = format_prediction(near, fit, comparison(near)).splitlines()[0]
    assert f"{near.loss_nats:.4f}" not in shown and f"{near.loss_nats:.2f}" in shown


def test_where_held_out_runs_speak_against_it_the_verdict_leads_and_only_the_range_is_quoted(fit):
    verdict = "held-out largest size (3 runs) predicted within 9%: missed by too much; do not"
    verdict += " extrapolate"
    near = extrapolate(fit, Target(params=1e6, tokens=1e8), missed=verdict)
    assert 1 < near.beyond_data["flops"] < 1000
    assert near.refused == f"{verdict}: quote the range, never its middle"
    assert "loss_nats" in near.figures_refused
    assert not any("no held-out runs support" in words for words in near.warnings)
    text = format_prediction(near, fit, comparison(near), origin="law chinchilla fitted to a test")
    assert text.splitlines()[0] == near.refused
    assert text.splitlines()[1].startswith("loss somewhere in ")
    assert text.splitlines()[2] == "law chinchilla fitted to a test"
    assert f"{near.loss_nats:.2f}" not in text
    assert str(near).startswith(verdict)
    far = extrapolate(fit, Target(params=175e9), missed=verdict)
    assert far.refused.startswith(f"{verdict}; a sweep this small")
    within = extrapolate(fit, Target(flops=fit.data_range["flops"][1]), missed=verdict)
    assert within.refused == "", "the largest run's compute is no extrapolation"


def test_the_comparison_lists_kaplan_and_chinchilla_beside_ours(fit):
    prediction = extrapolate(fit, Target(params=1e9, tokens=2e10))
    rows = {row["law"]: row for row in comparison(prediction)}
    assert list(rows) == ["chinchilla (this forecast)", *PUBLISHED_SURFACES, "20 tokens/param"]
    assert rows["kaplan2020"]["params_exponent"] == 0.73
    assert rows["20 tokens/param"]["tokens_for_params"] == pytest.approx(20e9)
    assert rows["20 tokens/param"]["params_optimal"] == pytest.approx(math.sqrt(1.2e20 / 120))
    expected = 1.69 + 406.4 / 1e9**0.34 + 410.7 / 2e10**0.28
    assert rows["hoffmann2022"]["loss_nats"] == pytest.approx(expected)
    text = format_prediction(prediction, fit, comparison(prediction))
    assert "do not compare across tokenizers" in text and "matmul" in text


def test_a_published_law_keeps_its_name(fit):
    prediction = extrapolate(published_law("besiroglu2024"), Target(params=70e9, tokens=1.4e12))
    assert (prediction.law, prediction.form) == ("besiroglu2024", "chinchilla")
    names = [row["law"] for row in comparison(prediction)]
    assert names[0] == "besiroglu2024 (this forecast)" and "besiroglu2024" not in names[1:]
    text = format_prediction(prediction, published_law("besiroglu2024"), comparison(prediction))
    assert "law: besiroglu2024 (of the form chinchilla)" in text
    with pytest.raises(FitError, match="under law besiroglu2024"):
        extrapolate(published_law("besiroglu2024"), Target(target_loss=1.5))


@pytest.mark.parametrize("params", [10, 2e6, 1e9, 1e13])
def test_the_comparison_omits_losses_that_a_law_does_not_give(fit, params):
    prediction = extrapolate(fit, Target(params=params, tokens=20.0 * params))
    rows = {row["law"]: row for row in comparison(prediction)}
    text = format_prediction(prediction, fit, list(rows.values()))
    outside = {name for name in PUBLISHED_SURFACES if rows[name]["outside"]}
    none = len(outside) == len(PUBLISHED_SURFACES)
    assert ("no published law has a loss to compare: " in text) == none
    for name in () if none else PUBLISHED_SURFACES:
        line = next(line for line in text.splitlines() if line.startswith(name))
        shown = line.split()[1]
        assert (shown == "-") == bool(rows[name]["outside"])
        assert shown == "-" or float(shown) < math.log(50_257)
    expected = {10: 4, 2e6: 3, 1e9: 0, 1e13: 4}[params]
    assert len(outside) == expected
    # Kaplan's models began at 768 parameters
    assert params != 2e6 or "kaplan2020" not in outside
    assert ("note: loss -:" in text) == (bool(outside) and not none)


def test_the_comparison_leaves_out_laws_and_columns_without_a_figure(fit):
    prediction = extrapolate(fit, Target(params=10, tokens=200))
    rows = comparison(prediction)
    text = format_prediction(prediction, fit, rows)
    head = next(line for line in text.splitlines() if line.startswith("law  "))
    assert "loss" not in head and "tokens best for size" in head
    names = [row["law"] for row in rows if row["law"] not in text.partition(head)[2]]
    assert not names, "a law that is left out is named"
    far = [{**row, "tokens_for_params": 0.1, "params_optimal": 0.1, "tokens_optimal": 0.1,
            "outside": "far below"} for row in rows[1:3]]  # fmt: skip
    text = format_prediction(prediction, fit, [rows[0], *far, *rows[3:]])
    assert "left out: 2 laws without a figure here, hoffmann2022, besiroglu2024" in text
    assert "\nhoffmann2022 " not in text


def test_figures_are_rounded_once_and_the_best_split_is_stated_once(fit):
    best = extrapolate(fit, Target(params=1e6))
    text = format_prediction(best, fit, comparison(best))
    assert text.count("this is the best split of these FLOPs") == 1
    assert "compute-optimal for" not in text and "best split of " not in text.replace(
        "this is the best split of", ""
    )
    own = next(line for line in text.splitlines() if line.startswith("chinchilla (this"))
    # the target, the split and the table in the same digits
    assert best.tokens and own.count(format_count(best.tokens)) == 2
    assert f"{format_count(best.tokens)} tokens" in text.splitlines()[0]
    other = extrapolate(fit, Target(params=1e6, tokens=1e6))
    words = format_prediction(other, fit, comparison(other))
    assert other.params_optimal and other.tokens_optimal
    sizes = (format_count(x) for x in (other.params_optimal, other.tokens_optimal))
    assert "{} params on {} tokens".format(*sizes) in words


def test_a_refused_forecast_gives_the_split_as_ranges(fit):
    prediction = extrapolate(fit, Target(params=7e9, tokens=1e12))
    assert (
        prediction.refused
        and prediction.params_optimal_interval
        and prediction.tokens_optimal_interval
    )
    low, high = prediction.params_optimal_interval
    assert prediction.params_optimal and low < prediction.params_optimal < high
    # under C = 6ND the fewest params go with the most tokens
    assert prediction.flops and low * prediction.tokens_optimal_interval[1] * 6 == pytest.approx(
        prediction.flops
    )
    text = format_prediction(prediction, fit, comparison(prediction))
    line = next(line for line in text.splitlines() if line.startswith("best split of"))
    assert f"{rounded_count(low, 2)} to {rounded_count(high, 2)} params on" in line
    own = next(line for line in text.splitlines() if line.startswith("chinchilla (this"))
    for figure in (
        prediction.params_optimal,
        prediction.tokens_optimal,
        prediction.tokens_for_params,
    ):
        assert figure and format_count(figure) not in line + own


def test_the_json_is_strict_and_complete(fit):
    for prediction in (
        extrapolate(fit, Target(params=175e9)),
        extrapolate(published_law("kaplan2020_c"), Target(flops=1)),
    ):
        document = prediction_json(prediction, comparison(prediction))
        again = json.loads(json.dumps(document, allow_nan=False))
        required = "law params tokens flops loss_nats low_nats high_nats level beyond_data warnings"
        assert set(required.split()) <= again.keys()
        assert again["loss_nats"] == prediction.loss_nats


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ({}, "no target given"),
        ({"params": 1e9, "tokens": 1e9, "flops": 1e20}, "params, tokens, flops given"),
        ({"flops": 1e20, "target_loss": 3.0}, "not flops with target loss"),
        ({"params": -1.0}, "params is -1.0: expected above 0"),
        ({"params": math.nan}, "expected above 0 and finite"),
        ({"flops": 1e200}, "at most 1e"),
    ],
)
def test_unreadable_targets_are_refused(fit, target, words):
    with pytest.raises(ConfigError, match=words):
        extrapolate(fit, Target(**target))


def test_a_level_is_a_probability(fit):
    with pytest.raises(ConfigError, match=r"level 1\.5"):
        extrapolate(fit, Target(params=1e9), level=1.5)


def test_a_loss_out_of_reach_is_refused(fit):
    _, high = fit.intervals["E"]
    with pytest.raises(FitError, match="at or below the irreducible loss E") as caught:
        extrapolate(fit, Target(target_loss=fit.params["E"] - 0.1))
    assert caught.value.exit_code == 4
    with pytest.raises(FitError, match="within the interval of the irreducible loss"):
        extrapolate(fit, Target(target_loss=(fit.params["E"] + high) / 2))
    with pytest.raises(FitError, match="out of reach at 10K params and any tokens: at best"):
        extrapolate(fit, Target(params=1e4, target_loss=high + 0.2))
    with pytest.raises(FitError, match="above what the law gives"):
        extrapolate(fit, Target(target_loss=1e9))


def test_a_fit_without_a_joint_law_says_what_is_missing(fit):
    for change in ({"beta": 1e-5}, {"B": 1e-9}):
        flat = dataclasses.replace(
            fit,
            status="at_bound",
            message="beta at a bound; vary",
            params={**fit.params, **change},
        )
        with pytest.raises(FitError, match=r"no compute-optimal split.*give both"):
            extrapolate(flat, Target(params=1e9))
        both = extrapolate(flat, Target(params=1e9, tokens=1e10))
        assert both.params_optimal is None and both.tokens_for_params_interval is None
        assert any("at its bound" in words for words in both.warnings)
        format_prediction(both, flat, comparison(both))
    with pytest.raises(FitError, match="too few points"):
        extrapolate(
            dataclasses.replace(fit, status="too_few_points", params={}), Target(params=1e9)
        )


def test_no_target_overflows():
    for name in PUBLISHED:
        fit = published_law(name)
        variable = fit.law.variables[0]
        for value in (1.0, 1e59):
            target: dict[str, Any] = {variable: value}
            prediction = extrapolate(fit, Target(**target))
            assert np.isfinite(prediction.loss_nats)
            format_prediction(prediction, fit, comparison(prediction))


@pytest.mark.parametrize(
    "words", [["extrapolate", "--params"], ["plan", "--time", "1h", "--target"]]
)
def test_less_than_one_parameter_is_refused(words, capsys):
    law = ["--law", "besiroglu2024"] if words[0] == "extrapolate" else []
    for size in ("1e-300", "0.5"):
        assert main([*words, size, *law]) == 2
        assert "expected at least 1" in capsys.readouterr().err


def test_a_law_without_an_interval_prints_none(capsys):
    assert main(["extrapolate", "--law", "besiroglu2024", "--params", "1e9"]) == 0
    assert "; the loss is for exactly 22.7B tokens" in capsys.readouterr().out


@pytest.mark.parametrize("target", [["--params", "10"], ["--params", "1e9", "--tokens", "5"]])
def test_a_published_law_refuses_a_loss_above_that_of_guessing(target, capsys):
    assert main(["extrapolate", "--law", "besiroglu2024", *target]) == 4
    said = capsys.readouterr().err
    assert "law besiroglu2024 gives" in said and "ln(" in said and "outside its runs" in said
