"""Counts, durations and sizes as people write them, and nats as bits.

Decimal suffixes for counts (K M B T: 1e3 1e6 1e9 1e12) and for bytes (kB MB GB TB, or K M G T);
binary only when written so (KiB MiB GiB TiB).
"""

from __future__ import annotations

import math
import re

from scaling_law.errors import quoted

_COUNT_SUFFIX = {"": 1.0, "K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9, "T": 1e12}
_SECONDS = {"s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_YEAR_SECONDS = 365.25 * 86400
_BYTES = {
    "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip
_NUMBER = r"[+]?(?:\d[\d_]*(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
_ONE = re.compile(rf"\s*({_NUMBER})\s*([A-Za-z]*)\s*")
_LONGEST = 100  # characters; the patterns take quadratic time on a megabyte of blanks


def _number(text: str | float) -> float:
    try:
        value = float(text.replace("_", "") if isinstance(text, str) else text)
    except OverflowError:  # a whole number that no float holds
        value = math.inf
    if value == math.inf:
        raise ValueError(f"{quoted(text)} is too large a number")
    return value


def parse_count(text: str | float) -> float:
    """``"175e9"``, ``"175B"``, ``"5M"``, ``"1_000"`` or a number -> a positive finite float.

    Raises ``ValueError`` with the accepted forms when the text is anything else.
    """
    if isinstance(text, bool):
        raise ValueError("expected a count such as 5M or 175e9, found a truth value")
    if not isinstance(text, str):
        value = _number(text)
    else:
        match = _ONE.fullmatch(text) if len(text) <= _LONGEST else None
        if not match or match[2].upper() not in _COUNT_SUFFIX:
            raise ValueError(f"expected a count such as 5M, 1.4T or 175e9, found {quoted(text)}")
        value = _number(match[1]) * _COUNT_SUFFIX[match[2].upper()]
    if not math.isfinite(value) or value <= 0:
        raise ValueError(f"expected a positive finite count, found {quoted(text)}")
    return value


def parse_seconds(text: str | float) -> float:
    """``"2h"``, ``"90m"``, ``"1h30m"``, ``"7d"`` or a number of seconds -> seconds (> 0)."""
    if isinstance(text, bool):
        raise ValueError("expected a duration such as 2h or 90m, found a truth value")
    if not isinstance(text, str):
        value = _number(text)
    else:
        refusal = ValueError(f"expected a duration such as 2h, 90m or 1h30m, found {quoted(text)}")
        whole = text.strip().lower() if len(text) <= _LONGEST else ""
        parts = re.findall(rf"({_NUMBER})\s*([a-z]*)\s*", whole)
        if not parts or "".join(f"{n}{u}" for n, u in parts) != re.sub(r"\s+", "", whole):
            raise refusal
        value = 0.0
        for number, unit in parts:
            if (unit or "s") not in _SECONDS or (not unit and len(parts) > 1):
                raise refusal
            value += _number(number) * _SECONDS[unit or "s"]
    if not math.isfinite(value) or value <= 0:
        raise ValueError(f"expected a positive finite duration, found {quoted(text)}")
    return value


def parse_bytes(text: str | float, bare_unit: str = "GB") -> int:
    """``"4GB"``, ``"40M"``, ``"512MiB"`` or a bare number (in ``bare_unit``) -> bytes (> 0)."""
    if isinstance(text, bool):
        raise ValueError("expected a size such as 4GB, found a truth value")
    number, unit = text, ""
    if isinstance(text, str):
        match = _ONE.fullmatch(text) if len(text) <= _LONGEST else None
        if not match or (match[2] or bare_unit).lower() not in _BYTES:
            raise ValueError(f"expected a size such as 4GB or 512MiB, found {quoted(text)}")
        number, unit = match[1], match[2]
    value = _number(number) * _BYTES[(unit or bare_unit).lower()]
    if not 1 <= value < math.inf:
        raise ValueError(f"expected a positive finite size, found {quoted(text)}")
    return int(value)


def format_count(value: float, digits: int = 3) -> str:
    """12288 -> ``12.3K``, 1.75e11 -> ``175B``, 1e18 -> ``1e+18``; plain below 1000."""
    if not math.isfinite(value):
        return str(value)
    for suffix, scale in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("K", 1e3)):
        # the rounded figure decides, so that 999,999 prints as 1M and not as 1e+03K
        if float(f"{value:.{digits}g}") >= scale:
            scaled = f"{value / scale:.{digits}g}"
            return f"{value:.{digits}g}" if "e" in scaled else scaled + suffix
    return f"{value:.{digits}g}"


def rounded_count(value: float, digits: int) -> str:
    """A count rounded to so many significant digits: 133e9 with 2 -> ``130B``."""
    return format_count(float(f"{value:.{digits}g}"))


# An interval of more orders of magnitude says that the quantity is not known.
MOST_ORDERS = 6
NOT_DETERMINED = "not determined"


def is_determined(low: float, high: float) -> bool:
    """Whether a positive quantity is known to within ``MOST_ORDERS`` orders of magnitude."""
    return not 0 < low * 10.0**MOST_ORDERS < high < math.inf


def count_range(low: float, high: float, unit: str = "") -> str:
    """``1.2M to 3.4M tokens``; ``1.2M or more tokens``; ``tokens not determined``."""
    if not is_determined(low, high):
        return f"{unit} {NOT_DETERMINED}".lstrip()
    top = "or more" if high == math.inf else f"to {rounded_count(high, 2)}"
    return f"{rounded_count(low, 2)} {top} {unit}".rstrip()


def weight_words(share: float) -> str:
    """A share of 1, as in ``.55``; a small one is ``below .01``."""
    if 0 < share < 0.005:
        return "below .01"
    return f"{share:.2f}".removeprefix("0")


def count_of(number: int, thing: str) -> str:
    """``1 trunk``, ``8 trunks``."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def format_ratio(value: float) -> str:
    """Tokens a parameter, say: three digits, and none of them an exponent below a million."""
    return f"{value:.3g}" if value < 999.5 else f"{float(f'{value:.3g}'):,.0f}"


def outward_range(low: float, high: float) -> tuple[str, str]:
    """A range to a tenth, rounded outwards: the words promise no more than the figures."""
    return f"{math.floor(10 * low) / 10:.1f}", f"{math.ceil(10 * high) / 10:.1f}"


def format_seconds(seconds: float) -> str:
    """75 -> ``1m15s``, 5400 -> ``1h30m``, 200000 -> ``2d7h``; from two years on ``3.1 years``."""
    if seconds >= 2 * _YEAR_SECONDS:
        return f"{format_count(seconds / _YEAR_SECONDS)} years"
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600}h"


def format_dollars(dollars: float) -> str:
    """1234.5 -> ``$1,234``, 2.5 -> ``$2.50``; less than a cent is said to be."""
    if dollars < 0.01:
        return "below $0.01"
    return f"${dollars:,.0f}" if dollars >= 100 else f"${dollars:,.2f}"


def format_bytes(count: float) -> str:
    """1_500_000 -> ``1.5 MB`` (decimal units)."""
    for suffix, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.3g} {suffix}"
    return f"{count:.0f} B"


def bits_per_byte(nats_per_token: float, tokens: int, text_bytes: int) -> float:
    """Bits per byte of text: ``nats_per_token * tokens / (bytes * ln 2)``."""
    if tokens <= 0 or text_bytes <= 0:
        raise ValueError("bits per byte needs positive token and byte counts")
    return nats_per_token * tokens / (text_bytes * math.log(2))
