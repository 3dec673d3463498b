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
from scaling_law.errors import EXIT_INTERRUPTED, EXIT_OK, SlawError

Handler = Callable[[argparse.Namespace], int]
RESULTS = "results"


def _say(text: str) -> None:
    """News for a person, on standard error; standard output is for results."""
    print(text, file=sys.stderr, flush=True)


def _run(options: argparse.Namespace) -> int:
    from scaling_law.run import session

    request = _request(options)
    if options.dry_run:
        print(session.dry_run_text(*session.plan_only(request, _say)))
        return EXIT_OK
    sweep, plan, outcome = session.run_sweep(request, _say)
    print(session.closing(sweep, plan, outcome))
    return outcome.exit_code


def _plan(options: argparse.Namespace) -> int:
    from scaling_law.run import session

    config, plan = session.plan_only(_request(options), _say)
    as_json = json.dumps(plan.to_json(), indent=1)
    print(as_json if options.json else session.dry_run_text(config, plan))
    return EXIT_OK


def _request(options: argparse.Namespace):  # type: ignore[no-untyped-def]
    from scaling_law.run.session import Request

    overrides = list(options.set or [])
    if options.memory:
        overrides.append(f"limits.memory={options.memory}")
    if options.time:
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


def _data(options: argparse.Namespace) -> int:
    from scaling_law.data import describe

    if options.action == "list":
        print(describe.format_corpora(describe.list_corpora()))
        return EXIT_OK
    spec = _data_spec(options)
    if options.action == "prepare":
        from scaling_law.data.prepare import prepare

        print(prepare(spec, progress=_say))
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


def _add_config_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", nargs="?", help="YAML file (instead of --mode)")
    parser.add_argument("--mode", default="quick", help="shipped config: quick, dev or full")
    parser.add_argument("--device", default="auto", choices=("auto", "cuda", "mps", "cpu"))
    parser.add_argument(
        "--set", action="append", metavar="KEY=VALUE", help="override a key, as in data.corpus=DIR"
    )


def _add_sweep_options(parser: argparse.ArgumentParser) -> None:
    _add_config_options(parser)
    parser.add_argument("--memory", metavar="GB", help="memory limit of all runs, as in 4GB")
    parser.add_argument("--time", metavar="T", help="time limit of the sweep, as in 2h")
    parser.add_argument("--out", metavar="DIR", help="the sweep's folder (results/<name>)")


def _add_run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    run = commands.add_parser(
        "run",
        help="train a sweep, or go on with one",
        description="Train every run of a config. Kill it and type the same line again: it goes "
        "on from the checkpoints and ends with the same numbers.",
    )
    _add_sweep_options(run)
    run.add_argument("--dry-run", action="store_true", help="print the plan and write nothing")
    run.set_defaults(handler=_run)
    plan = commands.add_parser("plan", help="print what a sweep would run and cost")
    _add_sweep_options(plan)
    plan.add_argument("--json", action="store_true", help="the plan as one JSON document")
    plan.set_defaults(handler=_plan)
    status = commands.add_parser("status", help="how far a sweep is")
    status.add_argument("folder", nargs="?", default=RESULTS, help="a sweep or a folder of them")
    status.add_argument("--json", action="store_true", help="one JSON document")
    status.set_defaults(handler=_status)


def _add_data(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    data = commands.add_parser("data", help="list, prepare or inspect the text of a config")
    data.add_argument("action", choices=("list", "prepare", "inspect"))
    _add_config_options(data)
    data.set_defaults(handler=_data)
    config = commands.add_parser("config", help="show a config in full, or its JSON schema")
    _add_config_options(config)
    config.add_argument("--schema", action="store_true", help="the JSON schema, for editors")
    config.set_defaults(handler=_config)
    completion = commands.add_parser("completion", help="print a shell completion script")
    completion.add_argument("shell", choices=("bash", "zsh", "tcsh"))
    completion.set_defaults(handler=_completion)


def make_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="slaw",
        description="Train grids of small GPTs, fit scaling laws to them, and forecast larger "
        "models honestly.",
        epilog="exit codes: 0 done, 2 bad input, 3 a run failed, 4 the data do not support it, "
        "5 a worker could not be started, 75 stopped after a checkpoint, 130 interrupted",
    )
    parser.add_argument("--version", action="version", version=f"slaw {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_run(commands)
    _add_data(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. Known errors print one line each, no traceback."""
    options = make_parser().parse_args(arguments)
    try:
        return int(options.handler(options))
    except SlawError as problem:
        for line in problem.lines:
            _say(f"slaw: {line}")
        return problem.exit_code
    except KeyboardInterrupt:
        _say("slaw: interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # the reader (head, less) left; nothing is wrong, and nothing more can be said
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
