import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling_law.errors import ConfigError
from scaling_law.forecast.hardware import (
    ACCELERATORS,
    DTYPES,
    accelerator,
    flops_for_dollars,
    flops_for_hours,
    format_hardware,
    gpu_and_count,
    training_cost,
)

ASKED_FOR = (
    "M1,M1 Pro,M1 Max,M1 Ultra,M2,M2 Pro,M2 Max,M2 Ultra,M3,M3 Pro,M3 Max,M3 Ultra,M4,M4 Pro,"
    "M4 Max,A100 40GB,A100 80GB,H100 SXM,H100 PCIe,H200,B200,GH200,L4,L40S,A10G,T4,V100,RTX 3090,"
    "RTX 4090,RTX 5090,RTX 6000 Ada,TPU v4,TPU v5e,TPU v5p"
)


def test_every_device_has_plausible_figures():
    assert list(ACCELERATORS) == ASKED_FOR.split(",")
    for device in ACCELERATORS.values():
        assert device.peak_flops and set(device.peak_flops) <= set(DTYPES)
        # a figure with sparsity, or a slip of a thousand, would break the order of the dtypes
        by_speed = [device.peak_flops[d] for d in DTYPES if d in device.peak_flops]
        assert by_speed == sorted(by_speed, reverse=True)
        assert 1e12 < by_speed[0] < 3e15
        assert 15e9 < device.memory_bytes < 6e11
        assert 5e10 < device.bandwidth_bytes_per_second < 1e13
        assert device.watts is None or 30 < device.watts <= 1000
        assert device.dollars_per_hour is None or 0.3 < device.dollars_per_hour < 10
        assert 0.1 < device.utilisation < 0.5
        assert device.source and device.as_of[:2] == "20"


def test_the_peaks_are_without_sparsity():
    # each is half of what the sheets print first, "with sparsity"
    for name, sparse in (("H100 SXM", 1979), ("A100 80GB", 624), ("L4", 242), ("B200", 4500)):
        assert ACCELERATORS[name].peak_flops["bf16"] == pytest.approx(sparse / 2 * 1e12, rel=1e-3)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("h100-sxm", "H100 SXM"),
        ("H100", "H100 SXM"),
        ("a100 80gb", "A100 80GB"),
        ("NVIDIA A100-SXM4-80GB", "A100 80GB"),
        ("NVIDIA H100 80GB HBM3", "H100 SXM"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("Tesla T4", "T4"),
        ("Tesla V100-SXM2-16GB", "V100"),
        ("Apple M2", "M2"),
        ("m1_ultra", "M1 Ultra"),
        ("tpu-v5e", "TPU v5e"),
    ],
)
def test_device_names_are_read_leniently(written, meant):
    assert accelerator(written).name == meant


def test_every_device_name_is_recognised():
    for name in ACCELERATORS:
        assert accelerator(name) is ACCELERATORS[name]
        assert accelerator(name.lower().replace(" ", "-")) is ACCELERATORS[name]


def test_an_unknown_device_names_the_nearest_and_how_to_list_all():
    listing = rf"`slaw hardware` lists all {len(ACCELERATORS)}$"
    with pytest.raises(ConfigError, match=rf"did you mean L40S or .*\? {listing}"):
        accelerator("L40")
    with pytest.raises(ConfigError, match=r"did you mean .*RTX 6000 Ada") as caught:
        accelerator("rtx")
    assert "H100" not in str(caught.value)
    with pytest.raises(ConfigError, match=rf"expected one such as A100, .*; {listing}") as caught:
        accelerator("abacus")
    assert "did you mean" not in str(caught.value)
    with pytest.raises(ConfigError):
        accelerator("")


def test_figures_can_be_overridden():
    own = accelerator("M2", utilisation=0.1, dollars_per_hour=0.5, peak_flops=2e12)
    assert (own.utilisation, own.dollars_per_hour) == (0.1, 0.5)
    assert own.peak_flops == {"fp16": 2e12}
    assert accelerator("H100", peak_flops={"fp32": 5e13}).best_dtype == "fp32"
    assert ACCELERATORS["M2"].dollars_per_hour is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"utilisation": 0.0},
        {"utilisation": 1.1},
        {"utilisation": math.nan},
        {"dollars_per_hour": 0.0},
        {"dollars_per_hour": math.inf},
        {"peak_flops": -1.0},
        {"peak_flops": {}},
        {"peak_flops": {"int8": 1e15}},
    ],
)
def test_figures_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError):
        accelerator("H100", **wrong)


def test_a_cost_matches_a_hand_calculation():
    device = accelerator("H100 SXM", utilisation=0.5, dollars_per_hour=2.0, peak_flops=1e15)
    # 3.6e21 FLOPs at 5e14 a second: 7.2e6 s = 2000 h
    cost = training_cost(3.6e21, device, count=8, pue=1.2)
    assert cost.gpu_hours == pytest.approx(2000)
    assert cost.days == pytest.approx(2000 / 8 / 24)
    assert cost.dollars == pytest.approx(4000)
    assert cost.energy_kwh == pytest.approx(0.7 * 2000 * 1.2)
    assert (cost.accelerator, cost.dtype, cost.count, cost.pue) == ("H100 SXM", "bf16", 8, 1.2)


def test_the_default_dtype_is_the_best_the_device_has():
    assert training_cost(1e18, "A100 80GB").dtype == "bf16"
    assert training_cost(1e18, "V100").dtype == "fp16"
    slow, fast = training_cost(1e18, "V100", dtype="fp32"), training_cost(1e18, "V100")
    assert slow.gpu_hours / fast.gpu_hours == pytest.approx(125 / 15.7)
    with pytest.raises(ConfigError, match="V100 has no bf16 peak: expected one of fp16, fp32"):
        training_cost(1e18, "V100", dtype="bf16")


def test_without_a_price_there_are_hours_but_no_dollars():
    cost = training_cost(1e18, "M2")
    assert cost.dollars is None and cost.energy_kwh is not None and cost.gpu_hours > 0
    with pytest.raises(ConfigError, match="M2 has no rental price: give --gpu-price"):
        flops_for_dollars(100, "M2")
    assert flops_for_dollars(100, accelerator("M2", dollars_per_hour=1)) == pytest.approx(
        flops_for_hours(100, "M2")
    )
    assert training_cost(1e18, "TPU v5e").energy_kwh is None


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_amounts_that_are_not_positive_are_refused(bad):
    for ask in (training_cost, flops_for_hours, flops_for_dollars):
        with pytest.raises(ConfigError):
            ask(bad, "H100")
    with pytest.raises(ConfigError):
        training_cost(1e18, "H100", pue=bad)


def test_a_run_needs_a_device():
    with pytest.raises(ConfigError, match=r"--gpu-count, .* is 0, expected at least 1"):
        training_cost(1e18, "H100", count=0)


@given(
    name=st.sampled_from(sorted(ACCELERATORS)),
    flops=st.floats(1e10, 1e28),
    count=st.integers(1, 100_000),
)
def test_hours_and_dollars_are_inverses(name, flops, count):
    cost = training_cost(flops, name, count=count)
    assert flops_for_hours(cost.gpu_hours, name) == pytest.approx(flops, rel=1e-9)
    if cost.dollars is not None:
        assert flops_for_dollars(cost.dollars, name) == pytest.approx(flops, rel=1e-9)
    assert cost.days * 24 * count == pytest.approx(cost.gpu_hours)


def test_the_table_has_a_line_per_device():
    lines = format_hardware().splitlines()
    body = lines[1 : 1 + len(ACCELERATORS)]
    for name, line in zip(ACCELERATORS, body, strict=True):
        assert line.startswith(name + " ") and ACCELERATORS[name].source in line
    dates = zip((device.as_of for device in ACCELERATORS.values()), body, strict=True)
    assert len({line.index(date) for date, line in dates}) == 1
    assert max(map(len, lines)) <= 100
    assert "dense" in lines[-2] and "2025" in lines[-1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8xH100", ("H100", 8)),
        ("8 x H100", ("H100", 8)),
        ("16×RTX 4090", ("RTX 4090", 16)),
        ("RTX 4090", ("RTX 4090", 1)),
        ("4090", ("4090", 1)),
        (None, (None, 1)),
    ],
)
def test_a_number_of_devices_may_precede_the_name(text, expected):
    assert gpu_and_count(text) == expected


def test_two_numbers_of_devices_are_refused():
    assert gpu_and_count("8xH100", 8) == ("H100", 8)
    with pytest.raises(ConfigError, match="--gpu 8xH100 and --gpu-count 4"):
        gpu_and_count("8xH100", 4)
