"""``slaw import``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from scaling_law.cli.options import Commands, count, given
from scaling_law.console import show
from scaling_law.errors import EXIT_OK, ConfigError, quoted

_NONE = "none"
_FROM_FLOPS = "6nd"


def _import(options: argparse.Namespace) -> int:
    from scaling_law.fit.points.column_units import parse_units
    from scaling_law.tables.session import (
        ImportSettings,
        import_runs,
        refuse_source_as_out,
        write_rows,
    )
    from scaling_law.tables.text import format_imported

    sources = [Path(source) for source in options.sources]
    out, curves = Path(options.out), Path(options.curves) if options.curves else None
    written = [out] if curves is None else [out, curves]
    refuse_source_as_out(sources, written)
    imported = import_runs(
        sources,
        ImportSettings(
            asked=_asked(options),
            units=parse_units(options.units) if options.units else {},
            loss_unit=options.loss_unit,
            bytes_per_token=options.bytes_per_token,
            tokens_per_step=_number_or_column(options.tokens_per_step),
            format=options.format,
        ),
    )
    if curves is not None and not imported.curve_rows:
        raise ConfigError(f"--curves {curves}: the sources have no curve, only ends of runs")
    write_rows(imported.rows, out)
    if curves is not None:
        write_rows(imported.curve_rows, curves)
    show(format_imported(imported, out, curves))
    return EXIT_OK


def _number_or_column(text: str | None) -> float | str | None:
    """A number as in 190M, else the name of a column."""
    if text is None:
        return None
    try:
        return count(text)
    except argparse.ArgumentTypeError:
        return text


def _asked(options: argparse.Namespace) -> Any:
    from scaling_law.fit.points.table_settings import parse_columns
    from scaling_law.tables.propose import Asked

    columns: dict[str, str] = parse_columns(options.columns) if options.columns else {}
    constants: dict[str, float] = {}
    from_flops = ""
    for role in ("loss", "params", "tokens", "flops"):
        text = getattr(options, role)
        if text is None:
            continue
        if role in columns:
            raise ConfigError(f"--{role} and --columns {role}=: expected one of them")
        if text == _FROM_FLOPS and role in ("params", "tokens"):
            if from_flops:
                raise ConfigError("--params 6nd and --tokens 6nd: expected one of them")
            from_flops = role
            continue
        value = _number_or_column(text)
        if isinstance(value, float) and role in ("params", "tokens"):
            constants[role] = value
        else:
            columns[role] = "" if text == _NONE else text
    metrics: dict[str, str] = {}
    for text in options.metric or ():
        name, equals, column = text.partition("=")
        if not equals or not name.strip() or not column:
            raise ConfigError(f"--metric {quoted(text)}: expected NAME=COLUMN")
        metrics[name.strip()] = column
    return Asked(columns=columns, constants=constants, metrics=metrics, from_flops=from_flops)


def add(commands: Commands) -> None:
    """Declare the command."""
    runs = commands.add_parser(
        "import",
        help="make a table of the runs of another program: W&B, TensorBoard, logs, JSON, CSV",
        description="Read runs from tables (CSV, TSV, JSON, JSONL, parquet), run folders and"
        " exports of Weights & Biases, TensorBoard's event files, metrics of OLMo-core, logs of"
        " nanoGPT and nanochat and results of lm-eval, and write them as one table, which fit,"
        " compare, validate, extrapolate and report read. Each column is taken by its name, and"
        " said; where several may be meant, the command ends with the choices. Sources are joined"
        " by the names of their runs.",
    )
    runs.add_argument(
        "sources", nargs="+", type=given, metavar="SOURCE", help="a file or folder of runs"
    )
    runs.add_argument(
        "--out", type=given, required=True, metavar="FILE", help="table to write, a row a run: .csv"
    )
    runs.add_argument(
        "--curves", type=given, metavar="FILE", help="also write the curves, a row a point: .csv"
    )
    runs.add_argument(
        "--format",
        type=given,
        metavar="NAME",
        help="format of the sources (default: found out); slaw parts format lists them",
    )
    for role, words in (
        ("loss", "column of the loss"),
        (
            "params",
            "column of the parameters, or one number for all runs, as in 190M; 6nd takes"
            " flops / 6 / tokens",
        ),
        (
            "tokens",
            "column of the training tokens, or one number for all runs; 6nd takes flops / 6"
            " / params",
        ),
        ("flops", "column of the training FLOPs; none for 6 * params * tokens"),
    ):
        runs.add_argument(f"--{role}", type=given, metavar="COL", help=words)
    runs.add_argument(
        "--columns",
        type=given,
        metavar="ROLE=COL,...",
        help="columns of other roles: cluster (the trunk), seed, sem, size, unique_tokens, batch,"
        " state, tokens_per_second; ROLE= ignores a column",
    )
    runs.add_argument(
        "--metric",
        action="append",
        type=given,
        metavar="NAME=COL",
        help="carry this column along under this name; repeat for more",
    )
    runs.add_argument(
        "--units",
        type=given,
        metavar="ROLE=UNIT,...",
        help="units of columns, as in params=M,tokens=B,flops=PF-days (default: plain counts, or"
        " what a column's name says)",
    )
    runs.add_argument(
        "--loss-unit",
        default="",
        choices=("nats", "bits", "bits-per-byte", "perplexity", "other"),
        help="unit of the losses (default: nats per token, or what a column's name says)",
    )
    runs.add_argument(
        "--bytes-per-token",
        type=count,
        metavar="X",
        help="bytes of text a token, to make nats per token of bits per byte",
    )
    runs.add_argument(
        "--tokens-per-step",
        type=given,
        metavar="N",
        help="tokens of a step where curves count steps only: a number, the column that has it, or"
        " several to multiply, as in 'batch_size*seq_len'",
    )
    runs.set_defaults(handler=_import)
