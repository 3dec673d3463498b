"""What the analysis of emergence says of evidence that does not bear its claims."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

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


def order_claim(evidence: Evidence, reversed_solve: int, plain_solve: int) -> tuple[Any, str]:
    """The claim on the order of digits, where so many of the runs of each order solve the task."""
    solves = next(run for run in evidence.runs if run.curve[-1].metrics["answers.val.exact"] > 0.9)
    fails = next(run for run in evidence.runs if run.curve[-1].metrics["answers.val.exact"] < 0.5)
    left = {True: reversed_solve, False: plain_solve}
    runs = []
    for run in evidence.runs:
        is_reversed = "('reverse', True)" in str(run.spec.data)
        left[is_reversed] -= 1
        curve = solves.curve if left[is_reversed] >= 0 else fails.curve
        runs.append(dataclasses.replace(run, curve=curve))
    return claims_of(dataclasses.replace(evidence, runs=tuple(runs)))["reversed_is_easier"]


@pytest.mark.parametrize(
    ("reversed_solve", "plain_solve", "standing"),
    [(12, 12, None), (99, 99, None), (0, 1, None), (1, 0, None), (12, 0, True), (0, 12, False)],
)
def test_the_order_of_digits_is_decided_by_what_chance_does_not_give(
    reversed_solve, plain_solve, standing
):
    evidence = planted_evidence("emergence")
    established, because = order_claim(evidence, reversed_solve, plain_solve)
    assert established is standing, because


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
