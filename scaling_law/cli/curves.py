"""``slaw curves``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from scaling_law.cli.options import (
    Commands,
    add_json_option,
    count,
    given,
    level,
    picture,
    underscored,
)
from scaling_law.console import say, show
from scaling_law.errors import EXIT_OK, ConfigError


def _curves(options: argparse.Namespace) -> int:
    from scaling_law.fit.curves.session import Question, answer
    from scaling_law.fit.curves.text import format_curves

    result = answer(
        [Path(source) for source in options.sources],
        Question(
            law=options.law,
            level=options.level,
            groups=tuple(options.group or ()),
            hold_out=tuple(options.hold_out or ()),
            schedules=tuple(options.schedule or ()),
            columns=_columns(options.columns),
            warmup_steps=options.warmup_steps,
        ),
    )
    if options.figure:
        from scaling_law.report.curve_law import write_curve_figure

        say(f"figure: {write_curve_figure(result, Path(options.figure))}")
    if options.json:
        show(json.dumps(result.to_json(), indent=1, allow_nan=False))
    else:
        show(format_curves(result))
    return EXIT_OK


def _columns(text: str | None) -> dict[str, str]:
    """Read ``step=STEP,loss=LOSS``. Raises ``ConfigError``."""
    from scaling_law.fit.curves.table import ROLES

    columns = {}
    for pair in (text or "").split(",") if text else ():
        role, equals, column = pair.partition("=")
        if not equals or role.strip() not in ROLES:
            raise ConfigError(
                f"--columns {pair.strip()!r}: expected ROLE=COLUMN with one of {', '.join(ROLES)}"
            )
        columns[role.strip()] = column.strip()
    return columns


def add(commands: Commands) -> None:
    """Declare the command."""
    curves = commands.add_parser(
        "curves",
        help="fit whole loss curves and predict the curve of a schedule that was not run",
        description="Fit a law to loss curves under different learning-rate schedules (trunks,"
        " cooldowns, cosines) and predict the curve of another one: its loss at every step with an"
        " interval, and which schedule ends lowest.",
        epilog="exit codes: 0 with an answer; 2 for curves that cannot be read; 4 where they do not"
        " support the law",
    )
    curves.add_argument(
        "sources",
        nargs="+",
        type=given,
        metavar="SOURCE",
        help="a sweep, a table with columns step, lr and loss (and run, size), or a folder of such"
        " tables, one a curve",
    )
    curves.add_argument(
        "--schedule",
        action="append",
        type=given,
        metavar="SCHEDULE",
        help="predict the curve of this schedule, as in cosine,"
        " wsd:steps=20k,decay_frac=.2,cooldown=linear or a table of step and lr; repeat to compare"
        " (keys: steps, lr, warmup_steps, decay_steps, decay_frac, cooldown, final_frac and the"
        " schedule's own; slaw parts schedule lists them)",
    )
    curves.add_argument(
        "--hold-out",
        action="append",
        type=given,
        metavar="CURVE",
        help="predict this curve instead of fitting it, and score the prediction; longest holds out"
        " the longest of each model",
    )
    curves.add_argument(
        "--group",
        action="append",
        type=given,
        metavar="NAME",
        help="use only the curves of this model (default: all, which share the law's shape)",
    )
    curves.add_argument(
        "--law",
        type=underscored,
        default="progress",
        choices=("progress", "multi_power"),
        help="law of the curves (default: progress); the other one widens the intervals where the"
        " two differ",
    )
    curves.add_argument(
        "--columns",
        type=given,
        metavar="ROLE=COLUMN,...",
        help="columns of a table: step, lr, loss, run, group",
    )
    curves.add_argument(
        "--warmup-steps",
        type=count,
        metavar="N",
        help="a table's warm-up from 0, where its rows do not show it",
    )
    curves.add_argument(
        "--level",
        type=level,
        default=0.9,
        metavar="P",
        help="level of the intervals (default: 0.9)",
    )
    curves.add_argument(
        "--figure",
        type=picture,
        metavar="FILE",
        help="draw the curves, what is predicted, and its interval to this PNG or SVG file",
    )
    add_json_option(curves)
    curves.set_defaults(handler=_curves)
