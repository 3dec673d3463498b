"""Drawn answers are judged and chosen as they should be, and a verifier learns to judge."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from scaling_law.data import access
from scaling_law.spec.component import Component
from scaling_law.spec.data import TaskSpec
from scaling_law.spec.resources import Resources
from scaling_law.train.loop import train_run
from scaling_law.train.probes._samples import Questions, Samples, best_of, majority_of
from scaling_law.train.probes._verifier import Verifier, balanced_accuracy
from tests.fakes import tiny_model, tiny_spec
from tests.train.test_loop import job


def samples_of(answers: list[list[list[int]]], truth: list[list[int]]) -> Samples:
    """Answers [Q, S, A] to questions with these true answers, the later the likelier."""
    ids = torch.tensor(answers)
    questions = Questions(prompts=torch.zeros(len(truth), 1).long(), truth=torch.tensor(truth))
    log_probs = torch.arange(ids.shape[1]).float().expand(ids.shape[:2])
    return Samples(questions=questions, ids=ids, log_probs=log_probs)


FOUR = samples_of(
    [[[1, 2], [1, 3], [1, 2], [4, 2]], [[5, 6], [7, 6], [7, 6], [5, 6]]], [[1, 2], [5, 6]]
)


def test_an_answer_is_right_up_to_its_first_mistake():
    assert FOUR.right.tolist() == [[True, False, True, False], [True, False, False, True]]
    assert FOUR.steps[0].tolist() == [[True, True], [True, False], [True, True], [False, False]]


def test_the_best_and_the_commonest_are_chosen_within_groups():
    # by score the second of each pair: wrong, wrong; wrong, right
    assert best_of(FOUR, FOUR.log_probs, 2) == 0.25
    assert best_of(FOUR, FOUR.log_probs, 4) == 0.5
    assert best_of(FOUR, FOUR.log_probs, 1) == 0.5
    # of two different answers the first counts, of all four to the second question as well
    assert majority_of(FOUR, 2) == pytest.approx((2 + 1) / 4)
    assert majority_of(FOUR, 4) == 1.0


@pytest.mark.parametrize("of_tokens", [True, False])
def test_a_verifier_learns_which_tokens_fit_a_state(of_tokens):
    """A token is right where it is the state's largest part."""
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(600, 2, 3, generator=generator)
    best = states.argmax(-1)
    ids = torch.where(torch.rand(600, 2, generator=generator) < 0.6, best, (best + 1) % 3)
    right = (ids == best).cumprod(1).bool()
    verifier = Verifier(vocab_size=3, width=3)
    verifier.train(states[:400], ids[:400], right[:400], of_tokens)
    scores = verifier.scores(states[400:], ids[400:])
    assert (scores <= 0).all() and not scores.requires_grad
    assert balanced_accuracy(scores, right[400:, -1]) > 0.85


def test_the_probe_counts_right_answers_of_each_question(tmp_path):
    data = TaskSpec(source=Component(name="addition", settings=(("digits", 1),)))
    settings = (("labels", (16,)), ("questions", 30), ("samples", 4))
    spec = tiny_spec(
        probes=(Component(name="best_of_n", settings=settings),),
        data=data,
        model=dataclasses.replace(tiny_model(), n_ctx=5, vocab_size=12),
        batch_tokens=40,
    )
    record = train_run(
        job(access.open_task(data), tmp_path, spec, resources=Resources(keep_weights=True))
    )
    assert record is not None and not record.message
    plain = train_run(job(access.open_task(data), tmp_path, dataclasses.replace(spec, probes=None)))
    assert plain is not None and plain.val_loss_nats == record.val_loss_nats
    metrics = {name.removeprefix("best_of_n."): x for name, x in record.metrics.items()}
    right = {int(k[6:]): x for k, x in metrics.items() if k.startswith("right-")}
    assert sum(right.values()) == 30 and max(right) <= 4 == metrics["samples"]
    mean = sum(count * x for count, x in right.items()) / 120
    for name in ("majority-1", "log_prob-1", "outcome-16.best-1", "steps-16.best-1"):
        assert metrics[name] == pytest.approx(mean), name
    assert {name for name in metrics if name.endswith("-4") and "right" not in name} == {
        "majority-4", "log_prob-4", "outcome-16.best-4", "steps-16.best-4",
    }  # fmt: skip


def test_too_few_questions_are_named(tmp_path):
    data = TaskSpec(source=Component(name="addition", settings=(("digits", 1),)))
    spec = tiny_spec(
        probes=(Component(name="best_of_n"),),
        data=data,
        model=dataclasses.replace(tiny_model(), n_ctx=5, vocab_size=12),
        batch_tokens=40,
    )
    record = train_run(job(access.open_task(data), tmp_path, spec))
    assert record is not None
    assert "val has 102 questions, expected 200: raise eval.val_tokens, or ask fewer" in (
        record.message
    )
