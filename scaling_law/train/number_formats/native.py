"""The numbers as ``precision`` has them; nothing is rounded further."""

from __future__ import annotations

from scaling_law.parts import NoSettings
from scaling_law.train.number_formats import NumberFormat

NUMBER_FORMAT = NumberFormat(
    round=None, bits=lambda settings: None, slowdown=1.0, settings=NoSettings
)
