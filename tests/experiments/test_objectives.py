"""The texts of topics, and objectives compared on evidence that decides little."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from scaling_law.cli.main import main
from scaling_law.data.tasks.topics import TASK, Settings, successors
from scaling_law.experiment.evidence import Evidence
from tests.experiments.test_contract import experiment_of, planted_evidence

NAME = "objectives"
REFERENCE = Path(__file__).resolve().parents[2] / "results" / "reference" / NAME


def standing(evidence: Evidence) -> dict[str, tuple[bool | None, str]]:
    findings = experiment_of(NAME).analyse(evidence)
    return {claim.name: (claim.established, claim.because) for claim in findings.claims}


def changed(evidence: Evidence, metric: str, change) -> Evidence:
    """The same runs, with ``change(spec, value)`` in place of a metric at their ends."""

    def other(run):
        value = change(run.spec, run.record.metrics[metric])
        metrics = {**run.record.metrics, metric: value}
        return dataclasses.replace(run, record=dataclasses.replace(run.record, metrics=metrics))

    return dataclasses.replace(evidence, runs=tuple(map(other, evidence.runs)))


def is_fim(spec) -> bool:
    return spec.objective_component.name == "fim"


@pytest.mark.parametrize(
    ("cost", "expected"),
    [
        (lambda seed: 0.0, True),
        (lambda seed: 0.05 + 0.001 * seed, False),
        (lambda seed: 0.1 * (seed - 0.8), None),
    ],
)
def test_moved_middles_are_free_cost_or_are_undecided(cost, expected):
    evidence = changed(
        planted_evidence(NAME),
        "next_token_loss",
        lambda spec, value: 2.0 + 0.0001 * spec.seed + (cost(spec.seed) if is_fim(spec) else 0.0),
    )
    assert standing(evidence)["fim_is_free"][0] is expected


def test_other_tokens_are_not_compared():
    def longer(run):
        if not is_fim(run.spec):
            return run
        return dataclasses.replace(run, record=dataclasses.replace(run.record, tokens=1))

    evidence = planted_evidence(NAME)
    runs = tuple(map(longer, evidence.runs))
    established, because = standing(dataclasses.replace(evidence, runs=runs))["fim_is_free"]
    assert established is None and "equal tokens" in because


def test_an_objective_that_never_knows_the_kinds_comes_last():
    evidence = planted_evidence(NAME)
    slow = {run.record.run_id for run in evidence.runs if run.spec.objective is None}

    def unknowing(run):
        if run.record.run_id not in slow:
            return run
        points = [
            dataclasses.replace(point, metrics={**point.metrics, "text_kind.best": 0.3})
            for point in run.curve
        ]
        return dataclasses.replace(run, curve=tuple(points))

    runs = tuple(map(unknowing, evidence.runs))
    established, because = standing(dataclasses.replace(evidence, runs=runs))[
        "left_to_right_is_sooner"
    ]
    assert established is None and "longer training" in because


def test_all_topics_have_the_same_letters_and_differ_in_what_follows():
    settings = Settings(val_examples=400)
    table = successors(settings)
    for topic in table:
        assert all(sorted(row) == list(range(settings.letters)) for row in topic)
        assert (topic[0] != topic[1]).all()
    batch = TASK.examples(settings, "val:topic-2", np.arange(400))
    text = np.concatenate([batch.inputs, batch.targets[:, -1:]], axis=1)
    assert np.array_equal(batch.inputs[:, 1:], batch.targets[:, :-1])
    usual, rare = (table[1, which][text[:, :-1]] == text[:, 1:] for which in (0, 1))
    assert (usual | rare).all()
    assert abs(usual.mean() - settings.usual) < 0.02


def test_losses_of_several_objectives_are_not_fitted(capsys):
    assert main(["fit", str(REFERENCE), "--out", "-"]) == 4
    assert "losses of different objectives" in capsys.readouterr().err
