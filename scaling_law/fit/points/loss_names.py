"""Whether a column's name says that it is a loss, or a measure that is none."""

from __future__ import annotations

import re

_LOSSES = {"loss", "ppl", "perplexity", "bpb", "nll", "xent", "loss nats", "losses"}
_NO_LOSS = {
    "min", "max", "best", "std", "stderr", "sem", "aux", "z", "router", "balancing", "weight",
    "weighting", "scale", "lo", "hi", "low", "high", "lower", "upper", "lo95", "hi95", "ci",
    "scaler", "predicted", "smooth", "ema", "fn", "function", "type", "name",
    "implementation", "reduction", "chunk", "size",
}  # fmt: skip
# Words of measures that rise with quality, or are no measure of a model.
_SCORES = {
    "acc", "accuracy", "score", "f1", "em", "exact", "core", "mfu", "lr", "bleu", "rouge",
    "centered", "speed", "throughput", "time", "grad", "norm", "step", "tokens", "params", "flops",
}  # fmt: skip


def words_of(name: str) -> list[str]:
    """The words of a column's name, small: ``eval/c4CrossEntropyLoss`` has six."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return [word for word in re.split(r"[^a-z0-9]+", parted.lower()) if word]


def is_loss(name: str) -> bool:
    """Whether a column's name says that it is a loss."""
    words = words_of(name)
    text = " ".join(words)
    has = _LOSSES.intersection(words) or "cross entropy" in text or "bits per byte" in text
    return bool(has) and not _NO_LOSS.intersection(words)


def score_in(name: str) -> str:
    """The word of a column's name by which it is no loss, such as ``accuracy``; "" for none."""
    return "" if is_loss(name) else min(_SCORES.intersection(words_of(name)), default="")
