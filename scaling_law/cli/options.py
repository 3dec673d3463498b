"""The command line's grammar: how values are read, options commands share, errors in a line."""

from __future__ import annotations

import argparse
import contextlib
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import Any, NoReturn, TypeAlias

from scaling_law.console import complain
from scaling_law.errors import EXIT_USAGE, ConfigError, did_you_mean, quoted
from scaling_law.files.layout import RESULTS

DEFAULT_MODE = "quick"
# The configs that are shipped, with what they take on 2 cores.
MODES = {"tour": "a minute", "quick": "10 minutes", "dev": "a day", "full": "a week"}
# What other commands call it: a size to forecast is a sweep's --target and a law's --params.
_CALLED_HERE = {
    "--target": ("--params",),
    "--params": ("--target",),
    "--to": ("--target", "--out"),
    "--write": ("--out",),
    "--figure": ("--out",),
    "--budget": ("--flops", "--time"),
    "--compute": ("--flops",),
    "--output": ("--out",),
}
_CONVENTION = (
    " (a fit's parameter count is chosen with slaw fit --convention, a table's with --params-are)"
)
# What some commands take without a flag, by the flag that others have for it.
_WITHOUT_A_FLAG = {
    "--results": ("a sweep", ("sources", "folders", "folder", "source")),
    "--config": ("a config", ("config",)),
}


class Parser(argparse.ArgumentParser):
    """Report in one line, like every other error, what argparse reports under a page of usage.

    A flag is taken only as it is written: cut short, it may mean another thing in each command.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **options})

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        """Let each command refuse unknown arguments itself, so that the error names its help."""
        words = sys.argv[1:] if args is None else list(args)
        known, unknown = super().parse_known_args(words, namespace)
        if unknown:
            hint = self._meant(unknown[0], words)
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        return known, unknown

    def _meant(self, word: str, words: Sequence[str]) -> str:
        if not word.startswith("-"):
            return " (a sweep goes after --results)" if "--results" in self._known() else ""
        flag, _, value = word.partition("=")
        if flag in _WITHOUT_A_FLAG:
            what, names = _WITHOUT_A_FLAG[flag]
            if any(action.dest in names for action in self._get_positional_actions()):
                after = [*words[words.index(word) + 1 :], ""][0] if word in words else ""
                said = value or ("" if after.startswith("-") else after)
                return f" ({what} is given without a flag: {self.prog} {said or '...'})"
        if flag == "--convention" and "--params-are" in self._known():
            return _CONVENTION
        for other in _CALLED_HERE.get(flag, ()):
            if other in self._known():
                return f" ({flag} is {other} here)"
        if "--set" in self._known() and (key := _key_of_config(flag)):
            return f" (a key of the config: --set {key}={value or '...'})"
        return did_you_mean(flag, self._known())

    def _to_choose_from(self, message: str) -> str:
        """The words that a missing argument may be, where there are only some."""
        _, required, names = message.partition("arguments are required: ")
        missing = set(names.split(", ")) if required else set()
        return "".join(
            f" (one of {', '.join(map(str, action.choices))})"
            for action in self._get_positional_actions()
            if action.choices and missing & {action.dest, action.metavar}
        )

    def _known(self) -> list[str]:
        return list(self._option_string_actions)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError:
            known = [str(choice) for choice in action.choices or ()]
            if hint := did_you_mean(str(value), known):
                raise argparse.ArgumentError(action, f"invalid choice: {value!r}{hint}") from None
            raise

    def error(self, message: str) -> NoReturn:
        complain([f"{message}{self._to_choose_from(message)}; see `{self.prog} --help`"])
        raise SystemExit(EXIT_USAGE)


def _key_of_config(flag: str) -> str:
    """The key of a config that a flag would set; "" for none."""
    from scaling_law.config.key_names import key_called

    return key_called(flag.removeprefix("--").replace("-", "_"))


Commands: TypeAlias = "argparse._SubParsersAction[Parser]"  # what commands are added to


def count(text: str) -> float:
    """Read a positive number such as 175e9 or 1.4T."""
    from scaling_law.units import parse_count

    try:
        return parse_count(text)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None


def multiplier(text: str) -> float:
    """Read a compute multiplier such as 1.02, or 1.02x."""
    with contextlib.suppress(ValueError):
        value = float(text.removesuffix("x"))
        if 0 < value < math.inf:
            return value
    raise argparse.ArgumentTypeError(
        f"expected a multiplier above 0, as in 1.02 where the base needs 2% more compute,"
        f" found {quoted(text)}"
    )


def count_or_times(text: str):  # type: ignore[no-untyped-def]
    """Read a positive number, or as in 10x a multiple of the law's largest."""
    from scaling_law.forecast.target import Times

    return Times(count(text[:-1])) if text[-1:] in ("x", "X") else count(text)


def counts_or_times(text: str):  # type: ignore[no-untyped-def]
    """Read one or several of these, as in 5M,10M,4x."""
    return [count_or_times(part) for part in text.split(",")]


def underscored(text: str) -> str:
    """Read a choice such as non_embedding, which texts for people write non-embedding."""
    return text.replace("-", "_")


def size(text: str) -> int:
    """Read bytes such as 80GB or 512MiB."""
    from scaling_law.units import parse_bytes

    try:
        return parse_bytes(text)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None


def whole(text: str) -> int:
    """Read a whole number; int() has an error of its own for 4300 digits."""
    try:
        if len(text) <= 100:
            return int(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"expected a whole number, found {quoted(text)}")


def fraction(text: str) -> float:
    """A plain number."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, found {quoted(text)}") from None


def log_scatter(text: str) -> float:
    """Read a standard deviation of log loss, as in 0.002."""
    with contextlib.suppress(ValueError):
        if 0 < float(text) < 1:
            return float(text)
    raise argparse.ArgumentTypeError(
        f"expected a number between 0 and 1, as in 0.002 for 0.2% of loss, found {quoted(text)}"
    )


def level(text: str) -> float:
    """Read the level of an interval, as in 0.9."""
    value = fraction(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"expected a number between 0 and 1, found {text}")
    return value


def given(text: str) -> str:
    """Read a text, such as a path. An empty one is an unset shell variable, and an error."""
    if not text.strip() or "\0" in text:
        raise argparse.ArgumentTypeError(
            f"expected a name or value (not empty, no NUL), found {quoted(text)}"
        )
    return text


def picture(text: str) -> str:
    """Read the name of a figure's file: a wrong suffix is refused before anything is fitted."""
    if PurePath(text).suffix.lower() not in (".png", ".svg"):
        raise argparse.ArgumentTypeError(f"expected a .png or .svg file, found {quoted(text)}")
    return given(text)


def duration(text: str) -> str:
    """Read a duration such as 2h here, so that the error for a wrong one names its flag."""
    from scaling_law.units import parse_seconds

    return _read(text, parse_seconds)


def memory(text: str) -> str:
    """Read a size such as 4GB; a bare number is in GB."""
    from scaling_law.units import parse_bytes

    return _read(text, parse_bytes)


def _read(text: str, parse: Callable[[str], float]) -> str:
    try:
        parse(given(text))
    except ValueError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None
    return text


def refuse_no_config(options: argparse.Namespace) -> None:
    """Raise ``ConfigError`` for a command that trains and names no config."""
    if options.config is None and options.mode is None:
        modes = ", ".join(f"--mode {name} ({cost})" for name, cost in MODES.items())
        raise ConfigError(
            f"nothing to run was named: give a config (YAML file), an experiment, a sweep's folder,"
            f" or {modes}"
        )


def config_of(options: argparse.Namespace) -> str:
    """Return the YAML file or the shipped config that the command names, by default quick.

    Raises ``ConfigError`` for both, and for a mode that there is not.
    """
    if options.config is not None and options.mode is not None:
        raise ConfigError(
            f"{options.config} and --mode {options.mode}: expected one of them, a file of your own"
            " or a shipped config"
        )
    if options.mode is not None and options.mode not in MODES:
        raise ConfigError(_no_mode(options.mode))
    return str(options.config or options.mode or DEFAULT_MODE)


def _no_mode(name: str) -> str:
    """Say what modes there are, and how an experiment runs."""
    from scaling_law.parts import shipped_files

    experiments = [path.stem for path in shipped_files("experiments", "*.yaml")]
    modes = ", ".join(MODES)
    if name in experiments:
        return f"--mode {name}: an experiment, and the modes are {modes}; try: slaw run {name}"
    hint = did_you_mean(name, [*MODES, *experiments])
    return (
        f"--mode {quoted(name)}: expected one of {modes}{hint}; slaw run NAME takes a file or an"
        " experiment (slaw experiments lists them)"
    )


def add_config_options(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    """Add the options for the config and the device.

    A command that is ``required`` to name a config has no default (``refuse_no_config``).
    """
    parser.add_argument(
        "config",
        nargs="?",
        type=given,
        help="YAML file, or a shipped config or experiment by name; for run and plan also a "
        "sweep's folder",
    )
    parser.add_argument(
        "--mode",
        type=given,
        metavar="NAME",
        help=f"shipped config: {', '.join(MODES)}"
        + ("" if required else f" (default: {DEFAULT_MODE})"),
    )
    parser.add_argument(
        "--device",
        default="auto",
        choices=("auto", "cuda", "mps", "cpu"),
        help="where to train (default: auto, which is cuda, else mps, else cpu)",
    )
    parser.add_argument(
        "--set",
        action="append",
        metavar="KEY=VALUE",
        help="override a key of the config, as in data.corpus=DIR; repeat for more keys",
    )


def add_sweep_options(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    """Add the options for the sweep and its limits; see ``add_config_options``."""
    add_config_options(parser, required=required)
    parser.add_argument(
        "--memory", type=memory, metavar="GB", help="memory limit of all runs, as in 4GB"
    )
    parser.add_argument(
        "--time", type=duration, metavar="T", help="time limit of the sweep, as in 2h"
    )
    parser.add_argument(
        "--out", type=given, metavar="DIR", help="the sweep's folder (default: results/<name>)"
    )
    parser.add_argument(
        "--engine",
        type=given,
        metavar="NAME",
        help="engine that executes the runs (default: the config's, else local); slaw parts "
        "engine lists them",
    )


def _add_loss_options(fit: argparse.ArgumentParser) -> None:
    fit.add_argument(
        "--loss",
        default="huber_log",
        choices=("huber_log", "mse_log", "mse"),
        help="what the fit minimises, over residuals of log loss or of loss (default: huber_log)",
    )
    fit.add_argument(
        "--huber-delta",
        type=count,
        default=1e-3,
        metavar="D",
        help="residual at which huber_log changes from squares to absolute values (default: 1e-3)",
    )


def add_fit_options(fit: argparse.ArgumentParser) -> None:
    """Add the options for what to fit, and how."""
    fit.add_argument(
        "sources",
        nargs="*",
        type=given,
        default=[RESULTS],
        help="sweeps, each by name, or one table (default: the only sweep in results)",
    )
    add_table_options(fit)
    fit.add_argument(
        "--convention",
        type=underscored,
        default="matmul",
        choices=("total", "non_embedding", "matmul"),
        help="which parameters count as the size (default: matmul, those of blocks and head)",
    )
    fit.add_argument(
        "--flops-count",
        default="exact",
        choices=("exact", "6nd"),
        help="which FLOPs count (default: exact)",
    )
    _add_loss_options(fit)
    fit.add_argument(
        "--level",
        type=fraction,
        default=0.9,
        metavar="P",
        help="level of the intervals (default: 0.9)",
    )
    fit.add_argument(
        "--intervals",
        default="percentile",
        choices=("percentile", "studentised"),
        help="method of the intervals: percentile, widened by Student's t when trunks are few, or "
        "studentised, which is the bootstrap-t (default: percentile)",
    )
    fit.add_argument(
        "--profile",
        action="append",
        metavar="PARAM",
        help="also print the profile likelihood of E or an exponent, by least squares in log loss "
        "(default: E)",
    )
    fit.add_argument(
        "--resamples",
        type=whole,
        default=1000,
        metavar="N",
        help="number of bootstrap resamples (default: 1000)",
    )
    fit.add_argument(
        "--seed", type=whole, default=0, metavar="N", help="seed of the bootstrap (default: 0)"
    )
    fit.add_argument(
        "--keep",
        action="append",
        metavar="RULE",
        help="turn off a rule that leaves runs out: not_annealed, stopped_early, grown, "
        "duplicates, repeats, batch, plateau, spike or too_low; recipes fits runs of several "
        "recipes as one",
    )
    add_json_option(fit)


def add_loudness_options(parser: argparse.ArgumentParser, *, default: object) -> None:
    """Add ``-q`` and ``-v``."""
    group = parser.add_argument_group("how much is printed")
    loudness = group.add_mutually_exclusive_group()
    for short, name, words in (
        ("-q", "--quiet", "print only results and errors"),
        ("-v", "--verbose", "also print details: versions, places, and the traceback of an error"),
    ):
        loudness.add_argument(short, name, action="store_true", default=default, help=words)


def add_json_option(parser: argparse._ActionsContainer) -> None:
    """Add ``--json``."""
    parser.add_argument(
        "--json", action="store_true", help="print one JSON document and nothing else"
    )


def add_forecast_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for the fit that a forecast or an allocation uses, and for its output."""
    parser.add_argument(
        "--results",
        type=given,
        metavar="DIR",
        help="the sweep or table whose fit is used (default: the only sweep in results)",
    )
    add_table_options(parser)
    parser.add_argument(
        "--level",
        type=fraction,
        default=0.9,
        metavar="P",
        help="level of the intervals (default: 0.9)",
    )
    add_json_option(parser)


def hardware_of(options: argparse.Namespace):  # type: ignore[no-untyped-def]
    """The devices that ``add_hardware_options`` and ``--gpu-count`` describe."""
    from scaling_law.forecast.hardware import Hardware, gpu_and_count

    gpu, count = gpu_and_count(options.gpu, getattr(options, "gpu_count", None))
    return Hardware(
        gpu=gpu,
        count=count,
        dollars_per_hour=options.gpu_price,
        utilisation=options.mfu,
    )


def add_hardware_options(parser: argparse._ArgumentGroup) -> None:
    """Add the options for the device that training is counted in, with the user's own figures."""
    parser.add_argument(
        "--gpu",
        type=given,
        metavar="NAME",
        help="a device of `slaw hardware`, or several, as in 8xH100 (default: H100)",
    )
    parser.add_argument(
        "--gpu-price",
        type=count,
        metavar="X",
        help="US dollars per device-hour (default: the table's price)",
    )
    parser.add_argument(
        "--mfu",
        type=count,
        metavar="F",
        help="share of the device's peak that training reaches (default: the table's)",
    )


def add_table_options(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    """Add the options for reading a table, and for choosing runs.

    Where ``several`` tables are read, ``--columns`` may be given once for each, and is a list.
    """
    group = parser.add_argument_group("for a table (--where: also for a sweep)")
    group.add_argument(
        "--columns",
        type=given,
        action="append" if several else "store",
        metavar="ROLE=COLUMN,...",
        help="names of the columns, as in params=N,tokens=D,loss=val_loss; further roles: flops, "
        "cluster (the trunk), seed, sem, size, run_id, unique_tokens, batch, state, "
        "tokens_per_second; ROLE= ignores a column"
        + ("; once for all tables, or once for each" if several else ""),
    )
    group.add_argument(
        "--params-are",
        type=underscored,
        default="",
        choices=("total", "non_embedding", "matmul", "active"),
        help="which parameters the column counts (default: not stated)",
    )
    group.add_argument(
        "--loss-unit",
        default="",
        choices=("nats", "bits", "bits-per-byte", "perplexity", "other"),
        help="unit of the loss column (default: nats per token, or what its name says)",
    )
    group.add_argument(
        "--units",
        type=given,
        metavar="ROLE=UNIT,...",
        help="units of columns, as in params=M,tokens=B,flops=PF-days (default: plain counts, or "
        "what a column's name says)",
    )
    group.add_argument(
        "--history",
        default="",
        choices=("last", "all"),
        help="rows to use where a run has many: its last, or all as one trunk (default: refuse)",
    )
    group.add_argument(
        "--where",
        action="append",
        metavar="COLUMN=VALUE",
        help="use only rows that meet this; also != < <= > >=; for a sweep a config key, as in "
        "optim.lr_mult=0.3",
    )
