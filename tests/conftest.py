"""What holds for every test."""

from __future__ import annotations

import pickle
import sys
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def denormals_as_they_were():
    """A worker flushes denormals; what it was that trained in this process must not matter here."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


@pytest.fixture(autouse=True, scope="session")
def fits_of_equal_points_are_made_once():
    """Give a fit again where the same points are fitted under the same settings.

    Many tests of commands, reports and forecasts plant one sweep; the tests of the fit itself call
    it by its own name, and are not reached.
    """
    from scaling_law.fit import arms, session, suite

    known: dict[bytes, suite.FitSuite] = {}

    def remembered(data: Any, settings: Any = None) -> suite.FitSuite:
        key = pickle.dumps((data, settings))
        if key not in known:
            known[key] = suite.fit_data(data, settings)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        for module in (session, arms):
            patch.setattr(module, "fit_data", remembered)
        yield
