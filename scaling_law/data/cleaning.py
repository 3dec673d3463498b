"""Clean a text by the rules of ``data.clean``, and count what each drops or changes, and why.

Rules of one document read each document once, in the config's order; equal documents are then
dropped, and rules that compare documents see the distinct ones in the order of their hashes. From
the first rule for training documents only, no rule sees a document of the validation split.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from scaling_law import parts
from scaling_law.data.cleaners import Changed, Cleaner, Documents, Dropped, Judgement
from scaling_law.data.local import local_corpus
from scaling_law.errors import ConfigError, one_line, quoted
from scaling_law.spec.component import Component
from scaling_law.spec.data import DataSpec
from scaling_law.units import format_bytes

CLEANING = "cleaning"
KEY = "data.clean"
EXACT = "exact duplicates"
CAPPED = "beyond max_bytes"
_COPY = "the same text as another document"
_EXAMPLE_CHARS = 80


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule as a text's spec has it: the part, and an instance of its ``settings``."""

    component: Component
    cleaner: Cleaner
    settings: Any


def rules_of(spec: DataSpec) -> list[Rule]:
    """Return the rules of a text. Raises ``ConfigError`` where one is unknown."""
    rules = []
    for component in spec.clean or ():
        cleaner = parts.load("cleaner", component.reference)
        try:
            settings = component.settings_as(cleaner.settings)
        except ValueError as problem:
            raise ConfigError(f"{KEY}: {component.name}: {problem}") from None
        rules.append(Rule(component=component, cleaner=cleaner, settings=settings))
    return rules


def state_of(spec: DataSpec) -> list[Any]:
    """Return a JSON value that changes when a file does that a rule reads.

    Raises ``ConfigError`` where there is no such file.
    """
    states = []
    for rule in rules_of(spec):
        for name in rule.cleaner.files(rule.settings):
            try:
                states.append(local_corpus(Path(spec.place(name)).expanduser()).state())
            except ConfigError as problem:
                raise ConfigError(f"{KEY}: {rule.component.name}: {problem}") from None
    return states


def check_rules(spec: DataSpec) -> None:
    """Read the files of the rules once.

    Raises ``ConfigError`` where a rule needs something installed first, or cannot use a file.
    """
    for rule in rules_of(spec):
        if lacking := rule.cleaner.missing():
            raise ConfigError(f"{KEY}: {rule.component.name}: {lacking}")
        with parts.users_code("cleaner", rule.component.reference):
            rule.cleaner.check(rule.settings, spec.place)


def versions_of(spec: DataSpec) -> dict[str, str]:
    """Return the versions of the packages that decide what is dropped."""
    return {key: value for rule in rules_of(spec) for key, value in rule.cleaner.versions().items()}


@dataclass(kw_only=True)
class Count:
    """What a rule read, dropped and changed.

    ``rule``: its name, with the settings that are not at their default.
    ``documents``, ``size``: documents, and their bytes in UTF-8, that it read.
    ``documents_out``, ``size_out``: those that it left.
    ``dropped``: documents dropped, by reason.
    ``first``: where the first of each reason is from, and how it begins.
    ``changed``: documents that it changed.
    ``changes``: how often what was changed.
    """

    rule: str
    documents: int = 0
    size: int = 0
    documents_out: int = 0
    size_out: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    first: dict[str, tuple[str, str]] = field(default_factory=dict)
    changed: int = 0
    changes: Counter[str] = field(default_factory=Counter)

    def leave(self, size: int, left: int) -> None:
        """Count a document of ``size`` bytes that goes on with ``left`` bytes."""
        self.documents += 1
        self.size += size
        self.documents_out += 1
        self.size_out += left

    def drop(self, size: int, why: str, place: str, text: str) -> None:
        """Count a document that is dropped, which is from ``place``."""
        why = one_line(why)
        self.documents += 1
        self.size += size
        self.dropped[why] += 1
        if why not in self.first:
            self.first[why] = one_line(place), one_line(text[:_EXAMPLE_CHARS])

    def to_json(self) -> dict[str, Any]:
        """Return the counts as JSON values, the most frequent reason first."""
        return {
            "rule": self.rule,
            "in": {"documents": self.documents, "bytes": self.size},
            "out": {"documents": self.documents_out, "bytes": self.size_out},
            "dropped": [
                {"why": why, "count": count, "first": self.first[why][0],
                 "begins": self.first[why][1]}
                for why, count in sorted(self.dropped.items(), key=lambda item: (-item[1], item[0]))
            ],
            "changed": {"documents": self.changed, "counts": dict(sorted(self.changes.items()))},
        }  # fmt: skip


_Judging: TypeAlias = tuple[Rule, Callable[[str], Judgement], Count]


def _judged(judging: Sequence[_Judging], text: str, place: str) -> str | None:
    """Return a document's text as these rules leave it; None where one drops it."""
    size = len(text.encode("utf-8", "replace")) if judging else 0
    for rule, judge, count in judging:
        with parts.users_code("cleaner", rule.component.reference):
            said = judge(text)
            if said is not None and not isinstance(said, Changed | Dropped):
                raise ConfigError(
                    f"{KEY}: {rule.component.name}: it says {quoted(said)} of a document,"
                    " expected Dropped, Changed or None"
                )
        before, left = text, size
        if isinstance(said, Changed):
            text = said.text.strip()
            left = len(text.encode("utf-8", "replace"))
            count.changed += 1
            count.changes.update(said.counts)
            said = None if text else Dropped("nothing left")
        if isinstance(said, Dropped):
            count.drop(size, said.why, place, before)
            return None
        count.leave(size, left)
        size = left
    return text


def _subset(documents: Documents, numbers: list[int]) -> Documents:
    """Return the documents of these numbers, numbered anew."""
    return dataclasses.replace(
        documents,
        count=len(numbers),
        raw=lambda number: documents.raw(numbers[number]),
        in_val=lambda number: documents.in_val(numbers[number]),
    )


class Cleaning:
    """The rules of a text at work. Raises ``ConfigError`` as ``rules_of`` and ``check_rules``."""

    def __init__(self, spec: DataSpec) -> None:
        check_rules(spec)
        self._spec = spec
        rules = rules_of(spec)
        self._judging: list[_Judging] = []
        self._training: list[_Judging] = []  # the rules that see training documents only
        self._spares_val = any(rule.cleaner.training_only for rule in rules)
        training = False
        for rule in rules:
            training = training or rule.cleaner.training_only
            if rule.cleaner.judge is not None:
                with parts.users_code("cleaner", rule.component.reference):
                    judge = rule.cleaner.judge(rule.settings)
                of = self._training if training else self._judging
                of.append((rule, judge, Count(rule=str(rule.component))))
        self._comparing = [rule for rule in rules if rule.cleaner.compare is not None]
        self.exact = Count(rule=EXACT)
        self._counts = [
            *(count for _, _, count in self._judging),
            self.exact,
            *(count for _, _, count in self._training),
        ]

    @property
    def is_on(self) -> bool:
        """Whether there is a rule."""
        return bool(self._judging or self._training or self._comparing)

    def judged(self, text: str, place: str) -> str | None:
        """Return a document's text as the rules of one document leave it; None where one drops it.

        ``place`` says where it is from. Rules for training documents only come later
        (``judged_for_training``).
        """
        return _judged(self._judging, text, place)

    def judged_for_training(self, text: str, place: str) -> str | None:
        """Return a training document's text as the rules leave it that spare the validation split.

        None where one drops it.
        """
        return _judged(self._training, text, place)

    def spared(self, size: int) -> None:
        """Count a validation document of ``size`` bytes, which no rule sees from there on."""
        for _, _, count in self._training:
            count.leave(size, size)

    def copied(self, size: int, text: str, place: str) -> None:
        """Count a document whose text another one has."""
        self.exact.drop(size, _COPY, place, text)

    def capped(self, before: Collection[int], after: Collection[int]) -> None:
        """Count documents beyond ``max_bytes``, of the sizes ``before`` and ``after``."""
        if self.is_on and len(before) > len(after):
            count = Count(
                rule=CAPPED, documents=len(before), size=sum(before), documents_out=len(after),
                size_out=sum(after),
            )  # fmt: skip
            self._counts.append(count)

    def compared(self, documents: Documents, names: list[str]) -> list[int]:
        """Return the numbers of the documents that the comparing rules leave.

        ``names`` are what the documents are called in examples.
        """
        left = list(range(documents.count))
        for rule in self._comparing:
            assert rule.cleaner.compare is not None
            if not left:
                break
            numbers = left
            with parts.users_code("cleaner", rule.component.reference):
                dropped = dict(rule.cleaner.compare(rule.settings, _subset(documents, numbers)))
                if unknown := sorted(dropped.keys() - set(range(len(numbers)))):
                    raise ConfigError(
                        f"{KEY}: {rule.component.name}: it drops document {unknown[0]} of"
                        f" {len(numbers)}, expected numbers from 0"
                    )
            count = Count(rule=str(rule.component))
            left = []
            for number, original in enumerate(numbers):
                raw = documents.raw(original)
                spared = self._spares_val and documents.in_val(original)
                if number in dropped and not spared:
                    count.drop(len(raw), dropped[number], names[original], raw.decode())
                else:
                    count.leave(len(raw), len(raw))
                    left.append(original)
            self._counts.append(count)
        return left

    def to_json(self) -> list[dict[str, Any]]:
        """Return the counts of each rule as JSON values, in the order of the rules."""
        return [count.to_json() for count in self._counts]

    def summary(self) -> str:
        """Say in a line what stays, and how much each rule drops."""
        first, last = self._counts[0], self._counts[-1]
        dropped = [
            f"{count.rule} dropped {count.dropped.total():,}"
            for count in self._counts
            if count.dropped
        ]
        return (
            f"cleaning leaves {last.documents_out:,} of {first.documents:,} documents,"
            f" {format_bytes(last.size_out)} of {format_bytes(first.size)}"
            f"{': ' if dropped else ''}{', '.join(dropped)}"
        )

    def why_nothing(self) -> str:
        """Say which rule leaves no document; "" where none does."""
        for count in self._counts:
            if count.documents and not count.documents_out:
                why, most = count.dropped.most_common(1)[0]
                return (
                    f"{KEY}: {count.rule} leaves no document of {self._spec.corpus}: it drops"
                    f" {count.documents:,} of {count.documents:,}, {most:,} of them with the reason"
                    f' "{why}"; loosen the rule or take it out'
                )
        return ""
