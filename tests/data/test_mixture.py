"""Mixtures: shares to the sequence, orders of the components, phases, texts of several sources."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from scaling_law.data import mixture
from scaling_law.data.component_files import add_components
from scaling_law.data.dataset_folder import COMPONENTS, documents_file
from scaling_law.data.mixture import RESOLUTION, MixedDataset, components_problem, dataset_of, quota
from scaling_law.data.prepare import prepare
from scaling_law.data.text import TextDataset, open_dataset
from scaling_law.errors import ConfigError
from scaling_law.spec.data import DataSpec, SourceSpec
from scaling_law.spec.mix import Mix, Phase, Shares
from tests.data.conftest import write_files
from tests.fakes import tiny_spec

N_CTX = 8


def two_sources(tmp_path: Path, **changes: object) -> DataSpec:
    """Letters a to e in 40 documents, and digits in 20 shorter ones."""
    letters = [f"{'abcde'[n % 5] * 3}{'abcde'[n // 5 % 5]}{'eb' * n}" for n in range(40)]
    digits = [f"{n}0{n}1" * 3 for n in range(20)]
    for name, texts in (("letters", letters), ("digits", digits)):
        if not (tmp_path / name).exists():
            write_files(tmp_path / name, texts)
    sources = tuple(
        SourceSpec(name=name, corpus=str(tmp_path / name)) for name in ("digits", "letters")
    )
    spec = DataSpec(
        corpus="digits+letters",
        sources=sources,
        tokenizer="bytes",
        vocab_size=257,
        val_fraction=0.25,
    )
    return dataclasses.replace(spec, **changes)  # type: ignore[arg-type]


@pytest.fixture
def text(tmp_path: Path) -> TextDataset:
    return open_dataset(prepare(two_sources(tmp_path)))


def mixed(
    text: TextDataset, *phases: Shares | None, firsts: tuple[int, ...] = (0,)
) -> MixedDataset:
    """The text in a mixture whose phases begin at the batches ``firsts``."""
    untils = [0.1 * (n + 1) for n in range(len(phases) - 1)]
    made = tuple(
        Phase(shares=shares, until=until)
        for shares, until in zip(phases, [*untils, None], strict=True)
    )
    return MixedDataset(text, Mix(phases=made), firsts)


HALVES: Shares = (("digits", 0.5), ("letters", 0.5))


def is_digits(row: np.ndarray) -> bool:
    """Whether a sequence is one of the source ``digits``."""
    return not set(row.tolist()) & set(b"abcde")


SHARES = [
    (0.5, 0.5), (0.7, 0.3), (0.9, 0.05, 0.05), (0.62, 0.21, 0.17), (1 / 3, 1 / 3, 1 / 3), (1.0,),
    (0.97, 0.01, 0.01, 0.01), (0.4, 0.3, 0.15, 0.1, 0.049, 0.001), (0.5, 0.499999, 0.000001),
]  # fmt: skip


@pytest.mark.parametrize("shares", SHARES)
def test_shares_are_exact_to_one_sequence(shares):
    made = quota(tuple((str(n), share) for n, share in enumerate(shares)))
    chosen = made.choices(0, 10_000)
    for component, part in enumerate(made.parts):
        taken = np.concatenate([[0], np.cumsum(chosen == component)])
        ahead = taken - part / RESOLUTION * np.arange(10_001)
        assert np.abs(ahead).max() < 1, f"component {component} is off by a sequence or more"
        assert abs(part / RESOLUTION - shares[component]) <= 1 / RESOLUTION
    with_gaps = np.concatenate([made.choices(first, 777) for first in range(0, 7770, 777)])
    assert np.array_equal(with_gaps, chosen[:7770])
    assert made.counts(5001) == tuple(
        int((chosen[:5001] == component).sum()) for component in range(len(shares))
    )


def test_the_choice_of_components_repeats_after_its_resolution(monkeypatch):
    monkeypatch.setattr(mixture, "RESOLUTION", 1000)
    monkeypatch.setattr(mixture, "_STRIDE", 64)
    made = mixture.Quota((617, 213, 170))
    chosen = made.choices(0, 3000)
    assert np.array_equal(chosen[:1000], chosen[2000:])
    assert made.counts(2000) == (1234, 426, 340)
    assert made.counts(2500) == tuple(int((chosen[:2500] == k).sum()) for k in range(3))


def test_a_mixture_reads_its_components_and_each_in_whole_epochs(text):
    data = mixed(text, (("digits", 0.25), ("letters", 0.75)))
    rows = [
        row
        for step in range(60)
        for row in data.batch("train", step, batch_seqs=4, n_ctx=N_CTX, seed=1).inputs
    ]
    digits = [row.tobytes() for row in rows if is_digits(row)]
    assert len(digits) == 60
    available = text.n_seqs("train:digits", N_CTX)
    assert 0 < available < 60 and set(Counter(digits[:available]).values()) == {1}
    every = text.sequences("train:digits", np.arange(available), N_CTX).inputs
    assert set(digits) == {row.tobytes() for row in every}
    repeats = data.repeats(n_ctx=N_CTX, batch_tokens=4 * N_CTX, steps=60)
    assert repeats["digits"] == pytest.approx(60 / available)
    assert repeats["letters"] == pytest.approx(180 / text.n_seqs("train:letters", N_CTX))
    unique = data.unique_tokens(n_ctx=N_CTX, batch_tokens=4 * N_CTX, steps=60)
    assert unique == N_CTX * sum(
        min(text.n_seqs(f"train:{name}", N_CTX), count)
        for name, count in (("digits", 60), ("letters", 180))
    )


def test_shifted_windows_of_a_mixture_are_cut_in_each_components_own_text(tmp_path):
    spec = two_sources(tmp_path, windows="shifted")
    plain, shifted = (open_dataset(prepare(spec), one) for one in (None, spec))
    count = plain.n_seqs("train:digits", N_CTX)
    whole = plain.sequences("train:digits", np.arange(count), N_CTX)
    stream = np.append(whole.inputs.reshape(-1), whole.targets[-1, -1:])
    ours, theirs = (
        MixedDataset(text, Mix(phases=(Phase(shares=(("digits", 1.0),), until=None),)), (0,))
        for text in (shifted, plain)
    )
    first, second = (
        [data.batch("train", step, batch_seqs=count, n_ctx=N_CTX, seed=1).inputs for step in (0, 1)]
        for data in (ours, theirs)
    )
    assert np.array_equal(first[0], second[0])
    rows = {row.tobytes() for row in first[1]}
    assert rows.isdisjoint(row.tobytes() for row in second[1])
    places = range(len(stream))
    assert rows <= {np.roll(stream, -place)[:N_CTX].tobytes() for place in places}


def test_a_batch_depends_on_its_number_and_seed_alone(text):
    def batches(order: list[int], seed: int) -> dict[int, bytes]:
        data = mixed(text, HALVES, (("letters", 1.0),), firsts=(0, 5))
        return {
            step: data.batch("train", step, batch_seqs=3, n_ctx=N_CTX, seed=seed).inputs.tobytes()
            for step in order
        }

    forward = batches(list(range(12)), 7)
    assert batches([11, 4, 5, 0, 8], 7) == {step: forward[step] for step in (11, 4, 5, 0, 8)}
    assert batches([3], 8)[3] != forward[3]


def test_a_phase_continues_each_component_where_the_last_phase_stopped(text):
    plain = mixed(text, (("letters", 1.0),))
    switched = mixed(text, HALVES, (("letters", 1.0),), firsts=(0, 4))
    rows = [
        row.tobytes()
        for step in range(8)
        for row in switched.batch("train", step, batch_seqs=2, n_ctx=N_CTX, seed=3).inputs
        if not is_digits(row)
    ]
    straight = [
        row.tobytes()
        for step in range(6)
        for row in plain.batch("train", step, batch_seqs=2, n_ctx=N_CTX, seed=3).inputs
    ]
    assert rows == straight  # 4 of 8 in the first phase, then 8 of 8


def test_validation_covers_the_whole_text_and_each_component(text):
    data = mixed(text, HALVES)
    assert data.splits == ("train", "val", "val:digits", "val:letters")
    whole = [b.inputs for b in data.val_batches("val", N_CTX, 10**6, 4)]
    plain = [b.inputs for b in text.val_batches("val", N_CTX, 10**6, 4)]
    assert np.array_equal(np.concatenate(whole), np.concatenate(plain))
    tokens = {name: text.n_tokens(f"val:{name}") for name in ("digits", "letters")}
    assert sum(tokens.values()) == text.n_tokens("val")
    for name in tokens:
        rows = np.concatenate([b.inputs for b in data.val_batches(f"val:{name}", N_CTX, 10**6, 4)])
        assert all(is_digits(row) == (name == "digits") for row in rows)
        assert data.val_bytes(f"val:{name}", N_CTX, 10**6) <= rows.size


def test_natural_shares_follow_the_tokens_and_a_temperature_flattens_them():
    tokens = {"a": 900, "b": 100, "none": 0}
    natural = Phase(shares=None)

    def shares(temperature: float) -> dict[str, float]:
        return dict(Mix(phases=(natural,), temperature=temperature).shares_of(natural, tokens))

    assert shares(1.0) == pytest.approx({"a": 0.9, "b": 0.1})
    assert shares(2.0) == pytest.approx({"a": 0.75, "b": 0.25})
    assert shares(1e6) == pytest.approx({"a": 0.5, "b": 0.5}, abs=1e-5)
    given = Phase(shares=(("a", 0.5), ("none", 0.5)))
    with pytest.raises(ValueError, match="'none' has no training tokens; there are a, b, none"):
        Mix(phases=(given,)).shares_of(given, tokens)


def test_without_a_mixture_a_run_reads_the_text_itself(text):
    assert dataset_of(tiny_spec(), text) is text
    assert text.splits == ("train", "val") and text.repeats(n_ctx=8, batch_tokens=8, steps=1) == {}


def test_a_source_that_cannot_be_read_is_named_by_its_own_key(tmp_path):
    there = two_sources(tmp_path).sources
    assert there is not None
    sources = (dataclasses.replace(there[0], corpus=str(tmp_path / "gone")), there[1])
    with pytest.raises(ConfigError, match=r"^data\.sources\.digits\.corpus: .* is neither"):
        prepare(two_sources(tmp_path, sources=sources))
    blank = tmp_path / "blank"
    blank.mkdir()
    empty = tuple(dataclasses.replace(source, corpus=str(blank)) for source in sources)
    with pytest.raises(ConfigError, match=r"^data\.sources: digits\+letters holds no text"):
        prepare(two_sources(tmp_path, sources=empty))


def test_sources_share_a_tokenizer_and_have_separate_limits(tmp_path):
    two_sources(tmp_path)
    short = SourceSpec(name="letters", corpus=str(tmp_path / "letters"), max_bytes=600)
    digits = SourceSpec(name="digits", corpus=str(tmp_path / "digits"))
    spec = two_sources(tmp_path, tokenizer="bpe", vocab_size=300, sources=(digits, short))
    limited = open_dataset(prepare(spec))
    sizes = {
        name: sum(
            limited.meta["splits"][split]["domains"][name]["bytes"] for split in ("train", "val")
        )
        for name in ("digits", "letters")
    }
    whole = open_dataset(prepare(two_sources(tmp_path)))
    assert 500 < sizes["letters"] <= 600
    assert sizes["digits"] == sum(
        whole.meta["splits"][split]["domains"]["digits"]["bytes"] for split in ("train", "val")
    )
    assert limited.vocab_size == 300 and list(limited.components) == ["digits", "letters"]
    with pytest.raises(ConfigError, match=r"data\.domains: there is no source web; expected some"):
        prepare(two_sources(tmp_path, domains=("web",)))


def test_text_of_an_older_slaw_gets_its_components(tmp_path):
    spec = two_sources(tmp_path)
    folder = prepare(spec)
    names = (COMPONENTS, *map(documents_file, ("train", "val")))
    before = {name: (folder / name).read_bytes() for name in names}
    for name in names:
        (folder / name).unlink()
    with pytest.raises(ConfigError, match=r"components\.json: no such file; `slaw data prepare`"):
        mixed(open_dataset(folder), HALVES)
    said: list[str] = []
    add_components(spec, folder, said.append)
    assert {name: (folder / name).read_bytes() for name in names} == before
    again = "digits+letters: reading the text again for the components of its documents"
    assert said == [again, "digits+letters: read 60 .txt files"]
    for name in names:
        (folder / name).unlink()
    (tmp_path / "digits" / "000.txt").write_text("another text")
    with pytest.raises(ConfigError, match="the text has changed since"):
        add_components(spec, folder, said.append)
    assert not (folder / COMPONENTS).exists()


def test_damaged_components_are_named(text):
    rows = text.folder / documents_file("train")
    rows.write_bytes(rows.read_bytes()[:-1] + b"\x09")
    with pytest.raises(ConfigError, match=r"train\.documents\.bin: damaged"):
        text.check()


def test_a_component_too_short_for_a_sequence_is_refused(text):
    def problem(shares: Shares, n_ctx: int) -> str:
        return components_problem(text, Mix(phases=(Phase(shares=shares),)), n_ctx)

    tokens = text.n_tokens("val:digits")
    assert problem(HALVES, tokens - 1) == ""
    said = problem(HALVES, tokens)
    assert said.startswith(f"digits has {tokens} tokens of validation text, fewer than one")
    assert "letters has" in problem((("letters", 1.0),), text.n_tokens("train:letters"))
    assert problem((("web", 1.0),), N_CTX).startswith("'web' has no training tokens; there are")
