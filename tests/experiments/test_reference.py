"""The committed records of an experiment, and the numbers that their README gives."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from scaling_law.experiment.analysis import analysed
from scaling_law.experiment.collection import MULTIPLIER_HEAD, multiplier_rows
from scaling_law.experiment.findings import AGAIN
from scaling_law.files.layout import SweepDir

REFERENCE = Path(__file__).resolve().parents[2] / "results" / "reference"
NAMES = (
    "ablations",
    "allocation-cpu",
    "annealing",
    "architecture_arms",
    "architectures",
    "augmentation",
    "batch_ramp",
    "best_of_n",
    "context",
    "critical_batch",
    "critical_size",
    "critical_size_grid",
    "curriculum",
    "data_scaling",
    "doremi",
    "double_descent",
    "double_descent_net",
    "downstream",
    "downstream_addition",
    "emergence",
    "expert_load",
    "filtering",
    "grokking",
    "grokking_progress",
    "grokking_transformer",
    "horizon_lr",
    "images",
    "in_context",
    "inverse_scaling",
    "kaplan_chinchilla",
    "kernel_limit",
    "length",
    "length_training",
    "lr_batch",
    "lstm_context",
    "manifold",
    "mixing",
    "mup",
    "mup_depth",
    "objectives",
    "objectives_text",
    "optimizers",
    "optimizers_more",
    "overfitting",
    "precision",
    "quality",
    "repetition",
    "swapped_pairs",
    "schedules",
    "shape",
    "synthetic_text",
    "transfer",
    "verifier",
    "vocabulary",
)
# What the records do not establish: the claim, and its standing.
OPEN = {
    "ablations": dict.fromkeys(
        (
            "all_tuned",
            "fast_rise_saves",
            "one_key_head_costs",
            "post_norm_costs",
            "warm_up_saves",
        )
    ),
    "architecture_arms": {"a_mixture_saves_compute": False},
    "architectures": {"lstm_gains_less_late": None, "lstm_lead_shrinks_with_size": None},
    "batch_ramp": {"ramp_keeps_up": None},
    "best_of_n": {"training_beats_drawing": None},
    "context": {
        "larger_gains_more": None,
        "longer_is_lower_at_equal_tokens": False,
        "longest_wins_at_equal_compute": False,
        "power_law_in_context_length": None,
        "power_law_in_position": None,
        "predicts_later_positions": None,
    },
    "critical_batch": {"hyperbola": None, "kaplans_exponent": None},
    "critical_size": {"critical_exponent": None, "seeds_decide_near_it": None},
    "critical_size_grid": {"cheaper_than_a_grid": None, "critical_exponent": None},
    "curriculum": {
        "easy_beats_hard_first.length": False,
        "easy_first_helps.compression_mixed_end": None,
        "easy_first_helps.compression_whole_run": None,
        "easy_first_helps.length_mixed_end": False,
        "easy_first_helps.length_whole_run": False,
        "first_is_forgotten.length": None,
    },
    "data_scaling": {"hestness_exponent": None, "text_is_the_limit": False},
    "doremi": {
        "natural.every_domain_gains": None,
        "natural.mean_beats_uniform": None,
        "natural.worst_beats_uniform": False,
        "uniform.every_domain_gains": False,
        "uniform.mean_beats_uniform": None,
        "uniform.worst_beats_uniform": False,
        "weights_settle": False,
    },
    "double_descent_net": {"network_two_descents_by_epochs": False},
    "downstream": {
        "loss_decides": False,
        "scores_degrade": None,
        "two_steps_are_close": None,
        "two_steps_beat_compute": None,
        "two_steps_beat_error_law": None,
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
    "expert_load": {"balancing_costs_loss": None},
    "grokking": {"inverse_decay": False},
    "grokking_progress": {"frequencies_first": False, "norm_falls": False},
    "grokking_transformer": {"faster_with_rate": None, "inverse_decay": None},
    "horizon_lr": {"falling_trunk_serves_all": False, "one_trunk_serves_all": None},
    "images": {"convolutions_are_better": None},
    "kaplan_chinchilla": {
        "counting_lowers": None,
        "decay_lowers": None,
        "ends_near_half": False,
        "tuning_lowers": None,
        "warmup_lowers": None,
    },
    "length": {"fails_beyond_alibi": None, "fails_beyond_none": None},
    "length_training": {
        "ratio_decides": False,
        "rising_lengths_go_further": False,
        "rising_lengths_learn_sooner": None,
        "reverse_goes_further": False,
    },
    "lr_batch": {
        "all_bounded": None,
        "one_rate_serves_all_horizons": None,
        "predicts_held_out": None,
        "rule_is_good": False,
    },
    "lstm_context": {"lines_cross": False, "transformer_gains_longer": False},
    "manifold": {"four_over_d": None},
    "mixing": dict.fromkeys(
        (
            "exponential_is_better",
            "joint_law_predicts_largest",
            "mean_beats_uniform",
            "mean_regret_is_small",
            "offset_not_slope_by_tokens",
        )
    ),
    "mup_depth": {"one_rate": None, "rate_drifts": None, "transfer_costs_less": None},
    "objectives": dict.fromkeys(("fim_fills_in", "fim_is_free", "forty_percent_is_best"), False),
    "objectives_text": dict.fromkeys(("fim_fills_in", "fim_is_free"), False),
    "optimizers": {"advantage_falls": None, "all_tuned": None},
    "optimizers_more": {"advantage_falls": None, "all_tuned": None, "sgd_is_slower": None},
    "overfitting": {"kaplans_power": None, "one_ratio": None},
    "precision": {
        "effective_params_law": False,
        "kumars_gamma": None,
        "law_without_fewest_bits": None,
        "one_gamma_for_all_sizes": None,
    },
    "shape": {
        "all_tuned": None,
        "head_size_matters_little": False,
        "kaplans_basin": None,
        "mlp_ratio_matters_little": False,
        "one_trend_without_embeddings": False,
        "width_costs": False,
    },
    "quality": {
        "a_weight_predicts_better": None,
        "each_share_costs": None,
        "in_proportion": False,
        "offset_not_slope": None,
        "same_factor": False,
        "square_of_quality": False,
    },
    "repetition": {"published_constant": False},
    "schedules": {"all_tuned": None, "one_minus_sqrt_beats_linear": None},
    "synthetic_text": {"text_becomes_easier": False},
    "transfer": {"hernandez_alpha": False, "hernandez_beta": False, "text_is_the_limit": False},
    "vocabulary": {"best_is_bracketed": None, "taos_power": None, "wider_takes_fewer": None},
}
# READMEs that say more of each claim than its line in the report does.
IN_OTHER_WORDS = ("objectives", "objectives_text")


@pytest.fixture(scope="module", params=NAMES)
def read(request):
    """The name of an experiment, and what its records say."""
    result = analysed(SweepDir(REFERENCE / request.param))
    assert result is not None
    return request.param, result


@pytest.fixture(scope="module")
def reference(read):
    """The name of an experiment, its README, and the findings in its records."""
    name, result = read
    return name, (REFERENCE / name / "README.md").read_text(), result.document


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


def test_the_readme_gives_each_claim_with_its_standing_and_its_reason(reference):
    name, readme, document = reference
    if name in IN_OTHER_WORDS:
        return
    words = {True: "Established", False: "Contradicted", None: "Not established"}
    text = " ".join(readme.split())
    for claim in document["claims"]:
        line = f"- {words[claim['established']]}: {claim['says']} ({claim['because']})"
        # commands name the folder of these records
        assert line.replace(f"{REFERENCE.parents[1]}/", "") in text


def table_rows() -> list[list[str]]:
    """The rows of the table over all recipes, without its head."""
    text = (REFERENCE / "MULTIPLIERS.md").read_text()
    lines = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    rows = [re.split(r"\s{2,}", line) for line in lines]
    place = rows.index(list(MULTIPLIER_HEAD))
    return rows[place + 1 :]


def test_the_table_of_multipliers_and_the_measures_have_those_of_the_records(read):
    name, result = read
    multipliers = result.findings.multipliers
    own = [list(row) for row in multiplier_rows([(name, one) for one in multipliers])]
    assert [row for row in table_rows() if row[0] == name] == own
    measures = set(result.findings.measures.values())
    assert all(one.value in measures for one in multipliers if not one.bound)


def test_the_table_of_multipliers_lists_no_other_experiment():
    assert {row[0] for row in table_rows()} <= set(NAMES)
