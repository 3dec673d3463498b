"""The version of every kind of file: what is written, what is still read, what each one added.

A version is a whole number in the file; the last of a schema's ``versions`` is written. A file of
an older version is read, with missing fields at their defaults, or refused with what to do; a file
of a newer version is refused, never read in part. ``tests/test_versions.py`` holds a sample of
each, and fails where fields change but the version does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scaling_law.errors import quoted


class NewerVersion(ValueError):  # noqa: N818 - a finding, handled by the caller
    """A file of a version that only a newer slaw reads."""


@dataclass(frozen=True)
class FileSchema:
    """The versions of one kind of file.

    ``name``: what messages call it.
    ``versions``: what was new in version 1, 2, ...
    ``oldest``: the oldest version that is read.
    """

    name: str
    versions: tuple[str, ...]
    oldest: int = 1

    @property
    def current(self) -> int:
        """The version that is written now."""
        return len(self.versions)

    def check(self, version: Any) -> int:
        """``version`` if it can be read.

        Raises ``NewerVersion`` for a newer one, ``ValueError`` for anything else.
        """
        if isinstance(version, int) and not isinstance(version, bool):
            if version > self.current:
                raise NewerVersion(
                    f"schema_version {quoted(version)}: a {self.name} made by a later slaw (this"
                    f" one reads up to {self.current}); upgrade slaw to read it"
                )
            if version >= self.oldest:
                return version
        reads = str(self.current)
        if self.oldest < self.current:
            reads = f"{self.oldest} to {self.current}"
        raise ValueError(f"schema_version {quoted(version)}, expected {reads}")

    def stamp(self, fields: dict[str, Any]) -> dict[str, Any]:
        """``fields`` under the current version."""
        return {"schema_version": self.current, **fields}


RECORD = FileSchema(
    "run record",
    (
        "with curve.jsonl beside it; from its middle on stacked",
        "digest of its content and curve; environment",
    ),
)
# A spec inside a record or a plan has no number of its own: the file's covers it.
SPEC = FileSchema(
    "run spec", ("without a number of its own; from its middle on early_stop", "numbered")
)
RESOURCES = FileSchema(
    "resources file",
    ("without a number; from its middle on stack", "numbered; keep_weights, compiled"),
)
PLAN = FileSchema(
    "plan",
    (
        "stack in resources from its middle on",
        "keep_weights, compiled in resources; digest, config",
        "what all runs share written once",
    ),
)
FIT = FileSchema(
    "fit",
    (
        "the suite",
        "kept samples",
        "digest of its own content",
        "no bound (null) where the solver's would be an interval's end; mean_residual, residuals",
        "worlds",
    ),
    oldest=4,
)
DATASET = FileSchema("dataset", ("token shards, tokenizer and meta.json",))
PROFILE = FileSchema("device profile", ("speeds by size", "speed in fp32 beside"), oldest=2)
# Its number is the end of the file's magic word.
CHECKPOINT = FileSchema(
    "checkpoint", ("checksummed header, then torch.save", "the curve and last norm as well")
)
EXPORT = FileSchema("exported model", ("safetensors beside slaw.json",))
FORECAST = FileSchema(
    "registered forecast", ("targets with quantiles, the runs behind them, a digest",)
)
