"""Rows of text become aligned lines."""

from __future__ import annotations

from scaling_law import text_columns


def test_the_last_cell_of_a_row_does_not_widen_its_column():
    rows = [("a", "b", "c"), ("long", "refused: a reason of many words"), ("x", "1", "2")]
    assert text_columns.left(rows, "  ") == [
        "  a     b  c",
        "  long  refused: a reason of many words",
        "  x     1  2",
    ]
    assert text_columns.left([]) == []


def test_numbers_align_right_and_words_align_left():
    assert text_columns.numbers([("name", "n", "why"), ("b", "12", "x")], words=(0, 2)) == [
        "name   n  why",
        "b     12  x",
    ]
    assert text_columns.numbers([("name", "n"), ("b", "12")]) == ["name   n", "b     12"]
