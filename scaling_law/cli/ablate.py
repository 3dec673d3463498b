"""``slaw ablate``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from scaling_law.cli.fit import table_settings
from scaling_law.cli.options import (
    Commands,
    add_config_options,
    add_json_option,
    add_table_options,
    config_of,
    given,
)
from scaling_law.console import say, show
from scaling_law.errors import EXIT_OK, ConfigError

if TYPE_CHECKING:
    from scaling_law.experiment.findings import Findings

_FOR_A_TABLE = ("columns", "params_are", "loss_unit", "units", "history", "where")
_FOR_A_RUN = ("config", "mode", "set", "engine")


def _ablate(options: argparse.Namespace) -> int:
    if options.table is not None:
        return _from_table(options)
    from scaling_law.run import ablate
    from scaling_law.run.request import Request

    _refuse(options, _FOR_A_TABLE, "is for a table; expected --table FILE with it")
    if options.config is None and options.mode is None:
        raise ConfigError(_nothing_named())
    request = Request(
        config=config_of(options),
        device=options.device,
        overrides=tuple(options.set or ()),
        out=options.out,
        engine=options.engine,
    )
    if options.dry_run:
        ablate.dry_run(request, say)
        return EXIT_OK
    result, code = ablate.ablate(request, say)
    if result is None or result.evidence.sweep is None:
        return code
    if result.left_out:
        say(result.left_out)
    _show(result.findings, result.evidence.sweep.figures, as_json=options.json)
    return code


def _nothing_named() -> str:
    """Say what there is to train, with its cost here."""
    from scaling_law.run.ablate import EXPERIMENT
    from scaling_law.run.experiments import listed_like

    shipped = ", ".join(f"{one.name} ({one.cost})" for one in listed_like(EXPERIMENT))
    return (
        f"nothing to train was named: give {shipped}, a config of your own with experiment:"
        f" {EXPERIMENT}, or --table FILE, which trains nothing"
    )


def _from_table(options: argparse.Namespace) -> int:
    from scaling_law.experiment.ladder_table import table_findings

    _refuse(options, _FOR_A_RUN, "is for runs; a table has been trained")
    if options.dry_run:
        raise ConfigError("--dry-run: a table trains nothing; leave it out")
    findings = table_findings(Path(options.table), table_settings(options))
    _show(findings, Path(options.out) if options.out else None, as_json=options.json)
    return EXIT_OK


def _refuse(options: argparse.Namespace, names: tuple[str, ...], why: str) -> None:
    for name in names:
        if getattr(options, name):
            flag = "the config" if name == "config" else f"--{name.replace('_', '-')}"
            raise ConfigError(f"{flag}: {why}")


def _show(findings: Findings, folder: Path | None, *, as_json: bool) -> None:
    """Print the findings and draw their figures; refuse a ladder without any exponent."""
    from scaling_law.experiment.findings import findings_text
    from scaling_law.experiment.ladder import refuse_none

    refuse_none(findings)
    show(json.dumps(findings.document, indent=1) if as_json else findings_text(findings))
    if folder is None:
        say("figures not drawn; pass --out DIR")
        return
    from scaling_law.report.experiment import write_figures

    for path in write_figures(findings, folder):
        say(f"figure: {path}")


def add(commands: Commands) -> None:
    """Declare the command."""
    ablate = commands.add_parser(
        "ablate",
        help="measure which corrections lead from Kaplan's exponent to Chinchilla's",
        description="Train small models in Kaplan's way and correct it step by step, as Porian 2024"
        " did: count the head, warm up by size, decay by horizon, tune rate and batch by size."
        " Print the exponent a of compute-optimal size ~ compute^a of every rung with its interval,"
        " beside Porian's, and draw the ladder. Shipped is the config kaplan_chinchilla;"
        " without a name it says what that costs."
        " The same command resumes. With --table nothing is trained: the same ladder is read from"
        " the rows of a published table.",
    )
    add_config_options(ablate, required=True)
    ablate.add_argument(
        "--out",
        type=given,
        metavar="DIR",
        help="the sweep's folder (default: results/NAME); with --table, the folder of the figures",
    )
    ablate.add_argument(
        "--engine", type=given, metavar="NAME", help="engine that executes the runs"
    )
    ablate.add_argument(
        "--table",
        type=given,
        metavar="FILE",
        help="a table of runs with a column rung, with columns hparams, warmup, decay and count, or"
        " with a column config that holds these as in rw/base/long/kaplan/kaplan/train",
    )
    ablate.add_argument("--dry-run", action="store_true", help="print the plan and write nothing")
    add_table_options(ablate)
    add_json_option(ablate)
    ablate.set_defaults(handler=_ablate)
