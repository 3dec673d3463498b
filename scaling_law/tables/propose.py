"""Proposes which column has which role, by its name, and says why; what is open is refused.

Of the columns that may have a role, those whose names say most come first; where two say equally
much the user chooses.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scaling_law.errors import ConfigError, did_you_mean, listed, one_line, quoted
from scaling_law.fit.points.histories import STEPS
from scaling_law.fit.points.loss_names import is_loss, score_in, words_of
from scaling_law.fit.points.numbers import is_missing, number
from scaling_law.fit.points.roles import ALIASES, role_of
from scaling_law.fit.points.states import FLAGS as STATE_FLAGS
from scaling_law.fit.points.states import STATE_COLUMNS
from scaling_law.tables.gather import Pool

_VALIDATION = {"val", "valid", "validation", "eval", "evaluation", "test", "dev", "heldout"}
_TRAINING = {"train", "training"}
_PARAMS = {"params", "param", "parameters", "parameter", "nparams"}
_NO_PARAMS = {
    "ratio",
    "target",
    "groups",
    "group",
    "norm",
    "update",
    "dtype",
    "per",
    "lr",
    "sharding",
    "hash",
}
_TOKENS = {"tokens", "token", "ntokens"}
_NO_TOKENS = {
    "per", "sec", "second", "seconds", "s", "batch", "vocab", "unique", "eval", "val", "prob",
    "loss", "tps", "bytes", "context", "seq", "length", "acc", "accuracy", "id", "pad", "eos",
    "bos", "max", "special", "mb", "device", "iter", "step", "masked", "rate", "target",
}  # fmt: skip
_FLOPS = re.compile(r"(?:kilo|mega|giga|tera|peta|exa|zetta|[kmgtpez])?flops?|pfdays?|compute")
_NO_FLOPS = {
    "per", "sec", "second", "s", "mfu", "token", "promised", "rate", "utilization", "device",
    "peak", "gpu", "target", "dtype", "type", "step", "hours", "cluster", "cost",
}  # fmt: skip
_TOTAL = {"total", "training", "train", "seen", "consumed", "cumulative"}
_BESIDES = {
    "batch": ("batch_tokens", "tokens_per_step", "tokens_per_iter", "tokens_per_iteration"),
    "tokens_per_second": ("tokens_per_sec", "tok_per_sec", "tok/sec", "tokens/sec", "tokens/s",
                          "tok/s", "tokens/second", "train/tok_per_sec", "throughput/tps"),
    "cluster": ("trunk",),
    "unique_tokens": (), "sem": (), "size": (), "seed": (),
}  # fmt: skip
FLAGS = ("loss", "params", "tokens", "flops")  # roles with an option of their own
_SHOWN = 12


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the user says of columns.

    ``columns``: role -> its column; "" for no column.
    ``constants``: role -> one number for all runs.
    ``metrics``: name in the written table -> column.
    ``from_flops``: the role, params or tokens, that follows from FLOPs of 6 * params * tokens.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, str] = field(default_factory=dict)
    from_flops: str = ""


@dataclass(frozen=True)
class Proposal:
    """A column with a role.

    ``column``: its name.
    ``why``: why it has the role, in words.
    """

    column: str
    why: str


def column_names(pool: Pool) -> dict[str, Any]:
    """The columns of a pool, and of each the first cell that has a value."""
    names: dict[str, Any] = {}
    for run in pool.runs:
        for row in (run.values, *run.curve):
            for name, cell in row.items():
                if is_missing(names.get(name)):
                    names[name] = cell
    return names


def check_asked(asked: Asked, pools: Sequence[Pool]) -> None:
    """Raises ``ConfigError`` for a column that no source has, and for a loss that is none.

    Raises it for a metric with the name of a role, too.
    """
    there = dict.fromkeys(name for pool in pools for name in column_names(pool))
    named = [(f"--{role}" if role in FLAGS else f"--columns {role}=", column)
             for role, column in asked.columns.items()]  # fmt: skip
    named += [(f"--metric {name}=", column) for name, column in asked.metrics.items()]
    for option, column in named:
        if column and column not in there:
            raise ConfigError(
                f"{option} {quoted(column)}: no source has such a column"
                f"{did_you_mean(column, there)}; there are {listed(list(there), _SHOWN)}"
            )
    for name in asked.metrics:
        if is_reserved(name):
            raise ConfigError(
                f"--metric {quoted(name)}=: a table has a column of that name with a role of its"
                " own; expected another name"
            )
    loss = asked.columns.get("loss", "")
    if score := score_in(loss):
        raise ConfigError(
            f"--loss {quoted(loss)}: its name says {score}, which is no loss; expected a loss"
            f" that falls; carry it beside one with --metric NAME={shlex.quote(loss)}"
        )


def is_reserved(name: str) -> bool:
    """Whether a table's column of this name has a role, so that no metric may be called so."""
    low = name.strip().lower()
    return role_of(name) is not None or low in STATE_FLAGS or low in ("state", "run_id")


def propose(pool: Pool, asked: Asked) -> tuple[dict[str, Proposal], list[str]]:
    """Role -> column of a pool, and what is open: a line for each role with several columns.

    The role ``step`` is the place on a curve.
    """
    names = column_names(pool)
    roles: dict[str, Proposal] = {}
    problems = []
    taken: set[str] = set()
    if pool.run_column:
        taken.add(pool.run_column)
    for role, find in _FINDERS.items():
        if role in asked.columns:
            column = asked.columns[role]
            if column in names and column:
                roles[role] = Proposal(column, "as you say")
                taken.add(column)
            continue
        if role in asked.constants or role == asked.from_flops:
            continue
        if role == "loss" and pool.evaluates:
            continue
        tiers = find({name: cell for name, cell in names.items() if name not in taken})
        best = next(((why, some) for why, some in tiers if some), None)
        if best is None:
            continue
        why, some = best
        if len(some) > 1:
            option = f"--{role}" if role in FLAGS else "--columns"
            value = some[0] if role in FLAGS else f"{role}={some[0]}"
            none = f", or none with {option} {'none' if role in FLAGS else f'{role}='}"
            problems.append(
                f"{pool.origin}: {len(some)} columns may be {_called(role)}:"
                f" {one_line(listed(some, _SHOWN))}; choose one, as in {option}"
                f" {one_line(shlex.quote(value))}{none if role not in FLAGS[:3] else ''}"
            )
            continue
        others = list(dict.fromkeys(n for _, more in tiers for n in more if n != some[0]))
        beside = f" (before {listed(others, 3)})" if others else ""
        roles[role] = Proposal(some[0], f"{why}{beside}")
        taken.add(some[0])
    return roles, problems


def _called(role: str) -> str:
    return {"params": "the parameters", "flops": "the FLOPs"}.get(role, f"the {role}")


def _base(name: str) -> str:
    """A column's name without the part of an export that it is in, as in ``config.seed``."""
    return re.sub(r"^(?:config|summary|hparams|args)[./]", "", name.strip().lower())


def _is_perplexity(name: str) -> bool:
    return bool({"ppl", "perplexity"}.intersection(words_of(name)))


_Tiers = list[tuple[str, list[str]]]
_Names = Mapping[str, Any]


def _loss(names: _Names) -> _Tiers:
    losses = [name for name, cell in names.items() if is_loss(name) and is_number(cell)]
    validation = [name for name in losses if _VALIDATION.intersection(words_of(name))]
    training = [name for name in losses if _TRAINING.intersection(words_of(name))]
    plain = [name for name in losses if name not in validation and name not in training]
    tiers: _Tiers = []
    for why, some in (
        ("its name says a validation loss", validation),
        ("it has that name", [name for name in plain if _base(name) == "loss"]),
        ("its name says a loss, not of which text", [n for n in plain if "batch" not in n]),
        ("a training loss: there is none of validation", [*training, *plain]),
    ):
        tiers.append((why, [name for name in some if not _is_perplexity(name)]))
        tiers.append((f"{why}, as perplexity", [name for name in some if _is_perplexity(name)]))
    return tiers


def _by_words(
    role: str, yes: Callable[[set[str]], bool], no: Iterable[str], better: set[str]
) -> Callable[[_Names], _Tiers]:
    aliases, excluded = ALIASES.get(role, ()), set(no)

    def find(names: _Names) -> _Tiers:
        counts = [name for name, cell in names.items() if is_number(cell, count=True)]
        exact = [name for name in counts if _base(name) == role]
        of_role = [name for name in counts if role_of(_base(name)) == role]
        usual = [name for name in counts if _base(name) in aliases]
        likely = [
            name for name in counts if yes(words := set(words_of(name))) and not words & excluded
        ]
        best = [name for name in likely if better.intersection(words_of(name))]
        return [
            ("it has that name", exact),
            ("it has that name, with a unit", of_role),
            ("a usual name", usual),
            (f"its name says {role} of training", best),
            (f"its name says {role}", likely),
        ]

    return find


def _exact(role: str) -> Callable[[_Names], _Tiers]:
    def find(names: _Names) -> _Tiers:
        low = {name: _base(name) for name in names}
        return [
            ("it has that name", [name for name in names if low[name] == role]),
            ("a usual name", [name for name in names if low[name] in _BESIDES[role]]),
        ]

    return find


def _state(names: _Names) -> _Tiers:
    low = {_base(name): name for name in names}
    return [("it has that name", [low[word] for word in STATE_COLUMNS if word in low][:1])]


def _step(names: _Names) -> _Tiers:
    low = {_base(name): name for name in names}
    return [("it counts steps", [low[w] for w in STEPS if w in low and w != "epoch"][:1])]


def is_number(cell: Any, *, count: bool = False) -> bool:
    """Whether a cell may be read as a number; ``count`` admits suffixes, as in 70B."""
    if isinstance(cell, bool):
        return False
    # which mark is decimal is settled where all cells of the column are read
    known = any(number(cell, count=count, mark=mark) is not None for mark in ".,")
    return known or (isinstance(cell, str) and "±" in cell)


_FINDERS: dict[str, Callable[[_Names], _Tiers]] = {
    "loss": _loss,
    "params": _by_words("params", lambda words: bool(words & _PARAMS), _NO_PARAMS, set()),
    "tokens": _by_words("tokens", lambda words: bool(words & _TOKENS), _NO_TOKENS, _TOTAL),
    "flops": _by_words("flops", lambda words: any(map(_FLOPS.fullmatch, words)), _NO_FLOPS, _TOTAL),
    **{role: _exact(role) for role in _BESIDES},
    "state": _state,
    "step": _step,
}
