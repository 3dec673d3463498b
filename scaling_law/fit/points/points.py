"""Turns records or arrays into the points that a law is fitted to, and lists what is left out."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scaling_law.errors import ConfigError, FitError
from scaling_law.files.record import (
    NATS,
    RunRecord,
    loss_unit,
    measured_metrics,
    metric_units,
    specs_of,
)
from scaling_law.fit.points.metric import measured_by, metric_words
from scaling_law.fit.points.stated import stated_counts, with_stated
from scaling_law.spec.counts import CONVENTIONS
from scaling_law.spec.recipe import listed_recipes, recipe_names
from scaling_law.units import count_of, format_count

Floats = NDArray[np.float64]

FLOPS_COUNTS = ("exact", "6nd")
_KEEPABLE = frozenset(("not_annealed", "stopped_early", "grown"))  # rules that ``keep`` turns off
_SEMS_IN_INTERVAL = 2 * 1.6449  # standard errors in an interval at 90%
VARIABLES = ("params", "tokens", "flops", "tokens_unique")


# Conventions of tables and of arrays that do not say which parameters they count.
NOT_STATED = "not stated"
AS_GIVEN = "as given"


def counted_params(convention: str) -> str:
    """``matmul parameters``; ``parameters`` where it is not stated which ones are counted."""
    unknown = convention in (NOT_STATED, AS_GIVEN)
    return "parameters" if unknown else f"{convention.replace('_', '-')} parameters"


@dataclass(frozen=True, kw_only=True)
class FitPoints:
    """The ends of runs that a law is fitted to: one row each, all arrays [n].

    ``params``: parameters, as ``convention`` counts them.
    ``tokens``: training tokens.
    ``flops``: training FLOPs, as ``convention`` counts them.
    ``loss_nats``: validation loss, in the unit that ``convention`` names.
    ``loss_sem_nats``: its standard error; NaN where unknown.
    ``tokens_unique``: the different tokens among ``tokens``.
    ``run_id``: run ids.
    ``cluster``: the trunk that a point shares init, data order and weights with.
    ``size``: groups the trunks of one shape.
    ``seed``: seeds.
    ``convention``: what ``params`` and ``flops`` count, and the loss's unit.
    ``batch_tokens``: tokens an optimiser step; None: not known.
    ``tokens_per_second``: throughput of training; NaN where it is not known or was shared with
        other runs; None: of no run.
    ``recipe``: in what each point's recipe differs from others'; "" for all of one, empty where not
        known.
    ``recipe_column``: the column of a table that has the recipe; "" for none, and for a sweep.
    ``repeats_by_design``: whether each point's data are few on purpose, so that repeating them is
        no reason to leave it out; empty where no point's are.
    ``metrics``: what the runs measured beside the loss: name, unit ("" for none), how many points
        have it.
    ``annealed``: whether every run is known to have ended with its learning rate decayed.
    ``dropped``: (run_id, reason) of the runs left out.
    ``notes``: what a reader should know.
    """

    params: Floats
    tokens: Floats
    flops: Floats
    loss_nats: Floats
    loss_sem_nats: Floats
    tokens_unique: Floats
    run_id: tuple[str, ...]
    cluster: tuple[str, ...]
    size: tuple[str, ...]
    seed: tuple[int, ...]
    convention: dict[str, str]
    batch_tokens: Floats | None = None
    tokens_per_second: Floats | None = None
    recipe: tuple[str, ...] = ()
    recipe_column: str = ""
    repeats_by_design: tuple[bool, ...] = ()
    metrics: tuple[tuple[str, str, int], ...] = ()
    annealed: bool = False
    dropped: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.loss_nats)

    @cached_property
    def n_clusters(self) -> int:
        """Independent trunks."""
        return len(set(self.cluster))

    @cached_property
    def cluster_index(self) -> NDArray[np.int64]:
        """Cluster number of each row, [n], counted from 0 in order of appearance."""
        number = {name: i for i, name in enumerate(dict.fromkeys(self.cluster))}
        return np.array([number[name] for name in self.cluster], dtype=np.int64)

    @property
    def loss_unit(self) -> str:
        """The unit of the losses, or what is fitted in their place."""
        return self.convention.get("loss", NATS)

    @property
    def called(self) -> str:
        """What the points are, in words: of runs in a table it is not known how they ended."""
        return "annealed points" if self.annealed else "points"

    @property
    def data_range(self) -> dict[str, tuple[float, float]]:
        """Smallest and largest value of each variable."""
        columns = {"params": self.params, "tokens": self.tokens, "flops": self.flops}
        return {name: (float(x.min()), float(x.max())) for name, x in columns.items()}

    def n_different(self, name: str) -> int:
        """How many different values of ``name`` (``params``, say) the points have."""
        return len(set(np.round(np.log(self.variable(name)), 6).tolist()))

    def variable(self, name: str) -> Floats:
        """The column ``params``, ``tokens``, ``flops`` or ``tokens_unique``."""
        assert name in VARIABLES, name
        column: Floats = getattr(self, name)
        return column

    def take(self, rows: Sequence[int] | NDArray[Any]) -> FitPoints:
        """The points of these row numbers, or where a mask is true."""
        index = np.asarray(rows)
        if index.dtype == bool:
            index = np.flatnonzero(index)
        arrays = (*VARIABLES, "loss_nats", "loss_sem_nats")
        tuples = ("run_id", "cluster", "size", "seed")
        changes: dict[str, Any] = {name: getattr(self, name)[index] for name in arrays}
        changes |= {name: tuple(getattr(self, name)[i] for i in index) for name in tuples}
        for name in ("batch_tokens", "tokens_per_second"):
            if (numbers := getattr(self, name)) is not None:
                changes[name] = numbers[index]
        for name in ("recipe", "repeats_by_design"):
            if column := getattr(self, name):
                changes[name] = tuple(column[i] for i in index)
        return dataclasses.replace(self, **changes)


def points_from_records(
    records: Iterable[RunRecord],
    *,
    convention: str = "matmul",
    flops: str = "exact",
    keep: Collection[str] = (),
    metric: str | None = None,
) -> FitPoints:
    """The annealed endpoints of ``records``, with parameters and FLOPs counted as asked.

    ``metric`` takes the place of the validation loss; None keeps the loss.

    ``dropped`` lists diverged runs, runs without a usable loss, second copies of a run, and, unless
    ``keep`` names their rule: runs that never annealed (``not_annealed``), runs that stopped early
    (``stopped_early``, else counted with their predicted loss) and runs that grew from smaller ones
    (``grown``). Raises ``FitError`` when no run is left, ``ConfigError`` for an unknown convention.
    """
    if convention not in CONVENTIONS or flops not in FLOPS_COUNTS:
        raise ConfigError(
            f"convention {convention!r} with FLOPs {flops!r}: expected one of "
            f"{', '.join(CONVENTIONS)} and one of {', '.join(FLOPS_COUNTS)}"
        )
    records = list(records)
    loss = loss_unit(records)
    if metric is not None:
        loss = metric_words(records, metric)
        records = measured_by(records, metric)
    kept, dropped = _usable(records, keep, metric)
    differing = recipe_names(specs_of(kept))
    params = np.array([getattr(r, f"params_{convention}") for r in kept], dtype=np.float64)
    tokens = np.array([r.tokens for r in kept], dtype=np.float64)
    counted = 6 * params * tokens if flops == "6nd" else np.array([r.flops_exact for r in kept])
    return FitPoints(
        params=params,
        tokens=tokens,
        flops=counted.astype(np.float64),
        loss_nats=np.array([r.val_loss_nats for r in kept], dtype=np.float64),
        loss_sem_nats=np.array([r.val_loss_sem_nats for r in kept], dtype=np.float64),
        tokens_unique=np.array([min(r.tokens, r.tokens_unique) for r in kept], dtype=np.float64),
        run_id=tuple(r.run_id for r in kept),
        cluster=tuple(_trunks(kept, differing)),
        size=tuple(dict(r.spec.tags).get("size", format_count(r.params_total)) for r in kept),
        seed=tuple(r.spec.seed for r in kept),
        convention=with_stated(
            {"params": convention, "flops": flops, "loss": loss}, map(stated_counts, kept)
        ),
        batch_tokens=np.array([r.spec.batch_tokens for r in kept], dtype=np.float64),
        tokens_per_second=np.array(
            [math.nan if r.stacked else r.tokens_per_second for r in kept], dtype=np.float64
        ),
        recipe=tuple(differing),
        repeats_by_design=tuple(r.spec.data.repeats_by_design for r in kept),
        metrics=tuple(_metrics(kept)),
        annealed="not_annealed" not in keep,
        dropped=tuple(dropped),
        notes=tuple(_mixture_notes(kept, differing)),
    )


def _metrics(records: Sequence[RunRecord]) -> Iterator[tuple[str, str, int]]:
    """The name, unit and number of records of each metric that was measured."""
    counted = Counter(name for record in records for name in measured_metrics(record.metrics))
    units = metric_units(records)
    for name, number in sorted(counted.items()):
        yield name, units.get(name, ""), number


def _usable(
    records: Iterable[RunRecord], keep: Collection[str], metric: str | None
) -> tuple[list[RunRecord], list[tuple[str, str]]]:
    """The records that are points, in order of size, and (run_id, reason) of the others."""
    kept: list[RunRecord] = []
    dropped: list[tuple[str, str]] = []
    seen: set[str] = set()
    for record in sorted(records, key=lambda r: (r.params_non_embedding, r.tokens, r.run_id)):
        # a second copy is not a second measurement: it would narrow every interval
        copied = "listed more than once: counted once" if record.run_id in seen else ""
        seen.add(record.run_id)
        reason = copied or _why_not(record, keep, metric)
        if reason:
            dropped.append((record.run_id, reason))
        else:
            kept.append(_as_predicted(record) if record.status == "stopped_early" else record)
    if not seen:
        raise FitError("no finished runs to fit; run `slaw run` to the end first")
    if not kept:
        rules = sorted({reason.partition(":")[0] for _, reason in dropped} & _KEEPABLE)
        remedy = "".join(f"; --keep {rule} takes them" for rule in rules)
        raise FitError(
            f"none of {count_of(len(dropped), 'run')} can be fitted: {listed(dropped)}{remedy}"
        )
    return kept, dropped


def _as_predicted(record: RunRecord) -> RunRecord:
    """A run that stopped early as it was planned, with the loss predicted for its end."""
    metrics, tokens = record.metrics, record.spec.tokens
    width = metrics["predicted_high_nats"] - metrics["predicted_low_nats"]
    return dataclasses.replace(
        record,
        tokens=tokens,
        tokens_unique=int(metrics["planned_tokens_unique"]),
        flops_exact=record.flops_exact + metrics["flops_saved"],
        val_loss_nats=metrics["predicted_loss_nats"],
        val_loss_sem_nats=width / _SEMS_IN_INTERVAL,
    )


def _why_not(record: RunRecord, keep: Collection[str], metric: str | None) -> str:
    """Why a record is not a point of a law; "" when it is one."""
    if record.status == "diverged":
        return f"diverged: {record.message or 'non-finite loss or gradient'}"
    if record.status == "stopped_early" and metric is not None:
        return f"stopped_early: only its loss is predicted, not {metric}"
    if record.status == "stopped_early":
        return "" if "stopped_early" in keep else f"stopped_early: {record.message}"
    grown = record.spec.growth
    if grown is not None and "grown" not in keep:
        spent = f"{format_count(grown.parent_tokens)} tokens, {grown.parent_flops:.3g} FLOPs"
        return f"grown: began as {grown.trunk_id} after {spent}, which its own do not count"
    keep_hot = "not_annealed" in keep
    if record.kind == "trunk" and not keep_hot:
        return "not_annealed: a trunk (its branches are the points)"
    if record.spec.schedule.end != "annealed" and not keep_hot:
        return "not_annealed: its learning rate never decays"
    loss = record.val_loss_nats
    if loss is None or not (math.isfinite(loss) and loss > 0):
        if metric is None:
            return f"loss is {loss}, expected above 0 and finite"
        if loss is None:
            return f"{metric} was not measured"
        return f"{metric} is {loss}, expected above 0 and finite"
    return ""


def listed(dropped: Sequence[tuple[str, str]]) -> str:
    """The reasons, with the number of runs that each left out, in one line."""
    counted = Counter(reason.split(":")[0] for _, reason in dropped)
    return ", ".join(f"{reason} ({times})" for reason, times in counted.items())


def _trunks(records: Sequence[RunRecord], differing: Sequence[str]) -> list[str]:
    """The name of each run's trunk.

    Runs of one shape, seed, corpus and recipe share init and data order at any horizon; a grown run
    shares the weights that it grew from. ``branch`` does not decide, because the same trunk under
    another set of horizons has another run id. Under another recipe (``differing``) a seed's noise
    is another draw: between two learning rates, losses of one seed differ by as much as those of
    two seeds.
    """
    shared = len({r.corpus_fingerprint for r in records}) == 1
    names = []
    for record, recipe in zip(records, differing, strict=True):
        model = record.spec.model
        shape = "x".join(str(value) for value in model.dimensions.values())
        tags = dict(record.spec.tags)
        size = tags.get("root", tags.get("size", shape))
        corpus = "" if shared else f" {record.corpus_fingerprint[:6]}"
        name = f"{size} seed {record.spec.seed}{corpus}"
        names.append(f"{name} {recipe}" if recipe else name)
    return names


def _mixture_notes(records: Sequence[RunRecord], differing: Sequence[str]) -> list[str]:
    notes = []
    if len(set(differing)) > 1:
        notes.append(
            f"{len(set(differing))} recipes fitted as one: {listed_recipes(differing)}; what sets"
            " them apart is in the residuals and in the intervals"
        )
    if any(r.spec.trainer is not None and not stated_counts(r) for r in records):
        notes.append("counts of params and FLOPs are the architecture's: the trainer states none")
    predicted = sum(r.status == "stopped_early" for r in records)
    if predicted:
        notes.append(f"{predicted} of {len(records)} losses are predicted, not measured")
    grown = sum(r.spec.growth is not None for r in records)
    if grown:
        notes.append(
            f"{grown} of {count_of(len(records), 'run')} grew from smaller ones; their tokens and"
            " FLOPs are without their parents'"
        )
    skipped = sum("batches_skipped" in r.metrics for r in records)
    if skipped:
        notes.append(f"{skipped} of {len(records)} runs took other batches after loss spikes")
    for what, values in (
        ("corpus fingerprints", {r.corpus_fingerprint for r in records}),
        ("vocabulary sizes", {str(r.spec.model.vocab_size) for r in records}),
        ("precisions", {r.spec.precision for r in records}),
    ):
        if len(values) > 1:
            notes.append(f"mixed {what}: {', '.join(sorted(values))}; losses may not compare")
    return notes


def points_from_arrays(
    params: ArrayLike,
    tokens: ArrayLike,
    loss_nats: ArrayLike,
    *,
    flops: ArrayLike | None = None,
    cluster: Sequence[str] | None = None,
    convention: str = AS_GIVEN,
) -> FitPoints:
    """The points of columns of one length; FLOPs default to 6 * params * tokens.

    Without ``cluster`` every row counts as independent. Raises ``FitError`` naming the first
    row that is not positive and finite, or columns of different lengths.
    """
    columns = {"params": params, "tokens": tokens, "loss": loss_nats}
    arrays = {name: np.asarray(x, dtype=np.float64).ravel() for name, x in columns.items()}
    arrays["flops"] = (
        6 * arrays["params"] * arrays["tokens"]
        if flops is None
        else np.asarray(flops, dtype=np.float64).ravel()
    )
    count = len(arrays["loss"])
    for name, values in arrays.items():
        if len(values) != count:
            raise FitError(f"{name} has {len(values)} values, loss has {count}")
        bad = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
        if len(bad):
            raise FitError(f"row {bad[0] + 1}: {name} is {values[bad[0]]}, expected above 0")
    if cluster is not None and len(cluster) != count:
        raise FitError(f"cluster has {len(cluster)} values, loss has {count}")
    ids = tuple(f"row{i + 1}" for i in range(count))
    return FitPoints(
        params=arrays["params"],
        tokens=arrays["tokens"],
        flops=arrays["flops"],
        loss_nats=arrays["loss"],
        loss_sem_nats=np.full(count, math.nan),
        tokens_unique=arrays["tokens"],
        run_id=ids,
        cluster=tuple(cluster) if cluster is not None else ids,
        size=tuple(format_count(p) for p in arrays["params"]),
        seed=(0,) * count,
        convention={
            "params": convention,
            "flops": "6nd" if flops is None else "as given",
            "loss": NATS,
        },
    )
