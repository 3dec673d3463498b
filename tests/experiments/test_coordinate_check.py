"""The coordinate check on planted changes, and what is shown of best learning rates by size."""

from __future__ import annotations

import dataclasses

import pytest

from scaling_law.experiment.coordinate_check import MOVED, STREAM, Checks
from scaling_law.experiment.evidence import Run
from scaling_law.experiment.power_law import PowerLaw
from scaling_law.experiment.rate_figures import rate_figure, rate_table
from scaling_law.experiment.rates_by_size import Rates
from scaling_law.experiment.tuning import trials_of, tuned
from tests.experiments.test_contract import planted_evidence


@pytest.fixture(scope="module")
def runs() -> tuple[Run, ...]:
    return planted_evidence("mup").ended


def moved_by(run: Run, change: float) -> Run:
    """The run whose activations have all moved by as much."""
    metrics = {moved.metric(run.spec.model): change for moved in MOVED}
    return dataclasses.replace(run, record=dataclasses.replace(run.record, metrics=metrics))


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_the_exponent_of_a_planted_change_is_found(runs, power):
    planted = {
        width: [moved_by(run, 3 * width**power * (1 + 0.01 * seed)) for seed, run in
                enumerate(runs[:2])]
        for width in (32.0, 64.0, 128.0, 256.0)
    }  # fmt: skip
    law = Checks(planted).law(STREAM)
    assert isinstance(law, PowerLaw)
    assert law.exponent == pytest.approx(power, abs=0.001)


def test_a_run_without_the_probe_gives_no_value(runs):
    bare = dataclasses.replace(runs[0], record=dataclasses.replace(runs[0].record, metrics={}))
    checks = Checks({32.0: [bare, moved_by(runs[0], 2.0)]})
    assert checks.values(STREAM) == {32.0: [2.0]}
    assert isinstance(checks.law(STREAM), str)


def test_rates_are_listed_and_drawn_by_size(runs):
    tuning = tuned(
        trials_of([run for run in runs if run.spec.model.parametrisation is None],
                  lambda run: "standard"),
        lambda cell: (cell.recipe, ""),
    )  # fmt: skip
    optima = {float(best.cell.params): best for best in tuning.optima}
    rates = {"plain": Rates(dict(sorted(optima.items())))}
    table = rate_table(rates, "size")
    assert table is not None and len(table.rows) == len(optima) > 2
    assert table.head[1] == "size" and table.rows[0][0] == "plain"
    first = min(optima)
    assert table.rows[0][2] == f"{optima[first].lr:.3g}"
    drawn = rate_figure(rates, "size")
    assert drawn is not None and drawn.name == "rates_by_size"
    (panel,) = drawn.panels
    assert panel.title == "plain" and len(panel.series) == len(optima) + 1
    minima = panel.series[-1]
    assert minima.points[0] == (optima[first].lr, optima[first].loss)


def test_without_rates_there_is_no_table_and_no_figure():
    assert rate_table({"plain": Rates({})}, "size") is None
    assert rate_figure({"plain": Rates({})}, "size") is None
