"""What the analyses of length say of evidence that does not bear their claims."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import pytest

from scaling_law.data.tasks.copy import Settings as Task
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.lengths import copying, scored
from scaling_law.spec.data import TaskSpec
from scaling_law.spec.model import ModelSpec
from tests.experiments.test_contract import experiment_of, planted_evidence
from tests.fakes import Noise

NAMES = ("length", "length_training")


def claims_of(name: str, evidence: Evidence) -> dict[str, tuple[bool | None, str]]:
    findings = experiment_of(name).analyse(evidence)
    return {claim.name: (claim.established, claim.because) for claim in findings.claims}


def changed(name: str, change: Callable[[Run], Mapping[str, float]]) -> Evidence:
    """The planted runs with other metrics: those that ``change`` gives, over their own."""
    evidence = planted_evidence(name)
    runs = tuple(
        dataclasses.replace(
            run,
            record=dataclasses.replace(run.record, metrics={**run.record.metrics, **change(run)}),
        )
        for run in evidence.runs
    )
    return dataclasses.replace(evidence, runs=runs)


@pytest.mark.parametrize("name", NAMES)
def test_runs_that_have_not_learned_the_task_decide_nothing(name):
    claims = claims_of(name, changed(name, lambda run: {"answers.val.exact": 0.9}))
    assert {established for established, _ in claims.values()} == {None}
    assert any("0.900 at best; it needs two with 0.99" in because for _, because in claims.values())


def test_one_encoding_that_is_not_learned_leaves_the_claims_about_the_others():
    def change(run: Run) -> dict[str, float]:
        assert isinstance(run.spec.model, ModelSpec)
        return {"answers.val.exact": 0.9} if run.spec.model.position == "alibi" else {}

    claims = claims_of("length", changed("length", change))
    assert claims["alibi_goes_further"][0] is None
    assert claims["fails_beyond_alibi"][0] is None
    assert claims["fails_beyond_rotary"][0] is claims["fails_beyond_learned"][0] is True


def test_answers_that_hold_beyond_the_trained_length_contradict_the_claims():
    def change(run: Run) -> dict[str, float]:
        noise = Noise(run.record.run_id)
        names = [name for name in run.record.metrics if name.endswith(".exact")]
        return {name: noise.on(0.998 - 0.002 * run.spec.seed) for name in names}

    claims = claims_of("length", changed("length", change))
    for name in ("fails_beyond_rotary", "learned_positions_end", "interpolation_helps_rotary"):
        assert claims[name][0] is False, name
    assert claims["alibi_goes_further"][0] is None, "both encodings are equal"


def test_without_interpolated_positions_only_their_claims_are_open():
    evidence = planted_evidence("length")
    runs = tuple(
        dataclasses.replace(
            run,
            record=dataclasses.replace(
                run.record,
                metrics={k: v for k, v in run.record.metrics.items() if "interpolated" not in k},
            ),
        )
        for run in evidence.runs
    )
    claims = claims_of("length", dataclasses.replace(evidence, runs=runs))
    is_open = {name for name, (established, _) in claims.items() if established is None}
    helps = {"interpolation_helps_rotary", "interpolation_helps_learned"}
    assert is_open == helps


def test_a_claim_about_a_margin_rests_on_the_interval_of_its_seeds():
    """All seeds copy less than half, and their mean is not sure to be below."""
    exact = {0: 0.495, 1: 0.3, 2: 0.45}

    def change(run: Run) -> dict[str, float]:
        assert isinstance(run.spec.model, ModelSpec)
        if run.spec.model.position != "alibi":
            return {}
        return {"answers.val:length-9.exact": exact[run.spec.seed]}

    claims = claims_of("length", changed("length", change))
    assert claims["fails_beyond_alibi"][0] is None
    assert "the interval includes no difference" in claims["fails_beyond_alibi"][1]
    assert claims["fails_beyond_rotary"][0] is True


def test_laws_that_are_ahead_in_one_seed_each_decide_nothing():
    """Exact match of one seed is on a power law, that of the others on a logistic curve."""

    def change(run: Run) -> dict[str, float]:
        assert isinstance(run.spec.model, ModelSpec)
        if run.spec.seed or run.spec.model.position != "rotary":
            return {}
        return {f"answers.val:length-{n}.exact": (n / 6) ** -2.0 for n in range(7, 13)}

    established, because = claims_of("length", changed("length", change))["logistic_predicts"]
    assert established is None and "through each seed lower by" in because


def test_trained_lengths_that_differ_at_one_ratio_contradict_that_it_decides():
    def change(run: Run) -> dict[str, float]:
        return {"answers.val:length-12.exact": 0.9}

    established, because = claims_of("length_training", changed("length_training", change))[
        "ratio_decides"
    ]
    assert established is False and "0.90 after 9" in because


def test_seeds_that_differ_widely_decide_nothing_about_a_way_of_training():
    def change(run: Run) -> dict[str, float]:
        assert isinstance(run.spec.data, TaskSpec)
        task = dict(run.spec.data.source.settings)
        if task.get("length", 6) != 6 or run.spec.seed != 0:
            return {}
        return {f"answers.val:length-{n}.exact": 0.5 for n in range(7, 13)}

    claims = claims_of("length_training", changed("length_training", change))
    assert claims["rising_lengths_go_further"][0] is None
    assert (
        "the interval includes no difference; more seeds" in claims["rising_lengths_go_further"][1]
    )


def test_a_run_without_longer_splits_is_not_scored():
    run = planted_evidence("length").runs[0]
    task = copying(run.spec, Task)
    assert task is not None
    one = scored(run, task)
    assert one is not None and one.longer == [7, 8, 9, 10, 11, 12] and one.exact[6] == 1.0
    bare = {"answers.val.exact": 1.0}
    record = dataclasses.replace(run.record, metrics=bare)
    assert scored(dataclasses.replace(run, record=record), task) is None


def test_encodings_that_train_for_longer_are_named_with_their_steps():
    findings = experiment_of("length").analyse(planted_evidence("length"))
    claims = {claim.name: claim.because for claim in findings.claims}
    assert "after 2,700 steps against" in claims["alibi_goes_further"]
    assert "after 900" in claims["alibi_goes_further"]
    assert any("not trained equally long" in note for note in findings.notes)
