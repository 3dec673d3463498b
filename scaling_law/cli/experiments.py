"""``slaw experiments``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scaling_law import text_columns
from scaling_law.cli.options import Commands, add_json_option, duration, given
from scaling_law.console import say, show
from scaling_law.errors import EXIT_OK, EXIT_USAGE, ConfigError, FitError
from scaling_law.files.layout import RESULTS
from scaling_law.units import count_of, format_seconds

if TYPE_CHECKING:
    from scaling_law.run.experiments import Listed


def _experiments(options: argparse.Namespace) -> int:
    if options.words:
        from scaling_law.run.experiments import is_name

        for flag in ("multipliers", "run_all", "budget", "dry_run"):
            if getattr(options, flag) not in (None, False):
                said = f"{' '.join(options.words)} with --{flag.replace('_', '-')}"
                raise ConfigError(f"{said}: expected one of them")
        if len(options.words) == 1 and is_name(options.words[0]):
            return _one(options.words[0], options)
    if options.multipliers is not None:
        return _multipliers(options)
    if options.run_all:
        return _run_all(options)
    for flag in ("budget", "out", "dry_run"):
        if getattr(options, flag):
            raise ConfigError(f"--{flag.replace('_', '-')} goes with {_WITH[flag]}")
    return _list(options)


_WITH = dict.fromkeys(("budget", "dry_run"), "--run-all") | {"out": "NAME or --run-all"}


def _multipliers(options: argparse.Namespace) -> int:
    from scaling_law.experiment.collection import (
        collect,
        multipliers_document,
        multipliers_text,
    )

    if options.run_all:
        raise ConfigError("--multipliers reads finished runs; leave out --run-all")
    folders = [Path(folder) for folder in options.multipliers or [RESULTS]]
    collections = [collect(folder) for folder in folders]
    if not any(each.multipliers for each in collections):
        names = ", ".join(map(str, folders))
        raise FitError(
            f"{names}: no experiment there gives a compute multiplier; `slaw run optimizers` does,"
            " and slaw compare takes any two recipes"
        )
    if options.json:
        show(json.dumps(multipliers_document(collections), indent=1, allow_nan=False))
    else:
        show(multipliers_text(collections))
    for each in collections:
        for one in each.not_shown:
            say(f"not read: {one.sweep.path}: {one.why}")
    return EXIT_USAGE if any(each.damaged for each in collections) else EXIT_OK


def _list(options: argparse.Namespace) -> int:
    from scaling_law.run.experiments import listed

    experiments = listed(words=options.words)
    if options.json:
        show(json.dumps([entry.document for entry in experiments], indent=1, allow_nan=False))
        return EXIT_OK
    if options.long:
        show("\n\n".join([*map(_block, experiments), ""]))
    else:
        show("\n".join(_lines(experiments)))
    show("slaw run NAME trains one, slaw experiments NAME says what its runs show so far;")
    show(
        "slaw experiments --run-all --budget 1h trains the cheapest that fit, slaw report shows all"
    )
    return EXIT_OK


def _lines(experiments: Sequence[Listed]) -> list[str]:
    """A line each: name, time here and question; then what the list leaves out."""
    rows = [("experiment", "time here", "question")]
    rows += [(entry.name, _time(entry), entry.question) for entry in experiments]
    lines = text_columns.left(rows)
    lines.append("")
    if any(entry.further for entry in experiments):
        lines.append("+: further stages follow, whose cost depends on the first one's runs")
    unknown = (e.why_no_cost.replace(e.name, "NAME") for e in experiments if e.seconds is None)
    lines += [f"?: {why}" for why in dict.fromkeys(unknown)]
    lines.append(
        "slaw experiments WORD ... lists those with these words; --long adds runs and papers"
    )
    return lines


def _time(entry: Listed) -> str:
    if entry.seconds is None:
        return "?"
    time = format_seconds(entry.seconds) if entry.seconds else "finished"
    return f"{time} +" if entry.further else time


def _block(entry: Listed) -> str:
    lines = [entry.name, f"  {entry.question}", f"  {entry.cost}"]
    if entry.reproduces:
        lines.append(f"  reproduces {entry.reproduces}")
    return "\n".join(lines)


def _one(name: str, options: argparse.Namespace) -> int:
    """One experiment: question, cost, command, and what its runs here say so far."""
    from scaling_law.experiment.findings import answer_lines
    from scaling_law.run.experiments import findings_in, listed_one

    folder = Path(options.out or RESULTS)
    entry = listed_one(name, folder)
    result = findings_in(folder / entry.name)
    if options.json:
        findings = None if result is None else result.document
        document = {**entry.document, "findings": findings}
        show(json.dumps(document, indent=1, allow_nan=False))
        return EXIT_OK
    out = "" if options.out is None else f" --out {folder / entry.name}"
    show(_block(entry))
    show(f"  train or resume it: slaw run {entry.name}{out}")
    if result is None:
        show(f"  no run has finished in {folder / entry.name}")
        return EXIT_OK
    show(f"\nby {count_of(len(result.evidence.runs), 'run')} in {folder / entry.name}:")
    show("\n".join(answer_lines(result.findings)))
    show(f"\ntables and figures: slaw report {folder / entry.name}")
    return EXIT_OK


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
        " stage on this machine, and the published results that it reproduces. With a NAME, show"
        " that one, and what its finished runs say. With --run-all,"
        " train them one after another, the cheapest first. After a stop, the same command"
        " resumes: runs that have finished cost nothing. With --multipliers, print the compute"
        " multipliers of all recipes that finished experiments compare.",
    )
    experiments.add_argument(
        "words",
        nargs="*",
        type=given,
        metavar="NAME",
        help="only this one, with its verdict and claims where runs of it have finished; other"
        " words list the experiments that have them in their name, question or papers",
    )
    experiments.add_argument(
        "--long", action="store_true", help="list runs and papers of each, too"
    )
    what = experiments.add_mutually_exclusive_group()
    add_json_option(what)
    what.add_argument(
        "--run-all", action="store_true", help="train every experiment, or those within --budget"
    )
    experiments.add_argument(
        "--multipliers",
        nargs="*",
        type=given,
        metavar="FOLDER",
        help="print one table of the compute multipliers that the experiments in these folders"
        " measured (default: results); --json",
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
        help="folder of the results, one folder an experiment (default: results); with NAME or"
        " --run-all",
    )
    experiments.add_argument(
        "--dry-run", action="store_true", help="print which would be trained, and train nothing"
    )
    experiments.set_defaults(handler=_experiments)
