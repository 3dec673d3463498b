"""The units of a table's columns: as an option states them, or as the columns' names do."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from scaling_law.errors import ConfigError, did_you_mean, quoted

COUNTS = ("params", "tokens", "unique_tokens", "batch")
# The usual units of counts and of FLOPs; a number such as 1e9 is one too.
_SHORT = {"K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9, "T": 1e12}
_LONG = {
    "thousand": 1e3, "thousands": 1e3, "million": 1e6, "millions": 1e6, "mio": 1e6, "mn": 1e6,
    "billion": 1e9, "billions": 1e9, "bn": 1e9, "trillion": 1e12, "trillions": 1e12, "tn": 1e12,
}  # fmt: skip
_PREFIXES = {
    "": 1.0, "k": 1e3, "kilo": 1e3, "m": 1e6, "mega": 1e6, "g": 1e9, "giga": 1e9, "t": 1e12,
    "tera": 1e12, "p": 1e15, "peta": 1e15, "e": 1e18, "exa": 1e18, "z": 1e21, "zetta": 1e21,
    "y": 1e24, "yotta": 1e24,
}  # fmt: skip
_DAY_SECONDS = 86400.0
_FLOPS = re.compile(
    r"(kilo|mega|giga|tera|peta|exa|zetta|yotta|[kmgtpezy])?f(?:lops?)?s{0,2}(days?|hours?)?"
)
# A column that a letter calls millions or so holds numbers below this; larger ones are counts.
_SMALL = 1e6
LOSS_UNITS = ("nats", "bits", "bits-per-byte", "perplexity", "other")
_LOSS_WORDS = {
    "nats": "nats", "nat": "nats", "bits": "bits", "bit": "bits", "bpt": "bits",
    "bpb": "bits-per-byte", "ppl": "perplexity", "perplexity": "perplexity",
    "perplexities": "perplexity",
}  # fmt: skip
_BRACKETED = re.compile(r"\s*(.*?)\s*[(\[{]\s*([^()\[\]{}]*?)\s*[)\]}]\s*")
_LAST_WORD = re.compile(r"\s*(.*?[^\s_\-./])[\s_\-./]+(?:in[\s_\-]+)?([^\s_\-./]+)\s*")
_PF_DAYS = re.compile(r"\s*(.*?)[\s_\-./]+(?:in[\s_\-]+)?([a-zA-Z]+[\s_\-/]*(?:days?|hours?))\s*")


@dataclass(frozen=True)
class Unit:
    """What a column's numbers are multiplied by.

    ``factor``: the factor.
    ``words``: the unit, in words.
    ``small``: whether it only counts for a column of small numbers: a letter may mean another
        thing, as T for tokens.
    """

    factor: float
    words: str
    small: bool = False


def unit_of(role: str, text: str) -> Unit | None:
    """The unit of a role that ``text`` names, as in M, millions, PF-days or 1e9; None for none."""
    plain = text.strip()
    number = _factor(plain)
    if number is not None:
        return Unit(number, f"units of {plain}")
    if role == "flops":
        return _flops_unit(plain)
    if plain.upper() in _SHORT and role in COUNTS:
        factor = _SHORT[plain.upper()]
        return Unit(factor, f"units of {factor:g}", small=True)
    word = re.sub(r"^(?:in|x)\s+", "", re.sub(r"\s+(?:of\s+)?(?:tokens|params|parameters)$", "",
                  plain.lower()))  # fmt: skip
    if word in _LONG and role in COUNTS:
        return Unit(_LONG[word], f"units of {_LONG[word]:g}")
    return None


def _factor(text: str) -> float | None:
    plain = text.replace("10^", "1e").replace("10**", "1e").lstrip("x× ")
    try:
        value = float(plain)
    except ValueError:
        return None
    return value if 0 < value < math.inf else None


def _flops_unit(text: str) -> Unit | None:
    letters = re.sub(r"[^a-z]", "", text.lower())
    if text.upper() in _SHORT and text:
        factor = _SHORT[text.upper()]
        return Unit(factor, f"units of {factor:g}", small=True)
    if letters in _LONG:
        return Unit(_LONG[letters], f"units of {_LONG[letters]:g}")
    return _flops_word(text)


def _flops_word(text: str) -> Unit | None:
    """The unit that ``text`` names in full, as ``PFLOP`` and ``PF-days`` do; None for none."""
    letters = re.sub(r"[^a-z]", "", text.lower())
    # a rate times a time: petaflop/s-days
    plain = letters.replace("floatingpointoperations", "flop").replace("persecond", "s")
    match = _FLOPS.fullmatch(plain)
    if match is None:
        return None
    factor = _PREFIXES[match[1] or ""]
    if match[2]:
        factor *= _DAY_SECONDS if match[2].startswith("day") else 3600.0
    return Unit(factor, f"{text} ({factor:g} FLOPs)")


def in_name(role: str, column: str) -> tuple[str, Unit | None]:
    """A column's name without its unit, and the unit, as of ``tokens (B)`` or ``params_m``."""
    for pattern in (_BRACKETED, _PF_DAYS, _LAST_WORD):
        match = pattern.fullmatch(column)
        if match and (unit := unit_of(role, match[2])):
            return match[1], unit
    if role == "flops" and (unit := _flops_word(column)) and unit.factor > 1:
        return "flops", unit
    return column, None


def small_enough(unit: Unit, median: float) -> bool:
    """Whether a column whose numbers have this median may be meant in the unit of its name."""
    return not unit.small or median < _SMALL


def base_name(column: str) -> str:
    """A column's name in small letters without a unit in brackets."""
    match = _BRACKETED.fullmatch(column)
    return (match[1] if match else column).strip().lower()


def loss_unit_in_name(column: str) -> str:
    """The unit of a loss that a column's name states, one of ``LOSS_UNITS``; "" for none."""
    words = [word for word in re.split(r"[^a-z]+", column.lower()) if word]
    named = [_LOSS_WORDS[word] for word in words if word in _LOSS_WORDS]
    if not named:
        return ""
    if "perplexity" in named:
        return "" if "log" in words else "perplexity"
    if "bits" in named and "byte" in words:
        return "bits-per-byte"
    return named[-1]


def check_units(units: Mapping[str, str]) -> None:
    """Raises ``ConfigError`` for a unit that no number can have."""
    known = (*COUNTS, "flops")
    for role, text in units.items():
        if role == "loss":
            raise ConfigError(f"units: {role}={text}: the loss's unit is --loss-unit")
        if role not in known:
            raise ConfigError(
                f"units: role {quoted(role)}{did_you_mean(role, known)}: expected one of"
                f" {', '.join(known)}"
            )
        if unit_of(role, text) is None:
            expected = "GFLOP, PFLOP, EFLOP, ZFLOP, PF-days" if role == "flops" else "K, M, B, T"
            raise ConfigError(f"units: {role}={text}: expected {expected} or a number as 1e9")


def parse_units(text: str) -> dict[str, str]:
    """``"params=M,tokens=B,flops=PF-days"`` -> {role: unit}. Raises ``ConfigError``."""
    units: dict[str, str] = {}
    for part in text.split(","):
        role, equals, unit = (piece.strip() for piece in part.partition("="))
        if not equals or not unit:
            raise ConfigError(f"units: {quoted(part.strip())}: expected ROLE=UNIT, as tokens=B")
        if role in units:
            raise ConfigError(f"units: {role} is given twice")
        units[role] = unit
    check_units(units)
    return units
