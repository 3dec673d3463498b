"""Each value of an axis, of any key of the recipe, or of a table's column, fitted on its own; all
side by side.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling_law import text_columns
from scaling_law.errors import ConfigError, FitError, did_you_mean, listed, one_line, reason_lines
from scaling_law.files import layout
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import RunRecord, loss_families, loss_unit, only_sweep
from scaling_law.fit.points.dataset import (
    chosen_records,
    from_points,
    from_records,
    gather,
    refuse_table_settings,
    source_key,
)
from scaling_law.fit.points.points import FitPoints
from scaling_law.fit.points.table import read_table_by
from scaling_law.fit.points.table_settings import TableSettings
from scaling_law.fit.recipes.compare_recipes import text_of
from scaling_law.fit.result import status_words
from scaling_law.fit.session import KnownLaws, check_out, known_laws, laws_of
from scaling_law.fit.suite import FitSettings, FitSuite, fit_data, save_suite
from scaling_law.spec.arms import (
    Values,
    arm_label,
    arm_name,
    arm_of,
    arms_of,
    value_text,
    varying_keys,
)
from scaling_law.spec.recipe import cells
from scaling_law.units import count_of

ABSENT = "absent"  # the value of a key that only other runs have
NO_COMMON_LOSS = (
    "the arms learn from different texts, in different tokens, or by different objectives: the loss"
    " of one arm does not compare with another's"
)


@dataclass(frozen=True, kw_only=True)
class ArmRuns:
    """The finished runs of one arm.

    ``values`` are the keys that set it apart, with their values as text;
    ``records`` are all its runs, trunks included; none where it is of a table;
    ``table`` are the points of a table's rows, None for runs, and where no row can be used.
    """

    values: Values
    records: tuple[RunRecord, ...] = ()
    table: FitPoints | None = None

    @property
    def count(self) -> int:
        """Runs, or usable rows of a table."""
        return len(self.records) if self.table is None else len(self.table)

    @property
    def name(self) -> str:
        """``optim.weight_decay=0.3``."""
        return one_line(arm_name(self.values))


@dataclass(frozen=True, kw_only=True)
class ArmFit:
    """An arm and what was fitted to it.

    ``known`` are its laws, None where its runs allow none, for the reason ``why_no_fit``;
    ``summary`` is the JSON of ``slaw fit --json`` of its runs alone;
    ``suite`` is the whole fit, None where it was read from the sweep's folder.
    """

    arm: ArmRuns
    known: KnownLaws | None = None
    summary: dict[str, Any] | None = None
    suite: FitSuite | None = None
    why_no_fit: str = ""

    def to_json(self) -> dict[str, Any]:
        """The arm's part of the JSON of ``slaw fit --by``."""
        return {
            "arm": self.arm.name,
            "values": dict(self.arm.values),
            "runs": self.arm.count,
            "fit": self.summary,
            "why_no_fit": self.why_no_fit,
        }


def fit_by(
    sources: Sequence[Path],
    keys: Sequence[str],
    settings: FitSettings | None = None,
    *,
    table: TableSettings | None = None,
    out: Path | None = None,
) -> tuple[tuple[ArmFit, ...], Path | None]:
    """Fit the runs, or the rows of a table, of each combination of values of ``keys`` on their own.

    Each fit is saved in a folder of its own, ``out/LABEL``, or else ``fits/LABEL`` of the only
    sweep, from where forecasts can use it. Returns the fits, and where they were saved: None for
    a table, several sweeps or a choice of runs without ``out``, or where the sweep's folder cannot
    be written. Raises ``ConfigError`` for a key that no run, or no column, has, ``FitError`` where
    no arm can be fitted.
    """
    settings = settings or FitSettings()
    origin = ", ".join(str(path) for path in sources)
    if out is not None:
        check_out(out)
    if tables := [path for path in sources if path.is_file()]:
        if len(sources) > 1:
            raise ConfigError(f"{tables[0]}: a table is fitted alone; give one table, or folders")
        fits, all_runs = _fits_of_table(tables[0], keys, settings, table), False
    else:
        refuse_table_settings(origin, table)
        records, folders = gather(sources)
        chosen = chosen_records(records, table.where, origin) if table is not None else records
        fits = tuple(_fit(arm, settings, folders) for arm in split_by(chosen, keys, origin))
        all_runs = len(sources) == 1 and len(chosen) == len(records)
    if all(fit.known is None for fit in fits):
        raise FitError(*reason_lines((fit.arm.name, fit.why_no_fit) for fit in fits))
    if out is not None:
        try:
            return fits, _saved(fits, out)
        except OSError as problem:
            raise ConfigError(f"{out}: cannot be written ({problem.strerror})") from None
    if not all_runs:
        return fits, None
    try:
        return fits, _saved(fits, only_sweep(sources[0]).fits)
    except OSError:
        return fits, None


def _fits_of_table(
    path: Path, keys: Sequence[str], settings: FitSettings, table: TableSettings | None
) -> tuple[ArmFit, ...]:
    """Fit the rows of each combination of values of a table's columns ``keys``."""
    fits = []
    several = read_table_by(path, keys, table, keep=settings.keep, convention=settings.convention)
    for texts, points in several:
        values = tuple(zip(keys, texts, strict=True))
        if isinstance(points, ConfigError):
            fits.append(ArmFit(arm=ArmRuns(values=values), why_no_fit=str(points)))
            continue
        arm = ArmRuns(values=values, table=points)
        try:
            data = from_points(points, keep=settings.keep, origin=f"{path}, {arm.name}")
            fits.append(_fitted(arm, fit_data(data, settings)))
        except FitError as problem:
            fits.append(ArmFit(arm=arm, why_no_fit=str(problem)))
    return tuple(sorted(fits, key=lambda fit: _order(fit.arm.values)))


def stored_or_fitted_arm(arm: ArmRuns, sweep: SweepDir) -> ArmFit:
    """The arm's fit in the sweep's folder, or one made and saved now if its runs have changed."""
    folder = sweep.fits / arm_label(arm.values)
    stored = SweepDir(folder).fits / "fit.json"
    if stored.is_file():
        content = layout.read_json(stored)
        known = known_laws(folder)  # which refuses a damaged file
        if content["source_key"] == source_key((r.run_id, r.val_loss_nats) for r in arm.records):
            return ArmFit(arm=arm, known=known, summary=content["summary"])
    fit = _fit(arm, FitSettings(), None)
    with contextlib.suppress(OSError):
        _saved([fit], sweep.fits)
    return fit


def _fit(arm: ArmRuns, settings: FitSettings, folders: Mapping[str, str] | None) -> ArmFit:
    """Fit one arm, or give the reason why its runs allow no law.

    ``folders`` is each run's, by run id, for messages.
    """
    try:
        data = from_records(
            arm.records,
            convention=settings.convention,
            flops=settings.flops,
            keep=settings.keep,
            origin=arm.name,
            folders=folders,
        )
        suite = fit_data(data, settings)
    except FitError as problem:
        return ArmFit(arm=arm, why_no_fit=str(problem))
    return _fitted(arm, suite)


def _fitted(arm: ArmRuns, suite: FitSuite) -> ArmFit:
    return ArmFit(arm=arm, known=laws_of(suite), summary=suite.to_json(), suite=suite)


def _saved(fits: Sequence[ArmFit], folder: Path) -> Path:
    for fit in fits:
        if fit.suite is not None:
            save_suite(fit.suite, folder / arm_label(fit.arm.values))
    return folder


def split_by(records: Sequence[RunRecord], keys: Sequence[str], origin: str) -> list[ArmRuns]:
    """The runs by their values of ``keys``, numbers rising and words in order.

    A trunk is with its branches, and so in every arm that branches from it. Raises ``ConfigError``
    for a key that no run has.
    """
    rows = cells([record.spec for record in records])
    known = dict.fromkeys(name for row in rows for name in row)
    for key in keys:
        if key not in known:
            axes = varying_keys(arms_of([record.spec for record in records]))
            there = f"; the runs' axes: {', '.join(axes)}" if axes else ""
            raise ConfigError(
                f"{origin}: --by {key}: no run has it{did_you_mean(key, known)}{there}"
            )
    each = [
        tuple((key, value_text(row[key]) if key in row else ABSENT) for key in keys) for row in rows
    ]
    of_branches: dict[str, dict[Values, None]] = {}
    for record, values in zip(records, each, strict=True):
        if record.spec.branch is not None:
            of_branches.setdefault(record.spec.branch.trunk_id, {})[values] = None
    by_values: dict[Values, list[RunRecord]] = {}
    for record, values in zip(records, each, strict=True):
        for own in of_branches.get(record.run_id, {values: None}):
            by_values.setdefault(own, []).append(record)
    return [
        ArmRuns(values=values, records=tuple(by_values[values]))
        for values in sorted(by_values, key=_order)
    ]


def _order(values: Values) -> list[tuple[bool, float, str]]:
    """Sorts numbers by their size, before words."""
    order = []
    for _, value in values:
        try:
            order.append((False, float(value), ""))
        except ValueError:
            order.append((True, 0.0, value))
    return order


def axis_keys(records: Sequence[RunRecord]) -> list[str]:
    """The keys in which the arms of these runs differ, by the axes of their sweep."""
    arms = [values for values in map(arm_of, (record.spec for record in records)) if values]
    return varying_keys(list(dict.fromkeys(arms)))


def losses_compare(arms: Sequence[ArmRuns]) -> bool:
    """Whether all arms have losses of one kind, on one text in the same tokens."""
    records = [record for arm in arms for record in arm.records]
    texts = {(text_of(r), r.spec.data.coding, r.spec.model.vocab_size) for r in records}
    return len(texts) < 2 and len(loss_families(records)) < 2


def loss_unit_of(arms: Sequence[ArmRuns]) -> str:
    """The unit of the arms' losses."""
    units = dict.fromkeys(a.table.convention["loss"] for a in arms if a.table is not None)
    return " or ".join(units) or loss_unit(record for arm in arms for record in arm.records)


HEADINGS = (
    "", "points", "trunks", "law", "E", "alpha", "beta", "a (N ~ C^a)", "rms", "lowest loss",
)  # fmt: skip


def format_fits(fits: Sequence[ArmFit], notes: Sequence[str] = ()) -> str:
    """The arms side by side, a line each; ``notes`` are of the runs of all."""
    level = next(100 * fit.summary["settings"]["level"] for fit in fits if fit.summary is not None)
    lines = [
        f"{count_of(len(fits), 'arm')}, each fitted on its own; law: the first that none beats"
        f" clearly on held-out runs; intervals at {level:g}%; loss:"
        f" {loss_unit_of([fit.arm for fit in fits])}",
        *(f"note: {words}" for words in notes),
        "",
        *text_columns.numbers([HEADINGS, *law_rows(fits)], words=(0, 3)),
    ]
    not_fitted = reason_lines((fit.arm.name, fit.why_no_fit) for fit in fits if fit.known is None)
    lines += [f"not fitted: {line}" for line in not_fitted]
    no_law = reason_lines((fit.arm.name, words) for fit in fits if (words := _why_no_law(fit)))
    lines += [f"no law: {line}" for line in no_law]
    if not losses_compare([fit.arm for fit in fits]):
        lines.append(f"note: {NO_COMMON_LOSS}")
    return "\n".join(lines)


def _why_no_law(fit: ArmFit) -> str:
    """What an arm that was fitted lacks for a law of params and tokens; "" where it has one."""
    if fit.known is None or fit.known.joint_law is not None:
        return ""
    if fit.suite is not None:
        return fit.suite.why_no_joint_law
    statuses = dict.fromkeys(status_words(law.status) for law in fit.known.laws.values())
    return listed(list(statuses)) or "no law of params and tokens can be fitted"


def law_rows(fits: Sequence[ArmFit]) -> list[Sequence[str]]:
    """Rows under ``HEADINGS``: each fitted arm's law as ``best_law`` selects it."""
    return [
        _law_row(fit.arm, fit.known, fit.summary)
        for fit in fits
        if fit.known is not None and fit.summary is not None
    ]


def _law_row(arm: ArmRuns, known: KnownLaws, summary: Mapping[str, Any]) -> tuple[str, ...]:
    best = known.laws.get(known.best_law)
    params = best.params if best is not None else {}
    law = known.best_law
    if best is None or not params:
        law = "none"
    wanted = (known.best_law, summary["convention"]["params"])
    splits = (row for row in summary["by_convention"] if (row["law"], row["params"]) == wanted)
    split: dict[str, Any] = next(splits, {})
    exponent = "-" if split.get("a") is None else f"{split['a']:.3f}"
    if split.get("a_low") is not None:
        exponent += f" [{split['a_low']:.3f}, {split['a_high']:.3f}]"
    elif split.get("a_fixed"):
        exponent += " (fixed by the law)"
    left_out = {item["run_id"] for item in summary["dropped"]}
    losses = [r.val_loss_nats for r in arm.records if r.run_id not in left_out and r.val_loss_nats]
    if arm.table is not None:
        rows = zip(arm.table.run_id, arm.table.loss_nats.tolist(), strict=True)
        losses = [loss for run_id, loss in rows if run_id not in left_out]
    rms = best.rms_log_residual if best is not None else math.nan
    return (
        arm.name,
        str(summary["points"]),
        str(summary["trunks"]),
        law,
        *(f"{params[name]:.4f}" if name in params else "-" for name in ("E", "alpha", "beta")),
        exponent,
        f"{100 * rms:.2f}%" if math.isfinite(rms) else "-",
        f"{min(losses):.4f}" if losses else "-",
    )


def fits_json(fits: Sequence[ArmFit], notes: Sequence[str] = ()) -> dict[str, Any]:
    """The document of ``slaw fit --by --json``."""
    return {
        "by": [key for key, _ in fits[0].arm.values],
        "losses_compare": losses_compare([fit.arm for fit in fits]),
        "notes": list(notes),
        "arms": [fit.to_json() for fit in fits],
    }
