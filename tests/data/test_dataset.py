from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scaling_law.data.batch import Batch
from scaling_law.data.dataset import shifts
from scaling_law.data.describe import inspect
from scaling_law.data.prepare import prepare
from scaling_law.data.shuffle import permutation, uniforms, words
from scaling_law.data.text import TextDataset, open_dataset
from scaling_law.errors import ConfigError
from scaling_law.spec.data import DataSpec
from scaling_law.units import format_bytes

CTX = 32


@pytest.fixture
def spec(folder: Path) -> DataSpec:
    return DataSpec(corpus=str(folder), tokenizer="bpe", vocab_size=300, val_fraction=0.2)


@pytest.fixture
def dataset(spec: DataSpec) -> TextDataset:
    return open_dataset(prepare(spec))


def rows_of(batches: Iterable[Batch]) -> Any:
    """The sequences of ids [B, T + 1] that inputs and targets were cut from."""
    parts = []
    for batch in batches:
        assert np.array_equal(batch.inputs[:, 1:], batch.targets[:, :-1])
        parts.append(np.concatenate([batch.inputs, batch.targets[:, -1:]], axis=1))
    return np.concatenate(parts)


def test_a_batch_depends_on_seed_and_step_alone(dataset: TextDataset) -> None:
    wanted = {"batch_seqs": 4, "n_ctx": CTX, "seed": 5}
    forward = [dataset.batch("train", step, **wanted) for step in range(30)]
    again = open_dataset(dataset.folder)
    for step in reversed(range(30)):
        same = again.batch("train", step, **wanted)
        assert np.array_equal(same.inputs, forward[step].inputs)
        assert np.array_equal(same.targets, forward[step].targets)
    assert rows_of([forward[0]]).shape == (4, CTX + 1)
    assert forward[0].inputs.dtype == forward[0].targets.dtype == np.int64
    assert forward[0].weights is None
    other = dataset.batch("train", 0, batch_seqs=4, n_ctx=CTX, seed=6)
    assert not np.array_equal(other.inputs, forward[0].inputs)


def test_batch_size_does_not_change_the_order(dataset: TextDataset) -> None:
    small = [dataset.batch("train", s, batch_seqs=2, n_ctx=CTX, seed=1) for s in range(6)]
    large = [dataset.batch("train", s, batch_seqs=6, n_ctx=CTX, seed=1) for s in range(2)]
    assert np.array_equal(rows_of(small), rows_of(large))


def test_each_epoch_shows_every_sequence_once(dataset: TextDataset) -> None:
    count = dataset.n_seqs("train", CTX)
    tokens = dataset.tokens("train").astype(np.int64)
    expected = sorted(tuple(tokens[i * CTX : (i + 1) * CTX + 1]) for i in range(count))
    batch = 7
    rows: list[tuple[int, ...]] = []
    step = 0
    while len(rows) < 3 * count:
        taken = dataset.batch("train", step, batch_seqs=batch, n_ctx=CTX, seed=2)
        rows += map(tuple, rows_of([taken]))
        step += 1
    epochs = [rows[e * count : (e + 1) * count] for e in range(3)]
    assert all(sorted(epoch) == expected for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_a_batch_may_be_larger_than_an_epoch(dataset: TextDataset) -> None:
    count = dataset.n_seqs("train", 2000)
    batch = dataset.batch("train", 1, batch_seqs=3 * count + 1, n_ctx=2000, seed=1)
    assert batch.inputs.shape == batch.targets.shape == (3 * count + 1, 2000)


def test_an_epoch_is_shuffled_once_for_all_its_batches(dataset: TextDataset) -> None:
    dataset._order.cache_clear()
    for step in range(200):
        dataset.batch("train", step, batch_seqs=8, n_ctx=128, seed=1)
    epochs = math.ceil(200 * 8 / dataset.n_seqs("train", 128))
    assert dataset._order.cache_info().misses == epochs


def test_validation_is_the_same_whatever_the_batch(dataset: TextDataset) -> None:
    one = rows_of(dataset.val_batches("val", CTX, 1000, 1))
    many = rows_of(dataset.val_batches("val", CTX, 1000, 8))
    assert np.array_equal(one, many)
    assert one.shape == (31, CTX + 1)  # 1000 tokens cut to whole sequences
    assert dataset.val_tokens("val", CTX, 1000) == 31 * CTX
    # spread over the split, not its head
    count = dataset.n_seqs("val", CTX)
    last = dataset.tokens("val")[(30 * count // 31) * CTX :][: CTX + 1]
    assert np.array_equal(one[-1], last)


def test_validation_stops_at_the_end_of_the_split(dataset: TextDataset) -> None:
    whole = rows_of(dataset.val_batches("val", CTX, 10**9, 16))
    count = dataset.n_seqs("val", CTX)
    assert len(whole) == count
    assert np.array_equal(whole[:, 1:].ravel(), dataset.tokens("val")[1 : count * CTX + 1])
    assert rows_of(dataset.val_batches("val", CTX, 1, 16)).shape == (1, CTX + 1)


def test_validation_bytes_are_those_of_the_scored_text(dataset: TextDataset) -> None:
    scored = rows_of(dataset.val_batches("val", CTX, 2000, 16))[:, 1:]
    text = dataset.tokenizer.decode(scored.ravel())
    assert dataset.val_bytes("val", CTX, 2000) == len(text.encode())
    assert dataset.bytes_per_token("val") == pytest.approx(
        dataset.meta["splits"]["val"]["bytes"] / dataset.n_tokens("val")
    )


def test_unique_tokens_stop_at_one_epoch(dataset: TextDataset) -> None:
    epoch = dataset.n_seqs("train", CTX) * CTX
    assert dataset.unique_tokens(n_ctx=CTX, batch_tokens=4 * CTX, steps=3) == 12 * CTX
    assert dataset.unique_tokens(n_ctx=CTX, batch_tokens=4 * CTX, steps=10**6) == epoch
    assert dataset.epochs(n_ctx=CTX, tokens=2 * epoch) == 2


def test_unique_sequences_are_drawn_from_the_whole_text_by_the_seed(spec, dataset):
    """Those of a smaller cap are among those of a larger one."""

    def drawn_of(cap: int | None) -> DataSpec:
        return dataclasses.replace(spec, unique_tokens=cap, unique_from="whole")

    def read(cap: int, seed: int) -> set[bytes]:
        capped = open_dataset(
            dataset.folder, dataclasses.replace(spec, unique_tokens=cap, unique_from="whole")
        )
        count = capped.n_seqs("train", CTX)
        batch = capped.batch("train", 0, batch_seqs=count, n_ctx=CTX, seed=seed)
        rows = {row.tobytes() for row in batch.inputs}
        again = capped.batch("train", 7, batch_seqs=count, n_ctx=CTX, seed=seed)
        assert {row.tobytes() for row in again.inputs} == rows, "every epoch has the same ones"
        return rows

    small, large, other = read(10 * CTX, 1), read(20 * CTX, 1), read(10 * CTX, 2)
    assert len(small) == 9 and small < large and small != other
    first = dataset.tokens("train")[: 10 * CTX].astype(np.int64)
    beginning = {first[place : place + CTX].tobytes() for place in range(0, 9 * CTX, CTX)}
    assert small != beginning
    whole = dataset.batch("train", 0, batch_seqs=4, n_ctx=CTX, seed=1)
    every = open_dataset(dataset.folder, drawn_of(None))
    assert np.array_equal(
        every.batch("train", 0, batch_seqs=4, n_ctx=CTX, seed=1).inputs, whole.inputs
    )


def test_shifted_windows_cut_each_epoch_elsewhere(spec, dataset):
    """The first epoch is the usual one; each predicts every token once; validation stays."""
    cap = 20 * CTX + 7
    plain, shifted = (
        open_dataset(dataset.folder, dataclasses.replace(spec, unique_tokens=cap, windows=windows))
        for windows in (None, "shifted")
    )
    count = plain.n_seqs("train", CTX)
    text = plain.tokens("train")[: count * CTX + 1].astype(np.int64)

    def epoch(data: TextDataset, number: int) -> np.ndarray:
        return rows_of([data.batch("train", number, batch_seqs=count, n_ctx=CTX, seed=1)])

    assert np.array_equal(epoch(shifted, 0), epoch(plain, 0))
    for number in range(1, 4):
        rows = {row.tobytes() for row in epoch(shifted, number)}
        (shift,) = set(shifts(count, first=number * count, count=count, n_ctx=CTX))
        begins = shift + CTX * np.arange(count)
        assert rows == {np.roll(text, -place)[: CTX + 1].tobytes() for place in begins}
    moved = shifts(1, first=0, count=2 * CTX, n_ctx=CTX)
    assert sorted(moved[:CTX]) == list(range(CTX)) and np.array_equal(moved[:CTX], moved[CTX:])
    # a batch of two epochs has the sequences of both
    halves = shifted.batch("train", 1, batch_seqs=count - 3, n_ctx=CTX, seed=1)
    both = np.concatenate([epoch(shifted, 0), epoch(shifted, 1)])
    assert np.array_equal(halves.inputs, both[count - 3 : 2 * (count - 3), :-1])
    for ours, theirs in zip(
        plain.val_batches("val", CTX, 999, 4), shifted.val_batches("val", CTX, 999, 4), strict=True
    ):
        assert np.array_equal(ours.inputs, theirs.inputs)


def test_a_context_longer_than_the_split_is_refused(dataset: TextDataset) -> None:
    with pytest.raises(ConfigError, match="fewer than one sequence of n_ctx 1000000"):
        dataset.batch("train", 0, batch_seqs=1, n_ctx=10**6, seed=1)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda raw: raw[:-1], "bytes where"),
        (lambda raw: raw + b"\0\0", "bytes where"),
        (lambda raw: b"X" + raw[1:], "header"),
        (lambda raw: raw[:8] + b"\x03" + raw[9:], "3 bytes per token"),
        (lambda raw: b"", "header"),
    ],
)
def test_a_damaged_shard_is_detected_on_opening(dataset, damage, message) -> None:
    shard = dataset.folder / "train.bin"
    shard.write_bytes(damage(shard.read_bytes()))
    with pytest.raises(ConfigError, match=message) as raised:
        open_dataset(dataset.folder)
    assert str(shard) in str(raised.value) and "\n" not in str(raised.value)


def test_inspect_detects_a_flipped_bit(dataset: TextDataset) -> None:
    shard = dataset.folder / "val.bin"
    raw = bytearray(shard.read_bytes())
    raw[100] ^= 1
    shard.write_bytes(raw)
    reopened = open_dataset(dataset.folder)
    with pytest.raises(ConfigError, match=r"val\.bin.*hash"):
        reopened.check()
    with pytest.raises(ConfigError, match=r"val\.bin.*hash"):
        inspect(dataset.folder)


@pytest.mark.parametrize("name", ["train.bin", "tokenizer.json", "meta.json"])
def test_a_missing_file_is_named(dataset: TextDataset, name: str) -> None:
    (dataset.folder / name).unlink()
    with pytest.raises(ConfigError, match=name):
        open_dataset(dataset.folder)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("meta.json", "{"),
        ("meta.json", "[]"),
        ("meta.json", '{"schema_version": 99}'),
        ("meta.json", '{"schema_version": 1}'),
        ("tokenizer.json", "{}"),
        ("tokenizer.json", "[]"),
        ("tokenizer.json", '{"kind": "bpe", "vocab_size": 300, "pieces_hex": ["00"]}'),
    ],
)
def test_damaged_json_is_one_clear_line(dataset: TextDataset, name: str, content: str) -> None:
    (dataset.folder / name).write_text(content)
    with pytest.raises(ConfigError) as raised:
        open_dataset(dataset.folder)
    assert name in str(raised.value) and "\n" not in str(raised.value)


def test_shards_of_two_datasets_cannot_be_mixed(dataset: TextDataset) -> None:
    train, val = dataset.folder / "train.bin", dataset.folder / "val.bin"
    train.write_bytes(val.read_bytes())
    with pytest.raises(ConfigError, match=r"train\.bin"):
        open_dataset(dataset.folder)


def test_inspect_shows_sizes_compression_and_text(spec: DataSpec, dataset: TextDataset) -> None:
    shown = inspect(spec)
    assert shown == inspect(dataset.folder)
    assert dataset.fingerprint in shown and "bytes a token" in shown
    assert "scale" in shown and "<document>" in shown


def test_inspect_before_prepare_says_what_to_do(folder: Path) -> None:
    with pytest.raises(ConfigError, match="slaw data prepare"):
        inspect(DataSpec(corpus=str(folder)))


def test_random_words_follow_the_published_splitmix64() -> None:
    # reference output of SplitMix64 for seed 1234567
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert [int(word) for word in words(1234567, 0, 3)] == expected
    assert [int(word) for word in words(1234567, 1, 2)] == expected[1:]


def test_uniforms_and_permutations_are_reproducible() -> None:
    draws = uniforms(9, 0, 100_000)
    assert draws.min() >= 0 and draws.max() < 1
    assert abs(draws.mean() - 0.5) < 0.005
    order = permutation(3, 1000)
    assert sorted(order) == list(range(1000))
    assert not np.array_equal(order, permutation(4, 1000))
    assert permutation(2**63 - 1, 0).shape == (0,)


def test_a_cap_on_training_tokens_changes_neither_validation_nor_tokenizer(spec):
    whole, folder = open_dataset(prepare(spec)), prepare(spec)
    cap = whole.train_tokens // 3
    assert prepare(dataclasses.replace(spec, unique_tokens=cap)) == folder, "prepared once"
    known = dataclasses.replace(spec, unique_tokens=cap)
    capped = open_dataset(folder, known)
    assert capped.fingerprint == whole.fingerprint
    assert np.array_equal(capped.tokens("val"), whole.tokens("val"))
    assert np.array_equal(capped.tokens("train"), whole.tokens("train")[:cap])
    assert capped.train_tokens == cap
    assert capped.n_seqs("train", CTX) == (cap - 1) // CTX
    assert capped.bytes_per_token("train") == whole.bytes_per_token("train")
    assert f"only the first {cap:,} tokens" in inspect(known)
    drawn = dataclasses.replace(known, unique_from="whole")
    assert prepare(drawn) == folder, "prepared once"
    assert f"only {cap:,} tokens, drawn from all of it by each run's seed" in inspect(drawn)
    shared = dataclasses.replace(spec, unique_share=0.3)
    assert prepare(shared) == folder, "prepared once"
    part = open_dataset(folder, shared)
    assert part.train_tokens == math.ceil(0.3 * whole.train_tokens) + 1
    assert "(data.unique_share)" in inspect(shared)
    assert open_dataset(folder, dataclasses.replace(spec, unique_share=1.0)).train_tokens == (
        whole.train_tokens
    )
    with pytest.raises(ConfigError, match=r"data\.unique_tokens: 1,000,000,000, and"):
        open_dataset(folder, dataclasses.replace(spec, unique_tokens=10**9))


def test_the_card_says_what_the_tokenizer_was_trained_on(spec, dataset):
    training = dataset.meta["checks"]["tokenizer_training"]
    assert training["bytes"] == dataset.meta["splits"]["train"]["bytes"]
    assert training["seconds"] >= 0
    words = f"trained on {format_bytes(training['bytes'])} in "
    assert words in (dataset.folder / "card.md").read_text() and words in inspect(spec)
    plain = dataclasses.replace(spec, tokenizer="bytes", vocab_size=257)
    assert "tokenizer_training" not in open_dataset(prepare(plain)).meta["checks"]
    assert "trained on" not in inspect(plain)
