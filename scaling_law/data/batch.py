"""A batch of examples of any kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Batch:
    """B examples.

    ``inputs`` is [B, T] token ids, or [B, ...] numbers where the examples are not text;
    ``targets`` is [B, T'] ids or numbers; T' equals T where every position predicts the next;
    ``weights`` is [B, T'] and says how much each target counts in the loss, which is the weighted
    mean; None counts all alike;
    ``prefix`` is [B] and says how many of the first positions of each example see one another,
    where the others see only what is before them; None where attention has no prefix;
    ``components`` is [B] and says which component of the text each example is from, by its place in
    ``Dataset.component_names``; None where that is not known.
    """

    inputs: NDArray[Any]
    targets: NDArray[Any]
    weights: NDArray[np.float32] | None = None
    prefix: NDArray[np.int64] | None = None
    components: NDArray[np.int64] | None = None
