"""How far the last step moved the weights: the norm of the update over theirs, by layer and role.

The step's learning rate, the optimizer and weight decay are all in it. A group whose weights were
all zero has no ratio. The weights are those that are evaluated: for an optimizer that averages
them, their average.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaling_law.parts import NoSettings
from scaling_law.train.probes import Probe, l2_norm
from scaling_law.train.probes._layers import by_group

if TYPE_CHECKING:
    from scaling_law.train.subject import Subject


def measure(subject: Subject, settings: NoSettings) -> dict[str, float]:
    """Return the ratios by group of weights."""
    before, after = subject.before_step(), dict(subject.model.named_parameters())
    ratios = {}
    for group, names in by_group(after).items():
        if norm := l2_norm(before[name] for name in names):
            ratios[group] = l2_norm(after[name].detach() - before[name] for name in names) / norm
    return ratios


PROBE = Probe(measure=measure, unit="update over weight", passes=0, reads_step=True)
