"""Objectives that change the text for training alone: what is read, predicted and measured."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from scaling_law import parts
from scaling_law.data.batch import Batch
from scaling_law.parts import Reference
from scaling_law.spec.component import Component
from scaling_law.train.begin import begin
from scaling_law.train.evaluate import Examples
from scaling_law.train.loop import train_run
from scaling_law.train.objectives import ViewOf
from tests.fakes import tiny_spec
from tests.train.test_loop import job

NOISED = Component(name="noised", settings=(("mask", 0.2), ("replace", 0.1)))
TEXT = b"the alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu"


def augmented(name: str, text: Any, *, seed: int = 0, **settings: Any) -> Batch:
    """What training reads of texts [B, T + 1] in bytes."""
    part = parts.load("objective", Reference(name=name))
    whole = np.asarray(text, np.int64)
    batch = Batch(inputs=whole[:, :-1], targets=whole[:, 1:])
    return part.augment(batch, part.settings(**settings), ViewOf(seed=seed, vocab_size=257))


def test_noise_is_of_the_share_asked_for_and_leaves_the_targets():
    letters = np.random.default_rng(0).integers(97, 123, size=(40, 101))
    batch = augmented("noised", letters, mask=0.2, replace=0.1)
    assert np.array_equal(batch.targets, letters[:, 1:]) and batch.weights is None
    read, text = batch.inputs, letters[:, :-1]
    masked, kept = read == 245, read == text
    assert masked.mean() == pytest.approx(0.2, abs=0.02)
    # one letter in 26 is replaced by itself
    assert (~masked & ~kept).mean() == pytest.approx(0.1 * 25 / 26, abs=0.015)
    assert set(np.unique(read)) <= {245, *range(97, 123)}


@pytest.mark.parametrize("name", ["noised", "swapped_words"])
def test_a_share_of_none_changes_nothing(name):
    whole = np.frombuffer(TEXT, np.uint8)[None]
    settings: dict[str, Any] = {"share": 0.0} if name == "swapped_words" else {}
    batch = augmented(name, whole, **settings)
    assert bytes(batch.inputs[0].astype(np.uint8)) == TEXT[:-1]


def test_swapped_words_change_places_with_a_neighbour_and_cut_words_stay():
    words = TEXT.decode().split(" ")
    whole, orders = np.frombuffer(TEXT, np.uint8)[None], set()
    for seed in range(8):
        batch = augmented("swapped_words", whole, seed=seed, share=0.7)
        ids = np.concatenate([batch.inputs[0], batch.targets[0, -1:]])
        ours = bytes(ids.astype(np.uint8)).decode().split(" ")
        assert np.array_equal(batch.inputs[0, 1:], batch.targets[0, :-1])
        assert sorted(ours) == sorted(words)
        assert (ours[0], ours[-1]) == (words[0], words[-1])
        assert all(abs(words.index(word) - place) <= 1 for place, word in enumerate(ours))
        orders.add(tuple(ours))
    assert len(orders) > 4


def inputs_of(examples: Examples, split: str) -> list[torch.Tensor]:
    return [batch.inputs for batch in examples.measured(split, 512)]


def test_training_reads_changed_text_and_measurements_read_it_as_it_is(dataset, tmp_path):
    def examples(objective: Component | None, seed: int = 0) -> Examples:
        spec = tiny_spec(objective=objective, seed=seed)
        return begin(job(dataset, tmp_path / spec.run_id, spec)).meter.examples

    plain, noised, other = examples(None), examples(NOISED), examples(NOISED, seed=1)
    for split in ("train", "val"):
        for ours, theirs in zip(inputs_of(plain, split), inputs_of(noised, split), strict=True):
            assert torch.equal(ours, theirs)
    first, text = noised.training(3), plain.training(3)
    assert torch.equal(first.inputs, noised.training(3).inputs)
    assert torch.equal(first.targets, text.targets)
    changed = [
        (one.training(step).inputs == plain.training(step).inputs)
        for one, step in ((noised, 3), (noised, 4))
    ]
    assert not changed[0].all() and not torch.equal(*changed)
    assert not torch.equal(first.inputs == 245, other.training(3).inputs == 245)


def test_a_stopped_run_on_changed_text_resumes_and_compares_with_next_token(dataset, tmp_path):
    spec = tiny_spec(objective=NOISED)
    record = train_run(job(dataset, tmp_path / "a", spec))
    asked = iter(range(100))
    stopped = job(dataset, tmp_path / "b", spec, should_stop=lambda: next(asked) == 11)
    assert train_run(stopped) is None
    again = train_run(job(dataset, tmp_path / "b", spec))
    assert record is not None and again is not None
    assert (again.val_loss_nats, again.curve_sha256) == (record.val_loss_nats, record.curve_sha256)
    assert (record.loss_unit, record.loss_family) == (None, None), "those of next_token"
    assert record.val_bits_per_byte is not None
