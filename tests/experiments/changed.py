"""Change the planted runs of an experiment one by one, and analyse what is left of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from scaling_law.experiment.evidence import Run
from scaling_law.experiment.findings import Findings
from tests.experiments.test_contract import experiment_of, planted_evidence


def findings_with(name: str, change: Callable[[Run], Run | None]) -> Findings:
    """The findings where each run is changed; None is a run that has not finished."""
    evidence = planted_evidence(name)
    runs = tuple(one for run in evidence.runs if (one := change(run)) is not None)
    return experiment_of(name).analyse(dataclasses.replace(evidence, runs=runs))


def with_loss(run: Run, loss: Callable[[float], float]) -> Run:
    """The run with another final loss, which ``loss`` gives of its own; a trunk has none."""
    own = run.record.val_loss_nats
    value = None if own is None else loss(own)
    return dataclasses.replace(run, record=dataclasses.replace(run.record, val_loss_nats=value))


def with_metrics(run: Run, metrics: Mapping[str, float]) -> Run:
    """The run with these metrics at its end beside its own."""
    both = {**run.record.metrics, **metrics}
    return dataclasses.replace(run, record=dataclasses.replace(run.record, metrics=both))


def standing(findings: Findings) -> dict[str, bool | None]:
    """Which claims are established, by name."""
    return {claim.name: claim.established for claim in findings.claims}
