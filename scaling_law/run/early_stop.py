"""Decides whether a branch may stop early, from its curve, its trunk's and its siblings'."""

from __future__ import annotations

from scaling_law.files.layout import RunDir, SweepDir
from scaling_law.files.record import read_curve, read_record
from scaling_law.spec.run import RunSpec
from scaling_law.train.learning_curve import Finished, Forecast, predict_final


def known_enough(sweep: SweepDir, run_dir: RunDir, spec: RunSpec) -> Forecast | None:
    """The forecast of the run's final loss if it is as narrow as the spec requires, else None.

    A sibling that diverged, failed or stopped early itself has no final loss to learn from.
    """
    if spec.early_stop is None or spec.branch is None:
        return None
    siblings = []
    for run_id in spec.early_stop.siblings:
        sibling = sweep.run(run_id)
        record = read_record(sibling.record) if sibling.record.is_file() else None
        if record is not None and record.status == "done" and record.val_loss_nats is not None:
            curve = read_curve(sibling, record)
            siblings.append(Finished(spec=record.spec, curve=curve, loss_nats=record.val_loss_nats))
    trunk = read_curve(sweep.run(spec.branch.trunk_id))
    forecast = predict_final(spec, read_curve(run_dir), trunk, siblings)
    if forecast is None or forecast.half_width_frac > spec.early_stop.within:
        return None
    return forecast
