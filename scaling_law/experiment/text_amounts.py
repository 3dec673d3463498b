"""How much text a run reads: the tokens that differ, and how often it reads them."""

from __future__ import annotations

from scaling_law.experiment.evidence import Run
from scaling_law.spec.data import DataSpec
from scaling_law.spec.run import RunSpec


def amount_of(spec: RunSpec) -> int | None:
    """The tokens that a run reads again and again, in whole sequences; None where all are new.

    It is also None of a task, which has no text.
    """
    if not isinstance(spec.data, DataSpec) or spec.data.unique_tokens is None:
        return None
    return (spec.data.unique_tokens - 1) // spec.model.n_ctx * spec.model.n_ctx


def amount_read(run: Run) -> int | None:
    """The tokens that a run read again and again, also where its config gives a share of a text."""
    if isinstance(run.spec.data, DataSpec) and run.spec.data.unique_share is not None:
        amount = run.record.tokens_unique
        return amount if amount < run.record.tokens else None
    return amount_of(run.spec)


def reads_part(spec: RunSpec) -> bool:
    """Whether a run trains on a part of its text."""
    if not isinstance(spec.data, DataSpec):
        return False
    return spec.data.unique_tokens is not None or spec.data.unique_share is not None
