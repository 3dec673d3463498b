"""The report in a real browser: what a reader sees, points at and types equals the fit's JSON."""

from __future__ import annotations

import json
import re

import pytest

from scaling_law.files import layout
from scaling_law.files.record import load_records
from scaling_law.fit.suite import FitSettings, fit_suite, save_suite
from scaling_law.report.html import write_report
from scaling_law.units import format_count
from tests.browser.conftest import DESKTOP, PHONE, Browser
from tests.fakes import ladder_config
from tests.report.test_html import HOSTILE, plant

# by .ci/run: a minute where the machine is busy
pytestmark = pytest.mark.slow
CHART = "figure[data-chart='loss_tokens'] .live"


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    # a folder cannot be called </script>...: its slashes would be folders
    planted = plant(tmp_path_factory.mktemp("results") / "<script>alert(1)<", ladder_config())
    save_suite(fit_suite(load_records(planted), FitSettings(resamples=100)), planted.path)
    write_report(planted)
    return planted


@pytest.fixture(scope="module")
def known(sweep):
    """The document of ``slaw fit --json`` for the sweep."""
    return layout.read_json(sweep.fits / "fit.json")["summary"]


@pytest.fixture
def page(browser: Browser, sweep) -> Browser:
    return browser.open(sweep.report)


def readout(page: Browser, chart: str = CHART) -> str:
    return page.text(f"{chart} .readout")


def choose(page: Browser, name: str, value: str) -> None:
    page.one(f"#choose input[name='{name}'][value='{value}']").click()


def number(words: str) -> float:
    return float(words.replace(",", "").replace("−", "-"))


def test_the_report_loads_without_errors_or_requests_and_fits_the_window(browser: Browser, sweep):
    for size in (DESKTOP, PHONE):
        for dark in (False, True):
            browser.open(sweep.report, size=size, dark=dark)
            assert browser.messages() == []
            assert browser.requests() == [sweep.report.as_uri()]
            assert browser.run("return document.documentElement.scrollWidth") <= size[0]
            name = f"report-{size[0]}-{'dark' if dark else 'light'}"
            browser.screenshot(name, whole=True)
    assert len(browser.every("figure.on svg[role=application]")) == 11


def test_without_scripts_static_figures_replace_the_controls(browser: Browser, sweep):
    browser.open(sweep.report, scripts=False)
    drawn = browser.every("figure .still svg")
    assert len(drawn) == 9 and all(svg.is_displayed() for svg in drawn)
    assert not browser.one("#choose").is_displayed()
    assert browser.every(".live") == []
    assert browser.messages() == []
    browser.open(sweep.report)
    assert not any(svg.is_displayed() for svg in browser.every("figure .still svg"))
    browser.open(sweep.report, paper=True)
    assert all(svg.is_displayed() for svg in browser.every("figure .still svg"))


def test_a_runs_tooltip_shows_its_record_and_residual(page: Browser, sweep, known):
    data = json.loads(page.run("return document.getElementById('slaw-data').textContent"))
    records = {r.run_id: r for r in load_records(sweep)}
    law = data["fits"][data["convention"]][data["best_law"]]
    marks = page.every(f"{CHART} > svg g[clip-path] path[transform]")
    assert len(marks) == len(data["points"])
    page.run("arguments[0].scrollIntoView({block: 'center'})", marks[0])
    page.hover(marks[0])
    words = readout(page)
    run = next(p for p in data["points"] if words.startswith(p["run_id"]))
    record = records[run["run_id"]]
    assert run["loss_nats"] == record.val_loss_nats
    said = dict(re.findall(r"(tokens|params|loss|law|residual) ([−+]?[\d,.]+)", words))
    assert number(said["tokens"]) == record.tokens
    assert number(said["params"]) == record.params_matmul
    assert number(said["loss"]) == round(record.val_loss_nats or 0, 4)
    expected = law["predicted_nats"][data["points"].index(run)]
    assert number(said["law"]) == round(expected, 4)
    residual = 100 * (run["loss_nats"] / expected - 1)
    assert number(said["residual"]) == pytest.approx(residual, abs=0.006)
    tip, mark = page.one(f"{CHART} .tip").rect, marks[0].rect
    assert abs(tip["y"] + tip["height"] - mark["y"]) < 200  # beside the mark, not below all
    assert known["laws"][data["best_law"]]["params"] == law["params"]


def test_the_keyboard_selects_runs_and_zooms(page: Browser):
    from selenium.webdriver import Keys

    page.run("document.querySelector(arguments[0]).focus()", f"{CHART} > svg")
    page.key(Keys.ARROW_RIGHT)
    first = readout(page)
    page.key(Keys.ARROW_RIGHT)
    second = readout(page)
    assert first and second and first != second
    page.key(Keys.ARROW_DOWN)
    assert readout(page) != second
    before = ticks(page)
    page.key("+")
    assert ticks(page) != before
    page.key("0")
    assert ticks(page) == before and readout(page) == ""


def ticks(page: Browser, chart: str = CHART) -> list[str]:
    return [tick.text for tick in page.every(f"{chart} .grid text:not(.label)")]


def test_dragging_a_rectangle_zooms_and_reset_undoes_it(page: Browser):
    from selenium.webdriver import ActionChains

    svg = page.one(f"{CHART} > svg")
    page.run("arguments[0].scrollIntoView({block: 'center'})", svg)
    before = ticks(page)
    drag = ActionChains(page.driver).move_to_element_with_offset(svg, -40, -40)
    drag.click_and_hold().move_by_offset(80, 60).release().perform()
    assert ticks(page) != before
    page.one(f"{CHART} .tools button:last-child").click()
    assert ticks(page) == before


def test_a_series_can_be_hidden_and_shown(page: Browser):
    def marks() -> int:
        return len(page.every(f"{CHART} > svg g[clip-path] path[transform]"))

    every = marks()
    button = f"{CHART} .legend button"
    page.one(button).click()
    assert marks() < every and page.one(button).get_attribute("aria-pressed") == "false"
    page.one(button).click()
    assert marks() == every


def test_choosing_a_convention_and_a_law_shows_their_fit(page: Browser, known):
    data = json.loads(page.run("return document.getElementById('slaw-data').textContent"))
    for convention in ("total", "non_embedding", "matmul"):
        choose(page, "convention", convention)
        for law in ("chinchilla", data["best_law"]):
            choose(page, "law", law)
            words = page.text("#chosen")
            row = next(
                r for r in known["by_convention"] if r["law"] == law and r["params"] == convention
            )
            assert words.startswith(f"{law}, parameters:")
            assert f"compute to the {row['a']:.3f}" in words
            assert f"Rms residual {100 * row['rms_log_residual']:.2f}%" in words
            if row["alpha"] is not None:
                assert number(re.search(r"alpha = ([\d.e-]+)", words)[1]) == pytest.approx(  # type: ignore[index]
                    row["alpha"], rel=1e-3
                )
    label = page.every("figure[data-chart='loss_params'] .grid .label")[0].text
    legend = page.every("figure[data-chart='loss_tokens'] .legend")[0]
    sizes = data["sizes"]
    for convention in ("matmul", "total"):
        choose(page, "convention", convention)
        assert legend.text.startswith(f"size and its {convention} parameters")
        for name, counts in sizes.items():
            assert f"{name}: {format_count(counts[convention])}" in legend.text
    now = page.every("figure[data-chart='loss_params'] .grid .label")[0].text
    assert label != now and "total parameters" in now


def test_touching_a_run_on_a_phone_shows_its_values(browser: Browser, sweep):
    browser.open(sweep.report, size=PHONE, touch=True)
    mark = browser.one(f"{CHART} > svg g[clip-path] path[transform]")
    browser.run("arguments[0].scrollIntoView({block: 'center'})", mark)
    box = browser.run(
        "const b = arguments[0].getBoundingClientRect();"
        "return [b.x + b.width / 2, b.y + b.height / 2]", mark
    )  # fmt: skip
    at = {"x": box[0], "y": box[1]}
    browser.command("Input.dispatchTouchEvent", type="touchStart", touchPoints=[at])
    browser.command("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    assert "nats/token" in readout(browser)
    line = browser.one(f"{CHART} .readout").rect
    assert line["x"] >= 0 and line["x"] + line["width"] <= PHONE[0]
    assert not browser.one(f"{CHART} .tip").is_displayed()  # there is no room beside the mark


def test_the_policy_blocks_foreign_inline_scripts_and_styles(browser: Browser, sweep, tmp_path):
    page = tmp_path / "tampered.html"
    smuggled = (
        "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
        '<p id="styled" style="color:rgb(1,2,3)">text</p>'
    )
    page.write_text(sweep.report.read_text().replace("</main>", f"{smuggled}</main>"))
    browser.open(page)
    said = "\n".join(browser.messages())
    assert "Content Security Policy" in said
    assert "owned" not in browser.run("return document.title")
    assert "1, 2, 3" not in browser.one("#styled").value_of_css_property("color")
    assert browser.every("figure.on")  # the page's own script runs on


def test_hostile_names_are_shown_as_text(page: Browser):
    assert "<script>alert(1)<" in page.text("h1")
    assert HOSTILE in page.one("#excluded").find_element("xpath", "..").text
    assert page.run("return document.scripts.length") == 2


def test_the_page_has_landmarks_labels_and_unique_ids(page: Browser):
    tree = page.command("Accessibility.getFullAXTree")["nodes"]
    roles = [node.get("role", {}).get("value") for node in tree if not node.get("ignored")]
    for role in ("main", "navigation", "banner", "contentinfo", "heading", "table", "radio"):
        assert role in roles, role
    named = ("button", "radio", "application", "link", "region")
    for node in tree:
        if node.get("role", {}).get("value") in named and not node.get("ignored"):
            assert node.get("name", {}).get("value"), node
    ids = page.run("return [...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))


def test_text_has_enough_contrast(browser: Browser, sweep):
    """WCAG 2.2, 1.4.3: 4.5 to 1 for text."""
    for dark in (False, True):
        browser.open(sweep.report, dark=dark)
        for words in ("h1", ".lead", "figcaption", "nav a", ".card h3", ".card p", ".note", "td",
                      ".caption", ".legend button", ".tools button", "#chosen"):  # fmt: skip
            assert browser.run(CONTRAST, words) >= 4.5, (words, dark)


CONTRAST = """
const linear = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
const rgb = (colour) => colour.match(/[\\d.]+/g).map(Number);
const paper = (element) => rgb(getComputedStyle(element).backgroundColor);
const element = document.querySelector(arguments[0]);
let back = element;
while (back && (paper(back)[3] ?? 1) === 0) back = back.parentElement;
const ends = [light(rgb(getComputedStyle(element).color)), light(paper(back))];
return (Math.max(...ends) + 0.05) / (Math.min(...ends) + 0.05);
"""
