"""Several answers to each of some questions, drawn from a model, and which of them are right.

A question is an example's ids up to its first target that counts; its answer are the targets that
count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from scaling_law.train.subject import Subject


@dataclass(frozen=True, kw_only=True)
class Questions:
    """Questions of one length, with answers of one length.

    ``prompts`` are ids [Q, P]; ``truth`` are ids [Q, A].
    """

    prompts: Tensor
    truth: Tensor


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Answers drawn to ``questions``.

    ``ids`` are [Q, S, A]; ``log_probs`` are the model's log-probabilities of whole answers in nats,
    [Q, S].
    """

    questions: Questions
    ids: Tensor
    log_probs: Tensor

    @property
    def steps(self) -> Tensor:
        """Whether an answer is right up to each of its tokens, [Q, S, A]."""
        return (self.ids == self.questions.truth[:, None]).cumprod(dim=-1).bool()

    @property
    def right(self) -> Tensor:
        """Whether all tokens of an answer are right, [Q, S]."""
        return self.steps[..., -1]


def questions_of(subject: Subject, split: str, count: int) -> Questions:
    """Return the first questions of a split. Raises ``ValueError`` where it has fewer."""
    import torch

    prompts, truth = [], []
    for batch in subject.batches(split):
        if batch.targets.is_floating_point() or batch.inputs.is_floating_point():
            raise ValueError("drawing answers needs inputs and targets that are ids, found numbers")
        time, answer = batch.inputs.shape[1], batch.targets.shape[1]
        counts = batch.targets.new_ones(batch.targets.shape)
        if batch.weights is not None:
            counts = (batch.weights > 0).long()
        places = counts[0].nonzero()[:, 0]
        first, last = int(places[0]), int(places[-1]) + 1
        if not bool((counts == counts[:1]).all()) or not bool(counts[0, first:last].all()):
            raise ValueError("drawing answers needs questions of one length, and so answers")
        prompts.append(batch.inputs[:, : time - answer + first + 1])
        truth.append(batch.targets[:, first:last])
        if sum(map(len, truth)) >= count:
            break
    if (number := sum(map(len, truth))) < count:
        raise ValueError(
            f"{split} has {number} questions, expected {count}: raise eval.val_tokens, or ask fewer"
        )
    return Questions(prompts=torch.cat(prompts)[:count], truth=torch.cat(truth)[:count])


def draw(
    subject: Subject, questions: Questions, samples: int, temperature: float, seed: int
) -> Samples:
    """Draw ``samples`` answers to each question; the first ones do not depend on how many."""
    import torch

    from scaling_law.spec.sampling import Sampling

    length = questions.truth.shape[1]
    how = Sampling(tokens=length, temperature=temperature, seed=seed)
    # sample after sample, so that more samples begin with those that fewer give
    rows = subject.continuations(questions.prompts.tolist() * samples, how)
    place = questions.truth.device
    shape = samples, len(questions.truth)
    ids = torch.tensor([row.ids for row in rows], device=place).view(*shape, length)
    log_probs = torch.tensor([sum(row.log_probs) for row in rows], device=place).view(shape)
    return Samples(
        questions=questions, ids=ids.transpose(0, 1), log_probs=log_probs.transpose(0, 1)
    )


def best_of(samples: Samples, scores: Tensor, count: int) -> float:
    """Return how often the highest score of ``count`` answers is right: the mean over groups."""
    groups = scores.shape[1] // count
    scores = scores[:, : groups * count].reshape(len(scores), groups, count)
    right = samples.right[:, : groups * count].reshape(scores.shape)
    chosen = right.gather(2, scores.argmax(dim=2, keepdim=True))
    return float(chosen.double().mean())


def majority_of(samples: Samples, count: int) -> float:
    """Return how often the commonest of ``count`` answers is right; of equals, the first drawn."""
    same = (samples.ids[:, :, None] == samples.ids[:, None]).all(dim=-1)
    groups = samples.ids.shape[1] // count
    shares = []
    for group in range(groups):
        part = slice(group * count, (group + 1) * count)
        votes = same[:, part, part].sum(dim=2)
        chosen = samples.right[:, part].gather(1, votes.argmax(dim=1, keepdim=True))
        shares.append(float(chosen.double().mean()))
    return sum(shares) / len(shares)
