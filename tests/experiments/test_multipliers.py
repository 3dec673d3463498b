"""One table of the compute multipliers that experiments publish."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scaling_law.cli.main import main
from scaling_law.errors import EXIT_FIT, EXIT_OK
from scaling_law.experiment.collection import collect
from scaling_law.experiment.findings import Multiplier
from scaling_law.report.gallery import write_gallery
from tests.experiments.test_contract import experiment_of, planted_evidence

REFERENCE = Path(__file__).parents[2] / "results" / "reference"
RAMP, NONE = REFERENCE / "batch_ramp", REFERENCE / "swapped_pairs"
ONE: dict[str, Any] = {"recipe": "b", "base": "a", "params": 1e4, "tokens": 1e6}


@pytest.mark.parametrize(
    ("name", "recipe", "saves"),
    [("architecture_arms", "SwiGLU", False), ("architectures", "LSTM", True)],
)
def test_experiments_publish_the_compute_that_the_base_needs_over_the_recipes(name, recipe, saves):
    multipliers = experiment_of(name).analyse(planted_evidence(name)).multipliers
    own = [one for one in multipliers if one.recipe == recipe]
    assert own and all(one.base == "Transformer" and (one.value > 1) is saves for one in own)


def test_the_table_has_a_row_for_each_and_names_what_has_none(capsys):
    assert main(["experiments", "--multipliers", str(RAMP), str(NONE)]) == EXIT_OK
    out = capsys.readouterr().out
    assert "the compute that the base needs for a recipe's loss" in out
    assert "batch_ramp  batch 512 to 2,048 tokens  batch 1,024 tokens" in out
    assert out.splitlines()[-1] == "without a multiplier: swapped_pairs"
    assert main(["experiments", "--multipliers", str(RAMP), "--json"]) == EXIT_OK
    (one,) = json.loads(capsys.readouterr().out)
    assert one["experiment"] == "batch_ramp" and one["interval"][0] < one["value"]
    assert one["counts"] == "tokens" and one["params_are"] == "matmul"
    assert main(["experiments", "--multipliers", str(NONE)]) == EXIT_FIT
    assert "no experiment there gives a compute multiplier" in capsys.readouterr().err


@pytest.mark.slow
def test_the_page_over_several_experiments_has_the_table(tmp_path):
    page = write_gallery(collect(RAMP), tmp_path / "page.html").read_text()
    assert ">Compute multipliers</h2>" in page and "batch 512 to 2,048 tokens" in page


@pytest.mark.parametrize(
    "changes",
    [
        {"value": 1.3, "interval": (1.4, 1.5)},
        {"value": -1.0, "interval": None},
        {"value": 1.3, "interval": None, "counts": "dollars"},
        {"value": 1.3, "interval": (1.2, 1.4), "bound": "more"},
    ],
)
def test_a_multiplier_that_cannot_be_is_refused(changes):
    with pytest.raises(ValueError, match=r"multiplier|counts|more than"):
        Multiplier(**ONE, **changes)


def test_tokens_that_cost_more_are_charged():
    one = Multiplier(**ONE, value=1.2, interval=(1.1, 1.3), counts="tokens").charged(2.0)
    assert (one.value, one.interval, one.counts) == (0.6, (0.55, 0.65), "exact")


def test_a_multiplier_says_on_which_side_of_1_it_lies():
    sides = {(1.1, 1.3): 1, (0.8, 0.9): -1, (0.9, 1.3): 0, None: 0}
    for interval, side in sides.items():
        value = 1.0 if interval is None else sum(interval) / 2
        assert Multiplier(**ONE, value=value, interval=interval).side == side
    for bound, value, side in (("less", 0.5, -1), ("less", 2, 0), ("more", 2, 1), ("more", 0.5, 0)):
        one = Multiplier(**{**ONE, "bound": bound}, value=value, interval=None)
        assert (one.side, one.text) == (side, f"{bound} than {value:.2f}")
