"""The columns of a table that say on which text its losses are."""

from __future__ import annotations

VALIDATION = (
    "corpus_fingerprint", "eval_set", "val_set", "validation_set", "eval_dataset", "val_dataset",
    "validation_dataset", "eval_data", "val_data", "validation_data",
)  # fmt: skip
# Those that may also say what was trained on, while all runs are scored on one text.
EITHER = ("dataset", "corpus", "text")


def says_text(name: str) -> bool:
    """Whether a column of this name says on which text losses are, or may say so."""
    return name.strip().lower() in (*VALIDATION, *EITHER)
