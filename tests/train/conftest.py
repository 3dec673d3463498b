"""What the tests of training share: a corpus of a few kilobytes, prepared once a module."""

from __future__ import annotations

import pytest

from scaling_law.data.prepare import prepare
from scaling_law.data.text import open_dataset
from scaling_law.spec.data import DataSpec
from tests.fakes import write_text


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = write_text(tmp_path_factory.mktemp("text"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLAW_CACHE", str(tmp_path_factory.mktemp("cache")))
        spec = DataSpec(corpus=str(folder), tokenizer="bytes", vocab_size=257, val_fraction=0.2)
        return open_dataset(prepare(spec))
