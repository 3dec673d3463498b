"""The grid of ``allocation`` follows its rules, and its constants those of the reference sweep."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scaling_law import parts
from scaling_law.experiment.analysis import analysed
from scaling_law.experiment.seeds import pooled_noise
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import load_records
from scaling_law.fit.approaches.parametric import fit_law
from scaling_law.fit.points.dataset import gather_fit_data
from scaling_law.spec.counts import count_params, flops_per_token

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "results" / "reference"


@pytest.fixture(scope="module")
def allocation():
    return parts.module_of("experiment", "allocation")


def test_the_grid_matches_the_rules(allocation):
    text = (ROOT / "experiments" / "allocation.yaml").read_text()
    written = re.search(r"^grid:\n(?:  - .*\n)+", text, re.M)
    assert written and written[0].strip() == allocation.grid()


def test_the_rules_match_the_papers(allocation):
    for flops in allocation.BUDGETS:
        shape = allocation.model(allocation.chinchilla(flops))
        ratio = flops / flops_per_token(shape) / count_params(shape).total
        assert ratio == pytest.approx(20, rel=0.25)  # widths come in steps
        own = count_params(allocation.model(allocation.kaplan(flops))).non_embedding
        assert own == pytest.approx(1.3e9 * (flops / 8.64e19) ** 0.73, rel=0.9)
    # five times the size for ten times the compute, so more than ours and Chinchilla's
    sizes = [count_params(allocation.model(allocation.kaplan_slope(f))) for f in (1e11, 1e13)]
    assert sizes[1].non_embedding / sizes[0].non_embedding == pytest.approx(100**0.73, rel=0.2)


def test_the_planted_law_and_noise_match_the_reference_sweep(allocation):
    fit = fit_law(gather_fit_data([REFERENCE / "quick-cpu"]).points, "coupled", resamples=0)
    assert fit.params == pytest.approx(allocation.LAW, rel=1e-6)
    groups: dict[tuple[int, int], list[float]] = {}
    for record in load_records(SweepDir(REFERENCE / "quick-cpu")):
        if record.kind != "trunk" and record.val_loss_nats is not None:
            key = (record.params_total, record.tokens)
            groups.setdefault(key, []).append(allocation.math.log(record.val_loss_nats))
    noise = pooled_noise(groups.values())
    assert noise.squares == pytest.approx(allocation.REPEATS.squares)
    assert noise.freedom == allocation.REPEATS.freedom


def test_the_readme_quotes_the_reference_sweep():
    result = analysed(SweepDir(REFERENCE / "allocation-cpu"))
    assert result is not None
    measures = result.findings.measures
    assert measures["seed_noise"] == pytest.approx(0.0026636, rel=1e-4)
    assert measures["excess.ours.1.2e12"] == pytest.approx(0.0020257, rel=1e-4)
    assert measures["excess.chinchilla.3e11"] == pytest.approx(0.0107186, rel=1e-4)
    assert measures["excess.kaplan.1.2e12"] == pytest.approx(0.1533008, rel=1e-4)
    assert [claim.established for claim in result.findings.claims] == [True, True, True]
    assert not result.evidence.missing
