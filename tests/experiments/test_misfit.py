"""The misfit of a law in units of noise: its interval holds the true one as often as it says."""

from __future__ import annotations

import numpy as np
import pytest

from scaling_law.experiment.misfit import misfit_of


@pytest.mark.parametrize(("free", "noise_free"), [(8, 18), (5, 12), (11, 24), (2, 6)])
@pytest.mark.parametrize("true", [1.0, 3.0])
def test_the_interval_holds_the_true_ratio_in_nine_of_ten(free, noise_free, true):
    rng = np.random.default_rng((free, noise_free))
    held = 0
    for _ in range(400):
        squares = true**2 * rng.chisquare(free)
        error = np.sqrt(rng.chisquare(noise_free) / noise_free)
        missed = misfit_of(squares, free=free, error=error, noise_free=noise_free)
        low, high = missed.interval
        assert low < missed.ratio < high
        held += low <= true <= high
    assert held / 400 == pytest.approx(0.9, abs=0.05)


def test_its_words_give_the_interval():
    missed = misfit_of(8 * 4.0, free=8, error=1.0, noise_free=18)
    # F at 5% and 95% with 8 and 18 degrees of freedom: 1/3.173 and 2.510 (Abramowitz 1964, 26.9)
    assert missed.interval == pytest.approx((2 / 2.510**0.5, 2 * 3.173**0.5), rel=0.02)
    assert missed.text.startswith("2.00 times the error of seeds (1.2")
