"""Fits a metric of the runs in place of their validation loss."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from scaling_law.errors import ConfigError, FitError, did_you_mean, quoted
from scaling_law.files.record import RunRecord, measured_metrics


def measured_by(records: Sequence[RunRecord], metric: str) -> list[RunRecord]:
    """The records with ``metric`` in the place of their validation loss, None where not measured.

    Raises ``ConfigError`` for a metric that no run has, with the names that there are.
    """
    names = sorted({name for r in records for name in measured_metrics(r.metrics)})
    if metric not in names:
        there = f"expected one of {', '.join(names)}" if names else "they have no metrics"
        raise ConfigError(
            f"--metric {quoted(metric)}: no run has it{did_you_mean(metric, names)}; {there}"
        )
    return [
        dataclasses.replace(r, val_loss_nats=r.metrics.get(metric), val_loss_sem_nats=None)
        for r in records
    ]


def metric_words(records: Sequence[RunRecord], metric: str) -> str:
    """``accuracy.val (fraction)``: the metric with its unit.

    Raises ``FitError`` where runs have it in several units.
    """
    units = sorted({r.metric_units[metric] for r in records if metric in r.metric_units})
    if len(units) > 1:
        raise FitError(
            f"the runs have {metric} in several units ({', '.join(units)}), which do not compare;"
            " choose those of one unit with --where"
        )
    return f"{metric} ({units[0]})" if units else metric
