"""What experiments share: numbers over seeds, times, claims with preconditions, figures."""

from __future__ import annotations

import dataclasses
from statistics import fmean

import pytest
from scipy.stats import chi2

from scaling_law.experiment.answer import answer, beside, claim, need
from scaling_law.experiment.evidence import Run
from scaling_law.experiment.figures import (
    curve_series,
    figure,
    log_axis,
    mean_series,
    number,
    time_series,
)
from scaling_law.experiment.findings import Panel
from scaling_law.experiment.seeds import (
    SeedNoise,
    Time,
    beyond_error,
    block_noise,
    chi_squared_chance,
    first_time,
    jackknifed,
    mean_over,
    median_over,
    median_time,
    pooled_noise,
    range_text,
    ratio,
)
from scaling_law.files.record import CurvePoint
from tests.fakes import record_of, tiny_spec


def run_of(accuracies: dict[int, float | None]) -> Run:
    """A run that measured this accuracy at each step; None where it measured only a loss."""
    curve = tuple(
        CurvePoint(
            step=step, tokens=step, train_loss_nats=1.0, val_loss_nats=1.0, lr=0.1, grad_norm=1.0,
            seconds=1.0, metrics={} if value is None else {"accuracy": value},
        )
        for step, value in accuracies.items()
    )  # fmt: skip
    return Run(record=record_of(tiny_spec()), curve=curve)


def test_a_mean_has_a_student_t_interval():
    mean = mean_over([1.0, 2.0, 3.0])
    # t(2) at 95% is 2.920, the standard error 1/sqrt(3)
    assert mean is not None and mean.value == 2.0
    assert mean.interval == pytest.approx((2 - 2.920 / 3**0.5, 2 + 2.920 / 3**0.5), abs=1e-3)
    assert mean.text == "2 (0.314 to 3.69, 3 seeds)"
    one = mean_over([5.0])
    assert one is not None and one.interval is None and one.text == "5 (one seed)"
    assert mean_over([]) is None


def test_noise_is_pooled_within_settings_and_with_prior_knowledge():
    noise = pooled_noise([[1.0, 3.0], [10.0, 12.0], [7.0]])
    assert (noise.squares, noise.freedom) == (4.0, 2)
    assert noise.deviation == pytest.approx(2**0.5)
    assert noise.error(2, 2) == pytest.approx(2**0.5)
    more = pooled_noise([[0.0, 2.0]], noise)
    assert more == SeedNoise(squares=6.0, freedom=3)


def test_unreached_times_sort_after_reached_ones():
    assert median_over([1.0, None, 3.0]) == 3.0
    assert median_over([1.0, None]) is None
    assert median_over([]) is None
    never, early, late = Time(step=None, within=4000), Time(step=55, within=900), 380
    middle = median_time([early, Time(step=late, within=900), never])
    assert middle is not None and middle.step == 380
    nothing = median_time([early, never, dataclasses.replace(never, within=2000)])
    assert nothing is not None and nothing.text == "never within 2,000"
    assert ratio(Time(step=380, within=900), Time(step=38, within=900)) == 10
    assert ratio(never, early) is None and ratio(early, never) is None


def test_a_level_is_reached_at_its_first_measurement():
    reached = first_time(run_of({5: 0.1, 10: None, 15: 0.96, 20: 0.5}), "accuracy", 0.95)
    assert reached == Time(step=15, within=20) and reached.text == "15"
    assert first_time(run_of({5: 0.1, 25: 0.2, 30: None}), "accuracy", 0.95) == Time(
        step=None, within=25
    )
    assert first_time(run_of({5: None}), "accuracy", 0.95) is None


def test_a_range_prints_its_lowest_and_highest():
    assert range_text([7.123, None, 6.3], "times") == "6.3 to 7.12 times"
    assert range_text([2.0]) == "2"
    assert range_text([None]) == ""


def test_an_unmet_precondition_says_why_and_what_would_meet_it():
    def decide():
        need(False, "one seed has finished", "run another")
        raise AssertionError("what follows an unmet precondition is not asked")

    refused = claim("grows", "it grows", decide)
    assert refused.established is None
    assert refused.because == "one seed has finished; run another"
    assert claim("grows", "it grows", lambda: (False, "3 to 2")).established is False


def test_the_verdict_follows_the_first_claim():
    def refuse():
        need(False, "nothing ran", "run it")

    refused = claim("a", "a", refuse)
    shown = claim("b", "b", lambda: (True, "2 to 3"))
    assert answer([shown, refused], lambda: "It grows.", measures={}).verdict == "It grows."
    findings = answer([refused, shown], lambda: "It grows.", measures={}, figures=(None,))
    assert findings.verdict == "Not established: nothing ran; run it."
    assert findings.figures == ()


def test_figures_leave_out_missing_values():
    geometric = mean_series("ours", {1.0: [2.0, 8.0], 3.0: [5.0]}, geometric=True)
    assert [y for _, y in geometric.points] == pytest.approx([4, 5])
    assert geometric.intervals[0][0] * geometric.intervals[0][1] == pytest.approx(16)
    means = mean_series("ours", {1.0: [2.0, 4.0], 2.0: [], 3.0: [5.0]})
    assert means.points == ((1.0, 3.0), (3.0, 5.0))
    assert means.intervals[1] == (5.0, 5.0)
    never = Time(step=None, within=10)
    times = time_series(
        "t", {1.0: [Time(step=4, within=10), Time(step=6, within=10)], 2.0: [never]}
    )
    assert (times.points, times.intervals) == (((1.0, 5.0),), ((4, 6),))
    assert times.beyond == ((2.0, 10.0),)
    unreached = time_series("t", {2.0: [never]})
    panel = Panel(x=log_axis("x"), y=log_axis("steps"), series=(unreached,))
    assert figure("never", "", "", [panel]) is not None
    curve = curve_series("c", run_of({0: 0.1, 5: 0.2, 10: None}), "accuracy", dashed=True)
    assert curve.points == ((5.0, 0.2),) and curve.dashed
    axis = log_axis("steps", [300, 1.2e12])
    assert axis.values == {"300": 300, "1.2e12": 1.2e12} and number(4.8e12) == "4.8e12"
    assert figure("none", "", "", [Panel(x=axis, y=axis, series=(time_series("t", {}),))]) is None
    drawn = figure("some", "", "", [Panel(x=axis, y=axis, series=(means,))])
    assert drawn is not None and drawn.panels[0].series == (means,)


def test_the_comparison_with_the_literature_marks_missing_measurements():
    assert beside("x", theirs="1", ours="", source="y").ours == "not measured"


@pytest.mark.parametrize(
    ("values", "standing"),
    [
        ((5.0,), None),
        ((0.1, 0.2), None),  # the same sign, which two seeds have by chance in half of all cases
        ((0.1, 0.11), True),
        ((-0.1, -0.11), False),
        ((0.0, 0.0), None),
        ((0.01, 0.5, 0.02), None),
        ((-0.1, 0.2, 0.1), None),
        ((-0.01, 0.2, 0.21, 0.19), True),
        ((0.01, -0.2, -0.21, -0.19), False),
        ((0.01, 9.0, 0.01, 0.02), None),
        ((0.01, 9.0, 0.01, 0.02, 0.01), True),  # a shared sign of five is chance in one of 16
        ((-0.01, -9.0, -0.01, -0.02, -0.01), False),
        ((0.01, 9.0, 0.01, 0.02, 0.0), None),
    ],
)
def test_an_effect_needs_an_interval_without_0_or_five_seeds_of_one_sign(values, standing):
    assert beyond_error(values) is standing


def test_the_noise_of_blocks_leaves_out_what_arms_and_seeds_share():
    shared = [[arm + seed for seed in (0.0, 0.1, 0.3)] for arm in (2.0, 2.5, 3.0)]
    assert block_noise(shared).squares == pytest.approx(0)
    assert block_noise(shared).freedom == 4
    # of two arms it is the noise of their differences over the root of 2
    pair = [[1.0, 1.2, 1.1], [2.0, 2.0, 2.3]]
    apart = pooled_noise([[b - a for a, b in zip(*pair, strict=True)]])
    assert block_noise(pair).error(3, 3) == pytest.approx(apart.error(3))
    assert block_noise(pair[:1]).freedom == 0 and block_noise([[1.0], [2.0]]).freedom == 0


@pytest.mark.parametrize("free", [1, 3, 34])
@pytest.mark.parametrize("share", [0.001, 0.05, 0.5])
def test_the_chance_of_a_chi_squared_is_near_scipys(free, share):
    assert chi_squared_chance(chi2.isf(share, free), free) == pytest.approx(share, abs=0.01)


def test_a_jackknife_of_means_is_students_interval():
    values = [1.0, 1.4, 1.1, 1.7]
    without = [fmean(values[:k] + values[k + 1 :]) for k in range(4)]
    mean = mean_over(values)
    assert mean is not None
    assert jackknifed(fmean(values), without).interval == pytest.approx(mean.interval)
    assert jackknifed(1.0, []).interval is None and jackknifed(1.0, [1.0]).interval is None
