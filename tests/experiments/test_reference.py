"""The committed records of an experiment, and the numbers that their README gives."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scaling_law.experiment.analysis import analysed
from scaling_law.files.layout import SweepDir

REFERENCE = Path(__file__).resolve().parents[2] / "results" / "reference"


@pytest.fixture(scope="module", params=["grokking", "double_descent"])
def folder(request):
    return REFERENCE / request.param


@pytest.fixture(scope="module")
def document(folder):
    result = analysed(SweepDir(folder))
    assert result is not None
    return result.document


def test_the_reference_measures_equal_those_in_its_readme(folder, document):
    listed = re.search(r"```text measures\n(.*?)```", (folder / "README.md").read_text(), re.S)
    assert listed is not None, "the README lists the measures"
    rows = [line.split(" = ") for line in listed[1].splitlines()]
    written = {name: None if value == "never" else float(value) for name, value in rows}
    rounded = {
        name: None if value is None else float(f"{value:.6g}")
        for name, value in document["measures"].items()
    }
    assert rounded == written


def test_the_reference_establishes_every_claim(folder, document):
    assert [claim["name"] for claim in document["claims"] if not claim["established"]] == []
    assert document["verdict"] in " ".join((folder / "README.md").read_text().split())
