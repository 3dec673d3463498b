"""Integers of 2 to 16 bits, symmetric about 0, each row scaled by its largest magnitude."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from scaling_law.spec.values import Number
from scaling_law.train.number_formats import NumberFormat, Rounded, by_rows

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Settings(Rounded):
    """What is rounded, and to how many bits.

    ``bits`` are the bits of a number with its sign: 2 bits have the three values -1, 0 and 1.
    """

    bits: Annotated[int, Number("bits of a number", low=2, high=16)] = 8


def rounded(numbers: Tensor, settings: Settings) -> Tensor:
    """Round each row to the multiples of its largest magnitude over 2^(bits - 1) - 1."""
    import torch

    return by_rows(numbers, 2 ** (settings.bits - 1) - 1, torch.round)


NUMBER_FORMAT = NumberFormat(
    round=rounded, bits=lambda settings: settings.bits, slowdown=1.3, settings=Settings
)
