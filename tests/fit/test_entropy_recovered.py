"""A sweep on text of known entropy: the fitted irreducible loss is the true one."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from scaling_law.data.sources import synthetic
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import load_records
from scaling_law.fit.approaches.parametric import fit_law
from scaling_law.fit.points.points import points_from_records

REFERENCE = Path(__file__).parents[2] / "results" / "reference" / "entropy-cpu"


@pytest.fixture(scope="module")
def records():
    return load_records(SweepDir(REFERENCE))


@pytest.fixture(scope="module")
def floor(records):
    """What no model of these runs can score below, in nats per token."""
    [spec] = {(r.spec.data.corpus_part, r.spec.model.n_ctx) for r in records}
    part, n_ctx = spec
    return synthetic.floor_nats(part.settings_as(synthetic.Settings).order, n_ctx)


@pytest.mark.parametrize("law", ["chinchilla", "skaling"])
def test_the_interval_of_the_irreducible_loss_holds_the_entropy(records, floor, law):
    fit = fit_law(points_from_records(records), law, resamples=200)
    low, high = fit.intervals["E"]
    assert low < floor < high
    assert high - low < 0.12, "an interval this wide would hold anything"
    assert fit.params["E"] == pytest.approx(floor, rel=0.02)


def test_bits_per_byte_approach_the_entropy_rate_from_above(records, floor):
    ends = [r for r in records if r.kind != "trunk"]
    best = min(ends, key=lambda r: r.val_loss_nats)
    # one token is one byte; the validation text is a sample, with an error of its own
    for run in ends:
        assert run.val_loss_nats > floor - 2 * run.val_loss_sem_nats
    assert best.val_loss_nats / math.log(2) == pytest.approx(floor / math.log(2), rel=0.01)
    assert best.params_matmul == max(r.params_matmul for r in ends)
