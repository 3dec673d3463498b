"""Compares two trainings of one run, to the last bit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from scaling_law.files.record import CurvePoint, RunRecord, short_unit
from scaling_law.spec.to_json import to_json

# Fields in which two equal trainings may differ: time and memory ...
CLOCK = (
    "seconds", "tokens_per_second", "peak_memory_bytes", "finished_at", "schema_version",
    # the curves and their losses are compared; older records have neither hash
    "curve_sha256", "components_fingerprint",
)  # fmt: skip
# ... and where and how they ran, which may explain a difference in the other fields.
SURROUNDINGS = (
    "device", "threads", "micro_seqs", "stacked", "versions", "environment", "git_commit",
    "precision_reason", "kernels",
)  # fmt: skip
COMPARED = (
    "run_id", "spec", "status", "kind", "params_total", "params_non_embedding", "params_matmul",
    "tokens", "tokens_unique", "flops_exact", "flops_6nd", "flops_spent", "val_loss_nats",
    "val_loss_sem_nats", "val_bits_per_byte", "corpus_fingerprint", "message", "metrics",
    "metric_units", "loss_family", "loss_unit",
)  # fmt: skip
POINT_COMPARED = ("tokens", "train_loss_nats", "val_loss_nats", "lr", "grad_norm", "metrics")
_MOST_FIELDS = 8


@dataclass(frozen=True, kw_only=True)
class ValueDifference:
    """One value that differs."""

    name: str
    step: int | None  # of the curve point; None for a field of the record
    saved: Any
    again: Any

    @property
    def size_frac(self) -> float:
        """|saved - again| over the larger of the two; 1 unless both are numbers."""
        numbers = [v for v in (self.saved, self.again) if isinstance(v, int | float)]
        if len(numbers) < 2:
            return 1.0
        largest = max(map(abs, numbers))
        return float(abs(numbers[0] - numbers[1]) / largest) if largest else 0.0

    def __str__(self) -> str:
        where = "record" if self.step is None else f"step {self.step}"
        return f"{self.name} ({where}): {_shown(self.saved)} saved, {_shown(self.again)} now"


@dataclass(frozen=True, kw_only=True)
class RunComparison:
    """How one run, trained again, compares with its record."""

    label: str
    origin: str  # where the second training began, in words
    points: int  # of the saved curve
    loss_nats: float | None  # final
    loss_unit: str  # of the loss, as written after the number
    differences: tuple[ValueDifference, ...]
    surroundings: tuple[str, ...]  # other differences that may explain them

    @property
    def equal(self) -> bool:
        """Whether every compared value is the same to the last bit."""
        return not self.differences

    @property
    def text(self) -> str:
        """One line if all is equal; else what differs, where it starts, what may explain it."""
        if self.equal:
            loss = "no loss" if self.loss_nats is None else f"{self.loss_nats!r} {self.loss_unit}"
            return (
                f"{self.label}: equal to the last bit ({loss}, {self.points} curve points,"
                f" {len(COMPARED)} fields of the record), {self.origin}"
            )
        return "\n".join([f"{self.label}: NOT equal, {self.origin}", *self._why()])

    def _why(self) -> Iterator[str]:
        curve = [d for d in self.differences if d.step is not None]
        losses = [d for d in self.differences if d.name.endswith("loss_nats")]
        worst = max(losses or self.differences, key=lambda d: d.size_frac)
        yield f"  largest: {worst}" + (
            f", {worst.size_frac:.2g} of it" if worst.size_frac < 1 else ""
        )
        if curve:
            yield f"  starts at step {curve[0].step}: {curve[0]}"
        else:
            yield f"  all {self.points} curve points are equal: only the record differs"
        fields = [d for d in self.differences if d.step is None]
        for difference in fields[:_MOST_FIELDS]:
            if difference is not worst:
                yield f"  {difference}"
        if len(fields) > _MOST_FIELDS:
            yield f"  and {len(fields) - _MOST_FIELDS} more fields of the record"
        if self.surroundings:
            yield "  may explain it: " + "; ".join(self.surroundings)
        else:
            yield (
                "  same machine, versions, threads, stacking and kernels: the saved files were"
                " changed, or this machine does not compute the same bits twice"
            )


def compare(
    saved: RunRecord,
    saved_curve: Sequence[CurvePoint],
    again: RunRecord,
    curve: Sequence[CurvePoint],
    *,
    origin: str,
) -> RunComparison:
    """Compare every curve point and every field that training decides."""
    return RunComparison(
        label=saved.spec.label,
        origin=origin,
        points=len(saved_curve),
        loss_nats=saved.val_loss_nats,
        loss_unit=short_unit(saved.loss_unit),
        differences=(*_curve_differences(saved_curve, curve), *_record_differences(saved, again)),
        surroundings=tuple(_surroundings(saved, again)),
    )


def _curve_differences(
    saved: Sequence[CurvePoint], again: Sequence[CurvePoint]
) -> Iterator[ValueDifference]:
    ours, theirs = ({point.step: point for point in curve} for curve in (saved, again))
    for step in sorted({*ours, *theirs}):
        if step not in ours or step not in theirs:
            there = ("a point" if step in side else "no point" for side in (ours, theirs))
            yield ValueDifference(name="curve", step=step, saved=next(there), again=next(there))
            continue
        for name in POINT_COMPARED:
            pair = getattr(ours[step], name), getattr(theirs[step], name)
            if pair[0] != pair[1]:
                yield ValueDifference(name=name, step=step, saved=pair[0], again=pair[1])


def _record_differences(saved: RunRecord, again: RunRecord) -> Iterator[ValueDifference]:
    for name in COMPARED:
        pair = getattr(saved, name), getattr(again, name)
        if pair[0] != pair[1]:
            yield ValueDifference(name=name, step=None, saved=pair[0], again=pair[1])


def _surroundings(saved: RunRecord, again: RunRecord) -> Iterator[str]:
    for name in SURROUNDINGS:
        ours, theirs = to_json(getattr(saved, name)), to_json(getattr(again, name))
        if ours == theirs or name == "precision_reason":
            continue
        if isinstance(ours, dict) and isinstance(theirs, dict):
            for key in sorted({*ours, *theirs}):
                if ours.get(key) != theirs.get(key):
                    yield f"{key} {ours.get(key)} then, {theirs.get(key)} now"
        elif name != "environment":  # records of older versions lack it
            yield f"{name} {_shown(ours)} then, {_shown(theirs)} now"


def _shown(value: Any) -> str:
    text = str(value) if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
