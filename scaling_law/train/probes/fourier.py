"""The shares of power in a few frequencies, in the numbers that a model reads ids as.

They measure progress towards modular arithmetic (Nanda 2023, arXiv 2301.05217). The ids count as
equally spaced points of a circle, and each column of their table as a function on it.
``fourier.table`` is the share of the table's power that its ``largest`` frequencies have together;
``fourier.column`` is the mean share that the largest frequency of a column has in it, each column
with its power as weight. The constant part counts as no frequency.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from scaling_law.spec.values import Number
from scaling_law.spec.work import Measured
from scaling_law.train.probes import Probe

if TYPE_CHECKING:
    from scaling_law.train.subject import Subject


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the shares.

    ``largest`` is how many frequencies of the table count together;
    ``ids`` is how many of the first ids lie on the circle; None for all.
    """

    largest: Annotated[int, Number("frequencies that count together", low=1, high=10**6)] = 5
    ids: Annotated[int | None, Number("first ids, null for all", low=3, high=10**6)] = None


def measure(subject: Subject, settings: Settings) -> dict[str, float]:
    """Return both shares."""
    import torch

    from scaling_law.train.architectures import token_table

    table = token_table(subject.model).detach().double()
    if settings.ids is not None and settings.ids > len(table):
        raise ValueError(f"ids is {settings.ids}, and the model reads {len(table)} ids")
    waves = torch.fft.rfft(table[: settings.ids], dim=0)[1:]
    power = waves.abs().square()  # [frequencies, columns]
    whole = power.sum()
    largest = power.sum(dim=1).topk(min(settings.largest, len(power))).values
    return {
        "table": float(largest.sum() / whole),
        "column": float(power.max(dim=0).values.sum() / whole),
    }


def refusal(measured: Measured, settings: Settings) -> str:
    """It needs a table of as many ids."""
    if measured.inputs != "ids":
        return "it reads the table of ids, and the data's inputs are numbers; leave the probe out"
    if settings.ids is not None and settings.ids > measured.model.vocab_size:
        return f"ids is {settings.ids}, and the model reads {measured.model.vocab_size} ids"
    return ""


PROBE = Probe(measure=measure, unit="share of power", settings=Settings, passes=0, refusal=refusal)
