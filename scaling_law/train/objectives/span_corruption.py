"""Spans are cut out, and predicted after the rest of the text, which is read both ways.

The input is the text with a mark in place of each span; behind it stand the spans, each after its
mark (Raffel 2019, arXiv 1910.10683, section 3.1.4; in one decoder as in Tay 2022, UL2, arXiv
2205.05131). Positions of the input see one another, those behind it see what is before them. Only
the spans and their marks have a loss. Fewer tokens are read of a text than the context holds,
because the marks take room; with more than ten spans the marks repeat.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from scaling_law.data.batch import Batch
from scaling_law.spec.values import Number
from scaling_law.train.objectives import Objective, ViewOf
from scaling_law.train.objectives._marks import COUNT, Marks, predicted, refusal, text_of
from scaling_law.train.objectives.next_token import cross_entropy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SPANS = COUNT - 1  # marks of spans; the one after them ends the targets


@dataclass(frozen=True, kw_only=True)
class Settings(Marks):
    """Settings of the spans.

    ``share`` is the share of the tokens that is cut out;
    ``mean`` is the mean length of a span, in tokens.
    """

    share: Annotated[float, Number("share of tokens cut out", above=0, high=0.9)] = 0.15
    mean: Annotated[float, Number("mean length of a span", low=1, high=1e4)] = 3.0


def view(batch: Batch, settings: Settings, of: ViewOf) -> Batch:
    """Cut as many spans out of each example, at places drawn anew."""
    import numpy as np

    whole = text_of(batch, settings, COUNT)
    size, cut, spans = _sizes(settings, whole.shape[1])
    rng = np.random.default_rng(of.seed)
    # pieces of text and spans in turn; the first piece and the last may be empty
    lengths = np.empty((len(whole), 2 * spans + 1), dtype=np.int64)
    lengths[:, 0::2] = _pieces(rng, len(whole), size - cut + 2, spans + 1)
    lengths[:, [0, -1]] -= 1
    lengths[:, 1::2] = _pieces(rng, len(whole), cut, spans)
    return _corrupted(whole[:, :size], lengths, settings.first_mark)


def infill(
    texts: NDArray[np.int64], starts: NDArray[np.int64], length: int, settings: Settings
) -> Batch:
    """The span is cut out, alone."""
    import numpy as np

    rest = texts.shape[1] - starts - length
    lengths = np.stack([starts, np.full_like(starts, length), rest], axis=1)
    batch = _corrupted(texts, lengths, settings.first_mark)
    assert batch.weights is not None
    first = texts.shape[1] - length + 2  # the token after the span's mark, among the targets
    batch.weights[:, : first - 1] = 0
    batch.weights[:, first - 1 + length :] = 0
    return batch


def _sizes(settings: Settings, room: int) -> tuple[int, int, int]:
    """The tokens of a text that fit with their marks, those cut out of them, and the spans."""
    for size in range(room, 0, -1):
        cut = min(max(1, round(settings.share * size)), size - 1)
        spans = max(1, min(round(cut / settings.mean), cut, size - cut))
        if size + 2 * spans + 1 <= room:
            return size, cut, spans
    raise ValueError(f"a context of {room - 1} tokens holds no text with a span cut out")


def _pieces(rng: np.random.Generator, rows: int, whole: int, count: int) -> NDArray[np.int64]:
    """Cut ``whole`` tokens into ``count`` pieces of at least one, evenly drawn: [rows, count]."""
    import numpy as np

    order = rng.random((rows, whole - 1)).argsort(axis=1)[:, : count - 1]
    cuts = np.sort(order, axis=1) + 1
    zeros = np.zeros((rows, 1), dtype=np.int64)
    ends = np.concatenate([zeros, cuts, zeros + whole], axis=1)
    lengths: NDArray[np.int64] = ends[:, 1:] - ends[:, :-1]
    return lengths


def _corrupted(texts: NDArray[np.int64], lengths: NDArray[np.int64], first_mark: int) -> Batch:
    """Cut spans out of texts [B, N]; ``lengths`` [B, 2 S + 1] are of pieces and spans in turn."""
    import numpy as np

    rows, prefixes = [], []
    for text, row in zip(texts, lengths, strict=True):
        parts = np.split(text, row.cumsum()[:-1])
        pieces, spans = parts[0::2], parts[1::2]
        marks = [np.array([first_mark + at % _SPANS]) for at in range(len(spans))]
        read: list[NDArray[np.int64]] = []
        said: list[NDArray[np.int64]] = []
        for at, piece in enumerate(pieces):
            read += [piece, *marks[at : at + 1]]
        for mark, span in zip(marks, spans, strict=True):
            said += [mark, span]
        rows.append(np.concatenate([*read, *said, [first_mark + _SPANS]]))
        prefixes.append(sum(map(len, read)))
    prefix = np.array(prefixes, dtype=np.int64)
    moved = np.stack(rows)
    return predicted(moved, np.arange(moved.shape[1])[None, :] >= prefix[:, None], prefix)


def _refusal(settings: Settings, vocab_size: int, n_ctx: int) -> str:
    if n_ctx < COUNT:
        return f"a context of {n_ctx} tokens has little room for spans; raise n_ctx to {COUNT}"
    return refusal(COUNT, settings, vocab_size)


OBJECTIVE = Objective(
    loss=cross_entropy,
    unit="nats per token of a span, marks included",
    comparable="span_corruption",
    view=view,
    infill=infill,
    attention="prefix",
    targets="ids",
    reads_text=True,
    settings=Settings,
    refusal=_refusal,
)
