"""Measures the steps of several devices together against one's, where an engine trains them.

``python -m ..._joint_steps FILE``, on the machine that trains: ``FILE`` has shapes as JSON. It
writes a line of JSON for each that it measured, and ends at the first that it cannot measure.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from scaling_law.console import Say
from scaling_law.errors import EngineError, SlawError
from scaling_law.files.process import module_command
from scaling_law.plan.device_profile import DeviceProfile
from scaling_law.plan.steps import (
    JointShape,
    JointStep,
    joint_shape_from_json,
    joint_step_from_json,
)
from scaling_law.run.engines import LAUNCHER, group_command, worker_environment
from scaling_law.spec.to_json import to_json
from scaling_law.units import count_of

# The most shapes that are measured for one plan, each of which starts a group of processes.
_MOST_SHAPES = 8
# The most that are saved.
_MOST_STEPS = 400
_NOT_MEASURED = "they could not be measured ({why}); the plan assumes ideal scaling"


def missing_of(known: DeviceProfile, shapes: Sequence[JointShape]) -> list[JointShape]:
    """The shapes that are measured now: those that ``known`` lacks, a few at most."""
    return [shape for shape in shapes if shape not in known.speedup_of][:_MOST_SHAPES]


def announced(shapes: Sequence[JointShape]) -> str:
    """Say what is about to be measured."""
    return (
        f"measuring the steps of {count_of(len(shapes), 'shape')} on several devices against one,"
        " some seconds each; saved for the next time"
    )


def alone_command(devices: int) -> list[str]:
    """The beginning of the command that starts a group of processes on this machine."""
    return [*LAUNCHER, "--standalone", f"--nproc-per-node={devices}"]


def measured(shape: JointShape, group: Sequence[str]) -> JointStep:
    """Measure ``shape`` in processes that ``group``, the beginning of a command, starts.

    Raises ``EngineError`` where that fails.
    """
    words = module_command("scaling_law.train.joint_speed", json.dumps(to_json(shape)))
    done = subprocess.run(
        [*group, "--max-restarts=0", "--no-python", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env=worker_environment(),
    )
    try:
        # libraries of a site may print lines of their own before
        said = json.loads(done.stdout.strip().rpartition("\n")[2])
        return JointStep(shape=shape, speedup=float(said["speedup"]))
    except (ValueError, KeyError, TypeError):
        said_why = [line for line in done.stderr.splitlines() if line.startswith("slaw: ")]
        raise EngineError(
            said_why[0].removeprefix("slaw: ") if said_why else "no message"
        ) from None


def all_measured(
    shapes: Iterable[JointShape], group_of: Callable[[int], Sequence[str]]
) -> tuple[list[JointStep], str]:
    """The steps of ``shapes`` up to the first that cannot be measured, and why not ("" for none).

    ``group_of`` gives, for a number of devices, what ``measured`` takes.
    """
    steps: list[JointStep] = []
    try:
        for shape in shapes:
            steps.append(measured(shape, group_of(shape.parallel.devices)))
    except EngineError as problem:
        return steps, str(problem)
    return steps, ""


def say_results(steps: Sequence[JointStep], why: str, say: Say) -> None:
    """Say what a user should know of the measurement: that it failed, or was bounded."""
    for step in steps:
        if step.is_bounded:
            say(f"{step}: more was measured, as on a busy machine; it is measured again where the"
                " calibration's file is deleted")  # fmt: skip
    if why:
        say(_NOT_MEASURED.format(why=why))


def with_steps(profile: DeviceProfile, steps: Sequence[JointStep]) -> DeviceProfile:
    """``profile`` with ``steps`` in the place of those of the same shapes."""
    shapes = {step.shape for step in steps}
    others = [step for step in profile.joint_steps if step.shape not in shapes]
    return dataclasses.replace(profile, joint_steps=(*others, *steps)[-_MOST_STEPS:])


def main(arguments: list[str]) -> int:
    """Exit code: 0, or 5 with the reason as the last line of standard error."""
    shapes = [joint_shape_from_json(one) for one in json.loads(Path(arguments[0]).read_text())]
    try:
        for shape in shapes:
            step = measured(shape, group_command(shape.parallel.devices))
            print(json.dumps(to_json(step)), flush=True)
    except SlawError as problem:
        print(problem, file=sys.stderr)
        return EngineError.exit_code
    return 0


def read(text: str) -> list[JointStep]:
    """The steps that ``main`` has written."""
    return [joint_step_from_json(json.loads(line)) for line in text.splitlines()]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
