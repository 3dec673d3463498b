"""Formats of other programs' runs, one file each: ``wandb.py`` reads what Weights & Biases writes.

A format only reads: it gives cells by the names that the program gave them, and guesses no role.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class SourceRun:
    """What a source says of one run.

    ``name``: the run's name, by which sources are joined.
    ``values``: column -> cell, of what holds for the whole run or for its end.
    ``curve``: the points of its curve in order, each column -> cell; () for an endpoint alone.
    ``settings``: the names among ``values`` that were set before the run, not measured in it.
    ``file``: the file or folder that names the run, where nothing in it does. A name that says
        little, such as ``metrics`` or ``log``, gives way to that of the file's folder, and equal
        names of different files are told apart by their folders.
    ``row``: the line of the run in a file of several; 0 for the whole file.
    """

    name: str
    values: Mapping[str, Any]
    curve: tuple[Mapping[str, Any], ...] = ()
    settings: frozenset[str] = frozenset()
    file: Path | None = None
    row: int = 0


@dataclass(frozen=True, kw_only=True)
class Source:
    """The runs of one source.

    ``runs``: its runs.
    ``left_out``: (run, reason) of each that cannot be read.
    ``notes``: what was changed or passed over in reading.
    ``run_column``: the column that names the runs; "" where their files do.
    ``missing``: what to say of a role for which no column is there, by role.
    ``evaluates``: whether these are measurements of models that were trained elsewhere: one of them
        is the loss only where the user says so.
    ``one_run``: whether the source is one run as a whole: such sources of a format are taken
        together whatever their columns.
    """

    runs: tuple[SourceRun, ...]
    left_out: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    run_column: str = ""
    missing: Mapping[str, str] = field(default_factory=dict)
    evaluates: bool = False
    one_run: bool = False


@dataclass(frozen=True, kw_only=True)
class Format:
    """A format that ``slaw import`` reads.

    ``sniff(path)`` says why a file or folder is of this format, as in ``event files``; "" for one
    that is not. It reads the beginning of a file at most, and raises nothing but ``OSError``.
    ``read(path)`` gives the runs; it raises ``ConfigError`` naming file and line.
    ``alone`` says that each source has columns of its own, as tables do: those with the same
    columns are taken together. All sources of another format are.
    """

    sniff: Callable[[Path], str]
    read: Callable[[Path], Source]
    alone: bool = False
