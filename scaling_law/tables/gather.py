"""Finds the format of each source and reads it; sources of one format are taken together."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from scaling_law import parts
from scaling_law.errors import ConfigError, one_line
from scaling_law.parts import Reference
from scaling_law.tables.documents import joined_steps
from scaling_law.tables.formats import Format, Source, SourceRun

# What any file with their suffix may be: they read a file that no other format claims.
_PLAIN = ("csv", "jsonl")


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Sources whose columns mean the same.

    ``origin``: names them in messages.
    ``format``: the name of their format, ``why``: how it was recognised.
    ``runs``: their runs, ``sources``: where each is from.
    ``left_out``: those that cannot be read, each with the reason.
    ``notes``: what was changed in reading.
    ``run_column``: the column that names the runs, "" where files do.
    ``missing``: what to say of a role without a column, by role.
    ``evaluates``: whether models are measured here that were trained elsewhere.
    """

    origin: str
    format: str
    why: str
    runs: tuple[SourceRun, ...]
    sources: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    run_column: str
    missing: dict[str, str]
    evaluates: bool


def gather(paths: Sequence[Path], named: str | None) -> list[Pool]:
    """Read the sources. Raises ``ConfigError`` for one whose format is not known, or not readable.

    ``named`` is the format that the user names, or the path of a user's own file.
    """
    together: dict[tuple[str, frozenset[str]], list[tuple[Path, str, Source]]] = defaultdict(list)
    for path in dict.fromkeys(paths):
        if not path.exists():
            raise ConfigError(f"{path}: no such file or folder")
        name, why, form = _format_of(path, named)
        try:
            source = form.read(path)
        except (OSError, csv.Error) as problem:
            words = problem.strerror if isinstance(problem, OSError) else problem
            raise ConfigError(f"{path}: cannot be read ({words})") from None
        columns = _columns(source) if form.alone and not source.one_run else frozenset()
        together[name, columns].append((path, f"{why} (format {name})", source))
    together = defaultdict(list, {key: joined_steps(read) for key, read in together.items()})
    names = _told_apart([run for read in together.values() for *_, one in read for run in one.runs])
    return [_pool(name, read, names) for (name, _), read in together.items()]


def _columns(source: Source) -> frozenset[str]:
    rows = (row for run in source.runs for row in (run.values, *run.curve))
    return frozenset(name for row in rows for name in row)


# What many programs call their files, whatever the run.
_SAY_LITTLE = frozenset(
    ("metrics", "summary", "results", "result", "log", "logs", "train", "training", "train_log",
     "training_log", "history", "progress", "output", "stdout", "trainer_state", "records", "run",
     "eval", "stats", "curve", "losses", "loss", "data", "scalars")
)  # fmt: skip


def _told_apart(runs: Sequence[SourceRun]) -> dict[tuple[Path, str], str]:
    """The name of each run that a file names, by that file and the run's name in it."""
    places: dict[str, dict[tuple[Path, str], tuple[str, ...]]] = defaultdict(dict)
    for run in runs:
        if run.file is not None:
            name, folders = _place(run.file, run.name)
            places[name][run.file, run.name] = folders
    return {key: name for base, same in places.items() for key, name in _names(base, same)}


def _place(file: Path, name: str) -> tuple[str, tuple[str, ...]]:
    """What a file calls its run, and the folders above that."""
    path = file.resolve()
    parts = path.parts
    if path.is_file():
        parts = path.with_suffix("").parts
        if path.stem.lower() in _SAY_LITTLE and len(parts) > 2:
            parts = parts[:-1]
            name = parts[-1]
    return name, parts[1 : len(parts) - len(Path(name).parts)]


def _names(
    base: str, same: Mapping[tuple[Path, str], tuple[str, ...]]
) -> Iterator[tuple[tuple[Path, str], str]]:
    """The name with as many folders before it as tell the files apart.

    Files of one folder have one name: they are of one run.
    """
    depth = 0
    while len({_last(depth, folders) for folders in same.values()}) < len(set(same.values())):
        depth += 1
    for key, folders in same.items():
        yield key, "/".join((*_last(depth, folders), base))


def _last(number: int, folders: tuple[str, ...]) -> tuple[str, ...]:
    return folders[max(0, len(folders) - number) :]


def _format_of(path: Path, named: str | None) -> tuple[str, str, Format]:
    if named is not None:
        reference = parts.refer("format", named, Path())
        return reference.name, "as --format says", _load(reference)
    claims = {}
    for name in parts.names("format"):
        form = _load(Reference(name=name))
        if why := _sniffed(form, path):
            claims[name] = (why, form)
    special = [name for name in claims if name not in _PLAIN] or list(claims)
    if not special:
        raise ConfigError(
            f"{path}: of no format that is known ({', '.join(parts.names('format'))}); name it with"
            " --format, or export its runs as CSV"
        )
    if len(special) > 1:
        words = ", ".join(f"{claims[name][0]} (--format {name})" for name in special)
        raise ConfigError(f"{path}: of several formats: {words}; choose one")
    (name,) = special
    why, form = claims[name]
    return name, why, form


def _load(reference: Reference) -> Format:
    return cast(Format, parts.load("format", reference))


def _sniffed(form: Format, path: Path) -> str:
    try:
        return form.sniff(path)
    except OSError as problem:
        raise ConfigError(f"{path}: cannot be read ({problem.strerror})") from None


def _pool(
    name: str,
    read: Sequence[tuple[Path, str, Source]],
    names: Mapping[tuple[Path, str], str],
) -> Pool:
    first, why, _ = read[0]
    origin = str(first) if len(read) == 1 else f"{first} and {len(read) - 1} more"
    left_out = tuple(row for _, _, source in read for row in source.left_out)
    runs = tuple(_named(run, names) for _, _, source in read for run in source.runs)
    if not runs:
        reasons = "; ".join(f"{run}: {reason}" for run, reason in left_out[:4])
        raise ConfigError(
            one_line(f"{origin}: no run that can be read; {reasons or 'it is empty'}")
        )
    return Pool(
        origin=one_line(origin),
        format=name,
        why=why,
        runs=runs,
        sources=tuple(one_line(str(path)) for path, _, source in read for _ in source.runs),
        left_out=left_out,
        notes=tuple(note for _, _, source in read for note in source.notes),
        run_column=read[0][2].run_column,
        evaluates=any(source.evaluates for _, _, source in read),
        missing={role: words for _, _, source in read for role, words in source.missing.items()},
    )


def _named(run: SourceRun, names: Mapping[tuple[Path, str], str]) -> SourceRun:
    if run.file is None:
        return run
    name = names[run.file, run.name]
    return replace(run, name=f"{name} row {run.row}" if run.row else name)
