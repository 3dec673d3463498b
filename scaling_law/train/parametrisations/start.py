"""Other first weights than the standard ones, for models of one width and depth.

The standard ones: embeddings of standard deviation 1, matrices of 1/sqrt(fan-in), and those that
end a residual branch divided by the root of twice the depth. GPT-2 (Radford 2019) starts every
weight at 0.02. Learning rates and outputs stay.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from scaling_law.spec.values import Number, Text
from scaling_law.train.parametrisations import Parametrisation, Role

BRANCHES = ("scaled", "plain", "zero")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Factors on the standard deviations of first weights.

    ``tables`` is that of embeddings and position tables;
    ``matrices`` is that of the blocks' matrices;
    ``branches`` is what the last matrix of a residual branch starts at: ``scaled`` by the depth,
    ``plain`` as any other matrix, or ``zero``.
    """

    tables: Annotated[float, Number("factor on embeddings", above=0, high=1e3)] = 1.0
    matrices: Annotated[float, Number("factor on the blocks' matrices", above=0, high=1e3)] = 1.0
    branches: Annotated[str, Text("end of a residual branch", choices=BRANCHES)] = "scaled"


def initial(role: Role, width: int, settings: Settings) -> float:
    """The head starts as in the standard parametrisation."""
    return {"input": settings.tables, "hidden": settings.matrices, "output": 1.0}[role]


def residual_initial(depth: int, settings: Settings) -> float:
    """Undo the division by the root of twice the depth, or start at 0."""
    return {"scaled": 1.0, "plain": math.sqrt(2 * depth), "zero": 0.0}[settings.branches]


PARAMETRISATION = Parametrisation(
    initial=initial,
    lr=lambda role, width, settings: 1.0,
    output=lambda width, settings: 1.0,
    attention=lambda head_size, settings: 1.0,
    residual_initial=residual_initial,
    settings=Settings,
)
