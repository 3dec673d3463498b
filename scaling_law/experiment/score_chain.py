"""How much of each score scale explains, from log-probability to accuracy (Schaeffer 2024).

Of every score it is the share of the variance that no plane over log parameters and log tokens
explains.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from scaling_law.experiment.held_out_size import Seen


def unexplained(ones: Sequence[Seen], value: Callable[[Seen], float]) -> float | None:
    """The share of a value's variance that no plane over log parameters and log tokens explains."""
    import numpy as np

    if len(ones) <= 3:
        return None
    rows = [(1.0, math.log(one.params), math.log(one.tokens)) for one in ones]
    y = np.array([value(one) for one in ones])
    left = y - np.array(rows) @ np.linalg.lstsq(np.array(rows), y, rcond=None)[0]
    spread = float(((y - y.mean()) ** 2).sum())
    return float((left**2).sum()) / spread if spread else None


def _logit(share: float) -> float:
    share = min(max(share, 1e-4), 1 - 1e-4)
    return math.log(share / (1 - share))


CHAIN: Mapping[str, Callable[[Seen], float]] = {
    "log_prob": lambda one: -one.nats,
    "chosen": lambda one: _logit(one.chosen or 0.0),
    "accuracy": lambda one: _logit(one.accuracy),
}


SCORES = {
    "log_prob": "log-probability of the right choice",
    "chosen": "right choice's probability among the choices",
    "accuracy": "accuracy",
}


def noise_share(ones: Sequence[Seen]) -> float:
    """The share of the variance of the accuracy's logit that comes from the choice of questions."""
    logits = [CHAIN["accuracy"](one) for one in ones]
    middle = fmean(logits)
    spread = sum((logit - middle) ** 2 for logit in logits)
    # a share's standard error, divided by p (1 - p), is that of its logit
    noise = sum(1 / (one.questions * max(one.accuracy * (1 - one.accuracy), 1e-4)) for one in ones)
    return noise / spread if spread else 1.0


def chain_of(ones: Sequence[Seen]) -> dict[str, float]:
    """The unexplained share of each score on the way from log-probability to accuracy."""
    if not ones or ones[0].chosen is None:
        return {}
    shares = {name: unexplained(ones, value) for name, value in CHAIN.items()}
    return {name: share for name, share in shares.items() if share is not None}
