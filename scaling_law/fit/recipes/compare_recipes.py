"""Compares two recipes by two sweeps of one grid: differences of loss, and the compute saved.

Runs are matched by size, tokens and seed. A matched pair of trunks is one draw: its branches
share init, data order and weights, and where both recipes use one seed the pair also shares the
data order. So every interval is over pairs of trunks, never over runs.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scaling_law.errors import ConfigError, FitError
from scaling_law.files.record import RunRecord, loss_families, loss_unit
from scaling_law.fit.checks.monotone import seed_noise
from scaling_law.fit.points.dataset import from_records
from scaling_law.fit.points.points import FitPoints
from scaling_law.fit.recipes.efficiency import Multiplier, Pair, fit_multiplier
from scaling_law.fit.result import finite_json
from scaling_law.fit.solver.student import t_reach
from scaling_law.spec.data import TaskSpec
from scaling_law.spec.recipe import recipes, size_values

_SAME_TOKENS_LOG = 0.01
_TELLING_FLOPS = 0.01
BITS = "bits per byte"


@dataclass(frozen=True, kw_only=True)
class LossDifference:
    """The mean of log(loss of B / loss of A) over G pairs of trunks, each the mean of its branches.

    ``mean_log``: the mean.
    ``low_log``: lower end of its interval by Student's t(G - 1); None for one pair.
    ``high_log``: upper end; None likewise.
    ``trunks``: number of pairs of trunks.
    ``pairs``: number of pairs of runs.
    ``noise_log``: pooled standard deviation of the paired log ratio between seeds of one size and
        horizon; None without repeats.
    ``seed_noise_log``: standard deviation of log loss between seeds, in A and in B; None without
        repeats.
    """

    mean_log: float
    low_log: float | None
    high_log: float | None
    trunks: int
    pairs: int
    noise_log: float | None
    seed_noise_log: tuple[float | None, float | None]


@dataclass(frozen=True, kw_only=True)
class RecipeComparison:
    """Recipe B against recipe A.

    ``names``: of A and of B.
    ``unit``: of the losses.
    ``level``: confidence level of the intervals.
    ``convention``: which parameters count.
    ``pairs``: the matched runs.
    ``unmatched``: run ids of A and of B without a partner.
    ``left_out``: (run_id, reason) of the runs of A and of B that the fit's rules leave out; without
        trunks, which are never points.
    ``differs``: what the recipes do not share -> its values in A and in B.
    ``flops_ratio``: exact FLOPs per parameter and token of B over those of A.
    ``difference``: the difference of loss.
    ``multiplier``: the compute saved; None: not determined.
    ``why_no_multiplier``: why it is not.
    ``notes``: what a reader should know.
    """

    names: tuple[str, str]
    unit: str
    level: float
    convention: str
    pairs: tuple[Pair, ...]
    unmatched: tuple[tuple[str, ...], tuple[str, ...]]
    left_out: tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]
    differs: dict[str, tuple[str, str]]
    flops_ratio: float
    difference: LossDifference
    multiplier: Multiplier | None
    why_no_multiplier: str
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The document of ``slaw report A B --json``: strict JSON, full precision."""
        plain: dict[str, Any] = finite_json(self)
        return plain


def compare_sweeps(
    first: Sequence[RunRecord],
    second: Sequence[RunRecord],
    names: tuple[str, str],
    *,
    convention: str = "matmul",
    level: float = 0.9,
    resamples: int = 1000,
    seed: int = 0,
) -> RecipeComparison:
    """Compare recipe B (``second``) with recipe A (``first``) on the grid they share.

    Raises ``FitError`` when the sweeps share no size, tokens and seed, ``ConfigError`` when their
    losses do not compare (``shared_unit``).
    """
    unit, notes = shared_unit(first, second, names)
    sides = [from_records(r, convention=convention, flops="exact").points for r in (first, second)]
    losses = [losses_in(records, unit) for records in (first, second)]
    pairs = _match(sides, losses, names)
    used = [{pair.run_ids[i] for pair in pairs} for i in (0, 1)]
    unmatched = tuple(tuple(r for r in sides[i].run_id if r not in used[i]) for i in (0, 1))
    by_id = [{r.run_id: r for r in records} for records in (first, second)]
    matched = [(by_id[0][p.run_ids[0]], by_id[1][p.run_ids[1]]) for p in pairs]
    ratio = _flops_ratio(matched, convention)
    if abs(ratio - 1) > _TELLING_FLOPS:
        how = " or ".join(dict.fromkeys(side.convention["flops"] for side in sides))
        notes.append(
            f"a token costs B {ratio:.3g} times the FLOPs per parameter ({how}): compute here is"
            " 6 x params x tokens"
        )
    multiplier, why = None, ""
    try:
        multiplier = fit_multiplier(pairs, level=level, resamples=resamples, seed=seed)
    except FitError as problem:
        why = str(problem)
    return RecipeComparison(
        names=names,
        unit=unit,
        level=level,
        convention=convention,
        pairs=tuple(pairs),
        unmatched=(unmatched[0], unmatched[1]),
        left_out=(_left_out(sides[0], by_id[0]), _left_out(sides[1], by_id[1])),
        differs=_differs(matched),
        flops_ratio=ratio,
        difference=_difference(pairs, sides, level),
        multiplier=multiplier,
        why_no_multiplier=why,
        notes=tuple(notes),
    )


def _left_out(side: FitPoints, by_id: Mapping[str, RunRecord]) -> tuple[tuple[str, str], ...]:
    return tuple(
        (run_id, why)
        for run_id, why in side.dropped
        if run_id not in by_id or by_id[run_id].kind != "trunk"
    )


def shared_unit(
    first: Sequence[RunRecord], second: Sequence[RunRecord], names: tuple[str, str]
) -> tuple[str, list[str]]:
    """The unit in which the losses of two recipes compare, and notes about it.

    Raises ``ConfigError`` for losses of different objectives or text, or of different tokens
    without bits per byte.
    """
    families = [loss_families(records) for records in (first, second)]
    if families[0] != families[1] or len(families[0]) > 1:
        objectives = "; ".join(
            f"{name}: {', '.join(family)}" for name, family in zip(names, families, strict=True)
        )
        raise ConfigError(
            f"the losses are of different objectives ({objectives}): they do not compare"
        )
    texts = [_values(r, text_of) for r in (first, second)]
    if texts[0] != texts[1] or len(texts[0]) > 1:
        said = "; ".join(f"{n}: {', '.join(sorted(t))}" for n, t in zip(names, texts, strict=True))
        raise ConfigError(
            f"the losses are of different validation text ({said}): they do not compare; run both"
            " recipes on one corpus"
        )
    tokens = [
        _values(r, lambda one: f"{one.spec.data.coding} {one.spec.model.vocab_size}")
        for r in (first, second)
    ]
    notes = []
    sizes = [_values(r, lambda one: str(one.spec.eval.val_tokens)) for r in (first, second)]
    if sizes[0] != sizes[1]:
        notes.append(f"scored on {min(sizes[0])} and {min(sizes[1])} validation tokens")
    if tokens[0] == tokens[1]:
        return loss_unit(first), notes
    said = " and ".join(", ".join(sorted(names)) for names in tokens)
    if any(r.val_bits_per_byte is None for r in (*first, *second) if r.status == "done"):
        raise ConfigError(
            f"the recipes use different tokenizers ({said}) and not every run has its bits per"
            " byte: nats per token do not compare"
        )
    notes.append(f"different tokenizers ({said}): losses in bits per byte, tokens as each counts")
    return BITS, notes


def _values(records: Sequence[RunRecord], of: Callable[[RunRecord], str]) -> set[str]:
    return {of(record) for record in records}


def text_of(record: RunRecord) -> str:
    """The text, or the task's examples, on which a run is scored."""
    data = record.spec.data
    if isinstance(data, TaskSpec):
        return f"{data.name}, {record.corpus_fingerprint[:12]}"
    held = f"{record.corpus_fingerprint[:12]}, {data.val_fraction:g} held out"
    return held + (f", domains {' '.join(data.domains)}" if data.domains else "")


def losses_in(records: Sequence[RunRecord], unit: str) -> dict[str, float | None]:
    """The loss of each run by its id, in a unit that ``shared_unit`` gives."""
    return {r.run_id: r.val_bits_per_byte if unit == BITS else r.val_loss_nats for r in records}


def _match(
    sides: Sequence[FitPoints], losses: Sequence[dict[str, float | None]], names: tuple[str, str]
) -> list[Pair]:
    first, second = sides
    places: dict[tuple[str, int], list[int]] = defaultdict(list)
    for row in range(len(second)):
        places[second.size[row], second.seed[row]].append(row)
    pairs = []
    for row in range(len(first)):
        size, seed, tokens = first.size[row], first.seed[row], float(first.tokens[row])
        rows = [
            other
            for other in places[size, seed]
            if abs(math.log(second.tokens[other] / tokens)) < _SAME_TOKENS_LOG
        ]
        if len(rows) != 1:
            continue
        other = rows[0]
        ends = losses[0][first.run_id[row]], losses[1][second.run_id[other]]
        if ends[0] is None or ends[1] is None:
            continue
        pairs.append(
            Pair(
                size=size,
                seed=seed,
                cluster=f"{size} seed {seed}",
                tokens=tokens,
                params=(float(first.params[row]), float(second.params[other])),
                run_ids=(first.run_id[row], second.run_id[other]),
                losses=(ends[0], ends[1]),
                log_ratio=math.log(ends[1] / ends[0]),
            )
        )
    if not pairs:
        said = "; ".join(
            f"{name}: {', '.join(dict.fromkeys(side.size))}, seeds"
            f" {', '.join(map(str, sorted(set(side.seed))))}"
            for name, side in zip(names, sides, strict=True)
        )
        raise FitError(
            f"the grids do not overlap: no size, tokens and seed in both ({said}); run both recipes"
            " on one grid"
        )
    return pairs


def _flops_ratio(matched: Sequence[tuple[RunRecord, RunRecord]], convention: str) -> float:
    def cost(record: RunRecord) -> float:
        params = float(getattr(record, f"params_{convention}"))
        return record.flops_exact / (params * record.tokens)

    return float(np.median([cost(b) / cost(a) for a, b in matched]))


def _differs(matched: Sequence[tuple[RunRecord, RunRecord]]) -> dict[str, tuple[str, str]]:
    """The keys of the recipe, and of what a size sets, that the two do not share.

    Each has its values, or their range over the runs, in A and in B.
    """
    specs = [record.spec for pair in matched for record in pair]
    each = [
        {**recipe, **size_values(spec)} for recipe, spec in zip(recipes(specs), specs, strict=True)
    ]
    sides = each[::2], each[1::2]
    keys = dict.fromkeys(
        key
        for ours, theirs in zip(*sides, strict=True)
        for key in [*ours, *theirs]
        if ours.get(key) != theirs.get(key)
    )
    return {
        key: (_span([row.get(key) for row in sides[0]]), _span([row.get(key) for row in sides[1]]))
        for key in keys
    }


def _span(values: Sequence[Any]) -> str:
    numbers = [v for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)]
    if len(numbers) == len(values) and len(set(numbers)) > 3:
        return f"{min(numbers):.4g} to {max(numbers):.4g}"
    words = [f"{v:.6g}" if isinstance(v, float) else "absent" if v is None else str(v)
             for v in values]  # fmt: skip
    return ", ".join(dict.fromkeys(words))


def _difference(pairs: Sequence[Pair], sides: Sequence[FitPoints], level: float) -> LossDifference:
    trunks: dict[str, list[float]] = defaultdict(list)
    repeats: dict[tuple[str, int], list[float]] = defaultdict(list)
    for pair in pairs:
        trunks[pair.cluster].append(pair.log_ratio)
        repeats[pair.size, round(math.log(pair.tokens) / 1e-3)].append(pair.log_ratio)
    means = np.array([np.mean(values) for values in trunks.values()])
    mean, low, high = float(means.mean()), None, None
    if len(means) > 1:
        error = float(means.std(ddof=1)) / math.sqrt(len(means))
        reach = t_reach(len(means) - 1, level) * error
        low, high = mean - reach, mean + reach
    several = [np.array(values) for values in repeats.values() if len(values) > 1]
    free = sum(len(values) - 1 for values in several)
    squares = sum(float(((v - v.mean()) ** 2).sum()) for v in several)
    return LossDifference(
        mean_log=mean,
        low_log=low,
        high_log=high,
        trunks=len(means),
        pairs=len(pairs),
        noise_log=math.sqrt(squares / free) if free else None,
        seed_noise_log=(seed_noise(sides[0])[0], seed_noise(sides[1])[0]),
    )
