"""``slaw experiments``."""

from __future__ import annotations

import argparse
import json
from typing import Any

from scaling_law.cli.options import Commands, add_json_option
from scaling_law.console import show
from scaling_law.errors import EXIT_OK


def _list(options: argparse.Namespace) -> int:
    from scaling_law.run.experiments import described
    from scaling_law.units import format_seconds

    experiments = described()
    if options.json:
        show(json.dumps(experiments, indent=1, allow_nan=False))
        return EXIT_OK
    blocks = [_block(entry, format_seconds) for entry in experiments]
    show("\n\n".join(blocks))
    show("\nslaw run NAME trains one, slaw report results/NAME says what its runs show")
    return EXIT_OK


def _block(entry: dict[str, Any], format_seconds: Any) -> str:
    seconds = entry["seconds"]
    cost = entry["why_no_cost"] if seconds is None else f"about {format_seconds(seconds)}"
    runs = f"{entry['runs']} runs, " if entry["runs"] is not None else ""
    stages = ", then further stages" if entry["stages"] else ""
    lines = [entry["name"], f"  {entry['question']}", f"  {runs}{cost}{stages}"]
    if entry["reproduces"]:
        lines.append(f"  reproduces {entry['reproduces']}")
    return "\n".join(lines)


def add(commands: Commands) -> None:
    """Declare the command."""
    experiments = commands.add_parser(
        "experiments",
        help="list the experiments: question, cost here, papers reproduced",
        description="List the shipped experiments, each with its question, the cost of its first"
        " stage on this machine, and the published results that it reproduces.",
    )
    add_json_option(experiments)
    experiments.set_defaults(handler=_list)
