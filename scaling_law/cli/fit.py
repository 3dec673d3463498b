"""``slaw fit`` and ``validate``."""

from __future__ import annotations

import argparse
import contextlib
import json
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scaling_law.cli.options import Commands, add_fit_options, given, picture
from scaling_law.console import say, show
from scaling_law.errors import EXIT_OK, ConfigError, FitError, reason_lines
from scaling_law.files.layout import RESULTS
from scaling_law.units import format_count, format_seconds

if TYPE_CHECKING:
    from scaling_law.fit.approaches.compare import Approach
    from scaling_law.fit.arms import ArmFit
    from scaling_law.fit.suite import FitSuite


@contextlib.contextmanager
def _pointing_to_experiments(sources: Sequence[str]) -> Iterator[None]:
    """Add to a refused fit which experiments the runs belong to, and how to read those."""
    try:
        yield
    except FitError as problem:
        raise FitError(*problem.lines, *_experiment_lines(sources)) from None


def _experiment_lines(sources: Sequence[str]) -> list[str]:
    from scaling_law.experiment.analysis import named_by, report_command
    from scaling_law.files.record import find_sweeps

    lines = []
    for folder in (Path(source) for source in sources if Path(source).is_dir()):
        # a config that cannot be read names no experiment
        with contextlib.suppress(ConfigError):
            for sweep in find_sweeps(folder):
                if (named := named_by(sweep)) is not None:
                    name = Path(named.text).stem
                    lines.append(f"these runs belong to experiment {name}: {report_command(sweep)}")
    return lines


def _say_which(sources: Sequence[str]) -> None:
    """Name the sweep that is read where none was named."""
    from scaling_law.files.record import only_sweep

    if list(sources) == [RESULTS]:
        with contextlib.suppress(ConfigError):  # said where the sweep is read
            say(f"reading {only_sweep(Path(RESULTS)).path}")


def _fit(options: argparse.Namespace) -> int:
    _say_which(options.sources)
    with _pointing_to_experiments(options.sources):
        return _fit_one(options)


def _fit_one(options: argparse.Namespace) -> int:
    from scaling_law.fit import session
    from scaling_law.fit.approaches.compare import compare, format_comparison

    if options.by and options.metric:
        raise ConfigError("--metric is for one fit; choose an arm with --where instead of --by")
    if options.by:
        return _fit_by(options)
    suite, saved = session.fit_sources(
        [Path(f) for f in options.sources],
        _fit_settings(options),
        table=table_settings(options),
        out=Path(options.out) if options.out else None,
    )
    approaches = compare(suite) if options.compare else None
    if options.figure:
        from scaling_law.report.fit_figure import write_figure

        say(f"figure: {write_figure(suite, approaches, Path(options.figure))}")
    if options.json:
        show(json.dumps(suite.to_json(), indent=1, allow_nan=False))
        _refuse_no_law(suite, approaches)
        return EXIT_OK
    if approaches is not None:
        show(format_comparison(approaches, suite.settings.level))
    else:
        show(session.format_suite(suite) if options.full else session.format_brief(suite))
    if options.metric is None:
        show(f"\nsaved in {saved}" if saved else "\nnot saved; pass --out DIR")
    else:
        show("\nnot saved: forecasts read a saved fit as one of the loss")
    trust = suite.validation.trust_flops_factor
    best = suite.joint_law
    can_forecast = best is not None and best.usable
    more = [] if trust or not can_forecast else _more_runs(options, suite)
    show("\n".join(_next_lines(options, more, can_forecast=can_forecast, trust=trust)))
    _refuse_no_law(suite, approaches)
    return EXIT_OK


def _refuse_no_law(suite: FitSuite, approaches: Sequence[Approach] | None) -> None:
    """Raise ``FitError`` for a fit, shown before, that gives none of what was asked for.

    That is a law of size and tokens, a law that was named, or with --compare an exponent.
    """
    named = any(suite.laws[name].params for name in suite.settings.laws)
    given = named or suite.joint_law is not None
    if approaches is not None:
        given = any(one.exponent is not None for one in approaches)
    if not given:
        raise FitError(suite.why_no_joint_law)


def _more_runs(options: argparse.Namespace, suite: FitSuite) -> list[str]:
    """The command that chooses further runs of a sweep's folder, what for, and their cost.

    Empty for a table or a choice of runs, and for a sweep that no further runs can be chosen for.
    """
    from scaling_law.design.session import further_runs
    from scaling_law.fit.session import laws_of

    if len(options.sources) != 1 or options.metric or options.out or typed_table_options(options):
        return []
    further = further_runs(Path(options.sources[0]), laws_of(suite), options.convention)
    if further is None:
        return []
    words = ["--target", further.target, "--time", further.time]
    lines = [
        f"slaw plan {shlex.join([options.sources[0], *words])}",
        f"  chooses the runs that forecast {further.times} times the largest size best, for"
        f" {further.time} of training, about what these runs took",
    ]
    if (own := further.own_run) is not None:
        price = (
            f"  a run of that size itself, on {format_count(own.tokens)} tokens, takes about"
            f" {format_seconds(own.seconds)} at their pace"
        )
        cheaper = ", which is less: add the size to the grid and train it instead"
        lines.append(price + (cheaper if further.own_is_cheaper else ""))
    return lines


def _next_lines(
    options: argparse.Namespace, more: Sequence[str], *, can_forecast: bool, trust: float | None
) -> list[str]:
    """The commands to run next: a forecast as far as this fit is trusted, and the whole of it.

    Without trust the command that chooses ``more`` runs, or where there is none the forecast for
    the compute of the largest run.
    """
    chosen = typed_table_options(options)
    lines = list(more)
    # of several sources a forecast reads what --out saved
    results = options.out or (options.sources[0] if len(options.sources) == 1 else None)
    if can_forecast and not lines and results is not None and options.metric is None:
        typed = [] if options.out else chosen
        target = f"--flops {trust or 1:g}x"
        lines.append(f"slaw extrapolate {target} {shlex.join(['--results', results, *typed])}")
    if not options.full and not options.compare:
        lines.append("the same with --full: every law and check, and every run left out")
    return [f"{'next:' if i == 0 else '     '} {line}" for i, line in enumerate(lines)]


def _fit_by(options: argparse.Namespace) -> int:
    from scaling_law.fit.arms import fit_by, fits_json, format_fits
    from scaling_law.fit.points.dataset import unfinished_notes
    from scaling_law.fit.summary import format_suite

    for name in ("compare", "figure"):
        if getattr(options, name):
            raise ConfigError(
                f"--{name} is for one fit; choose an arm with --where instead of --by"
            )
    sources = [Path(source) for source in options.sources]
    fits, saved = fit_by(
        sources,
        options.by,
        _fit_settings(options),
        table=table_settings(options),
        out=Path(options.out) if options.out else None,
    )
    notes = unfinished_notes(sources)
    if options.json:
        show(json.dumps(fits_json(fits, notes), indent=1, allow_nan=False))
        _refuse_no_arm(fits)
        return EXIT_OK
    show(format_fits(fits, notes))
    if options.full:
        for fit in fits:
            if fit.suite is not None:
                show(f"\n{fit.arm.name}\n{format_suite(fit.suite)}")
    show(f"\nsaved in {saved}, a folder each" if saved else "\nnot saved; pass --out DIR")
    _refuse_no_arm(fits)
    return EXIT_OK


def _refuse_no_arm(fits: Sequence[ArmFit]) -> None:
    """Raise ``FitError`` where no arm, shown before, has a law of size and tokens."""
    if not any(fit.known is not None and fit.known.joint_law is not None for fit in fits):
        raise FitError(
            *reason_lines(
                (fit.arm.name, fit.why_no_fit if fit.suite is None else fit.suite.why_no_joint_law)
                for fit in fits
            )
        )


def _validate(options: argparse.Namespace) -> int:
    _say_which(options.sources)
    from scaling_law.fit.checks.text import format_validation
    from scaling_law.fit.session import validate_sources

    check, points = validate_sources(
        [Path(f) for f in options.sources],
        _fit_settings(options),
        table=table_settings(options),
        law=_laws_to_fit([options.law])[0] if options.law else None,
    )
    if options.json:
        show(json.dumps(check.to_json(), indent=1, allow_nan=False))
    else:
        show(format_validation(check, points))
    return EXIT_OK


def named_laws(names: Sequence[str]) -> list[str]:
    """The laws that the command line names, after reading the users' own files among them."""
    from scaling_law.fit.laws import read_law_file

    return [read_law_file(name) for name in names]


def _laws_to_fit(names: Sequence[str]) -> list[str]:
    """The laws of the command line that are fitted. Raises ``ConfigError`` for a published one."""
    from scaling_law.forecast.published import check_fitted

    laws = named_laws(names)
    check_fitted(laws)
    return laws


def typed_table_options(options: argparse.Namespace) -> list[str]:
    """The options of ``add_table_options`` that were typed, for a command to run next."""
    return [
        word
        for flag, values in (
            ("--columns", [options.columns]),
            ("--params-are", [options.params_are]),
            ("--loss-unit", [options.loss_unit]),
            ("--units", [options.units]),
            ("--history", [options.history]),
            ("--where", options.where or []),
        )
        for value in values
        if value
        for word in (flag, value)
    ]


def table_settings(options: argparse.Namespace):  # type: ignore[no-untyped-def]
    """The settings that ``add_table_options`` reads."""
    from scaling_law.fit.points.column_units import parse_units
    from scaling_law.fit.points.table_settings import TableSettings, parse_columns

    return TableSettings(
        columns=parse_columns(options.columns) if options.columns else {},
        params_are=options.params_are,
        loss_unit=options.loss_unit,
        where=tuple(options.where or ()),
        units=parse_units(options.units) if options.units else {},
        history=options.history,
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
        laws=tuple(_laws_to_fit(getattr(options, "laws", None) or ())),
        metric=getattr(options, "metric", None),
    )


def add(commands: Commands) -> None:
    """Add the commands of this file."""
    fit = commands.add_parser(
        "fit",
        help="fit scaling laws to finished runs",
        description="Fit Kaplan's, Chinchilla's and later laws to the annealed runs of a sweep, or "
        "to a table of runs (CSV, TSV, JSON, JSONL, parquet), with intervals, checks and the name "
        "of every excluded run. Several sweeps are fitted together when each is named and all are "
        "of one recipe.",
    )
    add_fit_options(fit)
    fit.add_argument(
        "--law",
        action="append",
        dest="laws",
        metavar="NAME",
        help="also fit this law, as in broken, saturating:tokens, or your own file mine.py; repeat"
        " for more",
    )
    fit.add_argument(
        "--metric",
        type=given,
        metavar="NAME",
        help="fit this metric of the runs in place of the validation loss, as in loss.val:NAME",
    )
    fit.add_argument(
        "--by",
        action="append",
        type=given,
        metavar="KEY",
        help="fit the runs of each value of an axis, of another config key, or of a table's column"
        " separately; repeat for more keys",
    )
    fit.add_argument(
        "--full",
        action="store_true",
        help="print everything: every law, check and run left out; with --by for each arm",
    )
    fit.add_argument(
        "--out",
        type=given,
        metavar="DIR",
        help="folder to save the fit in (default: the sweep's folder)",
    )
    fit.add_argument(
        "--compare",
        action="store_true",
        help="compare envelope, IsoFLOP and parametric fits under every parameter count",
    )
    fit.add_argument(
        "--figure", type=picture, metavar="FILE", help="draw the fit, or --compare, as .png or .svg"
    )
    fit.set_defaults(handler=_fit)
    check = commands.add_parser(
        "validate",
        help="predict held-out runs, and say how far a law may be trusted",
        description="Hold out sizes, trunks, long runs and expensive runs in turn, predict them "
        "from the others, and score errors and the coverage of intervals.",
    )
    add_fit_options(check)
    check.add_argument(
        "--law",
        type=given,
        metavar="NAME",
        help="the law to score, or your own file (default: the law that `slaw fit` shows)",
    )
    check.set_defaults(handler=_validate)
