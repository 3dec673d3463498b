"""Published tables and what was concluded from them; skipped where the tables are not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scaling_law.fit.approaches.parametric import fit_law
from scaling_law.fit.checks.screen import screen
from scaling_law.fit.points.points import FitPoints
from scaling_law.fit.points.table import TableSettings, read_table
from scaling_law.fit.solver.solve import Objective

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no published tables in {DATA}")


def table(name: str, *where: str, **roles: str) -> FitPoints:
    settings = TableSettings(where=where, columns=roles, params_are="total")
    return read_table(DATA / f"{name}.csv", settings)


@pytest.fixture(scope="module")
def chinchilla() -> FitPoints:
    return table("chinchilla_epoch245", "epoch_excluded=0")


def test_the_published_optimum_and_errors(chinchilla):
    # Besiroglu 2024 with the objective converged: to 1e-8 relative, from every start
    fit = fit_law(chinchilla, "chinchilla", resamples=2000)
    assert len(chinchilla) == 240
    assert fit.objective == pytest.approx(1.0182740178e-3, rel=1e-8)
    assert fit.n_starts_agreeing == fit.n_starts
    published = {"A": 477.83, "B": 2143.4, "E": 1.81722, "alpha": 0.34731, "beta": 0.36717}
    for name, value in published.items():
        assert fit.params[name] == pytest.approx(value, rel=2e-5)
    errors = dict(zip(fit.params, np.std(np.array(fit.samples), axis=0), strict=True))
    expected = {"A": 124, "B": 1293, "E": 0.0257, "alpha": 0.0154, "beta": 0.0206}
    for name, value in expected.items():
        assert errors[name] == pytest.approx(value, rel=0.2)
    assert fit.optimum is not None
    assert fit.optimum.exponent == pytest.approx(0.5139, abs=2e-4)


def test_the_five_points_the_replication_left_out_are_found_as_odd():
    whole = table("chinchilla_epoch245")
    kept = screen(whole)
    assert 1 <= len(whole) - len(kept) <= 5
    odd = {name for name, _ in kept.dropped}
    published = read_table(
        DATA / "chinchilla_epoch245.csv",
        TableSettings(where=("epoch_excluded=1",), params_are="total"),
    )
    assert odd <= set(published.run_id)
    assert len(screen(table("chinchilla_epoch245", "epoch_excluded=0"))) == 240


def test_coupling_is_measured_below_one(chinchilla):
    # Videau 2026: k = 1 is Chinchilla's law; measured surfaces have k < 1
    for points in (chinchilla, table("olmo_ladder_c4")):
        fit = fit_law(points, "skaling")
        additive = fit_law(points, "chinchilla")
        assert fit.status == "converged" and fit.params["k"] < 1
        assert fit.objective < additive.objective
        assert fit.n_starts_agreeing == fit.n_starts


def test_repeats_lose_their_worth_as_published():
    # Muennighoff 2023: R_D* = 15.39 (repeats after which another is worth 1/e of new data)
    points = table("datablations_c4", "epochs<=60", unique_tokens="unique_tokens")
    squares = Objective(loss="mse_log")
    fit = fit_law(points, "muennighoff", objective=squares)
    assert fit.status == "converged"
    assert 8 < fit.params["R_D"] < 30
    assert fit.objective < 0.6 * fit_law(points, "chinchilla", objective=squares).objective


def test_over_training_keeps_the_exponent():
    # Gadre 2024: one exponent for both terms fits about as well as two
    points = table("overtrain_gadre104", "dataset=c4_original")
    one, two = (fit_law(points, name) for name in ("gadre", "chinchilla"))
    assert one.objective < 1.1 * two.objective


def test_flops_that_overflowed_are_dropped_by_name_or_ignored():
    found = table("gemstones_hot", flops="")
    assert len(found) > 200 and not found.dropped
    # the column as it is: rows with a negative count are named, never used
    settings = TableSettings(params_are="active")
    try:
        used = read_table(DATA / "gemstones_hot.csv", settings)
    except Exception as problem:
        assert "flops" in str(problem)
    else:
        assert (used.flops > 0).all()
        assert all("overflow" in reason for _, reason in used.dropped)
