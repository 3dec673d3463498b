"""Which runs' final weights a plan saves."""

from __future__ import annotations

import pytest

from scaling_law.plan import weights
from scaling_law.plan.make import make_plan
from scaling_law.plan.plan import Plan
from scaling_law.plan.weights import saved_weights_text, with_saved_weights
from scaling_law.spec.counts import count_params
from tests.fakes import cpu_profile, small_config


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan(small_config(), cpu_profile(), train_tokens=10**7)


def kept(plan: Plan) -> list[str]:
    return [run.spec.label for run in plan.runs if run.resources.keep_weights]


def test_weights_of_all_annealed_runs_are_saved_while_small(plan, monkeypatch):
    annealed = [run for run in plan.runs if run.spec.kind != "trunk"]
    size = 4 * sum(count_params(run.spec.model).total for run in annealed)
    for policy in ("auto", "all"):
        saved_plan = with_saved_weights(plan, policy)
        assert kept(saved_plan) == [run.spec.label for run in annealed]
        assert saved_plan.disk_bytes == plan.disk_bytes + size
        assert [run.run_id for run in saved_plan.runs] == [run.run_id for run in plan.runs]
        assert "of 6 annealed runs saved" in saved_weights_text(saved_plan)
    monkeypatch.setattr(weights, "LITTLE_BYTES", size - 1)
    largest = max(annealed, key=lambda run: run.flops_alone).spec.label
    assert kept(with_saved_weights(plan, "auto")) == [largest]
    assert len(kept(with_saved_weights(plan, "all"))) == 6


def test_only_the_largest_or_none_are_saved(plan):
    (one,) = kept(with_saved_weights(plan, "largest"))
    assert one.startswith("2x16") and one.endswith("h8K")
    assert one in saved_weights_text(with_saved_weights(plan, "largest"))
    assert with_saved_weights(plan, "none") == plan
    assert "none saved" in saved_weights_text(plan)
