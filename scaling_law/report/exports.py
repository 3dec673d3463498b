"""The numbers of a report as tables for other tools: CSV always, parquet where pyarrow is."""

from __future__ import annotations

import csv
import importlib.util
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scaling_law.errors import install_extra, one_line
from scaling_law.files.layer_metrics import maps_of, without_maps
from scaling_law.files.layout import atomic_file, atomic_write
from scaling_law.files.record import CurvePoint, RunRecord, metric_label, metric_units, specs_of
from scaling_law.fit.points.exported import STATED_COUNTS
from scaling_law.fit.points.stated import stated_counts
from scaling_law.fit.result import finite_json
from scaling_law.report.evidence import Evidence, Fitted
from scaling_law.report.explore import predicted
from scaling_law.spec.recipe import recipe_names

Row = dict[str, Any]
_RECORD = (
    "run_id", "kind", "status", "params_total", "params_non_embedding", "params_matmul", "tokens",
    "tokens_unique", "flops_exact", "flops_6nd", "flops_spent", "val_loss_nats",
    "val_loss_sem_nats", "val_bits_per_byte", "seconds", "tokens_per_second",
    "peak_memory_bytes", "device", "corpus_fingerprint", "git_commit", "finished_at",
)  # fmt: skip
NO_PARQUET = f"no parquet: pyarrow is not installed ({install_extra('parquet')})"


def has_parquet() -> bool:
    """Whether parquet can be written here."""
    return importlib.util.find_spec("pyarrow") is not None


def write_tables(evidence: Evidence, folder: Path) -> list[Path]:
    """The tables that ``tables_of`` names, below ``folder``; returns the files.

    Full precision. A table without rows, and parquet without pyarrow, leave no file behind.
    """
    return write_each(tables_of(evidence), folder)


def write_each(tables: Mapping[str, Sequence[Row]], folder: Path) -> list[Path]:
    """Tables by name as files below ``folder``; returns the files."""
    made = []
    for name, rows in tables.items():
        made += write_table(rows, folder / f"{name}.csv")
    return made


def write_table(rows: Sequence[Row], path: Path) -> list[Path]:
    """One table as CSV at ``path`` and as parquet beside it; returns what was written."""
    parquet = path.with_suffix(".parquet")
    if not rows:
        path.unlink(missing_ok=True)
        parquet.unlink(missing_ok=True)
        return []
    rows = [{one_line(name): _cell(value) for name, value in row.items()} for row in rows]
    names = list(dict.fromkeys(name for row in rows for name in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    atomic_write(path, buffer.getvalue())
    if not has_parquet():
        parquet.unlink(missing_ok=True)
        return [path]
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table({name: [row.get(name) for row in rows] for name in names})
    with atomic_file(parquet) as temporary:
        pyarrow.parquet.write_table(table, temporary)
    return [path, parquet]


def _cell(value: Any) -> Any:
    """A cell without characters that command a terminal or break a line."""
    return one_line(value) if isinstance(value, str) else value


def tables_of(evidence: Evidence) -> dict[str, list[Row]]:
    """The rows of each table.

    ``runs``: every finished run, whether it is a point of the fit or why not. ``curves``: every
    evaluation. Both have a column for each metric, ``NAME (UNIT)``, or ``NAME`` without a unit.
    ``fits``: a parameter a row, of every law and convention, with its interval where it has one.
    ``predictions``: each joint law at each point under each convention.
    ``maps``: a cell a row, of every map that a probe measured, such as those of attention heads.
    """
    reasons = dict(evidence.excluded)
    recipes = recipe_names(specs_of(evidence.records))
    units = metric_units(evidence.records)
    return {
        "runs": [
            _run(record, reasons, evidence)
            | {"recipe": recipe}
            | _stated(record)
            | _metrics(record.metrics, units)
            for record, recipe in zip(evidence.records, recipes, strict=True)
        ],
        "curves": [
            {"run_id": run_id, **_point(point), **_metrics(point.metrics, units)}
            for run_id, points in evidence.curves.items()
            for point in points
        ],
        **law_tables(evidence.fitted),
        "maps": _maps(evidence),
    }


def _stated(record: RunRecord) -> Row:
    """The counts that a user's own trainer stated; no column where none did."""
    counts = stated_counts(record)
    return {STATED_COUNTS: counts} if counts else {}


def _metrics(metrics: Mapping[str, float], units: Mapping[str, str]) -> Row:
    numbers = without_maps(metrics)
    return {metric_label(name, units): finite_json(value) for name, value in numbers.items()}


def _maps(evidence: Evidence) -> list[Row]:
    return [
        {"run_id": record.run_id, "map": name, "row": row, "column": column, "value": value}
        for record in evidence.records
        for name, cells in maps_of(record.metrics).items()
        for (row, column), value in cells.items()
    ]


def _point(point: CurvePoint) -> Row:
    plain: Row = finite_json(point)
    return {name: value for name, value in plain.items() if name != "metrics"}


def _run(record: RunRecord, reasons: dict[str, str], evidence: Evidence) -> Row:
    row: Row = {name: finite_json(getattr(record, name)) for name in _RECORD}
    spec = record.spec
    return row | {
        "size": dict(spec.tags).get("size", ""),
        "seed": spec.seed,
        "trunk": record.cluster,
        "steps": spec.total_steps,
        "batch_tokens": spec.batch_tokens,
        "lr": spec.optim.lr,
        "precision": spec.precision,
        "fitted": evidence.fitted is not None and record.run_id not in reasons,
        "left_out": reasons.get(record.run_id, ""),
    }


def law_tables(fitted: Fitted | None) -> dict[str, list[Row]]:
    """The tables ``fits`` and ``predictions``, without rows where nothing is fitted."""
    if fitted is None:
        return {"fits": [], "predictions": []}
    return {"fits": _fits(fitted), "predictions": _predictions(fitted)}


def _fits(fitted: Fitted) -> list[Row]:
    own, rows = fitted.points.convention["params"], []
    laws = [(own, name, fit) for name, fit in fitted.known.laws.items()]
    laws += [
        (convention, name, fit)
        for convention, fits in fitted.fits.items()
        if convention != own
        for name, fit in fits.items()
    ]
    for convention, name, fit in laws:
        for param, value in fit.params.items():
            low, high = fit.intervals.get(param, (None, None))
            rows.append(
                {"law": name, "params_counted": convention, "status": fit.status,
                 "parameter": param, "value": finite_json(value), "low": finite_json(low),
                 "high": finite_json(high), "level": fit.level if low is not None else None,
                 "rms_log_residual": finite_json(fit.rms_log_residual),
                 "forecasts": name == fitted.known.best_law and convention == own}
            )  # fmt: skip
    return rows


def _predictions(fitted: Fitted) -> list[Row]:
    rows = []
    for convention, fits in fitted.fits.items():
        points = fitted.counted[convention]
        for name, fit in fits.items():
            losses = predicted(fit, points)
            if losses is None:
                continue
            rows += [
                {"run_id": points.run_id[i], "law": name, "params_counted": convention,
                 "params": float(points.params[i]), "tokens": float(points.tokens[i]),
                 "flops": float(points.flops[i]), "loss_nats": float(points.loss_nats[i]),
                 "predicted_nats": float(losses[i]),
                 "residual_frac": float(points.loss_nats[i] / losses[i] - 1)}
                for i in range(len(points))
            ]  # fmt: skip
    return rows
