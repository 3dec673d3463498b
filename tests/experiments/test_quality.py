"""What ``quality`` says of runs that do not support a claim."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.findings import Findings
from scaling_law.spec.data import DataSpec
from tests.experiments.changed import findings_with, standing, with_loss
from tests.experiments.test_contract import experiment_of, planted_evidence

NAME = "quality"


def share(run: Run) -> float:
    assert isinstance(run.spec.data, DataSpec)
    return float(dict(run.spec.data.clean[0].settings)["share"]) if run.spec.data.clean else 0.0


def changed(loss: Callable[[float, Run], float | None]) -> Findings:
    """The findings with other losses by share; None for a run that has not finished."""

    def one(run: Run) -> Run | None:
        value = loss(share(run), run)
        return None if value is None else with_loss(run, lambda own: value)

    return findings_with(NAME, one)


def of_worth(worth: Callable[[float], float]) -> Callable[[float, Run], float]:
    """Losses of a law in tokens times what a share leaves of them, with a little noise."""

    def loss(q: float, run: Run) -> float:
        noise = 1 + 1e-4 * ((run.spec.seed * 7 + run.spec.tokens // 1000 + int(10 * q)) % 5 - 2)
        return 12 * (run.spec.tokens * worth(q)) ** -0.12 * noise

    return loss


def test_a_square_of_quality_is_found():
    findings = changed(of_worth(lambda q: (1 - q) ** 2))
    claims = standing(findings)
    assert claims["square_of_quality"] is True and claims["a_weight_predicts_better"] is False
    assert findings.measures["power"] == pytest.approx(2, abs=0.05)
    assert "not Q^2" not in findings.verdict
    assert "not Q^2" in experiment_of(NAME).analyse(planted_evidence(NAME)).verdict


def test_text_that_is_as_good_costs_nothing():
    findings = changed(of_worth(lambda q: 1.0))
    assert standing(findings)["spoiled_text_costs"] is not True


def test_text_that_moves_the_slope_is_said():
    def loss(q: float, run: Run) -> float:
        return 12 * run.spec.tokens ** (-0.12 + 0.02 * q) * (1 + 1e-4 * run.spec.seed)

    findings = changed(loss)
    assert standing(findings)["same_factor"] is False
    assert standing(findings)["in_proportion"] is False


def test_losses_on_no_power_law_have_no_exponent_that_stays():
    def loss(q: float, run: Run) -> float:
        noise = 1 + 1e-3 * ((run.spec.seed * 7 + run.spec.tokens // 1000 + int(10 * q)) % 5 - 2)
        return (1 + 12 * run.spec.tokens**-0.3) * (1 + 0.1 * q) * noise

    findings = changed(loss)
    assert standing(findings)["same_factor"] is True
    assert standing(findings)["offset_not_slope"] is None
    (because,) = (c.because for c in findings.claims if c.name == "offset_not_slope")
    assert "at 0% spoiled the losses are on no power law" in because


def test_losses_above_all_of_good_text_have_no_worth():
    findings = changed(lambda q, run: 9.0 if q else 3 - run.spec.tokens / 1e6)
    assert standing(findings)["square_of_quality"] is None and findings.measures["power"] is None
    assert any("whose loss no number of good tokens has" in note for note in findings.notes)
    assert "is not established" in findings.verdict or findings.verdict.startswith("Not")


def test_one_seed_or_no_good_text_decides_nothing():
    planted = {run.record.run_id: run.record.val_loss_nats for run in planted_evidence(NAME).runs}
    alone = changed(lambda q, run: planted[run.record.run_id] if run.spec.seed == 0 else None)
    spoiled = changed(lambda q, run: planted[run.record.run_id] if q else None)
    for findings, why in ((alone, "one seed has finished"), (spoiled, "no run on good text")):
        assert set(standing(findings).values()) == {None}
        assert why in findings.verdict


def test_no_runs_establish_nothing():
    findings = experiment_of(NAME).analyse(Evidence(runs=()))
    assert set(standing(findings).values()) == {None}


def test_a_share_within_the_noise_leaves_the_worst_text_worse():
    def loss(q: float, run: Run) -> float:
        return of_worth(lambda q: 0.5 if q > 0.7 else 1.0)(q, run)

    claims = standing(changed(loss))
    assert claims["spoiled_text_costs"] is True and claims["each_share_costs"] is not True


def test_neighbouring_shares_are_compared_in_one_seed():
    def loss(q: float, run: Run) -> float | None:
        # seeds differ by more than shares do, and 20% and 40% have one of them in common
        missing = {0.2: (0, 1, 2), 0.4: (3, 4), 0.6: (5,)}.get(q, ())
        worse = of_worth(lambda q: 1 - 0.5 * q)(q, run)
        return None if run.spec.seed in missing else worse + 0.5 * run.spec.seed

    by_pair = changed(lambda q, run: None if q in (0.2, 0.6) else loss(q, run))
    assert standing(by_pair)["each_share_costs"] is True
    few = changed(loss)
    (because,) = (c.because for c in few.claims if c.name == "each_share_costs")
    assert (
        standing(few)["each_share_costs"] is None
        and "fewer than two seeds from 20% to 40%" in because
    )


def test_runs_of_another_recipe_are_left_out_and_counted():
    evidence = planted_evidence(NAME)
    more = []
    for run in evidence.runs[:6]:
        optim = dataclasses.replace(run.spec.optim, weight_decay=0.5)
        spec = dataclasses.replace(run.spec, optim=optim)
        record = dataclasses.replace(run.record, spec=spec, val_loss_nats=9.0)
        more.append(dataclasses.replace(run, record=record))
    ended = sum(run.record.kind != "trunk" for run in more)
    mixed = dataclasses.replace(evidence, runs=(*evidence.runs, *more))
    plain, findings = (experiment_of(NAME).analyse(one) for one in (evidence, mixed))
    assert ended and findings.measures == plain.measures
    assert any("another size or recipe" in n and n.endswith(f": {ended}") for n in findings.notes)
