"""Some tokens are hidden and predicted from all others, on both sides (Devlin 2018, BERT).

``share`` of the tokens of each example are hidden, drawn anew each time, all by the same mark. The
loss depends on ``share``: losses of two shares do not compare. A span is filled in from left to
right, each token from what stands on both sides of the tokens still hidden.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from scaling_law.data.batch import Batch
from scaling_law.spec.values import Number
from scaling_law.train.objectives import Objective, ViewOf
from scaling_law.train.objectives._marks import Marks, in_spans, refusal, text_of
from scaling_law.train.objectives.next_token import cross_entropy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Settings(Marks):
    """``share`` is the share of the tokens that is hidden: at least one, at most all."""

    share: Annotated[float, Number("share of tokens hidden", above=0, high=1)] = 0.15


def view(batch: Batch, settings: Settings, of: ViewOf) -> Batch:
    """Hide the same number of tokens in each example."""
    import numpy as np

    ids = text_of(batch, settings, 1)[:, :-1]
    count = max(1, round(settings.share * ids.shape[1]))
    places = np.random.default_rng(of.seed).random(ids.shape).argsort(axis=1)
    return _hidden(ids, places < count, places < count, settings)


def infill(
    texts: NDArray[np.int64], starts: NDArray[np.int64], length: int, settings: Settings
) -> Batch:
    """An example for each token of a span, in which it and those after it are hidden."""
    import numpy as np

    step = np.tile(np.arange(length), len(texts))
    ids, first = np.repeat(texts, length, axis=0), np.repeat(starts, length)
    own = in_spans(ids.shape, first + step, 1)
    filled = np.arange(ids.shape[1])[None, :] < (first + step)[:, None]
    return _hidden(ids, in_spans(ids.shape, first, length) & ~filled, own, settings)


def _hidden(
    ids: NDArray[np.int64],
    hidden: NDArray[np.bool_],
    counted: NDArray[np.bool_],
    settings: Settings,
) -> Batch:
    import numpy as np

    return Batch(
        inputs=np.where(hidden, settings.first_mark, ids),
        targets=ids,
        weights=counted.astype(np.float32),
    )


OBJECTIVE = Objective(
    loss=cross_entropy,
    unit="nats per hidden token",
    comparable="masked",
    view=view,
    infill=infill,
    attention="full",
    targets="ids",
    reads_text=True,
    settings=Settings,
    refusal=lambda settings, vocab_size, n_ctx: refusal(1, settings, vocab_size),
)
