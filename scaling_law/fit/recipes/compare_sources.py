"""Compare recipes by folders, by tables, or by the arms of one of them; the first is the base."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from scaling_law.errors import (
    ConfigError,
    FitError,
    SlawError,
    did_you_mean,
    listed,
    one_line,
    quoted,
    reason_lines,
)
from scaling_law.files.record import RunRecord, load_records, only_sweep
from scaling_law.fit.arms import ABSENT, split_by
from scaling_law.fit.points.cells import read_rows
from scaling_law.fit.points.dataset import (
    chosen_records,
    from_points,
    from_records,
    gather,
    refuse_table_settings,
    unfinished_notes,
)
from scaling_law.fit.points.points import FitPoints
from scaling_law.fit.points.rows import cell_text
from scaling_law.fit.points.table import read_table, read_table_by
from scaling_law.fit.points.table_settings import TableSettings
from scaling_law.fit.points.text_of_losses import EITHER, VALIDATION, says_text
from scaling_law.fit.points.where import condition, filtered
from scaling_law.fit.recipes.compare_points import PointComparison, Question, compare_points
from scaling_law.fit.recipes.compare_recipes import losses_in, shared_unit
from scaling_law.spec.arms import Values, arm_name
from scaling_law.units import count_of


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How the runs are read.

    ``convention`` is the count of parameters, of a sweep;
    ``keep`` are rules that leave no run out;
    ``metric`` takes the place of the validation loss, of a sweep;
    ``table`` is how a table is read, and which rows or runs are taken;
    ``columns`` are the columns of each source by role, in their order; empty: all have those of
    ``table``.
    """

    convention: str = "matmul"
    keep: tuple[str, ...] = ()
    metric: str | None = None
    table: TableSettings = field(default_factory=TableSettings)
    columns: tuple[Mapping[str, str], ...] = ()

    def of(self, number: int) -> Reading:
        """How the source of that number is read."""
        if not self.columns:
            return self
        table = dataclasses.replace(self.table, columns=self.columns[number])
        return dataclasses.replace(self, table=table, columns=())


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The runs of one recipe.

    ``name`` is how texts call it; ``values`` are those of the keys of an arm;
    ``records`` are its runs, empty of a table;
    ``points`` are those that are compared, or the reason why there are none;
    ``texts`` name the text that its losses are on, empty where a table does not say;
    ``data`` are names of data, of a table that may mean the text of its losses or of training.
    """

    name: str
    values: Values = ()
    records: tuple[RunRecord, ...] = ()
    points: FitPoints | SlawError
    texts: frozenset[str] = frozenset()
    data: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Comparisons:
    """The recipes against the base, in their order.

    ``base`` is its name;
    ``compared`` are those with a multiplier;
    ``not_compared`` are (name, reason) of the others;
    ``notes`` say how many runs of the sources have not finished.
    """

    base: str
    compared: tuple[PointComparison, ...]
    not_compared: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The document of ``slaw compare --json``."""
        return {
            "base": self.base,
            "compared": [one.to_json() for one in self.compared],
            "not_compared": [{"name": name, "why": why} for name, why in self.not_compared],
            "notes": list(self.notes),
        }


def compare_sources(
    sources: Sequence[Path],
    question: Question,
    reading: Reading | None = None,
    *,
    by: Sequence[str] = (),
    base: str | None = None,
) -> Comparisons:
    """Compare every recipe with the base: each source, or with ``by`` each arm of the only one.

    Raises ``ConfigError`` for sources that cannot be read or do not compare, ``FitError`` where no
    recipe has a multiplier. Of several, those that do not compare are listed.
    """
    reading = reading or Reading()
    recipes = _arms(sources, by, reading) if by else _whole(sources, reading)
    notes = tuple(unfinished_notes(sources))
    first, others = _based(recipes, base)
    others = [_beside(first, other) for other in others]
    other_base = ("--base NAME chooses another base",) if by and base is None else ()
    if isinstance(first.points, SlawError):
        raise type(first.points)(f"the base, {first.name}: {first.points}", *other_base)
    if len(others) == 1:
        compared = [_compared(first, others[0], question, reading)]
        return Comparisons(base=first.name, compared=tuple(compared), not_compared=(), notes=notes)
    compared, failed = [], []
    for other in others:
        try:
            compared.append(_compared(first, other, question, reading))
        except SlawError as problem:
            failed.append((other.name, problem))
    not_compared = tuple((name, str(problem)) for name, problem in failed)
    if not compared:
        is_input = any(isinstance(problem, ConfigError) for _, problem in failed)
        raise (ConfigError if is_input else FitError)(*reason_lines(not_compared), *other_base)
    return Comparisons(
        base=first.name,
        compared=tuple(compared),
        not_compared=not_compared,
        notes=notes,
    )


def _whole(sources: Sequence[Path], reading: Reading) -> list[Recipe]:
    if len(sources) < 2:
        raise ConfigError(
            f"{len(sources)} source to compare: expected two or more (folders or tables, the base"
            " first), or one with --by KEY"
        )
    if twice := [path for i, path in enumerate(sources) if path in sources[:i]]:
        raise ConfigError(f"{twice[0]}: named twice; name two recipes to compare")
    names = [path.name for path in sources]
    labels = [path.name if names.count(path.name) == 1 else str(path) for path in sources]
    if all(path.is_dir() for path in sources):
        refuse_table_settings(", ".join(map(str, sources)), reading.of(0).table)
    recipes = []
    for number, (path, label) in enumerate(zip(sources, labels, strict=True)):
        try:
            if path.is_file():
                recipes.append(_table(path, label, reading.of(number)))
                continue
            records = load_records(only_sweep(path, "name one as a recipe"))
            recipes.append(_of_records(label, records, reading, str(path)))
        except SlawError as problem:
            hint = _other_names(path, reading)
            if str(path) in str(problem) and not hint:
                raise
            place = "" if str(path) in str(problem) else f"{path}: "
            raise type(problem)(f"{place}{problem}{hint}") from None
    return recipes


def _other_names(path: Path, reading: Reading) -> str:
    """What to do where a table lacks a column that was named for all tables; "" elsewhere."""
    if reading.columns or not reading.table.columns or not path.is_file():
        return ""
    known = read_rows(path, lambda _: False).known
    if all(name in known for name in reading.table.columns.values() if name):
        return ""
    return "; tables with other names take --columns once for each, in their order"


def _table(path: Path, label: str, reading: Reading) -> Recipe:
    if reading.metric is not None:
        raise ConfigError(
            f"--metric {reading.metric}: is for sweeps; of a table choose the column with --columns"
            " loss=COLUMN"
        )
    points = read_table(path, reading.table, keep=reading.keep, convention=reading.convention)
    screened = from_points(points, keep=reading.keep, origin=str(path)).points
    texts, data = _texts(path, (), reading.table).get((), _NO_TEXTS)
    return Recipe(name=label, points=screened, texts=texts, data=data)


_NO_TEXTS: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())


def _texts(
    path: Path, by: Sequence[str], table: TableSettings
) -> dict[tuple[str, ...], tuple[frozenset[str], frozenset[str]]]:
    """The texts and the data that a table names, for each combination of values of ``by``."""
    conditions = {condition(where)[0] for where in table.where}
    rows = read_rows(path, lambda name: says_text(name) or name in by or name in conditions)
    if conditions <= rows.columns.keys():  # else a column that reading the points adds
        rows, _ = filtered(rows, table, str(path))
    of_values: dict[tuple[str, ...], list[int]] = {}
    for row in range(len(rows.lines)):
        values = tuple(one_line(cell_text(rows.columns[key][row])) or "empty" for key in by)
        of_values.setdefault(values, []).append(row)

    def named(names: Sequence[str], index: Sequence[int]) -> frozenset[str]:
        return frozenset(
            one_line(text)
            for name, cells in rows.columns.items()
            if name.strip().lower() in names
            for row in index
            if (text := cell_text(cells[row]))
        )

    return {
        values: (named(VALIDATION, index), named(EITHER, index))
        for values, index in of_values.items()
    }


def _of_records(name: str, records: Sequence[RunRecord], reading: Reading, origin: str) -> Recipe:
    chosen = chosen_records(records, reading.table.where, origin)
    points = from_records(
        chosen,
        convention=reading.convention,
        flops="exact",
        keep=reading.keep,
        origin=origin,
        metric=reading.metric,
    ).points
    trunks = {record.run_id for record in chosen if record.kind == "trunk"}
    left_out = tuple(one for one in points.dropped if one[0] not in trunks)  # never points
    points = dataclasses.replace(points, dropped=left_out)
    return Recipe(name=name, records=tuple(chosen), points=points)


def _arms(sources: Sequence[Path], by: Sequence[str], reading: Reading) -> list[Recipe]:
    if len(sources) != 1:
        raise ConfigError(
            f"--by {by[0]}: {len(sources)} sources; expected one, whose arms are compared"
        )
    (path,) = sources
    recipes: list[Recipe] = []
    if path.is_file():
        several = read_table_by(
            path, by, reading.table, keep=reading.keep, convention=reading.convention
        )
        known = _texts(path, by, reading.table)
        for cells, points in several:
            values = tuple(zip(by, cells, strict=True))
            name = arm_name(values)
            screened = _screened(points, name, reading)
            texts, data = known.get(cells, _NO_TEXTS)
            recipes.append(
                Recipe(name=name, values=values, points=screened, texts=texts, data=data)
            )
    else:
        refuse_table_settings(str(path), reading.table)
        records, _ = gather(sources)
        chosen = chosen_records(records, reading.table.where, str(path))
        plain = dataclasses.replace(reading, table=TableSettings())
        for arm in split_by(chosen, by, str(path)):
            if any(value == ABSENT for _, value in arm.values):
                continue  # trunks of several arms, or runs without the key
            try:
                one = _of_records(arm.name, arm.records, plain, arm.name)
            except SlawError as problem:
                one = Recipe(name=arm.name, points=problem)
            recipes.append(dataclasses.replace(one, values=arm.values))
    if len(recipes) < 2:
        raise ConfigError(
            f"{path}: --by {by[0]}: {count_of(len(recipes), 'arm')}"
            f" ({', '.join(one.name for one in recipes)}); expected two values or more"
        )
    return recipes


def _screened(
    points: FitPoints | ConfigError, name: str, reading: Reading
) -> FitPoints | SlawError:
    if isinstance(points, ConfigError):
        return points
    try:
        return from_points(points, keep=reading.keep, origin=name).points
    except SlawError as problem:
        return problem


def _based(recipes: Sequence[Recipe], base: str | None) -> tuple[Recipe, list[Recipe]]:
    """The base, the first recipe unless it is named, and the others."""
    if base is None:
        return recipes[0], list(recipes[1:])
    names = [_short(one) for one in recipes]
    if base not in names:
        words = " or ".join(quoted(name) for name in names)
        raise ConfigError(f"--base {base}{did_you_mean(base, names)}: expected {words}")
    place = names.index(base)
    return recipes[place], [*recipes[:place], *recipes[place + 1 :]]


def _short(recipe: Recipe) -> str:
    """An arm's values without its keys, such as ``muon, 0.5``; else the name."""
    return ", ".join(value for _, value in recipe.values) or recipe.name


def _beside(base: Recipe, other: Recipe) -> Recipe:
    """An arm that is called by its differences from the base."""
    differing = tuple(pair for pair in other.values if pair not in base.values)
    return dataclasses.replace(other, name=arm_name(differing)) if differing else other


def _compared(
    first: Recipe, second: Recipe, question: Question, reading: Reading
) -> PointComparison:
    if isinstance(second.points, SlawError):
        raise second.points
    assert isinstance(first.points, FitPoints) and isinstance(second.points, FitPoints)
    names = (first.name, second.name)
    clock, both = "", (first.points, second.points)
    if first.records and second.records:
        unit, notes = shared_unit(first.records, second.records, names)
        if reading.metric is None:
            both = tuple(_in_unit(one, unit) for one in (first, second))  # type: ignore[assignment]
        clock = _other_devices(first.records, second.records)
    else:
        notes = _text_notes(first, second)
    result = compare_points(
        *both, names, question, paired=_is_paired(first) and _is_paired(second), clock=clock
    )
    return dataclasses.replace(result, notes=(*notes, *result.notes))


def _in_unit(recipe: Recipe, unit: str) -> FitPoints:
    """The points of a sweep with losses in a unit that both recipes have."""
    points = recipe.points
    assert isinstance(points, FitPoints)
    if unit == points.loss_unit:
        return points
    known = losses_in(recipe.records, unit)
    losses = [known[run_id] for run_id in points.run_id]
    assert all(losses), "the unit is one that every finished run has"
    return dataclasses.replace(
        points, loss_nats=np.array(losses), convention={**points.convention, "loss": unit}
    )


def _is_paired(recipe: Recipe) -> bool:
    """Whether trunks are named, so that those of one name may share noise under both recipes."""
    points = recipe.points
    assert isinstance(points, FitPoints)
    return bool(recipe.records) or points.cluster != points.run_id


def _other_devices(first: Sequence[RunRecord], second: Sequence[RunRecord]) -> str:
    """Why the times of two sweeps do not compare; "" where they may."""
    if any(all(record.stacked for record in side) for side in (first, second)):
        return "the runs were trained in one program with others and share its time"
    sides = [{(record.device, record.threads) for record in side} for side in (first, second)]
    if sides[0] == sides[1] and len(sides[0]) == 1:
        return ""
    said = [
        ", ".join(
            f"{device} with {count_of(threads, 'thread')}" for device, threads in sorted(side)
        )
        for side in sides
    ]
    if sides[0] == sides[1]:
        return f"the runs were trained on several devices ({said[0]})"
    return f"the recipes were trained on different devices ({said[0]}; {said[1]})"


def _text_notes(first: Recipe, second: Recipe) -> list[str]:
    """A note where it is not known that two tables are on one text.

    Raises ``ConfigError`` where their columns name two.
    """
    if first.texts and second.texts:
        if first.texts == second.texts:
            return []
        said = "; ".join(f"{one.name}: {listed(sorted(one.texts))}" for one in (first, second))
        raise ConfigError(
            f"the losses are of different validation text ({said}): they do not compare; score both"
            " recipes on one text"
        )
    if first.data != second.data:
        said = "; ".join(
            f"{one.name}: {listed(sorted(one.data), 4) or 'not stated'}" for one in (first, second)
        )
        return [
            f"the data differ ({said}): if the losses are on these texts, and not on one text for"
            " both recipes, they do not compare"
        ]
    return ["it is not stated on which text the losses are: it must be one for both recipes"]
