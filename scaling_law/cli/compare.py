"""``slaw compare``."""

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
    log_scatter,
    multiplier,
    underscored,
)
from scaling_law.console import show
from scaling_law.errors import EXIT_OK, ConfigError
from scaling_law.units import count_of


def _compare(options: argparse.Namespace) -> int:
    from scaling_law.fit.points.table_settings import parse_columns
    from scaling_law.fit.recipes.compare_points import Question
    from scaling_law.fit.recipes.compare_sources import Reading, compare_sources
    from scaling_law.fit.recipes.compare_text import format_comparisons

    columns = options.columns or []
    if len(columns) not in (0, 1, len(options.sources)):
        raise ConfigError(
            f"--columns {len(columns)} times for {count_of(len(options.sources), 'source')}:"
            " expected once for all, or once for each in their order"
        )
    # settings of all tables have one map of columns
    options.columns = columns[0] if len(columns) == 1 else None
    comparisons = compare_sources(
        [Path(source) for source in options.sources],
        Question(
            at_least=options.at_least,
            params=tuple(options.params or ()),
            flops=tuple(options.flops or ()),
            by_clock=options.clock,
            noise=options.noise,
            level=options.level,
        ),
        Reading(
            convention=options.convention,
            keep=tuple(options.keep or ()),
            metric=options.metric,
            table=table_settings(options),
            columns=tuple(map(parse_columns, columns)) if len(columns) > 1 else (),
        ),
        by=options.by or (),
        base=options.base,
    )
    if options.json:
        show(json.dumps(comparisons.to_json(), indent=1, allow_nan=False))
    else:
        show(format_comparisons(comparisons))
    return EXIT_OK


def add(commands: Commands) -> None:
    """Declare the command."""
    compare = commands.add_parser(
        "compare",
        help="the compute that one recipe saves over another, against a bar and beyond the runs",
        description="Compare recipes by the runs of two or more sweeps or tables, the base first,"
        " or by the arms of one (--by). The compute multiplier is the compute that the base needs"
        " for the loss of the other recipe, over that recipe's own: above 1x it saves compute. It"
        " is given with its interval at each scale of the other recipe, in FLOPs and, where"
        " throughputs are known, by the clock, with its trend. Two to four sizes, few seeds and"
        " unequal grids are enough; slaw report A B draws two sweeps of one grid.",
        epilog="exit codes: 0 with an answer, which may be undecided; 2 for losses that do not"
        " compare and other bad input; 4 where the runs do not support an answer",
    )
    compare.add_argument(
        "sources",
        nargs="+",
        type=given,
        metavar="SOURCE",
        help="a sweep or a table, the base first",
    )
    compare.add_argument(
        "--by",
        action="append",
        type=given,
        metavar="KEY",
        help="compare the values of this axis, config key or table column in the only source;"
        " repeat for more keys",
    )
    compare.add_argument(
        "--base", type=given, metavar="NAME", help="recipe or value that is the base (the first)"
    )
    compare.add_argument(
        "--at-least",
        type=multiplier,
        metavar="X",
        help="bar for the multiplier, as in 1.02, at the largest scale or target: pass, fail, or"
        " undecided with the runs that would decide",
    )
    compare.add_argument(
        "--clock", action="store_true", help="judge the bar by the clock instead of FLOPs"
    )
    compare.add_argument(
        "--params", action="append", type=count, metavar="N", help="size to extrapolate to"
    )
    compare.add_argument(
        "--flops", action="append", type=count, metavar="C", help="compute to extrapolate to"
    )
    compare.add_argument(
        "--noise",
        type=log_scatter,
        metavar="F",
        help="standard deviation of log loss between seeds, as in 0.002, for runs without repeats"
        " (default: estimated)",
    )
    compare.add_argument(
        "--metric",
        type=given,
        metavar="NAME",
        help="compare by this metric of a sweep's runs, one that falls, as in loss.val:NAME",
    )
    compare.add_argument(
        "--convention",
        type=underscored,
        default="matmul",
        choices=("total", "non_embedding", "matmul"),
        help="which parameters count, of a sweep (default: matmul, those of blocks and head)",
    )
    compare.add_argument(
        "--keep",
        action="append",
        metavar="RULE",
        help="turn off a rule that leaves runs out, as in slaw fit",
    )
    compare.add_argument(
        "--level",
        type=fraction,
        default=0.9,
        metavar="P",
        help="level of the intervals (default: 0.9)",
    )
    add_table_options(compare, several=True)
    add_json_option(compare)
    compare.set_defaults(handler=_compare)
