"""Measure the loss on held-out examples, which are the same for every run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from scaling_law.data.batch import Batch
from scaling_law.data.dataset import Dataset
from scaling_law.errors import RunFailed
from scaling_law.spec.run import EVAL_SEQS, RunSpec, derive_seed
from scaling_law.train.forward import Trainable, tensors_of
from scaling_law.train.objectives import Change, ViewOf
from scaling_law.train.tensors import Tensors

# Examples of one batch of those that a closed form is solved for.
SOLVE_SEQS = 1024


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The loss on one split.

    ``loss_nats`` is the mean over targets, in the objective's unit;
    ``sem_nats`` is its standard error over examples, None of a single one;
    ``tokens`` is the number of targets.
    """

    loss_nats: float
    sem_nats: float | None
    tokens: int


@dataclass(frozen=True, kw_only=True)
class Examples:
    """The examples of a run, as its objective views them.

    ``trainable`` has the objective;
    ``of_train`` caches the training examples to measure on, by their number.
    """

    spec: RunSpec
    dataset: Dataset
    trainable: Trainable
    of_train: dict[int, Batch] = field(default_factory=dict, repr=False)

    @property
    def splits(self) -> tuple[str, ...]:
        """``train``, ``val``, and the other validation splits."""
        others = (split for split in self.dataset.splits if split.startswith("val:"))
        return "train", "val", *others

    def training(self, number: int) -> Tensors:
        """Return the training batch with this number in the run's order of the data."""
        spec = self.spec
        batch = self.dataset.batch(
            "train",
            number,
            batch_seqs=spec.batch_seqs,
            n_ctx=spec.model.n_ctx,
            seed=derive_seed(spec.seed, "data"),
        )
        return self._trained_on(batch, number)

    def trained_on(self) -> Iterator[Tensors]:
        """Yield all examples of the run in their order, at most ``SOLVE_SEQS`` a batch."""
        spec = self.spec
        count = spec.total_steps * spec.batch_seqs
        at_once = min(count, SOLVE_SEQS)
        for number in range(-(-count // at_once)):
            batch = self.dataset.batch(
                "train",
                number,
                batch_seqs=at_once,
                n_ctx=spec.model.n_ctx,
                seed=derive_seed(spec.seed, "data"),
            )
            rows = slice(0, count - number * at_once)
            yield self._trained_on(_rows(batch, rows), number)

    def measured(self, split: str, max_tokens: int) -> Iterator[Tensors]:
        """Yield examples of about ``max_tokens`` targets, at most ``EVAL_SEQS`` a batch.

        Those of a validation split are spread over it; those of ``train`` are drawn with a fixed
        seed.
        """
        held_out = split != "train"
        batches = self._held_out(split, max_tokens) if held_out else self._trained(max_tokens)
        for number, batch in enumerate(batches):
            views = {f"view:{split}:{number}": self.trainable.objective.view}
            yield self._changed(batch, split, 0, views)

    def _held_out(self, split: str, max_tokens: int) -> Iterator[Batch]:
        n_ctx = self.spec.model.n_ctx
        return self.dataset.val_batches(
            split, n_ctx=n_ctx, max_tokens=max_tokens, batch_seqs=EVAL_SEQS
        )

    def _trained(self, max_tokens: int) -> Iterator[Batch]:
        n_ctx = self.spec.model.n_ctx
        # within one epoch, so that no example appears twice
        count = min(max(1, max_tokens // n_ctx), self.dataset.n_seqs("train", n_ctx))
        if count not in self.of_train:  # each draw shuffles the whole split
            seed = derive_seed(0, "measured")
            self.of_train[count] = self.dataset.batch(
                "train", 0, batch_seqs=count, n_ctx=n_ctx, seed=seed
            )
        whole = self.of_train[count]
        for start in range(0, count, EVAL_SEQS):
            yield _rows(whole, slice(start, start + EVAL_SEQS))

    def _trained_on(self, batch: Batch, number: int) -> Tensors:
        objective = self.trainable.objective
        changes = {f"augment:{number}": objective.augment, f"view:{number}": objective.view}
        return self._changed(batch, "train", self.spec.seed, changes)

    def _changed(
        self, batch: Batch, split: str, seed: int, changes: Mapping[str, Change | None]
    ) -> Tensors:
        """Return the batch after ``changes``, each by the purpose of its own random draws."""
        try:
            for purpose, change in changes.items():
                if change is not None:
                    drawn = derive_seed(seed, purpose)
                    of = ViewOf(seed=drawn, vocab_size=self.spec.model.vocab_size)
                    batch = change(batch, self.trainable.settings, of)
            return tensors_of(batch)
        except ValueError as problem:
            raise RunFailed(f"a batch of {split} cannot be used: {problem}") from None


def _rows(batch: Batch, rows: slice) -> Batch:
    fields: dict[str, Any] = {
        name: None if own is None else own[rows] for name, own in vars(batch).items()
    }
    return Batch(**fields)


@torch.no_grad()
def evaluate(
    trainable: Trainable,
    batches: Iterable[Tensors],
    device: str,
    autocast: Callable[[], Any],
    should_stop: Callable[[], bool] = lambda: False,
    at_once: int = EVAL_SEQS,
) -> Evaluation | None:
    """Score ``batches``, at most ``at_once`` examples in one pass.

    ``autocast`` makes a fresh context. ``should_stop`` is called before every batch; None when it
    returns true.
    """
    model = trainable.model
    was_training = model.training
    model.eval()
    losses: list[torch.Tensor] = []
    weights: list[torch.Tensor] = []
    targets = 0
    try:
        for batch in batches:
            if should_stop():
                return None
            for part in batch.split(at_once):
                with autocast():
                    each, counts = trainable.example_losses(part.to(device))
                losses.append(each)
                weights.append(counts)
            targets += batch.targets.numel()
    finally:
        model.train(was_training)
    # the host reads the losses once, at the end, so that it never waits for a GPU between batches
    mean, sem = _mean(
        torch.cat(losses).cpu().double().tolist(), torch.cat(weights).cpu().double().tolist()
    )
    return Evaluation(loss_nats=mean, sem_nats=sem, tokens=targets)


def _mean(losses: list[float], weights: list[float]) -> tuple[float, float | None]:
    """Return the weighted mean and its standard error over examples, None of a single one."""
    count = len(losses)
    if min(weights) == max(weights):
        weights = [1.0] * count
    else:
        whole = math.fsum(weights)
        weights = [weight * count / whole for weight in weights]
    pairs = list(zip(weights, losses, strict=True))
    mean = math.fsum(weight * loss for weight, loss in pairs) / count
    squares = math.fsum((weight * (loss - mean)) ** 2 for weight, loss in pairs)
    return mean, math.sqrt(squares / (count - 1) / count) if count > 1 else None
