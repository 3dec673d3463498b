"""Trains in the runner's own process, one submission after another: an engine for tests."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from scaling_law.errors import SlawError
from scaling_law.files.layout import RunDir, SweepDir
from scaling_law.plan.device_profile import DeviceProfile, SpeedPoint
from scaling_law.plan.plan import PlannedRun
from scaling_law.run.engines import EnginePart, SubmissionState, Workplace
from scaling_law.spec.values import Number


@dataclass(frozen=True, kw_only=True)
class Settings:
    """``cores`` is the number of cores in its profile."""

    cores: Annotated[int, Number("cores of the machine", low=1, high=64)] = 2


class InlineExecutor:
    """Every submission has ended when ``submit`` returns; ``trained`` are the run ids so far.

    ``before(run_dir)`` is called before each run; a run that fails says so in its folder.
    """

    def __init__(
        self,
        sweep: SweepDir,
        before: Callable[[RunDir], None] = lambda run_dir: None,
        slots: int = 1,
    ) -> None:
        self.sweep, self.before, self.slots = sweep, before, slots
        self.trained: list[str] = []

    def submit(self, runs: Sequence[PlannedRun]) -> Any:
        from scaling_law.run import worker

        run_dirs = [self.sweep.run(run.run_id) for run in runs]
        for run_dir in run_dirs:
            self.before(run_dir)
            self.trained.append(run_dir.path.name)
        with contextlib.suppress(SlawError):
            worker.work_on(run_dirs, lambda: False)
        return object()

    def state(self, handle: Any) -> SubmissionState:
        return "ended"

    def cancel(self, handle: Any) -> None: ...

    def close(self) -> None: ...


def start(settings: Settings, workplace: Workplace) -> InlineExecutor:
    """Start one slot; the plan's number is ignored."""
    return InlineExecutor(workplace.sweep)


def profile(settings: Settings, device: str, say: Callable[[str], None]) -> DeviceProfile:
    """An invented CPU."""
    speed = (SpeedPoint(params_matmul=10**4, flops_per_second=1e10),)
    return DeviceProfile(
        kind="cpu", name="an inline CPU", slots=settings.cores, memory_bytes=8 * 10**9,
        precision="fp32", precision_reason="invented", runtime_bytes=10**8, speed=speed,
    )  # fmt: skip


def environment() -> dict[str, str]:
    """Where it runs."""
    return {"engine": "inline"}


ENGINE = EnginePart(start=start, profile=profile, environment=environment, settings=Settings)
