"""Ids that mark what an objective does to a text: a hidden token, a part of it, a span.

The default ids are those of the bytes 245 to 255, which no UTF-8 text has: both ``bytes`` and the
byte-level BPE know them, and neither meets them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from scaling_law.data.batch import Batch
from scaling_law.spec.values import Number

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Ids = NDArray[np.int64]

FIRST, COUNT = 245, 11


@dataclass(frozen=True, kw_only=True)
class Marks:
    """``first_mark`` is the first of the ids that are marks, which no text may hold."""

    first_mark: Annotated[int, Number("id of the first mark", low=0, high=1e9)] = FIRST


def refusal(count: int, settings: Marks, vocab_size: int) -> str:
    """Say why a vocabulary has no room for ``count`` marks; "" where it has."""
    last = settings.first_mark + count - 1
    if last < vocab_size:
        return ""
    ids, free = f"the ids {settings.first_mark} to {last}", f"the first of {count} ids"
    if count == 1:
        ids, free = f"the id {last}", "an id"
    return (
        f"it marks the text with {ids}, and the vocabulary has {vocab_size} ids; expected text in"
        f" bytes or byte-level BPE, or objective.first_mark: {free} that no text holds"
    )


def text_of(batch: Batch, settings: Marks, count: int) -> Ids:
    """The ids of a batch of text and its last targets, [B, T + 1].

    Raises ``ValueError`` for a batch that is not text, or that holds one of ``count`` marks.
    """
    import numpy as np

    inputs, targets = batch.inputs, batch.targets
    if targets.shape != inputs.shape or not np.issubdtype(inputs.dtype, np.integer):
        raise ValueError("expected text, with a next token at each position")
    ids = np.concatenate([inputs, targets[:, -1:]], axis=1).astype(np.int64)
    first = settings.first_mark
    held = ids[(ids >= first) & (ids < first + count)]
    if len(held):
        raise ValueError(
            f"the text holds the id {held[0]}, which marks what the objective does; expected"
            f" objective.first_mark: the first of {count} ids that no text holds"
        )
    return ids


def predicted(whole: Ids, counted: NDArray[Any], prefix: Ids | None = None) -> Batch:
    """The batch in which each token of ``whole`` [B, T + 1] is predicted from those before it.

    ``counted`` [B, T + 1] says which tokens count; ``prefix`` is as in ``Batch``.
    """
    import numpy as np

    return Batch(
        inputs=whole[:, :-1],
        targets=whole[:, 1:],
        weights=counted[:, 1:].astype(np.float32),
        prefix=prefix,
    )


def in_spans(shape: tuple[int, ...], starts: Ids, length: int) -> NDArray[np.bool_]:
    """Whether each position is in its row's span of ``length`` tokens, [B, T]."""
    import numpy as np

    away = np.arange(shape[1])[None, :] - starts[:, None]
    inside: NDArray[np.bool_] = (away >= 0) & (away < length)
    return inside
