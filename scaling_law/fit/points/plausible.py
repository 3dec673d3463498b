"""Checks that the numbers of a table are possible for what their columns claim to be.

A count has a least value, a loss is below the logarithm of any vocabulary, FLOPs are near 6ND, and
a row is a finished run of its own. A column of which most rows break such a rule is in another unit
or is another thing, and is refused with what to do; single rows are left out, each with its reason.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling_law.errors import ConfigError, one_line, quoted
from scaling_law.fit.points.column_units import Unit, unit_of
from scaling_law.fit.points.numbers import is_missing, number
from scaling_law.fit.points.rows import Rows
from scaling_law.units import count_of

Floats = NDArray[np.float64]

# The least and most that a count of params or tokens can be.
BOUNDS = {"params": (100.0, 1e15), "tokens": (1.0, 1e18)}
# The largest vocabulary in use has about a million ids, and a guess among them costs ln 2^20.
VOCABULARY = 2**20
MOST_NATS = math.log(VOCABULARY)
MOST_NATS_PER_BYTE = 8 * math.log(2)
# Where more than one row, and more than this share, break a rule, the column is not what it is
# called.
MOST_ODD = 0.1
# Tokens a parameter: no published run is outside.
_LEAST_RATIO, _MOST_RATIO = 1e-4, 1e6
# FLOPs over 6ND: attention, embeddings, recomputation and experts account for less than this.
_MOST_FACTOR = 100.0
# A row is off the others' factor by more than this, and by more than their scatter explains.
_OFF_LOG = math.log(3)
_OFF_SIGMAS = 8.0
_SCATTERED_LOG = math.log(3)
_FLOPS_UNITS = ("GFLOP", "TFLOP", "PFLOP", "EFLOP", "ZFLOP", "TF-days", "PF-days")
_SHOWN = 3

STATE_COLUMNS = ("state", "status", "run_state", "run_status", "run state", "run status")
_FINISHED_FLAGS = ("finished", "done", "completed", "complete", "succeeded", "success", "converged")
_UNFINISHED_FLAGS = ("crashed", "failed", "running", "diverged", "preempted", "killed", "aborted")
FLAGS = (*_FINISHED_FLAGS, *_UNFINISHED_FLAGS)
_FINISHED = frozenset(
    (*_FINISHED_FLAGS, "ok", "finish", "exited", "exit 0", "successful", "0", "annealed", "good")
)
_UNFINISHED = frozenset(
    (*_UNFINISHED_FLAGS, "crash", "failure", "fail", "error", "errored", "run", "active",
     "in progress", "preempting", "cancelled", "canceled", "pending", "queued", "waiting",
     "scheduled", "starting", "started", "stopped", "stopping", "paused", "resuming", "requeued",
     "interrupted", "terminated", "timeout", "timed out", "time limit", "oom", "out of memory",
     "node fail", "boot fail", "deadline", "suspended", "unfinished", "incomplete", "partial",
     "nan", "exploded", "broken", "bad", "invalid", "lost", "dead", "deleted")
)  # fmt: skip
_TRUE, _FALSE = (
    frozenset(("true", "yes", "y", "1", "1.0", "t")),
    frozenset(("false", "no", "n", "0", "0.0", "f")),
)

RUN_NAMES = ("run_id", "run", "run_name", "run name", "run id", "name", "experiment", "id")
# Columns that may call a row a summary; a data frame's index has no name.
LABELS = (*RUN_NAMES, "", "unnamed: 0", "model", "size")
_SUMMARIES = frozenset(
    ("total", "totals", "grand total", "subtotal", "sum", "mean", "average", "avg", "median",
     "std", "stdev", "std dev", "standard deviation")
)  # fmt: skip
STEPS = ("step", "_step", "steps", "global_step", "trainer/global_step", "iteration", "iter",
         "iterations", "iters", "epoch")  # fmt: skip
HISTORIES = ("last", "all")
# Rows of one size in equal steps are the log of one run from this many on, and from fewer where a
# column counts steps; horizons are few, and grow by factors.
_LEAST_LOGGED, _LEAST_LOGGED_STEPS = 8, 4
_EQUAL_STEPS = 0.02


def unfinished(rows: Rows, named: str | None) -> tuple[list[str], list[str]]:
    """Why each row is not a finished run ("" for one that is), and notes on unknown words.

    ``named`` is the column that the user calls the state; "" ignores all such columns.
    """
    reasons = [""] * len(rows.lines)
    notes: list[str] = []
    if named == "":
        return reasons, notes
    for name, cells in rows.columns.items():
        low = name.strip().lower()
        if name == named or (named is None and low in STATE_COLUMNS):
            unknown: dict[str, int] = {}
            for row, cell in enumerate(cells):
                word = _word(cell)
                if _says_unfinished(word):
                    reasons[row] = reasons[row] or f"{low} is {one_line(word):.40}: not finished"
                elif word and word not in _FINISHED:
                    unknown[word] = unknown.get(word, 0) + 1
            if unknown and len(unknown) < len(rows.lines) / 2:
                words = ", ".join(quoted(word) for word in list(unknown)[:_SHOWN])
                notes.append(f"column {one_line(name)}: {words} taken for finished runs")
        elif low in FLAGS:
            good = low in _FINISHED_FLAGS
            for row, cell in enumerate(cells):
                word = _word(cell)
                if word in (_FALSE if good else _TRUE):
                    reasons[row] = reasons[row] or f"{low} is {word}: not finished"
    return reasons, notes


def summaries(rows: Rows) -> list[str]:
    """Why each row is a summary of the others, as a spreadsheet's totals; "" for a run."""
    reasons = [""] * len(rows.lines)
    for name, cells in rows.columns.items():
        if name.strip().lower() not in LABELS:
            continue
        for row, cell in enumerate(cells):
            word = _word(cell).strip(":")
            if word in _SUMMARIES:
                column = one_line(name.strip()) or "the column without a name"
                reasons[row] = f"{column} is {word}: a summary of other rows, no run"
    return reasons


def _word(cell: Any) -> str:
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    return re.sub(r"[\s_\-]+", " ", str(cell).strip().lower())


def _says_unfinished(word: str) -> bool:
    return word in _UNFINISHED or word.partition(" by ")[0] in _UNFINISHED


def check_signs(role: str, values: Sequence[float | None], origin: str) -> None:
    """Raises ``ConfigError`` for a count that is negative in many rows: it overflowed.

    Its rows above 0 may have overflowed too.
    """
    given = [value for value in values if value is not None]
    negative = [value for value in given if value < 0]
    if len(negative) <= max(1, MOST_ODD * len(given)):
        return
    ignore = "; --columns flops= ignores the column" if role == "flops" else ""
    raise ConfigError(
        f"{origin}: {role} is below 0 in {len(negative)} of {len(given)} rows, as"
        f" {negative[0]:.15g}: an overflow of {_bits_of(min(negative))} bits? then rows above 0"
        f" may be wrong too; write them again as 64-bit or floating-point numbers{ignore}"
    )


def overflow_words(value: float) -> str:
    """What made a count negative, as a question."""
    return f"an overflow of {_bits_of(value)} bits?"


def _bits_of(value: float) -> int:
    return 32 if value >= -(2.0**31) else 64


def check_counts(
    numbers: Mapping[str, Floats],
    reasons: list[str],
    *,
    origin: str,
    stated: Collection[str],
    given: Collection[str],
) -> None:
    """Gives a reason to each row whose params or tokens are too few or too many for a count.

    ``stated`` roles have a unit from the user; those not ``given`` come from FLOPs. Raises
    ``ConfigError`` where a column has many such rows: it is in another unit.
    """
    refused: dict[str, str] = {}
    for role, (least, most) in BOUNDS.items():
        values = numbers[role]
        usable = _usable(values, reasons)
        if role in stated or not usable.any():
            continue
        odd = usable & ((values < least) | (values > most))
        if role in given:
            # below a thousand a count with a fraction is one in millions or so
            odd |= usable & (values < 1e3) & (values != np.round(values))
        if odd.sum() > max(1, MOST_ODD * usable.sum()):
            refused[role] = f"{values[usable].min():.6g} to {values[usable].max():.6g}"
            continue
        for row in np.flatnonzero(odd):
            reasons[row] = (
                f"{role} is {values[row]:.6g}, expected a whole number from {least:g} to {most:g}"
                " (in another unit?)"
            )
    if not refused:
        return
    ranges = " and ".join(f"{role} from {span}" for role, span in refused.items())
    bounds = " and ".join(f"{BOUNDS[role][0]:g} {role}" for role in refused)
    if refused.keys() <= set(given):
        units = ",".join(f"{role}={'M' if role == 'params' else 'B'}" for role in refused)
        remedy = f"say --units {units} (K, M, B, T or a number)"
    else:
        remedy = "name the unit of the FLOPs with --units flops=PF-days (or EFLOP, 1e18)"
    raise ConfigError(
        f"{origin}: {ranges}, expected whole numbers from {bounds} on; if they are in another unit,"
        f" as millions or billions, {remedy}"
    )


def check_ratio(numbers: Mapping[str, Floats], reasons: Sequence[str], origin: str) -> None:
    """Raises ``ConfigError`` where params and tokens cannot be in one unit."""
    usable = _usable(numbers["params"], reasons) & _usable(numbers["tokens"], reasons)
    if not usable.any():
        return
    ratio = float(np.median(np.log(numbers["tokens"][usable]) - np.log(numbers["params"][usable])))
    if not math.log(_LEAST_RATIO) <= ratio <= math.log(_MOST_RATIO):
        raise ConfigError(
            f"{origin}: {math.exp(min(ratio, 700.0)):.3g} tokens a parameter in the middle row,"
            f" expected {_LEAST_RATIO:g} to {_MOST_RATIO:g}: params and tokens are in different"
            " units; say --units params=M or tokens=B (K, M, B, T or a number)"
        )


def check_losses(
    values: Floats, reasons: list[str], *, origin: str, unit: str, shown: Floats
) -> None:
    """Gives a reason to each row whose loss is above that of a guess among all ids.

    ``values`` in nats, ``shown`` as the table has them. Raises ``ConfigError`` for too many.
    """
    if unit == "other":
        return
    per_byte = unit == "bits-per-byte"
    most = MOST_NATS_PER_BYTE if per_byte else MOST_NATS
    limit = (
        "8 bits, what any byte costs without a model"
        if per_byte
        else f"{MOST_NATS:.2f} nats per token, the logarithm of a vocabulary of {VOCABULARY:,} ids"
    )
    usable = _usable(values, reasons)
    high = usable & (values > most * (1 + 1e-9))
    if not high.any():
        return
    if high.sum() > max(1, MOST_ODD * usable.sum()):
        span = f"{shown[usable].min():.6g} to {shown[usable].max():.6g}"
        raise ConfigError(
            f"{origin}: losses run from {span}, above {limit}: if they are perplexities say"
            " --loss-unit perplexity, which takes their logarithm; if they are not losses of text"
            " say --loss-unit other"
        )
    for row in np.flatnonzero(high):
        reasons[row] = f"loss is {shown[row]:.6g}, above {limit}"


def flops_unit(
    numbers: Mapping[str, Floats], reasons: list[str], *, origin: str, stated: bool
) -> Unit | None:
    """The unit in which FLOPs are 6ND in every row; None where they are plain or ``stated``.

    Rows off the factor of all others get a reason. Raises ``ConfigError`` for FLOPs without one
    factor, or with one that no unit has.
    """
    usable = np.ones(len(reasons), dtype=bool)
    for role in ("params", "tokens", "flops"):
        usable &= _usable(numbers[role], reasons)
    if usable.sum() < 2:
        return None
    logs = {role: np.log(np.where(usable, numbers[role], 1.0)) for role in numbers}
    ratio = logs["flops"] - math.log(6) - logs["params"] - logs["tokens"]
    middle = float(np.median(ratio[usable]))
    scatter = 1.4826 * float(np.median(np.abs(ratio[usable] - middle)))
    off = usable & (np.abs(ratio - middle) > max(_OFF_LOG, _OFF_SIGMAS * scatter))
    ignore = "--columns flops= ignores the column"
    if scatter > _SCATTERED_LOG:
        low, high = (math.exp(float(end)) for end in (ratio[usable].min(), ratio[usable].max()))
        most, needed = logs["flops"].max(), (logs["flops"] - ratio)[usable].max()
        bits = next((b for b in (32, 64) if most < b * math.log(2) <= needed), None)
        cause = f" (an overflow of {bits} bits?)" if bits else ""
        raise ConfigError(
            f"{origin}: FLOPs are from {low:.2g} to {high:.2g} times 6 * params * tokens: not the"
            f" training FLOPs of these runs{cause}; {ignore}"
        )
    for row in np.flatnonzero(off):
        reasons[row] = (
            f"flops are {math.exp(ratio[row]):.3g} times 6 * params * tokens, in the other rows"
            f" {math.exp(middle):.3g} times"
        )
    if stated or abs(middle) <= math.log(_MOST_FACTOR):
        return None
    known = [unit for unit in (unit_of("flops", name) for name in _FLOPS_UNITS) if unit]
    nearest = min(known, key=lambda unit: abs(middle + math.log(unit.factor)))
    if abs(middle + math.log(nearest.factor)) > _OFF_LOG:
        raise ConfigError(
            f"{origin}: FLOPs are {math.exp(middle):.3g} times 6 * params * tokens in every row:"
            f" name their unit with --units flops=UNIT (PF-days, EFLOP, 1e18); {ignore}"
        )
    return nearest


def histories(
    rows: Rows, numbers: Mapping[str, Floats], clusters: Sequence[str] | None
) -> list[list[int]]:
    """The rows of each run that has several, in order; empty where every row is a run.

    A run is what a column names; without one, rows of one size in equal steps.
    """
    steps = [
        [math.nan if (value := number(cell)) is None else value for cell in cells]
        for name, cells in rows.columns.items()
        if name.strip().lower() in STEPS
    ]
    progress = [numbers["tokens"], *map(np.array, steps)]
    count = len(rows.lines)
    for name, cells in rows.columns.items():
        if name.strip().lower() not in RUN_NAMES:
            continue
        names = {str(cell) for cell in cells if not is_missing(cell)}
        if len(names) == count and any(number(cell) is None for cell in cells):
            return []  # every row has a name of its own; numbers may only count the rows
        if 0 < len(names) < count:
            groups = _groups(numbers["params"], [_run_name(cell, row) for row, cell in
                             enumerate(cells)], progress)  # fmt: skip
            logged = [group for group in groups if _differ(progress, group)]
            if sum(map(len, logged)) > count / 2:
                return groups
    least = _LEAST_LOGGED_STEPS if steps else _LEAST_LOGGED
    groups = _groups(numbers["params"], list(clusters or [""] * count), progress)
    logged = [group for group in groups if _in_equal_steps(progress, group, least)]
    return groups if sum(map(len, logged)) > count / 2 else []


def _run_name(cell: Any, row: int) -> str:
    return f"row {row}" if is_missing(cell) else str(cell)


def _groups(params: Floats, names: Sequence[str], progress: Sequence[Floats]) -> list[list[int]]:
    """The rows of each name and size, in the order of their progress."""
    groups: dict[tuple[str, float], list[int]] = defaultdict(list)
    for row, name in enumerate(names):
        groups[name, float(params[row])].append(row)
    return [
        sorted(group, key=lambda row: [x for x in (float(p[row]) for p in progress) if x == x])
        for group in groups.values()
    ]


def _differ(progress: Sequence[Floats], group: Sequence[int]) -> bool:
    """Whether the rows of one run stand at different places of it."""
    if len(group) < 2:
        return False
    return any(len(set(values[list(group)].tolist())) == len(group) for values in progress)


def _in_equal_steps(progress: Sequence[Floats], group: Sequence[int], least: int) -> bool:
    if len(group) < least:
        return False
    for values in progress:
        steps = np.diff(values[list(group)])[:-1]  # the last may be cut short
        middle = float(np.median(steps))
        if middle > 0 and bool((np.abs(steps / middle - 1) < _EQUAL_STEPS).all()):
            return True
    return False


def refuse_history(origin: str, groups: Sequence[Sequence[int]], count: int) -> None:
    """Raises ``ConfigError``: the rows are histories of runs, and no option says which count."""
    longest = max(map(len, groups))
    raise ConfigError(
        f"{origin}: {count_of(count, 'row')} of {count_of(len(groups), 'run')}, up to {longest}"
        " a run in growing tokens: training histories, whose rows are not independent; --history"
        " last fits the last row of each run, --history all every row, a trunk a run"
    )


def _usable(values: Floats, reasons: Sequence[str]) -> NDArray[np.bool_]:
    fine = np.array([not reason for reason in reasons], dtype=bool)
    with np.errstate(invalid="ignore"):
        return fine & np.isfinite(values) & (values > 0)
