"""One bad input: the command line, the files in the folder, and the expected message."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Case:
    """``words`` typed in a folder that holds ``files`` and what ``build`` makes there.

    Standard error must be ``lines`` lines, each starting with ``slaw: ``, and hold ``said``: what
    was found and what was expected. ``@`` in a word stands for a finished sweep, ``%`` for a good
    table; ``build`` is handed a copy of the sweep at ``sweep`` where ``damages`` is set.
    """

    id: str
    words: tuple[str, ...]
    said: str | tuple[str, ...]
    code: int = 2
    lines: int = 1
    files: Mapping[str, str | bytes] = field(default_factory=dict)
    build: Callable[[Path], None] | None = None
    damages: bool = False

    @property
    def pieces(self) -> tuple[str, ...]:
        """Every text that standard error must hold."""
        return (self.said,) if isinstance(self.said, str) else self.said
