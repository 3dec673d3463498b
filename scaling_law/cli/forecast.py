"""``slaw forecast``: register predictions before their runs exist, and score them afterwards."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from scaling_law.cli.fit import named_laws, table_settings
from scaling_law.cli.options import (
    Commands,
    add_json_option,
    add_table_options,
    count,
    counts_or_times,
    fraction,
    given,
)
from scaling_law.console import say, show
from scaling_law.errors import EXIT_OK, ConfigError
from scaling_law.files.layout import RESULTS

_OF_REGISTERING = ("params", "tokens", "flops", "grid", "law", "unique_tokens", "level", "set")


def _forecast(options: argparse.Namespace) -> int:
    if options.register is not None:
        return _register(options)
    for name in _OF_REGISTERING:
        if getattr(options, name) is not None:
            raise ConfigError(
                f"--{name.replace('_', '-')} without --register NAME: registered forecasts are not"
                " changed; for a forecast that is not kept use slaw extrapolate"
            )
    return _list(options) if options.score is None else _score(options)


def _register(options: argparse.Namespace) -> int:
    from scaling_law.forecast.register import register
    from scaling_law.forecast.registered_text import format_registration

    if options.set is not None and options.grid is None:
        raise ConfigError("--set without --grid: it overrides a key of the config that is planned")
    made = register(
        options.register,
        figures={name: getattr(options, name) or () for name in ("params", "tokens", "flops")},
        planned=None if options.grid is None else _planned(options),
        law=named_laws([options.law])[0] if options.law else None,
        results=options.results,
        table=table_settings(options),
        level=0.9 if options.level is None else options.level,
        tokens_unique=options.unique_tokens,
        out=_out(options),
    )
    show(json.dumps(made.to_json(), indent=1) if options.json else format_registration(made))
    return EXIT_OK


def _planned(options: argparse.Namespace):  # type: ignore[no-untyped-def]
    """The runs that --grid plans, as ``slaw plan`` does."""
    from scaling_law.forecast.register import Planned
    from scaling_law.run.planning import plan_only
    from scaling_law.run.request import Request

    request = Request(config=options.grid, overrides=tuple(options.set or ()))
    _, plan = plan_only(request, say)
    return [Planned(spec=run.spec, epochs=run.epochs) for run in plan.runs]


def _score(options: argparse.Namespace) -> int:
    from scaling_law.forecast.registered_text import format_score
    from scaling_law.forecast.score import score

    made = score(
        options.score,
        results=options.results,
        table=table_settings(options),
        out=_out(options),
    )
    show(json.dumps(made.to_json(), indent=1) if options.json else format_score(made))
    return EXIT_OK


def _list(options: argparse.Namespace) -> int:
    from scaling_law.forecast.registered import forecasts_folder, read_all
    from scaling_law.forecast.registered_text import format_registered

    folder = forecasts_folder(Path(options.results or RESULTS), _out(options))
    forecasts = read_all(folder)
    if options.json:
        documents = [{**one.to_json(), "seal": one.seal} for one in forecasts]
        show(json.dumps(documents, indent=1))
    elif forecasts:
        show(format_registered(folder, forecasts))
    else:
        show(f"{folder}: no registered forecast; slaw forecast --register NAME makes one")
    return EXIT_OK


def _out(options: argparse.Namespace) -> Path | None:
    return None if options.out is None else Path(options.out)


def add(commands: Commands) -> None:
    """Add the commands of this file."""
    parser = commands.add_parser(
        "forecast",
        help="register forecasts before their runs exist, and score them afterwards",
        description="Register a forecast under a name: the loss of runs that do not exist yet, "
        "with its interval, frozen in a sealed file with the data, the law, the code and the time "
        "that it was made from. Score registered forecasts against the runs that came later: "
        "bias, coverage, log score. Without --register or --score, list them.",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--register",
        type=given,
        metavar="NAME",
        help="freeze a forecast of the targets below; refused where the name is taken or a run at "
        "a target exists",
    )
    what.add_argument(
        "--score",
        nargs="*",
        type=given,
        metavar="NAME",
        help="compare these registered forecasts, or all, with the runs that came later",
    )
    targets = parser.add_argument_group("targets to register (lists such as 5M,10M are paired)")
    for name, metavar, words in (
        ("--params", "N,...", "model sizes, as in 5M,10M, or 10x the largest of the law's runs"),
        (
            "--tokens",
            "D,...",
            "training tokens, likewise (default: the compute-optimal ones)",
        ),
        ("--flops", "C,...", "training compute, likewise, as in 1e18"),
    ):
        targets.add_argument(
            name,
            type=counts_or_times,
            metavar=metavar,
            help=words,
        )
    targets.add_argument(
        "--grid",
        type=given,
        metavar="CONFIG",
        help="every planned run of this config that has not run",
    )
    targets.add_argument(
        "--set", action="append", metavar="KEY=VALUE", help="override a key of that config"
    )
    targets.add_argument(
        "--unique-tokens",
        type=count,
        metavar="U",
        help="different tokens of the targets; more are repeats, which count less",
    )
    parser.add_argument(
        "--law",
        type=given,
        metavar="NAME",
        help="one law alone, of the fit or your own file (default: all laws of the fit by their "
        "weights)",
    )
    parser.add_argument(
        "--level", type=fraction, metavar="P", help="level of the intervals (default: 0.9)"
    )
    parser.add_argument(
        "--results",
        type=given,
        metavar="DIR",
        help="the sweep or table of the runs (default: the only sweep in results)",
    )
    parser.add_argument(
        "--out",
        type=given,
        metavar="DIR",
        help="folder of the registered forecasts, to write to and read from (default: forecasts "
        "in the sweep's folder, or beside the table)",
    )
    add_table_options(parser)
    add_json_option(parser)
    parser.set_defaults(handler=_forecast)
