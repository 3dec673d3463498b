"""``slaw tune``."""

from __future__ import annotations

import argparse
from pathlib import Path

from scaling_law.cli.options import (
    Commands,
    add_config_options,
    config_of,
    duration,
    given,
    refuse_no_config,
)
from scaling_law.console import say
from scaling_law.errors import EXIT_OK


def _tune(options: argparse.Namespace) -> int:
    from scaling_law.run import tune
    from scaling_law.run.request import Request
    from scaling_law.units import parse_seconds

    refuse_no_config(options)
    request = Request(
        config=config_of(options),
        device=options.device,
        overrides=tuple(options.set or ()),
        out=options.out,
        engine=options.engine,
    )
    seconds = tune.SECONDS if options.time is None else parse_seconds(options.time)
    write = None if options.write is None else Path(options.write)
    if options.dry_run:
        tune.dry_run(request, seconds, write, say)
        return EXIT_OK
    return tune.tune(request, seconds, write, say)


def add(commands: Commands) -> None:
    """Declare the command."""
    tune = commands.add_parser(
        "tune",
        help="find the best learning rate and batch of a config's sizes, and write them as a rule",
        description="Train three sizes of a config at several learning rates and batches, in stages"
        " that go on where the best one lies at an edge or the noise is too large. Print the best"
        " rate of each size, horizon and batch, their power law and published rules beside it, and"
        " write the law as a rule for optim.rule. The rule refuses what held-out runs do not"
        " support. The same command resumes; slaw tune lr_batch tunes the shipped experiment.",
    )
    add_config_options(tune, required=True)
    tune.add_argument(
        "--time",
        type=duration,
        metavar="T",
        help="planned time of all stages: sizes and horizons that do not fit are left out"
        " (default: 15m)",
    )
    tune.add_argument(
        "--out", type=given, metavar="DIR", help="the sweep's folder (default: results/NAME-tune)"
    )
    tune.add_argument("--engine", type=given, metavar="NAME", help="engine that executes the runs")
    tune.add_argument(
        "--write",
        type=given,
        metavar="FILE",
        help="where the rule goes (default: tuned_NAME.py in the sweep's folder)",
    )
    tune.add_argument(
        "--dry-run", action="store_true", help="print the first stage's plan and write nothing"
    )
    tune.set_defaults(handler=_tune)
