import dataclasses
import itertools
import math

import pytest

from scaling_law.spec.component import Component
from scaling_law.spec.schedule import ScheduleSpec, check_rates, lr_factor, lr_phase

WSD = ScheduleSpec(shape="wsd", warmup_steps=10, decay_steps=20)


def test_wsd_warms_up_holds_and_cools_down():
    factors = [lr_factor(WSD, step, 100) for step in range(100)]
    assert factors[0] == pytest.approx(1 / 11)
    assert factors[10:81] == [1.0] * 71
    assert all(a > b for a, b in itertools.pairwise(factors[80:]))
    assert factors[-1] == pytest.approx(1 - math.sqrt(19 / 20))


def test_a_trunk_and_every_branch_agree_before_the_cooldown():
    trunk = dataclasses.replace(WSD, decay_steps=None)
    for total in (60, 100, 200):
        for step in range(total - 20):
            assert lr_factor(trunk, step, 500) == lr_factor(WSD, step, total)


def test_a_trunk_that_falls_is_shared_and_cools_down_from_its_own_rate():
    part = Component(name="wsd_power", settings=(("power", 0.3),))
    falling = dataclasses.replace(WSD, shape="wsd_power", shape_part=part)
    trunk = dataclasses.replace(falling, decay_steps=None)
    assert lr_factor(falling, 10, 100) == 1.0 and falling.end == "annealed"
    assert lr_factor(falling, 60, 100) == pytest.approx((61 / 11) ** -0.3)
    for total in (60, 100, 200):
        for step in range(total - 20):
            assert lr_factor(trunk, step, 500) == lr_factor(falling, step, total)
    assert lr_factor(falling, 90, 100) == pytest.approx((81 / 11) ** -0.3 * (1 - math.sqrt(0.5)))
    flat = dataclasses.replace(
        falling, shape_part=Component(name="wsd_power", settings=(("power", 0.0),))
    )
    assert [lr_factor(flat, s, 100) for s in range(100)] == [
        lr_factor(WSD, s, 100) for s in range(100)
    ]


def test_a_held_trunk_falls_from_its_step_and_later_cooldowns_begin_lower():
    settings = (("cooldown_power", 0.5), ("hold_steps", 39), ("power", 0.3))
    part = Component(name="wsd_power", settings=settings)
    held = dataclasses.replace(WSD, shape="wsd_power", shape_part=part)
    trunk = dataclasses.replace(held, decay_steps=None)
    assert {lr_factor(trunk, step, 500) for step in range(10, 40)} == {1.0}
    assert lr_factor(trunk, 79, 500) == pytest.approx(2**-0.3)
    for total in (30, 100, 200):
        cooldown = total - 20
        for step in range(cooldown):
            assert lr_factor(trunk, step, 500) == lr_factor(held, step, total)
        begins = lr_factor(trunk, cooldown, 500) * ((cooldown + 1) / 40) ** -0.5
        assert lr_factor(held, cooldown, total) == pytest.approx(begins)
    # a cooldown before that step begins above the trunk's rate
    assert lr_factor(held, 10, 30) == pytest.approx((40 / 11) ** 0.5)


@pytest.mark.parametrize(
    ("cooldown", "middle"), [("1-sqrt", 1 - math.sqrt(0.5)), ("linear", 0.5), ("cosine", 0.5)]
)
def test_cooldown_shapes_have_known_midpoints(cooldown, middle):
    schedule = dataclasses.replace(WSD, cooldown=cooldown)
    assert lr_factor(schedule, 90, 100) == pytest.approx(middle)


@pytest.mark.parametrize("shape", ["cosine", "linear"])
def test_full_decays_start_after_warm_up_and_end_at_the_final_fraction(shape):
    schedule = ScheduleSpec(shape=shape, warmup_steps=10, final_frac=0.1)
    assert lr_factor(schedule, 10, 1000) == pytest.approx(1.0)
    assert lr_factor(schedule, 999, 1000) == pytest.approx(0.1, abs=2e-3)


def test_a_cut_cosine_is_the_first_half_of_one_twice_as_long():
    cut = ScheduleSpec(shape="cosine_cut", warmup_steps=10)
    whole = ScheduleSpec(shape="cosine", warmup_steps=10)
    for step in range(100):
        assert lr_factor(cut, step, 100) == lr_factor(whole, step, 200)
    assert cut.end != "annealed" and whole.end == "annealed"


def test_restarts_fall_once_in_each_cycle():
    part = Component(name="restarts", settings=(("fall", 0.25),))
    schedule = ScheduleSpec(
        shape="restarts", shape_part=part, cooldown="linear", warmup_steps=10, final_frac=0.1
    )
    rates = [lr_factor(schedule, step, 90) for step in range(90)]
    assert rates[10:40] == rates[50:80] == [1.0] * 30
    assert rates[40:50] == pytest.approx(rates[80:90])
    assert rates[49] == pytest.approx(0.19) and schedule.end == "annealed"


def test_cycles_too_short_to_fall_are_refused():
    part = Component(name="restarts", settings=(("cycles", 50),))
    schedule = ScheduleSpec(shape="restarts", shape_part=part, cooldown="cosine", warmup_steps=10)
    with pytest.raises(ValueError, match="50 cycles of the rate in 80 steps after the warm-up"):
        check_rates(schedule, 90)


def test_one_cycle_that_falls_as_a_cosine_is_the_cosine():
    part = Component(name="restarts", settings=(("cycles", 1),))
    once = ScheduleSpec(shape="restarts", shape_part=part, cooldown="cosine", warmup_steps=5)
    cosine = ScheduleSpec(shape="cosine", warmup_steps=5)
    for step in range(60):
        assert lr_factor(once, step, 60) == pytest.approx(lr_factor(cosine, step, 60))


def test_a_rise_by_a_power_ends_at_the_peak_and_is_then_wsd():
    settings = (("rise_power", 2.0), ("rise_steps", 40))
    part = Component(name="wsd_rise", settings=settings)
    rising = dataclasses.replace(WSD, shape="wsd_rise", shape_part=part, warmup_steps=1)
    plain = dataclasses.replace(WSD, warmup_steps=1)
    assert lr_factor(rising, 19, 100) == pytest.approx(0.25)
    assert [lr_factor(rising, step, 100) for step in range(39, 100)] == [
        lr_factor(plain, step, 100) for step in range(39, 100)
    ]


def test_constant_holds_and_steps_outside_the_run_are_refused():
    constant = ScheduleSpec(shape="constant", warmup_steps=0)
    assert {lr_factor(constant, step, 50) for step in range(50)} == {1.0}
    with pytest.raises(ValueError, match="outside"):
        lr_factor(constant, 50, 50)


def test_phases_agree_with_the_factors():
    phases = [lr_phase(WSD, step, 100) for step in range(100)]
    assert phases == ["warm-up"] * 10 + ["stable"] * 70 + ["decay"] * 20
    assert lr_phase(WSD, 100, 100) == "decay"  # a heartbeat after the last step
    trunk = dataclasses.replace(WSD, decay_steps=None)
    assert lr_phase(trunk, 99, 100) == "stable"
    assert lr_phase(ScheduleSpec(shape="cosine", warmup_steps=10), 50, 100) == "decay"
    assert lr_phase(ScheduleSpec(shape="constant", warmup_steps=10), 50, 100) == "stable"
