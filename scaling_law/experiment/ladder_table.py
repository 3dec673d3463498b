"""Find the rungs of Porian's ladder among the rows of a published table.

Columns say how each row was trained and counted:

- ``rung``: the name of the rung (``ladder.RUNGS``); or
- ``hparams`` (base, tuned), ``warmup`` (long, short), ``decay`` (kaplan or const, chinchilla) and
  ``count`` (kaplan, standard), in Porian's words; or
- ``config``: the same between slashes, as Porian's records name it:
  ``dataset/hparams/warmup/decay/count/split``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scaling_law.errors import ConfigError, listed
from scaling_law.experiment.findings import Findings
from scaling_law.experiment.ladder import (
    COUNTED,
    DECAY,
    KAPLAN,
    RUNGS,
    TUNED,
    WARMUP,
    Measured,
    ladder_findings,
    measured,
)

if TYPE_CHECKING:
    from scaling_law.fit.points.points import FitPoints
    from scaling_law.fit.points.table_settings import TableSettings

_WAYS = ("hparams", "warmup", "decay", "count")
_KEYS = (("rung",), _WAYS, ("config",))
_UNMATCHED, _MATCHED = ("kaplan", "const", "constant"), ("chinchilla", "matched")


@dataclass(frozen=True, kw_only=True)
class Way:
    """How runs were trained and counted, in Porian's words."""

    hparams: str
    warmup: str
    decay: str
    count: str

    @property
    def rung(self) -> str | None:
        """The name of the rung; None where the ladder has none like it."""
        if self.count not in ("kaplan", "standard") or self.decay not in _UNMATCHED + _MATCHED:
            return None
        if self.hparams == "tuned":
            return TUNED if (self.warmup, self.count) == ("short", "standard") else None
        if self.hparams != "base":
            return None
        matched = self.decay in _MATCHED
        return {
            ("long", False, "kaplan"): KAPLAN,
            ("long", False, "standard"): COUNTED,
            ("short", False, "standard"): WARMUP,
            ("short", True, "standard"): DECAY,
        }.get((self.warmup, matched, self.count))


def table_findings(path: Path, settings: TableSettings) -> Findings:
    """Return what the rows of a table say of the ladder, by the code that reads our own runs.

    Raises ``ConfigError`` for a table that does not say how its rows were trained, has several
    configurations of one rung, or no rung whose rows can be used.
    """
    from scaling_law.fit.points.table import NO_CLUSTERS

    rungs, left_out = _rungs(path, settings)
    problems = [str(points) for _, points in rungs.values() if isinstance(points, ConfigError)]
    if len(problems) == len(rungs):
        raise ConfigError(*dict.fromkeys(problems))
    ladder: dict[str, Measured] = {}
    notes: list[str] = []
    assumed: dict[str, None] = {}
    for name, (words, points) in rungs.items():
        if isinstance(points, ConfigError):
            ladder[name] = Measured(why=str(points))
            continue
        ladder[name] = measured(points)
        notes += [f"{words}: {label} left out: {why}" for label, why in points.dropped]
        if NO_CLUSTERS in points.notes:
            assumed[NO_CLUSTERS] = None
    notes += assumed
    if left_out:
        notes.append(f"configurations that are on no rung, left out: {listed(left_out)}")
    return ladder_findings(ladder, needs=f"it takes rows of it in {path}", notes=notes)


def _rungs(
    path: Path, settings: TableSettings
) -> tuple[Mapping[str, tuple[str, FitPoints | ConfigError]], list[str]]:
    """The rows of each rung with their configuration, and the configurations on no rung."""
    from scaling_law.fit.points.cells import read_rows
    from scaling_law.fit.points.table import read_table_by

    known = read_rows(path, lambda name: any(name in keys for keys in _KEYS)).known
    keys = next((keys for keys in _KEYS if set(keys) <= set(known)), None)
    if keys is None:
        raise ConfigError(
            f"{path}: no column says how its rows were trained; expected rung"
            f" ({', '.join(rung.name for rung in RUNGS)}), or {', '.join(_WAYS)}, or config as in"
            f" rw/base/long/kaplan/kaplan/train; found {', '.join(known)}"
        )
    names = [rung.name for rung in RUNGS]
    rungs: dict[str, tuple[str, FitPoints | ConfigError]] = {}
    left_out = []
    for values, points in read_table_by(path, keys, settings):
        words = "/".join(values)
        name = _rung_of(keys, values)
        if name is None:
            left_out.append(words)
        elif name in rungs:
            raise ConfigError(
                f"{path}: {rungs[name][0]} and {words} are both on the rung {name}; choose one"
                f" with --where, as in --where {keys[0]}={values[0]}"
            )
        else:
            rungs[name] = (words, points)
    if not rungs:
        raise ConfigError(
            f"{path}: no row is on a rung of the ladder: {', '.join(keys)} has {listed(left_out)};"
            f" expected {_expected(keys)}"
        )
    return {name: rungs[name] for name in names if name in rungs}, left_out


def _expected(keys: tuple[str, ...]) -> str:
    """What the columns of a ladder's table hold."""
    if keys == ("rung",):
        return ", ".join(rung.name for rung in RUNGS)
    ways = "hparams base or tuned, warmup long or short, decay kaplan, const or chinchilla, count"
    ways += " kaplan or standard"
    return ways if keys == _WAYS else f"dataset/hparams/warmup/decay/count/split, with {ways}"


def _rung_of(keys: tuple[str, ...], values: tuple[str, ...]) -> str | None:
    if keys == ("rung",):
        return values[0] if values[0] in {rung.name for rung in RUNGS} else None
    if keys == ("config",):
        words = values[0].lower().split("/")
        return Way(**dict(zip(_WAYS, words[1:5], strict=True))).rung if len(words) >= 5 else None
    return Way(**dict(zip(_WAYS, (value.lower() for value in values), strict=True))).rung
