"""The columns of a table as numbers in plain units: counts, FLOPs, losses in nats.

A cell that is no number above 0 gives its row a reason; a column of text is the wrong column. What
was converted, and by which unit, is noted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scaling_law.errors import ConfigError, one_line
from scaling_law.fit.points import plausible
from scaling_law.fit.points.column_units import (
    Unit,
    in_name,
    loss_unit_in_name,
    small_enough,
    unit_of,
)
from scaling_law.fit.points.numbers import (
    beside_number,
    conversions,
    decimal_marks,
    is_missing,
    number,
    stated_error,
)
from scaling_law.fit.points.points import Floats
from scaling_law.fit.points.roles import COUNTED
from scaling_law.fit.points.rows import Rows
from scaling_law.fit.points.table_settings import TableSettings

NUMERIC = (
    "params", "tokens", "loss", "flops", "unique_tokens", "batch", "sem", "tokens_per_second",
)  # fmt: skip
_MAY_BE_ABSENT = ("unique_tokens", "batch", "sem", "tokens_per_second")


def read_numbers(
    columns: Mapping[str, list[Any]], reasons: list[str], rows: Rows, origin: str
) -> tuple[dict[str, Floats], list[str]]:
    """The numeric columns, and what was read in another way than a program would."""
    cells = {role: columns[role] for role in NUMERIC if role in columns}
    marks = decimal_marks(cells, origin)
    numbers = {}
    notes = []
    for role, texts in cells.items():
        needed = role not in _MAY_BE_ABSENT
        values = [number(cell, count=role in COUNTED, mark=marks[role]) for cell in texts]
        numbers[role] = _above_zero(role, texts, values, reasons, needed)
        if needed:
            _refuse_text(role, texts, values, rows, origin)
        if role == "loss" and "sem" not in cells:
            errors = [stated_error(cell, marks[role]) for cell in texts]
            if any(error is not None for error in errors):
                numbers["sem"] = np.array([math.nan if e is None else e for e in errors])
                notes.append("the errors behind ± are taken for standard errors of the losses")
        if role in COUNTED:
            plausible.check_signs(role, values, origin)
    return numbers, [*conversions(cells, marks), *notes]


def _above_zero(
    role: str,
    cells: Sequence[Any],
    values: Sequence[float | None],
    reasons: list[str],
    needed: bool,
) -> Floats:
    """The values above 0 (a standard error may be 0); NaN for others, whose row gets a reason."""
    numbers = np.full(len(cells), math.nan)
    for row, value in enumerate(values):
        least = -math.ulp(0.0) if role == "sem" else 0.0
        if value is not None and least < value < math.inf:
            numbers[row] = value
        elif needed and not reasons[row]:
            cell = cells[row]
            shown = cell.strip() if isinstance(cell, str) else "" if cell is None else repr(cell)
            if value is not None and math.isnan(value):
                shown = "missing"
            reasons[row] = (
                f"{role} is {one_line(f'{shown:.40}') or 'empty'}, expected a number above 0"
            )
            if value is None and (beside := beside_number(cell)):
                reasons[row] += f" ({one_line(beside)})"
            if role in COUNTED and value is not None and value < 0:
                ignore = " --columns flops= ignores the column" if role == "flops" else ""
                reasons[row] += f" ({plausible.overflow_words(value)}{ignore})"
    return numbers


def _refuse_text(
    role: str, cells: Sequence[Any], values: Sequence[float | None], rows: Rows, origin: str
) -> None:
    """Raises ``ConfigError`` for a column of mostly text: it is the wrong column."""
    given = [row for row, cell in enumerate(cells) if not is_missing(cell)]
    text = [row for row in given if values[row] is None]
    if len(text) > len(given) / 2:
        cell = cells[text[0]]
        beside = beside_number(cell)
        hint = f"{beside}, or name another" if beside else "name the"
        raise ConfigError(
            f"{origin}:{rows.lines[text[0]]}: column for {role} has {str(cell)[:40]!r}, expected"
            f" numbers; {hint} column with --columns"
        )


def in_plain_units(
    numbers: Mapping[str, Floats], names: Mapping[str, str], settings: TableSettings
) -> tuple[dict[str, Floats], list[str], str]:
    """The numbers in their plain units, what was converted, and the unit of the losses.

    An option says more than a column's name.
    """
    plain, notes = dict(numbers), []
    for role in COUNTED:
        if role not in plain:
            continue
        stated = settings.units.get(role)
        unit: Unit | None
        if stated is not None:
            unit = unit_of(role, stated)
        else:
            _, unit = in_name(role, names[role])
            known = plain[role][np.isfinite(plain[role])]
            median = float(np.median(known)) if len(known) else math.nan
            if unit is not None and not small_enough(unit, median):
                notes.append(
                    f"column {one_line(names[role])!r} has {role} of {median:.3g}: read as plain"
                    f" counts, not in {unit.words}"
                )
                unit = None
        if unit is not None and unit.factor != 1:
            with np.errstate(over="ignore"):
                plain[role] = plain[role] * unit.factor
            where = f"column {one_line(names[role])!r}" if stated is None else "--units"
            notes.append(f"{role} read in {unit.words} ({where})")
    loss_unit = settings.loss_unit
    if not loss_unit:
        loss_unit = loss_unit_in_name(names["loss"]) or "nats"
        if loss_unit != "nats":
            notes.append(
                f"column {one_line(names['loss'])!r} read as {loss_unit} by its name (--loss-unit"
                " says otherwise)"
            )
    return plain, notes, loss_unit


def losses_in_nats(values: Floats, unit: str, reasons: list[str]) -> Floats:
    """The losses in nats; a perplexity of 1 or less has none above 0."""
    if unit != "perplexity":
        return values * (math.log(2) if unit in ("bits", "bits-per-byte") else 1.0)
    with np.errstate(invalid="ignore"):
        low = np.isfinite(values) & (values <= 1)
        losses = np.log(np.where(low, math.nan, values))
    for row in np.flatnonzero(low):
        reasons[row] = reasons[row] or f"loss is {values[row]:.6g}, expected a perplexity above 1"
    return losses


def errors_in_nats(numbers: Mapping[str, Floats], loss_unit: str) -> Floats:
    """The standard errors of the losses, NaN where unknown."""
    if "sem" not in numbers:
        return np.full(len(numbers["loss"]), math.nan)
    if loss_unit == "perplexity":  # d ln x = dx / x
        return np.asarray(numbers["sem"] / np.exp(numbers["loss"]))
    return numbers["sem"] * (math.log(2) if loss_unit in ("bits", "bits-per-byte") else 1.0)


def complete(
    numbers: dict[str, Floats],
) -> tuple[dict[str, Floats], tuple[str, ...]]:
    """Params, tokens and FLOPs from two of them under C = 6ND, and what was filled in."""
    for role, other in (("params", "tokens"), ("tokens", "params")):
        if role not in numbers:
            filled = numbers["flops"] / 6 / numbers[other]
            return numbers | {role: filled}, (f"{role} taken as flops / 6 / {other}",)
    if "flops" not in numbers:
        return numbers | {"flops": 6 * numbers["params"] * numbers["tokens"]}, ()
    return numbers | {"given": numbers["flops"]}, ()
