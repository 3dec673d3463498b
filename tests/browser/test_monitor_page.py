"""The monitor's page in a real browser: live, without scripts, under its policy, hostile names."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
import urllib.request

import pytest

from scaling_law.files.record import read_curve, write_curve, write_record
from scaling_law.monitor.law import LawFitter
from scaling_law.monitor.server import make_server
from tests.browser.conftest import PHONE, Browser
from tests.fakes import record_of
from tests.monitor.half_way import DONE, HOSTILE, half_way

LAW = {
    "status": "fitted", "message": "", "law": "chinchilla", "points": 16, "trunks": 4,
    "formula": "L = E + A N^(-alpha) + B D^(-beta)", "level": 0.9, "rms_log_residual": 0.0031,
    "params": {"E": 1.8125, "alpha": 0.34}, "intervals": {"E": [1.7, 1.9]}, "run_ids": [],
    "forecast_weights": {"chinchilla": 0.6, "skaling": 0.4},
    "frontier": [
        {"flops": 10.0**e, "loss_nats": loss, "low_nats": 0.98 * loss, "high_nats": 1.02 * loss}
        for e, loss in ((10, 3.6), (12, 3.1), (14, 2.7))
    ],
}  # fmt: skip


class GivenLaw(LawFitter):
    """Knows its law, and starts no process."""

    def read(self, snapshot):
        return LAW


@pytest.fixture
def served(tmp_path):
    """A server of a sweep half-way, its plan, and where the page is."""
    sweep, plan = half_way(tmp_path / "s")
    server = make_server(sweep.path, interval=0.2)
    server.data.law = GivenLaw(sweep)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server, plan
    server.shutdown()
    server.server_close()


def until(condition, seconds=120.0):
    """Wait until one of the page's next polls makes a condition true."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "the page never showed it"
        time.sleep(0.1)
    return value


def data_of(server):
    with urllib.request.urlopen(server.url + "data.json") as answer:
        return json.loads(answer.read())


def cells(browser: Browser, body: str) -> list[list[str]]:
    rows = "return [...document.querySelectorAll(arguments[0] + ' tr')].map"
    table: list[list[str]] = browser.run(
        rows + "(r => [...r.children].map(c => c.textContent))", body
    )
    return table


def test_the_page_shows_the_values_of_its_data(browser, served):
    server, _ = served
    browser.open(server.url)
    until(lambda: browser.run("return document.querySelectorAll('#curves svg .curve').length"))
    data = data_of(server)
    assert cells(browser, "#runs") == data["rows"]
    assert cells(browser, "#law-params") == data["words"]["law_params"]
    for name in ("headline", "phase", "counts", "device", "law"):
        assert browser.text(f"#{name}") == data["words"][name]
    assert "chinchilla: L = E + A N^(-alpha)" in browser.text("#law")
    share = browser.run("return document.querySelector('#bar').value")
    assert share == pytest.approx(data["flops_done_frac"])
    shown = browser.run("return document.querySelectorAll('#curves svg path.curve').length")
    chips = browser.run("return document.querySelectorAll('#curves .legend path').length")
    assert shown - chips == len(data["curves"])
    assert browser.one("#frontier").get_attribute("data-points") == str(len(data["points"]))
    assert browser.messages() == []
    assert {url.partition("?")[0] for url in browser.requests() if not url.startswith("data:")} == {
        server.url, server.url + "data.json",
    }  # fmt: skip
    browser.screenshot("monitor-desktop", whole=True)


def test_a_record_that_arrives_is_shown_without_a_reload(browser, served):
    server, plan = served
    browser.open(server.url)
    until(lambda: f"{DONE} done" in browser.text("#counts"))
    browser.run("window.mark = 1")
    waiting = server.data.reader.read().in_state("waiting")[0]
    sweep = server.data.reader.sweep
    spec = plan.by_id[waiting.run_id].spec
    write_record(sweep.run(waiting.run_id), record_of(spec, loss_nats=3.1875))
    until(lambda: f"{DONE + 1} done" in browser.text("#counts"))
    assert [waiting.label, "done", "3.1875"] in [row[:3] for row in cells(browser, "#runs")]
    assert browser.run("return window.mark") == 1 and browser.messages() == []


def test_without_scripts_the_page_shows_the_state_and_reloads(browser, served):
    server, _ = served
    browser.open(server.url, scripts=False)
    source = browser.driver.page_source
    assert f"{DONE} done" in browser.text("#counts")
    assert "has no figures" in browser.text("main")
    assert 'http-equiv="refresh"' in source
    assert len(browser.every("#runs tr")) == len(server.document()["rows"])
    assert browser.every("#curves svg") == []


def test_hostile_names_are_shown_as_text_and_the_policy_blocks_scripts(browser, served):
    server, _ = served
    browser.open(server.url)
    until(lambda: browser.every("#curves svg"))
    assert browser.driver.title.startswith("54% " + HOSTILE[:9])
    assert HOSTILE[:40] in browser.text("h1")
    assert "<script>document.title='owned'</script>" in browser.text("#warnings")
    assert any(HOSTILE[:9] in row[-1] for row in cells(browser, "#runs"))
    assert len(browser.every("script")) == 1 and browser.messages() == []
    browser.run(
        "const s = document.createElement('script'); s.textContent = 'window.broken = 1';"
        "document.body.append(s);"
        "const i = new Image(); i.src = 'https://example.com/x.png'; document.body.append(i);"
        "document.body.setAttribute('onclick', 'window.broken = 1'); document.body.click();"
    )
    messages = until(browser.messages)
    assert any("Content Security Policy" in message for message in messages)
    assert browser.run("return window.broken") is None


def test_mouse_and_keys_show_the_values_of_points(browser, served):
    from selenium.webdriver import Keys

    server, _ = served
    browser.open(server.url)
    until(lambda: browser.every("#frontier svg circle"))
    browser.run("document.querySelector('#frontier svg').focus()")
    browser.key(Keys.ARROW_RIGHT)
    first = browser.text("#frontier .readout")
    cheapest = min(data_of(server)["points"], key=lambda point: point["flops_6nd"])
    assert first.startswith(f"{cheapest['label']}: {cheapest['value']:.4f} nats/token")
    browser.key(Keys.ARROW_RIGHT)
    assert browser.text("#frontier .readout") not in ("", first)
    dot = browser.every("#curves svg circle")[0]
    browser.hover(dot)
    assert "nats/token at" in browser.text("#curves .readout")
    browser.one("#trunks").click()
    data = data_of(server)
    branches = sum(curve["kind"] != "trunk" for curve in data["curves"])
    until(lambda: len(browser.every("#curves svg[role=img] path.curve")) == branches)
    browser.run(
        "const s = document.querySelector('#curves-x'); s.value = 'flops';"
        "s.dispatchEvent(new Event('change'))"
    )
    assert "FLOPs" in browser.run("return document.querySelector('#curves svg').textContent")
    assert browser.messages() == []


def test_the_charts_show_the_chosen_metric(browser, served):
    server, plan = served
    sweep = server.data.reader.sweep
    run_dir = sweep.run(plan.runs[1].run_id)
    points = [
        dataclasses.replace(point, metrics={"accuracy.val": number / 10})
        for number, point in enumerate(read_curve(run_dir))
    ]
    write_curve(run_dir, points)
    units = {"accuracy.val": "share of targets"}
    record = record_of(plan.runs[1].spec)
    write_record(
        run_dir, dataclasses.replace(record, metrics={"accuracy.val": 0.9}, metric_units=units)
    )
    browser.open(server.url)
    until(lambda: len(browser.every("#shown option")) == 2)
    browser.run(
        "const s = document.querySelector('#shown'); s.value = 'accuracy.val';"
        "s.dispatchEvent(new Event('change'))"
    )
    drawn = "return document.querySelector('#curves svg').textContent"
    until(lambda: "accuracy.val (share of targets)" in browser.run(drawn))
    assert len(browser.every("#curves svg[role=img] path.curve")) == 1
    assert "accuracy.val (share of targets)" in browser.text("#runs-head")
    # the law is one of the loss
    assert not browser.every("#frontier svg path.frontier")
    assert browser.messages() == []


@pytest.mark.parametrize("dark", [False, True])
def test_the_page_fits_a_phone(browser, served, dark):
    server, _ = served
    browser.open(server.url, size=PHONE, dark=dark, touch=True)
    until(lambda: browser.every("#frontier svg"))
    assert browser.run("return document.documentElement.scrollWidth") <= PHONE[0]
    browser.screenshot(f"monitor-phone{'-dark' if dark else ''}", whole=True)


def test_the_page_says_that_its_monitor_has_ended(browser, served):
    server, _ = served
    browser.open(server.url)
    until(lambda: browser.every("#curves svg"))
    server.shutdown()
    server.server_close()
    until(lambda: "does not answer" in browser.text("#lost"))
    assert browser.every("#runs tr")


def test_the_page_waits_for_a_sweep_to_begin(browser, tmp_path):
    server = make_server(tmp_path / "later", interval=0.2)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        browser.open(server.url)
        until(lambda: "No run has been evaluated yet." in browser.text("#curves"))
        assert "waiting: no such folder yet" in browser.text("#headline")
        half_way(tmp_path / "later")
        until(lambda: f"{DONE} done" in browser.text("#counts"))
        assert browser.messages() == []
    finally:
        server.shutdown()
        server.server_close()
        server.data.law.close()
