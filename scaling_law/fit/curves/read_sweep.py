"""Read the loss curves of a sweep's runs: trunks, branches and runs from scratch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scaling_law.errors import ConfigError
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import RunRecord, load_records, loss_unit, read_curve
from scaling_law.fit.curves.curve import Curve, Rate
from scaling_law.fit.curves.table import Curves
from scaling_law.spec.run import RunSpec
from scaling_law.spec.schedule import ScheduleSpec, lr_factor
from scaling_law.spec.to_json import canonical_json, to_json

_KNOTS = 256  # steps at which a schedule is asked for its rate, beside those with a loss
# What runs of one group may differ in: how long and at which rate they train, and what only names.
_NOT_OF_GROUP = (
    "schedule", "total_steps", "seed", "label", "branch", "tags", "family", "eval",
)  # fmt: skip
_RATE = ("lr", "rule", "overrides")


def read_sweep(sweep: SweepDir) -> Curves:
    """The curves of a sweep, each with its learning rate, and the runs left out.

    Raises ``ConfigError`` for a sweep that is damaged, without finished runs, or with losses that
    do not compare.
    """
    records = sorted(load_records(sweep), key=lambda one: one.params_matmul)  # stable
    unit = loss_unit(records)
    if " or " in unit:
        raise ConfigError(f"{sweep.path}: losses in {unit}: they do not compare")
    names = _group_names(records)
    waiting = (run.path.name for run in sweep.run_dirs() if not run.record.is_file())
    curves, left_out = [], [(run_id, "not finished") for run_id in waiting]
    for record in records:
        if record.status == "diverged":
            left_out.append((record.run_id, "diverged"))
            continue
        points = [
            point
            for point in read_curve(sweep.run(record.run_id), record)
            if point.val_loss_nats is not None and np.isfinite(point.val_loss_nats)
        ]
        if not points:
            left_out.append((record.run_id, "no validation loss on its curve"))
            continue
        try:
            rate = planned_rate(record.spec.schedule, record.spec.total_steps, record.spec.optim.lr)
        except ConfigError as problem:
            left_out.append((record.run_id, str(problem)))
            continue
        curves.append(
            Curve(
                name=record.run_id,
                group=names[record.run_id],
                rate=rate,
                steps=np.array([float(point.step) for point in points]),
                losses=np.array([point.val_loss_nats for point in points], dtype=float),
            )
        )
    return Curves(curves=tuple(curves), left_out=tuple(left_out), loss_unit=unit)


def planned_rate(schedule: ScheduleSpec, total_steps: int, lr: float) -> Rate:
    """The learning rate that a schedule plans for a run of ``total_steps``."""
    last = total_steps - 1
    steps = {0, last, *np.linspace(0, last, _KNOTS).round().astype(int).tolist()}
    if schedule.warmup_steps < last:
        steps.add(schedule.warmup_steps)
    if schedule.decay_steps is not None and schedule.decay_steps < total_steps:
        steps.add(total_steps - schedule.decay_steps)
    knots = sorted(steps)
    factors = [lr_factor(schedule, step, total_steps) for step in knots]
    knots[-1] = total_steps  # the rate of the last step holds to its end
    return Rate(
        steps=np.array(knots, dtype=float),
        lr=lr * np.array(factors),
        warmup_steps=float(min(schedule.warmup_steps, last)),
    )


def _group_names(records: Sequence[RunRecord]) -> dict[str, str]:
    """The group of each run, named by what tells it from the others."""
    keys = {record.run_id: _group_key(record.spec) for record in records}
    names: dict[str, str] = {}
    of_key: dict[str, str] = {}
    for record in records:
        key = keys[record.run_id]
        if key not in of_key:
            tags = dict(record.spec.tags)
            parts = [tags.get("size", f"{record.params_matmul:,} params")]
            parts += [
                f"{name.removeprefix('axis:')}={value}"
                for name, value in tags.items()
                if name.startswith("axis:")
                and not name.startswith(("axis:schedule.", "axis:optim.lr"))
            ]
            name = ", ".join(parts)
            taken = set(of_key.values())
            if name in taken:
                name = f"{name}, batch of {record.spec.batch_tokens:,} tokens"
            number, plain = 2, name
            while name in taken:
                name = f"{plain} ({number})"
                number += 1
            of_key[key] = name
        names[record.run_id] = of_key[key]
    return names


def _group_key(spec: RunSpec) -> str:
    plain = {key: value for key, value in to_json(spec).items() if key not in _NOT_OF_GROUP}
    plain["optim"] = {key: value for key, value in plain["optim"].items() if key not in _RATE}
    return canonical_json(plain)
