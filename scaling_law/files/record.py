"""What happened: ``RunRecord`` and the training curve, written by workers, read by everyone."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scaling_law.decode import build, json_problem
from scaling_law.errors import ConfigError, one_line, quoted
from scaling_law.files import checksum, layout
from scaling_law.files.layout import RunDir, SweepDir
from scaling_law.spec.run import (
    KINDS,
    RunSpec,
    canonical_json,
    check_run_id,
    run_spec_from_json,
    to_json,
)
from scaling_law.versions import RECORD, MadeLater

# Without a digest: what holds then is that the spec still has the run's name.
_UNSEALED_VERSIONS = (1,)
STATUSES = ("done", "diverged", "stopped_early")
# What the record of a run that was stopped early says in place of a loss.
FORETOLD = (
    "predicted_loss_nats", "predicted_low_nats", "predicted_high_nats",
    "stopped_at_step", "flops_saved", "planned_tokens_unique",
)  # fmt: skip
_COUNTED = (
    "params_total", "params_non_embedding", "params_matmul", "tokens", "tokens_unique",
    "flops_exact", "flops_6nd",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """One line of ``curve.jsonl``: the state after ``step`` steps.

    ``tokens`` seen since the trunk's step 0; losses in nats per token (natural log);
    ``train_loss_nats`` is the mean since the previous point, ``val_loss_nats`` is None where
    no evaluation was made.
    """

    step: int
    tokens: int
    train_loss_nats: float
    val_loss_nats: float | None
    lr: float
    grad_norm: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A finished run.

    ``kind`` single, trunk or branch. ``flops_exact`` and ``flops_6nd`` (total parameters) are
    as if trained alone; ``flops_spent`` is this run's own share. ``val_loss_nats`` is the mean
    over ``spec.eval.val_tokens`` held-out tokens and ``val_loss_sem_nats`` its standard error
    over sequences; both are None for a run that diverged or stopped early. ``tokens`` were
    trained; ``tokens_unique`` is at most the size of the training split. ``metrics`` holds further
    figures by name: of a run stopped early ``predicted_loss_nats``, ``predicted_low_nats``,
    ``predicted_high_nats`` (90%), ``stopped_at_step``, ``flops_saved`` and, for the run as it was
    planned, ``planned_tokens_unique``; of a grown run ``parent_tokens`` and ``parent_flops``
    (exact), spent on the smaller trunks it began as and counted in no other figure; of a run that
    skipped batches (``SpikeSpec``) ``batches_skipped``, ``rollbacks`` and ``steps_repeated``.
    ``curve_sha256`` is the ``curve_digest`` of the run's curve, None in older records.
    ``stacked``: trained in one program with others (``train.stack``), whose memory
    ``peak_memory_bytes`` then is.
    """

    run_id: str
    spec: RunSpec
    status: str
    kind: str
    params_total: int
    params_non_embedding: int
    params_matmul: int
    tokens: int
    tokens_unique: int
    flops_exact: float
    flops_6nd: float
    flops_spent: float
    val_loss_nats: float | None
    val_loss_sem_nats: float | None
    val_bits_per_byte: float | None
    seconds: float
    tokens_per_second: float
    peak_memory_bytes: int
    device: str
    precision_reason: str
    threads: int
    micro_seqs: int
    corpus_fingerprint: str
    versions: dict[str, str]
    git_commit: str | None
    finished_at: str
    stacked: bool = False
    message: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    curve_sha256: str | None = None
    schema_version: int = RECORD.current

    @property
    def cluster(self) -> str:
        """The trunk this run shares init, data order and weights with; its own id if alone."""
        return self.spec.branch.trunk_id if self.spec.branch else self.run_id


def write_record(run_dir: RunDir, record: RunRecord) -> None:
    """Write ``record.json``, the last file of a run."""
    checksum.write(run_dir.record, to_json(record), run_dir.guard)


def record_from_json(data: dict[str, Any]) -> RunRecord:
    """The inverse of ``to_json``. Raises ``KeyError``, ``TypeError`` or ``ValueError``."""
    if not isinstance(data, dict):
        raise ValueError(f"found {quoted(data)}, expected keys and values")
    version = RECORD.check(data.get("schema_version"))
    data = checksum.opened(data, required=version not in _UNSEALED_VERSIONS)
    record = build(RunRecord, {**data, "spec": run_spec_from_json(data["spec"])})
    check_run_id(record.run_id)
    if version in _UNSEALED_VERSIONS and record.spec.run_id != record.run_id:
        raise ValueError(f"its spec is that of {quoted(record.spec.run_id)}")
    for name, value, known in (("status", record.status, STATUSES), ("kind", record.kind, KINDS)):
        if value not in known:
            raise ValueError(f"{name} {quoted(value)}, expected {' or '.join(known)}")
    for name in _COUNTED:
        value = getattr(record, name)
        # a run may diverge in its first step
        if not (value > 0 or (value == 0 and record.status == "diverged")):
            raise ValueError(f"{name} is {value}, expected above 0")
    if record.status == "stopped_early":
        for name in FORETOLD:
            foretold = record.metrics.get(name, math.nan)
            if not 0 < foretold < math.inf:
                raise ValueError(f"metrics.{name} is {foretold}, expected above 0")
    return record


def read_record(path: Path) -> RunRecord:
    """One ``record.json``. Raises ``ConfigError`` naming the file and what is wrong with it."""
    data = layout.read_json(path)
    try:
        return record_from_json(data)
    except MadeLater as problem:
        raise ConfigError(f"{path}: {problem}") from None
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        why = problem if isinstance(problem, ValueError) else repr(problem)
        raise ConfigError(f"{path}: not a run record ({why}); delete it to retrain") from None


def record_if_there(run_dir: RunDir) -> RunRecord | None:
    """The record of a run that is over, else None. Raises as ``read_record`` does."""
    if not run_dir.record.exists():
        return None
    try:
        return read_record(run_dir.record)
    except ConfigError:
        # a trunk whose states were lost is trained again: its record may go while we read it
        if not run_dir.record.exists():
            return None
        raise


def read_failure(run_dir: RunDir) -> str:
    """Why a run failed, by its ``failure.json``; the run is retried whatever that says."""
    try:
        error = checksum.read(run_dir.failure, "it is not needed")["error"]
    except (ConfigError, KeyError, TypeError):
        error = None
    return one_line(error) if isinstance(error, str) else "its failure.json cannot be read"


def find_sweeps(folder: Path) -> list[SweepDir]:
    """The sweeps at or below ``folder`` (a sweep, or a folder of sweeps), by name.

    Raises ``ConfigError`` when there is no folder, or none with runs.
    """
    if not folder.exists():
        raise ConfigError(f"{folder}: no such folder; `slaw run --mode quick` makes results/quick")
    if not folder.is_dir():
        raise ConfigError(f"{folder}: a file, expected a results folder")
    found = [SweepDir(p) for p in (folder, *sorted(folder.iterdir())) if (p / "runs").is_dir()]
    if not found:
        raise ConfigError(
            f"{folder}: holds no run records; expected <sweep>/runs/<run_id>/record.json, "
            "made by `slaw run`"
        )
    return found


def only_sweep(folder: Path, remedy: str = "name one") -> SweepDir:
    """The sweep that ``folder`` is, or else the only one in it.

    Sweeps are put together only where each is named. Raises ``ConfigError`` as ``find_sweeps``,
    and for several with their names after the ``remedy``.
    """
    found = find_sweeps(folder)
    if found[0].path == folder or len(found) == 1:
        return found[0]
    names = ", ".join(str(sweep.path) for sweep in found)
    raise ConfigError(f"{folder}: {len(found)} sweeps there; {remedy}: {names}")


def two_sweeps(folders: Sequence[Path]) -> tuple[SweepDir, SweepDir]:
    """Exactly two sweeps, one a folder. Raises ``ConfigError`` for any other number of them."""
    if len(folders) != 2:
        raise ConfigError(f"{len(folders)} folders: expected two sweeps to compare")
    return only_sweep(folders[0]), only_sweep(folders[1])


def load_records(sweep: SweepDir) -> list[RunRecord]:
    """Every finished run of ``sweep``, by run id. Raises ``ConfigError`` when there is none.

    Safe while the sweep runs.
    """
    found = [record_if_there(run_dir) for run_dir in sweep.run_dirs()]
    records = [record for record in found if record is not None]
    if not records:
        raise ConfigError(f"{sweep.path}: no finished run yet; `slaw status` says how far it is")
    return records


def append_curve(run_dir: RunDir, point: CurvePoint) -> None:
    """Add one line to the curve."""
    with run_dir.curve.open("a") as file:
        # asked of the open file: whoever leases the run replaces it before reading on
        run_dir.guard()
        file.write(checksum.line(to_json(point)))


def curve_digest(points: Iterable[CurvePoint]) -> str:
    """The SHA-256 of all but the clock of ``points``: equal for two trainings of one run."""
    plain = [{k: v for k, v in to_json(p).items() if k != "seconds"} for p in points]
    return hashlib.sha256(canonical_json(plain).encode()).hexdigest()


def read_curve(run_dir: RunDir, record: RunRecord | None = None) -> list[CurvePoint]:
    """The curve so far, by step; a torn last line (a crash while appending) is left out.

    Raises ``ConfigError`` when a line is not as it was written or, given the run's ``record``,
    when the whole curve is not.
    """
    points: list[CurvePoint] = []
    text = run_dir.curve.read_text(errors="replace") if _is_file(run_dir.curve) else ""
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        try:
            point = build(CurvePoint, checksum.open_line(line))
            if points and point.step <= points[-1].step:
                raise ValueError(f"step {point.step} after step {points[-1].step}")
            points.append(point)
        except (ValueError, RecursionError) as problem:
            if number == len(lines):
                break
            why = json_problem(problem)
            raise ConfigError(f"{run_dir.curve}:{number}: not a curve point ({why})") from None
    if record is not None and record.curve_sha256 not in (None, curve_digest(points)):
        raise ConfigError(
            f"{run_dir.curve}: damaged (not the curve of its record);"
            " delete the run's record.json to train it again"
        )
    return points


def _is_file(path: Path) -> bool:
    if path.exists() and not path.is_file():  # a pipe may never end
        raise ConfigError(f"{path}: not a file; expected a training curve")
    return path.is_file()


def cut_curve(run_dir: RunDir, step: int) -> list[CurvePoint]:
    """Drop the points after ``step``, which a resumed run writes again; returns those kept."""
    kept = [p for p in read_curve(run_dir) if p.step <= step]
    write_curve(run_dir, kept)
    return kept


def write_curve(run_dir: RunDir, points: Iterable[CurvePoint]) -> None:
    """Replace the curve by ``points``."""
    lines = [checksum.line(to_json(p)) for p in points]
    layout.atomic_write(run_dir.curve, "".join(lines), run_dir.guard)
