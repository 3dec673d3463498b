"""What a sweep says at its end, and what it can resume without."""

from __future__ import annotations

import signal

import pytest

from scaling_law.cli.main import main
from scaling_law.config.load import load_config
from scaling_law.errors import EXIT_FIT, EXIT_OK, ConfigError, DeviceError, PlanError
from scaling_law.files import checksum
from scaling_law.files.layout import SweepDir
from scaling_law.plan.make import make_plan
from scaling_law.plan.plan import read_plan
from scaling_law.run import session
from scaling_law.run.planning import inputs
from scaling_law.run.request import Request, config_of
from scaling_law.run.runner import SweepOutcome
from scaling_law.run.text import closing, dry_run_text, too_few_words
from tests.fakes import (
    config_of as config_from,
)
from tests.fakes import (
    cpu_profile,
    ladder_config,
    plan_of,
    small_config,
    text_spec,
)
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


def test_a_sweep_without_a_loss_ends_with_4(tmp_path, monkeypatch, capsys):
    sweep, plan = half_way(tmp_path / "sweep")
    trunks = [run.run_id for run in plan.runs if run.spec.kind == "trunk"]
    points = {run.run_id: "loss is inf" for run in plan.runs if run.spec.kind != "trunk"}
    outcome = SweepOutcome(done=trunks, diverged=points)
    monkeypatch.setattr(session, "run_sweep", lambda request, say: (sweep, plan, outcome))
    assert main(["run", "--mode", "quick"]) == EXIT_FIT
    said = capsys.readouterr().out
    assert "no point ended with a loss, so there is nothing to fit" in said
    assert "next: slaw fit" not in said
    some = next(iter(points))
    outcome.done.append(some)
    del points[some]
    assert main(["run", "--mode", "quick"]) == EXIT_OK, "diverged runs beside others are results"
    assert "next: slaw fit" in capsys.readouterr().out


def test_a_plan_that_no_law_can_be_fitted_to_says_what_is_missing():
    config = small_config()
    plan = make_plan(config, cpu_profile(), train_tokens=None)
    (line,) = too_few_words(config, plan)
    assert "too few for a law of size and tokens: 2 sizes (at least 3); add" in line
    assert line in dry_run_text(config, plan)
    two = config_from(f"{CONFIG}axes: {{data.mix: [natural, {{cpp: .5, py-code: .5}}]}}".replace(
        "no/such/text", "installed"))  # fmt: skip
    (line,) = too_few_words(two, make_plan(two, cpu_profile(), train_tokens=None))
    assert "in 2 of 2 arms" in line and "1 size (at least 3), 1 horizon (at least 3)" in line
    large = ladder_config()
    assert not too_few_words(large, make_plan(large, cpu_profile(), train_tokens=None))
    hot = ladder_config("schedule.shape=constant")
    (line,) = too_few_words(hot, make_plan(hot, cpu_profile(), train_tokens=None))
    assert "no run of these anneals" in line


def test_an_experiment_needs_no_law():
    config = load_config("grokking", device_kind="cpu")
    assert not too_few_words(config, make_plan(config, cpu_profile(), train_tokens=None))


def test_a_sweep_of_mixtures_ends_with_the_command_that_proposes_one(tmp_path):
    config = CONFIG.replace("no/such/text", "installed")
    plan = plan_of(f"{config}axes: {{data.mix: [natural, {{cpp: .5, py-code: .5}}]}}\n")
    outcome = SweepOutcome(done=[run.run_id for run in plan.runs], seconds=120.0)
    said = closing(SweepDir(tmp_path), plan, outcome)
    assert said.endswith(
        f"next: slaw fit {tmp_path} --by data.mix\n"
        f"      slaw mix {tmp_path} proposes the next mixture"
    )


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
