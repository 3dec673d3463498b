"""The law of the best learning rate on planted cells: its exponents, its checks, its limits."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from scaling_law import parts
from scaling_law.experiment.lr_law import (
    HELD_OUT_WITHIN,
    LrLaw,
    fit_lr_law,
    power_lines,
    published_rates,
)
from scaling_law.experiment.lr_rule import (
    BatchChoice,
    DecayChoice,
    largest_free_batch,
    rule_source,
)
from scaling_law.experiment.tuning import Optimum, best_batches, tuned
from scaling_law.parts import NoSettings
from scaling_law.spec.hyperparams import Rule, Sizing
from tests.experiments.test_tuning import batch_trials, cell, trials
from tests.fakes import tiny_model

WIDTHS, TOKENS, BATCHES = (8, 16, 32), (1000, 2000, 4000), (32, 64)


def optimum(
    width: int, tokens: int, batch: int, lr: float, factor: float = 1.1, decay: float = 0.1
) -> Optimum:
    model = tiny_model(d_model=width, d_ff=4 * width)
    where = cell(
        size=f"w{width}", model=model, tokens=tokens, batch_tokens=batch, weight_decay=decay
    )
    return Optimum(
        cell=where,
        trials=(),
        lowest=lr,
        lr=lr,
        interval=(lr / math.sqrt(factor), lr * math.sqrt(factor)),
        loss=4.0,
        error=0.01,
    )


def params_of(width: int) -> int:
    return optimum(width, 1000, 32, 1.0).cell.params


def optima(*, bend: float = 1.0, noise: float = 0.0, widths=WIDTHS, tokens=TOKENS, batches=BATCHES):
    """Cells on N^-.4 D^-.2 B^.5; the largest size is off by a factor of ``bend``."""
    rng = np.random.default_rng(0)
    cells = []
    for width in widths:
        for horizon in tokens:
            for batch in batches:
                lr = params_of(width) ** -0.4 * horizon**-0.2 * batch**0.5
                lr *= math.exp(noise * rng.standard_normal())
                lr *= bend if width == max(widths) else 1
                cells.append(optimum(width, horizon, batch, lr))
    return cells


def law_of(cells) -> LrLaw:
    law = fit_lr_law(cells)
    assert isinstance(law, LrLaw)
    return law


def test_planted_exponents_are_recovered():
    law = law_of(optima())
    assert law.exponents == pytest.approx({"params": -0.4, "tokens": -0.2, "batch_tokens": 0.5})
    assert law.scatter == 0 and law.cells == 18 and law.trunks == 6
    one = optimum(16, 2000, 64, 1.0).cell
    assert law.at_cell(one) == pytest.approx(one.params**-0.4 * 2000**-0.2 * 64**0.5)
    noisy = law_of(optima(noise=0.1))
    for name, planted in (("params", -0.4), ("tokens", -0.2), ("batch_tokens", 0.5)):
        low, high = noisy.intervals[name]
        assert low < planted < high and high - low < 1
    assert 0.03 < noisy.scatter < 0.15


def width_of(law: LrLaw, variable: str) -> float:
    low, high = law.intervals[variable]
    return high - low


@pytest.mark.parametrize(
    ("variable", "last"), [("params", params_of(32)), ("tokens", 4000), ("batch_tokens", 128)]
)
def test_cells_of_one_value_that_lie_off_the_law_together_widen_its_interval(variable, last):
    """The interval is that of leaving out each value, by Student's t at two degrees of freedom."""

    def value(best: Optimum) -> float:
        return float(getattr(best.cell, variable))

    cells = [
        dataclasses.replace(best, lr=1.5 * (best.lr or 0)) if value(best) == last else best
        for best in optima(batches=(32, 64, 128))
    ]
    law = law_of(cells)
    slopes = [
        law_of([best for best in cells if value(best) != one]).exponents[variable]
        for one in {value(best) for best in cells}
    ]
    error = math.sqrt(2 / 3 * sum((slope - np.mean(slopes)) ** 2 for slope in slopes))
    assert width_of(law, variable) == pytest.approx(2 * 2.920 * error, rel=0.01)


def test_two_sizes_have_the_interval_of_their_trunks():
    low, high = law_of(optima(noise=0.1, widths=(8, 32))).intervals["params"]
    assert 0 < high - low < 1


@pytest.mark.parametrize("decays", [(0, 0.1, 0.3), (0, 0.1)])
def test_cells_without_weight_decay_are_no_part_of_a_law_of_those_with_it(decays):
    """Rates fall with weight decay, and without it they lie where no power leads."""
    cells = [
        optimum(
            best.cell.model.d_model,
            best.cell.tokens,
            best.cell.batch_tokens,
            (best.lr or 0) * (5 if decay == 0 else decay**-0.3),
            decay=decay,
        )
        for best in optima()
        # fewer horizons without decay: pooling them would move the exponents
        for decay in decays
        if decay or best.cell.tokens == 1000
    ]
    law = law_of(cells)
    planted = {"params": -0.4, "tokens": -0.2, "batch_tokens": 0.5}
    planted |= {"weight_decay": -0.3} if len(decays) > 2 else {}
    assert law.exponents == pytest.approx(planted)
    assert law.cells == 18 * (len(decays) - 1) and law.ranges["weight_decay"][0] == 0.1
    assert width_of(law, "params") < 0.01


def test_cells_that_all_have_no_weight_decay_have_a_law():
    cells = [
        optimum(
            best.cell.model.d_model,
            best.cell.tokens,
            best.cell.batch_tokens,
            best.lr or 0,
            decay=0.0,
        )
        for best in optima()
    ]
    assert law_of(cells).exponents == pytest.approx(law_of(optima()).exponents)


def test_held_out_cells_decide_how_far_it_reaches():
    law = law_of(optima())
    size, horizon = law.held_out
    assert size.missed == pytest.approx(1) and size.cells == 6 and size.supports
    assert horizon.beyond == 2 and law.trusted("tokens") == (1000, 8000)
    largest = law.ranges["params"][1]
    assert law.trusted("params")[1] == pytest.approx(largest * size.beyond)
    # the largest size is not where the others say: no extrapolation in size
    bent = law_of(optima(bend=2.0))
    assert not bent.held_out[0].supports and bent.held_out[0].missed == pytest.approx(2, rel=0.05)
    assert bent.trusted("params") == bent.ranges["params"]
    assert "missed by a factor of" in bent.held_out[0].text
    assert bent.held_out[0].holds is False
    # two sizes leave none to hold out
    few = law_of(optima(widths=(8, 16)))
    assert [check.variable for check in few.held_out] == ["tokens"]


def test_a_law_whose_misses_scatter_may_be_used_no_farther_than_their_interval_says():
    """It misses by less than a factor of 1.5, and may by more: the cells are few and noisy."""
    for law in (law_of(optima(noise=noise)) for noise in (0.15, 0.2, 0.25, 0.3)):
        for check in law.held_out:
            assert check.interval is not None and check.picked is not None
            assert check.interval[0] <= check.missed < check.interval[1] <= check.picked[1]
            assert check.holds is not True or check.interval[1] <= HELD_OUT_WITHIN
    unsure = law_of(optima(noise=0.25)).held_out[0]
    assert unsure.missed < HELD_OUT_WITHIN and unsure.interval is not None
    assert unsure.interval[1] > HELD_OUT_WITHIN and unsure.holds is None and not unsure.supports
    assert "18 cells" not in unsure.text and "6 cells" in unsure.text


def test_one_cell_that_is_held_out_gives_no_interval():
    best = [one for one in optima(batches=(32,)) if one.cell.tokens < 4000]
    longest = optimum(16, 4000, 32, params_of(16) ** -0.4 * 4000**-0.2 * 32**0.5)
    (check,) = (c for c in law_of([*best, longest]).held_out if c.variable == "tokens")
    assert check.interval is None and check.holds is None and "unbounded, 1 cell" in check.text


@pytest.mark.slow
def test_the_intervals_of_scatter_and_misses_hold_as_often_as_they_say():
    rng, noise, laws = np.random.default_rng(0), 0.2, []
    for _ in range(60):
        drawn = [
            dataclasses.replace(best, lr=(best.lr or 0) * math.exp(noise * rng.standard_normal()))
            for best in optima(batches=(32, 64, 128))
        ]
        laws.append(law_of(drawn))
    own = math.log(1.1) / 2 / 1.645
    true = math.sqrt(noise**2 - own**2)
    held = [law.scatter_interval[0] <= true <= law.scatter_interval[1] for law in laws]
    assert np.mean(held) == pytest.approx(0.9, abs=0.1)
    for place in (0, 1):
        checks = [law.held_out[place] for law in laws]
        missed = math.exp(math.sqrt(np.mean([math.log(check.missed) ** 2 for check in checks])))
        ends = [check.interval or (1.0, math.inf) for check in checks]
        assert np.mean([low <= missed <= high for low, high in ends]) > 0.8


@pytest.mark.parametrize(
    ("cells", "why"),
    [
        ([], "no cell has a bounded best learning rate"),
        (optima(widths=(8,)), "of 1 size: a law of 2 variables needs 4 cells of at least 2 sizes"),
        (
            [optimum(w, 10 * params_of(w), 32, 0.1) for w in (8, 16, 32, 64)],
            "the cells do not tell params from tokens: vary each of them by itself",
        ),
    ],
)
def test_too_few_cells_are_refused_with_what_is_needed(cells, why):
    assert why in str(fit_lr_law(cells))


def test_published_rates_are_those_of_the_papers():
    one = optimum(16, 20000, 64, 0.01).cell
    by_name = {rule.name: rule for rule in published_rates([one], shares_trunk=True)}
    step = 1.79 * one.params**-0.713 * 20000**0.307
    assert by_name["Step Law"].rates[one] == pytest.approx(step, rel=1e-3)
    porian = 0.0047 * (one.params / 108e6) ** (-1 / 3)
    assert by_name["Porian"].rates[one] == pytest.approx(porian, rel=1e-3)
    assert by_name["OLMo ladder"].rates[one] == pytest.approx(porian / 2, rel=1e-3)
    lr = power_lines([one])[one]
    timescale = one.batch_tokens / (lr * one.weight_decay * one.tokens)
    assert timescale == pytest.approx(1.084 * (one.tokens / one.params) ** -0.527)
    assert power_lines([cell(weight_decay=0.0)]) == {}
    missed = by_name["Porian"].error([optimum(16, 20000, 64, porian / 3)])
    assert missed is not None and missed == pytest.approx((3, 3, 1), rel=1e-3)
    assert by_name["Porian"].error([]) is None


def rule_of(law: LrLaw, folder, batch: int = 64) -> Rule:
    path = folder / "tuned_test.py"
    decay = DecayChoice(law.ranges["weight_decay"][0], "as planted")
    choice = BatchChoice(batch, "as planted")
    path.write_text(rule_source(law, choice, decay, "Planted cells", "AdamW"))
    return parts.load("rule", parts.read_file("rule", path))


def test_the_written_rule_gives_the_law_and_refuses_what_is_beyond(tmp_path):
    law = law_of(optima(batches=(32, 64, 128)))
    rule = rule_of(law, tmp_path, batch=128)
    words = (tmp_path / "tuned_test.py").read_text()
    assert "Weight decay: 0.1, as planted. The best" in words and "Batch: 128, as planted." in words
    model = tiny_model(d_model=16, d_ff=64, n_ctx=4)

    def chosen(**changes):
        sizing = Sizing(**{"model": model, "shortest_tokens": 1000, "longest_tokens": 4000,
                           **changes})  # fmt: skip
        return rule.choose(sizing, NoSettings())

    size = params_of(16)
    choice = chosen()
    assert choice.batch_tokens == 128
    assert choice.lr == pytest.approx(size**-0.4 * 2000**-0.2 * 128**0.5, rel=1e-3)
    # the rate is that of the batch which the config sets
    assert chosen(batch_tokens=32).lr == pytest.approx(choice.lr / 2, rel=1e-3)
    # a measured batch of fewer sequences than other rules take stays as it is written
    small = rule_of(law, tmp_path, batch=32).choose(
        Sizing(model=tiny_model(d_model=16, d_ff=64, n_ctx=16), shortest_tokens=1000,
               longest_tokens=4000), NoSettings())  # fmt: skip
    assert small.batch_tokens == 32
    assert rule.measured_params == law.ranges["params"]
    for beyond, what in (
        ({"longest_tokens": 400_000}, "held-out runs support it up to 8K; found 20K"),
        ({"model": tiny_model(d_model=128, d_ff=512)}, "non-embedding params"),
        ({"batch_tokens": 512}, "measured at 32 to 128 tokens a step; found 512"),
        (
            {"weight_decay": 0.3},
            r"at a weight decay of 0\.1, .*; found 0\.3; set optim\.weight_decay=0\.1, tune at",
        ),
        ({"weight_decay": 0.0}, "a weight decay of 0.1, .*; found 0; set"),
    ):
        with pytest.raises(ValueError, match=what):
            chosen(**beyond)
    assert chosen(weight_decay=0.1) == choice


def test_a_rule_of_several_weight_decays_takes_the_configs(tmp_path):
    cells = [
        optimum(
            best.cell.model.d_model,
            best.cell.tokens,
            best.cell.batch_tokens,
            (best.lr or 0) * decay**-0.8,
            decay=decay,
        )
        for best in optima()
        for decay in (0.1, 0.2, 0.4)
    ]
    law = law_of(cells)
    rule = rule_of(law, tmp_path)
    words = (tmp_path / "tuned_test.py").read_text()
    assert "wd -0.80 (-0.80 to -0.80)" in words
    assert "refuses one outside 0.1 to 0.4" in " ".join(words.split())
    sizing = Sizing(model=tiny_model(d_model=16, d_ff=64, n_ctx=4), shortest_tokens=1000,
                    longest_tokens=4000)  # fmt: skip

    def rate(decay: float | None) -> float:
        return rule.choose(dataclasses.replace(sizing, weight_decay=decay), NoSettings()).lr

    expected = params_of(16) ** -0.4 * 2000**-0.2 * 64**0.5
    assert rate(0.3) == pytest.approx(expected * 0.3**-0.8, rel=1e-3)
    assert rate(None) == rate(0.1) == pytest.approx(expected * 0.1**-0.8, rel=1e-3)
    for decay in (0.0, 0.05, 0.5):
        with pytest.raises(ValueError, match=r"at a weight decay of 0\.1 to 0\.4, .* found"):
            rate(decay)


def test_a_rule_of_an_earlier_version_looks_at_no_weight_decay(tmp_path):
    rule_of(law_of(optima()), tmp_path)
    path = tmp_path / "tuned_before.py"
    lines = (tmp_path / "tuned_test.py").read_text().splitlines()
    path.write_text("\n".join(line for line in lines if "decay" not in line.split("=")[0]))
    rule = parts.load("rule", parts.read_file("rule", path))
    sizing = Sizing(model=tiny_model(d_model=16, d_ff=64, n_ctx=4), shortest_tokens=1000,
                    longest_tokens=4000, weight_decay=0.7)  # fmt: skip
    assert rule.choose(sizing, NoSettings()).lr > 0


def batch_of(trials) -> BatchChoice:
    tuning = tuned(trials)
    return largest_free_batch(tuning, best_batches(tuning.optima))


def test_a_batch_at_the_low_edge_is_said_to_be_there():
    at_edge = batch_of(batch_trials(16))
    assert at_edge.batch_tokens == 32
    assert "at the low edge of the batches in 1 of 1 pairs of size and horizon" in at_edge.why
    assert "edge" not in batch_of(batch_trials(90)).why


def test_a_batch_that_was_compared_with_none_is_no_candidate():
    alone = trials(0.013, where=cell(batch_tokens=512, tokens=9000))
    assert batch_of(batch_trials(80) + alone).batch_tokens == 64
    only = batch_of(alone)
    assert only.batch_tokens == 512 and "compared with no other" in only.text
