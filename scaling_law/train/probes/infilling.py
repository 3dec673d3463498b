"""Whether a model fills in a span of a held-out text, from all that its objective reads around it.

In each text of ``val`` a span of ``length`` tokens is hidden, at a place that is the same for every
run; the objective says how it is filled in (``Objective.infill``): a hidden token or a moved middle
from both sides, the next token from the left alone. Each token of a span follows the right ones
before it, and its length is known: only ids that ``val`` holds are answers, not a mark that ends
it. ``tokens`` is the share of the spans' tokens that are the likeliest ones, ``exact`` the
share of spans of which all are, and so the share that greedy decoding gets right; ``first`` is that
of first tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from scaling_law.parts import NoSettings
from scaling_law.spec.values import Number
from scaling_law.spec.work import Measured, Work
from scaling_law.train.objectives import INFILL_ROOM
from scaling_law.train.objectives.next_token import OBJECTIVE
from scaling_law.train.probes import Probe

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from scaling_law.train.subject import Subject

_SEED = 0x5EED  # of the places of spans


@dataclass(frozen=True, kw_only=True)
class Settings:
    """``length`` is the length of a span, in tokens."""

    length: Annotated[int, Number("tokens of a span", low=1, high=1000)] = 3


def measure(subject: Subject, settings: Settings) -> dict[str, float]:
    """Return the three shares."""
    import torch

    generator = torch.Generator().manual_seed(_SEED)
    rows: list[Tensor] = []
    batches = [batch.inputs for batch in subject.under(OBJECTIVE, NoSettings()).batches("val")]
    answers = torch.unique(torch.cat([inputs.flatten() for inputs in batches]))
    for inputs in batches:
        texts = inputs[:, :-INFILL_ROOM]
        starts = _starts(len(texts), texts.shape[1], settings.length, generator)
        asked = subject.infill(texts, starts, settings.length)
        assert asked.weights is not None, "only the spans count"
        counted = asked.weights > 0
        said = answers[subject.forward(asked)[counted][:, answers].argmax(dim=-1)]
        rows.append((said == asked.targets[counted]).view(len(texts), settings.length))
    right = torch.cat(rows).double()
    return {
        "tokens": float(right.mean()),
        "exact": float(right.prod(dim=1).mean()),
        "first": float(right[:, 0].mean()),
    }


def _starts(count: int, size: int, length: int, generator: Generator) -> Tensor:
    """Where the spans begin: in the middle half of a text, which has a token on either side."""
    import torch

    low, high = _ends(size, length)
    return torch.randint(low, high + 1, (count,), generator=generator)


def _ends(size: int, length: int) -> tuple[int, int]:
    """The first and the last place where a span may begin."""
    return max(1, size // 4), min(size - length - 1, 3 * size // 4)


def refusal(measured: Measured, settings: Settings) -> str:
    """It needs ids, an objective that fills in spans, and room around a span."""
    if measured.inputs != "ids":
        return "it hides ids of a text, and the data's inputs are numbers; leave the probe out"
    if not measured.infills:
        return "the objective does not say how it fills in a span; leave the probe out"
    size, length = measured.model.n_ctx - INFILL_ROOM, settings.length
    low, high = _ends(size, length)
    if low <= high:
        return ""
    return (
        f"a span of {length} tokens leaves nothing around it in a text of {max(size, 0)} tokens"
        f" (n_ctx {measured.model.n_ctx} less {INFILL_ROOM}); lower length, or raise n_ctx"
    )


def work(measured: Measured, settings: Settings) -> Work:
    """``val`` is read once for each token of a span, by an objective that hides them."""
    return Work(read_tokens=settings.length * measured.split_tokens["val"])


PROBE = Probe(
    measure=measure,
    unit="share of tokens, or of spans",
    settings=Settings,
    work=work,
    refusal=refusal,
)
