"""Claims on effects: how often chance establishes one, and how often a planted one is seen."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from scaling_law.experiment.answer import (
    PreconditionError,
    all_decided,
    all_within,
    decided,
    decided_between,
)
from scaling_law.experiment.proportion import counted_share, exact_interval
from scaling_law.experiment.seeds import (
    NO_NOISE,
    Mean,
    SeedNoise,
    all_beyond_error,
    beyond_error,
    block_noise,
    by_chance,
    difference,
    jackknifed,
    mean_over,
    mean_text,
    no_error,
    paired,
    pooled_noise,
)

DRAWS = 1000


def draws(*shape: int, effect: float = 0.0) -> list[Any]:
    """Normal values of deviation 1 about an effect, which the shape fixes."""
    return (effect + np.random.default_rng(shape).normal(size=(DRAWS, *shape))).tolist()


def ends(mean: Mean | None) -> tuple[float, float]:
    """A mean's interval, which it has."""
    assert mean is not None and mean.interval is not None
    return mean.interval


def share(verdicts) -> float:
    """The share of verdicts that are not open."""
    return sum(verdict is not None for verdict in verdicts) / DRAWS


@pytest.mark.parametrize("seeds", [2, 3, 5, 8])
def test_chance_alone_decides_as_rarely_as_the_interval_misses(seeds):
    assert share(beyond_error(values) for values in draws(seeds)) == pytest.approx(0.1, abs=0.03)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_a_large_effect_is_found_and_never_with_the_wrong_sign(seeds):
    verdicts = [beyond_error(values) for values in draws(seeds, effect=20.0)]
    assert share(verdicts) > 0.95 and False not in verdicts
    assert beyond_error([-20.0, -21.0]) is False


def test_noise_measured_on_more_runs_finds_smaller_effects_as_honestly():
    def of(effect: float) -> tuple[float, float]:
        """How often the last of four arms is decided against the first: by all arms, by its own."""
        pooled, alone = [], []
        for arms in draws(4, 3):
            values = [effect + last - first for first, last in zip(arms[0], arms[3], strict=True)]
            pooled.append(beyond_error(values, block_noise(arms).of_difference))
            alone.append(beyond_error(values))
        return share(pooled), share(alone)

    assert of(0.0)[0] == pytest.approx(0.1, abs=0.03)
    pooled, alone = of(3.0)
    assert pooled > alone + 0.1


def test_the_best_of_many_arms_wins_by_chance_as_rarely_as_one_alone():
    best = [max(arms, key=sum) for arms in draws(6, 3)]
    assert share(beyond_error(values, of=6) for values in best) < 0.13
    # without counting them it would seem to win in every third set of runs
    assert share(beyond_error(values) for values in best) > 0.2


def test_of_several_cases_any_that_is_below_contradicts_and_is_counted_as_picked():
    verdicts = [all_beyond_error(arms) for arms in draws(6, 3)]
    assert sum(verdict is False for verdict in verdicts) / DRAWS < 0.1
    assert True not in verdicts
    assert all_beyond_error([[1.0, 1.1], [2.0, 2.1]]) is True
    assert all_beyond_error([[1.0, 1.1], [-2.0, -2.001]]) is False
    assert all_beyond_error([[1.0, 1.1], [-2.0, 2.1]]) is None
    assert all_beyond_error([]) is None
    # an interval that holds for one alone, not for the lowest of twenty
    low = [-1.0, -1.2]
    assert beyond_error(low) is False and all_beyond_error([low, *[[1.0, -1.0]] * 19]) is None


def test_groups_of_other_seeds_are_told_apart_by_their_own_scatter():
    pairs = zip(draws(3), draws(4), strict=True)
    means = [difference(ours, [10 * one for one in theirs]) for ours, theirs in pairs]
    missed = sum(not low <= 0 <= high for low, high in map(ends, means))
    assert missed / DRAWS < 0.13
    alone = difference([1.0], [2.0, 3.0])
    assert alone is not None and alone.interval is None and difference([], [1.0]) is None
    assert ends(difference([3.0, 3.0], [1.0, 1.0])) == (2.0, 2.0)  # which decides nothing


def test_a_value_that_is_no_number_decides_nothing():
    for values in ([math.nan, 1.0, 2.0], [1.0, 2.0, 3.0, 4.0, math.nan]):
        assert beyond_error(values) is None
        with pytest.raises(PreconditionError, match="more seeds"):
            decided_between(values, [-1.0, -2.0], "more by")


def test_equal_values_of_few_seeds_decide_nothing():
    """They have an interval of no width, which is no measured one."""
    none = SeedNoise(squares=0.0, freedom=2)
    for count in (2, 3, 4):
        values = [0.5] * count
        assert beyond_error(values) is None and all_beyond_error([values]) is None
        assert beyond_error([-one for one in values]) is None
        with pytest.raises(PreconditionError, match=f"all {count} seeds give one value") as why:
            decided(values, "sooner by")
        most = exact_interval(count, count)[0]
        assert f"0.5 (alike in all {count} seeds) nats" in str(why.value)
        assert f"of {most:.0%} of seeds or more, and 5 would show that of most" in str(why.value)
        with pytest.raises(PreconditionError, match=f"1 of 2 cases all {count} seeds give one"):
            all_decided({"a": values, "b": [1.0, 1.1]}, "by")
        with pytest.raises(PreconditionError, match=f"all {count} seeds give one value"):
            decided_between([3.0] * count, values, "more by")
    assert beyond_error([0.1 + 0.2, 0.3]) is None, "equal but for rounding"
    assert "a spread of 0 by 2 differences" in no_error([1.0, 2.0], none)
    # noise of other runs is an estimate, and five of one sign are a sign test
    assert beyond_error([0.5, 0.5], SeedNoise(squares=0.01, freedom=4)) is True
    assert beyond_error([0.5] * 5) is True and beyond_error([-0.5] * 5) is False
    assert no_error([0.0, 0.0]) == no_error([0.5]) == ""


def test_equal_shares_have_the_interval_of_the_items_that_they_count():
    """No seed copies any of 40 sequences: the share is below a tenth, not below a twentieth."""
    none = counted_share(0.0, 40)
    holds, words = decided([0.1] * 3, "below by", counted=none.below(0.1), show=lambda m: m.text)
    assert holds
    assert words == (
        "below by 0.1 (0.0278 to 0.1, 3 seeds), alike in all of them, by counting 40 items"
        " (Clopper and Pearson)"
    )
    with pytest.raises(PreconditionError, match="no difference; more items, or more seeds"):
        decided([0.05] * 3, "below by", counted=none.below(0.05))
    assert decided([-0.2] * 2, "over by", counted=none.above(0.2))[0] is False
    # seeds that differ say their error themselves
    assert decided([0.1, 0.12], "by", counted=none) == decided([0.1, 0.12], "by")


def test_noise_adds_up_and_doubles_in_a_difference():
    noise = SeedNoise(squares=2.0, freedom=2) + SeedNoise(squares=1.0, freedom=1)
    assert noise == SeedNoise(squares=3.0, freedom=3) and noise + NO_NOISE == noise
    assert noise.of_difference.error(3) == pytest.approx(noise.error(3, 3))


@pytest.mark.parametrize("seeds", [3, 6])
def test_arms_that_scatter_unlike_each_have_the_noise_of_their_own_pairs(seeds):
    """The last arm scatters 6 times as much: the noise of all arms holds it far too seldom."""
    scales, own, pooled = (1.0, 1.0, 2.0, 4.0, 6.0), [], []
    wrong = []
    for arms in draws(len(scales) + 1, seeds):
        scaled = [[scale * one for one in arm]
                  for scale, arm in zip(scales, arms[1:], strict=True)]  # fmt: skip
        values = [[one - base for one, base in zip(arm, arms[0], strict=True)] for arm in scaled]
        noise = block_noise([arms[0], *scaled]).of_difference
        own.append([low <= 0 <= high for low, high in map(ends, map(mean_over, values))])
        low, high = ends(mean_over(values[-1], noise))
        pooled.append(low <= 0 <= high)
        wrong.append([beyond_error(one) is not None for one in values])
    for held in zip(*own, strict=True):
        assert 0.85 <= sum(held) / DRAWS <= 0.95
    for decided_by_chance in zip(*wrong, strict=True):
        assert sum(decided_by_chance) / DRAWS <= 0.13
    assert sum(pooled) / DRAWS < 0.8


def test_pairs_are_of_the_seeds_that_both_have_in_their_order():
    assert paired({2: 5.0, 0: 1.0, 7: 9.0}, {0: 3.0, 2: 1.0, 1: 0.0}) == [-2.0, 4.0]
    assert paired({0: 1.0}, {}) == [] and mean_text([]) == "-"
    assert mean_text(iter([1.0, 1.2])) == "1.1 (0.469 to 1.73, 2 seeds)"


def test_an_interval_of_what_was_picked_is_as_wide_as_all_together():
    values = [1.0, 1.4, 1.1]
    alone, whole = mean_over(values), jackknifed(1.0, [0.9, 1.1, 1.0])
    assert alone is not None
    assert ends(mean_over(values, of=4)) == pytest.approx(ends(alone.wider(4)))
    assert ends(alone.wider(4))[1] > ends(alone)[1]
    picked = jackknifed(1.0, [0.9, 1.1, 1.0], of=4)
    assert ends(picked) == pytest.approx(ends(whole.wider(4)))
    assert Mean(value=1.0, interval=None, seeds=1).wider(4).interval is None
    assert by_chance(12) == "of 12 such intervals 1.2 miss by chance"


def test_a_decision_gives_the_interval_it_rests_on():
    assert decided([1.0, 1.2], "lower by") == (True, "lower by 1.1 (0.469 to 1.73, 2 seeds) nats")
    noise = pooled_noise([[0.0, 0.2, 0.1], [3.0, 3.2, 3.3]])
    holds, words = decided([1.0, 1.2], "lower by", noise=noise, show=lambda mean: mean.percent)
    assert holds and words.endswith("2 seeds), by noise of 4 degrees of freedom")
    holds, words = decided([-0.01, -9.0, -0.01, -0.01, -0.01], "lower by")
    assert not holds and words.endswith(
        "nats, below no difference in all 5 seeds, so in 55% of seeds or more"
    )
    with pytest.raises(PreconditionError, match="includes no difference; more seeds"):
        decided([0.1, 1.2], "lower by")
    with pytest.raises(PreconditionError, match="it has 1 seed"):
        decided([0.1], "lower by")


def test_a_decision_on_several_cases_lists_them_or_their_ends():
    each = {f"at {place}": [place + 1.0, place + 1.1] for place in range(3)}
    assert all_decided(each, "by")[1].count("nats at") == 3
    many = {f"at {place}": [place + 1.0, place + 1.1] for place in range(9)}
    words = all_decided(many, "by")[1]
    assert "at 0, 9.05" in words and words.endswith("at 8 (the lowest and the highest of 9)")
    with pytest.raises(PreconditionError, match="in 1 of 2 cases the interval includes no diff"):
        all_decided({"a": [1.0, 1.1], "b": [1.0, -1.0]}, "by")
    with pytest.raises(PreconditionError, match="one of 20 may lie below by chance"):
        all_decided({"a": [-1.0, -1.2]} | {f"{n}": [1.0, 1.1] for n in range(19)}, "by")
    with pytest.raises(PreconditionError, match="fewer than two seeds b"):
        all_decided({"a": [1.0, 1.1], "b": [1.0]}, "by")


def test_a_decision_between_groups_needs_seeds_that_are_apart():
    assert decided_between([3.0, 3.1], [1.0, 1.1], "more by")[0] is True
    assert decided_between([1.0, 1.1], [3.0, 3.1], "more by")[0] is False
    with pytest.raises(PreconditionError, match="includes no difference"):
        decided_between([1.0, 3.0], [2.0, 4.0], "more by")
    with pytest.raises(PreconditionError, match="one seed of either"):
        decided_between([1.0], [2.0, 4.0], "more by")


@pytest.mark.parametrize(
    ("shift", "noise", "standing"), [(0.02, 0.01, True), (0.02, 0.2, None), (0.9, 0.01, False)]
)
def test_cases_are_alike_where_the_interval_of_every_pair_is_near(shift, noise, standing):
    values = {case: [shift * case + noise * seed for seed in (-1, 0, 1)] for case in range(3)}
    try:
        holds, words = all_within(values, 0.1, "sizes", "more seeds")
    except PreconditionError as refused:
        assert standing is None and refused.needs == "more seeds"
    else:
        assert holds is standing and "of 3 pairs two differ by" in words


def test_a_third_case_that_is_far_off_is_not_alike():
    values = {"a": [0.0, 0.01], "b": [0.01, 0.0], "c": [1.0, 1.01]}
    assert all_within(values, 0.1, "cases", "more seeds")[0] is False
    with pytest.raises(PreconditionError, match="all 2 seeds give one value"):
        all_within({"a": [1.0, 1.0], "b": [1.0, 1.0]}, 0.1, "cases", "more seeds")
    with pytest.raises(PreconditionError, match="fewer than two cases"):
        all_within({"a": [0.0, 0.1]}, 0.1, "cases", "more seeds")


def test_a_mean_of_logs_is_a_factor_of_another():
    mean = mean_over([math.log(2.0), math.log(3.0)])
    assert mean is not None
    times = mean.times(4.0)
    assert times.value == pytest.approx(4 * math.sqrt(6)) and times.seeds == 2
    assert ends(times) == pytest.approx(tuple(4 * end for end in ends(mean.factor)))
