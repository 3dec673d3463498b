"""Asks whether a table's losses can be nats per token of text, by the law's irreducible loss."""

from __future__ import annotations

import math

from scaling_law.files.record import NATS
from scaling_law.fit.points.points import FitPoints
from scaling_law.fit.result import FitResult, bound_words

# Text costs more than this per token, whatever the model: published laws have E from 1.5 nats on,
# at vocabularies of 32,000 tokens and more.
LEAST_TEXT_NATS = 1.2


def floor_notes(points: FitPoints, fit: FitResult | None) -> tuple[str, ...]:
    """A note where the interval of ``fit``'s E lies below what a token of text costs.

    None for a sweep's runs, whose unit and tokenizer are known. An E that may be 0 says nothing.
    """
    if points.recipe or points.loss_unit != NATS or fit is None or not fit.usable:
        return ()
    low, high = fit.intervals.get("E", (math.nan, math.nan))
    if not (low > 0 and high < LEAST_TEXT_NATS):
        return ()
    return (
        f"E is {bound_words(low, '.3g')} to {bound_words(high, '.3g')} nats, and a token of text"
        f" costs more than {LEAST_TEXT_NATS:g}: are the losses in bits or nats per byte, or of"
        " code? --loss-unit bits-per-byte converts the first, other leaves the unit open",
    )
