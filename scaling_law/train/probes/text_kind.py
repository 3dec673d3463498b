"""What kind of text a passage is, read by a linear map from each layer's mean state.

The kinds are the validation splits ``val:NAME``, such as the components of ``data.mix``. For each
state of the residual stream, a ridge regression in closed form predicts the split from the mean
over a passage's positions; it is fitted on every other passage of each split and scored on the
rest. Every objective reads the same passages, whole, as it can: causally, or both ways.
``layers.0`` is the share of right predictions after the first layer, ``embedding`` that of what the
first layer reads; ``best`` is the largest of all; ``most_frequent`` is that of always saying the
most frequent split.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from scaling_law.parts import NoSettings
from scaling_law.spec.values import Number
from scaling_law.spec.work import Measured, Work
from scaling_law.train.objectives.next_token import OBJECTIVE
from scaling_law.train.probes import Probe
from scaling_law.train.probes._layers import stream_keys
from scaling_law.train.probes.linear_probes import predicted
from scaling_law.units import count_of

if TYPE_CHECKING:
    from torch import Tensor

    from scaling_law.train.subject import Subject


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the regression.

    ``tokens`` is the length of a passage, at most the context;
    ``passages`` is how many passages of a split are read, at most those that are measured;
    ``ridge`` is the penalty, over the mean variance of a state.
    """

    tokens: Annotated[int, Number("tokens of a passage", "count", low=1)] = 32
    passages: Annotated[int, Number("passages of a split", "count", low=2)] = 1000
    ridge: Annotated[float, Number("penalty", above=0, high=1e6)] = 1e-3


def measure(subject: Subject, settings: Settings) -> dict[str, float]:
    """Return the accuracies by layer, the best of them, and that of the most frequent split."""
    import torch

    kinds = [split for split in subject.splits if split.startswith("val:")]
    if len(kinds) < 2:
        raise ValueError(
            f"found {len(kinds)} kinds of text (val:NAME), expected 2; set data.mix, say"
        )
    fitted: list[list[Tensor]] = []
    held_out: list[list[Tensor]] = []
    for kind in kinds:
        states = _states(subject, kind, settings)
        if len(states[0]) < 2:
            raise ValueError(f"{kind} has one passage to read, expected 2; raise eval.val_tokens")
        fitted.append([state[0::2] for state in states])
        held_out.append([state[1::2] for state in states])

    def answers(part: list[list[Tensor]]) -> Tensor:
        counts = [torch.full((len(states[0]),), at) for at, states in enumerate(part)]
        return torch.cat(counts).to(part[0][0].device)

    said, right = answers(fitted), answers(held_out)
    scores = {}
    for at, key in enumerate(stream_keys(len(fitted[0]))):
        known, new = (torch.cat([states[at] for states in part]) for part in (fitted, held_out))
        scores[key] = float((predicted(known, said, new, settings.ridge) == right).double().mean())
    most = said.bincount().argmax()
    return {
        **scores,
        "best": max(scores.values()),
        "most_frequent": float((right == most).double().mean()),
    }


def _states(subject: Subject, split: str, settings: Settings) -> list[Tensor]:
    """The mean state of each passage of a split by layer, [passages, M]."""
    import torch

    means: list[list[Tensor]] = []
    count = 0
    for batch in subject.under(OBJECTIVE, NoSettings()).batches(split):
        texts = batch.inputs[: settings.passages - count, : settings.tokens]
        stream = subject.inside(subject.reading(texts), "stream")
        means.append([state.double().mean(dim=1) for state in stream])
        count += len(texts)
        if count >= settings.passages:
            break
    return [torch.cat(states) for states in zip(*means, strict=True)]


def work(measured: Measured, settings: Settings) -> Work:
    """A part of each kind of text is read once."""
    most = settings.passages * min(settings.tokens, measured.model.n_ctx)
    kinds = (count for name, count in measured.validation.items() if name.startswith("val:"))
    return Work(read_tokens=sum(min(most, count) for count in kinds))


def refusal(measured: Measured, settings: Settings) -> str:
    """It needs two kinds of text, and two passages of each."""
    kinds = [split for split in measured.validation if split.startswith("val:")]
    if len(kinds) < 2:
        count = count_of(len(kinds), "kind")
        return (
            f"it tells kinds of text apart, and the data have {count} (splits val:NAME), expected"
            " 2; set data.mix, or leave the probe out"
        )
    few = next((kind for kind in kinds if measured.examples(kind) < 2), "")
    return f"{few} has one passage to read, expected 2; raise eval.val_tokens" if few else ""


PROBE = Probe(
    measure=measure,
    unit="share of passages",
    needs="stream",
    settings=Settings,
    work=work,
    refusal=refusal,
)
