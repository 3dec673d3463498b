from __future__ import annotations

import json
import random
import re

import numpy as np
import pytest

from scaling_law.data import tokenizer as module
from scaling_law.data.tokenizer import BpeTokenizer, ByteTokenizer, Tokenizer, tokenizer_from_json
from scaling_law.errors import ConfigError

HOSTILE = [
    "",
    "\x00\x01\x7f",
    "e\u0301 \u200d\u202e\ufeff\uffff",
    "\U0001f469\u200d\U0001f680 \U0010ffff",
    "<|endoftext|><|document|>",
    " " * 5_000 + "\r\n\t\x0b\u3000" * 50,
    "\u0e33\u0f37" * 300,
    "a" * 10_000,
    "12345 67.89e-10",
]


@pytest.fixture(scope="module")
def bpe() -> BpeTokenizer:
    rng = random.Random(1)
    words = ["".join(rng.choices("abcdefgh", k=rng.randint(2, 7))) for _ in range(300)]
    texts = [" ".join(rng.choices(words, k=200)) for _ in range(50)]
    return BpeTokenizer.train(texts, 512)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_round_trips(bpe: BpeTokenizer, text: str) -> None:
    for tokenizer in (ByteTokenizer(), bpe):
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert tokenizer.separator not in ids
        assert ids.dtype == np.uint32
        assert tokenizer.byte_lengths[ids].sum() == len(text.encode())


def test_every_character_round_trips(bpe: BpeTokenizer) -> None:
    text = "".join(chr(c) for c in range(0, 0x11_0000, 7) if not 0xD800 <= c < 0xE000)
    assert bpe.decode(bpe.encode(text)) == text


def test_lone_surrogates_become_question_marks(bpe: BpeTokenizer) -> None:
    for tokenizer in (ByteTokenizer(), bpe):
        assert tokenizer.decode(tokenizer.encode("a\ud800b")) == "a?b"


def test_a_text_longer_than_the_regex_supports_is_encoded(bpe: BpeTokenizer) -> None:
    text = " " * 1_200_000
    assert bpe.decode(bpe.encode(text)) == text


def test_bytes_are_their_own_ids() -> None:
    tokenizer = ByteTokenizer()
    assert tokenizer.vocab_size == 257
    assert tokenizer.separator == 256
    assert list(tokenizer.encode("Aé")) == [65, 0xC3, 0xA9]


def test_bpe_compresses_and_stays_in_its_vocabulary(bpe: BpeTokenizer) -> None:
    text = " ".join("abcdefgh" for _ in range(100))
    ids = bpe.encode(text)
    assert bpe.vocab_size == 512
    assert ids.max() < bpe.separator == 511
    assert len(ids) < len(text) / 1.5


def test_bpe_training_is_deterministic() -> None:
    rng = random.Random(3)
    texts = ["".join(rng.choices("ab cd", k=300)) for _ in range(40)]
    first, second = (BpeTokenizer.train(iter(texts), 300) for _ in range(2))
    assert first.pieces == second.pieces


def test_too_little_text_leaves_ids_unused() -> None:
    tokenizer = BpeTokenizer.train(["abab abab"], 400)
    assert tokenizer.vocab_size == 400
    assert len(tokenizer.pieces) < 300
    assert len(tokenizer.byte_lengths) == 400
    assert tokenizer.decode(tokenizer.encode("abab")) == "abab"


def test_threads_do_not_change_the_ids(bpe: BpeTokenizer) -> None:
    texts = [f"text {n} " * n for n in range(60)]
    one, many = bpe.encode_batch(texts, 1), bpe.encode_batch(texts, 4)
    assert all(np.array_equal(a, b) for a, b in zip(one, many, strict=True))


def test_decode_shows_the_separator_when_asked() -> None:
    tokenizer = ByteTokenizer()
    assert tokenizer.decode([256, 72, 105]) == "Hi"
    assert tokenizer.decode([256, 72, 105], separator="|") == "|Hi"


def test_json_round_trip(bpe: BpeTokenizer) -> None:
    tokenizers: list[Tokenizer] = [ByteTokenizer(), bpe]
    for tokenizer in tokenizers:
        again = tokenizer_from_json(json.loads(json.dumps(tokenizer.to_json())))
        assert again.vocab_size == tokenizer.vocab_size
        assert np.array_equal(again.encode("abc déf"), tokenizer.encode("abc déf"))


def test_damaged_json_is_refused(bpe: BpeTokenizer) -> None:
    good = bpe.to_json()
    for damage in (
        {"kind": "words"},
        {"pieces_hex": good["pieces_hex"][:200]},
        {"pieces_hex": [*good["pieces_hex"][:-1], good["pieces_hex"][0]]},
        {"pieces_hex": ["zz"]},
        {"vocab_size": 300},
    ):
        with pytest.raises(ValueError):
            tokenizer_from_json({**good, **damage})


def test_available_threads_is_positive() -> None:
    assert module.available_threads() >= 1


@pytest.mark.parametrize("blank", [" ", "\u2028\t"])
def test_a_million_blanks_in_a_row_do_not_stop_tokenizer_training(blank: str) -> None:
    texts = ["one table", blank * 550_000 + "end", "word" + blank * 1_000_000]
    tokenizer = BpeTokenizer.train(texts, 300)
    assert tokenizer.decode(tokenizer.encode(texts[1])) == texts[1]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("words of a book, " * 40_000, 1),
        ("x" * 2_000_000, 1),
        ("a" + " " * 40_000 + "b", 1),
        ("", 1),
        (" " * 400_000 + "end", 8),
    ],
)
def test_only_long_runs_of_blanks_are_cut(text: str, pieces: int) -> None:
    cut = list(module.cut_runs(text))
    assert "".join(cut) == text and len(cut) == pieces
    assert max(map(len, re.findall(r"\s+", "\0".join(cut))), default=0) <= 100_000


def test_a_panic_of_a_library_is_one_line(
    bpe: BpeTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PanicException(BaseException):
        """An error like that of Rust's bindings."""

    class Panics:
        def encode_to_numpy(self, *_: object, **__: object) -> None:
            raise PanicException("called `Result::unwrap()` on an `Err` value")

    monkeypatch.setattr(bpe, "_encoding", Panics())
    with pytest.raises(ConfigError, match=r"encoding a text failed inside its library .*unwrap"):
        bpe.encode("text")
