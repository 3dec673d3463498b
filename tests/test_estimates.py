"""The estimates of a plan against the measured time and memory of the reference sweep."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from scaling_law.cli.main import main
from scaling_law.config.load import load_config
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import load_records
from scaling_law.plan.device_profile import SpeedPoint, format_profiles, load_profile, save_profile
from scaling_law.plan.make import make_plan
from scaling_law.run import experiments
from tests.fakes import cpu_profile

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
REFERENCE = Path(__file__).parents[1] / "results" / "reference" / "quick-cpu"
# Calibrations of that machine, in CPU seconds: in fp32, and in bf16, which its calibration prefers
# and
# which plans for fp32 runs used to have.
FP32 = ((38400, 1.63e10), (57344, 2.25e10), (163840, 3.59e10), (524288, 5.25e10))
BF16 = ((38400, 1.543e10), (57344, 2.257e10), (163840, 5.71e10), (524288, 8.44e10))


def _speed(points: tuple[tuple[int, float], ...]) -> tuple[SpeedPoint, ...]:
    return tuple(SpeedPoint(params_matmul=n, flops_per_second=f) for n, f in points)


PROFILE = cpu_profile(
    precision="bf16",
    precision_reason="measured faster",
    speed=_speed(BF16),
    speed_fp32=_speed(FP32),
    runtime_bytes=343_785_472,
)


@pytest.fixture(scope="module")
def pairs():
    """(record, planned run) of every run of the reference sweep, none of them stacked."""
    config = load_config(REFERENCE / "sweep.yaml", device_kind="cpu")
    plan = make_plan(config, PROFILE, train_tokens=16_145_896)
    records = load_records(SweepDir(REFERENCE))
    assert len(records) == len(plan.runs) == 40
    return [(record, plan.by_id[record.run_id]) for record in records]


def test_the_time_of_the_sweep_and_of_each_size_is_within_a_quarter(pairs):
    whole = sum(r.seconds for r, _ in pairs) / sum(p.seconds for _, p in pairs)
    assert 0.75 < whole < 1.25
    by_width: dict[int, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for record, planned in pairs:
        by_width[record.spec.model.d_model][0] += record.seconds
        by_width[record.spec.model.d_model][1] += planned.seconds
    for taken, estimated in by_width.values():
        assert 0.75 < taken / estimated / whole < 1.25
        assert 0.75 < taken / estimated < 1.35  # other jobs were on the machine


def test_the_memory_of_each_run_is_within_a_quarter(pairs):
    for record, planned in pairs:
        assert 0.75 < record.peak_memory_bytes / planned.memory_bytes < 1.25


def test_runs_in_fp32_are_timed_in_fp32():
    assert PROFILE.at("fp32").speed == _speed(FP32)
    assert PROFILE.at("bf16").speed == _speed(BF16)
    assert cpu_profile().at("fp32") == cpu_profile()


def test_steps_of_a_tiny_network_cost_more_than_their_products():
    profile = cpu_profile(speed=_speed(((9728, 5.4e9), *FP32)))

    def seconds_of(name: str) -> list[float]:
        config = load_config(EXPERIMENTS / f"{name}.yaml", device_kind="cpu")
        return [run.seconds for run in make_plan(config, profile, train_tokens=200).runs]

    # 4,000 steps of 33 to 8,448 weights took 6 CPU seconds on average; products alone take .1 to 5
    times = seconds_of("double_descent_net")[:10]
    assert 4 < times[0] < 8 and times == sorted(times) and times[-1] < 14
    assert seconds_of("double_descent")[0] < 1, "a closed form has no steps"


def test_an_unmeasured_machine_says_how_to_get_a_cost(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SLAW_CACHE", str(tmp_path))
    monkeypatch.setattr(experiments, "shipped_files", lambda *_: [EXPERIMENTS / "grokking.yaml"])
    assert main(["experiments"]) == 0
    assert "`slaw plan NAME` measures it and prints the cost" in capsys.readouterr().out
    save_profile(cpu_profile(), "auto")
    assert main(["experiments", "--long"]) == 0
    assert "  33 runs, about " in capsys.readouterr().out


def test_a_calibration_is_saved_and_shown(tmp_path, monkeypatch):
    monkeypatch.setenv("SLAW_CACHE", str(tmp_path))
    assert "not measured yet" in format_profiles()
    save_profile(PROFILE, "cpu")
    assert load_profile("cpu") == PROFILE
    printed = format_profiles()
    assert "16.3 at 38.4K" in printed and "in bf16" in printed and str(tmp_path) in printed
