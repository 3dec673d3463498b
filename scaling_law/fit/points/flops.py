"""Checks a table's FLOPs against 6 * params * tokens: exchanged columns, overflow, unit, odd rows.

Attention, embeddings and what counts as a parameter make FLOPs differ from 6ND by a factor that
changes smoothly with size. Numbers that do not follow it are no training FLOPs of these runs, and
would decide what an envelope, an IsoFLOP cell and a rollout by FLOPs say.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from scaling_law.errors import ConfigError
from scaling_law.fit.numerics import plane_off
from scaling_law.fit.points.column_units import Unit, unit_of
from scaling_law.fit.points.plausible import MOST_ODD, usable_rows
from scaling_law.fit.points.points import Floats

# FLOPs over 6ND: attention, embeddings, recomputation and experts account for less than this.
_MOST_FACTOR = 100.0
# A row is off the others' factor by more than this, and by more than their scatter explains.
_OFF_LOG = math.log(2)
_OFF_SIGMAS = 8.0
_SCATTERED_LOG = math.log(3)
# A unit is recognised where it brings the factor this near to 1.
_UNIT_LOG = math.log(3)
_UNITS = ("GFLOP", "TFLOP", "PFLOP", "EFLOP", "ZFLOP", "TF-days", "PF-days")
# Columns in another order give 6ND in nearly every row to within this, and as they are they do not.
_EXCHANGED_LOG = math.log(1.5)
_EXCHANGES = (("params", "flops"), ("tokens", "flops"))
_INTEGER_BITS = (31, 32, 63, 64)
_IGNORE = "--columns flops= ignores the column"


def refuse_exchanged(
    numbers: Mapping[str, Floats], reasons: Sequence[str], names: Mapping[str, str], origin: str
) -> None:
    """Raises ``ConfigError`` where FLOPs are 6ND only with two of the columns exchanged.

    ``names``: role -> its column.
    """
    usable = _usable(numbers, reasons)
    if usable.sum() < 3:
        return
    if _share_near(_ratio(numbers)[usable]) > 0.5:
        return
    for role, other in _EXCHANGES:
        exchanged = {**numbers, role: numbers[other], other: numbers[role]}
        if _share_near(_ratio(exchanged)[usable]) >= 1 - MOST_ODD:
            raise ConfigError(
                f"{origin}: flops are 6 * params * tokens only where columns {names[role]} and"
                f" {names[other]} are exchanged; if they are, say --columns"
                f" {role}={names[other]},{other}={names[role]}"
            )


def _usable(numbers: Mapping[str, Floats], reasons: Sequence[str]) -> NDArray[np.bool_]:
    usable = np.ones(len(reasons), dtype=bool)
    for role in ("params", "tokens", "flops"):
        usable &= usable_rows(numbers[role], reasons)
    return usable


def _ratio(numbers: Mapping[str, Floats]) -> Floats:
    """log(flops / 6ND) of each row; of no use where a number is not above 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        params, tokens, flops = (np.log(numbers[role]) for role in ("params", "tokens", "flops"))
    return np.asarray(flops - math.log(6) - params - tokens)


def _share_near(ratio: Floats) -> float:
    return float((np.abs(ratio) < _EXCHANGED_LOG).mean())


def flops_unit(
    numbers: Mapping[str, Floats], reasons: list[str], *, origin: str, stated: bool
) -> Unit | None:
    """The unit in which FLOPs are 6ND in every row; None where they are plain or ``stated``.

    Rows off what the others show get a reason. Raises ``ConfigError`` for FLOPs that overflowed,
    that have no common factor, or one that no unit has.
    """
    usable = _usable(numbers, reasons)
    if usable.sum() < 2:
        return None
    ratio = np.where(usable, _ratio(numbers), 0.0)
    middle = float(np.median(ratio[usable]))
    scatter = _scatter(ratio[usable])
    _refuse_overflow(numbers, ratio, usable, origin)
    if scatter > _SCATTERED_LOG:
        low, high = (math.exp(float(end)) for end in (ratio[usable].min(), ratio[usable].max()))
        raise ConfigError(
            f"{origin}: FLOPs are from {low:.2g} to {high:.2g} times 6 * params * tokens: not the"
            f" training FLOPs of these runs, or in several units; {_IGNORE}"
        )
    _leave_out_odd(numbers, ratio, usable, reasons, origin)
    if stated or abs(middle) <= math.log(_MOST_FACTOR):
        return None
    known = [unit for unit in (unit_of("flops", name) for name in _UNITS) if unit]
    nearest = min(known, key=lambda unit: abs(middle + math.log(unit.factor)))
    if abs(middle + math.log(nearest.factor)) > _UNIT_LOG:
        raise ConfigError(
            f"{origin}: FLOPs are {math.exp(middle):.3g} times 6 * params * tokens in every row:"
            f" name their unit with --units flops=UNIT (PF-days, EFLOP, 1e18); {_IGNORE}"
        )
    return nearest


def _scatter(values: Floats) -> float:
    """A robust standard deviation."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def _leave_out_odd(
    numbers: Mapping[str, Floats],
    ratio: Floats,
    usable: NDArray[np.bool_],
    reasons: list[str],
    origin: str,
) -> None:
    """Gives a reason to each row whose FLOPs do not follow the others'.

    The others' factor may change smoothly with params and tokens. Raises ``ConfigError`` where
    there are many such rows: those that agree may be the wrong ones.
    """
    rows = np.flatnonzero(usable)
    middle = float(np.median(ratio[rows]))
    off = ratio[rows] - middle
    if len(rows) >= 8:
        smooth = plane_off(numbers["params"][rows], numbers["tokens"][rows], ratio[rows])
        # off both: a plane through few sizes bends to a row at their end
        off = np.where(np.abs(smooth) < np.abs(off), smooth, off)
    odd = rows[np.abs(off) > max(_OFF_LOG, _OFF_SIGMAS * _scatter(off))]
    if len(odd) > max(1, MOST_ODD * len(rows)):
        first = odd[0]
        raise ConfigError(
            f"{origin}: FLOPs of {len(odd)} of {len(rows)} rows do not follow 6 * params * tokens"
            f" as the others do, such as {math.exp(ratio[first]):.3g} times where the middle row"
            f" has {math.exp(middle):.3g}: not the training FLOPs of these runs; {_IGNORE}"
        )
    for row in odd:
        reasons[row] = (
            f"flops are {math.exp(ratio[row]):.3g} times 6 * params * tokens, in the other rows"
            f" {math.exp(middle):.3g} times"
        )


def _refuse_overflow(
    numbers: Mapping[str, Floats], ratio: Floats, usable: NDArray[np.bool_], origin: str
) -> None:
    """Raises ``ConfigError`` for FLOPs that wrapped around an integer's bits: garbage above 0.

    They end just below a power of two; 6ND goes beyond it, and there has no common factor.
    """
    flops = numbers["flops"][usable]
    needed = flops / np.exp(ratio[usable])
    for bits in _INTEGER_BITS:
        limit = 2.0**bits
        beyond = needed > limit
        if not limit / 16 < flops.max() < limit or beyond.sum() < 2:
            continue
        below = ratio[usable][~beyond]
        if len(below) < 2 and float(np.ptp(ratio[usable][beyond])) < _OFF_LOG:
            continue  # one factor throughout: a unit
        usual = float(np.median(below)) if len(below) else 0.0
        if (ratio[usable][beyond] < usual - _OFF_LOG).mean() > 0.5:
            raise ConfigError(
                f"{origin}: FLOPs end below 2^{bits} = {limit:.3g}, where 6 * params * tokens goes"
                f" to {needed.max():.3g}: they wrapped around in {int(beyond.sum())} of"
                f" {len(flops)} rows; write them as floating-point numbers, or {_IGNORE}"
            )
