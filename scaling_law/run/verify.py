"""``slaw run --verify``: trains a finished run again in a temporary folder and compares the two.

What a run depends on is trained again with it: a branch's trunk from its first step (unless the
state that the trunk saved for it still exists), and the siblings its early stop learned from.
Nothing is written to the sweep's folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scaling_law import parts
from scaling_law.config.slots import Choice
from scaling_law.console import Say
from scaling_law.data.access import DataOf, open_data, prepared_data
from scaling_law.data.dataset import Dataset
from scaling_law.data.dataset_folder import META
from scaling_law.errors import EXIT_OK, EXIT_RUN_FAILED, ConfigError, RunFailed, SlawError, quoted
from scaling_law.files import layout
from scaling_law.files.layout import RunDir, SweepDir
from scaling_law.files.record import RunRecord, check_owner, read_curve, read_record
from scaling_law.plan.device_profile import available_memory_bytes, usable_cores
from scaling_law.plan.plan import Plan, PlannedRun, read_plan
from scaling_law.run import engines
from scaling_law.run.compare_runs import RunComparison, compare
from scaling_law.run.engines import Executor, SubmissionState
from scaling_law.run.pins import Pin, pin_of, read_pins, write_pins
from scaling_law.run.runner import Runner
from scaling_law.run.starts import copy_starts
from scaling_law.run.sweep_state.progress import SweepProgress
from scaling_law.spec.resources import Resources, resources_from_json
from scaling_law.spec.to_json import to_json
from scaling_law.units import count_of

EVERY = "all"


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The result of a verification."""

    comparisons: tuple[RunComparison, ...]  # of every run trained again with its record
    text: str  # for people
    stopped_code: int | None = None  # the exit code, if it was stopped before the end

    @property
    def exit_code(self) -> int:
        """0 all equal to the last bit, 3 not, 75 or 130 stopped before the end."""
        if self.stopped_code is not None:
            return self.stopped_code
        return EXIT_OK if all(one.equal for one in self.comparisons) else EXIT_RUN_FAILED


def verify(
    sweep: SweepDir, wanted: str, device: str, say: Say, engine: Choice | None = None
) -> Verification:
    """Train ``wanted`` (a run id, a label, or ``all``) again and compare it with its record.

    ``device`` "auto" takes the kind that each run was trained on; ``engine`` is by default the one
    of a config that names none. Raises ``ConfigError`` if there is no such run or its data are not
    available, ``RunFailed`` if training it fails.
    """
    records = _records(sweep)
    asked = _chosen(sweep, records, wanted)
    parts.read_copies(sweep.path)
    pins = _pins(sweep, asked)
    with tempfile.TemporaryDirectory(prefix="slaw-verify-") as name:
        again = SweepDir(Path(name) / "sweep")
        runs, given = _family(sweep, again, records, asked, device)
        for run in runs:
            copy_starts(run.spec, sweep, again)
        write_pins(again, pins)
        if (sweep.path / "parts").is_dir():
            shutil.copytree(sweep.path / "parts", again.path / "parts")
        say(_opening(asked, runs, given))
        plan = _plan(runs, _slots(sweep))
        layout.write_json(again.plan, plan.stored())
        executor = engines.start(engine or engines.engine_named(), again, plan.slots)
        outcome = _Retraining(plan, again, executor, {record.run_id for record in asked}).run()
        if outcome.stopped_by is not None:
            text = "stopped; nothing was saved, the same command starts again from the beginning"
            return Verification(comparisons=(), text=text, stopped_code=outcome.exit_code)
        for run_id, reason in (*outcome.failed.items(), *outcome.blocked.items()):
            raise RunFailed(f"{plan.by_id[run_id].spec.label}: cannot be trained again: {reason}")
        comparisons = tuple(
            _compared(sweep.run(run.run_id), again.run(run.run_id), records[run.run_id], given)
            for run in runs
            if again.run(run.run_id).record.is_file() and run.run_id not in given.values()
        )
    text = "\n".join([*(one.text for one in comparisons), _summary(comparisons)])
    return Verification(comparisons=comparisons, text=text)


class _Retraining(Runner):
    """Ends a trunk that was not asked for once it has saved what its branches start from."""

    def __init__(self, plan: Plan, sweep: SweepDir, executor: Executor, asked: set[str]) -> None:
        super().__init__(plan, sweep, executor)
        early = any(run.spec.early_stop for run in plan.runs)  # it learns from the whole trunk
        self._beside = set() if early else {run.run_id for run in plan.runs} - asked
        self._served: set[str] = set()

    def _submit(self, progress: SweepProgress) -> None:
        for handle in {id(handle): handle for handle in self._busy.values()}.values():
            runs = {run_id for run_id, own in self._busy.items() if own is handle}
            if not runs & self._served and all(map(self._has_served, runs)):
                self._served |= runs
                self.executor.cancel(handle)
        super()._submit(progress)

    def _has_served(self, run_id: str) -> bool:
        needed = {run.spec.start_step for run in self._branches.get(run_id, [])}
        return run_id in self._beside and bool(needed) and needed <= self._saved_steps(run_id)

    def _settle(self, run_id: str, state: SubmissionState, progress: SweepProgress) -> None:
        if run_id not in self._served or self.sweep.run(run_id).record.is_file():
            super()._settle(run_id, state, progress)

    def _ended(self) -> set[str]:
        return super()._ended() | self._served


def _records(sweep: SweepDir) -> dict[str, RunRecord]:
    if not sweep.path.is_dir():
        raise ConfigError(f"{sweep.path}: no such sweep; name its folder with --out")
    records = {}
    for run_dir in sweep.run_dirs():
        if run_dir.record.is_file():
            record = read_record(run_dir.record)
            if record.run_id != run_dir.path.name or record.run_id != record.spec.run_id:
                raise ConfigError(
                    f"{run_dir.record}: its spec is of run {record.spec.run_id}, not of"
                    f" {run_dir.path.name}; the record was changed"
                )
            records[record.run_id] = record
    return records


def _chosen(sweep: SweepDir, records: dict[str, RunRecord], wanted: str) -> list[RunRecord]:
    asked = [r for r in records.values() if wanted in (EVERY, r.run_id, r.spec.label)]
    if not records:
        raise ConfigError(f"{sweep.path}: no finished run to verify; `slaw run` trains them")
    if not asked:
        labels = [record.spec.label for record in records.values()]
        close = difflib.get_close_matches(wanted, [*labels, *records], n=1, cutoff=0.6)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise ConfigError(
            f"{sweep.path}: no finished run {quoted(wanted)} among its {len(records)}{hint};"
            " expected a run id, a label, or all"
        )
    if by_command := [record.run_id for record in asked if record.spec.trainer is not None]:
        raise ConfigError(
            f"{sweep.path}: {count_of(len(by_command), 'run')} trained by a command of your own, of"
            " which no one promises the same bits; train them in another folder and compare the two"
            " with `slaw report`"
        )
    return asked


def _pins(sweep: SweepDir, asked: Sequence[RunRecord]) -> list[Pin]:
    """Where the data are that the runs were trained on: the sweep's own, or prepared again."""
    specs = dict.fromkeys(record.spec.data for record in asked)
    datasets = {spec: _dataset(sweep, spec) for spec in specs}
    for record in asked:
        spec, fingerprint = record.spec.data, datasets[record.spec.data].fingerprint
        if fingerprint != record.corpus_fingerprint:
            raise ConfigError(
                f"{record.spec.label}: trained on corpus {record.corpus_fingerprint}, but"
                f" {spec.name} here is now {fingerprint}; verify it on a machine with the same data"
            )
    return [pin_of(spec, dataset) for spec, dataset in datasets.items()]


def _dataset(sweep: SweepDir, spec: DataOf) -> Dataset:
    pins: list[Pin] = []
    with contextlib.suppress(SlawError):  # the file may be gone, or damaged
        pins = read_pins(sweep, "")
    for pin in pins:
        folder = Path(pin.get("folder", ""))
        if pin["spec"] == to_json(spec) and (folder / META).is_file():
            return open_data(spec, folder)
    return prepared_data(spec)


def _family(
    sweep: SweepDir,
    again: SweepDir,
    records: dict[str, RunRecord],
    asked: Sequence[RunRecord],
    device: str,
) -> tuple[list[PlannedRun], dict[str, str]]:
    """What to train, parents first; and by branch the trunk whose saved state it starts from."""
    resources = _resources(sweep)
    needed: dict[str, RunRecord] = {}
    given: dict[str, str] = {}
    retrained = {record.run_id for record in asked}

    def need(record: RunRecord) -> None:
        branch, stop = record.spec.branch, record.spec.early_stop
        if branch is not None and branch.trunk_id not in needed:
            trunk = records.get(branch.trunk_id)
            if trunk is None:
                raise ConfigError(
                    f"{record.spec.label}: its trunk {branch.trunk_id} has no record in"
                    f" {sweep.path}; it cannot be trained again"
                )
            need(trunk)
        needed.setdefault(record.run_id, record)
        for sibling in stop.siblings if stop else ():
            if sibling in records and sibling not in needed:
                need(records[sibling])

    for record in asked:
        need(record)
    for record in needed.values():
        branch = record.spec.branch
        if branch is not None and branch.trunk_id not in retrained:
            at = branch.at_step
            if sweep.run(branch.trunk_id).checkpoint(at).is_file():
                given[record.run_id] = branch.trunk_id
    _take_states(sweep, again, needed, given)
    branches = [record.spec.branch for record in needed.values()]
    planned = []
    for record in needed.values():
        steps = {b.at_step for b in branches if b is not None and b.trunk_id == record.run_id}
        own = _own_resources(record, resources.get(record.run_id), steps, device)
        planned.append(_planned(record, own))
    return planned, given


def _take_states(
    sweep: SweepDir, again: SweepDir, needed: dict[str, RunRecord], given: dict[str, str]
) -> None:
    """Copy the states that trunks saved, unless a branch needs the whole trunk again."""
    unserved = {
        record.spec.branch.trunk_id
        for record in needed.values()
        if record.spec.branch is not None and record.run_id not in given
    }
    for run_id, trunk_id in list(given.items()):
        if trunk_id in unserved:
            del given[run_id]
            continue
        saved, copy = sweep.run(trunk_id), again.run(trunk_id)
        branch = needed[run_id].spec.branch
        assert branch is not None
        copy.checkpoints.mkdir(parents=True, exist_ok=True)
        for source in (saved.record, saved.curve):
            shutil.copyfile(source, copy.path / source.name)
        shutil.copyfile(saved.checkpoint(branch.at_step), copy.checkpoint(branch.at_step))


def _resources(sweep: SweepDir) -> dict[str, Resources]:
    """How the runs were executed, by run id, as far as the folder says."""
    resources: dict[str, Resources] = {}
    with contextlib.suppress(SlawError):  # the records say nearly as much
        resources = {run.run_id: run.resources for run in read_plan(sweep.plan).runs}
    for run_dir in sweep.run_dirs():
        if run_dir.resources.is_file():
            try:
                content = layout.read_json(run_dir.resources)
                check_owner(content.pop("run_id", run_dir.run_id), run_dir)
                resources[run_dir.run_id] = resources_from_json(content)
            except (SlawError, TypeError, ValueError, AttributeError):
                continue
    return resources


def _own_resources(
    record: RunRecord, known: Resources | None, save_steps: set[int], device: str
) -> Resources:
    """The recorded run's, with the micro-batch it ended with and only the states needed here."""
    base = known or Resources(precision_reason=record.precision_reason)
    kind = record.device.partition(":")[0] if device == "auto" else device
    whole = record.micro_seqs == record.spec.batch_seqs
    return dataclasses.replace(
        base,
        device=kind,
        threads=record.threads,
        kernels=record.kernels,
        micro_seqs=None if whole else record.micro_seqs,
        save_steps=tuple(sorted(save_steps)),
        keep_weights=False,
        compiled=base.compiled and kind == "cuda",
        stack=(base.stack or record.run_id) if record.stacked else None,
    )


def _planned(record: RunRecord, resources: Resources) -> PlannedRun:
    return PlannedRun(
        spec=record.spec,
        resources=resources,
        seconds=record.seconds,
        memory_bytes=record.peak_memory_bytes,
        flops_spent=record.flops_spent,
        flops_alone=record.flops_exact,
        epochs=None,
    )


def _slots(sweep: SweepDir) -> int:
    try:
        return max(1, min(read_plan(sweep.plan).slots, usable_cores()))
    except SlawError:
        return 1


def _plan(runs: Sequence[PlannedRun], slots: int) -> Plan:
    first = runs[0]
    return Plan(
        name="verify",
        device_kind=first.resources.device,
        device_name="",
        slots=slots,
        precision=first.spec.precision,
        precision_reason=first.resources.precision_reason,
        runs=tuple(runs),
        left_out=(),
        seconds_estimate=sum(run.seconds for run in runs),
        disk_bytes=0,
        train_tokens=None,
        time_limit_seconds=None,
        memory_limit_bytes=available_memory_bytes(),
    )


def _opening(asked: Sequence[RunRecord], runs: Sequence[PlannedRun], given: dict[str, str]) -> str:
    spared = set(given.values())
    trained = [run for run in runs if run.run_id not in spared]
    beside = len(trained) - len(asked)
    text = f"training {len(asked)} of the sweep's runs again"
    if beside:
        text += f", with {beside} more that they depend on"
    flops = sum(run.flops_spent for run in trained)
    return f"{text}, in a temporary folder: at most {flops:.3g} FLOPs"


def _compared(
    saved: RunDir, again: RunDir, record: RunRecord, given: dict[str, str]
) -> RunComparison:
    branch = record.spec.branch
    origin = "from its first step"
    if branch is not None and record.run_id in given:
        origin = f"from the state its trunk saved at step {branch.at_step}"
    elif branch is not None:
        origin = "from its trunk's first step"
    return compare(
        record, read_curve(saved), read_record(again.record), read_curve(again), origin=origin
    )


def _summary(comparisons: Sequence[RunComparison]) -> str:
    equal, all_of_them = sum(one.equal for one in comparisons), len(comparisons)
    if equal == all_of_them:
        return f"{equal} of {count_of(all_of_them, 'run')} equal to the last bit"
    return f"{all_of_them - equal} of {all_of_them} runs are NOT what their records say"
