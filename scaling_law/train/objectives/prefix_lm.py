"""The rest of a text is predicted from left to right after a prefix that is read both ways.

A prefix's positions see one another (Liu 2018, arXiv 1801.10198; Raffel 2019, arXiv 1910.10683,
section 3.2.1). Its length is drawn for each example, from 1 token to all but the last; only tokens
after it have a loss. Both sides of a span are not read: it is filled in from what is before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaling_law.data.batch import Batch
from scaling_law.parts import NoSettings
from scaling_law.train.objectives import Objective, ViewOf
from scaling_law.train.objectives._marks import Marks, in_spans, predicted, text_of
from scaling_law.train.objectives.next_token import cross_entropy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def view(batch: Batch, settings: NoSettings, of: ViewOf) -> Batch:
    """Draw the length of each example's prefix."""
    import numpy as np

    ids = text_of(batch, Marks(), 0)
    prefix = np.random.default_rng(of.seed).integers(1, ids.shape[1], size=len(ids))
    return predicted(ids, np.arange(ids.shape[1])[None, :] >= prefix[:, None], prefix)


def infill(
    texts: NDArray[np.int64], starts: NDArray[np.int64], length: int, settings: NoSettings
) -> Batch:
    """The text before a span is its prefix."""
    return predicted(texts, in_spans(texts.shape, starts, length), starts)


OBJECTIVE = Objective(
    loss=cross_entropy,
    unit="nats per token after the prefix",
    comparable="prefix_lm",
    view=view,
    infill=infill,
    attention="prefix",
    targets="ids",
    reads_text=True,
)
