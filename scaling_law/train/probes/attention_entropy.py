"""How widely attention looks: its entropy by layer and head, on examples of ``val``.

``nats.layers.0.heads.0`` is the mean over positions; ``share.layers.0.heads.0`` is the mean of the
entropy over its largest value, the log of the number of positions seen: 1 where a head attends to
all of them alike, 0 where it attends to one. Positions that see one position do not count in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from scaling_law.spec.values import Number
from scaling_law.spec.work import Measured, Work
from scaling_law.train.probes import Probe

if TYPE_CHECKING:
    from torch import Tensor

    from scaling_law.train.subject import Subject


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the entropy.

    ``examples`` is how many examples of ``val`` it is measured on, at most those of a batch.
    """

    examples: Annotated[int, Number("examples of val", low=1, high=1000)] = 8


def measure(subject: Subject, settings: Settings) -> dict[str, float]:
    """Return both by layer and head."""
    import torch

    batch = next(subject.batches("val"))
    (some, *_) = batch.split(settings.examples)
    # a row at a time, because scores take the square of the context
    rows = [
        [entropies(scores) for scores in subject.inside(row, "attention")] for row in some.split(1)
    ]
    numbers = {}
    for kind, name in enumerate(("nats", "share")):
        means = torch.tensor([[layer[kind] for layer in row] for row in rows]).mean(dim=0)
        for layer, heads in enumerate(means.tolist()):
            for head, value in enumerate(heads):
                numbers[f"{name}.layers.{layer}.heads.{head}"] = value
    return numbers


def entropies(scores: Tensor) -> tuple[list[float], list[float]]:
    """Return each head's entropy in nats, and as a share, of scores [B, H, T, T]."""
    logs = scores.double().log_softmax(dim=-1)
    nats = -(logs.exp() * logs.clamp_min(-1e30)).sum(dim=-1)  # of a position not seen, 0 * log 0
    seen = scores.isfinite().sum(dim=-1)
    counts = seen > 1
    shares = (nats / seen.double().log().where(counts, 1.0)).where(counts, 0.0)
    each = (0, 2)
    return nats.mean(each).tolist(), (shares.sum(each) / counts.sum(each).clamp_min(1)).tolist()


def work(measured: Measured, settings: Settings) -> Work:
    """A part of ``val`` is read once."""
    return Work(
        read_tokens=min(settings.examples * measured.model.n_ctx, measured.split_tokens["val"])
    )


PROBE = Probe(
    measure=measure,
    unit="nats, or share of the most",
    needs="attention",
    settings=Settings,
    work=work,
)
