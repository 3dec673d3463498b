import math

import pytest

from scaling_law import units

COUNTS = {
    "175e9": 175e9,
    "175B": 175e9,
    "5M": 5e6,
    "1_000": 1000,
    " 1.4T ": 1.4e12,
    "1e18": 1e18,
    12288: 12288,
    "2k": 2000,
    ".5M": 5e5,
}


@pytest.mark.parametrize(("text", "value"), COUNTS.items())
def test_counts_are_read_as_people_write_them(text, value):
    assert units.parse_count(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "-1", "5X", "1e999", "nan", "five", "0", "1e", True, -3])
def test_invalid_counts_are_refused(text):
    with pytest.raises(ValueError, match=r"expected|too large"):
        units.parse_count(text)


@pytest.mark.parametrize(
    ("text", "value"), [("2h", 7200), ("90m", 5400), ("1h30m", 5400), ("7d", 604800), (30, 30)]
)
def test_durations_are_read(text, value):
    assert units.parse_seconds(text) == value


@pytest.mark.parametrize("text", ["", "2 hours maybe", "1h30", "h", "-2h", "0s", False])
def test_invalid_durations_are_refused(text):
    with pytest.raises(ValueError, match="duration"):
        units.parse_seconds(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [("4GB", 4 * 10**9), ("512MiB", 2**29), (4, 4 * 10**9), ("1.5kB", 1500), ("40M", 40_000_000)],
)
def test_sizes_in_bytes_are_read(text, value):
    assert units.parse_bytes(text) == value


@pytest.mark.parametrize("text", ["", "GB", "-4GB", "4 parsecs", "0", True])
def test_invalid_sizes_are_refused(text):
    with pytest.raises(ValueError, match="size"):
        units.parse_bytes(text)


def test_rounding_a_count_may_change_its_suffix():
    assert units.format_count(12288) == "12.3K"
    assert units.format_count(999_999) == "1M"
    assert units.format_count(1.75e11) == "175B"
    assert units.format_count(1e18) == "1e+18"
    assert units.format_count(999) == "999"
    assert units.format_seconds(75) == "1m15s"
    assert units.format_seconds(59.7) == "1m00s"
    assert units.format_seconds(5400) == "1h30m"
    assert units.format_seconds(700 * 86400) == "700d0h"
    assert units.format_seconds(3 * 365.25 * 86400) == "3 years"
    assert units.format_seconds(29.2e6 * 86400) == "79.9K years"
    assert units.format_bytes(1_500_000) == "1.5 MB"


@pytest.mark.parametrize("value", [1.0, 999.6, 12_345.0, 9.99e5, 3.2e9, 5e13])
def test_printed_counts_read_back(value):
    assert units.parse_count(units.format_count(value)) == pytest.approx(value, rel=6e-3)


@pytest.mark.parametrize(
    ("dollars", "said"),
    [(0.0, "below $0.01"), (0.0099, "below $0.01"), (2.5, "$2.50"), (1234.5, "$1,234")],
)
def test_dollars_are_printed(dollars, said):
    assert units.format_dollars(dollars) == said


def test_bits_per_byte_follow_from_nats_and_bytes():
    # one token per byte at ln 2 nats is one bit per byte
    assert units.bits_per_byte(math.log(2), 100, 100) == pytest.approx(1.0)
    assert units.bits_per_byte(2 * math.log(2), 100, 400) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="positive"):
        units.bits_per_byte(1.0, 0, 10)


@pytest.mark.parametrize(
    ("value", "said"), [(0.19612, "0.196"), (18.07, "18.1"), (1299.6, "1,300"), (999.9, "1,000")]
)
def test_a_ratio_has_three_digits_and_no_exponent(value, said):
    assert units.format_ratio(value) == said


def test_a_noun_is_singular_for_one():
    assert units.count_of(1, "trunk") == "1 trunk"
    assert units.count_of(0, "run") == "0 runs"
    assert units.count_of(8, "trunk") == "8 trunks"


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (1.23e6, 3.45e6, "1.2M to 3.4M tokens"),
        (2e3, 1.9e9, "2K to 1.9B tokens"),
        (340e3, 1.3e54, "tokens not determined"),
        (0.0, 5e9, "0 to 5B tokens"),
        (1e9, math.inf, "1B or more tokens"),
    ],
)
def test_a_range_of_more_than_six_orders_of_magnitude_is_not_determined(low, high, said):
    assert units.count_range(low, high, "tokens") == said
    assert units.is_determined(low, high) == ("not determined" not in said)


@pytest.mark.parametrize(
    ("share", "said"), [(0.547, ".55"), (1.0, "1.00"), (0.0, ".00"), (0.004, "below .01")]
)
def test_a_weight_has_two_decimals_and_no_leading_zero(share, said):
    assert units.weight_words(share) == said
