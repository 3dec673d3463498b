"""Multiple choice from passages: scores that are known, and questions that cannot be asked."""

from __future__ import annotations

import math

import pytest
import torch

from scaling_law.train.probes.multiple_choice import Settings, measure
from scaling_law.train.tensors import Tensors

PASSAGES, LENGTH, IDS = 4, 8, 10


class Repeating:
    """A subject whose model expects the last token again, by ``sure`` nats over any other."""

    splits = ("train", "val")

    def __init__(self, texts: torch.Tensor, sure: float = 2.0, answers: int = LENGTH) -> None:
        self.texts, self.sure, self.answers = texts, sure, answers

    def batches(self, split):
        assert split == "val", "no question is made of training text"
        yield Tensors(inputs=self.texts[:, :-1], targets=self.texts[:, -self.answers :])

    def forward(self, batch):
        inputs = batch.inputs[:, -batch.targets.shape[1] :]
        return self.sure * torch.nn.functional.one_hot(inputs, IDS).float()


def asked(subject, **settings) -> dict[str, float]:
    return measure(subject, Settings(**settings))


def test_a_passage_that_repeats_itself_is_known_from_others():
    texts = torch.arange(PASSAGES).unsqueeze(1).expand(PASSAGES, LENGTH + 1)
    numbers = asked(Repeating(texts), choices=4, tail=3)
    surprise = math.log(math.exp(2) + IDS - 1) - 2
    assert numbers["val.accuracy"] == 1 and numbers["val.questions"] == PASSAGES
    assert numbers["val.nats"] == pytest.approx(surprise)
    # a wrong tail differs from the right one in its first token alone, by 2 nats
    assert numbers["val.chosen"] == pytest.approx(1 / (1 + 3 * math.exp(-2)))
    assert numbers["val.chance"] == 0.25


def test_a_model_that_expects_nothing_guesses():
    texts = torch.randint(IDS, (PASSAGES, LENGTH + 1), generator=torch.Generator().manual_seed(0))
    numbers = asked(Repeating(texts, sure=0.0), choices=2, tail=3)
    assert numbers["val.chosen"] == pytest.approx(0.5)
    assert numbers["val.nats"] == pytest.approx(math.log(IDS))
    assert numbers["val.accuracy"] == 0  # a tie is no answer


def test_questions_that_cannot_be_asked_are_refused():
    texts = torch.zeros((PASSAGES, LENGTH + 1), dtype=torch.int64)
    with pytest.raises(ValueError, match="fewer than 5 passages"):
        asked(Repeating(texts), choices=5)
    with pytest.raises(ValueError, match="a tail of 8 tokens leaves nothing of a passage of 8"):
        asked(Repeating(texts), tail=8)
    with pytest.raises(ValueError, match="needs text"):
        asked(Repeating(texts, answers=2), tail=1)
