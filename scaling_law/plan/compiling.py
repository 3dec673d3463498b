"""Choose the runs that train through torch.compile, where a config asks for it (``compile: auto``).

Compiling takes a minute or two of a run. On a GPU it pays because it saves memory traffic; on a
CPU we measured 1.0 to 1.1 times the speed. A stack's step is recorded whole instead
(``train.static_step``). The estimated time of a plan does not include the gain on a GPU.
"""

from __future__ import annotations

import dataclasses

from scaling_law.plan.plan import Plan, PlannedRun
from scaling_law.plan.stacking import has_fast_loss
from scaling_law.spec.architectures import architecture_of
from scaling_law.units import count_of

LEAST_SECONDS = 600.0


def with_compiled(plan: Plan, policy: str) -> Plan:
    """Return the plan with the runs that ``policy`` (auto, off) selects compiled.

    The run ids do not change.
    """
    if policy == "off" or plan.device_kind != "cuda":
        return plan
    runs = tuple(
        dataclasses.replace(run, resources=dataclasses.replace(run.resources, compiled=True))
        if _gains(run)
        else run
        for run in plan.runs
    )
    return dataclasses.replace(plan, runs=runs)


def _gains(run: PlannedRun) -> bool:
    """Say whether a run is long enough to compile, and whether its parts can be compiled."""
    if run.resources.stack is not None or run.seconds < LEAST_SECONDS:
        return False
    if run.spec.number_format is not None or run.resources.devices_of(run.spec).devices > 1:
        return False
    return has_fast_loss(run.spec) and architecture_of(run.spec.model).compiles


def compiled_words(plan: Plan) -> list[str]:
    """Say on one line how many runs are compiled; no line where none is."""
    count = sum(run.resources.compiled for run in plan.runs)
    if not count:
        return []
    return [
        f"compile: {count} of {count_of(len(plan.runs), 'run')} through torch.compile, those of"
        f" {LEAST_SECONDS / 60:.0f} min and more; what it gains is not in the time below"
    ]
