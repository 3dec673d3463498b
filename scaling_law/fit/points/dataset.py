"""Gathers what is fitted, from any source: points, under each way of counting parameters."""

from __future__ import annotations

import dataclasses
import hashlib
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scaling_law.errors import ConfigError, FitError
from scaling_law.files.record import RunRecord, load_records, loss_families, only_sweep
from scaling_law.fit.checks.screen import screen
from scaling_law.fit.numerics import numerical_failures
from scaling_law.fit.points.points import FitPoints, points_from_records
from scaling_law.fit.points.rows import Rows
from scaling_law.fit.points.table import read_table
from scaling_law.fit.points.table_settings import TableSettings
from scaling_law.fit.points.where import chosen_rows
from scaling_law.spec.arms import arms_of, by_options, value_text, varying_keys
from scaling_law.spec.counts import CONVENTIONS
from scaling_law.spec.data import DataSpec, TaskSpec
from scaling_law.spec.recipe import cells, listed_recipes
from scaling_law.units import count_of


@dataclass(frozen=True, kw_only=True)
class FitData:
    """What laws are fitted to.

    ``points``: the screened points.
    ``counted``: convention -> the same runs under that way of counting, ``points`` among them.
    ``repeated``: the points with runs of more than four epochs left in; None: there are none.
    ``key``: identifies the runs and their losses.
    ``origin``: names the source.
    """

    points: FitPoints
    counted: dict[str, FitPoints]
    repeated: FitPoints | None
    key: str
    origin: str


def from_records(
    records: Sequence[RunRecord],
    *,
    convention: str,
    flops: str,
    keep: Collection[str] = (),
    origin: str = "records",
    folders: Mapping[str, str] | None = None,
    metric: str | None = None,
) -> FitData:
    """The data of annealed runs of one tokenizer and, unless ``keep`` has ``recipes``, one recipe.

    ``folders`` is each run's, by run id, for messages. ``metric`` is fitted in place of the
    validation loss. Raises ``FitError`` when none can be fitted, ``ConfigError`` for a metric that
    no run has.
    """
    _refuse_mixtures(records)
    whole = points_from_records(
        records, convention=convention, flops=flops, keep=keep, metric=metric
    )
    if "recipes" not in keep:
        _refuse_recipes(whole, folders, varying_keys(arms_of([r.spec for r in records])))
    with numerical_failures(whole):
        points = screen(whole, keep=keep)
    counted = {convention: points}
    for other in CONVENTIONS:
        if other != convention:
            again = points_from_records(
                records, convention=other, flops=flops, keep=keep, metric=metric
            )
            counted[other] = _same_runs(again, points)
    return FitData(
        points=points,
        counted=counted,
        repeated=_repeated(whole, keep),
        key=source_key((r.run_id, r.val_loss_nats) for r in records),
        origin=origin,
    )


def from_points(
    points: FitPoints, *, keep: Collection[str] = (), origin: str = "columns"
) -> FitData:
    """The data of given points. Raises ``FitError`` when none can be fitted."""
    if "recipes" not in keep:
        _refuse_recipes(points, None, [])
    with numerical_failures(points):
        screened = screen(points, keep=keep)
    return FitData(
        points=screened,
        counted={points.convention["params"]: screened},
        repeated=_repeated(points, keep),
        key=source_key(zip(points.run_id, points.loss_nats.tolist(), strict=True)),
        origin=origin,
    )


def gather_fit_data(
    sources: Sequence[Path],
    *,
    table: TableSettings | None = None,
    convention: str = "matmul",
    flops: str = "exact",
    keep: Collection[str] = (),
    metric: str | None = None,
) -> FitData:
    """The data of one table, or of one or several sweeps; the runs that ``table.where`` selects.

    Raises ``ConfigError`` for a source that cannot be read, a folder of several sweeps or a table
    among other sources, ``FitError`` when nothing can be fitted.
    """
    tables = [path for path in sources if path.is_file()]
    origin = ", ".join(str(path) for path in sources)
    if not tables:
        refuse_table_settings(origin, table)
        records, folders = gather(sources)
        chosen = chosen_records(records, table.where, origin) if table is not None else records
        notes = unfinished_notes(sources)
        try:
            data = from_records(
                chosen,
                convention=convention,
                flops=flops,
                keep=keep,
                origin=origin,
                folders=folders,
                metric=metric,
            )
        except FitError as error:
            raise FitError("; ".join([*notes, str(error)])) from None
        if table is not None and len(chosen) < len(records):
            notes.append(f"{len(chosen)} of {len(records)} runs chosen by {', '.join(table.where)}")
        if notes:
            points = dataclasses.replace(data.points, notes=(*notes, *data.points.notes))
            data = dataclasses.replace(data, points=points)
        return data
    if metric is not None:
        raise ConfigError(
            f"--metric {metric}: is for sweeps; of a table choose the column with --columns"
            " loss=COLUMN"
        )
    if len(sources) > 1:
        raise ConfigError(f"{tables[0]}: a table is fitted alone; give one table, or folders")
    points = read_table(tables[0], table, keep=keep, convention=convention)
    return from_points(points, keep=keep, origin=origin)


def refuse_table_settings(origin: str, table: TableSettings | None) -> None:
    """Raises ``ConfigError`` for settings of a table where ``origin`` is a results folder."""
    if table is not None and dataclasses.replace(table, where=()) != TableSettings():
        raise ConfigError(
            f"{origin}: --columns, --params-are, --loss-unit, --units and --history are for tables"
        )


def gather(folders: Sequence[Path]) -> tuple[list[RunRecord], dict[str, str]]:
    """The finished runs of the sweeps that ``folders`` name, once each, and each one's folder.

    Raises ``ConfigError`` naming a folder without records, or with several sweeps.
    """
    records: dict[str, RunRecord] = {}
    places: dict[str, str] = {}
    for folder in folders:
        sweep = only_sweep(folder, "name one, or each of those to fit together")
        for record in load_records(sweep):
            records[record.run_id] = record
            places.setdefault(record.run_id, str(sweep.path))
    return list(records.values()), places


def unfinished_notes(sources: Sequence[Path]) -> list[str]:
    """How many runs of each sweep have no record yet, with the command that says why.

    Of a table none: its rows say themselves what has not finished.
    """
    notes = []
    for sweep in (only_sweep(path) for path in sources if path.is_dir()):
        runs = sweep.run_dirs()
        if left := sum(not run.record.is_file() for run in runs):
            path = sweep.path
            has = "has" if left == 1 else "have"
            notes.append(
                f"{left} of {count_of(len(runs), 'run')} of {path} {has} not finished: slaw status"
                f" {shlex.quote(str(path))}"
            )
    return notes


def chosen_records(
    records: Sequence[RunRecord], where: Sequence[str], origin: str
) -> list[RunRecord]:
    """The records whose recipe or spec meets the conditions."""
    if not where:
        return list(records)
    rows = cells([record.spec for record in records])
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row.get(name) for row in rows] for name in names}
    index = chosen_rows(Rows(columns, range(1, len(rows) + 1)), where, origin, "run")
    return [records[row] for row in index]


def source_key(runs: Iterable[tuple[str, float | None]]) -> str:
    """A key of finished runs and their losses, which shows whether a stored fit is stale."""
    lines = sorted(f"{run_id} {loss!r}" for run_id, loss in runs)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _refuse_mixtures(records: Sequence[RunRecord]) -> None:
    """Raises ``FitError`` for several objectives or tokenizers: their losses do not compare."""
    by = by_options(varying_keys(arms_of([record.spec for record in records])))
    families = loss_families(records)
    if len(families) > 1:
        raise FitError(
            f"the runs have losses of different objectives ({', '.join(families)}), which do not"
            " compare; fit each objective's runs alone, with --where objective=NAME"
        )
    kinds = {(r.spec.data.coding, r.spec.model.vocab_size) for r in records}
    if len(kinds) > 1:
        names = ", ".join(sorted(f"{name} {size}" for name, size in kinds))
        raise FitError(
            f"the runs use different tokenizers ({names}); nats per token do not compare: "
            f"fit {f'each with `slaw fit`, adding{by}' if by else 'one sweep at a time'}"
        )
    texts = {_text_name(r.spec.data): r.corpus_fingerprint for r in records}
    if len(set(texts.values())) > 1:
        raise FitError(
            f"the runs learn from different texts ({'; '.join(sorted(texts))}): their losses do"
            " not compare, and no law describes them all; fit each on its own with `slaw fit`,"
            f" adding{by or ' --by data.corpus'}, or one with --where"
        )


def _text_name(data: DataSpec | TaskSpec) -> str:
    """What runs learn from, whatever share of it; a task with its settings."""
    if isinstance(data, TaskSpec):
        return value_text({"name": data.name, **dict(data.source.settings)})
    return " ".join((data.corpus, *data.domains))


def _refuse_recipes(
    points: FitPoints, folders: Mapping[str, str] | None, axes: Sequence[str]
) -> None:
    """Raises ``FitError`` for several recipes.

    Their losses lie on two surfaces: one law through both describes neither, and its residuals are
    not noise.
    """
    if len(set(points.recipe)) < 2:
        return
    places = [folders[run_id] for run_id in points.run_id] if folders else None
    ways = [f"fit one recipe with {_conditions(points)}"]
    if points.recipe_column:
        ways.append(f"each on its own with `slaw fit`, adding --by {points.recipe_column}")
    if axes:
        ways.append(f"each arm on its own with `slaw fit`, adding{by_options(axes)}")
    known = [name for name in dict.fromkeys((folders or {}).values()) if name in (places or ())]
    pairs = set(zip(points.recipe, places or (), strict=bool(places)))
    if len(known) == len(set(points.recipe)) == len(pairs):
        ways = ["fit each folder alone"]
        if len(known) == 2:
            ways.insert(0, f"compare them with `slaw report {' '.join(known)}`")
    raise FitError(
        f"runs of {len(set(points.recipe))} recipes, and a law describes one:"
        f" {listed_recipes(points.recipe, places)}; {', '.join(ways)}, or all as one with"
        " --keep recipes"
    )


def _conditions(points: FitPoints) -> str:
    """The options that choose the runs of the first recipe."""
    recipe = points.recipe[0]
    if points.recipe_column:
        return f"--where {shlex.quote(f'{points.recipe_column}={recipe}')}"
    return " ".join(f"--where '{condition}'" for condition in recipe.split(", "))


def _same_runs(points: FitPoints, like: FitPoints) -> FitPoints:
    ids = set(like.run_id)
    mask = np.array([run_id in ids for run_id in points.run_id])
    return dataclasses.replace(points.take(mask), dropped=like.dropped, notes=like.notes)


def _repeated(points: FitPoints, keep: Collection[str]) -> FitPoints | None:
    """All points, for laws of repeated data; None where no data were seen twice."""
    if float((points.tokens / points.tokens_unique).max()) < 2:
        return None
    with numerical_failures(points):
        return screen(points, keep=[*keep, "repeats"])
