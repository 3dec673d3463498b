"""How right answers are that are longer than those of training, at interpolated positions.

A validation split ``val:NAME`` whose examples reach further than those of ``val`` is read once more
by a copy of the model: the positions of its examples are moved together until the last one lies
where the last one of ``val`` does (Chen 2023, arXiv 2306.15595). ``SPLIT.exact``,
``SPLIT.log_prob`` and ``SPLIT.brier`` are those of the probe ``answers``. The model is not trained
at the new positions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from scaling_law.parts import NoSettings
from scaling_law.spec.work import Measured, Work
from scaling_law.train.probes import Probe
from scaling_law.train.probes.answers import of_split

if TYPE_CHECKING:
    from torch import nn

    from scaling_law.train.subject import Subject


@runtime_checkable
class HasPositions(Protocol):
    """A model whose positions can be moved together."""

    def interpolated(self, spacing: float) -> nn.Module:
        """Return a copy whose positions are ``spacing`` apart instead of 1."""
        ...


def measure(subject: Subject, settings: NoSettings) -> dict[str, float]:
    """Return the shares and scores by split."""
    if not isinstance(subject.model, HasPositions):
        raise ValueError("interpolated needs a model with positions, such as gpt")
    numbers = {}
    trained = _reach(subject, "val")
    for split in subject.splits:
        if split.startswith("val:") and (used := _reach(subject, split)) > trained:
            other = subject.of(subject.model.interpolated((trained - 1) / (used - 1)))
            answers = of_split(other, split, positions=False)
            numbers.update({f"{split}.{key}": value for key, value in answers.items()})
    return numbers


def _reach(subject: Subject, split: str) -> int:
    """How many positions of an example are read until its last target that counts."""
    most = 0
    for batch in subject.batches(split):
        time, answers = batch.inputs.shape[1], batch.targets.shape[1]
        counts = batch.targets.new_ones(answers) if batch.weights is None else batch.weights.amax(0)
        most = max(most, time - answers + int(counts.nonzero().max()) + 1)
    return most


def work(measured: Measured, settings: NoSettings) -> Work:
    """Every further validation split is read once."""
    further = (tokens for name, tokens in measured.validation.items() if name != "val")
    return Work(read_tokens=sum(further))


PROBE = Probe(
    measure=measure,
    unit="shares of answers, nats, Brier score",
    when="end",
    work=work,
)
