"""Read loss curves from tables: one file a curve, or one table with a column that names runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scaling_law.errors import ConfigError, listed, one_line
from scaling_law.fit.curves.curve import Curve, Rate
from scaling_law.fit.points.cells import read_rows
from scaling_law.fit.points.column_units import base_name, loss_unit_in_name
from scaling_law.fit.points.histories import STEPS
from scaling_law.fit.points.numbers import decimal_marks, is_missing, number
from scaling_law.fit.points.quantities import losses_in_nats
from scaling_law.fit.points.rows import Rows, cell_text, listed_columns
from scaling_law.fit.points.states import RUN_NAMES

ROLES = ("step", "lr", "loss", "run", "group")
_NAMES: Mapping[str, tuple[str, ...]] = {
    "step": STEPS,
    "lr": ("lr", "learning_rate", "learning rate", "train/lr", "train/learning_rate",
           "optim/lr"),
    "loss": ("loss", "val_loss", "validation_loss", "eval_loss", "val/loss", "train_loss",
             "train/loss"),
    "run": RUN_NAMES,
    "group": ("group", "size", "model", "params", "n"),
}  # fmt: skip
_NEEDED = ("step", "lr", "loss")
_LEAST_ROWS = 3


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Loss curves from one or more sources.

    ``left_out`` are (run or row, reason); ``loss_unit`` is the unit of the losses.
    """

    curves: tuple[Curve, ...]
    left_out: tuple[tuple[str, str], ...] = ()
    loss_unit: str = "nats per token"


def read_curve_table(
    path: Path, columns: Mapping[str, str], *, group: str, warmup_steps: float | None
) -> Curves:
    """The curves of a table with columns of steps, learning rates and losses.

    A row without a loss says only the learning rate. Losses whose column's name says bits,
    perplexity or bits per byte become nats. Before the first row the rate is that row's;
    with ``warmup_steps`` it rises from 0 over so many steps. Raises ``ConfigError``.
    """
    rows = read_rows(path)
    roles = _roles(rows, columns, path)
    cells = {role: rows.columns[name] for role, name in roles.items()}
    marks = decimal_marks({role: cells[role] for role in _NEEDED}, str(path))
    unit = loss_unit_in_name(roles["loss"]) or "nats"
    runs: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    left_out = []
    for place, line in enumerate(rows.lines):
        step, lr, loss = (
            math.nan if is_missing(cells[role][place]) else number(cells[role][place], mark=mark)
            for role, mark in marks.items()
        )
        if loss is not None and not math.isnan(loss):
            in_nats = float(losses_in_nats(np.array([loss]), unit, [""])[0])
            loss = None if math.isnan(in_nats) else in_nats
        plain = step is not None and lr is not None and 0 <= step < math.inf and 0 <= lr < math.inf
        if not plain or loss is None or math.isinf(loss):
            left_out.append((f"{path.name}, line {line}", "no step of at least 0, rate and loss"))
            continue
        assert step is not None and lr is not None
        run = one_line(cell_text(cells["run"][place])) if "run" in cells else path.stem
        own = one_line(cell_text(cells["group"][place])) if "group" in cells else group
        runs.setdefault((own, run), []).append((step, lr, loss))
    curves = []
    for (own, run), points in runs.items():
        if len({step for step, _, _ in points}) < _LEAST_ROWS:
            left_out.append((run, f"fewer than {_LEAST_ROWS} steps"))
            continue
        curves.append(_curve(run, own, points, warmup_steps, path))
    if not curves:
        raise ConfigError(f"{path}: no curve of {_LEAST_ROWS} steps or more")
    per = "byte" if unit == "bits-per-byte" else "token"
    return Curves(curves=tuple(curves), left_out=tuple(left_out), loss_unit=f"nats per {per}")


def _roles(rows: Rows, columns: Mapping[str, str], path: Path) -> dict[str, str]:
    """Role -> column, by ``columns`` or by the columns' names."""
    plain = {base_name(name): name for name in rows.columns}
    plain |= {name.strip().lower(): name for name in rows.columns}
    roles = {}
    for role in ROLES:
        if role in columns:
            if columns[role] not in rows.columns:
                raise ConfigError(
                    f"{path}: no column {columns[role]!r}; {listed_columns(rows.known)}"
                )
            roles[role] = columns[role]
        elif (name := next((n for n in _NAMES[role] if n in plain), None)) is not None:
            roles[role] = plain[name]
    missing = [role for role in _NEEDED if role not in roles]
    if missing:
        raise ConfigError(
            f"{path}: no column for {listed(missing)}; {listed_columns(rows.known)}; expected"
            f" step, lr and loss, or --columns {','.join(f'{role}=COLUMN' for role in missing)}"
        )
    return roles


def _curve(
    run: str,
    group: str,
    points: Sequence[tuple[float, float, float]],
    warmup_steps: float | None,
    path: Path,
) -> Curve:
    table = np.array(sorted(points))
    if (twice := table[1:, 0][np.diff(table[:, 0]) == 0]).size:
        raise ConfigError(
            f"{path}: {run} has step {twice[0]:g} twice; expected one row a step, or"
            " --columns run=COLUMN to tell runs apart"
        )
    steps, lr, losses = table.T
    if not lr.max() > 0:
        raise ConfigError(f"{path}: the learning rate of {run} is 0 throughout")
    peak = int(np.argmax(lr >= 0.999 * lr.max()))
    rises = peak > 0 and bool((np.diff(lr[: peak + 1]) >= 0).all())
    warm = warmup_steps if warmup_steps is not None else (steps[peak] if rises else 0.0)
    after = steps >= warm
    if warmup_steps is not None and after.any():
        first = lr[after][0]
        knots, rates = [0.0, warm], [0.0, first]
        keep = steps > warm
    else:
        knots, rates, keep = [0.0], [lr[0]], steps > 0
    if warmup_steps == 0:
        knots, rates = [0.0], [lr[0]]
    known = np.isfinite(losses)
    return Curve(
        name=run,
        group=group,
        rate=Rate(
            steps=np.concatenate([knots, steps[keep]]),
            lr=np.concatenate([rates, lr[keep]]),
            warmup_steps=float(warm),
        ),
        steps=steps[known],
        losses=losses[known],
    )


def rate_of_table(path: Path, warmup_steps: float) -> Rate:
    """The learning rate that a table of steps and rates says. Raises ``ConfigError``."""
    rows = read_rows(path)
    plain = {name.strip().lower(): name for name in rows.columns}
    names = [next((plain[n] for n in _NAMES[role] if n in plain), None) for role in ("step", "lr")]
    if None in names:
        raise ConfigError(f"{path}: expected columns step and lr; {listed_columns(rows.known)}")
    step, lr = ([number(cell) for cell in rows.columns[name]] for name in names if name)
    points = [
        (s, r, math.nan)
        for s, r in zip(step, lr, strict=True)
        if s is not None and r is not None and s >= 0 and 0 <= r < math.inf
    ]
    if len(points) != len(step) or len(points) < _LEAST_ROWS:
        raise ConfigError(
            f"{path}: expected {_LEAST_ROWS} rows or more, each with a step and a learning rate"
        )
    return _curve(path.stem, "", points, warmup_steps or None, path).rate
