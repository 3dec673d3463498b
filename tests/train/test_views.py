"""Objectives that change the text: what they hide, move and cut, and how they fill in a span."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import numpy as np
import pytest
import torch

from scaling_law import parts
from scaling_law.data.access import open_task
from scaling_law.data.batch import Batch
from scaling_law.errors import SlawError
from scaling_law.parts import Reference
from scaling_law.spec.component import Component
from scaling_law.spec.data import TaskSpec
from scaling_law.train.architectures.gpt import GPT
from scaling_law.train.begin import begin
from scaling_law.train.forward import Trainable, tensors_of
from scaling_law.train.objectives import ViewOf
from scaling_law.train.subject import Subject
from scaling_law.train.tensors import Tensors
from tests.fakes import plan_of, tiny_model, tiny_spec
from tests.train.test_loop import job
from tests.train.test_probes import subject_of

NAMES = ("fim", "masked", "prefix_lm", "span_corruption")
ROWS, TIME, LETTERS = 5, 31, 40
TOPICS = """
name: test
data: {source: topics, letters: 8}
grid:
  - {sizes: [{n_layer: 1, d_model: 8, n_head: 1}], steps: [10]}
"""


def part_of(name: str, **changes: Any):
    """The objective and its settings; marks come after the letters."""
    part = parts.load("objective", Reference(name=name))
    marks = {"first_mark": LETTERS} if hasattr(part.settings(), "first_mark") else {}
    return part, part.settings(**marks, **changes)


def texts(rows: int = ROWS, size: int = TIME + 1) -> np.ndarray:
    return np.random.default_rng(0).integers(0, LETTERS, size=(rows, size))


def viewed(name: str, seed: int = 0, **changes: Any) -> Any:
    part, settings = part_of(name, **changes)
    whole = texts()
    batch = Batch(inputs=whole[:, :-1], targets=whole[:, 1:])
    return part.view(batch, settings, ViewOf(seed=seed, vocab_size=64))


def whole_of(batch: Batch) -> np.ndarray:
    return np.concatenate([batch.inputs, batch.targets[:, -1:]], axis=1)


@pytest.mark.parametrize("name", NAMES)
def test_a_view_is_a_function_of_its_seed_and_fits_the_context(name):
    first, again, other = (viewed(name, seed) for seed in (1, 1, 2))
    assert np.array_equal(first.inputs, again.inputs)
    assert first.inputs.shape == first.targets.shape == first.weights.shape == (ROWS, TIME)
    assert any(
        not np.array_equal(getattr(first, key), getattr(other, key))
        for key in ("inputs", "weights", "prefix")
        if getattr(first, key) is not None
    )
    assert (first.weights.sum(axis=1) > 0).all()


@pytest.mark.parametrize(
    ("name", "changes"), [*((name, {}) for name in NAMES), ("fim", {"order": "spm"})]
)
def test_a_span_is_asked_for_token_by_token(name, changes):
    part, settings = part_of(name, **changes)
    whole, starts = texts(size=TIME - 8), np.array([2, 5, 9, 11, 3])
    batch = part.infill(whole, starts, 4, settings)
    asked = batch.targets[batch.weights > 0].reshape(ROWS, 4)
    expected = np.stack([row[at : at + 4] for row, at in zip(whole, starts, strict=True)])
    assert np.array_equal(asked, expected)
    assert batch.inputs.shape[1] <= TIME


@pytest.mark.parametrize("name", NAMES)
def test_no_position_reads_the_token_that_it_predicts(name):
    """A change of a counted target changes no output before it is read."""
    part, settings = part_of(name)
    model = GPT(tiny_model(vocab_size=64, n_ctx=TIME), seed=1).eval()
    trainable = Trainable(model, part, settings)
    whole = texts(rows=1, size=TIME - 8)
    batch: Any = tensors_of(part.infill(whole, np.array([7]), 1, settings))
    other = whole.copy()
    other[0, 7] = (other[0, 7] + 1) % LETTERS
    changed: Any = tensors_of(part.infill(other, np.array([7]), 1, settings))
    counted = batch.weights > 0
    with torch.no_grad():
        outputs = [trainable.outputs(one)[counted] for one in (batch, changed)]
    torch.testing.assert_close(*outputs)


@pytest.mark.parametrize(("name", "reads"), [("next_token", False), ("prefix_lm", False),
                                             ("masked", True), ("fim", True),
                                             ("span_corruption", True)])  # fmt: skip
def test_which_objectives_read_the_text_after_a_span(name, reads):
    part, settings = part_of(name)
    model = GPT(tiny_model(vocab_size=64, n_ctx=TIME), seed=1).eval()
    trainable = Trainable(model, part, settings)
    whole = texts(rows=1, size=TIME - 8)
    other = whole.copy()
    other[0, 9] = (other[0, 9] + 1) % LETTERS
    asked: Any = [
        tensors_of(part.infill(one, np.array([7]), 1, settings)) for one in (whole, other)
    ]
    with torch.no_grad():
        first, second = (trainable.outputs(one)[one.weights > 0] for one in asked)
    assert torch.equal(first, second) is not reads


@pytest.mark.parametrize("share", [0.15, 1.0])
def test_masked_hides_a_share_of_each_example(share):
    batch = viewed("masked", share=share)
    hidden = batch.inputs == LETTERS
    assert (hidden.sum(axis=1) == round(share * TIME)).all()
    assert np.array_equal(hidden, batch.weights > 0)
    assert np.array_equal(batch.targets, texts()[:, :-1])


def test_prefix_lm_counts_what_comes_after_the_prefix():
    batch = viewed("prefix_lm")
    assert (batch.prefix >= 1).all() and len(set(batch.prefix)) > 1
    for prefix, weights in zip(batch.prefix, batch.weights, strict=True):
        assert weights.nonzero()[0][0] == prefix - 1 and weights[prefix - 1 :].all()


def test_psm_moves_a_middle_to_the_end():
    whole = whole_of(viewed("fim", rate=1.0))
    for moved, text in zip(whole, texts(), strict=True):
        pre, suf, mid, end = (int((moved == LETTERS + at).nonzero()[0][0]) for at in range(4))
        prefix, suffix, middle = moved[pre + 1 : suf], moved[suf + 1 : mid], moved[mid + 1 : end]
        assert (pre, end) == (0, TIME)
        assert np.array_equal(np.concatenate([prefix, middle, suffix]), text[: TIME + 1 - 4])


def test_spm_moves_a_suffix_to_the_front():
    whole = whole_of(viewed("fim", rate=1.0, order="spm"))
    for moved, text in zip(whole, texts(), strict=True):
        pre, suf, mid, end = (int((moved == LETTERS + at).nonzero()[0][0]) for at in range(4))
        suffix, rest = moved[suf + 1 : mid], moved[mid + 1 : end]
        assert (pre, suf, end) == (0, 1, TIME)
        assert np.array_equal(np.concatenate([rest, suffix]), text[: TIME + 1 - 4])


def test_fim_moves_as_many_examples_as_its_rate_says():
    plain = viewed("fim", rate=0.0)
    assert np.array_equal(whole_of(plain), texts())
    part, settings = part_of("fim")
    many = texts(rows=400)
    batch = part.view(
        Batch(inputs=many[:, :-1], targets=many[:, 1:]), settings, ViewOf(seed=3, vocab_size=64)
    )
    assert 0.4 < (batch.inputs[:, 0] == LETTERS).mean() < 0.6


def test_span_corruption_can_be_undone():
    batch = viewed("span_corruption", share=0.3, mean=2.0)
    whole = whole_of(batch)
    for row, prefix, text in zip(whole, batch.prefix, texts(), strict=True):
        read, said = row[:prefix], row[prefix:]
        spans = {
            int(part[0]): part[1:]
            for part in np.split(said, (said >= LETTERS).nonzero()[0])
            if len(part)
        }
        restored = np.concatenate([spans.get(int(i), np.array([i])) for i in read])
        assert np.array_equal(restored, text[: len(restored)])
        assert len(restored) == TIME + 1 - 2 * len(spans.keys() - {LETTERS + 10}) - 1
    assert (batch.weights.sum(axis=1) == TIME + 1 - batch.prefix).all()


def test_a_text_that_holds_a_mark_is_refused():
    part, settings = part_of("masked")
    held = np.full((1, 4), LETTERS)
    with pytest.raises(ValueError, match="holds the id 40, which marks"):
        part.view(Batch(inputs=held, targets=held), settings, ViewOf(seed=0, vocab_size=64))


@pytest.mark.parametrize("position", ["rotary", "learned", "alibi", "none"])
def test_a_prefix_sees_itself_and_the_rest_is_causal(position):
    model = GPT(tiny_model(position=position, n_ctx=12), seed=1).eval()
    ids = torch.arange(12)[None]
    prefix = torch.tensor([4])
    with torch.no_grad():
        causal, none, some = model(ids), model(ids, torch.tensor([0])), model(ids, prefix)
        later, last = ids.clone(), ids.clone()
        later[0, 3] = last[0, 4] = 0
        early, outside = model(later, prefix), model(last, prefix)
    torch.testing.assert_close(causal, none)
    assert not torch.allclose(some[:, 0], early[:, 0])  # a position of the prefix sees a later one
    torch.testing.assert_close(some[:, :4], outside[:, :4])  # but none behind the prefix


def test_the_scores_that_probes_see_have_the_prefix():
    model = GPT(tiny_model(n_ctx=6), seed=1).eval()
    scores = model.inside(torch.arange(6)[None], "attention", torch.tensor([3]))[0]
    seen = scores[0, 0].isfinite()
    assert seen[0, 2] and not seen[0, 3] and not seen[3, 4] and seen[5].all()


def test_a_batch_with_a_prefix_splits_and_trains_alike():
    part, settings = part_of("prefix_lm")
    batch: Any = tensors_of(viewed("prefix_lm"))
    model = GPT(tiny_model(vocab_size=64, n_ctx=TIME), seed=1)
    trainable = Trainable(copy.deepcopy(model), part, settings)
    halves: Any = batch.split(2)
    assert [len(half.prefix) for half in halves] == [2, 2, 1]
    with torch.no_grad():
        whole = trainable.loss(batch)
        shares = sum(half.share * trainable.loss(half) for half in halves)
    torch.testing.assert_close(whole, shares)
    assert isinstance(halves[0], Tensors)


def measured(dataset, tmp_path, probe: str, objective: str | None = None, **settings: Any) -> Any:
    """What a probe measures of a run that has just begun."""
    component = None if objective is None else Component(name=objective)
    spec = tiny_spec(model=tiny_model(n_layer=2), objective=component)
    part = parts.load("probe", Reference(name=probe))
    return part.measure(subject_of(begin(job(dataset, tmp_path, spec))), part.settings(**settings))


def test_the_next_tokens_loss_is_the_runs_own_where_that_is_its_objective(dataset, tmp_path):
    subject = subject_of(begin(job(dataset, tmp_path, tiny_spec())))
    part = parts.load("probe", Reference(name="next_token_loss"))
    batches = list(subject.batches("val"))
    own = sum(float(subject.losses(batch)[0].sum()) for batch in batches)
    count = sum(len(batch.inputs) for batch in batches)
    assert part.measure(subject, part.settings()) == pytest.approx(own / count, rel=1e-6)


def test_the_next_tokens_loss_of_a_model_that_sees_both_sides_is_causal(dataset, tmp_path):
    """At random weights both have the same loss, and neither run's attention is changed."""
    plain = measured(dataset, tmp_path / "plain", "next_token_loss")
    assert measured(dataset, tmp_path / "masked", "next_token_loss", "masked") == plain


def test_guessing_by_frequency_has_the_entropy_of_the_targets(dataset, tmp_path):
    subject = subject_of(begin(job(dataset, tmp_path, tiny_spec())))
    part = parts.load("probe", Reference(name="guess_loss"))
    targets = torch.cat([batch.targets.flatten() for batch in subject.batches("val")])
    _, counts = np.unique(targets.numpy(), return_counts=True)
    shares = counts / counts.sum()
    guessed = part.measure(subject, part.settings())
    assert guessed == pytest.approx(-(shares * np.log(shares)).sum(), rel=1e-9)
    assert guessed < np.log(dataset.vocab_size)


@pytest.mark.parametrize("objective", [None, *NAMES])
def test_a_model_at_random_fills_in_few_spans(dataset, tmp_path, objective):
    shares = measured(dataset, tmp_path, "infilling", objective, length=2)
    assert set(shares) == {"tokens", "exact", "first"}
    assert 0 <= shares["exact"] <= min(shares["first"], shares["tokens"]) < 0.5


def test_the_kind_of_a_text_needs_two_kinds(dataset, tmp_path):
    with pytest.raises(ValueError, match=r"found 0 kinds of text \(val:NAME\), expected 2"):
        measured(dataset, tmp_path, "text_kind")


@pytest.mark.parametrize("objective", ["prefix_lm", None])
def test_the_kind_of_a_text_is_read_where_layers_mix_its_letters(tmp_path, objective):
    """Letters alone do not tell the topic of a text: its first layer may, and its embedding not."""
    data = TaskSpec(source=Component(name="topics", settings=(("letters", 6), ("topics", 2))))
    task = open_task(data)
    component = None if objective is None else Component(name=objective)
    model = tiny_model(n_ctx=32, vocab_size=task.vocab_size)
    spec = tiny_spec(model=model, data=data, objective=component, batch_tokens=64)
    subject = Subject(
        begin(job(task, tmp_path, spec)).meter.examples,
        step=0,
        max_tokens=16384,
        kind="cpu",
        autocast=contextlib.nullcontext,
        should_stop=lambda: False,
    )
    part = parts.load("probe", Reference(name="text_kind"))
    shares = part.measure(subject, part.settings())
    assert shares["embedding"] < 0.6 < 0.65 < shares["layers.0"]
    assert shares["best"] == shares["layers.0"] and shares["most_frequent"] == 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["objective={name: masked}"], "marks the text with the id 245, and"),
        (["objective=prefix_lm", "model.architecture=lstm", "grid.0.sizes=[{d_model: 8}]"],
         "needs prefix attention, which the architecture lstm does not have"),
        (["objective={name: fim, first_mark: 8, order: suffix}"], "order"),
        (["objective=prefix_lm", "data={source: quotation, length: 4}", "optim.batch_tokens=64"],
         "it changes text, .* an example of the task has"),
        (["objective=noised", "data={source: images, pixels: 7, images: synthetic}",
          "model.architecture=dense", "grid.0.sizes=[{width: 8}]"],
         "it changes text, and the inputs of the task's examples are numbers"),
        (["objective={name: span_corruption, first_mark: 8}", "data.length=8"],
         "raise n_ctx to 11"),
    ],
)  # fmt: skip
def test_what_an_objective_lacks_is_said_before_anything_is_trained(changes, message):
    with pytest.raises(SlawError, match=message):
        plan_of(TOPICS, *changes)
