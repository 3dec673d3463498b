"""Drop documents that compress too well or too badly.

Text that repeats itself, lists and notices compress well; noise, keys and encoded files hardly. A
document's ratio is its bytes over those of its zlib stream; the limits suit documents of 1 KB and
more, and shorter ones are left alone.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from scaling_law.data.cleaners import Cleaner, Dropped, Judgement
from scaling_law.spec.values import Number


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the rule.

    ``min_ratio`` is the least ratio of a document that stays, and ``max_ratio`` the largest;
    ``min_bytes`` is the size in bytes from which documents are judged.
    """

    min_ratio: Annotated[float, Number("least bytes over compressed bytes", low=0, high=1e6)] = 1.8
    max_ratio: Annotated[float, Number("most bytes over compressed bytes", low=0, high=1e6)] = 8.0
    min_bytes: Annotated[int, Number("bytes from which documents are judged", low=0)] = 1000

    def __post_init__(self) -> None:
        if self.max_ratio < self.min_ratio:
            raise ValueError(f"max_ratio {self.max_ratio:g} is below min_ratio {self.min_ratio:g}")


def _judge(settings: Settings) -> Callable[[str], Judgement]:
    def judge(text: str) -> Judgement:
        raw = text.encode("utf-8", "replace")
        if len(raw) < settings.min_bytes:
            return None
        ratio = len(raw) / len(zlib.compress(raw))
        if ratio > settings.max_ratio:
            return Dropped("compresses too well")
        return Dropped("compresses too badly") if ratio < settings.min_ratio else None

    return judge


CLEANER = Cleaner(judge=_judge, settings=Settings)
