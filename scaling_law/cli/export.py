"""``slaw export``."""

from __future__ import annotations

import argparse
from pathlib import Path

from scaling_law.cli.options import Commands, given
from scaling_law.console import show
from scaling_law.errors import EXIT_OK
from scaling_law.files.layout import RESULTS


def _export(options: argparse.Namespace) -> int:
    from scaling_law.run.export import export_run

    show(export_run(Path(options.source), options.run, Path(options.out), options.format))
    return EXIT_OK


def add(commands: Commands) -> None:
    """Declare the commands of this file."""
    export = commands.add_parser(
        "export",
        help="write a run's final weights as safetensors or a Hugging Face folder",
        description="Write the final weights of a run, saved by keep_weights, for other programs.",
    )
    export.add_argument(
        "source",
        nargs="?",
        type=given,
        default=RESULTS,
        help="a run's folder, or a sweep's (default: results)",
    )
    export.add_argument(
        "--run", type=given, metavar="RUN", help="id or label of the run, for a sweep"
    )
    export.add_argument("--out", type=given, required=True, metavar="DIR", help="a new folder")
    export.add_argument(
        "--format",
        default="safetensors",
        choices=("safetensors", "hf"),
        help="format of the weights (default: safetensors)",
    )
    export.set_defaults(handler=_export)
