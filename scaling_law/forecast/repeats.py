"""What repeated tokens, and parameters beyond what the data can fill, are worth.

Muennighoff 2023 (arXiv 2305.16264), equations 5 and 6: of D tokens U_D are different, and

    D' = U_D (1 + R_D* (1 - exp(-R_D / R_D*))),   R_D = D / U_D - 1,
    N' = U_N (1 + R_N* (1 - exp(-R_N / R_N*))),   R_N = N / U_N - 1,

with U_N the smaller of N and the size that U_D tokens would be compute-optimal for. Any law in
params and tokens is then evaluated at N' and D' instead of N and D.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from scaling_law.errors import FitError
from scaling_law.fit.split import Split
from scaling_law.forecast.optima import Loss
from scaling_law.units import format_count

# Table 1 of the paper's fit on C4: repeats after which another is worth 1/e of what is new.
PUBLISHED_DATA_REPEATS, PUBLISHED_SIZE_REPEATS = 15.39, 5.31
MOST_EPOCHS = 4.0  # up to this many epochs repeats are nearly as good as new data (section 6)


@dataclass(frozen=True, kw_only=True)
class Repeats:
    """How much repeats are worth.

    ``unique``: different tokens available.
    ``split``: the law's compute-optimal split where nothing is repeated.
    ``data``: R_D*, in repeats.
    ``size``: R_N*, in repeats.
    """

    unique: float
    split: Split
    data: float = PUBLISHED_DATA_REPEATS
    size: float = PUBLISHED_SIZE_REPEATS

    def worth(self, params: float, tokens: float) -> tuple[float, float]:
        """(N', D') of ``params`` trained on ``tokens``."""
        seen_once = min(tokens, self.unique)
        filled = min(params, self.split.params_for_tokens(seen_once))
        return _decayed(params, filled, self.size), _decayed(tokens, seen_once, self.data)

    def on(self, loss: Loss) -> Loss:
        """``loss`` with repeats worth less."""
        return lambda params, tokens: loss(*self.worth(params, tokens))


def _decayed(amount: float, unique: float, half: float) -> float:
    return unique * (1 - half * math.expm1(-(amount / unique - 1) / half))


def repeats_under(params: Mapping[str, float], split: Split | None, unique: float) -> Repeats:
    """What repeats of ``unique`` tokens are worth under a law with these parameters.

    ``split`` is its compute-optimal split where nothing is repeated. Its own R_D* and R_N* are used
    where it was fitted to repeats, else the published ones. Raises ``FitError`` without a split.
    """
    if split is None:
        raise FitError("the law has no compute-optimal split: repeats cannot be valued under it")
    own = {"data": params["R_D"], "size": params["R_N"]} if "R_D" in params else {}
    return Repeats(unique=unique, split=split, **own)


def repeat_doubts(own: bool, tokens: float, unique: float) -> list[str]:
    """What a reader should know about ``tokens`` of which ``unique`` differ.

    ``own``: whether the law itself says what repeats are worth.
    """
    doubts = []
    if not own:
        doubts.append(
            f"what repeats are worth is Muennighoff 2023's (R_D* {PUBLISHED_DATA_REPEATS:g}, R_N*"
            f" {PUBLISHED_SIZE_REPEATS:g}, on C4), not this law's"
        )
    epochs = tokens / unique
    if epochs > MOST_EPOCHS:
        doubts.append(
            f"{epochs:.2g} epochs of {format_count(unique)} tokens: beyond about"
            f" {MOST_EPOCHS:g} repeats are worth ever less"
        )
    return doubts
