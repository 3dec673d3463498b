"""``slaw report``."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scaling_law.cli.fit import table_settings, typed_table_options
from scaling_law.cli.options import Commands, add_table_options, count, given
from scaling_law.console import say, show
from scaling_law.errors import EXIT_OK, EXIT_USAGE, ConfigError, FitError
from scaling_law.files.layout import RESULTS, SweepDir

if TYPE_CHECKING:
    from scaling_law.experiment.analysis import Named


def _report(options: argparse.Namespace) -> int:
    from scaling_law.experiment.analysis import analysed, named_by
    from scaling_law.experiment.findings import findings_text
    from scaling_law.files.record import find_sweeps

    tables = [folder for folder in options.folders if Path(folder).is_file()]
    if tables:
        return _table(options, tables)
    _refuse_options_of_tables(options)
    if len(options.folders) > 1:
        return _versus(options)
    if options.json:
        return _json(options)
    sweeps = find_sweeps(Path(*options.folders))
    if options.experiment is None and _is_gallery(sweeps):
        return _gallery(options)
    from scaling_law.report.html import write_report

    if options.out and len(sweeps) > 1:
        names = ", ".join(str(sweep.path) for sweep in sweeps)
        raise ConfigError(f"--out {options.out}: one page, but {len(sweeps)} sweeps: {names}")
    for sweep in sweeps:
        out = Path(options.out) if options.out else None
        result = analysed(sweep, options.experiment)
        if result is not None:
            show(findings_text(result.findings) + "\n")
            if result.left_out:
                say(result.left_out)
        elif named_by(sweep) is not None:
            say(_no_findings(sweep, named_by(sweep)))
        show(write_report(sweep, out=out, target_params=options.params, analysed=result))
    return EXIT_OK


def _table(options: argparse.Namespace, tables: Sequence[str]) -> int:
    """The page of one table."""
    from scaling_law.report.table_page import write_table_report

    if len(options.folders) > 1:
        raise ConfigError(
            f"{tables[0]}: a table is reported alone; to compare two, `slaw compare"
            f" {shlex.join(options.folders)}`"
        )
    for name in ("experiment", "json"):
        if getattr(options, name):
            raise ConfigError(
                f"--{name}: is for sweeps; {tables[0]} is a table, whose fit `slaw fit --json`"
                " prints"
            )
    page, why_no_fit = write_table_report(
        Path(tables[0]),
        settings=table_settings(options),
        curves=Path(options.curves) if options.curves else None,
        out=Path(options.out) if options.out else None,
        target_params=options.params,
        typed=typed_table_options(options),
    )
    show(page)
    if why_no_fit:  # the page shows the runs, and the exit code is that of slaw fit
        raise FitError(f"no law could be fitted: {why_no_fit}")
    return EXIT_OK


def _refuse_options_of_tables(options: argparse.Namespace) -> None:
    """Raises ``ConfigError`` for an option that only a table has, where none is given."""
    for word in (*typed_table_options(options), *(["--curves"] if options.curves else [])):
        if word.startswith("--"):
            raise ConfigError(f"{word}: is for the report of a table; expected one, as in runs.csv")


def _is_gallery(sweeps: Sequence[SweepDir]) -> bool:
    """Whether one page is to show several experiments."""
    if len(sweeps) == 1:
        return False
    from scaling_law.experiment.collection import holds_experiments

    return holds_experiments(sweeps)


def _gallery(options: argparse.Namespace) -> int:
    """One page, or with --json one document, over the experiments of a folder."""
    from scaling_law.experiment.collection import collect, collection_text, left_out_lines

    collection = collect(Path(*options.folders))
    if options.json:
        show(json.dumps(collection.document, indent=1, allow_nan=False))
    else:
        from scaling_law.report.gallery import write_gallery

        path = write_gallery(collection, Path(options.out) if options.out else None)
        show(f"{collection_text(collection)}\n\n{path}")
    for line in left_out_lines(collection):
        say(line)
    return EXIT_USAGE if collection.damaged else EXIT_OK


def _json(options: argparse.Namespace) -> int:
    """An experiment's findings, or else the sweep's arms, as one document."""
    from scaling_law.experiment.analysis import analysed, named_by
    from scaling_law.files.record import find_sweeps, load_records, only_sweep
    from scaling_law.plan.plan import read_plan

    if options.experiment is None and _is_gallery(find_sweeps(Path(*options.folders))):
        return _gallery(options)
    from scaling_law.report.arms import gather_arms

    sweep = only_sweep(Path(*options.folders))
    result = analysed(sweep, options.experiment)
    if result is not None:
        show(json.dumps(result.document, indent=1, allow_nan=False))
        return EXIT_OK
    plan = read_plan(sweep.plan) if sweep.plan.is_file() else None
    arms = None
    if named_by(sweep) is None:
        arms = gather_arms(sweep, load_records(sweep), plan)
    if arms is None:
        raise ConfigError(_no_findings(sweep, named_by(sweep)))
    show(json.dumps(arms.to_json(), indent=1, allow_nan=False))
    return EXIT_OK


def _no_findings(sweep: SweepDir, named: Named | None) -> str:
    if named is None:
        return (
            f"{sweep.path}: its config names no experiment; expected two sweeps to compare, a"
            " sweep of several arms, or --experiment NAME (slaw experiments lists them)"
        )
    return (
        f"{sweep.path}: its experiment is a file of its user's own, {named.text}, which a report"
        " executes only where it is named: --experiment FILE"
    )


def _versus(options: argparse.Namespace) -> int:
    from scaling_law.files.record import two_sweeps
    from scaling_law.report.compare_recipes import headline, write_versus

    first, second = two_sweeps([Path(folder) for folder in options.folders])
    path, versus = write_versus(first, second, out=Path(options.out) if options.out else None)
    if options.json:
        show(json.dumps(versus.to_json(), indent=1, allow_nan=False))
    else:
        show("\n".join(headline(versus)))
    say(f"page: {path}")
    return EXIT_OK


def add(commands: Commands) -> None:
    """Declare the commands of this file."""
    report = commands.add_parser(
        "report",
        help="write one HTML page and figures for a sweep or several experiments, or compare two",
        description="Write one HTML page, its figures (PNG, SVG) and its numbers (CSV, parquet) "
        "for a sweep, an experiment's findings first and arms side by side; for a folder of "
        "several experiments, one page with the findings and a figure of each; or, given two "
        "sweeps of one grid under two recipes, put them side by side: "
        "differences of loss against seed noise, and the compute that the second saves. A table of "
        "runs (CSV, TSV, JSON, JSONL, parquet) gives the same page of its law.",
    )
    report.add_argument(
        "folders",
        nargs="*",
        type=given,
        default=[RESULTS],
        metavar="folder",
        help="a sweep or a folder of sweeps (default: results); two sweeps to compare; or a table",
    )
    report.add_argument(
        "--out",
        type=given,
        metavar="PLACE",
        help="a name that ends in .html is the page; any other is a folder for page, figures and "
        "tables (default: the sweep's; of a table a folder NAME-report beside it)",
    )
    report.add_argument(
        "--params",
        type=count,
        default=175e9,
        metavar="N",
        help="size to forecast, in parameters (default: 175e9)",
    )
    report.add_argument(
        "--experiment",
        type=given,
        metavar="NAME",
        help="experiment whose findings come first: a shipped one or your own file (default: the "
        "one that the sweep's config names)",
    )
    report.add_argument(
        "--json",
        action="store_true",
        help="print the findings of one or several experiments, or the comparison of arms or of "
        "two sweeps",
    )
    report.add_argument(
        "--curves",
        type=given,
        metavar="SOURCE",
        help="for a table: losses along training, as slaw import --curves writes them, or in any "
        "format that it reads",
    )
    add_table_options(report)
    report.set_defaults(handler=_report)
