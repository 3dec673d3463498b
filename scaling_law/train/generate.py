"""Continue prompts, token by token: greedy or drawn, with a key/value cache where a model has one.

Every row has random numbers of its own, drawn on the CPU from the seed and the row's number: its
tokens do not depend on the rows beside it, nor on how rows are split into batches (but for a draw
that falls within rounding of the border between two tokens), and more tokens begin with those that
fewer tokens give.

A model reads at most ``n_ctx`` tokens. Where prompt and continuation are longer, each further
token is predicted from the last ``n_ctx``, read anew: all positions change when the first token
is dropped, so no cache holds for them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from scaling_law.spec.run import derive_seed
from scaling_law.spec.sampling import Sampling

# Tokens that a model reads at once: more take memory for no speed.
_TOKENS_AT_ONCE = 2**14
_NUMBERS_AT_ONCE = 256  # of each row


@runtime_checkable
class OwnCache(Protocol):
    """A model that remembers the positions it has read. One without reads them all for each token.

    Both must give the logits of ``forward``, within rounding.
    """

    def read_prompts(self, tokens: Tensor, lengths: Sequence[int], room: int) -> tuple[Tensor, Any]:
        """Ids [B, T], whose first ``lengths`` count -> logits [B, V] after them, and a memory.

        The memory must have room for ``room`` positions.
        """
        ...

    def next_logits(self, tokens: Tensor, memory: Any) -> Tensor:
        """One further id of each row, [B] -> logits [B, V] after it; ``memory`` takes it up."""
        ...


@dataclass(frozen=True, kw_only=True)
class Step:
    """One token of each row that had not ended.

    ``rows`` are the rows' numbers;
    ``ids`` are the tokens;
    ``log_probs`` are the model's own log-probabilities of them in nats, at temperature 1 and
    among all tokens.
    """

    rows: list[int]
    ids: list[int]
    log_probs: list[float]


@dataclass(frozen=True, kw_only=True)
class Continuation:
    """What follows one prompt.

    ``ids`` are the tokens, with the one that ended it;
    ``log_probs`` are the model's own log-probabilities of them in nats, at temperature 1 and
    among all tokens;
    ``stopped`` says whether it ended before it had all tokens, or with the last.
    """

    ids: tuple[int, ...]
    log_probs: tuple[float, ...]
    stopped: bool


def rows_at_once(n_ctx: int) -> int:
    """How many rows ``generate`` continues together."""
    return max(1, _TOKENS_AT_ONCE // n_ctx)


def generate(
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    how: Sampling,
    *,
    n_ctx: int,
    stop: Collection[int] = (),
    first: int = 0,
    cache: bool = True,
) -> list[Continuation]:
    """Continue each of ``prompts``, of any lengths, by a model in evaluation mode.

    A continuation ends with a token of ``stop``, or after ``how.tokens``. ``first`` is the number
    of the first row, for a caller who splits the rows himself; without ``cache`` all is read anew
    for each token. Raises ``ValueError`` for an empty prompt and for logits that are not numbers.
    """
    done: list[Continuation] = []
    for start in range(0, len(prompts), rows_at_once(n_ctx)):
        some = prompts[start : start + rows_at_once(n_ctx)]
        ids: list[list[int]] = [[] for _ in some]
        log_probs: list[list[float]] = [[] for _ in some]
        for step in steps(
            model, some, how, n_ctx=n_ctx, stop=stop, first=first + start, cache=cache
        ):
            for row, token, value in zip(step.rows, step.ids, step.log_probs, strict=True):
                ids[row].append(token)
                log_probs[row].append(value)
        done += [
            Continuation(ids=tuple(row), log_probs=tuple(values), stopped=row[-1] in stop)
            for row, values in zip(ids, log_probs, strict=True)
        ]
    return done


@torch.no_grad()
def steps(
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    how: Sampling,
    *,
    n_ctx: int,
    stop: Collection[int] = (),
    ends: Callable[[int, int], bool] | None = None,
    first: int = 0,
    cache: bool = True,
) -> Iterator[Step]:
    """Continue all prompts together, one token a step, as ``generate`` does.

    ``ends(row, token)`` is called for every token and says whether its row ends there as well.
    """
    texts = [[int(token) for token in prompt] for prompt in prompts]
    if not all(texts):
        raise ValueError("an empty prompt: expected at least one token")
    numbers = _Uniforms(how.seed, first, len(texts)) if how.temperature else None
    reader = _Reader(model, n_ctx, cache)
    rows, ended = list(range(len(texts))), set[int]()
    logits = reader.read(texts, how.tokens)
    for count in range(1, how.tokens + 1):
        drawn = draw(logits, None if numbers is None else numbers.next(rows), how)
        values = logits.log_softmax(-1).gather(1, drawn[:, None])[:, 0]
        if bool(values.isnan().any()):
            raise ValueError("the model's logits are not numbers")
        taken = [
            (row, token, value)
            for row, token, value in zip(rows, drawn.tolist(), values.tolist(), strict=True)
            if row not in ended
        ]
        for row, token, _ in taken:
            texts[row].append(token)
            if token in stop or (ends is not None and ends(row, token)):
                ended.add(row)
        yield Step(
            rows=[row for row, _, _ in taken],
            ids=[token for _, token, _ in taken],
            log_probs=[value for _, _, value in taken],
        )
        left = [row for row in rows if row not in ended]
        if not left or count == how.tokens:
            return
        # rows that ended are left out once they are half of all: leaving them out takes reading
        if reader.room and 2 * len(left) > len(rows):
            logits = reader.extend(drawn)
        else:
            rows = left
            logits = reader.read([texts[row] for row in rows], how.tokens - count)


class _Reader:
    """Give the logits after texts: of a model's memory as long as it holds.

    ``room`` is for how many further tokens of each row it holds.
    """

    def __init__(self, model: nn.Module, n_ctx: int, cache: bool) -> None:
        self._model, self._n_ctx = model, n_ctx
        self._own = model if cache and isinstance(model, OwnCache) else None
        self._place = next(model.parameters()).device
        self._memory: Any = None
        self.room = 0

    def read(self, texts: Sequence[Sequence[int]], more: int) -> Tensor:
        """The logits [B, V] after texts that ``more`` tokens will follow."""
        windows = [text[-self._n_ctx :] for text in texts]
        if self._own is None:
            return self._plain(windows)
        lengths = [len(window) for window in windows]
        longest = max(lengths)
        # what stands after a row's end is not seen by it
        padded = [[*window, *[0] * (longest - len(window))] for window in windows]
        fits = max(map(len, texts)) <= self._n_ctx
        self.room = min(self._n_ctx - longest, more) if fits else 0
        logits, self._memory = self._own.read_prompts(
            torch.tensor(padded, device=self._place), lengths, longest + self.room
        )
        return logits.float()

    def extend(self, drawn: Tensor) -> Tensor:
        """The logits [B, V] after one more token of each row."""
        assert self._own is not None and self.room > 0
        self.room -= 1
        return self._own.next_logits(drawn.to(self._place), self._memory).float()

    def _plain(self, windows: Sequence[Sequence[int]]) -> Tensor:
        """The logits after whole texts. Those of one length are read together, none is padded."""
        logits: list[Tensor] = [torch.empty(0)] * len(windows)
        for length in {len(window) for window in windows}:
            rows = [row for row, window in enumerate(windows) if len(window) == length]
            ids = torch.tensor([windows[row] for row in rows], device=self._place)
            for row, last in zip(rows, self._model(ids)[:, -1].float(), strict=True):
                logits[row] = last
        return torch.stack(logits)


class _Uniforms:
    """Random numbers in [0, 1), a sequence for each row."""

    def __init__(self, seed: int, first: int, rows: int) -> None:
        seeds = (derive_seed(seed, f"row {first + row}") for row in range(rows))
        self._generators = [torch.Generator().manual_seed(own) for own in seeds]
        self._drawn, self._used = torch.empty(0), 0

    def next(self, rows: Sequence[int]) -> Tensor:
        """The next number of each of ``rows``; those of the others are passed over."""
        if self._used == self._drawn.shape[-1]:
            block = [
                torch.rand(_NUMBERS_AT_ONCE, dtype=torch.float64, generator=own)
                for own in self._generators
            ]
            self._drawn, self._used = torch.stack(block), 0
        self._used += 1
        return self._drawn[list(rows), self._used - 1]


def draw(logits: Tensor, uniforms: Tensor | None, how: Sampling) -> Tensor:
    """A token [B] of each row of logits [B, V], by one number in [0, 1) a row.

    ``uniforms`` is only needed at a temperature above 0. Tokens as likely as the last that
    ``how.top_k`` or ``how.top_p`` lets through may be drawn as well.
    """
    if how.temperature == 0 or uniforms is None:
        return logits.argmax(dim=-1)
    place = logits.device
    if place.type == "mps":  # which has no float64
        logits = logits.cpu()
    # less its maximum first: a tiny temperature must not make infinities
    scaled = (logits.double() - logits.amax(-1, keepdim=True)) / how.temperature
    if how.top_k is not None and how.top_k < logits.shape[-1]:
        least = scaled.topk(how.top_k).values[:, -1:]
        scaled = scaled.masked_fill(scaled < least, -torch.inf)
    shares = scaled.softmax(dim=-1)
    if how.top_p is not None and how.top_p < 1:
        ordered = shares.sort(dim=-1, descending=True).values
        before = ordered.cumsum(dim=-1) - ordered
        least = ordered.masked_fill(before >= how.top_p, 1.0).amin(dim=-1, keepdim=True)
        shares = shares.masked_fill(shares < least, 0.0)
    sums = shares.cumsum(dim=-1)
    total = sums[:, -1:]
    # below the total, so that a token without probability at the end is never drawn
    reached = torch.minimum(
        uniforms.to(sums.device)[:, None] * total, torch.nextafter(total, torch.zeros_like(total))
    )
    drawn = torch.searchsorted(sums, reached, right=True)[:, 0]
    return drawn.clamp(max=logits.shape[-1] - 1).to(place)  # logits that are not numbers give V
