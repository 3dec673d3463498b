"""What ``annealing`` says of runs that do not support a claim."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest

from scaling_law.config.load import load_config
from scaling_law.errors import ConfigError
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.findings import Findings
from scaling_law.experiment.reading_times import EARLY, SPREAD, Read, Seen, share_with
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
    assert (kinds.count("trunk"), kinds.count("branch"), kinds.count("single")) == (6, 18, 54)


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
    assert any("no constant share of their seed has: 18" in note for note in findings.notes)


def test_a_loss_just_beyond_all_constant_shares_is_read_off_the_nearest_line():
    """Without early runs that lost the most, a mean over the others would be too high."""
    curve = [(0.1, 2.6), (0.2, 2.5), (0.8, 2.45)]
    for loss, share in ((2.55, 0.02**0.5), (2.5, 0.2), (2.7, 0.05), (2.475, 0.4), (2.425, 1.6)):
        assert share_with(loss, curve) == pytest.approx(share)
    assert share_with(2.7, [(0.0, 2.8), (0.2, 2.6)]) == pytest.approx(0.1), "next to a share of 0"
    assert share_with(2.71, curve) is share_with(2.399, curve) is share_with(2.5, curve[:1]) is None
    planted = {run.record.run_id: run for run in planted_evidence(NAME).runs}
    worst = max(run.record.metrics.get("loss.val:cpp", 0.0) for run in planted.values())

    def change(run: Run) -> float:
        own = run.record.metrics.get("loss.val:cpp", 0.0)
        early = run.spec.mix is not None and len(run.spec.mix.phases) == 2 and not is_late(run)
        return worst + 0.01 - own if early and run.spec.seed == 0 else 0.0

    findings = changed(change)
    assert any("has: 3; of these 3 are read off" in note for note in findings.notes)
    early = findings.measures["worth.early"]
    assert early is not None and early < 0.4, "the planted worth of the other seeds"
    far = changed(lambda run: 9.0 if change(run) else 0.0)
    assert any("has: 3; of these 0 are read off" in note for note in far.notes)
    late = next(one for one in far.claims if one.name == "early_counts_less")
    assert "5 seeds" in late.because


@pytest.mark.parametrize("worth", [0.1, 0.4, 1.6])
def test_a_planted_worth_lies_in_its_interval_as_often_as_that_says(worth):
    """Early and late runs scatter twice as much as others, and the loss falls ever more slowly."""
    rng, shares, held = np.random.default_rng(0), (0.1, 0.16, 0.22, 0.28, 0.52, 0.76), []
    run = planted_evidence(NAME).runs[0]

    def one(when: str, share: float, seed: int, worth: float, noise: float) -> Read:
        loss = 2.6 + 0.4 * math.exp(-3 * (0.1 + worth * (share - 0.1))) + noise
        spec = dataclasses.replace(run.spec, seed=seed)
        own = Run(record=dataclasses.replace(run.record, spec=spec), curve=())
        base = share if when == SPREAD else 0.1
        return Read(run=own, when=when, share=share, base=base, target=loss, rest=2.5)

    for _ in range(150):
        reads = []
        for seed, shift in enumerate(rng.normal(scale=0.01, size=4)):
            noise = iter(shift + 0.004 * rng.normal(size=9))
            reads += [one(SPREAD, share, seed, 1.0, next(noise)) for share in shares]
            reads += [one(EARLY, share, seed, worth, 2 * next(noise) - shift)
                      for share in shares[1:4]]  # fmt: skip
        mean = Seen(reads=tuple(reads), target="cpp").mean_worth(EARLY)
        assert mean is not None and mean.interval is not None
        held.append(mean.interval[0] <= worth <= mean.interval[1])
    assert 0.84 <= np.mean(held) <= 0.96


def test_runs_of_another_target_are_left_out():
    evidence = planted_evidence(NAME)
    settings = dataclasses.replace(evidence.settings, target="java")
    findings = experiment_of(NAME).analyse(dataclasses.replace(evidence, settings=settings))
    assert set(standing(findings).values()) == {None}
    assert any("without a mixture to read: 72" in note for note in findings.notes)


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
