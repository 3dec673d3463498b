"""What ``filtering`` says of runs that do not support a claim."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.findings import Findings
from scaling_law.experiment.text_amounts import amount_of
from scaling_law.spec.data import DataSpec
from tests.experiments.changed import findings_with, standing, with_loss
from tests.experiments.test_contract import experiment_of, planted_evidence

NAME = "filtering"


def rules(run: Run) -> list[str]:
    assert isinstance(run.spec.data, DataSpec)
    return [rule.name for rule in run.spec.data.clean or ()]


def epochs(run: Run) -> float:
    return run.spec.tokens / (amount_of(run.spec) or run.spec.tokens)


def changed(change: Callable[[Run], float | None]) -> Findings:
    """The findings with so many nats more for each run; None for one that has not finished."""

    def one(run: Run) -> Run | None:
        more = change(run)
        return None if more is None else with_loss(run, lambda loss: loss + more)

    return findings_with(NAME, one)


def test_each_repeated_text_has_one_with_as_much_good_text():
    evidence = planted_evidence(NAME)
    again = {epochs(run) for run in evidence.runs if not rules(run) and epochs(run) > 1}
    measures = experiment_of(NAME).analyse(evidence).measures
    pairs = [name for name in measures if name.startswith("again.")]
    assert len(pairs) == len(again) == 4


def test_repeats_that_cost_more_than_worse_text_break_even():
    findings = changed(lambda run: 0.02 * epochs(run) if not rules(run) else 0.0)
    assert standing(findings)["worse_text_beats_many_repeats"] is True
    even = findings.measures["break_even_epochs"]
    assert even is not None and 5 < even < 20
    assert "break even at" in findings.verdict


@pytest.mark.parametrize(("more", "word"), [(-1.0, "more than 50 epochs"), (1.0, "fewer than 2.5")])
def test_a_break_even_beyond_the_runs_is_said(more, word):
    findings = changed(lambda run: more if epochs(run) > 1 and not rules(run) else 0.0)
    assert findings.measures["break_even_epochs"] is None
    assert word in findings.verdict


def test_a_filter_that_harms_is_contradicted():
    findings = changed(lambda run: 0.2 if "compression" in rules(run) else 0.0)
    claims = standing(findings)
    assert claims["filter_helps_at_equal_kept"] is claims["filter_helps_at_equal_raw"] is False


def test_a_gain_within_the_noise_of_seeds_is_open():
    noise = {0: 0.2, 1: -0.2, 2: 0.0}
    findings = changed(lambda run: noise[run.spec.seed] * ("compression" in rules(run)))
    assert standing(findings)["filter_helps_at_equal_kept"] is None
    assert "the interval includes no difference" in findings.verdict


def test_without_the_filter_nothing_is_said_of_it():
    findings = changed(lambda run: None if "compression" in rules(run) else 0.0)
    claims = standing(findings)
    assert (
        claims["filter_helps_at_equal_kept"] is None and claims["filter_is_short_of_good"] is None
    )
    assert claims["few_repeats_beat_worse_text"] is True


def test_no_runs_establish_nothing():
    findings = experiment_of(NAME).analyse(Evidence(runs=()))
    assert set(standing(findings).values()) == {None}
