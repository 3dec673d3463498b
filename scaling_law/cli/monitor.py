"""``slaw monitor``."""

from __future__ import annotations

import argparse
from pathlib import Path

from scaling_law.cli.options import Commands, given, whole
from scaling_law.errors import EXIT_OK, ConfigError
from scaling_law.files.layout import RESULTS


def _monitor(options: argparse.Namespace) -> int:
    folder = Path(options.folder)
    if options.port is not None and not options.serve:
        raise ConfigError(f"--port {options.port}: only --serve opens a port; add --serve")
    try:
        if options.serve:
            from scaling_law.monitor.server import serve

            serve(
                folder,
                port=options.port or 0,
                interval=options.interval,
                metric=options.metric,
            )
        else:
            from scaling_law.monitor.session import watch

            watch(folder, once=options.once, interval=options.interval, metric=options.metric)
    except KeyboardInterrupt:
        print()  # leaving is no failure, and the sweep continues
    return EXIT_OK


def _seconds(text: str) -> float:
    try:
        if 0.1 <= (value := float(text)) <= 86_400:
            return value
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"expected seconds from 0.1 to 86400, found {text[:40]!r}")


def _port(text: str) -> int:
    if 0 <= (port := whole(text)) <= 65_535:
        return port
    raise argparse.ArgumentTypeError(f"expected a port from 0 (any) to 65535, found {port}")


def add(commands: Commands) -> None:
    """Declare the commands of this file."""
    monitor = commands.add_parser(
        "monitor",
        help="watch a sweep: a live screen, or a local web page",
        description="Watch a sweep from another terminal, before, while and after it runs: its "
        "running runs with loss, metrics, phase, speed and time left, counts, warnings. Ctrl-C "
        "leaves (exit code 0) and the sweep continues. It ends by itself when the sweep has "
        "finished; where it prints lines (a pipe, a log), also when no `slaw run` works on the "
        "folder.",
    )
    monitor.add_argument(
        "folder",
        nargs="?",
        type=given,
        default=RESULTS,
        help="a sweep, or a folder with one (default: results)",
    )
    how = monitor.add_mutually_exclusive_group()
    how.add_argument("--once", action="store_true", help="show it once and exit")
    how.add_argument(
        "--serve",
        action="store_true",
        help="serve a page with live curves on this machine",
    )
    monitor.add_argument(
        "--interval",
        type=_seconds,
        metavar="S",
        help="seconds between updates (default: 2, or 30 when printing lines)",
    )
    monitor.add_argument(
        "--metric",
        type=given,
        metavar="NAME",
        help="show only this metric of the runs (default: all that fit); with --serve, the metric"
        " that the page's charts show first",
    )
    monitor.add_argument(
        "--port", type=_port, metavar="N", help="port of --serve (default: any free one)"
    )
    monitor.set_defaults(handler=_monitor)
