"""Read the components of a text in the shares of a run's mixture.

Every sequence of a run has a number. The mixture says which component a number takes; the component
gives its next sequence, in its own order. So a batch depends on its number and the
seed alone.

Shares are held to the sequence: after any number of sequences from the start of a phase, a
component has been taken its share of times, rounded up or down. Between any two numbers of a phase
it is off by less than two sequences. Such a choice exists for all shares (R. Tijdeman, The chairman
assignment problem, Discrete Mathematics 32, 1980). It takes of the components that are not ahead
of their share the one that must come first, as a processor is shared (S. Baruah et al.,
Proportionate progress, Algorithmica 15, 1996).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from scaling_law.data.batch import Batch
from scaling_law.data.dataset import Dataset, drawn, shuffled
from scaling_law.data.text import TextDataset
from scaling_law.errors import ConfigError
from scaling_law.spec.mix import Mix, Shares
from scaling_law.spec.run import RunSpec, derive_seed

if TYPE_CHECKING:  # loaded where an array is made: `slaw run --dry-run` makes none
    import numpy as np
    import numpy.typing as npt

    from scaling_law.data.tokenizer import Tokenizer

# Shares are multiples of one over this; the choice of components repeats after this many sequences.
RESOLUTION = 1_000_000
# The choice is made for this many sequences at a time, and counts are stored at these places.
_STRIDE = 4096


class Quota:
    """Which component each sequence of a phase takes, by the components' numbers.

    ``parts`` are the components' shares in units of 1 / ``RESOLUTION``, above 0.
    """

    def __init__(self, parts: tuple[int, ...]) -> None:
        assert sum(parts) == RESOLUTION and min(parts) > 0, parts
        self.parts = parts
        self._taken = [0] * len(parts)
        self._blocks: list[npt.NDArray[np.uint16]] = []
        self._before: list[tuple[int, ...]] = [tuple(self._taken)]

    def choices(self, first: int, count: int) -> npt.NDArray[np.uint16]:
        """Return the components of sequences ``first`` to ``first + count`` of the phase."""
        import numpy as np

        numbers = (first + np.arange(count, dtype=np.int64)) % RESOLUTION
        chosen = np.empty(count, dtype=np.uint16)
        for block in np.unique(numbers // _STRIDE):
            own = numbers // _STRIDE == block
            chosen[own] = self._block(int(block))[numbers[own] % _STRIDE]
        return chosen

    def counts(self, number: int) -> tuple[int, ...]:
        """Return how often each component is taken before sequence ``number`` of the phase."""
        import numpy as np

        rounds, rest = divmod(number, RESOLUTION)
        block, within = divmod(rest, _STRIDE)
        chosen = self._block(block)[:within]
        more = np.bincount(chosen, minlength=len(self.parts))
        return tuple(
            rounds * part + before + int(extra)
            for part, before, extra in zip(self.parts, self._before[block], more, strict=True)
        )

    def _block(self, wanted: int) -> npt.NDArray[np.uint16]:
        import numpy as np

        while len(self._blocks) <= wanted:
            first = len(self._blocks) * _STRIDE
            chosen = [self._next(number) for number in range(first, first + _STRIDE)]
            self._blocks.append(np.array(chosen, dtype=np.uint16))
            self._before.append(tuple(self._taken))
        return self._blocks[wanted]

    def _next(self, number: int) -> int:
        """Take the component for sequence ``number``, which follows the last one taken."""
        best, soonest = -1, 0
        for component, part in enumerate(self.parts):
            taken = self._taken[component]
            if taken * RESOLUTION // part > number:
                continue  # ahead of its share
            # the last number at which it is not behind
            latest = -(-(taken + 1) * RESOLUTION // part) - 1
            if best < 0 or latest < soonest:
                best, soonest = component, latest
        self._taken[best] += 1
        return best


@lru_cache(maxsize=64)
def quota(shares: Shares) -> Quota:
    """Return the quota of shares that sum to 1, rounded to ``RESOLUTION``."""
    exact = [share * RESOLUTION for _, share in shares]
    parts = [max(1, int(value)) for value in exact]
    # the rest after rounding down goes to the largest remainders
    order = sorted(range(len(parts)), key=lambda k: parts[k] - exact[k])
    for place in range(RESOLUTION - sum(parts)):
        parts[order[place % len(parts)]] += 1
    if (over := sum(parts) - RESOLUTION) > 0:
        parts[parts.index(max(parts))] -= over
    return Quota(tuple(parts))


def dataset_of(spec: RunSpec, dataset: Dataset) -> Dataset:
    """Return the data as a run reads them: in its mixture, where it has one."""
    if spec.mix is None:
        return dataset
    assert isinstance(dataset, TextDataset), "only text has components"
    # a grown run reads on after its parents, so its step 0 takes a later batch
    firsts = tuple(spec.data_step * (step > 0) + step for step in spec.mix_steps())
    return MixedDataset(dataset, spec.mix, firsts)


class MixedDataset:
    """A text whose components are read in a mixture.

    ``text`` is the prepared text; ``mix`` is the mixture; ``first_batches`` are the numbers of the
    first batches of its phases. Raises ``ConfigError`` where a component has no text.
    """

    def __init__(self, text: TextDataset, mix: Mix, first_batches: tuple[int, ...]) -> None:
        self.text = text
        self.mix = mix
        self.first_batches = first_batches
        self.names = tuple(text.components)
        tokens = {name: row["train"] for name, row in text.components.items()}
        try:
            self.shares = tuple(mix.shares_of(phase, tokens) for phase in mix.phases)
        except ValueError as problem:
            raise ConfigError(f"data.mix: {problem}") from None
        self.keep_orders(1)

    def keep_orders(self, seeds: int) -> None:
        """Keep the orders of ``seeds`` seeds, whose batches are drawn in turn, in memory."""
        self._order = lru_cache(maxsize=2 * seeds * len(self.names))(shuffled)

    @cached_property
    def splits(self) -> tuple[str, ...]:
        """``train``, ``val``, and the validation text of each component."""
        return (*self.text.splits, *(f"val:{name}" for name in self.names))

    @property
    def fingerprint(self) -> str:
        """The text's fingerprint: every mixture of it is scored on the same validation text."""
        return self.text.fingerprint

    @property
    def components_fingerprint(self) -> str | None:
        """The text's: the component of each document."""
        return self.text.components_fingerprint

    @property
    def component_names(self) -> tuple[str, ...]:
        """The text's components."""
        return self.names

    @property
    def vocab_size(self) -> int:
        """Ids the tokenizer may produce."""
        return self.text.vocab_size

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the text."""
        return self.text.tokenizer

    @property
    def licence(self) -> str:
        """The text's licence note."""
        return self.text.licence

    @property
    def summary(self) -> str:
        """The text and its mixture in one line."""
        return f"{self.text.summary}; mixture {self.mix.text}"

    @property
    def versions(self) -> dict[str, str]:
        """{}, because the folder of the prepared text names those of its corpus."""
        return {}

    @property
    def pin(self) -> dict[str, Any]:
        """The text's own pin."""
        return self.text.pin

    @property
    def train_tokens(self) -> int:
        """Tokens of the training split of the text."""
        return self.text.train_tokens

    def n_seqs(self, split: str, n_ctx: int) -> int:
        """Sequences in the split; of ``train`` those before the first phase repeats a component."""
        if split != "train":
            return self.text.n_seqs(split, n_ctx)
        shares = self.shares[0]
        return max(1, min(int(self._available(name, n_ctx) / share) for name, share in shares))

    def _available(self, name: str, n_ctx: int) -> int:
        return self.text.n_seqs(f"train:{name}", n_ctx)

    def batch(self, split: str, step: int, *, batch_seqs: int, n_ctx: int, seed: int) -> Batch:
        """Batch number ``step`` of ``batch_seqs`` sequences; a pure function.

        Each component is read in its own epochs, each in an order drawn from ``seed``, the
        component and the epoch. A batch lies within one phase.
        """
        import numpy as np

        if split != "train":
            return self.text.batch(split, step, batch_seqs=batch_seqs, n_ctx=n_ctx, seed=seed)
        phase = self._phase(step)
        first = (step - self.first_batches[phase]) * batch_seqs
        shares = self.shares[phase]
        chosen = quota(shares).choices(first, batch_seqs)
        before = self._taken(step, batch_seqs)
        inputs = np.empty((batch_seqs, n_ctx), dtype=np.int64)
        targets = np.empty_like(inputs)
        places = np.array([self.names.index(name) for name, _ in shares])
        for number, (name, _) in enumerate(shares):
            rows = np.flatnonzero(chosen == number)
            if not len(rows):
                continue
            indices = drawn(
                self._order,
                self._available(name, n_ctx),
                first=before.get(name, 0),
                count=len(rows),
                seed=derive_seed(seed, f"component:{name}"),
            )
            own = self.text.sequences(f"train:{name}", indices, n_ctx, before.get(name, 0))
            inputs[rows], targets[rows] = own.inputs, own.targets
        return Batch(inputs=inputs, targets=targets, components=places[chosen])

    def _phase(self, step: int) -> int:
        return sum(first <= step for first in self.first_batches) - 1

    def _taken(self, step: int, batch_seqs: int) -> dict[str, int]:
        """Return how many sequences of each component come before batch number ``step``."""
        taken = dict.fromkeys(self.names, 0)
        ends = (*self.first_batches[1:], step)
        for first, end, shares in zip(self.first_batches, ends, self.shares, strict=True):
            count = max(0, min(end, step) - first) * batch_seqs
            for (name, _), more in zip(shares, quota(shares).counts(count), strict=True):
                taken[name] += more
        return taken

    def val_batches(
        self, split: str, n_ctx: int, max_tokens: int, batch_seqs: int
    ) -> Iterator[Batch]:
        """Sequences to score: of the whole text for ``val``, of a component for ``val:code``."""
        return self.text.val_batches(split, n_ctx, max_tokens, batch_seqs)

    def val_tokens(self, split: str, n_ctx: int, max_tokens: int) -> int:
        """Targets that ``val_batches`` scores."""
        return self.text.val_tokens(split, n_ctx, max_tokens)

    def val_bytes(self, split: str, n_ctx: int, max_tokens: int) -> int:
        """Text bytes that those targets stand for."""
        return self.text.val_bytes(split, n_ctx, max_tokens)

    def unique_tokens(self, *, n_ctx: int, batch_tokens: int, steps: int) -> int:
        """Distinct training targets seen in ``steps`` steps: at most one epoch's a component."""
        taken = self._taken(steps, batch_tokens // n_ctx)
        return sum(
            min(count, self._available(name, n_ctx)) * n_ctx
            for name, count in taken.items()
            if count
        )

    def repeats(self, *, n_ctx: int, batch_tokens: int, steps: int) -> dict[str, float]:
        """Passes over the training text of each component in ``steps`` steps; 0 for none."""
        taken = self._taken(steps, batch_tokens // n_ctx)
        return {
            name: count / self._available(name, n_ctx) if count else 0.0
            for name, count in taken.items()
        }

    def epochs(self, *, n_ctx: int, tokens: int) -> float:
        """Passes over the whole training split that give ``tokens`` targets."""
        return self.text.epochs(n_ctx=n_ctx, tokens=tokens)

    def check(self) -> None:
        """Read every token and compare with the stored hashes. Raises ``ConfigError``."""
        self.text.check()


def components_problem(text: TextDataset, mix: Mix, n_ctx: int) -> str:
    """Say why a mixture cannot be read from this text, or not be scored; "" where it can.

    Every component needs a sequence of validation text, and of training text where it has a share.
    """
    tokens = {name: row["train"] for name, row in text.components.items()}
    try:
        shares = [mix.shares_of(phase, tokens) for phase in mix.phases]
    except ValueError as problem:
        return str(problem)
    trained = dict.fromkeys(name for of_phase in shares for name, _ in of_phase)
    return next(
        (
            f"{name} has {text.n_tokens(f'{split}:{name}')} tokens of {kind} text, fewer than one"
            f" sequence of model.n_ctx {n_ctx}; {remedy}"
            for split, kind, names, remedy in (
                ("train", "training", trained, "give it no share, or use more text"),
                ("val", "validation", text.components,
                 "raise data.val_fraction, or leave it out (data.domains)"),
            )
            for name in names
            if text.n_tokens(f"{split}:{name}") <= n_ctx
        ),
        "",
    )  # fmt: skip
