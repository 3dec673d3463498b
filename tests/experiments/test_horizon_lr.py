"""What ``horizon_lr`` says of several ways of which one may serve every horizon."""

from __future__ import annotations

from types import ModuleType

import pytest

from scaling_law import parts
from scaling_law.experiment.seeds import Mean, mean_over


@pytest.fixture(scope="module")
def module() -> ModuleType:
    return parts.module_of("experiment", "horizon_lr")


def lost(*values: float) -> Mean:
    mean = mean_over(values)
    assert mean is not None
    return mean


def test_a_way_that_is_picked_from_several_serves_by_an_interval_that_counts_them(module):
    """At 90% it loses less than 0.4; as the best of three that is not shown."""
    near = [lost(0.2, 0.3, 0.25)]
    assert near[0].interval is not None and near[0].interval[1] <= module.LITTLE
    ends = near[0].wider(3).interval
    assert ends is not None and ends[1] > module.LITTLE
    bad, sure = [lost(5.0, 5.1, 5.2)], [lost(0.1, 0.101, 0.102)]
    assert module._any_serves([near]) is True
    assert module._any_serves([near, bad, bad]) is None
    assert module._any_serves([sure, bad, bad]) is True
    assert module._any_serves([bad, bad]) is False and module._any_serves([]) is False
