"""``slaw run``, ``plan``, ``status``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from scaling_law.cli import design
from scaling_law.cli.options import (
    Commands,
    add_json_option,
    add_sweep_options,
    config_of,
    given,
    refuse_no_config,
)
from scaling_law.console import answer, say, show
from scaling_law.errors import EXIT_FIT, EXIT_OK, ConfigError, SlawError
from scaling_law.files.layout import RESULTS, hides_shipped


def _run(options: argparse.Namespace) -> int:
    from scaling_law.run.request import resumed

    rounds = design.wants_rounds(options)
    if not rounds and (options.verify is None or options.out is None):
        refuse_no_config(options)
    if rounds and options.detach:
        raise ConfigError("--detach: not with --adaptive, whose rounds are fitted here")
    if rounds:
        return design.adapt(options, _request(options, timed=False))
    request = resumed(_request(options))
    if options.verify is not None:
        return _verify(options, request)
    if options.dry_run:
        from scaling_law.run.planning import plan_only
        from scaling_law.run.text import dry_run_text

        show(dry_run_text(*plan_only(request, say)))
        return EXIT_OK
    if options.detach:
        from scaling_law.run.detached import detach

        sweep = detach(request, say)
        answer(f"next: slaw status {sweep.path} (or monitor); slaw cancel {sweep.path} ends it")
        return EXIT_OK
    if options.detached:
        from scaling_law.run.detached import watched

        return watched(request, lambda: _train(request), say)
    return _train(request)


def _train(request) -> int:  # type: ignore[no-untyped-def]
    from scaling_law.run.request import has_stages

    if has_stages(request):
        from scaling_law.run.stages import run_stages

        return run_stages(request, say)
    from scaling_law.run.session import run_sweep
    from scaling_law.run.text import closing

    sweep, plan, outcome = run_sweep(request, say)
    answer(closing(sweep, plan, outcome))
    if outcome.exit_code == EXIT_OK and outcome.is_without_a_loss(plan):
        return EXIT_FIT
    return outcome.exit_code


def _cancel(options: argparse.Namespace) -> int:
    from scaling_law.files.record import only_sweep
    from scaling_law.run.detached import cancel

    sweep = only_sweep(Path(options.folder))
    code = cancel(sweep, say)
    answer(f"to resume from the checkpoints: slaw run {sweep.path}")
    return code


def _verify(options: argparse.Namespace, request) -> int:  # type: ignore[no-untyped-def]
    from scaling_law.run.engines import engine_named
    from scaling_law.run.request import sweep_folder
    from scaling_law.run.verify import verify

    sweep = sweep_folder(request)
    engine = engine_named(options.engine) if options.engine is not None else None
    verification = verify(sweep, options.verify, options.device, say, engine)
    show(verification.text)
    return verification.exit_code


def _plan(options: argparse.Namespace) -> int:
    from scaling_law.run.planning import plan_only
    from scaling_law.run.text import dry_run_text, plan_json

    if design.wants_design(options):
        return design.propose(options, _request(options, timed=False))
    config, plan = plan_only(_request(options), say)
    # not both: the JSON of 10,000 runs takes longer than planning them
    if options.json:
        show(json.dumps(plan_json(config, plan), indent=1))
    else:
        show(dry_run_text(config, plan, design.chosen_words(options)))
    return EXIT_OK


def _request(options: argparse.Namespace, *, timed: bool = True):  # type: ignore[no-untyped-def]
    """Return the command's request; ``timed`` makes --time a limit of the sweep, not a budget."""
    from scaling_law.run.request import Request

    name = config_of(options)
    if hides_shipped(name):
        kind = "folder" if Path(name).is_dir() else "file"
        say(f"{name}: taking the {kind} ./{name}, not the shipped config or experiment")
    overrides = list(options.set or [])
    if options.memory is not None:
        overrides.append(f"limits.memory={options.memory}")
    if options.time is not None and timed:
        overrides.append(f"limits.time={options.time}")
    return Request(
        config=name,
        device=options.device,
        overrides=tuple(overrides),
        out=options.out,
        engine=options.engine,
        detached=getattr(options, "detached", False),
    )


def _status(options: argparse.Namespace) -> int:
    from scaling_law.files.record import find_sweeps, sweeps_begun
    from scaling_law.run.sweep_state.reader import sweep_status
    from scaling_law.run.sweep_state.text import format_status

    folder = Path(options.folder)
    try:
        sweeps = sweeps_begun(folder) or find_sweeps(folder)
    except ConfigError:
        # nothing is wrong before the first `slaw run`; a folder that was named is a typo
        if options.folder != RESULTS or folder.is_file():
            raise
        show(
            "[]" if options.json else f"{folder}: no sweep yet; `slaw run --mode quick` starts one"
        )
        return EXIT_OK
    states, problems = [], list[str]()
    for sweep in sweeps:
        try:
            states.append(sweep_status(sweep))
        except SlawError as problem:  # of one sweep: the others are shown
            problems += problem.lines
    if states or not problems:
        text = "\n".join(map(format_status, states))
        show(json.dumps(states, indent=1) if options.json else text)
    if problems:
        raise ConfigError(*problems)
    return EXIT_OK


def add(commands: Commands) -> None:
    """Declare the commands of this file."""
    run = commands.add_parser(
        "run",
        help="train a sweep, or resume one",
        description="Train every run of a config. After a kill, run the same command again, or "
        "name the sweep's folder: it resumes from the checkpoints and ends with the same numbers. "
        "A changed config may add sizes, horizons and seeds to a folder; another recipe is refused "
        "there.",
    )
    add_sweep_options(run, required=True)
    instead = run.add_mutually_exclusive_group()
    instead.add_argument("--dry-run", action="store_true", help="print the plan and write nothing")
    instead.add_argument(
        "--verify",
        type=given,
        metavar="RUN",
        help="train a finished run (its id, its label, or all) again in a temporary folder and "
        "compare",
    )
    instead.add_argument(
        "--detach",
        action="store_true",
        help="let jobs of the engine's queue (--engine slurm) run it to its end, and return",
    )
    instead.add_argument("--detached", action="store_true", help=argparse.SUPPRESS)
    design.add_adaptive_options(run)
    run.set_defaults(handler=_run)
    plan = commands.add_parser(
        "plan",
        help="print what a sweep would run and cost, or choose one for a target",
        description=design.PLAN_WORDS,
    )
    add_sweep_options(plan)
    design.add_plan_options(plan)
    add_json_option(plan)
    plan.set_defaults(handler=_plan)
    status = commands.add_parser(
        "status",
        help="show the progress of a sweep",
        description="Print the progress of each run of a sweep, while it runs or after. For a "
        "folder of several sweeps, print each.",
    )
    status.add_argument(
        "folder",
        nargs="?",
        type=given,
        default=RESULTS,
        help="a sweep or a folder of sweeps (default: results)",
    )
    add_json_option(status)
    status.set_defaults(handler=_status)
    cancel = commands.add_parser(
        "cancel",
        help="stop all that works on a sweep, after checkpoints",
        description="Stop every `slaw run` of a sweep, wherever it runs, and its jobs in an "
        "engine's queue: those that wait at once, those that run after a checkpoint. `slaw run` "
        "resumes it.",
    )
    cancel.add_argument("folder", type=given, help="a sweep, or a folder with one")
    cancel.set_defaults(handler=_cancel)
