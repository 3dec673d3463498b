"""McCandlish's hyperbola of steps and tokens, and the ramp that its change would pay for."""

from __future__ import annotations

import pytest

from scaling_law.experiment.tradeoff import Tradeoff, fit_ramp, fit_tradeoff, no_tradeoff

BATCHES = (128, 256, 512, 1024, 2048)


def test_steps_on_a_hyperbola_give_its_critical_batch():
    fit = fit_tradeoff({b: 50 * (1 + 700 / b) for b in BATCHES})
    assert isinstance(fit, Tradeoff)
    assert fit.steps == pytest.approx(50, rel=0.01)
    assert fit.batch == pytest.approx(700, rel=0.01)
    assert fit.misfit < 0.001
    assert fit.at(700) == pytest.approx(100, rel=0.01)


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        ({b: 50 + 1e5 / b for b in BATCHES[:3]}, "3 batches reach it, and a hyperbola takes 4"),
        ({b: 1e5 / b for b in BATCHES}, "one side of the critical one"),
        (dict.fromkeys(BATCHES, 50.0), "one side of the critical one"),
    ],
)
def test_batches_that_do_not_bound_it_give_none(steps, why):
    assert why in str(fit_tradeoff(steps))


def test_a_ramp_saves_where_the_critical_batch_grows():
    def ramp(*critical: float):
        """Spans of 50 steps at least, each with a critical batch of its own."""
        steps, fits = dict.fromkeys(BATCHES, 0.0), []
        for batch in critical:
            steps = {b: s + 50 * (1 + batch / b) for b, s in steps.items()}
            fits.append(fit_tradeoff(steps))
        return fit_ramp(fits)

    assert ramp(500, 500, 500).saved == pytest.approx(0, abs=0.001)
    grown = ramp(200, 200, 1800)
    assert grown.batches[2] / grown.batches[0] == pytest.approx(3, rel=0.01)
    # (sqrt(200) + sqrt(200) + sqrt(1800))^2 = 5000 of 3 * 2200
    assert grown.saved == pytest.approx((1 - 5000 / 6600) / 2, rel=0.02)
    assert grown.fixed == pytest.approx(2200 / 3, rel=0.01)
    # ramp and fixed batch take as many steps
    spent = sum(50 * (1 + b / at) for b, at in zip((200, 200, 1800), grown.batches, strict=True))
    assert spent == pytest.approx(150 * 2, rel=0.01)


def test_without_a_hyperbola_there_is_no_ramp():
    good = fit_tradeoff({b: 50 * (1 + 700 / b) for b in BATCHES})
    few = fit_tradeoff({b: 50 + 1e5 / b for b in BATCHES[:3]})
    assert isinstance(good, Tradeoff) and fit_ramp([good]) is not None
    assert fit_ramp([good, few]) is None
    assert fit_ramp([good, good]) is None  # no step from one target to the next
    assert fit_ramp([]) is None


def test_steps_that_lie_on_no_hyperbola_are_named():
    falling = {b: 50 * (1 + 700 / b) for b in BATCHES}
    assert no_tradeoff(falling) == ""
    assert no_tradeoff({}) == ""
    assert "128 and 256 tokens take 60 and 60 steps" in no_tradeoff({128: 60, 256: 60})
    assert "save no step" in no_tradeoff({128: 60, 256: 61})
    assert "takes fewer tokens" in no_tradeoff({128: 60, 256: 29})
