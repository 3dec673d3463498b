"""Stops every run after its first step and resumes it, in the runner's own process: an engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scaling_law.plan.plan import PlannedRun
from scaling_law.run import worker
from scaling_law.run.engines import EnginePart, Workplace
from tests.inline_engine import InlineExecutor, Settings, environment, profile


class StoppingExecutor(InlineExecutor):
    """Every submission is worked on twice: to its first step, and from there to its end."""

    def submit(self, runs: Sequence[PlannedRun]) -> Any:
        asked = 0

        def stop() -> bool:
            nonlocal asked
            asked += 1
            return asked == 1

        worker.work_on([self.sweep.run(run.run_id) for run in runs], stop)
        return super().submit(runs)


def start(settings: Settings, workplace: Workplace) -> StoppingExecutor:
    """One slot, whatever the plan says."""
    return StoppingExecutor(workplace.sweep)


ENGINE = EnginePart(start=start, profile=profile, environment=environment, settings=Settings)
