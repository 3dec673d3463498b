"""What a sweep's folder says when runs are added to it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from scaling_law.files import layout
from scaling_law.files.layout import SweepDir
from scaling_law.run import pinned, pins, session


@pytest.mark.parametrize(
    ("adaptive", "news"),
    [
        (False, "the config differs from the one its runs began with; adding new runs"),
        (True, "a further round of its adaptive loop; adding new runs"),
    ],
)
def test_a_further_round_is_not_reported_as_a_changed_config(tmp_path, monkeypatch, adaptive, news):
    sweep = SweepDir(tmp_path)
    layout.atomic_write(sweep.plan, "{}")
    layout.atomic_write(sweep.config, "name: before")
    if adaptive:
        layout.atomic_write(sweep.adaptive, "{}")
    nothing: Any = SimpleNamespace(data_specs=(None,), mixed_specs=(), arms=(), train_tokens=1)
    for module, name, value in (
        (pinned, "begun_plan", None),
        (pinned, "refuse_other_recipe", None),
        (pins, "pinned_datasets", {None: nothing}),
        (pinned, "keep_plan", None),
        (session, "planned", None),
        (session, "data_begun_with", {}),
        (session, "check_data", []),
        (session, "with_steps", None),
        (pinned, "with_begun_kernels", None),
    ):
        monkeypatch.setattr(module, name, lambda *given, value=value, **more: value)
    said: list[str] = []
    session._prepared(nothing, nothing, sweep, said.append)
    assert said == [f"{tmp_path}: {news}"]
