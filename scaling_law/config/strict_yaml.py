"""YAML read strictly, with the line of every key.

PyYAML reads ``1e18`` and ``3e-4`` as text, ``no`` as False, ``1:30`` as 90 and keeps the last
of two equal keys. Here scalars follow YAML 1.2's core schema, and duplicate keys, anchors,
aliases and tags are refused. Only PyYAML's event stream is used, never its constructors.
"""

from __future__ import annotations

import functools
import json
import math
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from scaling_law.errors import ConfigError, described, listed, quoted
from scaling_law.files.layout import near_path

MAX_BYTES = 100_000  # fifty times a config; PyYAML reads 100 kB in half a second
MAX_DEPTH = 20
SET = "--set"  # the place of a key that the command line sets
MAX_DIGITS = 400  # a number no float can hold; also keeps int() away from its own limit

Key = str | int
Path_ = tuple[Key, ...]

INT = re.compile(r"[-+]?[0-9]+")
BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
NUMBER = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


@dataclass(frozen=True)
class Mark:
    """Where a value is written: ``place`` (``quick.yaml:11`` or ``SET``) and its dotted
    ``key``."""

    place: str
    key: str

    def __str__(self) -> str:
        separator = " " if self.place == SET else ": "
        return separator.join(part for part in (self.place, self.key) if part)


@dataclass
class YamlDocument:
    """Plain values and, for the path of each of them, its mark."""

    data: Any
    marks: dict[Path_, Mark] = field(default_factory=dict)

    def mark(self, path: Path_) -> Mark:
        """The mark of ``path``, or of the nearest enclosing value, with the whole key."""
        for length in range(len(path), -1, -1):
            if (nearest := self.marks.get(path[:length])) is not None:
                return Mark(nearest.place, dotted((nearest.key, *path[length:])))
        return Mark("", dotted(path))

    def elsewhere(self, path: Path_) -> str:
        """``; the config has data.digits``: where else keys of this name are written; "" if not."""
        others = [p for p in self.marks if p and p[-1] == path[-1] and p != path]
        return f"; the config has {listed([dotted(p) for p in others])}" if others else ""

    def copied(self) -> YamlDocument:
        """A copy that shares nothing with this document."""
        return YamlDocument(deep_copy(self.data), dict(self.marks))

    def forget(self, path: Path_) -> None:
        """Drop the marks of ``path`` and of all below it."""
        for known in [p for p in self.marks if p[: len(path)] == path]:
            del self.marks[known]

    def set(self, keys: Sequence[str], value: Any, place: str, under: str = "") -> None:
        """Set the value at ``keys``, as written at ``place`` under the key ``under``.

        Sections that are not there are made. Raises ``ConfigError`` where a key leads into a value
        or past the end of a list.
        """
        target = self.data
        path: Path_ = ()
        for position, key in enumerate(keys):
            last = position == len(keys) - 1
            index: Key = key
            if isinstance(target, list):
                # nine digits: int() refuses thousands of them
                if not (key.isdecimal() and len(key) < 10 and int(key) < len(target)):
                    raise ConfigError(
                        f"{key} is not a position in a list of {len(target)} (from 0)"
                    )
                index = int(key)
            elif not isinstance(target, dict):
                place = self.elsewhere(tuple(keys)) or "; slaw config NAME prints all keys"
                raise ConfigError(f"{dotted(path)} holds {described(target)}, not keys{place}")
            path = (*path, index)
            if last:
                target[index] = value
            elif isinstance(target, dict):
                if key not in target:
                    target[key] = {}
                    self.marks[path] = Mark(place, dotted((under, *path)))
                target = target[key]
            else:
                target = target[int(index)]
        self.forget(path)
        self.marks[path] = Mark(place, dotted((under, *path)))


def deep_copy(value: Any) -> Any:
    """A copy of plain values."""
    return json.loads(json.dumps(value))


def dotted(path: tuple[Key, ...]) -> str:
    """``("grid", 1, "seeds")`` as ``grid.1.seeds``."""
    return ".".join(str(part) for part in path if part != "")


def read_document(text: str, name: str) -> YamlDocument:
    """Parse ``text``; ``name`` stands before line numbers.

    Raises ``ConfigError`` with one line per duplicate key, anchor, tag or odd number found,
    or with the first syntax error.
    """
    return _parsed(text, name).copied()


@functools.lru_cache(maxsize=128)
def _parsed(text: str, name: str) -> YamlDocument:
    """``text`` as it is parsed once: a command reads its config several times, 10 ms each."""
    return _Builder(name).build(text)


def read_file(path: Path, name: str) -> YamlDocument:
    """``read_document`` of a file. Raises ``ConfigError`` when it cannot be read."""
    try:
        status = path.stat()
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            # a pipe or device may never end
            raise ConfigError(f"{name}: a pipe or device; expected a YAML file")
        if status.st_size > MAX_BYTES:
            raise ConfigError(f"{name}: larger than {MAX_BYTES} bytes, not a config")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{name}: no such file{near_path(path)}") from None
    except UnicodeDecodeError as problem:
        raise ConfigError(f"{name}: not UTF-8 text ({problem.reason})") from None
    except OSError as problem:
        raise ConfigError(f"{name}: cannot be read ({problem.strerror})") from None
    except ValueError:  # a NUL byte; after UnicodeDecodeError, which is one too
        raise ConfigError(f"{name}: no path; expected the name of a file") from None
    return read_document(text, name)


def read_value(text: str, key: str = "") -> Any:
    """One value as YAML, for ``--set key=value``. Raises ``ConfigError``.

    ``key`` is where the value goes: mistakes inside the value name it with their place.
    """
    return _Builder("", key).build(text).data


def scalar(text: str) -> Any:
    """A plain scalar by YAML 1.2's core schema. Raises ``ValueError`` when not finite."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return text[0] in "tT"
    if NOT_FINITE.fullmatch(text):
        raise ValueError(f"expected a finite number, found {text}")
    based = BASED.fullmatch(text)
    if not (based or NUMBER.fullmatch(text)):
        return text
    try:
        if len(text) > MAX_DIGITS:
            raise OverflowError
        number = int(text, 0) if based else int(text) if INT.fullmatch(text) else float(text)
        if math.isinf(float(number)):
            raise OverflowError
    except OverflowError:
        shown = text if len(text) <= 20 else f"{text[:20]}..."
        raise ValueError(f"expected a finite number, found {shown}") from None
    return number


def is_text(value: str) -> bool:
    """Whether it can be written down: half a surrogate pair cannot."""
    return not any("\ud800" <= c <= "\udfff" for c in value)


class _Builder:
    def __init__(self, name: str, key: str = "") -> None:
        self.name, self.key = name, key
        self.problems: list[str] = []
        self.marks: dict[Path_, Mark] = {}

    def build(self, text: str) -> YamlDocument:
        events = yaml.parse(text, Loader=yaml.SafeLoader)
        try:
            data = self._document(events)
        except yaml.MarkedYAMLError as problem:
            line = problem.problem_mark.line + 1 if problem.problem_mark is not None else 1
            reason = problem.problem or problem.context or "syntax error"
            self.problems.append(f"{self._at(line)}: not valid YAML: {reason}")
            data = None
        except yaml.YAMLError as problem:
            reason = " ".join(str(problem).split())
            self.problems.append(f"{self.name or 'value'}: not valid YAML: {reason}")
            data = None
        if self.problems:
            raise ConfigError(*self.problems)
        return YamlDocument(data, self.marks)

    def _document(self, events: Iterator[Any]) -> Any:
        data: Any = None
        documents = 0
        for event in events:
            line = event.start_mark.line + 1
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise ConfigError(f"{self._at(line)}: a second document; a config is one")
                data = self._node(next(events), events, ())
        return data

    def _at(self, line: int) -> str:
        return f"{self.name}:{line}" if self.name else "value"

    def _node(self, event: Any, events: Iterator[Any], path: Path_) -> Any:
        line = event.start_mark.line + 1
        self.marks.setdefault(path, Mark(self._at(line), dotted(path)))
        if len(path) > MAX_DEPTH:
            raise ConfigError(f"{self._at(line)}: nested more than {MAX_DEPTH} deep")
        if isinstance(event, yaml.AliasEvent) or event.anchor:
            self._problem(line, path, "anchors and aliases are not read; write the value out")
            if isinstance(event, yaml.AliasEvent):
                return None
        if event.tag is not None:
            self._problem(line, path, f"the tag {quoted(event.tag)} is not read; leave it out")
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(events, path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(events, path)
        if not is_text(event.value):
            self._problem(line, path, f"expected Unicode text, found {quoted(event.value)}")
            return None
        if event.style is not None:
            return event.value
        try:
            return scalar(event.value)
        except ValueError as problem:
            self._problem(line, path, str(problem))
            return None

    def _mapping(self, events: Iterator[Any], path: Path_) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for event in events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            line = event.start_mark.line + 1
            if not isinstance(event, yaml.ScalarEvent):
                self._problem(line, path, "a list, mapping or alias as a key; expected text")
                raise ConfigError(*self.problems)
            key = event.value
            if not is_text(key):
                self._problem(line, path, f"expected Unicode text as a key, found {quoted(key)}")
                raise ConfigError(*self.problems)
            if key in mapping:
                first = self.marks[(*path, key)].place.rpartition(":")[2]
                which = f" (first on line {first})" if self.name else ""  # a value is one line
                self._problem(line, (*path, key), f"written twice{which}")
            else:
                self.marks[(*path, key)] = Mark(self._at(line), dotted((*path, key)))
            mapping[key] = self._node(next(events), events, (*path, key))
        return mapping

    def _sequence(self, events: Iterator[Any], path: Path_) -> list[Any]:
        items: list[Any] = []
        for event in events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            items.append(self._node(event, events, (*path, len(items))))
        return items

    def _problem(self, line: int, path: Path_, what: str) -> None:
        if self.key and path:
            place = dotted((self.key, *path))
        else:
            place = f"{self._at(line)}: {dotted(path)}" if path else self._at(line)
        self.problems.append(f"{place}: {what}")
