"""Each position predicts the next token, and training reads some tokens wrong (Xie 2017).

Of the tokens that a model reads in training, ``mask`` are hidden by a mark and ``replace`` are
replaced by tokens drawn from the same batch (blank and unigram noise, arXiv 1703.02573). What is
predicted stays the text, and so does all that a measurement reads: losses compare with those of
``next_token``. Each step draws anew, so that text that is read again is not read the same way.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated

from scaling_law.data.batch import Batch
from scaling_law.spec.values import Number
from scaling_law.train.objectives import ViewOf, next_token
from scaling_law.train.objectives._marks import Marks, refusal, text_of


@dataclass(frozen=True, kw_only=True)
class Settings(Marks):
    """Settings of the noise.

    ``mask`` is the share of the tokens that a mark hides;
    ``replace`` is the share that other tokens of the batch replace.
    """

    mask: Annotated[float, Number("share of tokens hidden", low=0, high=1)] = 0.0
    replace: Annotated[float, Number("share of tokens replaced", low=0, high=1)] = 0.0

    def __post_init__(self) -> None:
        if self.mask + self.replace > 1:
            raise ValueError(f"mask {self.mask} and replace {self.replace} sum to more than 1")


def augment(batch: Batch, settings: Settings, of: ViewOf) -> Batch:
    """Hide and replace some of the tokens that are read."""
    import numpy as np

    ids = text_of(batch, settings, 1 if settings.mask else 0)[:, :-1]
    rng = np.random.default_rng(of.seed)
    drawn, others = rng.random(ids.shape), rng.choice(ids.reshape(-1), size=ids.shape)
    masked, replaced = drawn < settings.mask, drawn >= 1 - settings.replace
    inputs = np.where(masked, settings.first_mark, np.where(replaced, others, ids))
    return dataclasses.replace(batch, inputs=inputs)


def _refusal(settings: Settings, vocab_size: int, n_ctx: int) -> str:
    if not settings.mask and not settings.replace:
        return (
            "mask and replace are 0, so that nothing is changed; expected a share above 0, or"
            " objective: next_token, which reads the text as it is"
        )
    return refusal(1, settings, vocab_size) if settings.mask else ""


OBJECTIVE = dataclasses.replace(
    next_token.OBJECTIVE,
    augment=augment,
    reads_text=True,
    settings=Settings,
    refusal=_refusal,
)
