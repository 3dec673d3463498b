"""A world with one undisturbed sweep."""

from __future__ import annotations

import pytest

from tests.faults.harness import Losses, World, losses


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> World:
    return World(tmp_path_factory.mktemp("faults") / "world")


@pytest.fixture(scope="session")
def undisturbed(world) -> Losses:
    """The results of the undisturbed sweep."""
    code, out, errors = world.run("whole")
    assert code == 0, errors
    assert "9 of 9 runs done" in out
    assert "next: slaw fit whole" in out
    return losses(world, "whole")
