"""The results of a run: ``RunRecord`` and the training curve. Workers write them, all others
read."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scaling_law.decode import build, json_problem
from scaling_law.errors import ConfigError, one_line, quoted
from scaling_law.files import checksum, layout
from scaling_law.files.layout import RunDir, SweepDir
from scaling_law.spec.data import DataSpec
from scaling_law.spec.fields import OMIT_EMPTY, check_run_id
from scaling_law.spec.from_json import run_spec_from_json
from scaling_law.spec.kernels import Kernels, kernels_from_json
from scaling_law.spec.run import KINDS, RunSpec
from scaling_law.spec.to_json import canonical_json, to_json
from scaling_law.versions import RECORD, NewerVersion

# These have no digest; instead the spec must still have the run's id.
_VERSIONS_WITHOUT_DIGEST = (1,)
# The unit of the losses of a record that names none, and what they may be compared with.
NATS, NEXT_TOKEN = "nats per token", "next_token"
STATUSES = ("done", "diverged", "stopped_early")
# The metrics that a run stopped early has in place of a loss.
PREDICTED = (
    "predicted_loss_nats", "predicted_low_nats", "predicted_high_nats",
    "stopped_at_step", "flops_saved", "planned_tokens_unique",
)  # fmt: skip
_RUN = "run_id"  # of a curve's line: the run that it belongs to
# The metrics that say how a run was trained.
_OF_TRAINING = frozenset(
    (*PREDICTED, "parent_tokens", "parent_flops", "batches_skipped", "rollbacks", "steps_repeated")
)
_COUNTED = (
    "params_total", "params_non_embedding", "params_matmul", "tokens", "tokens_unique",
    "flops_exact", "flops_6nd",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """One line of ``curve.jsonl``; losses are in the objective's unit (nats per token)."""

    step: int  # steps done, counted from the trunk's step 0
    tokens: int  # seen since the trunk's step 0
    train_loss_nats: float  # mean since the previous point
    val_loss_nats: float | None  # on the split val; None without an evaluation
    lr: float  # of the last step
    grad_norm: float | None  # of the last step, before clipping; None where a command says none
    seconds: float  # of training so far
    # what else was measured, by the names of ``RunRecord.metrics``
    metrics: dict[str, float] = field(default_factory=dict, metadata=OMIT_EMPTY)


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A finished run.

    ``metrics`` holds further figures by name. What was measured on a split is named ``NAME.SPLIT``
    (``loss.val:NAME``, ``accuracy.train``), a measure of the model ``NAME``. A run stopped early
    has ``predicted_loss_nats``, ``predicted_low_nats`` and ``predicted_high_nats`` (90%),
    ``stopped_at_step``, ``flops_saved`` and ``planned_tokens_unique``. A grown run has
    ``parent_tokens`` and ``parent_flops`` (exact): what the smaller trunks it began as had cost,
    which no other figure counts. A run that skipped batches (``SpikeSpec``) has
    ``batches_skipped``, ``rollbacks`` and ``steps_repeated``.
    """

    run_id: str
    spec: RunSpec
    status: str  # done, diverged or stopped_early
    kind: str  # single, trunk or branch
    params_total: int
    params_non_embedding: int
    params_matmul: int
    tokens: int  # trained on
    tokens_unique: int  # at most the size of the training split
    flops_exact: float  # as if trained alone
    flops_6nd: float  # as if trained alone; N is the total parameters
    flops_spent: float  # by this run itself
    val_loss_nats: float | None  # per token, mean over spec.eval.val_tokens; None unless done
    val_loss_sem_nats: float | None  # standard error of that mean; None of a single sequence
    val_bits_per_byte: float | None
    seconds: float  # of training
    tokens_per_second: float
    peak_memory_bytes: int  # of all members, if it was stacked
    device: str  # kind and name
    precision_reason: str
    threads: int
    micro_seqs: int  # sequences a forward pass
    corpus_fingerprint: str
    versions: dict[str, str]  # of packages that can change a loss
    git_commit: str | None
    finished_at: str  # UTC, ISO 8601
    stacked: bool = False  # trained in one program with others (``train.stack``)
    message: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    curve_sha256: str | None = None  # ``curve_digest`` of the curve; None in older records
    metric_units: dict[str, str] = field(default_factory=dict, metadata=OMIT_EMPTY)  # as measured
    loss_unit: str | None = field(default=None, metadata=OMIT_EMPTY)  # None for nats per token
    # the losses that these may be compared with (``Objective.comparable``); None for next-token
    loss_family: str | None = field(default=None, metadata=OMIT_EMPTY)
    # where it ran, as its engine says; None in older records, and without an engine
    environment: dict[str, str] | None = field(default=None, metadata=OMIT_EMPTY)
    # the operators of a step on a CPU; None for those of the thresholds in ``train.kernels``
    kernels: Kernels | None = field(default=None, metadata=OMIT_EMPTY)
    # of text read in a mixture: which document is of which component; None in older records
    components_fingerprint: str | None = field(default=None, metadata=OMIT_EMPTY)
    schema_version: int = RECORD.current

    @property
    def cluster(self) -> str:
        """The trunk whose initial weights and data order this run shares; its own id if alone."""
        return self.spec.branch.trunk_id if self.spec.branch else self.run_id

    @property
    def note(self) -> str:
        """What a run with a loss reports beside its results, as a probe that failed."""
        return "" if self.status == "diverged" else self.message


def specs_of(records: Iterable[RunRecord]) -> list[RunSpec]:
    """The specs of ``records``, in which one text has one name, independent of its path.

    A text is known by its fingerprint; one that is read in a mixture by that of its components as
    well, and by its sources where an older slaw did not record it.
    """
    known: dict[tuple[str, str | None], DataSpec] = {}
    specs = []
    for record in records:
        spec, components = record.spec, record.components_fingerprint
        is_known = spec.mix is None or components is not None
        if isinstance(spec.data, DataSpec) and is_known:
            first = known.setdefault((record.corpus_fingerprint, components), spec.data)
            data = dataclasses.replace(
                spec.data,
                corpus=first.corpus,
                corpus_part=first.corpus_part,
                sources=first.sources,
            )
            spec = spec if data == spec.data else dataclasses.replace(spec, data=data)
        specs.append(spec)
    return specs


def loss_unit(records: Iterable[RunRecord]) -> str:
    """The unit of the losses of ``records``: ``nats per token``; several are joined by "or"."""
    return " or ".join(dict.fromkeys(record.loss_unit or NATS for record in records)) or NATS


def short_unit(unit: str | None) -> str:
    """A loss's unit as written after a number, ``nats/token``; None is nats per token."""
    return (NATS if unit is None else unit).replace(" per ", "/")


def amount_unit(unit: str) -> str:
    """The unit of an amount of loss: ``nats`` for nats per token."""
    return unit.partition(" per ")[0]


def unit_in_full(unit: str) -> str:
    """The unit of a loss with its logarithm, where it has one: nats are natural logarithms."""
    return f"{unit}, natural logarithm" if unit.startswith("nats ") else unit


def measured_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """What was measured of a run, without the figures of how it was trained."""
    return {name: value for name, value in metrics.items() if name not in _OF_TRAINING}


def metric_units(records: Iterable[RunRecord]) -> dict[str, str]:
    """The unit of each metric that the records have one for; several are joined by "or"."""
    units: dict[str, dict[str, None]] = {}
    for record in records:
        for name, unit in record.metric_units.items():
            units.setdefault(name, {})[unit] = None
    return {name: " or ".join(own) for name, own in units.items()}


def metric_label(name: str, units: Mapping[str, str]) -> str:
    """``accuracy.val (fraction)``: a metric with its unit where it has one."""
    return f"{name} ({units[name]})" if units.get(name) else name


def loss_families(records: Iterable[RunRecord]) -> list[str]:
    """The families of losses among ``records``: losses of two do not compare."""
    return sorted({record.loss_family or NEXT_TOKEN for record in records})


def write_record(run_dir: RunDir, record: RunRecord) -> None:
    """Write ``record.json``, the last file of a run."""
    checksum.write(run_dir.record, to_json(record), run_dir.guard)


def record_from_json(data: dict[str, Any]) -> RunRecord:
    """The inverse of ``to_json``. Raises ``KeyError``, ``TypeError`` or ``ValueError``."""
    if not isinstance(data, dict):
        raise ValueError(f"found {quoted(data)}, expected keys and values")
    version = RECORD.check(data.get("schema_version"))
    data = checksum.opened(data, required=version not in _VERSIONS_WITHOUT_DIGEST)
    nested: dict[str, Any] = {"spec": run_spec_from_json(data["spec"])}
    if "kernels" in data:
        nested["kernels"] = kernels_from_json(data["kernels"])
    record = build(RunRecord, {**data, **nested})
    check_run_id(record.run_id)
    if version in _VERSIONS_WITHOUT_DIGEST and record.spec.run_id != record.run_id:
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
        for name in PREDICTED:
            predicted = record.metrics.get(name, math.nan)
            if not 0 < predicted < math.inf:
                raise ValueError(f"metrics.{name} is {predicted}, expected above 0")
    return record


def read_record(path: Path) -> RunRecord:
    """The ``record.json`` of the run whose folder it is in.

    Raises ``ConfigError`` with the file and what is wrong with it: damaged, or another run's.
    """
    data = layout.read_json(path, "delete it to retrain")
    try:
        record = record_from_json(data)
    except NewerVersion as problem:
        raise ConfigError(f"{path}: {problem}") from None
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        why = problem if isinstance(problem, ValueError) else repr(problem)
        raise ConfigError(f"{path}: not a run record ({why}); delete it to retrain") from None
    try:
        check_owner(record.run_id, RunDir(path.parent))
    except ValueError as problem:
        raise ConfigError(
            f"{path}: not this run's record ({problem}); delete it to train the run again"
        ) from None
    return record


def check_owner(run_id: Any, run_dir: RunDir) -> None:
    """Raise ``ValueError`` for a file of the run ``run_id`` in the folder of another one."""
    if run_id != run_dir.run_id:
        raise ValueError(f"it is of the run {quoted(run_id)}, not of {quoted(run_dir.run_id)}")


def record_if_there(run_dir: RunDir) -> RunRecord | None:
    """The record of a finished run, else None. Raises as ``read_record`` does."""
    if not run_dir.record.exists():
        return None
    try:
        return read_record(run_dir.record)
    except ConfigError:
        # a trunk whose states were lost is reopened: its record may be removed meanwhile
        if not run_dir.record.exists():
            return None
        raise


def read_failure(run_dir: RunDir) -> str:
    """Why a run failed, from its ``failure.json``."""
    try:
        error = checksum.read(run_dir.failure, "it is not needed")["error"]
    except (ConfigError, KeyError, TypeError):
        error = None
    return one_line(error) if isinstance(error, str) else "its failure.json cannot be read"


def find_sweeps(folder: Path) -> list[SweepDir]:
    """The sweeps at or below ``folder`` (a sweep, or a folder of sweeps), by name.

    Raises ``ConfigError`` if there is no folder, or none with runs.
    """
    if not folder.exists():
        near = layout.near_path(folder)
        if folder.suffix:
            raise ConfigError(
                f"{folder}: no such file or folder{near}; expected a table, or results"
            )
        remedy = near or "; `slaw run --mode quick` makes results/quick"
        raise ConfigError(f"{folder}: no such folder{remedy}")
    if not folder.is_dir():
        raise ConfigError(f"{folder}: a file, expected a results folder")
    below = [SweepDir(p) for p in (folder, *sorted(folder.iterdir())) if (p / "runs").is_dir()]
    sweeps = [sweep for sweep in below if sweep.plan.exists() or sweep.has_runs]
    if not sweeps:
        if begun := sweeps_begun(folder):
            raise ConfigError(
                f"{begun[0].path}: no run of this sweep has begun; see slaw status"
                f" {shlex.quote(str(begun[0].path))}"
            )
        raise ConfigError(
            f"{folder}: holds no run records; expected <sweep>/runs/<run_id>/record.json, "
            "made by `slaw run`"
        )
    return sweeps


def sweeps_begun(folder: Path) -> list[SweepDir]:
    """The sweeps at or below ``folder``, with those that have no runs yet, by name."""
    if not folder.is_dir():
        return []
    return [sweep for p in (folder, *sorted(folder.iterdir())) if (sweep := SweepDir(p)).has_begun]


def only_sweep(folder: Path, remedy: str = "name one") -> SweepDir:
    """The sweep that ``folder`` is, or else the only one in it.

    Several sweeps are combined only if each is named. Raises ``ConfigError`` as ``find_sweeps``
    does, and for several sweeps, with the ``remedy`` and their names.
    """
    sweeps = find_sweeps(folder)
    if sweeps[0].path == folder or len(sweeps) == 1:
        return sweeps[0]
    names = ", ".join(str(sweep.path) for sweep in sweeps)
    raise ConfigError(f"{folder}: {len(sweeps)} sweeps there; {remedy}: {names}")


def two_sweeps(folders: Sequence[Path]) -> tuple[SweepDir, SweepDir]:
    """Exactly two sweeps, one a folder. Raises ``ConfigError`` for any other number of them."""
    if len(folders) != 2:
        raise ConfigError(f"{len(folders)} folders: expected two sweeps to compare")
    return only_sweep(folders[0]), only_sweep(folders[1])


def load_records(sweep: SweepDir) -> list[RunRecord]:
    """Every finished run of ``sweep``, by run id. Raises ``ConfigError`` if there is none.

    The sweep may be running.
    """
    read = [record_if_there(run_dir) for run_dir in sweep.run_dirs()]
    records = [record for record in read if record is not None]
    if not records:
        raise ConfigError(f"{sweep.path}: no finished run yet; `slaw status` says how far it is")
    return records


def append_curve(run_dir: RunDir, point: CurvePoint) -> None:
    """Add one line to the curve."""
    if not run_dir.writes:
        return
    with run_dir.curve.open("a") as file:
        # called with the file open: a process that takes the run first replaces the file
        run_dir.guard()
        file.write(_curve_line(run_dir, point))


def _curve_line(run_dir: RunDir, point: CurvePoint) -> str:
    return checksum.line({**to_json(point), _RUN: run_dir.run_id})


def curve_digest(points: Iterable[CurvePoint]) -> str:
    """The SHA-256 of ``points`` without their seconds: equal for two trainings of one run."""
    plain = [{k: v for k, v in to_json(p).items() if k != "seconds"} for p in points]
    return hashlib.sha256(canonical_json(plain).encode()).hexdigest()


def read_curve(run_dir: RunDir, record: RunRecord | None = None) -> list[CurvePoint]:
    """The curve so far, by step, without a last line that a crash left incomplete.

    Raises ``ConfigError`` if a line is damaged or, given the run's ``record``, if the curve is not
    the one it was made with.
    """
    points: list[CurvePoint] = []
    owners: set[Any] = set()
    text = run_dir.curve.read_text(errors="replace") if _is_file(run_dir.curve) else ""
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        try:
            content = checksum.open_line(line)
            if (run_id := content.pop(_RUN, None)) is not None:  # absent from older files
                owners.add(run_id)
            point = build(CurvePoint, content)
            if points and point.step <= points[-1].step:
                raise ValueError(f"step {point.step} after step {points[-1].step}")
            points.append(point)
        except (ValueError, RecursionError) as problem:
            if number == len(lines):
                break
            why = json_problem(problem)
            raise ConfigError(f"{run_dir.curve}:{number}: not a curve point ({why})") from None
    for run_id in owners:
        try:
            check_owner(run_id, run_dir)
        except ValueError as problem:
            raise ConfigError(
                f"{run_dir.curve}: not this run's ({problem}); delete it, and the run's record.json"
                " if there is one, to train the run again"
            ) from None
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
    """Remove the points after ``step``, which a resumed run writes again; returns the others."""
    points = [p for p in read_curve(run_dir) if p.step <= step]
    write_curve(run_dir, points)
    return points


def write_curve(run_dir: RunDir, points: Iterable[CurvePoint]) -> None:
    """Replace the curve by ``points``."""
    if not run_dir.writes:
        return
    lines = [_curve_line(run_dir, p) for p in points]
    layout.atomic_write(run_dir.curve, "".join(lines), run_dir.guard)
