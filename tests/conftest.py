"""What holds for every test."""

from __future__ import annotations

import os
import sys

import pytest

# Measured kernels differ from machine to machine and change the last bits.
os.environ["SLAW_KERNELS"] = "thresholds"


@pytest.fixture(autouse=True)
def denormals_as_they_were():
    """A worker flushes denormals; what it was that trained in this process must not matter here."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)
