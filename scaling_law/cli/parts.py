"""``slaw parts``."""

from __future__ import annotations

import argparse

from scaling_law import parts
from scaling_law.cli.options import Commands
from scaling_law.console import show
from scaling_law.errors import EXIT_OK
from scaling_law.text_columns import left


def _list(options: argparse.Namespace) -> int:
    if options.kind is None:
        rows = [
            (kind.word, kind.key, kind.doc, ", ".join(parts.names(kind.word)))
            for kind in parts.KINDS.values()
            if parts.has_folder(kind.word)
        ]
        show("\n".join(left([("kind", "in a config", "what it varies", "parts"), *rows])))
        return EXIT_OK
    kind = parts.KINDS[options.kind]
    show(f"{kind.word} ({kind.key}): {kind.doc}")
    show("\n".join(left(parts.described(kind.word), "  ")))
    return EXIT_OK


def add(commands: Commands) -> None:
    """Declare the command."""
    listing = commands.add_parser(
        "parts",
        help="list what an experiment may vary",
        description="List the kinds of parts that a config chooses from, or the parts of a kind."
        " A user's own file is chosen by its path.",
    )
    listing.add_argument("kind", nargs="?", choices=sorted(parts.KINDS), help="a kind of part")
    listing.set_defaults(handler=_list)
