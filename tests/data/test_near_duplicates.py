from __future__ import annotations

import random

import pytest

from scaling_law.data import near_duplicates as module
from scaling_law.data.near_duplicates import NearDuplicates, near_duplicates


def _text(seed: int, lines: int = 20) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choices("abcdefghij ", k=50)) for _ in range(lines)]


def _compared(train: list[str], val: list[str]) -> NearDuplicates:
    """Compare two splits that lie in one spool, validation documents between the others."""
    spool = b""
    places: dict[str, list[tuple[int, int]]] = {"train": [], "val": []}
    for number in range(max(len(train), len(val))):
        for split, texts in (("train", train), ("val", val)):
            if number < len(texts):
                raw = texts[number].encode()
                places[split].append((len(spool), len(raw)))
                spool += raw
    return near_duplicates(bytes(spool), places["train"], places["val"])


def test_a_document_with_one_changed_line_is_counted() -> None:
    train = [_text(n) for n in range(40)]
    changed = [[*lines[:9], _text(900 + n, 1)[0], *lines[10:]] for n, lines in enumerate(train[:5])]
    longer = [[*_text(700, 3), *train[6], *_text(701, 3)]]
    other = [_text(100 + n) for n in range(10)]
    val = ["\n".join(lines) for lines in [*changed, *longer, *other]]
    result = _compared(["\n".join(lines) for lines in train], val)
    assert (result.count, result.compared) == (6, 16)


def test_a_shared_beginning_is_not_a_near_duplicate() -> None:
    head = _text(1, 4)
    train = ["\n".join([*head, *_text(10 + n)]) for n in range(20)]
    assert _compared(train, ["\n".join([*head, *_text(50 + n)]) for n in range(5)]).count == 0


def test_short_documents_are_not_compared() -> None:
    assert _compared(["x" * 500], ["x" * 63]) == NearDuplicates(
        count=0, compared=0, searched_bytes=0
    )


def test_near_duplicates_across_blocks_are_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["\n".join(_text(n)) for n in range(30)]
    monkeypatch.setattr(module, "_BLOCK_BYTES", 101)
    assert _compared(texts, texts[:7]).count == 7


def test_the_search_for_near_duplicates_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["\n".join(_text(n)) for n in range(30)]
    monkeypatch.setattr(module, "_BLOCK_BYTES", 1000)
    monkeypatch.setattr(module, "MAX_BYTES", 5000)
    result = _compared(texts, texts)
    assert 5000 <= result.searched_bytes < 7000 and 3 <= result.count <= 7
