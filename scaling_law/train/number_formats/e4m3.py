"""Floats of 8 bits, 4 of exponent and 3 of fraction (Micikevicius 2022, arXiv 2209.05433).

Each row is scaled so that its largest magnitude is the format's, 448.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaling_law.train.number_formats import NumberFormat, Rounded, by_cast

if TYPE_CHECKING:
    from torch import Tensor

LARGEST = 448.0


def rounded(numbers: Tensor, settings: Rounded) -> Tensor:
    """Round each row to the format's numbers."""
    return by_cast(numbers, "float8_e4m3fn", LARGEST)


NUMBER_FORMAT = NumberFormat(round=rounded, bits=lambda settings: 8, slowdown=1.3)
