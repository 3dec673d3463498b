"""Which runs train through torch.compile, where a config asks for it (``compile: auto``).

Compiling takes a minute or two of a run; it gains on a GPU, where it saves memory traffic. On a
CPU it was measured at 1.0 to 1.1 times the speed. A stack's step is recorded whole instead
(``train.static_step``). What it gains on a card is not counted on in a plan's time.
"""

from __future__ import annotations

import dataclasses

from scaling_law.plan.plan import Plan, PlannedRun, has_fast_loss
from scaling_law.spec.architectures import architecture_of

LEAST_SECONDS = 600.0


def with_compiled(plan: Plan, policy: str) -> Plan:
    """The plan with the runs compiled that ``policy`` (auto, off) means. Same run ids."""
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
    """Whether a run is long enough, and its parts can be compiled."""
    if run.resources.stack is not None or run.seconds < LEAST_SECONDS:
        return False
    return has_fast_loss(run.spec) and architecture_of(run.spec.model).compiles


def compiled_words(plan: Plan) -> list[str]:
    """How many runs are compiled, on a line; none where none is."""
    count = sum(run.resources.compiled for run in plan.runs)
    if not count:
        return []
    return [
        f"compile: {count} of {len(plan.runs)} runs through torch.compile, those of"
        f" {LEAST_SECONDS / 60:.0f} min and more; what it gains is not in the time below"
    ]
