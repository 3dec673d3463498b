"""One page over the experiments of a results folder, damaged and unfinished ones among them."""

from __future__ import annotations

import dataclasses
import html
import json
import re
import shutil
from pathlib import Path

import pytest
from matplotlib.text import Text

from scaling_law.cli.main import main
from scaling_law.errors import EXIT_OK, EXIT_USAGE
from scaling_law.experiment.collection import collect
from scaling_law.experiment.findings import Findings
from scaling_law.report import style
from scaling_law.report.experiment import draw
from scaling_law.report.gallery import write_gallery
from scaling_law.report.page import text

REFERENCE = Path(__file__).parents[2] / "results" / "reference"
HOSTILE = "<script>alert(1)<"


def copy(folder: Path, name: str, of: str, runs: int | None = None) -> Path:
    """A copy of a reference sweep with its first ``runs``."""
    sweep = folder / name
    (sweep / "runs").mkdir(parents=True)
    for file in ("plan.json", "sweep.yaml"):
        shutil.copy(REFERENCE / of / file, sweep)
    for run in sorted((REFERENCE / of / "runs").iterdir())[:runs]:
        shutil.copytree(run, sweep / "runs" / run.name)
    return sweep


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two experiments, and one each that is partial, hostile, not begun, damaged, own, plain."""
    folder = tmp_path_factory.mktemp("results")
    copy(folder, "emergence", "emergence")
    copy(folder, "partial", "allocation-cpu", 2)
    copy(folder, HOSTILE, "allocation-cpu", 2)
    copy(folder, "not-begun", "allocation-cpu", 0)
    damaged = copy(folder, "damaged", "allocation-cpu", 1)
    for record in damaged.glob("runs/*/record.json"):
        record.write_text(record.read_text()[:-40])
    own = copy(folder, "own", "allocation-cpu", 1)
    config = (own / "sweep.yaml").read_text()
    (own / "sweep.yaml").write_text(config.replace("experiment: allocation", "experiment: own.py"))
    copy(folder, "plain", "quick-cpu", 2)
    return folder


@pytest.fixture(scope="module")
def page(folder):
    return write_gallery(collect(folder)).read_text()


def section(page: str, heading: str) -> str:
    """The HTML under a heading."""
    start = page.index(f">{html.escape(heading)}</h2>")
    return page[start : page.index("</section>", start)]


def test_each_experiment_has_its_question_verdict_figure_numbers_and_literature(folder, page):
    (one,) = [one for one in collect(folder).shown if one.name == "emergence"]
    findings, shown = one.analysed.findings, section(page, "emergence")
    assert text(findings.verdict) in shown and text(one.analysed.question) in shown
    # side by side, and below each other for a phone
    assert shown.count("<svg") == 2 and (folder / "figures").glob("emergence-*.png")
    for published in findings.literature:
        assert text(published.theirs) in shown and text(published.ours) in shown
    assert "exact.reversed.n544 = 0.0164063 share of answers" in shown
    assert "critical_params.reversed = not measured parameters" in shown
    assert "slaw report" in shown and "50 finished runs" in shown


def test_a_phone_has_the_panels_below_each_other_and_all_titles_within_the_figure(folder):
    (one,) = [one for one in collect(folder).shown if one.name == "emergence"]
    figure = one.analysed.findings.figures[0]
    long = " ".join(["words"] * 12)
    panels = tuple(dataclasses.replace(panel, title=long) for panel in figure.panels)
    with style.applied():
        drawing = draw(dataclasses.replace(figure, title=long, panels=panels), narrow=True)
        drawing.draw_without_rendering()
    assert len({axes.get_position().x0 for axes in drawing.axes}) == 1 < len(drawing.axes)
    texts = [text for text in drawing.findobj(Text) if "words" in text.get_text()]
    assert len(texts) == 1 + len(panels)
    assert all(text.get_window_extent().x1 <= drawing.bbox.width for text in texts)


def test_a_precondition_that_is_not_met_is_a_note_with_what_would_meet_it(page):
    assert "Intervals are at 90% where nothing else is said." in section(page, "Overview")
    notes = re.findall(r'<p class="note" role="note">(.*?)</p>', section(page, "emergence"))
    assert len(notes) == 2 and all(note.startswith("Not established: ") for note in notes)
    assert "it needs more seeds" in notes[1]


def test_missing_runs_are_named_with_the_command_that_trains_them(folder, page):
    shown = section(page, "partial (experiment allocation)")
    assert re.search(r"\d\d runs are not among these findings: .*planned, not finished", shown)
    assert f"to train them: slaw run {folder}/partial" in shown


def test_what_is_not_shown_is_named_with_the_reason(folder, page):
    shown = section(page, "Not shown")
    assert f"{folder}/not-begun: no run has finished; to train them: slaw run" in shown
    assert "record.json" in shown and f"{folder}/damaged" in shown
    assert "own file" in shown and "--experiment" in shown
    assert "slaw fit" in section(page, "Other sweeps")


def test_a_folders_name_is_never_html_and_no_id_is_used_twice(page):
    assert "<script>" not in page and html.escape(HOSTILE) in page
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)


def test_the_command_reports_all_and_fails_for_the_damaged_one(
    folder, blank_figures, tmp_path, capsys
):
    assert main(["report", str(folder), "--out", str(tmp_path)]) == EXIT_USAGE
    out, err = capsys.readouterr()
    assert "emergence: 3 established, 2 not established" in out
    assert out.strip().endswith(str(tmp_path / "report.html"))
    assert (tmp_path / "report.html").is_file() and list((tmp_path / "figures").glob("*.png"))
    assert len([line for line in err.splitlines() if line.startswith("not shown: ")]) == 3
    assert "1 sweep without an experiment" in err


def test_the_json_has_every_experiments_measures_and_units(folder, capsys):
    assert main(["report", "--json", str(folder)]) == EXIT_USAGE
    document = json.loads(capsys.readouterr().out)
    by_name = {Path(one["folder"]).name: one for one in document["experiments"]}
    assert by_name["emergence"]["units"]["steps.plain.n544"] == "steps"
    assert by_name["emergence"]["measures"]["solved.plain.n544"] == 0
    damaged = {Path(one["folder"]).name: one["damaged"] for one in document["not_shown"]}
    assert damaged == {"damaged": True, "not-begun": False, "own": False}
    assert [Path(one["folder"]).name for one in document["sweeps"]] == ["plain"]


def test_without_any_finished_run_there_is_no_page(tmp_path, capsys):
    copy(tmp_path, "one", "allocation-cpu", 0)
    copy(tmp_path, "two", "emergence", 0)
    assert main(["report", str(tmp_path)]) == EXIT_USAGE
    err = capsys.readouterr().err
    assert len(err.strip().splitlines()) == 2 and f"slaw run {tmp_path}/two" in err
    assert not (tmp_path / "report.html").exists()


def test_a_folder_of_plain_sweeps_still_gets_a_page_each(blank_figures, tmp_path, capsys):
    copy(tmp_path, "one", "quick-cpu", 2)
    copy(tmp_path, "two", "quick-cpu", 3)
    assert main(["report", str(tmp_path)]) == EXIT_OK
    assert (tmp_path / "one" / "report.html").is_file()
    assert (tmp_path / "two" / "report.html").is_file()
    assert not (tmp_path / "report.html").exists()


def test_a_measures_unit_is_the_longest_name_given_or_the_names_last_word():
    findings = Findings(
        verdict="", measures={}, units={"peak_at": "steps", "peak_at.width": "parameters"}
    )
    assert findings.unit("peak_at.width.mlp") == "parameters"
    assert findings.unit("peak_at.epochs.mlp") == "steps"
    assert findings.unit("memorise_steps.mlp.wd0.3") == "steps"
    assert findings.unit("ratio.mlp") == ""
