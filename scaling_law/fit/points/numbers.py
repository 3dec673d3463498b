"""Reads cells as numbers: digit groups, decimal commas, suffixes, and words for a missing one.

``12.000`` is twelve where points are decimal, and twelve thousand where commas are. Each column
says which by the cells that can be read in one way only; a column without such cells follows the
others of its table. ``6.06 ± .01`` is a value with its error; other text beside a number is not
read, since it may change what the number means (``~12M``, ``12%``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from scaling_law.errors import ConfigError, one_line
from scaling_law.units import parse_count

MISSING = frozenset(
    ("", "-", "--", "---", "–", "—", "−", ".", "..", "?", "n/a", "na", "#n/a", "#na", "n.a.", "nan",
     "null", "none", "nil", "missing", "unknown", "tbd", "todo", "pending", "running", "failed",
     "crashed", "error", "#value!", "#ref!", "#div/0!", "#num!", "#name?", "undefined", "<na>")
)  # fmt: skip
_GROUP = " \u00a0\u2007\u2009\u202f'\u2019_"
_SPACED = re.compile(rf"[+-]?\d{{1,3}}(?:[{_GROUP}]\d{{2,3}})*[{_GROUP}]\d{{3}}(?:[.,]\d+)?")
_ONE_COMMA = re.compile(r"[+-]?(\d*),(\d+)([eE][+-]?\d+)?")
_ONE_POINT = re.compile(r"[+-]?(\d*)\.(\d*)([eE][+-]?\d+)?")
_COMMA_GROUPS = re.compile(r"[+-]?[1-9]\d{0,2}(?:(?:,\d{2,3})+,\d{3}(?:\.\d*)?|,\d{3}\.\d*)")
_POINT_GROUPS = re.compile(r"[+-]?[1-9]\d{0,2}(?:(?:\.\d{3}){2,}(?:,\d*)?|\.\d{3},\d*)")
_WORDED = re.compile(
    r"(.*?\d[.,]?)\s*(thousand|million|mio|mn|mil|billion|bn|trillion|tn|[kmbgt])"
    r"(?:\s+(?:params|parameters|tokens|flops?))?",
    re.IGNORECASE,
)
_WORDS = {
    "thousand": "K", "million": "M", "mio": "M", "mn": "M", "mil": "M", "billion": "B", "bn": "B",
    "trillion": "T", "tn": "T",
}  # fmt: skip
_POWER_OF_TEN = re.compile(
    r"\s*[×xX*·⋅]\s*10(?:(?:\^|\*\*)\{?([+-]?\d{1,3})\}?|([⁻⁺]?[⁰¹²³⁴⁵⁶⁷⁸⁹]{1,3}))"
)
_WITH_ERROR = re.compile(r"(.*?\d[^±]*?)\s*(?:±|\+/-|\+-|\\pm)\s*([^±]*\d[^±]*)")
_A_NUMBER = re.compile(
    r"(?<![\w.])[+-]?(?:\d[\d.,'_]*\d|\d|[.,]\d+)(?:[eE][+-]?\d+)?(?:\s?[kmbgtKMBGT](?![a-zA-Z]))?"
)
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_LONGEST = 100  # characters of a number
EITHER = "?"


def is_missing(cell: Any) -> bool:
    """Whether a cell has no value: empty, NaN, or a word that says so."""
    if cell is None:
        return True
    if isinstance(cell, float):
        return cell != cell
    return isinstance(cell, str) and cell.strip().lower() in MISSING


def _plain(text: str) -> str:
    """A cell without blanks around it, without its error and the digit groups that are clear.

    ``1.2×10^9`` becomes ``1.2e9``.
    """
    text = _without_error(text)[0].strip().replace("\u2212", "-")
    if "10" in text:
        text = _POWER_OF_TEN.sub(lambda m: f"e{m[1] or m[2].translate(_SUPERSCRIPTS)}", text)
    if _SPACED.fullmatch(text):
        text = re.sub(rf"[{_GROUP}]", "", text)
    return text


def _without_error(text: str) -> tuple[str, str]:
    """A number and the error that stands behind it, as in 6.06 ± .01; "" for a number without."""
    match = _WITH_ERROR.fullmatch(text.strip()) if any(sign in text for sign in "±+\\") else None
    return (match[1], match[2]) if match else (text, "")


def stated_error(cell: Any, mark: str = ".") -> float | None:
    """The error that a cell states behind its value, as in 6.06 ± .01; None for none."""
    if not isinstance(cell, str) or len(cell) > _LONGEST:
        return None
    return number(_without_error(cell)[1] or None, mark=mark)


def beside_number(cell: Any) -> str:
    """Why a cell is no number though it holds one, for a message; "" where it holds none."""
    if not isinstance(cell, str) or len(cell) > _LONGEST:
        return ""
    numbers = [match[0].strip() for match in _A_NUMBER.finditer(cell)]
    if len(numbers) > 1:
        return f"{len(numbers)} numbers in one cell are not read: write one"
    if not numbers:
        return ""
    beside = " ".join(cell.replace(numbers[0], " ", 1).split())
    return f"{beside!r} beside {numbers[0]} is not read: write a plain number" if beside else ""


def _parted(text: str) -> tuple[str, str]:
    """A number and its suffix, as in 1.5 and B; "" for a number without one."""
    match = _WORDED.fullmatch(text)
    if match is None:
        return text, ""
    return match[1], _WORDS.get(match[2].lower(), match[2].upper())


def _mark_of(text: str) -> str:
    """The decimal mark that one number shows; ``EITHER`` where it can be read in two ways."""
    if match := _ONE_COMMA.fullmatch(text):
        groups = re.fullmatch(r"[1-9]\d{0,2}", match[1]) and len(match[2]) == 3 and not match[3]
        return EITHER if groups else ","
    if _POINT_GROUPS.fullmatch(text):
        return ","
    if _COMMA_GROUPS.fullmatch(text):
        return "."
    if match := _ONE_POINT.fullmatch(text):
        groups = re.fullmatch(r"[1-9]\d{0,2}", match[1]) and len(match[2]) == 3 and not match[3]
        return "" if groups else "."  # a point and three digits is what programs write
    return ""


def decimal_marks(columns: Mapping[str, Sequence[Any]], origin: str) -> dict[str, str]:
    """Column -> its decimal mark, ``.`` or ``,``.

    Raises ``ConfigError`` where one column has both, or where no cell of the table shows which.
    """
    if not any(_may_tell(cell) for cells in columns.values() for cell in cells):
        return dict.fromkeys(columns, ".")
    shown: dict[str, dict[str, str]] = {}
    for name, cells in columns.items():
        marks: dict[str, str] = {}
        for cell in cells:
            if isinstance(cell, str) and len(cell) <= _LONGEST:
                text = _parted(_plain(cell))[0]
                if mark := _mark_of(text):
                    marks.setdefault(mark, text)
        if "." in marks and "," in marks:
            raise ConfigError(
                f"{origin}: {name} has decimal commas ({marks[',']}) and decimal points"
                f" ({marks['.']}); write all numbers in one way"
            )
        shown[name] = marks
    of_table = {mark for marks in shown.values() for mark in marks if mark != EITHER}
    chosen = {}
    for name, marks in shown.items():
        own = next((mark for mark in marks if mark != EITHER), "")
        if not own and len(of_table) == 1:
            own = next(iter(of_table))
        if not own and EITHER in marks:
            text = marks[EITHER]
            raise ConfigError(
                f"{origin}: {name} has {text}, which is {text.replace(',', '')} or"
                f" {text.replace(',', '.')}, and no other number of the table shows which; write"
                " numbers without digit groups"
            )
        chosen[name] = own or "."
    return chosen


def _may_tell(cell: Any) -> bool:
    return isinstance(cell, str) and ("," in cell or cell.count(".") > 1)


def number(cell: Any, *, count: bool = False, mark: str = ".") -> float | None:
    """A cell as a number, which may be infinite or NaN; None for other text.

    ``count`` admits suffixes, as in 70B or 1.5 trillion.
    """
    if cell is None or isinstance(cell, bool):
        return None
    if not isinstance(cell, str):
        return _float(cell)
    if mark == "." and (value := _float(cell)) is not None:
        return value
    if len(cell) > _LONGEST:
        return None
    text, suffix = _parted(_plain(cell)) if count else (_plain(cell), "")
    text = _with_point(text, mark)
    if not suffix:
        return _float(text)
    try:
        return parse_count(text + suffix)
    except ValueError:
        return None


def _float(cell: Any) -> float | None:
    try:
        return float(cell)
    except (TypeError, ValueError, OverflowError):
        return None


def _with_point(text: str, mark: str) -> str:
    """A number with a decimal point and without digit groups."""
    shown = _mark_of(text)
    if mark == ",":
        grouped = re.fullmatch(r"[+-]?[1-9]\d{0,2}(?:\.\d{3})+(?:,\d*)?", text)
        return (text.replace(".", "") if grouped else text).replace(",", ".")
    if shown in (".", EITHER):
        return text.replace(",", "")
    return text


def conversions(columns: Mapping[str, Sequence[Any]], marks: Mapping[str, str]) -> list[str]:
    """Say what was read in another way than a program would read it, with an example."""
    notes = []
    commas: dict[str, str] = {}
    groups: dict[str, str] = {}
    errors: dict[str, str] = {}
    for name, cells in columns.items():
        mark = marks[name]
        for text in _texts(cells):
            if mark == "." and _float(text) is not None:
                continue
            if _without_error(text)[1] and number(text, count=True, mark=mark) is not None:
                errors.setdefault(name, text.strip())
                continue
            if _SPACED.fullmatch(text.strip()):
                groups.setdefault(name, text.strip())
            elif mark == ",":
                plain = _parted(_plain(text))[0]
                if "." in plain and _with_point(plain, mark) != plain.replace(",", "."):
                    groups.setdefault(name, plain)
                if "," in plain:
                    commas.setdefault(name, plain)
            elif "," in text and number(text, count=True, mark=mark) is not None:
                groups.setdefault(name, text.strip())
    if errors:
        first = next(iter(errors.values()))
        shown = f"{one_line(first)} is {one_line(_without_error(first)[0])}"
        notes.append(f"values with a stated error read in {', '.join(errors)} ({shown})")
    if commas:
        notes.append(f"decimal commas read in {', '.join(commas)}")
    if groups:
        name, text = next(iter(groups.items()))
        value = number(text, count=True, mark=marks[name])
        shown = "" if value is None else f" ({one_line(text)} is {value:.15g})"
        notes.append(f"digit groups read in {', '.join(groups)}{shown}")
    return notes


def _texts(cells: Sequence[Any]) -> Iterable[str]:
    for cell in cells:
        # most cells of a large table have only digits
        if isinstance(cell, str) and len(cell) <= _LONGEST and not cell.isdigit():
            yield cell
