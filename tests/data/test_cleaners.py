"""What each cleaning rule drops or changes, on texts of which the answer is known."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from scaling_law import parts
from scaling_law.data.cleaners import Changed, Documents, Dropped, Judgement
from scaling_law.data.words import BETWEEN_SPACES, LETTERS_AND_DIGITS, grams, words_of
from scaling_law.parts import Reference

PROSE = (
    "The committee met on Tuesday to discuss the new bridge over the river. Three engineers gave"
    " their views, and each of them had a different plan. In the end they agreed that a stone arch"
    " would be the best answer, although it would cost more than steel. Work is to begin in the"
    " spring, when the water is low, and should be done before the autumn rains return."
)


def rule(name: str, **settings: Any) -> tuple[Any, Any]:
    part = parts.load("cleaner", Reference(name=name))
    if lacking := part.missing():
        pytest.skip(lacking)
    return part, part.settings(**settings)


def judged(name: str, text: str, **settings: Any) -> Judgement:
    part, made = rule(name, **settings)
    said: Judgement = part.judge(made)(text)
    return said


def dropped(name: str, texts: Sequence[str], val: Sequence[int] = (), **settings: Any) -> list[int]:
    part, made = rule(name, **settings)
    raws = [text.encode() for text in texts]
    documents = Documents(
        count=len(texts), raw=raws.__getitem__, in_val=lambda n: n in val, place=str
    )
    return [number for number, _ in part.compare(made, documents)]


def why(said: Judgement) -> str:
    assert isinstance(said, Dropped), said
    return said.why


@pytest.mark.parametrize(
    "name",
    [
        "length",
        "symbols",
        "repetition",
        "c4",
        "fineweb",
        "language",
        "personal_data",
        "compression",
    ],
)
def test_prose_stays_as_it_is(name: str) -> None:
    assert judged(name, PROSE) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("two words", "fewer than 50 words"),
        ("a b " * 100, "words of fewer than 3 characters on average"),
        ("w" * 11 + " " + "internationalisation " * 60, "words of more than 10 characters"),
        ("word " * 100_001, "more than 100000 words"),
    ],
)
def test_length(text: str, reason: str) -> None:
    assert why(judged("length", text)).startswith(reason)


def test_the_limits_of_length_are_allowed() -> None:
    assert judged("length", "four " * 50) is None
    assert why(judged("length", "four " * 49)) == "fewer than 50 words"
    assert judged("length", "four " * 10, min_words=10) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("# to be\n" * 20, "too many hashes or ellipses"),
        ("- the item to have\n" * 20, "too many lines with a bullet"),
        (
            "it has to be the end of that line with many words so...\n" * 3,
            "too many lines that end",
        ),
        ("the 12 34 to 56 78", "too few words with a letter"),
        ("colourless green ideas sleep furiously", "too few common words"),
    ],
)
def test_symbols(text: str, reason: str) -> None:
    assert why(judged("symbols", text)).startswith(reason)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("one line\n" * 3 + "another line", "too many repeated lines"),
        ("a paragraph\n\n" * 3 + "and another", "too many repeated paragraphs"),
        (f"short\nlines\nof\ntext\n{PROSE}\n{PROSE}", "too much of the text in repeated lines"),
        (" ".join(f"buy now {n}" for n in range(60)), "too much of the text in one phrase of 2"),
        (f"{PROSE[:90]} {PROSE}", "too much of the text in repeated phrases of 5 words"),
    ],
)
def test_repetition(text: str, reason: str) -> None:
    settings = {"max_line_bytes": 1.0} if "paragraphs" in reason else {}
    assert why(judged("repetition", text, **settings)).startswith(reason)


def plain_repeats(text: str, n: int) -> int:
    """The bytes of words in phrases of ``n`` words that occur before, the plain way."""
    words = text.split()
    seen, covered = set(), set()
    for start in range(len(words) - n + 1):
        phrase = tuple(words[start : start + n])
        covered |= set(range(start, start + n)) if phrase in seen else set()
        seen.add(phrase)
    return sum(len(words[place]) for place in covered)


def test_repeated_phrases_are_counted_as_the_plain_way_counts_them() -> None:
    rng = random.Random(3)
    for _ in range(40):
        text = " ".join(rng.choices("abcdefgh", k=rng.randint(5, 120)))
        text += " " + " ".join(f"w{n}" for n in range(rng.randint(40, 400)))
        part, made = rule("repetition")
        said = part.judge(made)(text)
        limits = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}
        wrong = [n for n, most in limits.items() if plain_repeats(text, n) > most * len(text)]
        if said is None:
            assert not wrong
        elif "repeated phrases" in why(said):
            assert str(wrong[0]) in why(said)


def test_c4_takes_out_lines_and_says_which() -> None:
    page = (
        f"Home | About\n{PROSE}\nPlease enable JavaScript to read this site now.\nToo short.\nMenu"
    )
    said = judged("c4", page)
    assert said == Changed(
        PROSE,
        {
            "line without a mark at its end": 2,
            "line about JavaScript, a policy or cookies": 1,
            "line of fewer than 5 words": 1,
        },
    )
    assert why(judged("c4", PROSE + " lorem ipsum dolor.")) == "lorem ipsum"
    assert why(judged("c4", PROSE + " f() { }.")) == "a curly bracket"
    assert judged("c4", PROSE + " f() { }.", brackets=False) is None
    assert why(judged("c4", "One sentence of some words here.")) == "fewer than 3 sentences left"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("\n".join(f"an entry of a menu number {n}" for n in range(20)), "too few lines that end"),
        ("It is said again here.\n" * 2 + "Now it is the end.", "too much of the text in repeated"),
        ("\n".join(f"Line {n} is short." for n in range(20)), "too many lines of fewer than 30"),
    ],
)
def test_fineweb(text: str, reason: str) -> None:
    assert why(judged("fineweb", text)).startswith(reason)


def test_language() -> None:
    french = "Le comité s'est réuni mardi pour parler du nouveau pont sur la rivière, et chacun"
    assert why(judged("language", french)) == "in another language (fr)"
    assert judged("language", french, languages=("en", "fr")) is None
    assert isinstance(judged("language", "0x3f 77 | 12", min_probability=1.0), Dropped)


@pytest.mark.parametrize(
    ("text", "masked", "what"),
    [
        ("write to jo.doe+x@mail.corp.co.uk.", "write to email@example.com.", "e-mail address"),
        ("host 8.8.4.4, port 80", "host 192.0.2.1, port 80", "IP address"),
        ("call +49 30 1234 5678 now", "call 555-0100 now", "phone number"),
        ("call (212) 555-7788 or not", "call 555-0100 or not", "phone number"),
        ("call +442071234567 now", "call 555-0100 now", "phone number"),
        ("call +49 (0)30 1234567 now", "call 555-0100 now", "phone number"),
        ("call 212-555-7788.", "call 555-0100.", "phone number"),
    ],
)
def test_personal_data_is_masked_once(text: str, masked: str, what: str) -> None:
    assert judged("personal_data", text) == Changed(masked, {what: 1})
    assert judged("personal_data", masked) is None


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1 and 192.168.1.1 are not public",
        "version 1.2.3.4.5, v1.7.1.3 and 3.14159",
        "1000 2000 3000 and 2026-11-30 12:00",
        "+10 20 30, +1234567, +1234567890123456 and x +12.5",
        "a @decorator and user@localhost",
    ],
)
def test_what_only_looks_like_personal_data_stays(text: str) -> None:
    assert judged("personal_data", text) is None


def test_words_and_their_runs_have_the_hashes_of_equal_words() -> None:
    words = words_of("Café, no: NO café! \n no".encode(), LETTERS_AND_DIGITS)
    assert words.sizes.tolist() == [5, 2, 2, 5, 2]
    assert words.hashes[0] == words.hashes[3]
    assert len({*words.hashes[[1, 2, 4]].tolist()}) == 1
    runs = grams(words_of(b"a b c a b d", BETWEEN_SPACES), 2)
    assert runs[0] == runs[3] and len(np.unique(runs)) == 4
    assert not len(words_of(b" \n", BETWEEN_SPACES).hashes)


def test_a_long_text_has_the_words_of_its_pieces() -> None:
    raw = b"abcdefghi " * 250_000
    assert len(np.unique(words_of(raw, BETWEEN_SPACES).hashes)) == 1


def texts_of(count: int, words: int = 200) -> list[list[str]]:
    rng = random.Random(5)
    return [[f"w{rng.randrange(10_000)}" for _ in range(words)] for _ in range(count)]


@pytest.mark.parametrize(
    "name", ["length", "symbols", "repetition", "c4", "fineweb", "personal_data"]
)
@pytest.mark.parametrize("line", ["-", "1", "!", "1.", "a@", "+1 "])
def test_a_huge_line_without_words_is_judged_in_linear_time(name: str, line: str) -> None:
    # in quadratic time it takes hours
    text = f"{line * (500_000 // len(line))}x is not the end of it."
    said = judged(name, text)
    assert said is None or isinstance(said, Dropped | Changed)


def test_near_duplicates_leave_the_first_of_alike_documents() -> None:
    each = texts_of(30)
    copies = [[*words[:60], "new", *words[61:]] for words in each[:10]]  # 195 of 201 phrases
    halves = [[*words[:100], *other[100:]] for words, other in zip(each, each[::-1], strict=True)]
    texts = [" ".join(words) for words in (*each, *copies, *halves)]
    assert dropped("near_duplicates", texts) == list(range(30, 40))
    assert dropped("near_duplicates", ["One, two!", "one two", "two one", ""]) == [1]
    assert dropped("near_duplicates", ["!", "?", "one", "--"]) == [], "there is nothing to compare"


def test_contamination_names_what_training_text_shares() -> None:
    each = texts_of(20)
    quoting = [*each[5][:50], *each[0][20:33], *each[6][:50]]
    close = [*each[7][:50], *each[1][20:32], *each[8][:50]]  # twelve words in a row
    texts = [" ".join(words) for words in (*each, quoting, close)]
    texts[20] = texts[20].upper().replace(" ", ", ")
    assert dropped("contamination", texts, val=[0, 1]) == [20]
    assert dropped("contamination", texts, val=[0, 1], words=12) == [20, 21]


def test_a_run_of_words_that_many_documents_share_is_no_contamination() -> None:
    licence = [f"l{n}" for n in range(30)]
    texts = [" ".join([*licence, *words]) for words in texts_of(13)]
    assert dropped("contamination", texts, val=[0]) == []
    assert dropped("contamination", texts, val=[0], common=12) == list(range(1, 13))


def test_contamination_reads_the_files_of_a_benchmark(tmp_path) -> None:
    each = texts_of(4)
    file = tmp_path / "questions.jsonl"
    file.write_text('{"q": "' + " ".join(each[2][10:40]) + '"}\n{"q": "too short"}\n')
    part, made = rule("contamination", validation=False, files=("q",), text_keys=("q",))
    notes: list[str] = []
    raws = [" ".join(words).encode() for words in each]
    documents = Documents(
        count=4, raw=raws.__getitem__, in_val=lambda n: False, place=lambda name: str(file),
        note=notes.append,
    )  # fmt: skip
    assert list(part.compare(made, documents)) == [(2, "shares 13 words in a row with q")]
    assert notes == [
        "contamination: 1 of 2 texts of q have fewer than 13 words, so that nothing can be compared"
        " with them"
    ]


SPOILED = " ".join(f"word{n} of line\n" if n % 7 == 0 else f"word{n}" for n in range(200)).strip()


@pytest.mark.parametrize("kind", ["swapped", "shuffled", "repeated", "boilerplate"])
def test_spoiled_text_is_as_long_and_the_same_every_time(kind: str) -> None:
    said = judged("spoil", SPOILED, share=1.0, kinds=(kind,))
    assert isinstance(said, Changed) and said.counts == {kind: 1}
    assert len(said.text) == len(SPOILED) and said.text != SPOILED
    assert said == judged("spoil", SPOILED, share=1.0, kinds=(kind,))
    same = sorted(said.text) == sorted(SPOILED)
    assert same == (kind in ("swapped", "shuffled"))
    assert said.text.split() != SPOILED.split()


def test_a_larger_share_spoils_what_a_smaller_one_does_in_the_same_way() -> None:
    texts = [f"{n} {SPOILED}" for n in range(200)]
    few, many = ([judged("spoil", text, share=share) for text in texts] for share in (0.2, 0.6))
    spoiled = [one for one in few if one is not None]
    assert 20 < len(spoiled) < 60 < sum(one is not None for one in many) < 160
    assert all(b == a for a, b in zip(few, many, strict=True) if a is not None)
    assert {kind for one in many if isinstance(one, Changed) for kind in one.counts} == {
        "swapped", "shuffled", "repeated", "boilerplate",
    }  # fmt: skip
    assert [judged("spoil", text, share=0.2, seed=1) for text in texts] != few


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("the same again. " * 200, "compresses too well"),
        ("".join(random.Random(0).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=4000)),
         "compresses too badly"),
        (" ".join(f"{n} in words" for n in range(400)), None),
        ("short short short", None),
    ],
)  # fmt: skip
def test_text_that_compresses_too_well_or_badly_is_dropped(text: str, reason: str | None) -> None:
    said = judged("compression", text)
    assert (said is None) if reason is None else (why(said) == reason)
