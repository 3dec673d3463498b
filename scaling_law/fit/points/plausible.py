"""Checks that the numbers of a table are possible for what their columns claim to be.

A count has a least value and a loss is below the logarithm of any vocabulary. A column of which
most rows break such a rule is in another unit or is another thing, and is refused with what to do;
single rows are left out, each with its reason.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from scaling_law.errors import ConfigError
from scaling_law.fit.points.points import Floats

# The least and most that a count of params or tokens can be.
BOUNDS = {"params": (100.0, 1e15), "tokens": (1.0, 1e18)}
# The largest vocabulary in use has about a million ids, and a guess among them costs ln 2^20.
VOCABULARY = 2**20
MOST_NATS = math.log(VOCABULARY)
MOST_NATS_PER_BYTE = 8 * math.log(2)
# The entropy of the frequencies of 50,000 tokens in English text: what a model without any context
# costs.
NATS_OF_FREQUENCIES = 7.5
_SAME_FRAC = 1e-3
# Where more than one row, and more than this share, break a rule, the column is not what it is
# called.
MOST_ODD = 0.1
# Tokens a parameter: no published run is outside.
_LEAST_RATIO, _MOST_RATIO = 1e-4, 1e6


def check_signs(role: str, values: Sequence[float | None], origin: str) -> None:
    """Raises ``ConfigError`` for a count that is negative in many rows: it overflowed.

    Its rows above 0 may have overflowed too.
    """
    given = [value for value in values if value is not None]
    negative = [value for value in given if value < 0]
    if len(negative) <= max(1, MOST_ODD * len(given)):
        return
    ignore = "; --columns flops= ignores the column" if role == "flops" else ""
    raise ConfigError(
        f"{origin}: {role} is below 0 in {len(negative)} of {len(given)} rows, as"
        f" {negative[0]:.15g}: an overflow of {_bits_of(min(negative))} bits? then rows above 0"
        f" may be wrong too; write them again as 64-bit or floating-point numbers{ignore}"
    )


def overflow_words(value: float) -> str:
    """What made a count negative, as a question."""
    return f"an overflow of {_bits_of(value)} bits?"


def _bits_of(value: float) -> int:
    return 32 if value >= -(2.0**31) else 64


def check_counts(
    numbers: Mapping[str, Floats],
    reasons: list[str],
    *,
    origin: str,
    stated: Collection[str],
    given: Collection[str],
) -> None:
    """Gives a reason to each row whose params or tokens are too few or too many for a count.

    ``stated`` roles have a unit from the user; those not ``given`` come from FLOPs. Raises
    ``ConfigError`` where a column has many such rows: it is in another unit.
    """
    refused: dict[str, str] = {}
    for role, (least, most) in BOUNDS.items():
        values = numbers[role]
        usable = usable_rows(values, reasons)
        if role in stated or not usable.any():
            continue
        odd = usable & ((values < least) | (values > most))
        if role in given:
            # below a thousand a count with a fraction is one in millions or so
            odd |= usable & (values < 1e3) & (values != np.round(values))
        if odd.sum() > max(1, MOST_ODD * usable.sum()):
            refused[role] = f"{values[usable].min():.6g} to {values[usable].max():.6g}"
            continue
        for row in np.flatnonzero(odd):
            reasons[row] = (
                f"{role} is {values[row]:.6g}, expected a whole number from {least:g} to {most:g}"
                " (in another unit?)"
            )
    if not refused:
        return
    ranges = " and ".join(f"{role} from {span}" for role, span in refused.items())
    bounds = " and ".join(f"{BOUNDS[role][0]:g} {role}" for role in refused)
    if refused.keys() <= set(given):
        units = ",".join(f"{role}={'M' if role == 'params' else 'B'}" for role in refused)
        remedy = f"say --units {units} (K, M, B, T or a number)"
    else:
        remedy = "name the unit of the FLOPs with --units flops=PF-days (or EFLOP, 1e18)"
    raise ConfigError(
        f"{origin}: {ranges}, expected whole numbers from {bounds} on; if they are in another unit,"
        f" as millions or billions, {remedy}"
    )


def check_ratio(numbers: Mapping[str, Floats], reasons: Sequence[str], origin: str) -> None:
    """Raises ``ConfigError`` where params and tokens cannot be in one unit."""
    usable = usable_rows(numbers["params"], reasons) & usable_rows(numbers["tokens"], reasons)
    if not usable.any():
        return
    ratio = float(np.median(np.log(numbers["tokens"][usable]) - np.log(numbers["params"][usable])))
    if not math.log(_LEAST_RATIO) <= ratio <= math.log(_MOST_RATIO):
        raise ConfigError(
            f"{origin}: {math.exp(min(ratio, 700.0)):.3g} tokens a parameter in the middle row,"
            f" expected {_LEAST_RATIO:g} to {_MOST_RATIO:g}: params and tokens are in different"
            " units; say --units params=M or tokens=B (K, M, B, T or a number)"
        )


def ratio_notes(numbers: Mapping[str, Floats], reasons: Sequence[str]) -> list[str]:
    """A note where most runs have fewer tokens than parameters."""
    usable = usable_rows(numbers["params"], reasons) & usable_rows(numbers["tokens"], reasons)
    few = usable & (numbers["tokens"] < numbers["params"])
    if few.sum() <= usable.sum() / 2:
        return []
    return [
        f"{few.sum()} of {usable.sum()} runs have fewer tokens than parameters: were the columns of"
        " params and tokens exchanged?"
    ]


def refuse_perplexities(
    losses: Floats, perplexities: Mapping[str, Floats], reasons: Sequence[str], origin: str
) -> None:
    """Raises ``ConfigError`` for losses in nats that are the numbers of a perplexity's column."""
    for name, values in perplexities.items():
        both = usable_rows(losses, reasons) & usable_rows(values, reasons)
        if both.any() and bool((np.abs(losses / values - 1)[both] < _SAME_FRAC).all()):
            raise ConfigError(
                f"{origin}: the losses are the numbers of column {name}, so perplexities, not nats"
                " per token; say --loss-unit perplexity"
            )


def loss_notes(losses: Floats, reasons: Sequence[str]) -> list[str]:
    """A note where most losses, in nats per token, are above those of token frequencies alone."""
    usable = usable_rows(losses, reasons)
    high = usable & (losses > NATS_OF_FREQUENCIES)
    if high.sum() <= usable.sum() / 2:
        return []
    return [
        f"{high.sum()} of {usable.sum()} losses are above {NATS_OF_FREQUENCIES:g} nats per token,"
        " which a model reaches that knows only how often each token occurs: if they are"
        " perplexities say --loss-unit perplexity, if bits --loss-unit bits"
    ]


def check_losses(
    values: Floats, reasons: list[str], *, origin: str, unit: str, shown: Floats
) -> None:
    """Gives a reason to each row whose loss is above that of a guess among all ids.

    ``values`` in nats, ``shown`` as the table has them. Raises ``ConfigError`` for too many.
    """
    if unit == "other":
        return
    per_byte = unit == "bits-per-byte"
    most = MOST_NATS_PER_BYTE if per_byte else MOST_NATS
    limit = (
        "8 bits, what any byte costs without a model"
        if per_byte
        else f"{MOST_NATS:.2f} nats per token, the logarithm of a vocabulary of {VOCABULARY:,} ids"
    )
    usable = usable_rows(values, reasons)
    high = usable & (values > most * (1 + 1e-9))
    if not high.any():
        return
    if high.sum() > max(1, MOST_ODD * usable.sum()):
        span = f"{shown[usable].min():.6g} to {shown[usable].max():.6g}"
        raise ConfigError(
            f"{origin}: losses run from {span}, above {limit}: if they are perplexities say"
            " --loss-unit perplexity, which takes their logarithm; if they are not losses of text"
            " say --loss-unit other"
        )
    for row in np.flatnonzero(high):
        reasons[row] = f"loss is {shown[row]:.6g}, above {limit}"


def usable_rows(values: Floats, reasons: Sequence[str]) -> NDArray[np.bool_]:
    """Where a value is above 0 and finite and its row has no reason against it."""
    fine = np.array([not reason for reason in reasons], dtype=bool)
    with np.errstate(invalid="ignore"):
        return fine & np.isfinite(values) & (values > 0)
