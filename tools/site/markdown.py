"""Markdown from plain values."""

from __future__ import annotations

import re
from collections.abc import Sequence


def plain(text: object) -> str:
    """``text`` on one line, as it is read: nothing in it is markup."""
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", re.sub(r"\s+", " ", str(text)))


def prose(docstring: str) -> str:
    """A docstring on one line; what it has between double backticks is code."""
    words = docstring.split("``")
    return "".join(plain(w) if n % 2 == 0 else code(w) for n, w in enumerate(words))


def code(text: object) -> str:
    """``text`` as code within a line of a table."""
    return f"`{str(text).replace('|', chr(92) + '|')}`"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of cells that are Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def block(text: str, language: str = "text") -> str:
    """``text`` line by line, as a block of code."""
    return f"```{language}\n{text.rstrip()}\n```\n"
