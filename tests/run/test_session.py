"""What a sweep says at its end, and what it can resume without."""

from __future__ import annotations

import signal

import pytest

from scaling_law.errors import ConfigError, DeviceError, PlanError
from scaling_law.files import checksum
from scaling_law.files.layout import SweepDir
from scaling_law.plan.plan import read_plan
from scaling_law.run.planning import inputs
from scaling_law.run.request import Request, config_of
from scaling_law.run.runner import SweepOutcome
from scaling_law.run.text import closing
from tests.fakes import text_spec
from tests.monitor.half_way import half_way

CONFIG = """\
name: gone
data: {corpus: no/such/text}
grid:
  - sizes: [nano14k]
    tokens: [1M]
"""


@pytest.mark.parametrize(
    ("before", "stopped", "said"),
    [
        (
            40,
            None,
            "40 of 40 runs done; all runs had already finished; nothing to do\nnext: slaw fit",
        ),
        (39, None, "40 of 40 runs done in 2m00s\nnext: slaw fit"),
        (39, signal.SIGINT, "40 of 40 runs done in 2m00s\nstopped; run the same command again"),
    ],
)
def test_a_finished_sweep_is_not_reported_as_trained_now(tmp_path, before, stopped, said):
    sweep, plan = half_way(tmp_path / "sweep")
    outcome = SweepOutcome(done=[run.run_id for run in plan.runs], seconds=120.0)
    outcome.done_before, outcome.stopped_by = before, stopped
    assert closing(sweep, plan, outcome).startswith(said)
    if stopped is None:
        assert "next" not in closing(sweep, plan, outcome, last=False)


def test_a_sweep_that_has_its_tokens_resumes_without_its_text(tmp_path):
    path, sweep = tmp_path / "gone.yaml", SweepDir(tmp_path / "out")
    path.write_text(CONFIG)
    request = Request(config=str(path), device="cpu", out=str(sweep.path))
    with pytest.raises(ConfigError, match=r"gone\.yaml:2: data\.corpus: 'no/such/text' is neither"):
        inputs(request, print)
    sweep.path.mkdir()
    sweep.data.write_text("{}")
    assert text_spec(config_of(request, "cpu")).corpus == "no/such/text"
    path.write_text(CONFIG.replace("1M", "many"))
    with pytest.raises(ConfigError) as refused:
        config_of(request, "cpu")
    assert len(refused.value.lines) == 2, "reported beside another mistake"


def test_an_unknown_device_is_refused_in_one_line(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG)
    with pytest.raises(DeviceError, match="device 'tpu': expected one of auto, cpu, mps, cuda"):
        inputs(Request(config=str(path), device="tpu"), print)
    sweep, plan = half_way(tmp_path / "sweep")
    content = {**checksum.read(sweep.plan, ""), "device_kind": "tpu"}
    checksum.write(sweep.plan, content)
    with pytest.raises(PlanError, match=r"plan\.json: not a plan .device_kind is 'tpu', expected"):
        read_plan(sweep.plan)
    assert plan.device_kind != "tpu"
