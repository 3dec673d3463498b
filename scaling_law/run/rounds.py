"""Rounds: a sweep whose next runs depend on what the earlier ones recorded.

Each round's config is a file in the sweep's folder before its first run, so that a loop that was
killed resumes where it stopped. Another file there records the request of the loop.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling_law.errors import ConfigError
from scaling_law.files import checksum, layout
from scaling_law.files.layout import SweepDir
from scaling_law.run.request import Request

REMEDY = "restore it from a copy, or start again in another folder (--out)"


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """The rounds of one folder.

    ``asked`` is the file with the request of the loop;
    ``base`` is the request that began it: its device and engine hold for every round.
    """

    sweep: SweepDir
    asked: Path
    base: Request

    def begun(self, asked: Mapping[str, Any], otherwise: str) -> dict[str, Any] | None:
        """The request of the folder's loop, equal to ``asked``; None before it has started.

        Raises ``ConfigError`` for a loop with another request, and for a folder of
        another kind of sweep, with what to do ``otherwise``.
        """
        if not self.asked.is_file():
            if self.sweep.plan.is_file():
                raise ConfigError(f"{self.sweep.path}: {otherwise}")
            return None
        known = checksum.read(self.asked, REMEDY)
        other = [name for name in asked if known.get(name) != asked[name]]
        if other:
            raise ConfigError(
                f"{self.sweep.path}: started with another {', '.join(other)} ({self.asked.name});"
                " run the same command again, or choose another folder with --out"
            )
        return known

    def begin(self, asked: Mapping[str, Any]) -> None:
        """Record the loop's request."""
        checksum.write(self.asked, asked)

    def last(self) -> int:
        """The number of the last round decided; 0 before the first."""
        number = 0
        while self.sweep.round_config(number + 1).is_file():
            number += 1
        return number

    def request(self, number: int) -> Request:
        """The round's sweep as ``run_sweep`` takes it.

        Raises ``ConfigError`` when its file is not as it was written.
        """
        checksum.read_text(self.sweep.round_config(number))
        return dataclasses.replace(
            self.base,
            config=str(self.sweep.round_config(number)),
            overrides=(),
            out=str(self.sweep.path),
        )

    def decide(self, number: int, yaml: str, about: Mapping[str, Any]) -> bool:
        """Record a round, its YAML last: its presence decides the round.

        False where another process on the folder has decided it meanwhile, which holds then.
        """
        if self.sweep.round_config(number).is_file():
            return False
        checksum.write(self.sweep.round_cost(number), about)
        layout.atomic_write(self.sweep.round_config(number), checksum.text(yaml))
        return True
