"""The page of two sweeps: the numbers of its JSON, refusals, nothing half-written."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest

from scaling_law.cli.main import main
from scaling_law.errors import EXIT_USAGE
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import load_records, write_record
from tests.fakes import PLANTED, ladder_config, planted_records
from tests.report.test_html import values_of


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory):
    """A planted sweep, and the same under another learning rate with 3% less of what is above
    the irreducible loss: one shape, another scale.
    """
    folder = tmp_path_factory.mktemp("results")
    first, second = SweepDir(folder / "base"), SweepDir(folder / "<b>new & odd")
    for record in planted_records(0.002, ladder_config()):
        write_record(first.run(record.run_id), record)
        optim = dataclasses.replace(record.spec.optim, lr=record.spec.optim.lr / 2)
        other = dataclasses.replace(
            record,
            spec=dataclasses.replace(record.spec, optim=optim),
            val_loss_nats=PLANTED["E"] + 0.97 * ((record.val_loss_nats or 0.0) - PLANTED["E"]),
        )
        write_record(second.run(record.run_id), other)
    return first, second


def test_the_page_agrees_with_its_json(sweeps, capsys):
    first, second = sweeps
    assert main(["report", str(first.path), str(second.path), "--json"]) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    page = second.versus(first)
    assert f"page: {page}" in err
    text = page.read_text()
    assert values_of(text)["versus"] == document
    multiplier = document["multiplier"]
    assert multiplier["low"] < multiplier["value"] < multiplier["high"]
    assert f"{multiplier['value']:.2f}x [{multiplier['low']:.2f}, {multiplier['high']:.2f}]" in text
    assert document["difference"]["mean_log"] < 0 and "optim.lr" in text
    assert "<b>new" not in text and "&lt;b&gt;new &amp; odd" in text
    for pair in document["pairs"]:
        assert f'<td class="n">{pair["losses"][1]:.4f}</td>' in text
    names = {p.name for p in second.figures.iterdir()}
    assert names == {
        f"versus-base-{n}.{kind}" for n in ("difference", "frontier") for kind in ("png", "svg")
    }
    assert (second.tables / "versus-base.csv").read_text().count("\n") == 1 + len(document["pairs"])


def test_runs_that_have_not_finished_are_counted(sweeps, tmp_path, blank_figures, capsys):
    first, second = sweeps
    folder = tmp_path / "later"
    shutil.copytree(second.path, folder)
    (folder / "runs" / "later").mkdir()
    assert main(["report", str(first.path), str(folder)]) == 0
    assert f"note: 1 of 41 runs of {folder} has not finished: slaw status" in (
        capsys.readouterr().out
    )


def test_the_answer_comes_first_as_a_sentence(sweeps, blank_figures, capsys):
    first, second = sweeps
    assert main(["report", str(first.path), str(second.path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("compute multiplier of <b>new & odd over base: 1.")
    assert "above 1x it saves compute" in lines[0]
    assert lines[2].startswith("at equal size, tokens and seed its loss is -1.")


def test_runs_left_out_by_a_rule_are_named_with_the_reason(sweeps, blank_figures, tmp_path, capsys):
    first, second = sweeps
    other = SweepDir(tmp_path / "cut")
    gone = None
    for record in load_records(second):
        if gone is None and record.kind == "branch":
            gone = record = dataclasses.replace(record, val_loss_nats=None, status="diverged")
        write_record(other.run(record.run_id), record)
    assert gone is not None
    assert main(["report", str(first.path), str(other.path)]) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("left out of")]
    assert len(said) == 1 and said[0].startswith("left out of B, ")
    assert said[0].endswith(f": {gone.run_id}")
    page = other.versus(first).read_text()
    assert "Left out of B (1)" in page and "Left out of A" not in page
    assert values_of(page)["versus"]["left_out"][1][0][0] == gone.run_id


def test_sweeps_that_cannot_be_compared_write_no_page(sweeps, tmp_path, capsys):
    first, _ = sweeps
    other = SweepDir(tmp_path / "elsewhere")
    for record in load_records(first):
        changed = dataclasses.replace(record, corpus_fingerprint="f" * 16)
        write_record(other.run(record.run_id), changed)
    assert main(["report", str(first.path), str(other.path)]) == EXIT_USAGE
    assert "different validation text" in capsys.readouterr().err
    assert not other.versus(first).exists() and not other.figures.exists()


def test_copies_of_one_sweep_compare_as_equal(sweeps, blank_figures, tmp_path, capsys):
    first, _ = sweeps
    copy = SweepDir(tmp_path / "copy")
    for record in load_records(first):
        write_record(copy.run(record.run_id), record)
    assert main(["report", str(first.path), str(copy.path)]) == 0
    assert "its loss is +0.00% [+0.00%, +0.00%]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{a}", "{a}"], "the same sweep twice"),
        (["{a}", "{b}", "{a}"], "3 folders: expected two sweeps"),
        (["{a}", "--json"], "names no experiment; expected two sweeps"),
        (["{a}", "{up}"], "2 sweeps there; name one"),
    ],
)
def test_any_number_of_sweeps_but_two_is_refused(sweeps, capsys, words, said):
    first, second = sweeps
    places = {"a": first.path, "b": second.path, "up": first.path.parent}
    assert main(["report", *(word.format(**places) for word in words)]) == EXIT_USAGE
    assert said in capsys.readouterr().err
