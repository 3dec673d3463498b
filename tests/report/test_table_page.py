"""``slaw report TABLE``: the page of a table of runs."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from scaling_law.cli.main import main
from scaling_law.errors import EXIT_FIT
from scaling_law.fit.points.points import points_from_arrays
from scaling_law.fit.suite import FitSettings
from scaling_law.report import table_page
from scaling_law.report.evidence import MOST_SIZES, rows_by_size


def loss(params: float, tokens: float) -> float:
    return (1.8 + 60 * params**-0.34 + 200 * tokens**-0.37) * (
        1 + 0.002 * math.sin(params * tokens)
    )


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_table(texts: tuple[str, ...] = ("web",)) -> None:
    lines = [
        f"{text}-{params:g}-{ratio},{params},{params * ratio},{loss(params, params * ratio)},{text}"
        for text in texts
        for params in (1e6, 3e6, 1e7)
        for ratio in (10, 30, 90)
    ]
    Path("runs.csv").write_text("run_id,params,tokens,loss,dataset\n" + "\n".join(lines) + "\n")


@pytest.mark.slow
def test_a_page_of_a_table_has_its_law_its_runs_and_its_numbers(here, capsys, monkeypatch):
    # no resamples: the page is the same but for its intervals
    quick = FitSettings(resamples=0, profiles=())
    monkeypatch.setattr(table_page, "FitSettings", lambda: quick)
    write_table()
    assert main(["report", "runs.csv", "--params", "1e9"]) == 0
    assert capsys.readouterr().out.strip() == "runs-report/report.html"
    page = Path("runs-report/report.html").read_text()
    for words in ("Scaling law of the table “runs.csv”", "9 runs; 3 sizes of 1M to 10M parameters",
                  "Loss of a model of 1B parameters",
                  "slaw extrapolate --params 1B --results runs.csv",
                  "Every row of the table is a point of the fit.", "web-1e+07-90"):  # fmt: skip
        assert words in page
    assert "not stated parameters" not in page
    assert Path("runs-report/figures/residuals.svg").is_file()
    assert Path("runs-report/fits/fit.json").is_file()
    with Path("runs-report/tables/predictions.csv").open() as file:
        assert {row["run_id"] for row in csv.DictReader(file)} >= {"web-1e+06-10"}


def test_a_table_without_a_law_says_why_and_shows_its_curves(here, capsys):
    write_table(("web", "books"))
    Path("curves.csv").write_text(
        "run,step,tokens,loss\nweb-1e+06-10,1,1e6,4.1\nweb-1e+06-10,2,2e6,3.9\nx,1,1e6,4\nx,2,2e6,3\n"
    )
    words = ["report", "runs.csv", "--curves", "curves.csv", "--out", "page.html"]
    assert main(words) == EXIT_FIT == main(["fit", "runs.csv"])
    assert "no law could be fitted: runs of 2 recipes" in capsys.readouterr().err
    page = Path("page.html").read_text()
    assert "--where dataset=" in page and ">residual<" not in page
    assert "slaw report runs.csv --params 175B --curves curves.csv" in page
    drawing = Path("page-figures/training_curves.svg").read_text()
    assert "runs of unknown size" in drawing


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["runs.csv", "other.csv"], "to compare two, `slaw compare runs.csv other.csv`"),
        (["runs.csv", "--json"], "--json: is for sweeps"),
        (["runs.csv", "--experiment", "mup"], "--experiment: is for sweeps"),
        (["runs.csv", "--curves", "runs.csv"], "runs.csv: no curve, only ends of runs"),
        (["none", "--where", "a=b"], "--where: is for the report of a table"),
        (["none", "--curves", "runs.csv"], "--curves: is for the report of a table"),
    ],
)
def test_what_is_not_for_tables_or_for_them_alone_is_refused(here, capsys, words, said):
    write_table()
    Path("other.csv").write_text(Path("runs.csv").read_text())
    assert main(["report", *words]) == 2
    assert said in capsys.readouterr().err


def test_of_many_sizes_neighbours_are_joined():
    params = np.geomspace(1e6, 1e9, 60)
    points = points_from_arrays(params, params * 20, 2 + params**-0.1)
    groups = rows_by_size(points)
    assert len(groups) <= MOST_SIZES and next(iter(groups)).startswith("1M to ")
    assert sorted(row for rows in groups.values() for row in rows) == list(range(60))
