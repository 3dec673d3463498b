"""Says which counts of runs a user's own command stated, instead of those of the architecture.

Such counts are as good as the command: no text calls them exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from scaling_law.files.record import RunRecord
from scaling_law.spec.counts import count_params, train_flops

STATED = "as stated by the trainer"
_PARAMS, _FLOPS = "params", "FLOPs"
# Under this key a convention lists the counts that the trainer of the runs stated.
_KEY = "stated"


def stated_counts(record: RunRecord) -> str:
    """``params, FLOPs``: the counts that are not those of the run's architecture; "" for none."""
    if record.spec.trainer is None:
        return ""
    own = count_params(record.spec.model)
    theirs = record.params_total, record.params_non_embedding, record.params_matmul
    stated = [_PARAMS] if theirs != (own.total, own.non_embedding, own.matmul) else []
    flops = train_flops(record.spec.model, record.tokens)
    if not math.isclose(record.flops_exact, flops, rel_tol=1e-9):
        stated.append(_FLOPS)
    return ", ".join(stated)


def flops_words(records: Iterable[RunRecord]) -> str:
    """How the FLOPs of ``records`` are counted: ``exact``, or by the trainer."""
    is_stated = any(_FLOPS in stated_counts(record).split(", ") for record in records)
    return STATED if is_stated else "exact"


def with_stated(convention: Mapping[str, str], each: Iterable[str]) -> dict[str, str]:
    """``convention`` with the counts that the runs' trainer stated; ``each``: those of each run."""
    words = {word for one in each for word in one.split(", ") if word}
    if not words:
        return dict(convention)
    listed = ", ".join(word for word in (_PARAMS, _FLOPS) if word in words)
    flops = convention["flops"]
    if flops == "exact" and _FLOPS in words:
        flops = STATED
    return {**convention, "flops": flops, _KEY: listed}


def params_words(convention: Mapping[str, str]) -> str:
    """Which parameters count, and that the trainer stated them where it did."""
    stated = _PARAMS in convention.get(_KEY, "").split(", ")
    return convention.get("params", "") + (f", {STATED}" if stated else "")
