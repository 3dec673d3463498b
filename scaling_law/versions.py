"""The version of every kind of file: what is written now, what is still read, what came when.

A version is a whole number in the file; the last of a form's ``versions`` is written. An older one
is read, its missing fields at their defaults, or refused with what to do; a later one is refused
as such, never read by halves. ``tests/test_versions.py`` keeps a sample of each, and fails where
fields change but the version does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scaling_law.errors import quoted


class MadeLater(ValueError):  # noqa: N818 - a finding, handled by the caller
    """A file of a version that only a later slaw knows."""


@dataclass(frozen=True)
class Form:
    """A kind of file. ``versions``: what was new in version 1, 2, ...; ``oldest`` one read."""

    name: str
    versions: tuple[str, ...]
    oldest: int = 1

    @property
    def current(self) -> int:
        """The version that is written."""
        return len(self.versions)

    def check(self, found: Any) -> int:
        """The version ``found`` if it can be read.

        Raises ``MadeLater`` for a later one, ``ValueError`` for any other.
        """
        if isinstance(found, int) and not isinstance(found, bool):
            if found > self.current:
                raise MadeLater(
                    f"schema_version {quoted(found)}: a {self.name} made by a later slaw (this one"
                    f" reads up to {self.current}); upgrade slaw to read it"
                )
            if found >= self.oldest:
                return found
        reads = str(self.current)
        if self.oldest < self.current:
            reads = f"{self.oldest} to {self.current}"
        raise ValueError(f"schema_version {quoted(found)}, expected {reads}")

    def stamp(self, fields: dict[str, Any]) -> dict[str, Any]:
        """``fields`` under the current version."""
        return {"schema_version": self.current, **fields}


RECORD = Form(
    "run record",
    (
        "with curve.jsonl beside it; from its middle on stacked",
        "digest of its content and curve; environment",
    ),
)
# Inside a record or plan a spec bears no number: theirs covers it.
SPEC = Form("run spec", ("without a number of its own; from its middle on early_stop", "numbered"))
RESOURCES = Form(
    "resources file",
    ("without a number; from its middle on stack", "numbered; keep_weights, compiled"),
)
PLAN = Form(
    "plan",
    (
        "stack in resources from its middle on",
        "keep_weights, compiled in resources; digest, config",
    ),
)
FIT = Form(
    "fit",
    (
        "the suite",
        "kept samples",
        "digest of its own content",
        "no bound (null) where the solver's would be an interval's end; mean_residual, residuals",
    ),
    oldest=4,
)
DATASET = Form("dataset", ("token shards, tokenizer and meta.json",))
PROFILE = Form("device profile", ("speeds by size", "speed in fp32 beside"), oldest=2)
# Its number is the end of the file's magic word.
CHECKPOINT = Form(
    "checkpoint", ("checksummed header, then torch.save", "the curve and last norm as well")
)
EXPORT = Form("exported model", ("safetensors beside slaw.json",))
