"""The committed records of an experiment, and the numbers that their README gives."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from scaling_law.experiment.analysis import analysed
from scaling_law.experiment.findings import AGAIN
from scaling_law.files.layout import SweepDir

REFERENCE = Path(__file__).resolve().parents[2] / "results" / "reference"
NAMES = (
    "allocation-cpu",
    "architecture_arms",
    "architectures",
    "batch_ramp",
    "best_of_n",
    "critical_batch",
    "critical_size",
    "critical_size_grid",
    "double_descent",
    "double_descent_net",
    "downstream",
    "downstream_addition",
    "emergence",
    "grokking",
    "grokking_progress",
    "grokking_transformer",
    "horizon_lr",
    "images",
    "in_context",
    "inverse_scaling",
    "kernel_limit",
    "length",
    "length_training",
    "lr_batch",
    "manifold",
    "mup",
    "mup_depth",
    "optimizers",
    "overfitting",
    "swapped_pairs",
    "schedules",
    "verifier",
)
# What the records do not establish: the claim, and its standing.
OPEN = {
    "architecture_arms": {"a_mixture_saves_compute": False},
    "architectures": {"lstm_gains_less_late": None, "lstm_lead_shrinks_with_size": None},
    "batch_ramp": {"ramp_beats_fixed": None},
    "best_of_n": {"own_log_probability_beats_majority": None},
    "critical_batch": {"kaplans_exponent": None},
    "critical_size": {"critical_exponent": None, "seeds_decide_near_it": None},
    "critical_size_grid": {"cheaper_than_a_grid": None, "critical_exponent": None},
    "double_descent_net": {"network_two_descents_by_epochs": False},
    "downstream": {
        "loss_decides": False,
        "scores_degrade": None,
        "two_steps_beat_compute": None,
        "two_steps_beat_params_tokens": None,
    },
    "downstream_addition": dict.fromkeys(
        (
            "loss_decides",
            "scores_degrade",
            "two_steps_are_close",
            "two_steps_beat_compute",
            "two_steps_beat_error_law",
            "two_steps_beat_params_tokens",
        )
    ),
    "emergence": {"digits_first": None, "likelier_with_size": None},
    "grokking": {"inverse_decay": False},
    "grokking_progress": {"frequencies_first": False, "norm_falls": False},
    "grokking_transformer": {"faster_with_rate": None, "inverse_decay": None},
    "horizon_lr": {"falling_trunk_serves_all": False, "two_trunks_serve_all": False},
    "length_training": {
        "ratio_decides": False,
        "rising_lengths_go_further": False,
        "rising_lengths_learn_sooner": None,
        "reverse_goes_further": False,
    },
    "lr_batch": {
        "all_bounded": None,
        "one_rate_serves_all_horizons": False,
        "rule_is_good": False,
    },
    "manifold": {"four_over_d": None},
    "mup_depth": {"one_rate": None, "rate_drifts": None, "transfer_costs_less": None},
    "optimizers": {"beats_adamw": None, "advantage_falls": None, "all_tuned": None},
    "overfitting": {"kaplans_power": None, "one_ratio": None},
    "schedules": {
        "all_tuned": None,
        "cut_cosine_misleads": None,
        "one_minus_sqrt_beats_linear": None,
    },
}


@pytest.fixture(scope="module", params=NAMES)
def reference(request):
    """The name of an experiment, its README, and the findings in its records."""
    folder = REFERENCE / request.param
    result = analysed(SweepDir(folder))
    assert result is not None
    return request.param, (folder / "README.md").read_text(), result.document


def test_the_reference_measures_equal_those_in_its_readme(reference):
    _, readme, document = reference
    listed = re.search(r"```text measures\n(.*?)```", readme, re.S)
    assert listed is not None, "the README lists the measures"
    rows = [line.split(" = ") for line in listed[1].splitlines()]
    written = {name: None if value in ("never", "none") else float(value) for name, value in rows}
    rounded = {
        name: None if value is None else float(f"{value:.6g}")
        for name, value in document["measures"].items()
    }
    assert rounded == written


def test_the_reference_establishes_its_claims(reference):
    name, readme, document = reference
    standing = {claim["name"]: claim["established"] for claim in document["claims"]}
    assert {key: value for key, value in standing.items() if not value} == OPEN.get(name, {})
    assert document["verdict"] in " ".join(readme.split())
    assert AGAIN not in json.dumps(document)
