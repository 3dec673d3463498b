"""``slaw downstream``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from scaling_law.cli.fit import table_settings
from scaling_law.cli.options import (
    Commands,
    add_json_option,
    add_table_options,
    count,
    fraction,
    given,
    level,
    underscored,
)
from scaling_law.console import show
from scaling_law.errors import EXIT_OK, ConfigError


def _downstream(options: argparse.Namespace) -> int:
    from scaling_law.forecast.downstream.measured import Reading
    from scaling_law.forecast.downstream.session import Question, answer, format_downstream
    from scaling_law.forecast.target import Target

    asked = {name: getattr(options, name) for name in ("params", "tokens", "flops")}
    if options.floor is not None and options.choices is not None:
        raise ConfigError("--floor and --choices: expected one of them")
    floor = options.floor if options.choices is None else 1 / options.choices
    result = answer(
        Path(options.source),
        options.metric or (),
        Reading(
            metric="",
            loss=options.loss,
            floor=floor,
            by=tuple(options.by or ()),
            convention=options.convention,
            table=table_settings(options),
        ),
        Question(
            target=Target(**asked) if any(asked.values()) else None,
            law=options.law or "",
            ceiling=options.ceiling,
            level=options.level,
        ),
    )
    if options.json:
        show(json.dumps(result.to_json(), indent=1, allow_nan=False))
    else:
        show(format_downstream(result))
    return EXIT_OK


def _ceiling(text: str) -> float | None:
    return None if text == "fit" else fraction(text)


def add(commands: Commands) -> None:
    """Declare the command."""
    downstream = commands.add_parser(
        "downstream",
        help="a task's metric at a target, by way of the loss and without it; recipes in order",
        description="Predict a metric of a task, such as an accuracy, at a target size: in two"
        " steps (parameters and tokens to loss, loss to metric by a sigmoid with the metric's floor"
        " and ceiling) and in one (a sigmoid of parameters and tokens), with intervals through"
        " both, and score both ways on the largest size. With --by, also order recipes, and say"
        " how often smaller runs order them alike (decision accuracy).",
        epilog="exit codes: 0 with an answer; 2 for metrics that cannot be read; 4 where the runs"
        " support none",
    )
    downstream.add_argument("source", type=given, metavar="SOURCE", help="a sweep or a table")
    downstream.add_argument(
        "--metric",
        action="append",
        type=given,
        metavar="NAME",
        help="metric of the runs, or column of the table; repeat for more (without it, an error"
        " that lists them)",
    )
    downstream.add_argument("--params", type=count, metavar="N", help="parameters of the target")
    downstream.add_argument("--tokens", type=count, metavar="D", help="tokens of the target")
    downstream.add_argument("--flops", type=count, metavar="C", help="FLOPs of the target (6ND)")
    downstream.add_argument(
        "--loss",
        type=given,
        metavar="NAME",
        help="metric of a sweep's runs that is the loss in between (default: the task's own nats,"
        " else the validation loss)",
    )
    downstream.add_argument(
        "--law",
        type=given,
        metavar="NAME",
        help="law of the loss (default: coupled or chinchilla, the better)",
    )
    downstream.add_argument(
        "--floor",
        type=fraction,
        metavar="X",
        help="the metric where nothing is learned (default: the chance that the runs record, or 0)",
    )
    downstream.add_argument(
        "--choices", type=count, metavar="N", help="the floor is that of guessing among N choices"
    )
    downstream.add_argument(
        "--ceiling",
        type=_ceiling,
        default=1.0,
        metavar="X",
        help="the metric where all is learned, or fit (default: 1)",
    )
    downstream.add_argument(
        "--by",
        action="append",
        type=given,
        metavar="KEY",
        help="recipes are the values of this axis, config key or table column; repeat for more",
    )
    downstream.add_argument(
        "--convention",
        type=underscored,
        default="matmul",
        choices=("total", "non_embedding", "matmul"),
        help="which parameters count, of a sweep (default: matmul)",
    )
    downstream.add_argument(
        "--level",
        type=level,
        default=0.9,
        metavar="P",
        help="level of the intervals (default: 0.9)",
    )
    add_table_options(downstream)
    add_json_option(downstream)
    downstream.set_defaults(handler=_downstream)
