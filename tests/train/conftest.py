"""What the tests of training share: a corpus of a few kilobytes, prepared once a module."""

from __future__ import annotations

import pytest

from scaling_law.data.dataset import open_dataset
from scaling_law.data.prepare import prepare
from scaling_law.spec import DataSpec


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    for index in range(60):
        words = " ".join(f"w{(index * 7 + k * k) % 97} is {k % 13}." for k in range(80))
        (folder / f"{index}.txt").write_text(words)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLAW_CACHE", str(tmp_path_factory.mktemp("cache")))
        spec = DataSpec(corpus=str(folder), tokenizer="bytes", vocab_size=257, val_fraction=0.2)
        return open_dataset(prepare(spec))
