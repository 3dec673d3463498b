"""All budgets together: planted exponents, intervals that hold, and what is refused."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from scaling_law.fit.approaches.isoflop import fit_isoflop, group_cells, prepare
from scaling_law.fit.approaches.isoflop_joint import _Curves, fit_joint
from scaling_law.fit.points.points import FitPoints

BUDGETS = 16e9 * 2.0 ** np.arange(5)
MIDDLE = math.exp(np.log(BUDGETS).mean())
BEST = 2e4  # parameters at the middle budget


def planted(
    alpha: float,
    beta: float,
    *,
    noise: float = 0.0,
    seeds: int = 1,
    shift: float = 1.0,
    reach: float = 8.0,
    rng: np.random.Generator | None = None,
) -> FitPoints:
    """Chinchilla's law with a = beta / (alpha + beta); sizes within ``reach`` of each optimum.

    ``noise`` is a share of the loss: of a trunk as a whole, and half as much of each point.
    ``shift`` moves all sizes by a factor.
    """
    rng = rng or np.random.default_rng(0)
    a = beta / (alpha + beta)
    rows = []
    for params in BEST * shift * np.geomspace(30**-0.5, 30**0.5, 7):
        for seed in range(seeds):
            trunk, drift = rng.normal(0, noise), rng.normal(0, noise / 2)
            for place, flops in enumerate(BUDGETS):
                if not 1 / reach < params / (BEST * (flops / MIDDLE) ** a) < reach:
                    continue
                tokens = flops / 6 / params
                law = 2 + 2.5 / (alpha + beta) * (
                    beta * (params / BEST) ** -alpha + alpha * (tokens * 6 * BEST / MIDDLE) ** -beta
                )
                own = trunk + drift * (place - 2) / 2 + rng.normal(0, noise / 2)
                rows.append((params, tokens, flops, law * (1 + own), f"{params:g}-{seed}", seed))
    params, tokens, flops, loss, cluster, seed_of = zip(*rows, strict=True)
    return FitPoints(
        params=np.array(params),
        tokens=np.array(tokens),
        flops=np.array(flops),
        loss_nats=np.array(loss),
        loss_sem_nats=np.full(len(rows), math.nan),
        tokens_unique=np.array(tokens),
        run_id=tuple(str(row) for row in range(len(rows))),
        cluster=cluster,
        size=tuple(f"{size:g}" for size in params),
        seed=seed_of,
        convention={},
    )


@pytest.mark.parametrize(("alpha", "beta"), [(0.4, 0.4), (0.3, 0.6), (0.6, 0.3)])
def test_a_planted_exponent_is_recovered_without_noise(alpha, beta):
    line = fit_joint(planted(alpha, beta))
    assert line.exponent == pytest.approx(beta / (alpha + beta), abs=0.006)
    assert line.misfit_nats < 0.002 and line.n_inside == len(line.budgets) == 5


@pytest.mark.parametrize(("alpha", "beta"), [(0.3, 0.6), (0.6, 0.3)])
def test_the_shape_is_the_expansion_of_the_planted_law(alpha, beta):
    points = planted(alpha, beta)
    cells = [prepare(points, rows, math.log(1.1 / 0.9))[0] for rows in group_cells(points, 0.1)[0]]
    line, _ = _Curves.of(cells).settled()
    assert line[2] == pytest.approx(alpha * beta / (alpha + beta), abs=0.005)
    assert line[3] == pytest.approx((beta - alpha) / 3, abs=0.005)


def test_sizes_on_one_side_of_most_optima_still_give_the_exponent():
    points = planted(0.4, 0.4, shift=4.0)
    assert sum(cell.usable for cell in fit_isoflop(points).cells) == 3
    line = fit_joint(points)
    assert line.n_inside == 3 and line.exponent == pytest.approx(0.5, abs=0.03)


@pytest.mark.slow
def test_noise_moves_all_budgets_together_less_than_their_minima():
    rng = np.random.default_rng(0)
    together, alone = [], []
    for _ in range(8):
        points = planted(0.4, 0.4, noise=0.005, seeds=2, rng=rng)
        together.append(half(points))
        low, high = fit_isoflop(points).lines["params"].interval or (math.nan, math.nan)
        alone.append((high - low) / 2)
    assert np.median(together) < np.median(alone)


def moved(points: FitPoints, log_loss: np.ndarray) -> FitPoints:
    """The points with their log losses moved."""
    return dataclasses.replace(points, loss_nats=points.loss_nats * np.exp(log_loss))


def half(points: FitPoints) -> float:
    """Half the width of the interval of all budgets."""
    interval = fit_joint(points).interval
    assert interval is not None
    return (interval[1] - interval[0]) / 2


def test_a_skew_that_drifts_with_compute_leaves_the_exponent():
    plain = planted(0.4, 0.4)
    log = np.log(plain.flops / MIDDLE)
    u = np.log(plain.params / BEST) - 0.5 * log
    drifting = dataclasses.replace(plain, loss_nats=plain.loss_nats + 0.2 * 0.15 * log * u**3)
    assert fit_isoflop(drifting).lines["params"].exponent == pytest.approx(0.5, abs=0.01)
    line = fit_joint(drifting)
    assert line.exponent == pytest.approx(0.5, abs=0.02) and not line.skew_at_bound


def test_the_interval_holds_what_moves_a_size_at_every_seed():
    points = planted(0.4, 0.4, noise=0.0005, seeds=2)
    sizes = {name: place for place, name in enumerate(dict.fromkeys(points.size))}
    place = np.array([sizes[name] for name in points.size])
    by_size = np.array([3, -4, 2, 4, -3, -2, 3]) * 1e-3
    assert half(moved(points, by_size[place])) > 3 * half(points)


@pytest.mark.slow
def test_the_interval_holds_what_bends_the_line_of_optima():
    points = planted(0.4, 0.4, noise=0.0005, seeds=2)
    log = np.log(points.flops / MIDDLE)
    u = np.log(points.params / BEST) - 0.5 * log
    bent = 0.05 * np.where(np.abs(log) < 1, 0.4, -0.3) * u  # moves the optima of the middle up
    assert half(moved(points, bent)) > 2 * half(points)


def test_a_skew_at_its_bound_is_marked():
    points = planted(0.4, 0.4)
    log = np.log(points.flops / MIDDLE)
    u = np.log(points.params / BEST) - 0.5 * log
    steep = np.where(u > 0, 30 * u**2, 0.1 * u**2)
    assert fit_joint(dataclasses.replace(points, loss_nats=2 + steep)).skew_at_bound
    assert not fit_joint(points).skew_at_bound


@pytest.mark.slow
@pytest.mark.parametrize(("alpha", "beta"), [(0.4, 0.4), (0.3, 0.6), (0.6, 0.3)])
@pytest.mark.parametrize("seeds", [1, 2])
def test_four_in_five_intervals_at_least_hold_the_planted_exponent(alpha, beta, seeds):
    rng = np.random.default_rng(1)
    draws, held = 40, 0
    for _ in range(draws):
        interval = fit_joint(planted(alpha, beta, noise=0.004, seeds=seeds, rng=rng)).interval
        assert interval is not None
        held += interval[0] <= beta / (alpha + beta) <= interval[1]
    assert 0.8 * draws <= held


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        (planted(0.4, 0.4, reach=1.5), "budgets with 3 sizes"),
        (planted(0.4, 0.4, shift=6.0, reach=16.0), "have their optimum inside their sizes"),
    ],
)
def test_too_little_near_the_optima_is_refused(points, reason):
    line = fit_joint(points)
    assert line.exponent is None and reason in line.reason and "at least 3 needed" in line.reason


def test_a_curve_that_opens_downwards_is_refused():
    points = planted(0.4, 0.4)
    turned = FitPoints(**{**points.__dict__, "loss_nats": 12 - points.loss_nats})
    assert fit_joint(turned).exponent is None
