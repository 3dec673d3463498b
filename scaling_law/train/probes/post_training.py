"""By how much the loss on ``val`` rises where weights are rounded after training.

``bits-4`` is the rise with the number format ``integer`` at 4 bits. The run's weights stay as they
are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from scaling_law.spec.values import Number
from scaling_law.spec.work import Measured, Work
from scaling_law.train.number_formats import integer
from scaling_law.train.probes import Probe

if TYPE_CHECKING:
    from scaling_law.train.subject import Subject

_BITS = Number("bits of a rounded weight", low=2, high=16)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What weights are rounded to.

    ``bits`` are the bits of the integers, each measured by itself.
    """

    bits: tuple[Annotated[int, _BITS], ...] = (3, 4, 6)

    def __post_init__(self) -> None:
        if not self.bits:
            raise ValueError("bits is empty, so that nothing is measured; expected 4, say")


def measure(subject: Subject, settings: Settings) -> dict[str, float]:
    """Return the rise of the mean loss in nats, by bits."""
    from scaling_law.train.rounding import rounded

    plain = _loss(subject)
    rises = {}
    for bits in settings.bits:
        with rounded(integer.NUMBER_FORMAT, integer.Settings(bits=bits)):
            rises[f"bits-{bits}"] = _loss(subject) - plain
    return rises


def _loss(subject: Subject) -> float:
    """The mean loss on ``val``."""
    total, count = 0.0, 0.0
    for batch in subject.batches("val"):
        losses, weights = subject.losses(batch)
        total += float((losses * weights).double().sum())
        count += float(weights.double().sum())
    return total / count


def work(measured: Measured, settings: Settings) -> Work:
    """One pass over ``val`` as it is, and one for each number of bits."""
    return Work(read_tokens=(1 + len(settings.bits)) * measured.split_tokens["val"])


PROBE = Probe(measure=measure, unit="nats per token", when="end", settings=Settings, work=work)
