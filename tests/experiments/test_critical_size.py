"""The critical size: its search, and what its analysis says where there is none to be known."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from scaling_law.experiment.critical import Critical, fit_critical, identified_share
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.sigmoid import middle_within
from scaling_law.spec.model import OtherModel
from tests.experiments.test_contract import experiment_of, plan_of, planted_evidence

NAME = "critical_size"


def test_a_noisy_bisection_finds_a_planted_middle():
    """Answers drawn from a sigmoid: the interval holds its middle in about 90% of the searches."""
    rng = np.random.default_rng(0)
    held, searches = 0, 40
    for _ in range(searches):
        outcomes: dict[float, list[bool]] = {8.0: [False] * 3, 128.0: [True] * 3}
        for _ in range(6):
            size = middle_within(outcomes, 8, 128).value
            share = 1 / (1 + (30 / size) ** 12)
            outcomes.setdefault(size, []).extend(rng.random(3) < share)
        low, high = middle_within(outcomes, 8, 128).interval
        held += low <= 30 <= high
        assert high / low < 4
    assert held / searches > 0.75


def test_outcomes_move_the_middle_the_right_way():
    plain = middle_within({}, 10, 1000)
    assert plain.value == pytest.approx(100) and plain.factor == pytest.approx(100**0.9, rel=0.02)
    assert middle_within({100.0: [True] * 3}, 10, 1000).value < 60
    assert middle_within({100.0: [False] * 3}, 10, 1000).value > 160


def speeds(threshold: float, exponent: float, noise: float = 0.02) -> dict[float, list[float]]:
    rng = np.random.default_rng(0)
    return {
        float(size): list(
            0.01 * (size / threshold - 1) ** exponent * np.exp(noise * rng.standard_normal(3))
        )
        for size in threshold * np.array([1.1, 1.3, 1.6, 2, 2.5, 3, 4])
    }


def test_a_planted_critical_size_and_exponent_are_recovered():
    fit = fit_critical(speeds(30, 0.5))
    assert isinstance(fit, Critical)
    assert fit.threshold_interval[0] <= 30 <= fit.threshold_interval[1]
    assert fit.exponent_interval[0] <= 0.5 <= fit.exponent_interval[1]
    assert fit.threshold == pytest.approx(30, rel=0.1)
    assert fit.exponent == pytest.approx(0.5, rel=0.2)
    assert fit.at(60) == pytest.approx(0.01, rel=0.1) and fit.at(20) == 0


def test_a_power_law_of_size_has_no_critical_size():
    values = {float(size): [size**0.7, size**0.7 * 1.02] for size in (10, 20, 40, 80, 160, 320)}
    assert "without a threshold" in str(fit_critical(values))


def test_a_jump_at_the_smallest_size_has_no_exponent():
    values = {float(size): [1.0, 1.02, 0.98] for size in (11, 12, 14, 18, 25, 40)}
    assert "right below the smallest size, 10" in str(fit_critical({10.0: [0.4], **values}))


def test_noise_determines_no_exponent():
    rng = np.random.default_rng(3)
    values = {float(size): list(np.exp(rng.standard_normal(2))) for size in (10, 20, 30, 40, 50)}
    assert isinstance(fit_critical(values), str)
    assert "4 sizes" in str(fit_critical({float(size): [1.0] for size in range(1, 5)}))


@pytest.fixture(scope="module")
def planted() -> Evidence:
    return planted_evidence(NAME)


def width_of(run: Run) -> int:
    assert isinstance(run.spec.model, OtherModel)
    return dict(run.spec.model.shape)["width"]


def proposed(evidence: Evidence) -> Mapping[str, Any] | None:
    propose = experiment_of(NAME).propose
    assert propose is not None
    return propose(evidence)


def first_stage(evidence: Evidence, *, low: float = 0.5, high: float = 1.0) -> Evidence:
    """The runs of the first stage; accuracies of the smaller and of the larger width."""
    runs = tuple(
        dataclasses.replace(
            run,
            curve=tuple(
                dataclasses.replace(
                    point,
                    metrics={"accuracy.val": low if width_of(run) == 8 else high},
                )
                for point in run.curve
            ),
        )
        for run in evidence.runs
        if run.stage == 1
    )
    return dataclasses.replace(evidence, runs=runs)


def widths(evidence: Evidence, stage: int) -> set[int]:
    return {width_of(run) for run in evidence.runs if run.stage == stage}


def test_the_search_halves_the_range_and_then_looks_above(planted):
    stages = {stage: widths(planted, stage) for stage in range(1, planted.stage + 1)}
    assert stages[1] == {8, 128} and stages[2] == {32}
    assert all(len(some) == 1 for stage, some in stages.items() if 1 < stage < planted.stage)
    assert len(stages[planted.stage]) == 7
    assert proposed(planted) is None
    # seeds are new at a width that was trained before
    pairs = [(width_of(run), run.spec.seed) for run in planted.runs]
    assert len(pairs) == len(set(pairs))


@pytest.mark.parametrize(
    ("low", "high", "why"),
    [(1.0, 1.0, "at width 8 already"), (0.5, 0.5, "not every seed learns the task at width 128")],
)
def test_a_range_without_the_size_ends_the_search_and_says_so(planted, low, high, why):
    evidence = first_stage(planted, low=low, high=high)
    assert proposed(evidence) is None
    findings = experiment_of(NAME).analyse(evidence)
    assert why in findings.verdict and "Not established" in findings.verdict
    assert all(claim.established is not True for claim in findings.claims)


def test_seeds_that_all_agree_name_the_runs_that_would_show_whether_they_decide(planted):
    """The command plans: widths near the critical one, the ends, and new seeds."""
    findings = experiment_of(NAME).analyse(planted)
    (claim,) = (one for one in findings.claims if one.name == "seeds_decide_near_it")
    assert claim.established is None and "10 seeds at each of the widths" in claim.because
    words = shlex.split(claim.because[claim.because.index("slaw run") :])
    settings = [word for word, before in zip(words[1:], words, strict=False) if before == "--set"]
    plan = plan_of(words[2], *settings)
    seeds = {run.spec.seed for run in plan.runs}
    assert len(seeds) == 10 and not seeds & {run.spec.seed for run in planted.runs}
    assert len(plan.runs) >= 10 * 4
    begun = experiment_of(NAME).analyse(first_stage(planted))
    (claim,) = (one for one in begun.claims if one.name == "seeds_decide_near_it")
    assert "is not located yet" in claim.because and "slaw run" not in claim.because


def test_the_verdict_says_that_the_grid_was_not_run(planted):
    verdict = experiment_of(NAME).analyse(planted).verdict
    assert "not run (slaw run critical_size_grid measures one)" in verdict and "%" not in verdict


def test_a_search_that_has_only_begun_establishes_nothing(planted):
    findings = experiment_of(NAME).analyse(first_stage(planted))
    assert {claim.established for claim in findings.claims} == {None}


def test_a_seed_that_learns_below_the_fitted_width_refutes_it(planted):
    runs = tuple(
        dataclasses.replace(
            run,
            curve=tuple(
                dataclasses.replace(point, metrics={"accuracy.val": 1.0}) for point in run.curve
            ),
        )
        if (width_of(run), run.spec.seed, run.stage) == (16, 0, 3)
        else run
        for run in planted.runs
    )
    findings = experiment_of(NAME).analyse(dataclasses.replace(planted, runs=runs))
    (claim,) = (one for one in findings.claims if one.name == "critical_exponent")
    assert claim.established is None and "a seed learns the task at width 16" in claim.because
    assert findings.measures["exponent"] is None


def test_a_grid_gives_the_size_and_no_saving(planted):
    """The same runs, all of one stage."""
    runs = tuple(
        dataclasses.replace(
            run,
            record=dataclasses.replace(run.record, spec=dataclasses.replace(run.spec, tags=())),
        )
        for run in planted.runs
    )
    grid = dataclasses.replace(planted, runs=runs)
    assert proposed(grid) is None
    claims = {c.name: c.established for c in experiment_of(NAME).analyse(grid).claims}
    assert claims["located"] is True and claims["cheaper_than_a_grid"] is None


def test_more_sizes_and_seeds_determine_an_exponent_more_often():
    def share(sizes: int, seeds: int, noise: float) -> float:
        spreads = {float(width): noise for width in np.geomspace(31, 90, sizes)}
        return identified_share(spreads, threshold=30, exponent=0.25, seeds=seeds)

    assert share(12, 12, 0.15) > share(6, 2, 0.15) and share(12, 6, 0.01) == 1
    assert share(6, 2, 3.0) < 0.2


def test_a_critical_exponent_that_is_not_identified_says_what_would_be_needed(planted):
    """Seeds of the planted runs that scatter, and of the last stage two widths only."""
    first, second = sorted(widths(planted, planted.stage))[1:3]
    rng = np.random.default_rng(1)

    def scattered(run: Run) -> Run:
        late = float(np.exp(0.3 * rng.standard_normal()))
        curve = tuple(
            dataclasses.replace(point, step=round(late * point.step)) for point in run.curve
        )
        return dataclasses.replace(run, curve=curve)

    runs = tuple(
        scattered(run)
        for run in planted.runs
        if run.stage < planted.stage or width_of(run) in (first, second)
    )
    findings = experiment_of(NAME).analyse(dataclasses.replace(planted, runs=runs))
    (claim,) = (one for one in findings.claims if one.name == "critical_exponent")
    assert claim.established is None
    assert "with 12 seeds each" in claim.because or "with 24 seeds each" in claim.because
    assert "of the simulated sets of runs of exponent 0.25" in claim.because
    assert findings.verdict.endswith(f"no critical exponent is identified: {claim.because}.")
