"""The experiments: their grids are their rules', and they find what was planted."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
import re
import sys
from pathlib import Path

import pytest

from scaling_law.config.load import load_config
from scaling_law.errors import ConfigError
from scaling_law.plan.plan import make_plan
from scaling_law.spec.counts import count_params, flops_per_token
from tests.fakes import cpu_profile, record_of

FOLDER = Path(__file__).parents[2] / "experiments"


@pytest.fixture(scope="module")
def allocation():
    spec = importlib.util.spec_from_file_location("allocation", FOLDER / "allocation.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["allocation"] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["allocation"]


@pytest.fixture(scope="module")
def records(allocation):
    """The sweep's records with the reference law's losses, seeds .1% apart."""
    config = load_config(FOLDER / "allocation.yaml", device_kind="cpu")
    plan = make_plan(config, cpu_profile(), train_tokens=16_145_896)
    found = []
    for run in plan.runs:
        blank = record_of(run.spec)
        loss = allocation.predicted(run.spec.model.dimensions["d_model"], blank.flops_exact)
        seed = 0.001 * (run.spec.seed - 1)
        found.append(dataclasses.replace(blank, val_loss_nats=math.exp(loss + seed)))
    return found


def test_the_grid_is_the_rules(allocation):
    text = (FOLDER / "allocation.yaml").read_text()
    written = re.search(r"^grid:\n(?:  - .*\n)+", text, re.M)
    assert written and written[0].strip() == allocation.grid()


def test_the_rules_are_the_papers(allocation):
    for flops in allocation.BUDGETS:
        shape = allocation.model(allocation.chinchilla(flops))
        ratio = flops / flops_per_token(shape) / count_params(shape).total
        assert ratio == pytest.approx(20, rel=0.25)  # widths come in steps
        own = count_params(allocation.model(allocation.kaplan(flops))).non_embedding
        assert own == pytest.approx(1.3e9 * (flops / 8.64e19) ** 0.73, rel=0.9)
    # five times the size for ten times the compute, so more than ours and Chinchilla's
    sizes = [count_params(allocation.model(allocation.kaplan_slope(f))) for f in (1e11, 1e13)]
    assert sizes[1].non_embedding / sizes[0].non_embedding == pytest.approx(100**0.73, rel=0.2)


def test_it_finds_who_won_against_the_noise(allocation, records):
    rows, noise = allocation.analyse(records)
    assert 0.001 < noise < 0.0022  # planted here, and the reference sweep's
    for row in rows:
        assert row.excess == pytest.approx(row.expected, abs=1.5e-3)
    best = {row.flops: row.rule for row in rows if row.excess == 0}
    assert set(best.values()) == {"ours"}
    told = allocation.text(rows, noise)
    assert "Kaplan's own constants" in told and "beyond the noise" in told
    assert len(rows) == 11


def test_what_is_not_there_is_said(allocation, records):
    with pytest.raises(ConfigError, match="expected finished runs"):
        allocation.analyse(records[:1])
    part = [record for record in records if record.flops_exact < 5e11]
    rows, noise = allocation.analyse(part)
    assert "4.8e+12 FLOPs: not finished" in allocation.text(rows, noise)
