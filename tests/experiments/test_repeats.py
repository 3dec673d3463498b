"""The law of what repeated text is worth finds what was planted, and says where it cannot."""

from __future__ import annotations

import math

import pytest

from scaling_law.experiment.crossing import amount_for, crossing
from scaling_law.experiment.repeats import (
    POWER,
    SATURATING,
    Losses,
    RepeatLaw,
    Worth,
    fit_read_off,
    fit_repeats,
)
from scaling_law.experiment.seeds import Mean


def planted(
    worth: Worth, number: float, most: int = 16
) -> dict[tuple[float, float], dict[int, float]]:
    """Losses of three amounts of text, with a little noise by seed."""
    losses = {}
    for unique in (1e4, 3e4, 9e4):
        for epochs in (1, 2, 4, 8, most):
            tokens = epochs * unique
            exact = 1.2 + 30 * worth.tokens(unique, tokens, number) ** -0.35
            waves = {seed: 1 + 1e-4 * math.sin(seed + tokens + unique) for seed in range(3)}
            losses[unique, tokens] = {seed: exact * wave for seed, wave in waves.items()}
    return losses


@pytest.mark.parametrize(("worth", "number"), [(SATURATING, 5.0), (SATURATING, 20.0), (POWER, 0.6)])
def test_a_planted_law_is_found(worth, number):
    law = fit_repeats(planted(worth, number), worth)
    assert isinstance(law, RepeatLaw)
    assert law.number == pytest.approx(number, rel=0.1)
    assert law.interval[0] <= number <= law.interval[1]
    assert law.beta == pytest.approx(0.35, abs=0.03) and law.misfit < 1e-3
    assert law.rms(planted(worth, number)) == pytest.approx(law.misfit, rel=1e-6)


def test_the_law_is_muennighoffs():
    """Equation 5 written out: 10 epochs of 100 tokens."""
    worth = SATURATING.tokens(100, 1000, 15.39)
    assert worth == pytest.approx(100 + 100 * 15.39 * (1 - math.exp(-9 / 15.39)))
    assert SATURATING.tokens(100, 50, 15.39) == 50


def test_repeats_as_good_as_new_text_bound_nothing():
    losses = planted(POWER, 1.0)
    assert fit_repeats(losses) == "the losses do not bound what repeats are worth"


def test_text_that_is_read_once_gives_no_law():
    once = {key: by for key, by in planted(POWER, 1.0).items() if key[0] == key[1]}
    assert fit_repeats(once) == "3 settings, and a law of repeats needs 6"
    many: Losses = {(float(tokens), float(tokens)): {0: 3.0 + 1 / tokens} for tokens in range(1, 9)}
    assert fit_repeats(many) == "no text was read twice"


def test_r_is_read_off_what_repeats_are_worth():
    worths = {
        seed: [(e, SATURATING.tokens(1, e, 6 + seed)) for e in (2, 4, 8, 16)] for seed in range(3)
    }
    mean = fit_read_off(worths)
    assert isinstance(mean, Mean) and mean.value == pytest.approx((6 * 7 * 8) ** (1 / 3), rel=0.02)
    assert mean.interval is not None and mean.interval[0] < 7 < mean.interval[1]
    assert "seed 0 has 1 settings" in str(fit_read_off({0: [(2, 2)]}))
    assert "does not bound R* of seed 0" in str(fit_read_off({0: [(2, 2), (4, 4), (8, 8)]}))
    assert "no seed has runs" in str(fit_read_off({}))


def test_a_curve_crosses_a_level_between_two_points():
    assert crossing([(1, 0.0), (4, 2.0)], 1.0) == pytest.approx(2)
    assert crossing([(4, 2.0), (1, 0.0)], 3.0) is None
    assert crossing([(2, 5.0), (4, 6.0)], 1.0) == 2


def test_a_loss_is_read_off_between_two_amounts_only():
    losses = {100.0: 4.0, 400.0: 2.0}
    assert amount_for(losses, 4 / 2**0.5) == pytest.approx(200)
    assert amount_for(losses, 4.5) is None and amount_for(losses, 1.5) is None
    most, last = max(losses), losses[max(losses)]
    below = last * 2**-0.25  # half way to twice the most tokens, in logarithms
    assert amount_for(losses, below, beyond=2.0) == pytest.approx(most * 2**0.5)
    assert amount_for(losses, below, beyond=1.2) is None
