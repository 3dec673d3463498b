"""A law's irreducible loss that text cannot have is named, for tables alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from scaling_law.fit.approaches.parametric import fit_law
from scaling_law.fit.checks.floor import floor_notes
from scaling_law.fit.points.points import FitPoints, points_from_arrays


def table(floor: float) -> FitPoints:
    """Six sizes by five horizons, with noise, above this irreducible loss."""
    params = np.repeat(1e7 * 4.0 ** np.arange(6), 5)
    tokens = np.tile(2e8 * 4.0 ** np.arange(5), 6)
    losses = floor + 100 * params**-0.35 + 200 * tokens**-0.3
    losses *= np.exp(0.002 * np.random.default_rng(0).standard_normal(30))
    return points_from_arrays(params, tokens, losses)


@pytest.mark.parametrize(("floor", "noted"), [(0.6, True), (1.7, False), (0.0, False)])
def test_an_irreducible_loss_below_that_of_text_is_noted(floor, noted):
    points = table(floor)
    notes = floor_notes(points, fit_law(points, "chinchilla", resamples=100))
    assert bool(notes) == noted
    assert all("bits or nats per byte" in note for note in notes)


def test_other_units_and_sweeps_may_have_any_irreducible_loss():
    points = table(0.6)
    fit = fit_law(points, "chinchilla", resamples=100)
    assert floor_notes(points, fit)
    per_byte = dataclasses.replace(
        points, convention={**points.convention, "loss": "nats per byte"}
    )
    assert not floor_notes(per_byte, fit)
    assert not floor_notes(dataclasses.replace(points, recipe=("",) * len(points)), fit)
    assert not floor_notes(points, None)
