"""The best learning rate of cells with planted minima, at edges, with divergence and noise."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from scaling_law.experiment.tuning import (
    STATED,
    Cell,
    Optimum,
    Trial,
    Tuning,
    best_batches,
    tuned,
)
from scaling_law.experiment.warmups import Warmup
from tests.fakes import tiny_model

RATES = (0.005, 0.01, 0.02, 0.04)


def cell(**changes) -> Cell:
    fields = {
        "size": "tiny",
        "model": tiny_model(),
        "tokens": 1000,
        "batch_tokens": 64,
        "weight_decay": 0.1,
    }
    return Cell(**{**fields, **changes})


def trials(
    best: float,
    rates: Sequence[float] = RATES,
    *,
    level: float = 4.0,
    seeds: Sequence[int] = (0,),
    noise: Callable[[], float] = lambda: 0.0,
    diverges_from: float = math.inf,
    where: Cell | None = None,
) -> list[Trial]:
    """Runs on a parabola of curvature .05, seeds .5% apart."""
    return [
        Trial(
            cell=where or cell(),
            lr=rate,
            seed=seed,
            loss=None
            if rate >= diverges_from
            else level * math.exp(0.05 * math.log(rate / best) ** 2 + 0.005 * seed + noise()),
        )
        for seed in seeds
        for rate in rates
    ]


def only(tuning: Tuning) -> Optimum:
    (best,) = tuning.optima
    return best


def test_a_cell_has_the_warm_ups_of_its_runs_where_all_are_known():
    known = [dataclasses.replace(one, warmup_steps=5) for one in trials(0.013)]
    assert only(tuned(known)).warmups == {Warmup(5, 1000 // 64)}
    assert only(tuned([*known[1:], *trials(0.013)[:1]])).warmups == frozenset()


def test_a_planted_minimum_is_found_between_the_rates():
    best = only(tuned(trials(0.013)))
    assert best.lr == pytest.approx(0.013) and best.loss == pytest.approx(4.0)
    assert not best.edge and not best.why and best.lowest == 0.01
    assert best.excess(0.026) == pytest.approx(math.expm1(0.05 * math.log(2) ** 2))
    assert best.interval is not None and best.interval[0] < 0.013 < best.interval[1]


def test_intervals_hold_the_minimum_about_as_often_as_they_say():
    """Also where a loss rises more steeply towards low rates, which one cell alone cannot tell."""
    rng = np.random.default_rng(0)

    def loss(rate: float, best: float) -> float:
        away = 1.2 * math.log(rate / best)
        return 4 * math.exp(0.0236 * (math.exp(-away) - 1 + away) + 0.003 * rng.standard_normal())

    held, cells = 0, 0
    for _ in range(15):
        planted = {tokens: 0.013 * math.exp(rng.uniform(-0.35, 0.35)) for tokens in range(1, 10)}
        several = [
            Trial(cell=cell(tokens=tokens), lr=rate, seed=0, loss=loss(rate, best))
            for tokens, best in planted.items()
            for rate in (0.0025, *RATES, 0.08)
        ]
        for best in tuned(several).bounded:
            assert best.interval is not None
            cells += 1
            held += best.interval[0] <= planted[best.cell.tokens] <= best.interval[1]
    assert cells > 120 and 0.8 <= held / cells <= 0.97


def test_sizes_with_one_cell_each_share_a_skew_where_they_are_alike():
    """Five rates of one cell do not tell a skew from noise; those of eight sizes do."""
    several = [
        trial
        for place in range(8)
        for trial in trials(0.013, (0.0025, *RATES), where=cell(size=f"size{place}"))
    ]
    skewed = [
        dataclasses.replace(one, loss=(one.loss or 0) * math.exp(-0.01 * away**3))
        for one in several
        for away in (math.log(one.lr / 0.013),)
    ]
    apart, together = tuned(skewed), tuned(skewed, lambda one: (one.recipe, ""))
    # the scatter stays each size's own, and five rates of one cell do not measure it
    assert apart.scatter_by_size == together.scatter_by_size == {}
    assert {best.skew for best in apart.optima} == {0.0}
    for best in together.optima:
        assert best.skew == pytest.approx(-0.01) and best.lr == pytest.approx(0.013)


def test_the_interpolated_loss_has_the_error_of_few_seeds():
    rng = np.random.default_rng(1)
    several = trials(0.013, seeds=(0, 1, 2), noise=lambda: 0.001 * rng.standard_normal())
    tuning = tuned(several)
    best = only(tuning)
    assert tuning.scatter != STATED and tuning.repeats == 2
    # two repeats are pooled with the stated noise
    stated, own = 8 * 0.0021**2, 2 * 0.005**2
    assert tuning.noise.deviation == pytest.approx(math.sqrt((stated + own) / 10), rel=0.1)
    assert "stated (with 2 repeats here)" in tuning.noise_text
    assert best.loss == pytest.approx(4.0 * math.exp(0.005), rel=0.003)
    assert best.error == pytest.approx(4.0 * tuning.noise.deviation / math.sqrt(3), rel=0.1)
    # seeds in pairs: their differences are without the noise of a mean
    assert best.levels[2] - best.levels[1] == pytest.approx(0.005, abs=0.002)


def test_a_seed_that_was_trained_at_few_rates_tilts_nothing():
    one = trials(0.013) + trials(0.013, (0.02, 0.04), seeds=(4,))
    assert only(tuned(one)).lr == pytest.approx(0.013)


@pytest.mark.parametrize(
    ("best", "edge", "why"),
    [
        (0.001, "low", "the lowest loss is at the low edge, 0.005; try lower learning rates"),
        (0.2, "high", "the lowest loss is at the high edge, 0.04; try higher learning rates"),
    ],
)
def test_an_edge_is_no_minimum(best, edge, why):
    seen = only(tuned(trials(best)))
    assert seen.edge == edge and seen.why == why
    assert seen.lr is None and seen.loss is None and seen.factor == math.inf


def test_rates_that_diverge_are_named():
    seen = only(tuned(trials(0.2, diverges_from=0.04)))
    assert seen.edge == "high" and seen.lowest == 0.02 and seen.diverged == (0.04,)
    assert "0.02, the highest learning rate that does not diverge (0.04 does)" in seen.why
    nothing = only(tuned(trials(0.01, diverges_from=0)))
    assert nothing.lowest is None and "all of its 4 runs diverged" in nothing.why
    # one that diverges beyond a minimum costs the cell nothing
    assert only(tuned(trials(0.01, diverges_from=0.04))).lr == pytest.approx(0.01)


def test_too_few_rates_are_no_parabola():
    assert (
        "2 learning rates with a loss, and a parabola needs 3"
        in only(tuned(trials(0.01, (0.01, 0.02)))).why
    )


def test_each_size_has_its_own_scatter():
    rng = np.random.default_rng(0)

    def sized(size: str, deviation: float) -> list[Trial]:
        return [
            trial
            for tokens in range(8)
            for trial in trials(
                0.013,
                seeds=(0, 1),
                noise=lambda: deviation * rng.standard_normal(),
                where=cell(size=size, tokens=tokens),
            )
        ]

    tuning = tuned(sized("small", 0.01) + sized("large", 0.0005))
    deviations = {size: one.deviation for (_, size), one in tuning.scatter_by_size.items()}
    assert deviations == {
        "small": pytest.approx(0.01, rel=0.4),
        "large": pytest.approx(0.0005, rel=0.4),
    }
    factors = {best.cell.size: best.factor for best in tuning.bounded}
    assert factors["large"] < 1.1 < factors["small"]
    assert "by size" in tuning.noise_text


def test_noise_that_cannot_be_measured_is_stated():
    tuning = tuned(trials(0.013, (0.005, 0.01, 0.02)))
    assert tuning.scatter == STATED and tuning.noise == STATED
    assert "stated: too few rates" in tuning.noise_text
    assert "stated (no repeats)" in tuning.noise_text


def test_many_repeats_speak_for_themselves():
    """Horizons of one trunk share its noise and count once."""
    several = [
        trial
        for tokens in (1000, 2000)
        for trial in trials(0.013, seeds=range(10), where=cell(tokens=tokens))
    ]
    tuning = tuned(several)
    assert tuning.repeats == 9
    assert tuning.noise.deviation == pytest.approx(0.005 * math.sqrt(110 / 12), rel=1e-6)


def test_noise_may_be_too_large_to_bound_a_minimum():
    rng = np.random.default_rng(0)
    several = [
        trial
        for tokens in range(20)
        for trial in trials(
            0.013, noise=lambda: 0.05 * rng.standard_normal(), where=cell(tokens=tokens)
        )
    ]
    unbounded = [best for best in tuned(several).optima if best.lr and best.interval is None]
    assert unbounded
    assert {best.why for best in unbounded} == {
        "the noise is too large to bound its best learning rate; add seeds"
    }


def test_cells_of_several_recipes_stay_apart():
    both = trials(0.01, where=cell(recipe="lion")) + trials(0.02, where=cell(recipe="adamw"))
    best = {one.cell.recipe: one.lr for one in tuned(both).optima}
    assert best == {"adamw": pytest.approx(0.02), "lion": pytest.approx(0.01)}


def batch_trials(best: float, tokens: int = 1000) -> list[Trial]:
    """Four batches, the loss of each above the best one's."""
    return [
        trial
        for batch in (32, 64, 128, 256)
        for trial in trials(
            0.013,
            level=4 * math.exp(0.02 * math.log(batch / best) ** 2),
            where=cell(batch_tokens=batch, tokens=tokens + batch // 32),
        )
    ]


def test_the_best_batch_lies_between_those_tried_or_at_an_edge():
    (inside,) = best_batches(tuned(batch_trials(90)).optima)
    assert not inside.edge and inside.batch_tokens == pytest.approx(90, rel=1e-6)
    assert inside.excess(64) == 0 and inside.excess(512) is None
    assert inside.excess(256) == pytest.approx(math.expm1(0.02 * 1.092 - 0.0023), rel=0.05)
    (low,) = best_batches(tuned(batch_trials(16)).optima)
    assert low.edge == "low" and low.batch_tokens == 32
    # horizons that differ by whole steps of the batch are one, others are not
    several = best_batches(tuned(batch_trials(90) + batch_trials(90, 3000)).optima)
    assert [len(one.cells) for one in several] == [4, 4]
    assert best_batches(tuned(trials(0.01)).optima) == []


def test_a_rate_where_the_skew_bends_the_curve_down_costs_no_less_than_before():
    best = only(tuned(trials(0.012)))
    skewed = dataclasses.replace(best, skew=-0.02)  # it turns at exp(0.1 / 0.06) of the best rate
    assert best.lr is not None
    costs = [skewed.excess(times * best.lr) for times in (2, 4, 5.5, 8, 64)]
    assert costs == sorted(costs) and costs[-1] == costs[-2]
    # towards low rates it rises all the way
    assert skewed.excess(best.lr / 8) > costs[-1]


def test_what_a_rate_costs_lies_between_the_ends_of_the_best_rates_interval():
    noise = np.random.default_rng(1)
    best = only(tuned(trials(0.012, seeds=(0, 1), noise=lambda: 0.002 * noise.normal())))
    assert best.interval is not None and best.lr is not None
    low, high = best.excess_between(0.04)
    assert 0 < low < best.excess(0.04) < high
    assert best.excess_between(best.lr)[0] == 0
