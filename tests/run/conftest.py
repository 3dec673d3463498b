"""What tests of engines hand out: a small text, and a planned sweep on it."""

from __future__ import annotations

import pytest

from tests.faults.world import begin_sweep, write_text


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLAW_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield write_text(tmp_path_factory.mktemp("text"))


@pytest.fixture
def sweep(text, tmp_path):
    """A planned sweep of a trunk and two branches."""
    return begin_sweep(tmp_path / "sweep", text)
