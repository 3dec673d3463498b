"""``slaw experiments``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from scaling_law.cli.options import Commands, add_json_option, duration, given
from scaling_law.console import say, show
from scaling_law.errors import EXIT_OK, ConfigError
from scaling_law.files.layout import RESULTS

if TYPE_CHECKING:
    from scaling_law.run.experiments import Listed


def _experiments(options: argparse.Namespace) -> int:
    if options.run_all:
        return _run_all(options)
    for flag in ("budget", "out", "dry_run"):
        if getattr(options, flag):
            raise ConfigError(f"--{flag.replace('_', '-')} goes with --run-all")
    return _list(options)


def _list(options: argparse.Namespace) -> int:
    from scaling_law.run.experiments import listed

    experiments = listed()
    if options.json:
        show(json.dumps([entry.document for entry in experiments], indent=1, allow_nan=False))
        return EXIT_OK
    show("\n\n".join(map(_block, experiments)))
    show("\nslaw run NAME trains one, slaw report results/NAME says what its runs show;")
    show(
        "slaw experiments --run-all --budget 1h trains the cheapest that fit, slaw report shows all"
    )
    return EXIT_OK


def _block(entry: Listed) -> str:
    from scaling_law.units import format_seconds

    seconds = entry.seconds
    cost = entry.why_no_cost if seconds is None else f"about {format_seconds(seconds)}"
    runs = f"{entry.runs} runs, " if entry.runs is not None else ""
    stages = ", then further stages" if entry.further else ""
    lines = [entry.name, f"  {entry.question}", f"  {runs}{cost}{stages}"]
    if entry.reproduces:
        lines.append(f"  reproduces {entry.reproduces}")
    return "\n".join(lines)


def _run_all(options: argparse.Namespace) -> int:
    from scaling_law.run.run_all import chosen_here, run_all
    from scaling_law.units import parse_seconds

    folder = Path(options.out or RESULTS)
    budget = None if options.budget is None else parse_seconds(options.budget)
    if budget is None and not options.dry_run:
        say("it can be stopped at any time (Ctrl-C); the same command resumes")
    choice = chosen_here(folder, budget, say)
    if options.dry_run:
        show(choice.text)
        return EXIT_OK
    say(choice.text)
    return run_all(choice, folder, say)


def add(commands: Commands) -> None:
    """Declare the command."""
    experiments = commands.add_parser(
        "experiments",
        help="list the experiments: question, cost here, papers reproduced; or run all that fit",
        description="List the shipped experiments, each with its question, the cost of its first"
        " stage on this machine, and the published results that it reproduces. With --run-all,"
        " train them one after another, the cheapest first. After a stop, the same command"
        " resumes: runs that have finished cost nothing.",
    )
    what = experiments.add_mutually_exclusive_group()
    add_json_option(what)
    what.add_argument(
        "--run-all", action="store_true", help="train every experiment, or those within --budget"
    )
    experiments.add_argument(
        "--budget",
        type=duration,
        metavar="T",
        help="time for all of them by their plans, as in 1h; what does not fit is left out and"
        " named (default: no limit)",
    )
    experiments.add_argument(
        "--out",
        type=given,
        metavar="DIR",
        help="folder of the results, one folder an experiment (default: results)",
    )
    experiments.add_argument(
        "--dry-run", action="store_true", help="print which would be trained, and train nothing"
    )
    experiments.set_defaults(handler=_experiments)
