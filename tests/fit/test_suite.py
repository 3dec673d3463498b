"""The whole analysis on a planted sweep, through files as the commands use it."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from scaling_law.errors import ConfigError, FitError
from scaling_law.files import checksum, layout
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import RunRecord, write_record
from scaling_law.fit.approaches.compare import compare
from scaling_law.fit.checks.validate import validate
from scaling_law.fit.laws import load_law
from scaling_law.fit.session import fit_sources, known_laws, laws_of, stored_or_fitted
from scaling_law.fit.suite import FitSettings, fit_suite, save_suite
from scaling_law.fit.summary import format_brief, format_suite
from scaling_law.fit.surface import exponent_is_fixed
from scaling_law.forecast.extrapolate import extrapolate
from scaling_law.forecast.target import Target
from tests.fakes import PLANTED, planted_records
from tests.fit.test_validate import changed, grid

QUICK = FitSettings(resamples=200, level=0.98)


@pytest.fixture(scope="module")
def records():
    return planted_records()


@pytest.fixture(scope="module")
def fitted(records, tmp_path_factory):
    """The folder of the records with its fit, which no test may change; the fit."""
    sweep = write_sweep(tmp_path_factory.mktemp("fitted"), records)
    suite, path = fit_sources([sweep.path], QUICK)
    assert path == sweep.fits / "fit.json"
    return sweep, suite


@pytest.fixture(scope="module")
def suite(fitted):
    return fitted[1]


def write_sweep(folder: Path, records: list[RunRecord]) -> SweepDir:
    sweep = SweepDir(folder / "sweep")
    for record in records:
        write_record(sweep.run(record.run_id), record)
    return sweep


def test_no_interval_is_narrower_than_the_errors_behind_the_verdict(suite):
    shown, worlds = suite.validation.shown_errors, suite.worlds
    assert shown and suite.validation.trust_flops_factor is not None
    assert shown[-1][0] >= suite.validation.trust_flops_factor * 0.99
    for factor, error in shown:
        log_flops = np.log(factor * suite.points.flops.max() / 6)
        beyond = (log_flops - worlds.size_edge - worlds.data_edge) / 2
        at = np.exp([worlds.size_edge + beyond]), np.exp([worlds.data_edge + beyond])
        low, high = worlds.interval(*at, 0.9)
        assert np.expm1((high - low) / 2)[0] >= error * 0.999


def test_the_planted_law_is_recovered_with_intervals_and_allocation(suite):
    fit = suite.laws["chinchilla"]
    assert fit.status == "converged"
    for name, value in PLANTED.items():
        low, high = fit.intervals[name]
        assert low <= value <= high
    assert fit.optimum.exponent == pytest.approx(0.37 / 0.71, abs=0.05)
    assert suite.validation.seed_noise_log == pytest.approx(0.002, rel=0.8)
    by = {row["params"]: row["a"] for row in suite.by_convention}
    assert by["matmul"] == fit.optimum.exponent
    assert len(set(by.values())) == 3, "the convention must matter"


def test_the_json_is_strict_and_has_the_documented_keys(suite):
    document = json.loads(json.dumps(suite.to_json(), allow_nan=False))
    assert document["points"] == len(suite.points)
    assert document["trunks"] == 8
    assert {"run_id", "reason"} == set(document["dropped"][0])
    law = document["laws"]["chinchilla"]
    wanted = {"status", "params", "intervals", "objective", "starts", "starts_agreeing"}
    assert wanted | {"optimum", "convention"} <= law.keys()
    assert set(law["params"]) == {"E", "A", "B", "alpha", "beta"}
    assert set(law["optimum"]) == {"a", "b", "G"}
    assert {"kaplan_n", "kaplan_d", "kaplan_c", "kaplan_nd", "coupled"} <= document["laws"].keys()


def test_an_exponent_that_the_law_fixes_is_no_finding_of_the_runs(suite):
    fixed = [name for name in suite.laws if exponent_is_fixed(load_law(name))]
    assert fixed == ["gadre"]
    assert not any("a_fixed" in row for row in suite.by_convention)
    row = {**suite.by_convention[0], "law": "gadre", "a": 0.5, "a_fixed": True}
    by_gadre = dataclasses.replace(suite, by_convention=({**row, "a_low": None},), best_law="gadre")
    lines = [line for line in format_suite(by_gadre).splitlines() if "a = 0.500" in line]
    assert len(lines) == 1 and "fixed by the law's form" in lines[0] and "[" not in lines[0]
    assert "a = 0.50, fixed by the law's form" in format_brief(by_gadre)
    first = compare(by_gadre)[0]
    assert first.interval is None and "fixed by the law's form" in first.reason


def test_the_text_names_conventions_counts_and_the_verdict(suite):
    text = format_suite(suite)
    assert f"{len(suite.points)} annealed points from 8 independent trunks" in text
    assert "params: matmul; FLOPs: exact; loss: nats per token, natural logarithm" in text
    assert "starts agree" in text
    assert f"verdict (chinchilla): {suite.validation.verdict}" in text
    assert "left out, not_annealed: a trunk" in text
    answer = text.index(
        "the law, which no other beats clearly at predicting held-out runs:\nchinchilla: "
    )
    order = [
        answer,
        *map(text.index, ("condition: how", "verdict (", "seed noise: ", "joint laws")),
    ]
    assert order == sorted(order), "the answer stands before the tables"
    assert text.index("joint laws") < text.index("\nother laws\n") < text.index("\nprofile (")
    assert text.count("\nchinchilla: ") == 1, "no law is printed twice"
    assert "values that fit nearly as well with the other parameters fitted again" in text


def test_the_text_says_what_is_missing_where_no_joint_law_fits(tmp_path):
    path = tmp_path / "runs.csv"
    rows = "".join(f"{n}e5,1e6,{3 - n / 10}\n" for n in range(1, 6))
    path.write_text(f"params,tokens,loss\n{rows}")
    text = format_suite(fit_sources([path], QUICK)[0])
    assert "\nno joint law could be fitted: each law below says what it lacks\nverdict" in text
    assert "\nchinchilla: too few points, on all points: 5 points" in text
    assert "_few_" not in text and "forecasts" not in text
    assert "1 point, 1 trunk;" in text


def test_laws_that_lack_the_same_share_a_line_that_says_what_to_add(tmp_path):
    path = tmp_path / "runs.csv"
    rows = [f"{n}e6,{d}e7,{3 + 1 / n + 1 / d}\n" for n in (1, 2, 4, 8) for d in (2, 4)]
    path.write_text("params,tokens,loss\n" + "".join(rows))
    text = format_brief(fit_sources([path], QUICK)[0])
    (line,) = [one for one in text.splitlines() if "different values of tokens" in one]
    assert line.strip().startswith("chinchilla, skaling, coupled")
    assert line.endswith("only 2 different values of tokens; at least 3 needed; add horizons")
    assert "verdict: no law, so no forecast" in text


def test_a_fit_shown_in_a_notebook_does_not_list_its_samples(suite):
    assert len(suite.laws["chinchilla"].samples) == QUICK.resamples
    assert len(repr(suite.laws["chinchilla"])) < 5_000


def test_the_screen_says_what_forecasts_rest_on(suite):
    text = format_brief(suite)
    assert "law chinchilla, which no other beats clearly at predicting held-out runs:" in text
    assert suite.worlds is not None and len(suite.worlds.laws) > 1
    (line,) = [line for line in text.splitlines() if "forecasts are over" in line]
    assert all(f"{name} ." in line for name in suite.worlds.laws), line
    assert line.startswith("chinchilla describes these runs; ") and "other laws" not in line


def test_a_law_that_forecasts_do_not_use_is_said_to_describe_the_runs_alone(suite):
    text = format_brief(dataclasses.replace(suite, best_law="coupled"))
    (line,) = [line for line in text.splitlines() if "forecasts are over" in line]
    assert line.startswith("coupled describes these runs; forecasts are over 2 other laws"), line


def test_a_law_that_no_rollout_chose_is_not_said_to_predict_best(tmp_path):
    path = tmp_path / "runs.csv"
    grid = [(n, d) for n in (1e7, 3e7, 1e8) for d in (2e8, 1e9, 4e9)]
    rows = (f"{n},{d},{1.8 + 480 * n**-0.35 + 2000 * d**-0.37 + 1e9 / n / d:.6f}" for n, d in grid)
    path.write_text("params,tokens,loss\n" + "\n".join(rows) + "\n")
    suite, _ = fit_sources([path], FitSettings(resamples=0))
    assert not any(math.isfinite(score.rollout_rms) for score in suite.scores)
    for text in (format_brief(suite), format_suite(suite)):
        assert (
            "the first that converged: the runs do not allow all rollouts that would choose one:"
            in text
        )
        assert "held-out runs:" not in text and "forecasts: this law alone" in text


def test_a_saved_fit_is_reused_until_the_records_change(fitted, records, tmp_path):
    shutil.copytree(fitted[0].path, tmp_path / "sweep")
    sweep, suite = SweepDir(tmp_path / "sweep"), fitted[1]
    known = stored_or_fitted(sweep)
    assert known.laws["chinchilla"].params == suite.laws["chinchilla"].params
    assert known.laws["chinchilla"].samples == suite.laws["chinchilla"].samples
    assert known.seed_noise_log == suite.validation.seed_noise_log
    assert known.best_law == suite.best_law == "chinchilla"
    gone = next(r for r in records if r.kind == "branch")
    sweep.run(gone.run_id).record.unlink()
    laws = stored_or_fitted(sweep, FitSettings(resamples=0)).laws
    assert laws["chinchilla"].n_points == suite.laws["chinchilla"].n_points - 1


def test_a_saved_fit_has_the_worlds_that_it_was_made_with(suite, tmp_path):
    path = save_suite(suite, tmp_path)
    known = known_laws(tmp_path)
    assert suite.worlds is not None and known.worlds is not None
    assert known.worlds.to_json() == suite.worlds.to_json()
    fresh, stored = (
        extrapolate(suite.laws["chinchilla"], Target(params=1e8), worlds=worlds)
        for worlds in (suite.worlds, known.worlds)
    )
    assert fresh == stored
    assert suite.to_json()["forecast_weights"] == suite.worlds.laws
    content = checksum.read(path, "")
    content["worlds"]["weight"] = [0.5, 0.5]
    checksum.write(path, content)
    with pytest.raises(ConfigError, match=r"damaged \(weight: .*run `slaw fit` again"):
        known_laws(tmp_path)


def test_forecasts_of_a_fit_keep_the_verdict_that_says_not_to_extrapolate(suite, tmp_path):
    assert laws_of(suite).missed == ""
    # the largest sizes stop improving
    bent = validate(changed(grid(), dict.fromkeys(range(16, 24), 1.08)))
    bad = dataclasses.replace(suite, validation=bent)
    save_suite(bad, tmp_path)
    for known in (laws_of(bad), known_laws(tmp_path)):
        assert known.missed == bent.verdict and "do not extrapolate" in known.missed
        made = extrapolate(known.laws["chinchilla"], Target(params=1e6), **known.beside)
        assert made.beyond_data["flops"] > 1 and made.refused.startswith(bent.verdict)


def test_a_fit_of_an_earlier_slaw_forecasts_with_its_best_law_and_says_so(suite, tmp_path):
    path = save_suite(suite, tmp_path)
    content = checksum.read(path, "")
    del content["worlds"]
    checksum.write(path, content | {"schema_version": 4})
    known = known_laws(tmp_path)
    assert known.worlds is not None and list(known.worlds.laws) == ["chinchilla"]
    made = extrapolate(known.laws["chinchilla"], Target(params=1e8), **known.beside)
    assert made.low_nats is not None and len(made.by_law) == 1
    assert any("saved by an earlier slaw; run `slaw fit` again" in w for w in made.warnings)


def test_a_damaged_saved_fit_is_named(records, suite, tmp_path):
    sweep = write_sweep(tmp_path, records)
    path = save_suite(suite, sweep.path)
    content = layout.read_json(path)
    del content["laws"]["chinchilla"]["status"]
    layout.write_json(path, content)
    with pytest.raises(ConfigError, match=r"fit\.json: damaged"):
        stored_or_fitted(sweep)


def test_different_tokenizers_are_never_pooled(records):
    other = records[-1]
    model = dataclasses.replace(other.spec.model, vocab_size=4096)
    spec = dataclasses.replace(other.spec, model=model)
    with pytest.raises(FitError, match="different tokenizers"):
        fit_suite([*records[:-1], dataclasses.replace(other, spec=spec)], QUICK)


@pytest.mark.parametrize(
    "change",
    [{"loss": "l1"}, {"level": 1.5}, {"resamples": 3}, {"huber_delta": 0.0}],
)
def test_impossible_settings_are_refused(change):
    with pytest.raises(ConfigError, match="expected"):
        FitSettings(**change)
