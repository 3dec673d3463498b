"""The speed of several devices over one's: by turns, and never above their number."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from scaling_law.plan.device_profile import profile_from_json
from scaling_law.plan.steps import JointShape, JointStep
from scaling_law.run.engines import _joint_steps
from scaling_law.spec.parallel import Parallel
from scaling_law.spec.to_json import to_json
from scaling_law.train import joint_speed
from scaling_law.train.group import Group
from tests.fakes import cpu_profile, tiny_model

SHAPE = JointShape(
    model=tiny_model(), seqs=4, precision="fp32", recompute=False, device="cpu",
    parallel=Parallel(kind="fsdp", devices=2),
)  # fmt: skip


class _OneOfTwo(Group):
    """The first process of two, which decides alone."""

    def any(self, flag: bool) -> bool:
        return flag


def speedup(*turns: tuple[float, float]) -> tuple[float, int]:
    """What is measured in these turns, and how many of them were taken."""
    left = list(turns)
    result = joint_speed.speedup_of(lambda: left.pop(0), _OneOfTwo(rank=0, size=2))
    return result, len(turns) - len(left)


def test_the_fastest_steps_of_both_count_whatever_turn_they_are_of():
    assert speedup((9.0, 6.0), (12.0, 5.0), (9.5, 6.0), (1.0, 1.0)) == (9 / 5, 3)


def test_a_machine_that_was_busy_for_one_alone_is_measured_again():
    turns = [(30.0, 5.0), (20.0, 5.0), (11.0, 5.0), (8.0, 5.0), (1.0, 1.0)]
    assert speedup(*turns) == (8 / 5, 4)


def test_several_devices_gain_at_most_their_number():
    assert speedup(*[(30.0, 5.0)] * 9) == (2.0, 6)
    bounded, below = (JointStep(shape=SHAPE, speedup=number) for number in (2.0, 1.5))
    assert str(bounded).endswith("2.00x one device, the bound") and str(below).endswith("device")
    earlier = cpu_profile(joint_steps=(JointStep(shape=SHAPE, speedup=2.5),))
    assert profile_from_json(to_json(earlier)).speedup_of == {SHAPE: 2.0}
    said: list[str] = []
    _joint_steps.say_results([bounded, below], "", said.append)
    assert len(said) == 1 and "the bound: more was measured, as on a busy machine" in said[0]


@pytest.mark.parametrize(
    ("group", "why"),
    [
        (["bash", "-c", "echo 'slaw: no memory' >&2; echo other >&2; exit 1"], "no memory"),
        (["bash", "-c", "echo a line of the site"], "no message"),
    ],
)
def test_a_measurement_that_fails_is_said_in_a_line(group, why):
    steps, said = _joint_steps.all_measured([SHAPE, SHAPE], lambda devices: group)
    assert (steps, said) == ([], why)
    lines: list[str] = []
    _joint_steps.say_results(steps, said, lines.append)
    assert lines == [f"they could not be measured ({why}); the plan assumes ideal scaling"]


def test_what_was_measured_before_a_failure_stays():
    good = ["bash", "-c", "echo a line of the site; echo '{\"speedup\": 1.5}'"]
    shapes = iter([good, ["false"]])
    steps, why = _joint_steps.all_measured([SHAPE, SHAPE], lambda devices: next(shapes))
    assert steps == [JointStep(shape=SHAPE, speedup=1.5)] and why == "no message"
    text = "".join(f"{json.dumps(to_json(step))}\n" for step in steps)
    assert _joint_steps.read(text) == steps
    assert _joint_steps.with_steps(cpu_profile(), steps).speedup_of == {SHAPE: 1.5}


@pytest.mark.slow
def test_two_processes_are_measured_where_they_run(tmp_path):
    asked = tmp_path / "shapes.json"
    asked.write_text(json.dumps([to_json(SHAPE)]))
    command = [sys.executable, "-m", "scaling_law.run.engines._joint_steps", str(asked)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (step,) = _joint_steps.read(done.stdout)
    assert step.shape == SHAPE and 0 < step.speedup <= 2
