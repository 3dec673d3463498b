"""Tasks: their examples, splits and weights, and what breaks their contract."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scaling_law import parts
from scaling_law.data import access
from scaling_law.data.batch import Batch
from scaling_law.data.describe import inspect
from scaling_law.data.task import TaskDataset
from scaling_law.data.tasks import Task, copy, modular_addition
from scaling_law.errors import ConfigError
from scaling_law.spec.component import Component
from scaling_law.spec.data import TaskSpec
from scaling_law.spec.from_json import run_spec_from_json
from scaling_law.spec.to_json import to_json
from tests.fakes import config_of, tiny_model, tiny_spec

Settings = modular_addition.Settings


def whole(dataset: TaskDataset, split: str) -> Batch:
    count = dataset.sizes.splits[split]
    assert count is not None
    return dataset.examples(split, np.arange(count))


def of(task: str, **settings: Any) -> TaskDataset:
    component = Component(name=task, settings=tuple(sorted(settings.items())))
    return access.open_task(TaskSpec(source=component))


@pytest.mark.parametrize("task", parts.names("source"))
def test_every_task_keeps_its_contract(task):
    dataset = of(task)
    dataset.check()
    assert dataset.splits[:2] == ("train", "val")
    another: dict[str, Any] = {"text": "another"} if dataset.task.external else {"seed": 1}
    assert dataset.fingerprint == of(task).fingerprint != of(task, **another).fingerprint


@pytest.mark.parametrize("operation", modular_addition.OPERATIONS)
def test_every_pair_is_in_exactly_one_split_with_its_result(operation):
    dataset = of("modular_addition", modulus=7, operation=operation, train_frac=0.3)
    splits = [whole(dataset, split) for split in dataset.splits]
    assert [len(split.inputs) for split in splits] == [15, 34]
    pairs = np.concatenate([split.inputs for split in splits])
    assert sorted(map(tuple, pairs)) == [(a, b) for a in range(7) for b in range(7)]
    outcomes = np.concatenate([split.targets for split in splits])[:, 0]
    a, b = pairs.T
    expected = {"add": a + b, "subtract": a - b, "multiply": a * b}[operation]
    assert np.array_equal(outcomes, expected % 7)


@pytest.mark.parametrize("train_pairs", [1, 2, 15, 24, 47, 48])
def test_swapped_pairs_can_stay_in_one_split(train_pairs):
    """The number of training pairs is that of the other split, odd or even."""
    share = {"modulus": 7, "train_frac": train_pairs / 49}
    dataset = of("modular_addition", **share, swapped_together=True)
    splits = [{tuple(pair) for pair in whole(dataset, name).inputs} for name in dataset.splits]
    assert [len(split) for split in splits] == [train_pairs, 49 - train_pairs]
    assert splits[0] | splits[1] == {(a, b) for a in range(7) for b in range(7)}
    assert all((b, a) in split for split in splits for a, b in split)


def test_swapped_pairs_fall_apart_unless_they_are_held_together():
    dataset = of("modular_addition")
    assert dataset.fingerprint == "6325a051dc349d3a", "records name the examples by it"
    trained = {tuple(pair) for pair in whole(dataset, "train").inputs}
    assert any((b, a) not in trained for a, b in trained)


def test_an_equals_sign_is_one_more_id():
    dataset = of("modular_addition", modulus=5, equals=True)
    assert (dataset.vocab_size, dataset.sizes.n_ctx) == (6, 3)
    batch = whole(dataset, "val")
    assert (batch.inputs[:, 2] == 5).all() and batch.targets.shape == (15, 1)


def test_a_batch_of_the_whole_split_is_an_epoch():
    dataset = of("modular_addition", modulus=7)
    every = sorted(map(tuple, whole(dataset, "train").inputs))
    draw = {"batch_seqs": len(every), "n_ctx": 2, "seed": 3}
    first, second = (dataset.batch("train", step, **draw) for step in (0, 1))
    for batch in (first, second):
        assert sorted(map(tuple, batch.inputs)) == every
    assert not np.array_equal(first.inputs, second.inputs)
    again = of("modular_addition", modulus=7).batch("train", 1, **draw)
    assert np.array_equal(again.inputs, second.inputs)
    assert dataset.epochs(n_ctx=2, tokens=len(every) * 2 * 3) == 3


def test_only_the_second_sequence_counts():
    dataset = of("copy", symbols=2, length=4, longer=(6,))
    assert dataset.splits == ("train", "val", "val:length-6")
    assert (dataset.vocab_size, dataset.sizes.n_ctx) == (3, 12)
    for split, length in (("train", 4), ("val", 4), ("val:length-6", 6)):
        batch = dataset.examples(split, np.arange(20))
        assert batch.weights is not None
        counted = batch.targets[batch.weights > 0].reshape(20, length)
        assert np.array_equal(counted, batch.inputs[:, :length])
        assert (batch.inputs[:, length] == 2).all()
        assert np.array_equal(batch.inputs[:, 1:], batch.targets[:, :-1])


@pytest.mark.parametrize("reverse", [False, True])
def test_copying_distinct_symbols_of_any_length_up_to_the_longest(reverse):
    settings = {"symbols": 9, "length": 5, "shortest": 2, "longer": (7,), "distinct": True}
    dataset = of("copy", **settings, reverse=reverse)
    for split, lengths in (("train", {2, 3, 4, 5}), ("val", {5}), ("val:length-7", {7})):
        batch = dataset.examples(split, np.arange(200))
        assert batch.weights is not None
        counts = batch.weights.sum(axis=1).astype(int)
        assert set(counts.tolist()) == lengths
        for inputs, targets, weights, count in zip(
            batch.inputs, batch.targets, batch.weights, counts, strict=True
        ):
            first = inputs[:count].tolist()
            assert len(set(first)) == count and inputs[count] == 9
            again = targets[weights > 0].tolist()
            assert again == (first[::-1] if reverse else first)
            assert np.array_equal(inputs[1:], targets[:-1])
            assert weights[:count].sum() == 0 and (inputs[2 * count + 1 :] == 9).all()


def test_training_lengths_rise_with_the_examples_seen():
    dataset = of("copy", symbols=9, length=5, shortest=2, longer=(), ramp=400)
    draw = {"batch_seqs": 100, "n_ctx": 10}
    for seed in (0, 7):
        for step, longest in enumerate((2, 3, 4, 5, 5)):
            weights = dataset.batch("train", step, **draw, seed=seed).weights
            assert weights is not None
            assert set(weights.sum(axis=1)) == set(range(2, longest + 1))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"shortest": 20}, "shortest is 20, expected at most length 16"),
        ({"ramp": 10}, "set shortest as well"),
        ({"shortest": 2, "ramp": 10, "train_examples": 9}, "leave train_examples out"),
        ({"distinct": True}, "a sequence of 32 distinct symbols needs as many; symbols is 10"),
        ({"distinct": True, "symbols": 20_000}, "expected at most 10000 where they are distinct"),
    ],
)
def test_settings_of_copying_that_do_not_fit_each_other_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        copy.Settings(**settings)


@pytest.mark.parametrize("reverse", [False, True])
def test_the_targets_of_addition_are_the_digits_of_the_sum(reverse):
    dataset = of("addition", digits=3, reverse=reverse, val_examples=500)
    assert (dataset.vocab_size, dataset.sizes.n_ctx, dataset.sizes.n_targets) == (12, 11, 4)
    pairs = {}
    for split in ("train", "val"):
        batch = dataset.examples(split, np.arange(500))
        tens = 10 ** np.arange(3, -1, -1)
        a, b = batch.inputs[:, :3] @ tens[1:], batch.inputs[:, 4:7] @ tens[1:]
        answers = batch.targets[:, ::-1] if reverse else batch.targets
        assert np.array_equal(answers @ tens, a + b)
        assert (batch.inputs[:, 3] == 10).all() and (batch.inputs[:, 7] == 11).all()
        assert np.array_equal(batch.inputs[:, 8:], batch.targets[:, :-1])
        pairs[split] = set(zip(a.tolist(), b.tolist(), strict=True))
        assert len(pairs[split]) > 490


def test_no_pair_to_add_is_in_both_splits():
    dataset = of("addition", digits=1)
    numbers = {}
    for split in ("train", "val"):
        inputs = dataset.examples(split, np.arange(3000)).inputs
        numbers[split] = set(zip(inputs[:, 0].tolist(), inputs[:, 2].tolist(), strict=True))
    assert (len(numbers["train"]), len(numbers["val"])) == (90, 10)
    assert not numbers["train"] & numbers["val"]


def test_unlimited_examples_differ_by_step_and_seed():
    dataset = of("copy")
    draws = [
        dataset.batch("train", step, batch_seqs=8, n_ctx=64, seed=seed).inputs
        for step, seed in ((0, 1), (1, 1), (0, 2))
    ]
    assert len({tuple(row) for draw in draws for row in draw}) == 24
    assert dataset.train_tokens is None and dataset.epochs(n_ctx=64, tokens=10**9) == 0
    finite = of("copy", train_examples=8)
    repeated = finite.batch("train", 0, batch_seqs=16, n_ctx=64, seed=1).inputs
    assert len({tuple(row) for row in repeated}) == 8


def test_validation_takes_whole_examples_spread_over_the_split():
    dataset = of("modular_addition", modulus=7)
    batches = list(dataset.val_batches("val", 2, 11, 3))
    assert [len(batch.inputs) for batch in batches] == [3, 2]
    assert dataset.val_tokens("val", 2, 11) == 10 and dataset.val_bytes("val", 2, 11) is None
    assert dataset.val_tokens("val", 2, 10**6) == 29 * 2


def test_a_task_is_inspected_without_being_prepared():
    spec = config_of("""
name: t
data: {source: modular_addition, modulus: 5}
grid: [{sizes: [nano14k], epochs: [10]}]
optim: {batch_examples: all}
""").data_spec
    text = inspect(spec)
    assert "modulus 5" in text and "train      10\n" in text and "no tokenizer" in text
    dataset = access.known_data(spec)
    assert dataset is not None and dataset.train_tokens == 20


def test_a_spec_with_a_task_reads_back():
    source = Component(name="copy", settings=(("length", 3), ("longer", (5, 6))))
    spec = tiny_spec(data=TaskSpec(source=source), model=tiny_model(vocab_size=11))
    data = to_json(spec)
    assert data["data"] == {"source": {"name": "copy", "settings": {"length": 3, "longer": [5, 6]}}}
    again = run_spec_from_json(data)
    assert again == spec and again.run_id == spec.run_id
    with pytest.raises(ValueError, match="unknown key 'corpus'"):
        run_spec_from_json({**data, "data": {**data["data"], "corpus": "sotu"}})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"vocab_size": lambda s: -1}, "vocab_size is -1, expected a whole number of at least 0"),
        ({"n_ctx": lambda s: 2.5}, "n_ctx is 2.5, expected a whole number of at least 1"),
        ({"splits": lambda s: {"train": 3}}, "no split val, expected train and val"),
        ({"splits": lambda s: {"train": 3, "val": 0}}, "split val has 0 examples"),
        ({"splits": lambda s: {"train": 3, "val": None}}, "split val has None examples"),
        ({"splits": lambda s: {"train": 1, "val": 1, "x": 1}}, "a split 'x', expected train, val"),
        ({"splits": lambda s: s.nothing}, "the task's splits fails (AttributeError: "),
        ({"splits": lambda s: 3}, "splits are 3, expected counts by name"),
        ({"vocab_size": lambda s: 4}, "hold ids 0 to 4, expected 0 to 3 (vocab_size 4)"),
        ({"n_ctx": lambda s: 3}, r"inputs are of shape (10, 2), expected (10, 3) (n_ctx 3)"),
        ({"inputs": "numbers"}, "inputs are int64, and the task says that they are numbers"),
    ],
)
def test_a_task_that_breaks_its_contract_is_named(change, words):
    with pytest.raises(ConfigError) as refused:
        TaskDataset("mine", dataclasses.replace(modular_addition.TASK, **change), FIVE).check()
    assert words in str(refused.value) and len(refused.value.lines) == 1


FIVE = Settings(modulus=5)


def _broken(change: Callable[[Batch], Any]) -> Task:
    def examples(settings: Any, split: str, indices: Any) -> Any:
        return change(modular_addition.examples(settings, split, indices))

    return dataclasses.replace(modular_addition.TASK, examples=examples)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda b: None, "its examples are NoneType, expected a Batch"),
        (lambda b: 1 / 0, "making examples of train fails (ZeroDivisionError: division by zero)"),
        (lambda b: dataclasses.replace(b, inputs=b.inputs[:3]), "inputs are of shape (3, 2)"),
        (lambda b: dataclasses.replace(b, targets=b.targets[:, 0]), "targets are of shape (10,)"),
        (lambda b: dataclasses.replace(b, targets=b.targets / 2), "targets are float64"),
        (lambda b: dataclasses.replace(b, targets=b.targets.repeat(3, 1)), "3 targets for 2 pos"),
        (lambda b: _weighted(b, b.targets), "weights are not float32"),
        (lambda b: _weighted(b, 0 * b.targets.astype(np.float32)), "or none above 0"),
        (lambda b: _weighted(b, np.ones((10, 2), np.float32)), "weights are of shape (10, 2)"),
    ],
)
def test_examples_that_break_the_contract_are_named(change, words):
    with pytest.raises(ConfigError) as refused:
        TaskDataset("mine", _broken(change), FIVE).check()
    assert words in str(refused.value)
    assert str(refused.value).startswith("mine: ") and len(refused.value.lines) == 1


def _weighted(batch: Batch, weights: Any) -> Batch:
    return dataclasses.replace(batch, weights=weights)


def test_a_task_that_this_version_lacks_is_named():
    spec = TaskSpec(source=Component(name="modular_adition"))
    with pytest.raises(ConfigError, match="did you mean modular_addition"):
        access.open_task(spec)
    spec = TaskSpec(source=Component(name="copy", settings=(("colour", 1),)))
    with pytest.raises(ConfigError, match="the source 'copy': unknown key 'colour'"):
        access.open_task(spec)


def test_a_train_fraction_that_leaves_a_split_empty_is_refused():
    with pytest.raises(ValueError, match="leaves no validation example of 25 pairs"):
        Settings(modulus=5, train_frac=0.99)
    with pytest.raises(ValueError, match="leaves no training example of 25 pairs"):
        Settings(modulus=5, train_frac=0.001)
    with pytest.raises(ValueError, match="longer holds 4, expected different lengths above"):
        copy.Settings(length=4, longer=(4,))


def test_a_users_own_task_is_named_by_its_path(tmp_path: Path):
    (tmp_path / "mine.py").write_text(
        Path(str(modular_addition.__file__)).read_text().replace("outcome %", "(outcome + 1) %")
    )
    (tmp_path / "c.yaml").write_text("""
name: t
data: {source: mine.py, modulus: 5}
grid: [{sizes: [nano14k], epochs: [10]}]
optim: {batch_examples: all}
""")
    from scaling_law.config.load import load_config

    spec = load_config(tmp_path / "c.yaml", device_kind="cpu").data_spec
    assert isinstance(spec, TaskSpec) and spec.source.source_sha256 is not None
    own, ours = access.open_task(spec), of("modular_addition", modulus=5)
    assert own.fingerprint != ours.fingerprint
    assert np.array_equal(whole(own, "val").targets, (whole(ours, "val").targets + 1) % 5)
