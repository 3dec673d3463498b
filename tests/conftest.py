"""Fixtures of all tests."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture(autouse=True)
def denormals_as_they_were():
    """Restore denormals, which a worker that trained in this process may have switched off."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)
