"""``slaw report``."""

from __future__ import annotations

import argparse
from pathlib import Path

from scaling_law.errors import EXIT_OK, ConfigError
from scaling_law.flags import RESULTS, Commands, count, given


def _report(options: argparse.Namespace) -> int:
    from scaling_law.record import find_sweeps
    from scaling_law.report.html import write_report

    sweeps = find_sweeps(Path(options.folder))
    if options.out and len(sweeps) > 1:
        names = ", ".join(str(sweep.path) for sweep in sweeps)
        raise ConfigError(f"--out {options.out}: one page, but {len(sweeps)} sweeps: {names}")
    for sweep in sweeps:
        out = Path(options.out) if options.out else None
        print(write_report(sweep, out=out, target_params=options.params))
    return EXIT_OK


def add(commands: Commands) -> None:
    """Declare the commands of this file."""
    report = commands.add_parser("report", help="write one HTML page and figures for a sweep")
    report.add_argument(
        "folder", nargs="?", type=given, default=RESULTS, help="a sweep or a folder of them"
    )
    report.add_argument("--out", type=given, metavar="FILE", help="the page (<sweep>/report.html)")
    report.add_argument("--params", type=count, default=175e9, help="size to forecast (175e9)")
    report.set_defaults(handler=_report)
