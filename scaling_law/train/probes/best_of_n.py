"""How often one of several answers drawn to a question is right, and how often the chosen one is.

``samples`` is the number of answers drawn to each of some questions of ``val``, and ``right-C`` the
number of questions of which C of these are right.
``majority-N`` is the share of questions of which the commonest of N answers is right, and
``log_prob-N`` that of the likeliest by the model itself; both are means over disjoint groups of N.

With ``labels``, verifiers learn from so many labelled answers to training questions
(``train.probes._verifier``): ``outcome-L`` from whether an answer is right, ``steps-L`` from where
it goes wrong. ``outcome-L.accuracy`` is how often it judges answers to ``val`` rightly, with right
and wrong ones weighing the same; ``outcome-L.best-N`` is the share of questions of which the best
of N by its judgement is right.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from scaling_law.spec.values import Number
from scaling_law.spec.work import Measured, Work, continuing
from scaling_law.train.probes import Probe, needs_ids

if TYPE_CHECKING:
    from scaling_law.train.probes._samples import Samples
    from scaling_law.train.subject import Subject

# Answers to one training question among those that a verifier learns from.
_OF_A_QUESTION = 4
_KINDS = ("outcome", "steps")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How answers are drawn.

    ``questions`` is how many are asked;
    ``samples`` is the answers drawn to each;
    ``temperature`` divides the logits;
    ``seed`` decides the draws;
    ``labels`` are the numbers of labelled answers that verifiers learn from; () for no verifier.
    """

    questions: Annotated[int, Number("questions of val", "count", low=1, high=100_000)] = 200
    samples: Annotated[int, Number("answers drawn to each", "count", low=1, high=4096)] = 64
    temperature: Annotated[float, Number("of drawing", above=0, high=1000)] = 1.0
    seed: Annotated[int, Number("of drawing", low=0, high=10**9)] = 0
    labels: tuple[
        Annotated[int, Number("labelled answers of a verifier", "count", low=8, high=10**7)], ...
    ] = ()


def measure(subject: Subject, settings: Settings) -> dict[str, float]:
    """Return counts of questions, and shares by way of choosing and number of answers."""
    from scaling_law.train.probes._samples import best_of, draw, majority_of, questions_of

    questions = questions_of(subject, "val", settings.questions)
    samples = draw(subject, questions, settings.samples, settings.temperature, settings.seed)
    counts = samples.right.sum(dim=1).bincount().tolist()
    numbers = {"samples": float(settings.samples)}
    numbers |= {f"right-{count}": float(n) for count, n in enumerate(counts) if n}
    for count in powers_of_two(settings.samples):
        numbers[f"majority-{count}"] = majority_of(samples, count)
        numbers[f"log_prob-{count}"] = best_of(samples, samples.log_probs, count)
    if settings.labels:
        numbers |= _verified(subject, samples, settings)
    return numbers


def powers_of_two(most: int) -> list[int]:
    """1, 2, 4 and so on, up to ``most``."""
    return [2**power for power in range(most.bit_length())]


def _training_questions(settings: Settings) -> int:
    """How many training questions the verifiers' answers are drawn to."""
    return -(-max(settings.labels) // _OF_A_QUESTION)


def _verified(subject: Subject, samples: Samples, settings: Settings) -> dict[str, float]:
    """Return what verifiers make of the answers, by kind and number of labels."""
    import torch

    from scaling_law.train.probes._samples import best_of, draw, questions_of
    from scaling_law.train.probes._verifier import Verifier, balanced_accuracy, states_of

    questions = questions_of(subject, "train", _training_questions(settings))
    learned = draw(subject, questions, _OF_A_QUESTION, settings.temperature, settings.seed + 1)
    states = states_of(subject, learned).flatten(0, 1)
    ids, steps = learned.ids.flatten(0, 1), learned.steps.flatten(0, 1)
    seen = states_of(subject, samples)
    vocab_size = int(max(ids.max(), samples.ids.max())) + 1
    numbers = {}
    for labels in settings.labels:
        for kind in _KINDS:
            verifier = Verifier(vocab_size, states.shape[-1])
            with torch.enable_grad():
                verifier.train(states[:labels], ids[:labels], steps[:labels], kind == "steps")
            scores = verifier.scores(seen, samples.ids)
            name = f"{kind}-{labels}"
            if math.isfinite(accuracy := balanced_accuracy(scores, samples.right)):
                numbers[f"{name}.accuracy"] = accuracy
            for count in powers_of_two(settings.samples):
                numbers[f"{name}.best-{count}"] = best_of(samples, scores, count)
    return numbers


def work(measured: Measured, settings: Settings) -> Work:
    """The answers drawn, and for verifiers the answers they learn from and their training."""
    model, answer_tokens = measured.model, measured.n_targets
    prompt_tokens = model.n_ctx - answer_tokens + 1

    def drawing(answers: int) -> Work:
        return continuing(model, answers, prompt_tokens, answer_tokens)

    answers = settings.questions * settings.samples
    if not settings.labels:
        return drawing(answers)
    from scaling_law.train.probes._verifier import training_work

    learned = _training_questions(settings) * _OF_A_QUESTION
    states = Work(read_tokens=(answers + learned) * model.n_ctx)
    trained = [training_work(measured) for _ in settings.labels for _ in _KINDS]
    return sum(trained, drawing(answers) + drawing(learned) + states)


def refusal(measured: Measured, settings: Settings) -> str:
    """It needs ids, and as many questions as are asked."""
    if why := needs_ids(measured, settings):
        return why
    if (known := measured.examples("val")) < settings.questions:
        return (
            f"val has {known} questions to read, expected {settings.questions}; raise"
            " eval.val_tokens, or ask fewer questions"
        )
    return ""


PROBE = Probe(
    measure=measure,
    unit="questions, and shares of questions",
    when="end",
    settings=Settings,
    work=work,
    refusal=refusal,
)
