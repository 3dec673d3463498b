"""Writes and reads files that carry a hash of their content, so that damage is noticed.

A flipped digit is still valid JSON, and a wrong number. So a JSON document holds its ``digest``, a
line of a growing file its ``check``, and a text for people a first line with its hash. Files from
before these hashes may lack one; their keys are checked instead, so that a damaged key is noticed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from scaling_law.errors import ConfigError, quoted
from scaling_law.files import layout
from scaling_law.spec.to_json import canonical_json

_DIGEST, _CHECK, _TEXT = "digest", "check", "# sha256 "
_DIGEST_CHARS, _CHECK_CHARS = 16, 8


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _without(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name != key}


def digest(content: Mapping[str, Any]) -> str:
    """16 hex digits of the SHA-256 of the canonical JSON of ``content`` without ``digest``."""
    return _hash(canonical_json(_without(content, _DIGEST)))[:_DIGEST_CHARS]


def with_digest(content: Mapping[str, Any]) -> dict[str, Any]:
    """``content`` as JSON reads it back, with its digest."""
    plain = json.loads(json.dumps(_without(content, _DIGEST), allow_nan=False))
    return {**plain, _DIGEST: digest(plain)}


def write(
    path: Path, content: Mapping[str, Any], guard: Callable[[], None] = layout.anybody
) -> None:
    """Replace ``path`` by the JSON of ``content`` with its digest."""
    layout.write_json(path, with_digest(content), guard)


def opened(content: Any, *, required: bool = False) -> dict[str, Any]:
    """``content`` without its digest. Raises ``ValueError`` if the digest does not match.

    Content without a digest passes unless one is ``required``.
    """
    if not isinstance(content, dict):
        raise ValueError(f"found {quoted(content)}, expected keys and values")
    if _DIGEST not in content:
        if required:
            raise ValueError("it has no digest")
        return content
    if content[_DIGEST] != digest(content):
        raise ValueError("its content does not match its digest")
    return _without(content, _DIGEST)


def read(path: Path, remedy: str) -> dict[str, Any]:
    """The JSON object in ``path``, without its digest.

    Raises ``ConfigError`` with the file, what is wrong with it, and the ``remedy``.
    """
    content = layout.read_json(path)
    try:
        return opened(content)
    except ValueError as problem:
        raise ConfigError(f"{path}: damaged ({problem}); {remedy}") from None


def line(content: Mapping[str, Any]) -> str:
    """One line of JSON with a short hash, for files that grow or are not synced."""
    plain = _without(content, _CHECK)
    check = _hash(canonical_json(plain))[:_CHECK_CHARS]
    return json.dumps({**plain, _CHECK: check}, allow_nan=False) + "\n"


def open_line(text: str) -> dict[str, Any]:
    """The content of a line made by ``line``, or of one without a hash. Raises ``ValueError``."""
    content = json.loads(text)
    if not isinstance(content, dict):
        raise ValueError(f"found {quoted(content)}, expected keys and values")
    plain = _without(content, _CHECK)
    if _CHECK in content and content[_CHECK] != _hash(canonical_json(plain))[:_CHECK_CHARS]:
        raise ValueError("the line does not match its own check")
    return plain


def text(body: str) -> str:
    """``body`` under a line with its hash, which YAML reads as a comment."""
    return f"{_TEXT}{_hash(body)}\n{body}"


def read_text(path: Path, sha256: str | None = None) -> str:
    """The body of a text made by ``text``, or of one without a hash if no ``sha256`` is given.

    Raises ``ConfigError``.
    """
    if path.exists() and not path.is_file():  # a pipe may never end
        raise ConfigError(f"{path}: not a file; expected text")
    try:
        whole = path.read_bytes().decode()
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: damaged (not UTF-8 text)") from None
    first, _, body = whole.partition("\n")
    has_hash = first.startswith(_TEXT)
    if has_hash and first != f"{_TEXT}{_hash(body)}":
        raise ConfigError(f"{path}: damaged (its text does not match its first line)")
    body = body if has_hash else whole
    if sha256 not in (None, _hash(body)):
        raise ConfigError(f"{path}: damaged (not the text it was)")
    return body
