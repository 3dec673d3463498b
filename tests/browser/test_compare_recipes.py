"""The comparison's page in a real browser: its numbers, keys, a phone, no scripts, names."""

from __future__ import annotations

import dataclasses
import json

import pytest

from scaling_law.files.layout import SweepDir
from scaling_law.files.record import write_record
from scaling_law.report.compare_recipes import write_versus
from tests.browser.conftest import DESKTOP, PHONE, Browser
from tests.fakes import PLANTED, ladder_config, planted_records

# by .ci/run, as the report's
pytestmark = pytest.mark.slow
CHART = "figure[data-chart='difference'] .live"
# a folder cannot be called </script>...: its slashes would be folders
HOSTILE = "<img src=x onerror=document.title='owned'>"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The page of two planted sweeps, of which the second has a hostile name; and its values."""
    folder = tmp_path_factory.mktemp("results")
    first, second = SweepDir(folder / "base"), SweepDir(folder / HOSTILE)
    for record in planted_records(0.002, ladder_config()):
        write_record(first.run(record.run_id), record)
        lower = PLANTED["E"] + 0.97 * ((record.val_loss_nats or 0.0) - PLANTED["E"])
        write_record(second.run(record.run_id), dataclasses.replace(record, val_loss_nats=lower))
    return write_versus(first, second)


def test_the_page_loads_without_errors_or_requests_and_fits_the_window(browser: Browser, written):
    page, _ = written
    for size in (DESKTOP, PHONE):
        for dark in (False, True):
            browser.open(page, size=size, dark=dark)
            assert browser.messages() == []
            assert browser.requests() == [page.as_uri()]
            assert browser.run("return document.documentElement.scrollWidth") <= size[0]
            browser.screenshot(f"versus-{size[0]}-{'dark' if dark else 'light'}", whole=True)
    assert len(browser.every("figure.on svg[role=application]")) == 2


def test_the_page_and_its_tooltips_show_the_comparison(browser: Browser, written):
    from selenium.webdriver import Keys

    page, versus = written
    browser.open(page)
    data = json.loads(browser.run("return document.getElementById('slaw-data').textContent"))
    assert data["versus"] == versus.to_json()
    multiplier = versus.multiplier
    assert f"{multiplier.value:.2f}x [{multiplier.low:.2f}, {multiplier.high:.2f}]" in browser.text(
        ".card .big"
    )
    marks = browser.every(f"{CHART} > svg g[clip-path] path[transform]")
    assert len(marks) == len(versus.pairs)
    browser.run("document.querySelector(arguments[0]).focus()", f"{CHART} > svg")
    browser.key(Keys.ARROW_RIGHT)
    said = browser.text(f"{CHART} .readout")
    assert any(f"{p.losses[0]:.4f}" in said and f"{p.losses[1]:.4f}" in said for p in versus.pairs)
    browser.one(f"{CHART} .legend button").click()
    assert len(browser.every(f"{CHART} > svg g[clip-path] path[transform]")) < len(marks)


def test_without_scripts_the_static_figures_are_shown(browser: Browser, written):
    browser.open(written[0], scripts=False)
    drawn = browser.every("figure .still svg")
    assert len(drawn) == 2 and all(svg.is_displayed() for svg in drawn)
    assert browser.every(".live") == [] and browser.messages() == []


def test_a_hostile_name_is_shown_as_text(browser: Browser, written):
    browser.open(written[0])
    assert HOSTILE in browser.text("h1")
    assert browser.every("img") == [] and browser.driver.title != "owned"
