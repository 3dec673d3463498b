"""What is fitted, whatever it came from: points, counted in every way the source allows."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scaling_law.errors import ConfigError, FitError
from scaling_law.files.record import RunRecord, load_records, loss_families, only_sweep
from scaling_law.fit.checks.screen import screen
from scaling_law.fit.points.cells import Rows
from scaling_law.fit.points.points import FitPoints, points_from_records
from scaling_law.fit.points.table import TableSettings, chosen_rows, read_table
from scaling_law.spec.arms import arms_of, by_options, value_text, varying_keys
from scaling_law.spec.counts import CONVENTIONS
from scaling_law.spec.recipe import cells, listed_recipes
from scaling_law.spec.run import DataSpec, TaskSpec


@dataclass(frozen=True, kw_only=True)
class Material:
    """Screened points, and the same runs under each way of counting parameters.

    ``counted`` maps a convention to its points (the main one among them); ``repeated`` are the
    points with runs of more than four epochs left in, None where there are none; ``key``
    identifies the runs and their losses; ``origin`` names the source.
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
) -> Material:
    """The annealed runs of one tokenizer and, unless ``recipes`` are kept, of one recipe.

    ``folders`` is each run's, by run id, for messages. Raises ``FitError`` when none can be
    fitted.
    """
    _refuse_mixtures(records)
    whole = points_from_records(records, convention=convention, flops=flops, keep=keep)
    if "recipes" not in keep:
        _refuse_recipes(whole, folders, varying_keys(arms_of([r.spec for r in records])))
    points = screen(whole, keep=keep)
    counted = {convention: points}
    for other in CONVENTIONS:
        if other != convention:
            again = points_from_records(records, convention=other, flops=flops, keep=keep)
            counted[other] = _same_runs(again, points)
    return Material(
        points=points,
        counted=counted,
        repeated=_repeated(whole, keep),
        key=source_key((r.run_id, r.val_loss_nats) for r in records),
        origin=origin,
    )


def from_points(
    points: FitPoints, *, keep: Collection[str] = (), origin: str = "columns"
) -> Material:
    """Points that were given. Raises ``FitError`` when none can be fitted."""
    if "recipes" not in keep:
        _refuse_recipes(points, None, [])
    screened = screen(points, keep=keep)
    return Material(
        points=screened,
        counted={points.convention["params"]: screened},
        repeated=_repeated(points, keep),
        key=source_key(zip(points.run_id, points.loss_nats.tolist(), strict=True)),
        origin=origin,
    )


def gather_material(
    sources: Sequence[Path],
    *,
    table: TableSettings | None = None,
    convention: str = "matmul",
    flops: str = "exact",
    keep: Collection[str] = (),
) -> Material:
    """One table, or one or several sweeps; of either what ``table.where`` asks for.

    Raises ``ConfigError`` for a source that cannot be read, a folder of several sweeps or a table
    among other sources, ``FitError`` when nothing can be fitted.
    """
    tables = [path for path in sources if path.is_file()]
    origin = ", ".join(str(path) for path in sources)
    if not tables:
        refuse_table_settings(origin, table)
        records, folders = gather(sources)
        chosen = chosen_records(records, table.where, origin) if table is not None else records
        material = from_records(
            chosen, convention=convention, flops=flops, keep=keep, origin=origin, folders=folders
        )
        if table is not None and len(chosen) < len(records):
            note = f"{len(chosen)} of {len(records)} runs chosen by {', '.join(table.where)}"
            points = material.points
            points = dataclasses.replace(points, notes=(note, *points.notes))
            material = dataclasses.replace(material, points=points)
        return material
    if len(sources) > 1:
        raise ConfigError(f"{tables[0]}: a table is fitted alone; give one table, or folders")
    points = read_table(tables[0], table, keep=keep, convention=convention)
    return from_points(points, keep=keep, origin=origin)


def refuse_table_settings(origin: str, table: TableSettings | None) -> None:
    """Raises ``ConfigError`` for settings of a table where ``origin`` is a results folder."""
    if table is not None and dataclasses.replace(table, where=()) != TableSettings():
        raise ConfigError(f"{origin}: --columns, --params-are and --loss-unit are for tables")


def gather(folders: Sequence[Path]) -> tuple[list[RunRecord], dict[str, str]]:
    """Every finished run of the sweeps that ``folders`` name, once each, and its sweep's folder.

    Raises ``ConfigError`` naming a folder without records, or with several sweeps.
    """
    found: dict[str, RunRecord] = {}
    places: dict[str, str] = {}
    for folder in folders:
        sweep = only_sweep(folder, "name one, or one by one those to fit together")
        for record in load_records(sweep):
            found[record.run_id] = record
            places.setdefault(record.run_id, str(sweep.path))
    return list(found.values()), places


def chosen_records(
    records: Sequence[RunRecord], where: Sequence[str], origin: str
) -> list[RunRecord]:
    """The records whose recipe or spec is as the conditions say."""
    rows = cells([record.spec for record in records])
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row.get(name) for row in rows] for name in names}
    index = chosen_rows(Rows(columns, range(1, len(rows) + 1)), where, origin, "run")
    return [records[row] for row in index]


def source_key(runs: Iterable[tuple[str, float | None]]) -> str:
    """Identifies finished runs and their losses, to know a stored fit from a stale one."""
    lines = sorted(f"{run_id} {loss!r}" for run_id, loss in runs)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _refuse_mixtures(records: Sequence[RunRecord]) -> None:
    """Losses of different objectives or token alphabets are different quantities: never one fit."""
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
            f"fit {f'each with `slaw fit{by}`' if by else 'one sweep at a time'}"
        )
    texts = {_text_name(r.spec.data): r.corpus_fingerprint for r in records}
    if len(set(texts.values())) > 1:
        raise FitError(
            f"the runs learn from different texts ({'; '.join(sorted(texts))}): their losses do"
            " not compare, and no law describes them all; fit each on its own with `slaw"
            f" fit{by or ' --by data.corpus'}`, or one with --where"
        )


def _text_name(data: DataSpec | TaskSpec) -> str:
    """What runs learn from, whatever share of it; a task with its settings."""
    if isinstance(data, TaskSpec):
        return value_text({"name": data.name, **dict(data.source.settings)})
    return " ".join((data.corpus, *data.domains))


def _refuse_recipes(
    points: FitPoints, folders: Mapping[str, str] | None, axes: Sequence[str]
) -> None:
    """Losses of two recipes lie on two surfaces: one law through both is of neither, and its
    residuals are no noise."""
    if len(set(points.recipe)) < 2:
        return
    places = [folders[run_id] for run_id in points.run_id] if folders else None
    ways = [f"fit one recipe with {_conditions(points.recipe[0], of_table=folders is None)}"]
    if axes:
        ways.append(f"each arm on its own with `slaw fit{by_options(axes)}`")
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


def _conditions(recipe: str, *, of_table: bool) -> str:
    if of_table:  # it has the recipe in one column
        return f"--where 'recipe={recipe}'"
    return " ".join(f"--where '{condition}'" for condition in recipe.split(", "))


def _same_runs(points: FitPoints, like: FitPoints) -> FitPoints:
    kept = set(like.run_id)
    mask = np.array([run_id in kept for run_id in points.run_id])
    return dataclasses.replace(points.take(mask), dropped=like.dropped, notes=like.notes)


def _repeated(points: FitPoints, keep: Collection[str]) -> FitPoints | None:
    """All points where some were seen at least twice: for laws of repeated data."""
    if float((points.tokens / points.tokens_unique).max()) < 2:
        return None
    return screen(points, keep=[*keep, "repeats"])
