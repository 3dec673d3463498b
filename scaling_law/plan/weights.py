"""Choose the runs whose final weights are saved, and estimate the disk space that they take.

Only annealed runs have useful weights; a trunk ends before its cooldown. ``auto`` saves those of
every annealed run while they are small, and in a larger sweep those of the most expensive run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from scaling_law.plan.plan import Plan, PlannedRun
from scaling_law.spec.counts import count_params
from scaling_law.units import count_of, format_bytes

LITTLE_BYTES = 10**9
_BYTES_PER_PARAM = 4  # fp32, whatever the precision of the products


def with_saved_weights(plan: Plan, policy: str) -> Plan:
    """Return the plan whose runs save the weights that ``policy`` (auto, all, largest, none) says.

    The run ids do not change.
    """
    annealed = [run for run in plan.runs if run.spec.kind != "trunk"]
    if policy == "none":
        return plan
    if policy == "largest" or (policy == "auto" and _bytes(annealed) > LITTLE_BYTES):
        annealed = [max(annealed, key=lambda run: run.flops_alone)]
    chosen = {run.run_id for run in annealed}
    runs = tuple(_keeping(run, run.run_id in chosen) for run in plan.runs)
    return dataclasses.replace(plan, runs=runs, disk_bytes=plan.disk_bytes + _bytes(annealed))


def _keeping(run: PlannedRun, keep: bool) -> PlannedRun:
    if run.resources.keep_weights == keep:
        return run
    return dataclasses.replace(run, resources=dataclasses.replace(run.resources, keep_weights=keep))


def _bytes(runs: Sequence[PlannedRun]) -> int:
    return sum(_BYTES_PER_PARAM * count_params(run.spec.model).total for run in runs)


def saved_weights_text(plan: Plan) -> str:
    """Say for the dry run which runs' weights are saved."""
    saved = [run for run in plan.runs if run.resources.keep_weights]
    if not saved:
        return "final weights: none saved (keep_weights: all or largest, for `slaw export`)"
    whose = saved[0].spec.label
    if len(saved) > 1:
        hot = any(run.spec.schedule.end != "annealed" for run in saved)
        whose = count_of(len(saved), "run" if hot else "annealed run")
    return f"final weights: of {whose} saved, {format_bytes(_bytes(saved))} (keep_weights)"
