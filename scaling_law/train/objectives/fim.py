"""A share of the texts is cut in three and its middle moved to the end (Bavarian 2022).

With probability ``rate`` an example becomes <PRE> prefix <SUF> suffix <MID> middle <END> (order
``psm``) or <PRE> <SUF> suffix <MID> prefix middle <END> (``spm``; arXiv 2207.14255, section 3). It
is cut at the level of sequences: two places are drawn evenly from all places between tokens. The
other examples stay as they are. Four tokens of a text are left out to make room for the marks.
Every token has a loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from scaling_law.data.batch import Batch
from scaling_law.spec.values import Number, Text
from scaling_law.train.objectives import Objective, ViewOf
from scaling_law.train.objectives._marks import Marks, in_spans, predicted, refusal, text_of
from scaling_law.train.objectives.next_token import cross_entropy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MARKS = 4


@dataclass(frozen=True, kw_only=True)
class Settings(Marks):
    """Settings of the moves.

    ``rate`` is the probability that an example's middle is moved;
    ``order`` is the order of prefix, suffix and middle, ``psm`` or ``spm``.
    """

    rate: Annotated[float, Number("probability to move a middle", low=0, high=1)] = 0.5
    order: Annotated[str, Text("prefix, suffix and middle", choices=("psm", "spm"))] = "psm"


def view(batch: Batch, settings: Settings, of: ViewOf) -> Batch:
    """Move the middle of some examples."""
    import numpy as np

    whole = text_of(batch, settings, MARKS)
    rng = np.random.default_rng(of.seed)
    moves = rng.random(len(whole)) < settings.rate
    texts = whole[:, :-MARKS]
    cuts = np.sort(rng.integers(0, texts.shape[1] + 1, size=(len(whole), 2)), axis=1)
    moved = np.where(moves[:, None], _moved(texts, cuts, settings), whole)
    return predicted(moved, np.ones(moved.shape))


def infill(
    texts: NDArray[np.int64], starts: NDArray[np.int64], length: int, settings: Settings
) -> Batch:
    """The span is the middle, which comes after the text on both of its sides."""
    import numpy as np

    moved = _moved(texts, np.stack([starts, starts + length], axis=1), settings)
    first = np.full(len(texts), moved.shape[1] - 1 - length)  # the end's mark comes after it
    return predicted(moved, in_spans(moved.shape, first, length))


def _moved(
    texts: NDArray[np.int64], cuts: NDArray[np.int64], settings: Settings
) -> NDArray[np.int64]:
    """Texts [B, N], each with its middle between two cuts [B, 2] -> [B, N + 4]."""
    import numpy as np

    count, size = texts.shape
    at = np.arange(size)[None, :]
    low, high = cuts[:, :1], cuts[:, 1:]
    rest = size - high  # tokens of the suffix
    is_suffix = at >= high
    # where each token goes, and the marks PRE, SUF, MID and END
    if settings.order == "psm":
        outside = np.where(is_suffix, at + 2 - (high - low), at + 1)
        place = np.where((at >= low) & ~is_suffix, at + 3 + rest, outside)
        marks = [np.zeros_like(low), low + 1, low + 2 + rest]
    else:
        place = np.where(is_suffix, at + 2 - high, at + 3 + rest)
        marks = [np.zeros_like(low), np.ones_like(low), 2 + rest]
    end = np.full_like(low, size + MARKS - 1)
    moved = np.empty((count, size + MARKS), dtype=np.int64)
    np.put_along_axis(moved, place, texts, axis=1)
    ids = np.broadcast_to(settings.first_mark + np.arange(MARKS), (count, MARKS))
    np.put_along_axis(moved, np.concatenate([*marks, end], axis=1), ids, axis=1)
    return moved


def _refusal(settings: Settings, vocab_size: int, n_ctx: int) -> str:
    if n_ctx < 2 * MARKS:
        return f"its {MARKS} marks leave too little of a context of {n_ctx} tokens; raise n_ctx"
    return refusal(MARKS, settings, vocab_size)


OBJECTIVE = Objective(
    loss=cross_entropy,
    unit="nats per token, marks included",
    comparable="fim",
    view=view,
    infill=infill,
    targets="ids",
    reads_text=True,
    settings=Settings,
    refusal=_refusal,
)
