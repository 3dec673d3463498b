"""Fixtures of all tests."""

from __future__ import annotations

import os
import sys

import pytest

# Measured kernels differ from machine to machine and change the last bits.
os.environ["SLAW_KERNELS"] = "thresholds"


@pytest.fixture(autouse=True)
def process_as_it_was():
    """Restore denormals and kernels, which a run trained in this process may have changed."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)
    if "scaling_law.train.kernels" in sys.modules:
        sys.modules["scaling_law.train.kernels"].use(None)
