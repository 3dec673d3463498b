"""Fixtures of all tests."""

from __future__ import annotations

import dataclasses
import functools
import gc
import os
import signal
import sys
from typing import Any

import pytest

# Tests run side by side, one process a core: more threads would wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Measured kernels differ from machine to machine and change the last bits.
os.environ["SLAW_KERNELS"] = "thresholds"
# nohup and a shell's `&` let a process ignore these two; tests that send them would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
# Tests start some two hundred processes; without byte code each of them compiles the package.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Collect no garbage among thousands of tests, which stay until the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items):
    """Put the longest tests first: two processes then end at about the same time."""
    items.sort(key=lambda item: item.get_closest_marker("first") is None)


@pytest.fixture(autouse=True)
def process_as_it_was():
    """Restore denormals and kernels, which a run trained in this process may have changed."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)
    if "scaling_law.train.kernels" in sys.modules:
        sys.modules["scaling_law.train.kernels"].use(None)


@pytest.fixture
def one_thread():
    """Use one thread, as a worker does; several threads wait for each other on a busy machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True, scope="session")
def no_power_cut():
    """Do not wait for the disk; a test may kill processes, but not the machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture(autouse=True, scope="session")
def the_grammar_is_made_once():
    """Parse every command line by one parser; making it takes longer than most commands."""
    from scaling_law.cli import main

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(main, "make_parser", functools.cache(main.make_parser))
        yield


@pytest.fixture(autouse=True, scope="session")
def fits_of_equal_points_are_made_once():
    """Give a fit again where the same points are fitted under the same settings.

    Many tests of commands, reports and forecasts plant one sweep; a test that imports ``fit_data``
    by its own name is not reached.
    """
    from scaling_law import api
    from scaling_law.fit import arms, session, suite

    known: dict[Any, suite.FitSuite] = {}
    fit_data = suite.fit_data

    def remembered(data: Any, settings: Any = None) -> suite.FitSuite:
        # equal runs in another folder have the same fit: only messages name where they lie
        key = _by_content((dataclasses.replace(data, origin=""), settings))
        if key not in known:
            known[key] = fit_data(data, settings)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        for module in (session, arms, api, suite):
            patch.setattr(module, "fit_data", remembered)
        yield


def _by_content(value: Any) -> Any:
    """``value`` as a key that is equal for equal content."""
    if dataclasses.is_dataclass(value):
        return tuple(_by_content(getattr(value, f.name)) for f in dataclasses.fields(value))
    if isinstance(value, dict):
        return tuple((key, _by_content(item)) for key, item in value.items())
    if isinstance(value, tuple | list):
        return tuple(map(_by_content, value))
    return value.tobytes() if hasattr(value, "tobytes") else repr(value)
