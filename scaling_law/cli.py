"""The ``slaw`` command: parse, one library call, print, exit code.

Handlers import what they need when they run: ``slaw --help`` loads no torch, scipy, matplotlib
or pydantic.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from scaling_law import __version__
from scaling_law.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, ConfigError, SlawError
from scaling_law.flags import (
    RESULTS,
    Parser,
    add_config_options,
    add_fit_options,
    add_sweep_options,
    add_table_options,
    complain,
    count,
    fraction,
    given,
    picture,
    say,
)

Handler = Callable[[argparse.Namespace], int]


def _run(options: argparse.Namespace) -> int:
    from scaling_law.run import session

    request = _request(options)
    if options.dry_run:
        print(session.dry_run_text(*session.plan_only(request, say)))
        return EXIT_OK
    sweep, plan, outcome = session.run_sweep(request, say)
    print(session.closing(sweep, plan, outcome))
    return outcome.exit_code


def _plan(options: argparse.Namespace) -> int:
    from scaling_law.run import session

    config, plan = session.plan_only(_request(options), say)
    # never both: the JSON of 10,000 runs takes longer than planning them
    if options.json:
        print(json.dumps(plan.to_json(), indent=1))
    else:
        print(session.dry_run_text(config, plan))
    return EXIT_OK


def _request(options: argparse.Namespace):  # type: ignore[no-untyped-def]
    from scaling_law.run.session import Request

    overrides = list(options.set or [])
    if options.memory is not None:
        overrides.append(f"limits.memory={options.memory}")
    if options.time is not None:
        overrides.append(f"limits.time={options.time}")
    return Request(
        config=options.config or options.mode,
        device=options.device,
        overrides=tuple(overrides),
        out=options.out,
    )


def _status(options: argparse.Namespace) -> int:
    from scaling_law.record import find_sweeps
    from scaling_law.run.status import format_status, sweep_status

    found = [sweep_status(sweep) for sweep in find_sweeps(Path(options.folder))]
    print(json.dumps(found, indent=1) if options.json else "\n".join(map(format_status, found)))
    return EXIT_OK


def _fit(options: argparse.Namespace) -> int:
    from scaling_law.fit import session
    from scaling_law.fit.compare import compare, format_comparison

    suite, kept = session.fit_sources(
        [Path(f) for f in options.sources],
        _fit_settings(options),
        table=_table_settings(options),
        out=Path(options.out) if options.out else None,
    )
    approaches = compare(suite) if options.compare else None
    if options.figure:
        from scaling_law.report.fit_figure import write_figure

        say(f"figure: {write_figure(suite, approaches, Path(options.figure))}")
    if options.json:
        print(json.dumps(suite.to_json(), indent=1, allow_nan=False))
        return EXIT_OK
    print(
        session.format_suite(suite)
        if approaches is None
        else format_comparison(approaches, suite.settings.level)
    )
    print(f"\nkept in {kept}" if kept else "\nnot kept: name a folder with --out DIR")
    return EXIT_OK


def _validate(options: argparse.Namespace) -> int:
    from scaling_law.fit.session import validate_sources
    from scaling_law.fit.validation_text import format_validation

    check, points = validate_sources(
        [Path(f) for f in options.sources],
        _fit_settings(options),
        table=_table_settings(options),
        law=options.law,
    )
    if options.json:
        print(json.dumps(check.to_json(), indent=1, allow_nan=False))
    else:
        print(format_validation(check, points))
    return EXIT_OK


def _table_settings(options: argparse.Namespace):  # type: ignore[no-untyped-def]
    from scaling_law.fit.table import TableSettings, parse_columns

    return TableSettings(
        columns=parse_columns(options.columns) if options.columns else {},
        params_are=options.params_are,
        loss_unit=options.loss_unit,
        where=tuple(options.where or ()),
    )


def _fit_settings(options: argparse.Namespace):  # type: ignore[no-untyped-def]
    from scaling_law.fit.suite import FitSettings

    return FitSettings(
        convention=options.convention,
        flops=options.flops_count,
        loss=options.loss,
        huber_delta=options.huber_delta,
        level=options.level,
        resamples=options.resamples,
        seed=options.seed,
        keep=tuple(options.keep or ()),
        intervals=options.intervals,
        profiles=tuple(options.profile or ("E",)),
        laws=tuple(getattr(options, "laws", None) or ()),
    )


def _extrapolate(options: argparse.Namespace) -> int:
    from scaling_law import forecast

    targets = {
        name: getattr(options, name) for name in ("params", "tokens", "flops", "target_loss")
    }
    result = forecast.forecast(
        law=options.law,
        results=options.results,
        targets=targets,
        level=options.level,
        table=_table_settings(options),
        wish=_wish(options),
    )
    print(json.dumps(result.to_json(), indent=1, allow_nan=False) if options.json else result.text)
    return EXIT_OK


def _wish(options: argparse.Namespace):  # type: ignore[no-untyped-def]
    from scaling_law.decision import Wish

    return Wish(
        dollars=options.dollars,
        gpu=options.gpu,
        gpu_price=options.gpu_price,
        utilisation=options.mfu,
        tokens_per_param=options.tokens_per_param,
        tokens_served=options.tokens_served,
        tokens_unique=options.unique_tokens,
    )


def _hardware(options: argparse.Namespace) -> int:
    from scaling_law.hardware import format_hardware

    print(format_hardware())
    return EXIT_OK


def _report(options: argparse.Namespace) -> int:
    from scaling_law.record import find_sweeps
    from scaling_law.report.html import write_report

    sweeps = find_sweeps(Path(options.folder))
    if options.out and len(sweeps) > 1:
        names = ", ".join(str(sweep.path) for sweep in sweeps)
        raise ConfigError(f"--out {options.out}: one page, but {len(sweeps)} sweeps: {names}")
    for sweep in sweeps:
        out = Path(options.out) if options.out else None
        print(write_report(sweep, out=out, target_params=options.params))
    return EXIT_OK


def _data(options: argparse.Namespace) -> int:
    from scaling_law.data import describe

    if options.action == "list":
        print(describe.format_corpora(describe.list_corpora()))
        return EXIT_OK
    spec = _data_spec(options)
    if options.action == "prepare":
        from scaling_law.data.prepare import prepare

        print(prepare(spec, progress=say))
    else:
        print(describe.inspect(spec))
    return EXIT_OK


def _data_spec(options: argparse.Namespace):  # type: ignore[no-untyped-def]
    from scaling_law.config import load_config

    config = load_config(
        options.config or options.mode,
        overrides=options.set or [],
        device_kind="cpu" if options.device == "auto" else options.device,
    )
    return config.data.spec()


def _config(options: argparse.Namespace) -> int:
    from scaling_law import config

    if options.schema:
        print(json.dumps(config.json_schema(), indent=1))
        return EXIT_OK
    kind = "cpu" if options.device == "auto" else options.device
    name = options.config or options.mode
    loaded = config.load_config(name, overrides=options.set or [], device_kind=kind)
    print(config.config_yaml(loaded), end="")
    return EXIT_OK


def _completion(options: argparse.Namespace) -> int:
    import shtab

    print(shtab.complete(make_parser(), shell=options.shell))
    return EXIT_OK


def _add_run(commands: argparse._SubParsersAction[Parser]) -> None:
    run = commands.add_parser(
        "run",
        help="train a sweep, or go on with one",
        description="Train every run of a config. Kill it and type the same line again: it goes "
        "on from the checkpoints and ends with the same numbers.",
    )
    add_sweep_options(run)
    run.add_argument("--dry-run", action="store_true", help="print the plan and write nothing")
    run.set_defaults(handler=_run)
    plan = commands.add_parser("plan", help="print what a sweep would run and cost")
    add_sweep_options(plan)
    plan.add_argument("--json", action="store_true", help="the plan as one JSON document")
    plan.set_defaults(handler=_plan)
    status = commands.add_parser("status", help="how far a sweep is")
    status.add_argument(
        "folder", nargs="?", type=given, default=RESULTS, help="a sweep or a folder of them"
    )
    status.add_argument("--json", action="store_true", help="one JSON document")
    status.set_defaults(handler=_status)


def _add_fit(commands: argparse._SubParsersAction[Parser]) -> None:
    fit = commands.add_parser(
        "fit",
        help="fit scaling laws to finished runs",
        description="Fit Kaplan's, Chinchilla's and later laws to the annealed runs of one or more "
        "results folders, or to a table of anybody's runs (CSV, TSV, JSON, JSONL, parquet), with "
        "intervals, checks and every excluded run named.",
    )
    add_fit_options(fit)
    fit.add_argument(
        "--law",
        action="append",
        dest="laws",
        metavar="NAME",
        help="fit this one too, as in broken, saturating:tokens",
    )
    fit.add_argument(
        "--out", type=given, metavar="DIR", help="keep the fit there (the sweep's folder)"
    )
    fit.add_argument(
        "--compare",
        action="store_true",
        help="envelope, IsoFLOP and parametric side by side, under every parameter count",
    )
    fit.add_argument(
        "--figure", type=picture, metavar="FILE", help="draw the fit, or --compare, as .png or .svg"
    )
    fit.set_defaults(handler=_fit)
    check = commands.add_parser(
        "validate",
        help="hold runs out, predict them, and say how far a law may be trusted",
        description="Leave out sizes, trunks, long and dear runs in turn, predict them from the "
        "others, and score errors, bias and the coverage of intervals.",
    )
    add_fit_options(check)
    check.add_argument("--law", type=given, help="(the one that best predicts held-out runs)")
    check.set_defaults(handler=_validate)


def _add_extrapolate(commands: argparse._SubParsersAction[Parser]) -> None:
    more = commands.add_parser(
        "extrapolate",
        help="forecast a larger model from a fitted or published law",
        description="Forecast the loss of a larger model, with its interval and how far beyond "
        "the data it stands. With --params alone: at that size's compute-optimal tokens.",
    )
    more.add_argument("--params", type=count, metavar="N", help="model size, as in 175e9")
    more.add_argument("--tokens", type=count, metavar="D", help="training tokens, as in 1.4T")
    more.add_argument("--flops", type=count, metavar="C", help="training compute, as in 1e21")
    more.add_argument("--target-loss", type=count, metavar="L", help="nats per token")
    group = more.add_argument_group("what to decide")
    for name, metavar, words in (
        ("--dollars", "X", "budget in US dollars, on --gpu"),
        ("--tokens-per-param", "R", "train at this ratio (over-trained, when above the optimum)"),
        ("--tokens-served", "T", "with --target-loss: cheapest to train and to serve T tokens"),
        ("--unique-tokens", "U", "of --tokens, the different ones (law muennighoff)"),
        ("--gpu-price", "X", "US dollars per device-hour, instead of the table's"),
        ("--mfu", "F", "share of the device's peak, instead of the table's"),
    ):
        group.add_argument(name, type=count, metavar=metavar, help=words)
    group.add_argument(
        "--gpu", type=given, metavar="NAME", help="a device of `slaw hardware` (H100)"
    )
    more.add_argument(
        "--law", type=given, help="a law of the fit, or a published one: see the README"
    )
    more.add_argument(
        "--results", type=given, metavar="DIR", help="the sweep, or table, whose fit is used"
    )
    add_table_options(more)
    more.add_argument("--level", type=fraction, default=0.9, help="of the interval (0.9)")
    more.add_argument("--json", action="store_true", help="one JSON document and nothing else")
    more.set_defaults(handler=_extrapolate)
    hardware = commands.add_parser("hardware", help="devices, their peaks, prices and sources")
    hardware.set_defaults(handler=_hardware)
    report = commands.add_parser("report", help="write one HTML page and figures for a sweep")
    report.add_argument(
        "folder", nargs="?", type=given, default=RESULTS, help="a sweep or a folder of them"
    )
    report.add_argument("--out", type=given, metavar="FILE", help="the page (<sweep>/report.html)")
    report.add_argument("--params", type=count, default=175e9, help="size to forecast (175e9)")
    report.set_defaults(handler=_report)


def _add_data(commands: argparse._SubParsersAction[Parser]) -> None:
    data = commands.add_parser("data", help="list, prepare or inspect the text of a config")
    data.add_argument("action", choices=("list", "prepare", "inspect"))
    add_config_options(data)
    data.set_defaults(handler=_data)
    config = commands.add_parser("config", help="show a config in full, or its JSON schema")
    add_config_options(config)
    config.add_argument("--schema", action="store_true", help="the JSON schema, for editors")
    config.set_defaults(handler=_config)
    completion = commands.add_parser("completion", help="print a shell completion script")
    completion.add_argument("shell", choices=("bash", "zsh", "tcsh"))
    completion.set_defaults(handler=_completion)


def make_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = Parser(
        prog="slaw",
        description="Train grids of small GPTs, fit scaling laws to them, and forecast larger "
        "models honestly.",
        epilog="exit codes: 0 done, 2 bad input, 3 a run failed, 4 the data do not support it, "
        "5 a worker could not be started, 75 stopped after a checkpoint, 130 interrupted",
    )
    parser.add_argument("--version", action="version", version=f"slaw {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_run(commands)
    _add_fit(commands)
    _add_extrapolate(commands)
    _add_data(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. Known errors print one line each, no traceback."""
    options = make_parser().parse_args(arguments)
    try:
        return int(options.handler(options))
    except SlawError as problem:
        complain(problem.lines)
        return problem.exit_code
    except KeyboardInterrupt:
        say("slaw: interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # the reader (head, less) left; nothing is wrong, and nothing more can be said
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except OSError as problem:
        # what no command foresaw: a name too long, a loop of links, a full disk
        where = f"{problem.filename}: " if problem.filename else ""
        complain([f"{where}cannot be used ({problem.strerror or problem}); try another path"])
        return EXIT_USAGE


if __name__ == "__main__":
    sys.exit(main())
