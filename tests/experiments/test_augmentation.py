"""What ``augmentation`` says of runs that do not support a claim."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from scaling_law import parts
from scaling_law.experiment.changed_text import (
    KINDS,
    MASKING,
    NEW,
    PLAIN,
    SHIFTING,
    SWAPPING,
    Arm,
    ChangedText,
    arm_of,
    read_changed,
)
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.findings import Findings
from scaling_law.experiment.seeds import best_on_others
from scaling_law.parts import Reference
from scaling_law.spec.component import Component
from tests.experiments.changed import findings_with, standing, with_loss
from tests.experiments.test_contract import experiment_of, planted_evidence

NAME = "augmentation"
DECAY = 0.01


def arm(run: Run) -> Arm:
    own = arm_of(run.spec)
    assert own is not None
    return own


def changed(change: Callable[[Run], float | None]) -> Findings:
    """The findings with so many nats more for each run; None for one that has not finished."""

    def one(run: Run) -> Run | None:
        more = change(run)
        return None if more is None else with_loss(run, lambda loss: loss + more)

    return findings_with(NAME, one)


def test_a_change_that_harms_is_contradicted_and_the_others_stand():
    claims = standing(changed(lambda run: 0.3 if arm(run).kind == SWAPPING else 0.0))
    assert claims["swapping_beats_repeats"] is False
    assert claims["shifting_beats_repeats"] is claims["changed_text_beats_repeats"] is True


def test_a_gain_within_the_noise_of_seeds_is_open():
    noise = {0: 0.2, 1: -0.2, 2: 0.0}
    findings = changed(lambda run: noise[run.spec.seed] * (arm(run).kind == SHIFTING))
    assert standing(findings)["shifting_beats_repeats"] is None
    assert standing(findings)["masking_beats_repeats"] is True


@pytest.mark.parametrize(("kind", "said"), [(NEW, "no run on as many new tokens has finished"),
                                            (PLAIN, "no plain repeats have finished")])  # fmt: skip
def test_without_what_changed_text_is_compared_with_nothing_is_said(kind, said):
    findings = changed(lambda run: None if arm(run).kind == kind else 0.0)
    assert standing(findings)["changed_text_beats_repeats"] is None
    assert said in findings.verdict


def test_repeats_that_cost_nothing_leave_nothing_to_gain():
    findings = changed(lambda run: -0.5 if arm(run).kind == PLAIN else 0.0)
    assert standing(findings)["changed_text_beats_repeats"] is None
    assert "repeats cost nothing" in findings.verdict


def test_without_the_strong_weight_decay_its_claims_are_open():
    findings = changed(lambda run: 0.0 if arm(run).decay == DECAY else None)
    claims = standing(findings)
    assert claims["changed_text_beats_repeats"] is True
    assert claims["weight_decay_beats_noise"] is None
    assert claims["changed_text_adds_to_weight_decay"] is None
    assert "weight decay" not in findings.verdict


def test_the_share_is_chosen_on_the_other_seeds():
    """A share that is best in its own seed by luck alone does not count there."""
    lucky, steady = {0: 1.0, 1: 3.0, 2: 3.0}, {0: 2.0, 1: 2.0, 2: 2.0}
    assert best_on_others([lucky, steady]) == {0: 2.0, 1: 3.0, 2: 3.0}
    assert best_on_others([lucky]) == lucky
    assert best_on_others([{0: 1.0}, {0: 2.0}]) == {}
    luck = {0: -0.4, 1: 0.4, 2: 0.4}
    findings = changed(
        lambda run: luck[run.spec.seed] if arm(run) == Arm(MASKING, 0.3, DECAY) else 0.0
    )
    assert standing(findings)["masking_beats_repeats"] is True


def test_runs_that_change_text_in_two_ways_are_left_out_and_counted():
    evidence = planted_evidence(NAME)
    both = Component(name="noised", settings=(("mask", 0.1), ("replace", 0.1)))
    runs = []
    for run in evidence.runs:
        record = run.record
        if arm(run) == Arm(MASKING, 0.3, DECAY):
            spec = dataclasses.replace(run.spec, objective=both)
            record = dataclasses.replace(record, spec=spec)
        runs.append(dataclasses.replace(run, record=record))
    findings = experiment_of(NAME).analyse(dataclasses.replace(evidence, runs=tuple(runs)))
    assert any("setting of its objective: 12" in note for note in findings.notes)
    assert standing(findings)["masking_beats_repeats"] is True


@pytest.mark.parametrize(
    ("objective", "chosen"),
    [
        (
            Component(name="noised", settings=(("first_mark", 200), ("mask", 0.3))),
            Arm(MASKING, 0.3, DECAY),
        ),
        (
            Component(name="swapped_words", settings=(("separator", 10), ("share", 0.6))),
            Arm(SWAPPING, 0.6, DECAY),
        ),
    ],
)
def test_an_objective_with_another_mark_overwrites_no_run(objective, chosen):
    """Other marks make another arm, which is counted and not read."""
    evidence = planted_evidence(NAME)
    before = experiment_of(NAME).analyse(evidence)
    others = []
    for run in evidence.ended:
        if arm(run) == chosen and run.spec.seed < 2:
            spec = dataclasses.replace(run.spec, objective=objective)
            record = dataclasses.replace(run.record, spec=spec, val_loss_nats=9.0)
            others.append(dataclasses.replace(run, record=record))
    assert others
    more = dataclasses.replace(evidence, runs=(*evidence.runs, *others))
    findings = experiment_of(NAME).analyse(more)
    assert findings.measures == before.measures
    assert findings.notes[-1].endswith(f": {len(others)}")


def test_a_seed_without_a_gap_counts_in_the_share_of_the_gap():
    """Plain repeats of one seed end below its new text: its share has no sense, its losses do."""

    def seen(more: float) -> ChangedText:
        def moved(run: Run) -> Run:
            own = more if arm(run).kind == NEW and run.spec.seed == 0 else 0.0
            return with_loss(run, lambda loss: loss + own)

        return read_changed(Evidence(runs=tuple(map(moved, planted_evidence(NAME).runs))))

    plain, odd = seen(0.0), seen(0.6)
    assert min(odd.gap) < 0 < sum(odd.gap)
    before, after = plain.closed(SHIFTING), odd.closed(SHIFTING)
    assert before is not None and after is not None
    assert after.value == pytest.approx(before.value * sum(plain.gap) / sum(odd.gap))
    assert after.seeds == 3


def test_an_arm_has_the_share_that_its_objective_takes_by_default():
    (run, *_) = (run for run in planted_evidence(NAME).runs if arm(run).kind == SWAPPING)
    default = parts.load("objective", Reference(name="swapped_words")).settings()
    spec = dataclasses.replace(run.spec, objective=Component(name="swapped_words"))
    assert arm_of(spec) == Arm(SWAPPING, default.share, DECAY)


def test_no_runs_establish_nothing():
    findings = experiment_of(NAME).analyse(Evidence(runs=()))
    assert set(standing(findings).values()) == {None}
    assert len(findings.claims) == len(KINDS) + 6
