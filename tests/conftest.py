"""What holds for every test."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture(autouse=True)
def denormals_as_they_were():
    """A worker flushes denormals; what it was that trained in this process must not matter here."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)
