"""Replace e-mail addresses, public IP addresses and phone numbers, as FineWeb does.

FineWeb replaces e-mail and public IP addresses (arXiv 2406.17557). Phone numbers are taken for
such where they begin with + and have at least 8 digits, not more than 15 in a row, begin with an
area code in brackets, or are of the form 555-123-4567.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from scaling_law.data.cleaners import Changed, Cleaner, Judgement
from scaling_law.spec.values import Described

_EMAIL = re.compile(r"[A-Za-z0-9][\w.+%-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}\b")
_IP = re.compile(r"(?<![\w.-])(?:\d{1,3}\.){3}\d{1,3}(?!\.?\d)")
_PHONE = re.compile(
    r"(?<![\w.+-])(?:\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{2,12}(?:[ .-]\d{2,8}){0,4}"
    r"|\(\d{3}\) ?\d{3}[ .-]\d{4}|\d{3}([ .-])\d{3}\1\d{4})(?![\w.-]*\d)"
)
# Names and addresses that are set aside for examples (RFC 2606 and 5737).
_MASKS = {"e-mail address": "email@example.com", "IP address": "192.0.2.1",
          "phone number": "555-0100"}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is masked: e-mail addresses, public IP addresses, phone numbers."""

    emails: Annotated[bool, Described("mask e-mail addresses")] = True
    ips: Annotated[bool, Described("mask public IP addresses")] = True
    phones: Annotated[bool, Described("mask phone numbers")] = True


def _judge(settings: Settings) -> Callable[[str], Judgement]:
    looks_like = {"IP address": _is_public, "phone number": _is_phone}

    def judge(text: str) -> Judgement:
        counts: Counter[str] = Counter()

        def masked(kind: str) -> Callable[[re.Match[str]], str]:
            def mask(match: re.Match[str]) -> str:
                if match[0] == _MASKS[kind] or not looks_like.get(kind, bool)(match[0]):
                    return match[0]
                counts[kind] += 1
                return _MASKS[kind]

            return mask

        if settings.emails and "@" in text:
            text = _EMAIL.sub(masked("e-mail address"), text)
        if settings.ips:
            text = _IP.sub(masked("IP address"), text)
        if settings.phones:
            text = _PHONE.sub(masked("phone number"), text)
        return Changed(text, counts) if counts else None

    return judge


def _is_phone(number: str) -> bool:
    """Whether a number that begins with + has enough digits for one of a country (E.164)."""
    return number[0] != "+" or sum(map(str.isdigit, number)) >= 8


def _is_public(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False


CLEANER = Cleaner(judge=_judge, settings=Settings)
