"""Noise of the gradient, from batches of two sizes (McCandlish 2018, arXiv 1812.06162, A.1).

The squared norm of a batch's gradient is on average the true gradient's, plus the trace of the
covariance of one example's gradient over the batch's examples. Norms at two batch sizes therefore
give both without bias: ``gradient``, the squared norm of the true gradient, which may come out
below 0, and ``trace``, that trace. Their ratio is the noise scale B_simple, in examples. Divide
their means over points or seeds: a ratio of two noisy numbers is biased.

The small batches are parts of the measured examples of ``train``, the large one is all of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from scaling_law.spec.values import Number
from scaling_law.spec.work import Measured
from scaling_law.train.probes import Probe

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from scaling_law.train.subject import Subject


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the estimate.

    ``examples`` is how many examples a small batch has; all measured ones are at least two of them.
    """

    examples: Annotated[int, Number("examples of a small batch", low=1, high=1024)] = 8


def measure(subject: Subject, settings: Settings) -> dict[str, float]:
    """Both estimates."""
    size = settings.examples
    gradients = (
        subject.gradient(part)[1].values()
        for batch in subject.batches("train")
        for part in batch.split(size)
        if len(part.inputs) == size
    )
    squared, trace, count = estimates(gradients, size)
    if count < 2:
        raise ValueError(
            f"noise_scale needs two batches of {size} examples, and eval.curve_tokens gives"
            f" {count}; raise it, or take fewer examples"
        )
    return {"gradient": squared, "trace": trace}


def estimates(gradients: Iterable[Iterable[Tensor]], size: int) -> tuple[float, float, int]:
    """Return the squared norm of the true gradient, the trace, and the count of ``gradients``.

    Each is the gradient of a batch of ``size`` examples. Fewer than two give no estimates, NaN.
    """
    count, of_small = 0, 0.0
    total: list[Tensor] = []
    for gradient in gradients:
        parts = [part.double() for part in gradient]
        of_small += sum(float(part.square().sum()) for part in parts)
        total = [a + b for a, b in zip(total, parts, strict=True)] if total else parts
        count += 1
    if count < 2:
        return math.nan, math.nan, count
    of_small /= count
    of_large = sum(float(part.square().sum()) for part in total) / count**2
    large = count * size
    squared = (large * of_large - size * of_small) / (large - size)
    trace = (of_small - of_large) / (1 / size - 1 / large)
    return squared, trace, count


def refusal(measured: Measured, settings: Settings) -> str:
    """It needs two small batches of training examples."""
    least = 2 * settings.examples
    if (known := measured.examples("train")) >= least:
        return ""
    return (
        f"it compares batches of {settings.examples} training examples, at least two, and a"
        f" measurement reads {known}; raise eval.curve_tokens (and eval.val_tokens) to"
        f" {least * measured.model.n_ctx} or more, or take fewer examples"
    )


PROBE = Probe(measure=measure, unit="squared L2 norm", settings=Settings, passes=3, refusal=refusal)
