"""The ``slaw`` command: parse, one library call, print, exit code.

Handlers import what they need when they run: ``slaw --help`` loads no torch, scipy, matplotlib
or pydantic.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import gc
import os
import platform
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from scaling_law import __version__
from scaling_law.cli import (
    ablate,
    allocate,
    compare,
    curves,
    data,
    downstream,
    experiments,
    export,
    extrapolate,
    fit,
    forecast,
    import_runs,
    mix,
    monitor,
    parts,
    report,
    run,
    sample,
    tune,
)
from scaling_law.cli.options import Commands, Parser, add_loudness_options
from scaling_law.console import (
    complain,
    detail,
    open_standard_streams,
    say,
    set_loudness,
    silence,
)
from scaling_law.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, SlawError
from scaling_law.files.layout import cache_dir

_COMMANDS = (
    run,
    monitor,
    fit,
    extrapolate,
    allocate,
    forecast,
    compare,
    import_runs,
    curves,
    downstream,
    report,
    sample,
    export,
    data,
    tune,
    mix,
    ablate,
    parts,
    experiments,
)  # in the order of --help
_NEW_OBJECTS = 100_000


def _completion(options: argparse.Namespace) -> int:
    if options.shell == "fish":
        from scaling_law.cli.fish import complete

        print(complete(make_parser()))
        return EXIT_OK
    import shtab

    print(shtab.complete(make_parser(), shell=options.shell))
    return EXIT_OK


def _add_completion(commands: Commands) -> None:
    completion = commands.add_parser(
        "completion",
        help="print a shell completion script",
        description="Print a script that completes commands and options: source it in the shell.",
    )
    completion.add_argument("shell", choices=("bash", "zsh", "fish", "tcsh"), help="which shell")
    completion.set_defaults(handler=_completion)


def _help(options: argparse.Namespace) -> int:
    """Print the help of a command, or of all; ends the process."""
    make_parser().parse_args([*options.words, "--help"])
    return EXIT_OK


def _add_help(commands: Commands) -> None:
    asked = commands.add_parser(
        "help",
        help="print this page, or the help of a command",
        description="Print the help of a command, as its --help does, or the list of commands.",
    )
    asked.add_argument(
        "words", nargs="*", default=[], metavar="COMMAND", help="which command (the list of all)"
    )
    asked.set_defaults(handler=_help)


def make_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = Parser(
        prog="slaw",
        description="Train grids of small GPTs, fit scaling laws to them, and forecast larger "
        "models honestly.",
        epilog="exit codes: 0 done, 2 bad input, 3 a run failed, 4 the data do not support it, "
        "5 a worker could not be started, 75 stopped after a checkpoint, 130 interrupted",
    )
    parser.add_argument("--version", action="version", version=f"slaw {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for group in _COMMANDS:
        group.add(commands)
    _add_completion(commands)
    _add_help(commands)
    add_loudness_options(parser, default=False)
    for command in commands.choices.values():
        add_loudness_options(command, default=argparse.SUPPRESS)  # given before it, it stays
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. Known errors print one line each, no traceback."""
    # a plan of 10,000 runs has a million objects that live on: searching them for cycles, as
    # Python does after every 700 new ones, takes a tenth of the time
    gc.set_threshold(_NEW_OBJECTS)
    open_standard_streams()
    parser = make_parser()
    options = parser.parse_args(arguments)
    set_loudness(quiet=options.quiet, verbose=options.verbose)
    try:
        if "handler" not in options:
            parser.print_help()
            return EXIT_OK
        detail(_whereabouts())
        code = int(options.handler(options))
        sys.stdout.flush()  # here a full disk or a reader who left is still known
        return code
    except SlawError as problem:
        complain(problem.lines)
        detail(traceback.format_exc().rstrip())
        return problem.exit_code
    except KeyboardInterrupt:
        say("slaw: interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # the reader (head, less) left; nothing is wrong, and nothing more can be said
        silence(sys.stdout)
        return EXIT_OK
    except OSError as problem:
        # what no command foresaw: a name too long, a loop of links, a full disk
        complain([_unforeseen(problem)])
        detail(traceback.format_exc().rstrip())
        silence(sys.stdout)  # what it could not print, it cannot print at its end either
        return EXIT_USAGE


def _unforeseen(problem: OSError) -> str:
    """What the system refuses, of which path, and what to do."""
    why = problem.strerror or str(problem)
    if problem.errno in (errno.ENOSPC, errno.EDQUOT):
        remedy = "free some space and run the same command again"
    elif _in_cache(problem.filename):
        remedy = "set SLAW_CACHE to a folder that can be written"
    else:
        remedy = "try another path"
    if not problem.filename:
        return f"writing failed ({why}); {remedy}"
    path = problem.filename
    if problem.errno == errno.EACCES:
        path = _closed_parent(Path(os.fsdecode(path))) or path
    return f"{path}: cannot be used ({why}); {remedy}"


def _in_cache(filename: object) -> bool:
    if not isinstance(filename, str | bytes):
        return False
    with contextlib.suppress(SlawError):
        return Path(os.fsdecode(filename)).is_relative_to(cache_dir())
    return False


def _closed_parent(path: Path) -> Path | None:
    """The first folder above a path that may not be entered: what lies in it cannot be seen."""
    for parent in reversed(path.parents):
        try:
            os.stat(f"{parent}/.")  # noqa: PTH116 - a Path drops the dot, which asks to enter
        except PermissionError:
            return parent
        except OSError:
            break
    return None


def _whereabouts() -> str:
    """What an answer may depend on: versions and places."""
    try:
        here = Path.cwd()
    except OSError:
        here = Path("a folder that was removed")
    with contextlib.suppress(SlawError):
        cache = f"cache in {cache_dir()}"
        return f"slaw {__version__}, Python {platform.python_version()}, in {here}, {cache}"
    return f"slaw {__version__}, Python {platform.python_version()}, in {here}, no cache"
