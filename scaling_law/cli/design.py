"""The options and the handler of ``slaw plan --target``; ``cli.run`` adds the command ``plan``."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path

from scaling_law.cli.fit import table_settings, typed_table_options
from scaling_law.cli.options import (
    DEFAULT_MODE,
    add_hardware_options,
    add_table_options,
    count,
    fraction,
    given,
    hardware_of,
    whole,
)
from scaling_law.console import say, show
from scaling_law.errors import EXIT_OK, ConfigError
from scaling_law.files.layout import is_table

_TARGETS = ("target", "target_tokens", "target_flops", "target_loss")
_ONLY_WITH_TARGET = ("flops", "dollars", "gpu", "gpu_price", "mfu", "write", "beside")

PLAN_WORDS = (
    "Print what a config would run and cost. With a target and a budget (--time, --flops or"
    " --dollars): choose the sizes, horizons and seeds whose fit forecasts the target's loss"
    " most sharply, from the config's smallest size up; the config's data, model, optimiser and"
    " device stay, its grid is replaced. Given a folder of runs instead of a config: choose the"
    " next batch beside them; --beside TABLE has such runs of another program. --memory stays a"
    " limit of all runs at once."
)


def chosen_words(options: argparse.Namespace) -> str:
    """What a plan assumes where the config or the target was left out; empty with both."""
    words = []
    if options.config is None and options.mode is None:
        words.append(f"no config given: {DEFAULT_MODE}; a YAML file or --mode names another")
    if not _has_target(options):
        words.append(
            "no target given: the grid as written, within --time and --memory; --target N chooses"
            " runs for it"
        )
    return "\n".join(words)


def _has_target(options: argparse.Namespace) -> bool:
    return any(getattr(options, name) is not None for name in _TARGETS)


def wants_design(options: argparse.Namespace) -> bool:
    """Whether a target is named. Raises ``ConfigError`` for a design's options without one."""
    if options.config is not None and is_table(Path(options.config)):
        raise ConfigError(
            f"{options.config}: a table, expected a config; `slaw plan CONFIG --beside"
            f" {shlex.quote(options.config)} --target N --time T` chooses runs beside those of the"
            " table, trained as the config says"
        )
    if not options.beside and (words := typed_table_options(options)):
        raise ConfigError(f"{words[0]}: with --beside TABLE only")
    if _has_target(options):
        return True
    needed = [name for name in _ONLY_WITH_TARGET if getattr(options, name, None) is not None]
    if needed or _is_sweep(options.config):
        what = f"--{needed[0].replace('_', '-')}" if needed else f"{options.config}: a folder"
        raise ConfigError(
            f"{what}: choosing runs needs a target: give --target N (parameters), --target-tokens,"
            " --target-flops or --target-loss"
        )
    return False


def _is_sweep(path: str | None) -> bool:
    """Say whether the command names a folder of runs rather than a config.

    Every ``slaw plan`` asks this, so it loads nothing that only designs need.
    """
    return path is not None and Path(path).is_dir()


def wants_rounds(options: argparse.Namespace) -> bool:
    """Whether ``slaw run`` chooses its runs. Raises ``ConfigError`` for a target without it."""
    if not options.adaptive:
        for name in (*_TARGETS, *_ONLY_WITH_TARGET, "width"):
            if getattr(options, name, None) is not None:
                raise ConfigError(
                    f"--{name.replace('_', '-')}: with --adaptive only; `slaw plan` chooses runs"
                    " for a target and writes them as a config"
                )
    return bool(options.adaptive)


def goal_of(options: argparse.Namespace):  # type: ignore[no-untyped-def]
    """The target and the budget that were typed, and with --adaptive the width and the rounds."""
    from scaling_law.design.propose import DesignGoal
    from scaling_law.design.session import budget_of
    from scaling_law.forecast.hardware import named_hardware
    from scaling_law.forecast.target import Target

    for name in ("gpu", "gpu_price", "mfu"):
        if getattr(options, name) is not None and options.dollars is None:
            raise ConfigError(
                f"--{name.replace('_', '-')}: with --dollars only, whose FLOPs it counts; --time is"
                " that of the device here"
            )
    budget = budget_of(
        time=options.time,
        flops=options.flops,
        dollars=options.dollars,
        hardware=named_hardware(hardware_of(options), dollars=options.dollars),
    )
    target = Target(
        params=options.target,
        tokens=options.target_tokens,
        flops=options.target_flops,
        target_loss=options.target_loss,
    )
    return DesignGoal(
        target=target,
        budget=budget,
        level=options.level,
        width_nats=getattr(options, "width", None),
        rounds=getattr(options, "rounds", 1),
    )


def propose(options: argparse.Namespace, request: object) -> int:
    """Choose runs, print them, and save them where asked."""
    from scaling_law.design import session
    from scaling_law.design import text as design_text

    proposal = session.design(
        request,  # type: ignore[arg-type]
        goal_of(options),
        say,
        session.Beside(path=Path(options.beside), table=table_settings(options))
        if options.beside
        else None,
    )
    written = Path(options.write) if options.write else None
    if written is not None:
        session.write(proposal, written)
    if options.json:
        show(json.dumps(proposal.to_json(), indent=1, allow_nan=False))
        return EXIT_OK
    sweep = Path(options.config) if _is_sweep(options.config) else None
    show(
        "\n".join(
            filter(None, [chosen_words(options), design_text.render(proposal, written, sweep)])
        )
    )
    return EXIT_OK


def adapt(options: argparse.Namespace, request: object) -> int:
    """Run, fit and choose again."""
    from scaling_law.design.adaptive import run_adaptive

    if options.dry_run:
        raise ConfigError("--dry-run with --adaptive: `slaw plan` with the same target shows it")
    if _is_sweep(options.config):
        raise ConfigError(
            f"{options.config}: a folder; --adaptive takes the config (YAML file) that it starts"
            " from, and resumes when the same command runs again"
        )
    if options.width is None:
        raise ConfigError("--adaptive: give --width W, the interval's width in nats to stop at")
    return run_adaptive(request, goal_of(options), say)  # type: ignore[arg-type]


def add_target_options(parser: argparse.ArgumentParser, title: str) -> None:
    """Add the options for the target and the budget."""
    group = parser.add_argument_group(title)
    group.add_argument(
        "--target", type=count, metavar="N", help="parameters to forecast at, as in 175e9"
    )
    for name, metavar, words in (
        ("--target-tokens", "D", "training tokens of the target (default: compute-optimal)"),
        ("--target-flops", "C", "training compute to forecast at, instead of N or with it"),
        ("--target-loss", "L", "forecast at the cheapest run with this loss, in nats per token"),
        ("--flops", "C", "budget of all runs in exact FLOPs (or --time)"),
        ("--dollars", "X", "budget in US dollars, as FLOPs on --gpu"),
    ):
        group.add_argument(name, type=count, metavar=metavar, help=words)
    add_hardware_options(group)
    group.add_argument(
        "--level",
        type=fraction,
        default=0.9,
        metavar="P",
        help="level of the interval (default: 0.9)",
    )


def add_adaptive_options(run: argparse.ArgumentParser) -> None:
    """Add the options of ``slaw run`` that choose runs, round by round."""
    add_target_options(run, "with --adaptive: the target, and the budget of all rounds (--time)")
    run.add_argument(
        "--adaptive",
        action="store_true",
        help="choose runs for --target, train, fit and choose again, until the forecast's"
        " interval is --width wide or the budget is spent",
    )
    run.add_argument(
        "--width",
        type=count,
        metavar="W",
        help="with --adaptive: width of the interval to stop at, in nats per token",
    )
    run.add_argument(
        "--rounds",
        type=whole,
        default=4,
        metavar="N",
        help="with --adaptive: most rounds (default: 4)",
    )


def add_plan_options(plan: argparse.ArgumentParser) -> None:
    """Add the options of ``slaw plan`` that choose runs."""
    plan.add_argument(
        "--beside",
        type=given,
        metavar="TABLE",
        help="choose runs beside those of this table, which were trained as the config says",
    )
    add_table_options(plan)
    add_target_options(plan, "choose the runs that forecast a target best")
    plan.add_argument("--write", type=given, metavar="FILE", help="save the chosen sweep as YAML")
