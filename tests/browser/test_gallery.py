"""The page over several experiments in a real browser."""

from __future__ import annotations

from pathlib import Path

import pytest

from scaling_law.experiment.collection import collect
from scaling_law.report.gallery import write_gallery
from tests.browser.conftest import DESKTOP, PHONE, Browser

# by .ci/run: it draws a figure for each experiment
pytestmark = pytest.mark.slow
REFERENCE = Path(__file__).parents[2] / "results" / "reference"


def test_the_reference_results_make_a_page_that_fits_a_desktop_and_a_phone(
    browser: Browser, tmp_path
):
    collection = collect(REFERENCE)
    assert not collection.not_shown
    page = write_gallery(collection, tmp_path / "page.html")
    for size in (DESKTOP, PHONE):
        for dark in (False, True):
            browser.open(page, size=size, dark=dark)
            assert browser.messages() == []
            assert browser.requests() == [page.as_uri()]
            assert browser.run("return document.documentElement.scrollWidth") <= size[0]
            browser.screenshot(f"gallery-{size[0]}-{'dark' if dark else 'light'}", whole=True)
    cards = browser.every(".card a")
    assert len(cards) == len(collection.shown)
    # the phone's figures have their panels below each other, and none scrolls
    for kind, is_shown in ((".roomy", False), (".narrow", True)):
        figures = browser.every(f"figure {kind} svg")
        assert len(figures) == len(collection.shown)
        assert all(figure.is_displayed() is is_shown for figure in figures)
    cards[-1].click()
    assert browser.run("return location.hash").removeprefix("#") == collection.shown[-1].name
