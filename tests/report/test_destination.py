"""Where the page, the figures and the tables of a report go."""

from __future__ import annotations

from pathlib import Path

import pytest

from scaling_law.errors import ConfigError
from scaling_law.report.destination import Destination, destination

USUAL = Path("sweep/report.html")


def places(page: str, figures: str, tables: str) -> Destination:
    return Destination(page=Path(page), figures=Path(figures), tables=Path(tables))


@pytest.mark.parametrize(
    ("out", "expected"),
    [
        (None, places("sweep/report.html", "sweep/figures", "sweep/tables")),
        ("a/b.html", places("a/b.html", "a/b-figures", "a/b-tables")),
        ("a/b.HTM", places("a/b.HTM", "a/b-figures", "a/b-tables")),
        ("sent", places("sent/report.html", "sent/figures", "sent/tables")),
        ("v1.2", places("v1.2/report.html", "v1.2/figures", "v1.2/tables")),
    ],
)
def test_a_name_that_ends_in_html_is_the_page_and_any_other_a_folder(
    tmp_path, monkeypatch, out, expected
):
    monkeypatch.chdir(tmp_path)
    assert destination(USUAL, out and Path(out)) == expected


def test_an_existing_folder_gets_the_page(tmp_path):
    assert destination(USUAL, tmp_path).page == tmp_path / "report.html"


def test_what_stands_in_the_way_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "page.html").mkdir()
    (tmp_path / "full" / "report.html").mkdir(parents=True)
    with pytest.raises(ConfigError, match="file: a file; expected a folder, or a page"):
        destination(USUAL, tmp_path / "file")
    for out in ("page.html", "full"):
        with pytest.raises(ConfigError, match=r"\.html: a folder; expected the name of a file"):
            destination(USUAL, tmp_path / out)
