"""Two trainings of one run held against each other, to the last bit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from scaling_law.files.record import CurvePoint, RunRecord
from scaling_law.spec.run import to_json

# What two equal trainings may differ in: the clock and the memory ...
CLOCK = (
    "seconds", "tokens_per_second", "peak_memory_bytes", "finished_at", "schema_version",
    "curve_sha256",  # the curves themselves are compared, and older records have none
)  # fmt: skip
# ... and where and how they were run, which may explain a difference in the rest.
SURROUNDINGS = (
    "device", "threads", "micro_seqs", "stacked", "versions", "git_commit", "precision_reason",
)  # fmt: skip
COMPARED = (
    "run_id", "spec", "status", "kind", "params_total", "params_non_embedding", "params_matmul",
    "tokens", "tokens_unique", "flops_exact", "flops_6nd", "flops_spent", "val_loss_nats",
    "val_loss_sem_nats", "val_bits_per_byte", "corpus_fingerprint", "message", "metrics",
)  # fmt: skip
POINT_COMPARED = ("tokens", "train_loss_nats", "val_loss_nats", "lr", "grad_norm")
_MOST_FIELDS = 8


@dataclass(frozen=True, kw_only=True)
class ValueDifference:
    """One value that is not the same; ``step`` None for a field of the record."""

    name: str
    step: int | None
    kept: Any
    again: Any

    @property
    def size_frac(self) -> float:
        """|kept - again| over the larger of the two; 1 for what is not two numbers."""
        numbers = [v for v in (self.kept, self.again) if isinstance(v, int | float)]
        if len(numbers) < 2:
            return 1.0
        largest = max(map(abs, numbers))
        return float(abs(numbers[0] - numbers[1]) / largest) if largest else 0.0

    def __str__(self) -> str:
        where = "record" if self.step is None else f"step {self.step}"
        return f"{self.name} ({where}): {_shown(self.kept)} kept, {_shown(self.again)} now"


@dataclass(frozen=True, kw_only=True)
class RunComparison:
    """How one run came out again."""

    label: str
    origin: str
    points: int
    loss_nats: float | None
    differences: tuple[ValueDifference, ...]
    surroundings: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Whether every compared value is the same to the last bit."""
        return not self.differences

    @property
    def text(self) -> str:
        """A line where all is equal; else what differs, where it starts, what may explain it."""
        if self.equal:
            loss = "no loss" if self.loss_nats is None else f"{self.loss_nats!r} nats/token"
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
                "  same machine, versions, threads and stacking: the kept files were changed, or"
                " this machine does not repeat itself"
            )


def compare(
    kept: RunRecord,
    kept_curve: Sequence[CurvePoint],
    again: RunRecord,
    curve: Sequence[CurvePoint],
    *,
    origin: str,
) -> RunComparison:
    """Every curve point and every field that training decides; ``origin`` says where it began."""
    return RunComparison(
        label=kept.spec.label,
        origin=origin,
        points=len(kept_curve),
        loss_nats=kept.val_loss_nats,
        differences=(*_curve_differences(kept_curve, curve), *_record_differences(kept, again)),
        surroundings=tuple(_surroundings(kept, again)),
    )


def _curve_differences(
    kept: Sequence[CurvePoint], again: Sequence[CurvePoint]
) -> Iterator[ValueDifference]:
    ours, theirs = ({point.step: point for point in curve} for curve in (kept, again))
    for step in sorted({*ours, *theirs}):
        if step not in ours or step not in theirs:
            there = ("a point" if step in side else "no point" for side in (ours, theirs))
            yield ValueDifference(name="curve", step=step, kept=next(there), again=next(there))
            continue
        for name in POINT_COMPARED:
            pair = getattr(ours[step], name), getattr(theirs[step], name)
            if pair[0] != pair[1]:
                yield ValueDifference(name=name, step=step, kept=pair[0], again=pair[1])


def _record_differences(kept: RunRecord, again: RunRecord) -> Iterator[ValueDifference]:
    for name in COMPARED:
        pair = getattr(kept, name), getattr(again, name)
        if pair[0] != pair[1]:
            yield ValueDifference(name=name, step=None, kept=pair[0], again=pair[1])


def _surroundings(kept: RunRecord, again: RunRecord) -> Iterator[str]:
    for name in SURROUNDINGS:
        ours, theirs = to_json(getattr(kept, name)), to_json(getattr(again, name))
        if ours == theirs or name == "precision_reason":
            continue
        if name == "versions":
            for package in sorted({*ours, *theirs}):
                if ours.get(package) != theirs.get(package):
                    yield f"{package} {ours.get(package)} then, {theirs.get(package)} now"
        else:
            yield f"{name} {_shown(ours)} then, {_shown(theirs)} now"


def _shown(value: Any) -> str:
    text = str(value) if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
