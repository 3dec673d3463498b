"""What ``shape`` says of runs that do not support a claim."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.findings import Findings
from scaling_law.spec.model import ModelSpec
from tests.experiments.changed import findings_with, standing, with_loss
from tests.experiments.test_contract import experiment_of

NAME = "shape"


def changed(change: Callable[[Run, ModelSpec], float | None]) -> Findings:
    """The findings with every loss changed by a factor, None for a run that has not finished."""

    def one(run: Run) -> Run | None:
        assert isinstance(run.spec.model, ModelSpec)
        factor = change(run, run.spec.model)
        return None if factor is None else with_loss(run, lambda loss: factor * loss)

    return findings_with(NAME, one)


def test_a_widest_model_that_is_best_contradicts_that_width_costs():
    """The wider a model, the lower its loss."""
    findings = changed(lambda run, model: (model.d_model / model.n_layer) ** -0.05)
    claims = standing(findings)
    assert claims["width_costs"] is False and claims["depth_costs"] is True
    assert "at least a factor of" in findings.verdict
    assert "with heads nearest to 16" in findings.verdict
    (because,) = (claim.because for claim in findings.claims if claim.name == "width_costs")
    assert because == "aspect ratio 64 is itself the best, whichever seed is left out"
    assert findings.measures["best_aspect"] == pytest.approx(64)


def test_one_seed_or_no_run_claims_nothing():
    one = changed(lambda run, model: 1.0 if run.spec.seed == 0 else None)
    claims = standing(one)
    assert claims["depth_costs"] is None and claims["one_trend_without_embeddings"] is None
    none = experiment_of(NAME).analyse(Evidence(runs=()))
    assert set(standing(none).values()) == {None}
    assert none.verdict.startswith("Not established: no run has finished")


def test_heads_that_matter_are_not_said_to_matter_little():
    findings = changed(lambda run, model: 1.2 if model.n_head == 8 else 1.0)
    assert standing(findings)["head_size_matters_little"] is False
    assert standing(findings)["mlp_ratio_matters_little"] is True
    assert findings.measures["spread.head"] == pytest.approx(0.2, abs=0.01)


def test_a_shape_without_a_best_rate_leaves_the_basin_open():
    """The losses of the deepest model fall with the rate as far as it was tried."""

    def falling(run: Run, model: ModelSpec) -> float:
        deep = model.n_layer == 22
        return (run.spec.optim.overrides.lr_mult or 1.0) ** -0.2 if deep else 1.0

    findings = changed(falling)
    claim = next(c for c in findings.claims if c.name == "depth_costs")
    assert claim.established is None and "22x14" in claim.because


def test_a_law_of_all_parameters_is_found():
    """A loss that goes with all parameters scatters less when all are counted."""
    from scaling_law.spec.counts import count_params

    def by_total(run: Run, model: ModelSpec) -> float:
        counts = count_params(model)
        aspect = math.log(model.d_model / model.n_layer / 6 * (49e3 / counts.non_embedding) ** 0.5)
        shape = math.exp(-0.006 * aspect**2)
        return shape * counts.non_embedding**0.1 * counts.total**-0.1

    findings = changed(by_total)
    assert standing(findings)["one_trend_without_embeddings"] is False
    assert findings.measures["exponent.total"] == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize(("widest", "known"), [((0.0, 0.0, 0.0), True), ((0.0, 0.02, 0.035), None)])
def test_a_basin_that_holds_every_shape_is_judged_by_its_ends(widest, known):
    """Every seed's basin ends with the shapes: equal values say nothing of their error."""

    def flat(run: Run, model: ModelSpec) -> float:
        aspect = math.log(model.d_model / model.n_layer / 6)
        return math.exp(-0.006 * aspect**2) * (
            1 + widest[run.spec.seed] if model.n_layer == 1 else 1
        )

    findings = changed(flat)
    (claim,) = (one for one in findings.claims if one.name == "kaplans_basin")
    assert claim.established is known and "whose ends are up to" in claim.because
