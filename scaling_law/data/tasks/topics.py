"""Texts of a few topics, which have the same letters and differ in what follows what.

In a topic every letter has a usual successor and a rarer one. All letters are equally frequent in
every topic, so that no single letter tells the topic: two neighbours do. From the left alone a
letter is predicted with probability ``usual`` at most; from both sides nearly always. ``spare`` ids
beyond the letters never occur in a text: objectives that mark it use them. ``val`` is drawn as
training is; ``val:topic-1`` and so on are the texts of one topic each.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from scaling_law.data.batch import Batch
from scaling_law.data.tasks import MAX_EXAMPLES, Task
from scaling_law.spec.values import Number

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_TOPIC = "val:topic-"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the texts.

    ``topics`` is how many topics there are;
    ``letters`` is how many letters they share;
    ``length`` is the letters of a text that are read; one more is predicted;
    ``usual`` is the probability of a letter's usual successor; the other one has the rest;
    ``spare`` is the number of ids that no text holds, which come after the letters;
    ``train_examples`` is the number of training examples; None makes every one a new draw;
    ``val_examples`` is the number of examples of each validation split;
    ``seed`` decides topics and texts.
    """

    topics: Annotated[int, Number("topics", low=1, high=1000)] = 4
    letters: Annotated[int, Number("different letters", low=3, high=10_000)] = 16
    length: Annotated[int, Number("letters of a text", low=2, high=10_000)] = 32
    usual: Annotated[float, Number("probability of the usual successor", low=0.5, high=1)] = 0.6
    spare: Annotated[int, Number("ids that no text holds", low=0, high=1000)] = 11
    train_examples: Annotated[
        int | None, Number("null for unlimited new draws", "count", high=MAX_EXAMPLES)
    ] = None
    val_examples: Annotated[int, Number("of each validation split", "count", high=10**9)] = 1024
    seed: Annotated[int, Number("of topics and texts", low=0, high=10**9)] = 0


def splits(settings: Settings) -> dict[str, int | None]:
    """``val`` has all topics."""
    names = ("val", *(f"{_TOPIC}{number}" for number in range(1, settings.topics + 1)))
    return {"train": settings.train_examples, **dict.fromkeys(names, settings.val_examples)}


@functools.lru_cache(maxsize=8)
def successors(settings: Settings) -> NDArray[np.int64]:
    """The usual and the rarer successor of each letter by topic, [topics, 2, letters]."""
    import numpy as np

    from scaling_law.data.shuffle import permutation
    from scaling_law.spec.run import derive_seed

    def order(topic: int, which: str) -> NDArray[np.int64]:
        seed = derive_seed(settings.seed, f"topics:{topic}:{which}")
        return permutation(seed, settings.letters).astype(np.int64)

    rows = []
    for topic in range(settings.topics):
        usual = order(topic, "usual")
        # the next letter on a circle is another one than the usual successor
        circle = order(topic, "circle")
        after = np.empty_like(circle)
        after[circle] = np.roll(circle, -1)
        rows.append(np.stack([usual, after[usual]]))
    return np.stack(rows)


def examples(settings: Settings, split: str, indices: NDArray[np.int64]) -> Batch:
    """Inputs and targets, both [B, length]: each letter's target is the next one."""
    import numpy as np

    from scaling_law.data.shuffle import words_at
    from scaling_law.spec.run import derive_seed

    def words(purpose: str) -> NDArray[np.uint64]:
        return words_at(derive_seed(settings.seed, f"topics:{split}:{purpose}"), indices)

    def below(purpose: str, bound: int) -> NDArray[np.int64]:
        return (words(purpose) % np.uint64(bound)).astype(np.int64)

    topic = below("topic", settings.topics)
    if split.startswith(_TOPIC):
        topic = np.full_like(topic, int(split.removeprefix(_TOPIC)) - 1)
    table, parts = successors(settings), 2**32
    text = np.empty((len(indices), settings.length + 1), dtype=np.int64)
    text[:, 0] = below("first", settings.letters)
    for place in range(1, settings.length + 1):
        rare = below(f"rare:{place}", parts) >= settings.usual * parts
        text[:, place] = table[topic, rare.astype(np.int64), text[:, place - 1]]
    return Batch(inputs=text[:, :-1], targets=text[:, 1:])


TASK = Task(
    vocab_size=lambda settings: settings.letters + settings.spare,
    n_ctx=lambda settings: settings.length,
    splits=splits,
    examples=examples,
    settings=Settings,
    n_targets=lambda settings: settings.length,
)
