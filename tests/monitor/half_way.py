"""A sweep half-way, on disk, with one of everything that a monitor must show."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

from scaling_law.files import layout
from scaling_law.files.layout import SweepDir
from scaling_law.files.lease import Leases
from scaling_law.files.record import CurvePoint, write_curve, write_record
from scaling_law.plan.make import make_plan
from scaling_law.plan.plan import Plan, PlannedRun
from tests.fakes import cpu_profile, ladder_config, planted_records, record_of

DONE = 20  # of 40 runs, the first as planned
HOSTILE = "</script><script>document.title='owned'</script>[bold]\x1b[31m"


def half_way(folder: Path) -> tuple[SweepDir, Plan]:
    """20 runs done; then a running trunk, its failed branch, a diverged trunk, the rest waiting."""
    sweep, config = SweepDir(folder), ladder_config()
    plan = make_plan(config, cpu_profile(), train_tokens=10**9)
    plan = dataclasses.replace(plan, name=HOSTILE)
    layout.write_json(sweep.plan, plan.to_json())
    for record in planted_records(0.003, config)[:DONE]:
        write_record(sweep.run(record.run_id), record)
        write_curve(sweep.run(record.run_id), curve_of(plan.by_id[record.run_id], 1.0))
    working, failed, lost = trunk_after(plan, DONE), plan.runs[DONE + 1], diverging(plan)
    assert working is plan.runs[DONE] and failed.spec.branch is not None
    start_on(sweep, working, 0.5)
    log = sweep.run(working.run_id).log
    log.write_text(
        "2026-01-01T00:00:01+00:00 started by pid 1\n"
        f"2026-01-01T00:00:02+00:00 out of memory: micro-batch halved to 4 {HOSTILE}\n"
        "2026-01-01T00:00:03+00:00 step_00000300.pt: content does not match its checksum;"
        " using an older one\n"
    )
    layout.write_json(sweep.run(failed.run_id).failure, {"error": f"RunFailed: {HOSTILE}"})
    record = dataclasses.replace(
        record_of(lost.spec, status="diverged"), message="training loss is nan at step 9"
    )
    write_record(sweep.run(lost.run_id), record)
    return sweep, plan


def trunk_after(plan: Plan, index: int) -> PlannedRun:
    """The first trunk from ``index`` on."""
    return next(run for run in plan.runs[index:] if run.spec.kind == "trunk")


def diverging(plan: Plan) -> PlannedRun:
    """The trunk that ``half_way`` has diverge: the last."""
    return [run for run in plan.runs if run.spec.kind == "trunk"][-1]


def start_on(sweep: SweepDir, run: PlannedRun, share: float) -> None:
    """Write the heartbeat and the curve of a running run."""
    step = run.spec.start_step + round(share * (run.spec.total_steps - run.spec.start_step))
    run_dir = sweep.run(run.run_id)
    layout.write_json(run_dir.progress, {"step": step, "tokens_per_second": 5e4})
    write_curve(run_dir, curve_of(run, share))


def curve_of(run: PlannedRun, share: float) -> list[CurvePoint]:
    """Ten points of a falling loss, up to ``share`` of the run's own steps."""
    own = run.spec.total_steps - run.spec.start_step
    steps = [run.spec.start_step + max(1, round(share * own * i / 10)) for i in range(1, 11)]
    return [
        CurvePoint(
            step=step,
            tokens=step * run.spec.batch_tokens,
            train_loss_nats=7.5 - i / 4,
            val_loss_nats=7.25 - i / 4,
            lr=0.01,
            grad_norm=1.0,
            seconds=float(i),
        )
        for i, step in enumerate(steps)
    ]


@contextlib.contextmanager
def at_work(sweep: SweepDir) -> Iterator[None]:
    """Make the folder look as if a ``slaw run`` works on it."""
    with Leases() as leases:
        leases.take(sweep.runners / "1")
        yield
