"""Which runs a plan compiles."""

from __future__ import annotations

import dataclasses

import pytest

from scaling_law.plan.compiling import LEAST_SECONDS, compiled_words, with_compiled
from scaling_law.plan.make import make_plan
from scaling_law.plan.plan import Plan
from scaling_law.plan.table import render_plan
from tests.fakes import cpu_profile, small_config


def plan_for(kind: str, seconds: float) -> Plan:
    """A plan whose first run is stacked, and all take ``seconds``."""
    plan = make_plan(small_config(), cpu_profile(), train_tokens=10**7)
    runs = [dataclasses.replace(run, seconds=seconds) for run in plan.runs]
    stacked = dataclasses.replace(runs[0].resources, stack="s")
    runs[0] = dataclasses.replace(runs[0], resources=stacked)
    return dataclasses.replace(plan, device_kind=kind, runs=tuple(runs))


def test_long_unstacked_runs_on_cuda_are_compiled_and_the_plan_says_so():
    plan = plan_for("cuda", LEAST_SECONDS)
    compiled_plan = with_compiled(plan, "auto")
    assert [run.resources.compiled for run in compiled_plan.runs] == [False] + [True] * (
        len(plan.runs) - 1
    )
    assert [run.run_id for run in compiled_plan.runs] == [run.run_id for run in plan.runs]
    (line,) = compiled_words(compiled_plan)
    assert line.startswith(f"compile: {len(plan.runs) - 1} of {len(plan.runs)} runs")
    assert line in render_plan(compiled_plan)


@pytest.mark.parametrize(
    ("kind", "seconds", "policy"),
    [
        ("cuda", LEAST_SECONDS - 1, "auto"),
        ("cuda", LEAST_SECONDS, "off"),
        ("cpu", LEAST_SECONDS, "auto"),
        ("mps", LEAST_SECONDS, "auto"),
    ],
)
def test_short_runs_other_devices_and_default_plans_are_not_compiled(kind, seconds, policy):
    plan = plan_for(kind, seconds)
    assert with_compiled(plan, policy) == plan
    assert compiled_words(plan) == []
