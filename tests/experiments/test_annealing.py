"""What ``annealing`` says of runs that do not support a claim."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from scaling_law.config.load import load_config
from scaling_law.errors import ConfigError
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.findings import Findings
from tests.experiments.changed import findings_with, standing, with_metrics
from tests.experiments.test_contract import experiment_of, plan_of, planted_evidence

NAME = "annealing"


def changed(change: Callable[[Run], float | None]) -> Findings:
    """The findings with a number added to the loss on the target, None for an unfinished run."""

    def one(run: Run) -> Run | None:
        more = change(run)
        if more is None:
            return None
        return with_metrics(run, {"loss.val:cpp": run.record.metrics["loss.val:cpp"] + more})

    return findings_with(NAME, one)


def is_late(run: Run) -> bool:
    return run.spec.branch is not None


def test_cooldowns_with_other_mixtures_branch_from_one_trunk_for_each_seed():
    kinds = [run.spec.kind for run in plan_of(NAME).runs]
    assert (kinds.count("trunk"), kinds.count("branch"), kinds.count("single")) == (3, 9, 27)


def test_every_time_of_reading_has_as_much_text_of_the_target():
    rows = experiment_of(NAME).analyse(planted_evidence(NAME)).tables[0].rows
    shares = {when: [row[1] for row in rows if row[0] == when] for when in ("late", "early")}
    assert shares["late"] == shares["early"] == ["16%", "22%", "28%"]
    assert set(shares["late"]) < {row[1] for row in rows if row[0] == "spread"}


def test_without_cooldowns_nothing_is_said():
    findings = changed(lambda run: None if is_late(run) else 0.0)
    assert "no run that reads cpp late has finished" in findings.verdict
    claims = standing(findings)
    assert claims["late_beats_spread"] is None and claims["early_loses_to_spread"] is True


def test_a_cooldown_that_ends_higher_contradicts():
    findings = changed(lambda run: 0.2 if is_late(run) else 0.0)
    assert standing(findings)["late_beats_spread"] is False
    assert "nats higher when it is read in the cooldown" in findings.verdict


def test_seeds_that_disagree_decide_nothing():
    findings = changed(lambda run: 0.5 * (run.spec.seed - 1) if is_late(run) else 0.0)
    assert standing(findings)["late_beats_spread"] is None
    assert standing(findings)["late_counts_more"] is None


def test_a_loss_that_no_constant_share_has_is_counted():
    findings = changed(lambda run: -1.0 if is_late(run) else 0.0)
    assert standing(findings)["late_counts_more"] is None
    assert findings.measures["worth.late"] is None
    assert any("no constant share of their seed has: 9" in note for note in findings.notes)


def test_runs_of_another_target_are_left_out():
    evidence = planted_evidence(NAME)
    settings = dataclasses.replace(evidence.settings, target="java")
    findings = experiment_of(NAME).analyse(dataclasses.replace(evidence, settings=settings))
    assert set(standing(findings).values()) == {None}
    assert any("without a mixture to read: 36" in note for note in findings.notes)


def test_one_seed_has_no_interval():
    findings = changed(lambda run: 0.0 if run.spec.seed == 0 else None)
    assert findings.measures["worth.late"] == pytest.approx(2.6, abs=0.2)
    assert set(standing(findings).values()) == {None}
    assert experiment_of(NAME).analyse(Evidence(runs=())).measures["worth.early"] is None


def test_a_target_that_is_no_component_is_refused_with_the_config():
    with pytest.raises(ConfigError, match="no component is called 'rust'; there are py-code"):
        load_config(NAME, device_kind="cpu", overrides=["experiment.target=rust"])


def test_the_verdict_says_over_which_amounts_a_token_is_worth_so_much():
    verdict = experiment_of(NAME).analyse(planted_evidence(NAME)).verdict
    assert (
        "Over all amounts, one extra token of cpp is worth this many evenly spread ones: 2.6"
        in verdict
    )
