"""Change the planted runs of an experiment one by one, and analyse what is left of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.findings import Findings
from tests.experiments.test_contract import experiment_of, planted_evidence


def changed(name: str, change: Callable[[Run], Run | None]) -> Evidence:
    """The planted evidence with each run changed; None is a run that has not finished."""
    evidence = planted_evidence(name)
    runs = tuple(one for run in evidence.runs if (one := change(run)) is not None)
    return dataclasses.replace(evidence, runs=runs)


def findings_with(name: str, change: Callable[[Run], Run | None]) -> Findings:
    """What the experiment finds in ``changed`` evidence."""
    return experiment_of(name).analyse(changed(name, change))


def diverged(run: Run) -> Run:
    """The run without a loss, as one that diverged."""
    record = dataclasses.replace(run.record, status="diverged", val_loss_nats=None)
    return dataclasses.replace(run, record=record)


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


def standing_of(name: str, evidence: Evidence) -> dict[str, bool | None]:
    """Which claims of the experiment are established by this evidence, by name."""
    return standing(experiment_of(name).analyse(evidence))
