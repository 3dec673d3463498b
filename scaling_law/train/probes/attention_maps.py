"""Where each head looks: its attention at the end of training, as a small map.

``layers.0.heads.0.map.3.1`` is the share of attention that the fourth block of positions gives to
the second one: the mean over positions of a block, and over a few examples of ``val``. A context of
up to ``size`` positions has a row and a column for each. Blocks that no position sees are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from scaling_law.files.layer_metrics import cell_key
from scaling_law.spec.values import Number
from scaling_law.spec.work import Measured, Work
from scaling_law.train.probes import Probe

if TYPE_CHECKING:
    from torch import Tensor

    from scaling_law.train.subject import Subject


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the maps.

    ``size`` is the most rows and columns of a map;
    ``examples`` is how many examples of ``val`` a map is the mean of, at most those of a batch.
    """

    size: Annotated[int, Number("most rows and columns", low=2, high=32)] = 16
    examples: Annotated[int, Number("examples of val", low=1, high=1000)] = 8


def measure(subject: Subject, settings: Settings) -> dict[str, float]:
    """Return the cells of every head's map."""
    import torch

    (some, *_) = next(subject.batches("val")).split(settings.examples)
    # a row at a time, because scores take the square of the context
    rows = [
        [shrunk(scores, settings.size) for scores in subject.inside(row, "attention")]
        for row in some.split(1)
    ]
    cells = {}
    for layer, maps in enumerate(zip(*rows, strict=True)):
        for head, table in enumerate(torch.stack(maps).mean(dim=0).tolist()):
            for row, shares in enumerate(table):
                for column, share in enumerate(shares):
                    if share > 0:
                        key = cell_key(f"layers.{layer}.heads.{head}", row, column)
                        cells[key] = float(f"{share:.4g}")
    return cells


def shrunk(scores: Tensor, size: int) -> Tensor:
    """Return the attention of scores [1, H, T, T] as maps [H, S, S] of at most ``size`` blocks."""
    import torch

    shares = scores[0].double().softmax(dim=-1)
    time = shares.shape[-1]
    count = min(size, time)
    block = torch.arange(time, device=shares.device) * count // time
    to_block = torch.nn.functional.one_hot(block, count).to(shares)
    return (to_block / to_block.sum(dim=0)).T @ shares @ to_block


def work(measured: Measured, settings: Settings) -> Work:
    """A part of ``val`` is read once."""
    return Work(
        read_tokens=min(settings.examples * measured.model.n_ctx, measured.split_tokens["val"])
    )


PROBE = Probe(
    measure=measure,
    unit="share of attention",
    when="end",
    needs="attention",
    settings=Settings,
    work=work,
)
