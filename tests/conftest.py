"""Fixtures of all tests."""

from __future__ import annotations

import dataclasses
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
def fits_of_equal_points_are_made_once():
    """Give a fit again where the same points are fitted under the same settings.

    Many tests of commands, reports and forecasts plant one sweep; the tests of the fit itself call
    it by its own name, and are not reached.
    """
    from scaling_law.fit import arms, session, suite

    known: dict[Any, suite.FitSuite] = {}

    def remembered(data: Any, settings: Any = None) -> suite.FitSuite:
        key = _by_content((data, settings))
        if key not in known:
            known[key] = suite.fit_data(data, settings)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        for module in (session, arms):
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
