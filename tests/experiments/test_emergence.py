"""What the analysis of emergence says of evidence that does not bear its claims."""

from __future__ import annotations

import dataclasses

from scaling_law.experiment.evidence import Evidence
from tests.experiments.test_contract import experiment_of, planted_evidence


def claims_of(evidence: Evidence) -> dict[str, tuple[bool | None, str]]:
    findings = experiment_of("emergence").analyse(evidence)
    return {claim.name: (claim.established, claim.because) for claim in findings.claims}


def without(evidence: Evidence, *, above: float) -> Evidence:
    """The same runs without the measurements whose exact match is higher."""
    runs = tuple(
        dataclasses.replace(
            run, curve=tuple(p for p in run.curve if p.metrics["answers.val.exact"] <= above)
        )
        for run in evidence.runs
    )
    return dataclasses.replace(evidence, runs=runs)


def test_runs_that_solve_nothing_decide_nothing():
    claims = claims_of(without(planted_evidence("emergence"), above=0.02))
    assert {established for established, _ in claims.values()} == {None}
    assert "no run of 25 has the outcome" in claims["likelier_with_size"][1]


def test_equal_shares_of_both_orders_contradict_or_decide_nothing():
    """Runs of plain order whose curves are those of reversed ones solve as many."""
    evidence = planted_evidence("emergence")
    half = len(evidence.runs) // 2
    mixed = [
        dataclasses.replace(run, curve=evidence.runs[place % half].curve)
        for place, run in enumerate(evidence.runs)
    ]
    established, because = claims_of(dataclasses.replace(evidence, runs=tuple(mixed)))[
        "reversed_is_easier"
    ]
    assert not established and because


def test_answers_that_are_no_product_contradict_the_claim():
    evidence = planted_evidence("emergence")
    runs = tuple(
        dataclasses.replace(
            run,
            curve=tuple(
                dataclasses.replace(
                    point,
                    metrics={
                        **point.metrics,
                        "answers.val.exact": point.metrics["answers.val.exact"] ** 0.5,
                    },
                )
                for point in run.curve
            ),
        )
        for run in evidence.runs
    )
    established, because = claims_of(dataclasses.replace(evidence, runs=runs))["product_of_digits"]
    assert established is False and "off" in because


def test_a_product_that_half_of_the_runs_follow_is_left_open():
    """Of planted runs that learn, every second one is off at every third measurement."""
    evidence = planted_evidence("emergence")

    def change(run, point):
        exact = point.metrics["answers.val.exact"]
        is_off = run.spec.seed % 2 and point.step % 60 == 0 and 0.05 < exact < 0.9
        return {**point.metrics, "answers.val.exact": exact + 0.04 * is_off}

    runs = tuple(
        dataclasses.replace(
            run,
            curve=tuple(dataclasses.replace(p, metrics=change(run, p)) for p in run.curve),
        )
        for run in evidence.runs
    )
    established, because = claims_of(dataclasses.replace(evidence, runs=runs))["product_of_digits"]
    assert established is None and "the interval includes no difference" in because
