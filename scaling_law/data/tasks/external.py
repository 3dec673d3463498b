"""Data that only a trainer of the user's own reads: their name, vocabulary and context.

Nothing is prepared and nothing is drawn; a plan needs the sizes, and runs on texts of two names are
never fitted as one law.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from scaling_law.data.batch import Batch
from scaling_law.data.tasks import Task
from scaling_law.spec.values import Number, Text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of data that are read elsewhere.

    ``text`` names the data and how they are tokenised;
    ``vocab_size`` is the number of ids;
    ``n_ctx`` is the tokens of a sequence.
    """

    text: Annotated[str, Text("name of the data, such as fineweb-gpt2")] = "external"
    vocab_size: Annotated[int, Number("ids of the tokenizer", low=2, high=10**7)] = 50257
    n_ctx: Annotated[int, Number("tokens of a sequence", low=1, high=10**7)] = 1024


def examples(settings: Settings, split: str, indices: NDArray[np.int64]) -> Batch:
    """One id, by the name of the text: it stands for the data in their fingerprint."""
    import numpy as np

    digest = hashlib.sha256(settings.text.encode()).digest()
    one = int.from_bytes(digest[:8], "big") % settings.vocab_size
    ids = np.full((len(indices), settings.n_ctx), one, dtype=np.int64)
    return Batch(inputs=ids, targets=ids)


TASK = Task(
    vocab_size=lambda settings: settings.vocab_size,
    n_ctx=lambda settings: settings.n_ctx,
    splits=lambda settings: {"train": None, "val": 1024},
    examples=examples,
    settings=Settings,
    external=True,
    licence="that of the data which the trainer reads",
)
