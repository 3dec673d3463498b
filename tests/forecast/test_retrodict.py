"""Known models under published laws, against what the papers say of them."""

from __future__ import annotations

import dataclasses
import json
import math
import re

import pytest

from scaling_law.cli.main import main
from scaling_law.errors import ConfigError
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import write_record
from scaling_law.fit.session import fit_sources
from scaling_law.fit.suite import FitSettings
from scaling_law.forecast.hardware import Hardware
from scaling_law.forecast.retrodict import MODELS, arrival, format_arrivals, retrodict
from scaling_law.forecast.session import find_laws
from tests.fakes import planted_records


@pytest.fixture(scope="module")
def planted_folder(tmp_path_factory):
    """A finished sweep of a planted law, and its fit."""
    sweep = SweepDir(tmp_path_factory.mktemp("results") / "planted")
    for record in planted_records():
        write_record(sweep.run(record.run_id), record)
    fit_sources([sweep.path], FitSettings(resamples=100))
    return sweep.path


@pytest.fixture
def gpt3_alone(monkeypatch):
    """One model instead of all, each of which takes some searches for an optimum."""
    monkeypatch.setattr("scaling_law.forecast.retrodict.MODELS", (BY_NAME["GPT-3"],))


BY_NAME = {model.name: model for model in MODELS}
(BESIROGLU,) = find_laws(["besiroglu2024"], None)


def test_gpt3_had_under_two_tokens_per_parameter_and_its_optimum_is_smaller():
    made = retrodict(BESIROGLU, BY_NAME["GPT-3"])
    assert made.model.tokens / made.model.params == pytest.approx(1.71, abs=0.01)
    assert made.model.flops == pytest.approx(3.14e23, rel=0.01)  # Brown 2020, table D.1
    assert made.best.choice.params < 0.4 * made.model.params
    assert made.best.choice.loss_nats < made.loss_nats
    assert made.flops_needed is not None and 0.5 < made.flops_needed / made.model.flops < 0.7
    assert made.served_to_pay is None  # it was too large, not too small


def test_chinchilla_beats_gopher_at_about_the_same_compute():
    # Hoffmann 2022's own comparison; the refitted law takes Chinchilla for nearly optimal
    gopher, chinchilla = (retrodict(BESIROGLU, BY_NAME[n]) for n in ("Gopher", "Chinchilla"))
    assert abs(math.log(gopher.model.flops / chinchilla.model.flops)) < 0.2
    assert chinchilla.loss_nats < gopher.loss_nats - 0.02
    assert chinchilla.flops_needed == pytest.approx(chinchilla.model.flops, rel=0.02)


def test_llama_is_over_trained_and_pays_off_by_serving():
    made = retrodict(BESIROGLU, BY_NAME["Llama 3 8B"])
    assert made.flops_needed is not None and made.flops_needed < 0.25 * made.model.flops
    assert made.params_needed is not None and made.served_to_pay is not None
    # at that service both cost the same in all
    ours = made.model.flops + 2 * made.model.params * made.served_to_pay
    theirs = made.flops_needed + 2 * made.params_needed * made.served_to_pay
    assert ours == pytest.approx(theirs)


def test_arrival_years_follow_from_the_growth():
    hardware = Hardware(gpu="H100", dollars_per_hour=3.0, utilisation=0.4)
    made = arrival(BESIROGLU, 1.88, 1e6, hardware, hardware_growth=2.0, budget_growth=1.5)
    assert made.flops is not None
    gap = math.log(made.flops / made.flops_now)
    assert gap > 0
    assert made.years["as given"] == pytest.approx(gap / math.log(3.0))
    assert made.years["with half the growth"] == pytest.approx(2 * gap / math.log(3.0))
    assert made.years["with the budget constant"] == pytest.approx(gap / math.log(2.0))
    never = arrival(BESIROGLU, 1.88, 1e6, hardware, hardware_growth=1.0)
    assert never.years["as given"] is None
    assert "not within a century" in format_arrivals([never], 1.88, 1e6, hardware)
    there = arrival(BESIROGLU, 2.5, 1e9, hardware)
    assert there.years["as given"] == 0
    low = arrival(BESIROGLU, 1.5, 1e6, hardware)
    assert low.flops is None and "irreducible" in low.refused
    with pytest.raises(ConfigError, match="growth"):
        arrival(BESIROGLU, 1.9, 1e6, hardware, hardware_growth=0.0)


def test_the_command_prints_both_tables(capsys):
    assert main(["retrodict", "--law", "besiroglu2024", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert len(document["models"]) == len(MODELS)
    assert all("arXiv" in row["source"] for row in document["models"])
    assert main(["retrodict", "--law", "kaplan2020", "--target-loss", "1.5"]) == 0
    out = capsys.readouterr().out
    assert "not the minimum of his L(N, D)" in out and "not a forecast" in out


def test_published_laws_print_no_intervals(gpt3_alone, capsys):
    assert main(["retrodict"]) == 0
    out = capsys.readouterr().out
    assert "[" not in out and "published laws have no intervals" in out


@pytest.mark.parametrize("laws", [["besiroglu2024"], ["besiroglu2024", "hoffmann2022"]])
def test_a_loss_that_no_law_reaches_is_refused(gpt3_alone, laws, capsys):
    words = ["retrodict", *(word for law in laws for word in ("--law", law))]
    assert main([*words, "--target-loss", "1.2"]) == 4
    printed = capsys.readouterr()
    assert printed.out == "" and len(printed.err.splitlines()) == 1
    assert "1.2 nats per token are out of reach (besiroglu2024: " in printed.err
    assert all(f"no compute reaches it under law {law}" in printed.err for law in laws)
    # one law that reaches it is an answer
    assert main([*words, "--law", "kaplan2020", "--target-loss", "1.2"]) == 0
    # and the user did not ask for the default loss
    assert main(words) == 0


def test_far_beyond_its_data_a_fitted_law_gives_a_range_with_intervals(
    gpt3_alone, planted_folder, capsys
):
    words = ["retrodict", "--results", str(planted_folder), "--law", "chinchilla"]
    assert main(words) == 0
    out = capsys.readouterr().out
    gpt3 = next(line for line in out.splitlines() if line.startswith("  chinchilla"))
    assert re.search(r"  \d\.\d to \d\.\d  ", gpt3)
    # a range for the best split, and no figure of what the loss needs
    assert re.search(r"  \S+[KMBT] to \S+  +\S+ to \S+", gpt3) and "%" not in gpt3
    assert gpt3.split()[-2:] == ["-", "-"]
    assert "in each way that the fit allows" in out and "published laws" not in out
    assert "supports no figure" in out
    assert main([*words, "--json"]) == 0
    row = json.loads(capsys.readouterr().out)["models"][0]
    low, high = row["loss_interval_nats"]
    assert low < row["loss_nats"] < high and "does not support" in row["refused"]


def test_a_named_sweep_is_used_without_naming_a_law(gpt3_alone, planted_folder, tmp_path, capsys):
    assert main(["retrodict", "--results", str(planted_folder)]) == 0
    out = capsys.readouterr().out
    assert "\n  besiroglu2024" in out and f" fitted to {planted_folder}" in out
    assert main(["retrodict", "--results", str(tmp_path / "nothere")]) == 2
    assert "nothere: no such folder" in capsys.readouterr().err


def test_a_fitted_laws_arrival_has_its_interval(planted_folder):
    (law,) = find_laws(["chinchilla"], str(planted_folder))
    floor = law.fit.params["E"]
    hardware = Hardware(gpu="H100")
    near = arrival(law, floor + 1.0, 1e-9, hardware)
    assert near.flops and near.flops_interval and not near.far
    assert near.flops_interval[0] < near.flops < near.flops_interval[1]
    assert "FLOPs (interval" in format_arrivals([near], 2.9, 1e-9, hardware)
    far = dataclasses.replace(near, far=True, flops_interval=(1e15, 1e20))
    printed = format_arrivals([far], 2.9, 1e-9, hardware)
    assert "1e+15 to 1e+20 FLOPs" in printed and f"{near.flops:.3g} FLOPs" not in printed
