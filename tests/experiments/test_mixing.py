"""What ``mixing`` says of runs that do not support a claim, and what it trains next."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from scaling_law.config.load import load_config
from scaling_law.errors import ConfigError
from scaling_law.experiment.evidence import Run
from scaling_law.experiment.findings import Findings
from scaling_law.experiment.rank import RankCorrelation, rank_correlation
from scaling_law.fit.mixtures.target import parse_target
from tests.experiments.changed import findings_with, standing, with_metrics
from tests.experiments.test_contract import planted_evidence

NAME = "mixing"


def changed(change: Callable[[Run], float | None]) -> Findings:
    """The findings with a number added to every loss, None for a run that has not finished."""

    def one(run: Run) -> Run | None:
        more, own = change(run), run.record.metrics
        if more is None:
            return None
        return with_metrics(run, {k: v + more for k, v in own.items() if k.startswith("loss.")})

    return findings_with(NAME, one)


def is_small(run: Run) -> bool:
    return run.spec.model.d_model == 16  # type: ignore[union-attr]


def test_the_second_stage_trains_what_the_small_size_proposes_at_the_large():
    second = [run for run in planted_evidence(NAME).runs if run.stage == 2]
    assert second and not any(map(is_small, second))
    mixes = {run.spec.mix.text for run in second if run.spec.mix}
    assert "natural" in mixes and len(mixes) == 4, "two proposals, uniform and natural"
    proposed = [run.spec.seed for run in second if run.spec.mix and "0.49" in run.spec.mix.text]
    assert proposed == [0, 1, 2, 3]


def test_before_the_second_stage_nothing_is_said_of_gains():
    findings = changed(lambda run: None if run.stage == 2 else 0.0)
    claims = standing(findings)
    assert claims["predicts_held_out"] is True and claims["worst_ranking_holds"] is True
    assert claims["worst_beats_uniform"] is None and claims["mean_regret_is_small"] is None


def test_a_gain_within_the_noise_of_seeds_is_a_tie():
    def noise(run: Run) -> float:
        return 0.4 * (run.spec.seed % 2) if run.stage == 2 else 0.4 * ((run.spec.seed + 1) % 2)

    findings = changed(noise)
    (because,) = (c.because for c in findings.claims if c.name == "worst_beats_uniform")
    assert standing(findings)["worst_beats_uniform"] is None and "includes no difference" in because
    assert "a tie" in findings.verdict


def test_the_level_of_the_largest_size_is_no_difference_between_mixtures():
    name = "joint_law_predicts_other_mixtures"
    longest = max(run.spec.tokens for run in planted_evidence(NAME).runs)

    def is_largest(run: Run) -> bool:
        return run.stage == 1 and run.spec.tokens == longest and not is_small(run)

    level = standing(changed(lambda run: 0.2 * is_largest(run)))
    assert level["joint_law_predicts_largest"] is False and level[name] is True
    apart = changed(lambda run: 0.2 * (is_largest(run) and "natural" not in str(run.spec.mix)))
    assert standing(apart)[name] is False
    bare = standing(changed(lambda run: None if "natural" in str(run.spec.mix) else 0.0))
    assert bare[name] is None


def test_a_proposal_that_ends_higher_contradicts():
    findings = changed(lambda run: 0.5 if run.stage == 2 and "natural" not in str(run.spec.mix)
                       else 0.0)  # fmt: skip
    claims = standing(findings)
    assert claims["worst_beats_natural"] is False and claims["worst_regret_is_small"] is False


def test_losses_that_no_law_describes_give_no_verdict():
    findings = changed(lambda run: 0.3 * (sum(map(ord, str(run.spec.mix))) % 2))
    assert standing(findings)["predicts_held_out"] is not True


def test_too_few_mixtures_are_named():
    kept = {"natural", "cpp=0.8 py-code=0.1 py-docs=0.1"}
    findings = changed(lambda run: 0.0 if str(run.spec.mix) in kept else None)
    assert standing(findings)["predicts_held_out"] is None
    assert "2 mixtures of 3 components" in findings.verdict


def test_a_target_that_is_none_is_refused_with_the_config():
    with pytest.raises(ConfigError, match=r"target 'best': expected worst, mean, or weights"):
        load_config(NAME, device_kind="cpu", overrides=["experiment.targets=[best]"])


@pytest.mark.parametrize(
    ("targets", "why"),
    [
        ('"py-cod=1"', r"no component is called 'py-cod' \(did you mean py-code\?\)"),
        ('"cpp=nan"', "'cpp' has the weight nan, expected a finite number"),
        ("", "targets is empty"),
        ("mean, mean", "targets has one twice"),
    ],
)
def test_targets_that_do_not_fit_the_text_are_refused_before_training(targets, why):
    with pytest.raises(ConfigError, match=why):
        load_config(NAME, device_kind="cpu", overrides=[f"experiment.targets=[{targets}]"])


def test_a_task_has_nothing_to_mix():
    with pytest.raises(ConfigError, match="a task has no components to mix"):
        parse_target("worst", ())


def test_ranks_agree_or_not():
    values = [3.0, 1.0, 2.0, 5.0, 4.0, 6.0, 8.0, 7.0]
    same = rank_correlation(values, [value**2 for value in values])
    assert isinstance(same, RankCorrelation) and same.value == pytest.approx(1)
    opposite = rank_correlation(values, [-value for value in values])
    assert isinstance(opposite, RankCorrelation) and opposite.interval[1] < -0.9
    tied = rank_correlation([1, 1, 2, 3, 4], [1, 2, 3, 4, 5])
    assert isinstance(tied, RankCorrelation) and tied.value == pytest.approx(0.9747, abs=1e-3)
    assert rank_correlation([1, 2], [1, 2]) == "2 values to rank, and it takes 5"
    assert rank_correlation([1] * 6, list(range(6))) == "all values are equal"
