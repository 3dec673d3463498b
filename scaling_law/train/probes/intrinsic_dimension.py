"""The intrinsic dimension of the inputs of ``val``, by TwoNN (Facco 2017, arXiv 1803.06992).

Where the density is even over a point's two nearest neighbours, the ratio of their distances has a
Pareto distribution whose exponent is the dimension. It is estimated by a line through the origin,
without the tenth of the points whose ratios are largest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaling_law.parts import NoSettings
from scaling_law.spec.work import Measured
from scaling_law.train.probes import Probe

if TYPE_CHECKING:
    from torch import Tensor

    from scaling_law.train.subject import Subject

_KEPT = 0.9
_AT_ONCE = 512  # points whose distances are in memory at a time


def measure(subject: Subject, settings: NoSettings) -> float:
    """The dimension."""
    import torch

    inputs = torch.cat([batch.inputs for batch in subject.batches("val")])
    if not inputs.is_floating_point():
        raise ValueError("intrinsic_dimension needs inputs that are numbers, found ids")
    return two_nn(inputs.flatten(1))


def two_nn(points: Tensor) -> float:
    """TwoNN's estimate for ``points`` [N, D]; a point that is there twice counts once."""
    import torch

    points = torch.unique(points.double(), dim=0)
    if len(points) < 20:
        raise ValueError(f"{len(points)} different points, expected at least 20")
    ratios = []
    for some in torch.split(points, _AT_ONCE):
        # the nearest point is the point itself
        near = torch.cdist(some, points).topk(3, largest=False).values
        ratios.append(near[:, 2] / near[:, 1])
    ordered = torch.cat(ratios).sort().values.log()
    count = int(_KEPT * len(ordered))
    share = torch.arange(1, count + 1, dtype=torch.float64) / len(ordered)
    logs, ranks = ordered[:count].cpu(), -torch.log1p(-share)
    return float(logs @ ranks / (logs @ logs))


def refusal(measured: Measured, settings: NoSettings) -> str:
    """It needs inputs that are points."""
    if measured.inputs == "numbers":
        return ""
    return "it needs inputs that are numbers, and the data's are ids; leave the probe out"


PROBE = Probe(measure=measure, unit="dimensions", when="end", passes=0, refusal=refusal)
