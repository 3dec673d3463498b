"""What the analyses of best_of_n and verifier say of evidence that does not bear their claims."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import pytest

from scaling_law.experiment.attempts import drawn
from scaling_law.experiment.evidence import Evidence, Run
from tests.experiments.test_contract import experiment_of, planted_evidence

NAMES = ("best_of_n", "verifier")


def claims_of(name: str, evidence: Evidence) -> dict[str, tuple[bool | None, str]]:
    findings = experiment_of(name).analyse(evidence)
    return {claim.name: (claim.established, claim.because) for claim in findings.claims}


def changed(name: str, change: Callable[[Run], Mapping[str, float]]) -> Evidence:
    """The planted runs with the metrics that ``change`` gives."""
    evidence = planted_evidence(name)
    runs = tuple(
        dataclasses.replace(run, record=dataclasses.replace(run.record, metrics=dict(change(run))))
        for run in evidence.runs
    )
    return dataclasses.replace(evidence, runs=runs)


def right(run: Run, counts: Mapping[int, float]) -> dict[str, float]:
    """A run's metrics with other numbers of right answers to its questions."""
    others = {k: v for k, v in run.record.metrics.items() if ".right-" not in k}
    return others | {f"best_of_n.right-{c}": count for c, count in counts.items()}


@pytest.mark.parametrize("name", NAMES)
def test_runs_that_answer_everything_or_nothing_decide_nothing(name):
    claims = claims_of(name, changed(name, lambda run: right(run, {0: 150.0, 1: 50.0})))
    of_laws = {key: standing for key, (standing, _) in claims.items() if "training" not in key}
    assert set(of_laws.values()) == {None}
    assert any("0 of" in because and "it needs 3" in because for _, because in claims.values())


def test_two_kinds_of_questions_are_no_beta_distribution():
    """Questions that are always right, and ones that are right once in 64: pass@64 comes late."""
    counts = {64: 60.0, 1: 140.0}
    claims = claims_of("best_of_n", changed("best_of_n", lambda run: right(run, counts)))
    assert claims["beta_binomial_predicts"][0] is False


def test_a_choice_that_is_worth_more_than_training_is_found():
    def change(run: Run) -> dict[str, float]:
        metrics = dict(run.record.metrics) | {"answers.val.exact": 0.6}
        return {k: 0.9 if k == "best_of_n.log_prob-2" else v for k, v in metrics.items()}

    established, because = claims_of("best_of_n", changed("best_of_n", change))[
        "training_beats_drawing"
    ]
    assert established is False and "0.60 against 0.90" in because


def test_models_that_never_learn_say_nothing_of_training_against_drawing():
    claims = claims_of(
        "best_of_n",
        changed("best_of_n", lambda run: {**run.record.metrics, "answers.val.exact": 0.3}),
    )
    established, because = claims["training_beats_drawing"]
    assert established is None
    assert "0.30 of the greedy answers are right, in 0 of 9 seeds at least 0.5" in because


def test_seeds_that_never_learn_leave_the_claim_to_those_that_do():
    def change(run: Run) -> dict[str, float]:
        return {**run.record.metrics, **({"answers.val.exact": 0.1} if run.spec.seed == 1 else {})}

    established, because = claims_of("best_of_n", changed("best_of_n", change))[
        "training_beats_drawing"
    ]
    assert established is True and "over 8 of 9 seeds" in because


def test_training_that_is_ahead_by_no_more_than_seeds_differ_is_open():
    """Seeds differ by far more than either way of spending compute."""

    def change(run: Run) -> dict[str, float]:
        greedy = (0.5, 0.9, 0.6)[run.spec.seed % 3]
        chosen = (0.9, 0.2, 0.5)[run.spec.seed % 3]
        return {
            key: greedy if key == "answers.val.exact" else chosen if ".log_prob-" in key else value
            for key, value in run.record.metrics.items()
        }

    claims = claims_of("best_of_n", changed("best_of_n", change))
    assert claims["training_beats_drawing"][0] is None


def test_fewer_questions_served_leave_compute_for_more_answers():
    experiment, evidence = experiment_of("best_of_n"), planted_evidence("best_of_n")
    shares = {}
    for served in (100, 100_000):
        settings = experiment.settings(served=served)
        findings = experiment.analyse(dataclasses.replace(evidence, settings=settings))
        shares[served] = findings.measures["train_share.pass.budget6"]
    assert shares[100] is not None and shares[100_000] is not None
    assert shares[100] > shares[100_000]


def test_verifiers_that_judge_no_better_contradict_the_claims():
    def worse(key: str) -> float:
        """The more labels the lower, and lower with labels for each step."""
        labels = next(count for count in (64, 512, 4096) if f"-{count}." in key)
        return 0.6 - 0.01 * labels**0.3 - 0.01 * ("steps" in key)

    def change(run: Run) -> dict[str, float]:
        mean = run.record.metrics["best_of_n.log_prob-1"]
        return {
            key: worse(key) if key.endswith("accuracy") else mean if ".best-" in key else value
            for key, value in run.record.metrics.items()
        }

    claims = claims_of("verifier", changed("verifier", change))
    assert claims["verifier_beats_own_log_probability"][0] is False
    assert claims["more_labels_judge_better"][0] is False
    assert claims["step_labels_judge_better"][0] is False
    assert claims["few_labels_mislead"][0] is True


def test_a_verifier_of_one_number_of_labels_shows_nothing_about_more():
    def change(run: Run) -> dict[str, float]:
        return {k: v for k, v in run.record.metrics.items() if "-64." not in k and "-512." not in k}

    claims = claims_of("verifier", changed("verifier", change))
    assert claims["more_labels_judge_better"] == (
        None,
        "all runs have verifiers of 1 number of labels; it needs 2 (labels of the probe best_of_n)",
    )


def test_a_run_without_answers_drawn_is_left_out():
    run = planted_evidence("best_of_n").runs[0]
    one = drawn(run)
    assert one is not None and one.samples == 64 and one.passed[64] > one.passed[1]
    bare = dataclasses.replace(run.record, metrics={"answers.val.exact": 0.5})
    assert drawn(dataclasses.replace(run, record=bare)) is None
    evidence = Evidence(runs=(run, dataclasses.replace(run, record=bare)))
    notes = experiment_of("best_of_n").analyse(evidence).notes
    assert notes == ("runs left out, without answers drawn: 1",)
