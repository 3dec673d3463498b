"""The page's server: who is answered, with what, and what stays text."""

from __future__ import annotations

import dataclasses
import http.client
import json
import re
import socket
import sys
import threading
from html.parser import HTMLParser

import pytest

from scaling_law.cli.main import main
from scaling_law.errors import ConfigError
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import (
    load_records,
    read_curve,
    read_record,
    write_curve,
    write_record,
)
from scaling_law.fit.approaches.parametric import fit_law
from scaling_law.fit.points.dataset import from_records
from scaling_law.monitor.law import LawFitter, fitted_law
from scaling_law.monitor.page import render_page
from scaling_law.monitor.page_data import PageData, law_rows, law_text
from scaling_law.monitor.server import hosts_of, make_server
from scaling_law.plan.plan import read_plan
from scaling_law.run.sweep_state.snapshot import SweepReader
from tests.fakes import planted_records, record_of
from tests.fit.test_arms import KEY, arm_records
from tests.monitor.half_way import DONE, at_work, half_way


class StillLaw(LawFitter):
    """Starts no process."""

    def _start(self, key):
        self._found = {"status": "failed", "message": "not now"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served") / "s"
    sweep, _ = half_way(folder)
    serving = make_server(folder, interval=0.1)
    serving.data.law = StillLaw(sweep)
    thread = threading.Thread(target=serving.serve_forever, daemon=True)
    thread.start()
    yield serving
    serving.shutdown()
    serving.server_close()


def ask(server, path="/", method="GET", host=None):
    """Status, headers and body of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", host or f"127.0.0.1:{server.server_port}")
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, answer.headers, body


def test_it_listens_on_loopback_only(server):
    assert server.server_address[0] == "127.0.0.1"
    assert server.url == f"http://127.0.0.1:{server.server_port}/"


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{port}", "127.0.0.1", "localhost", "127.0.0.1:1",
     "10.0.0.1:{port}", "127.0.0.1:{port}.evil.example", "localhost:{port}@evil", " ",
     "127.0.0.1:{port},evil"],
)  # fmt: skip
def test_other_hosts_get_nothing(server, host):
    """DNS rebinding: the browser connects here, but names the site it believes to be at."""
    name = host.format(port=server.server_port)
    status, headers, body = ask(server, "/data.json", host=name)
    assert status == 421 and b"nano" not in body
    assert "Access-Control-Allow-Origin" not in headers


def test_no_host_or_two_are_refused(server):
    for lines in ("", f"Host: localhost:{server.server_port}\r\nHost: evil.example\r\n"):
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as wire:
            wire.sendall(f"GET / HTTP/1.1\r\n{lines}\r\n".encode())
            assert b" 421 " in wire.makefile("rb").readline()


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "[::1]", "LOCALHOST"])
def test_this_machine_by_its_names_is_answered(server, name):
    status, headers, body = ask(server, "/data.json", host=f"{name}:{server.server_port}")
    assert status == 200 and json.loads(body)["counts"]["done"] == DONE
    assert headers["Content-Type"] == "application/json; charset=utf-8"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "Access-Control-Allow-Origin" not in headers and "Python" not in headers["Server"]


def test_port_80_may_go_unsaid():
    assert {"localhost", "localhost:80"} <= hosts_of(80)
    assert "localhost" not in hosts_of(8080)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "X"])
def test_it_is_to_be_read_only(server, method):
    status, headers, _ = ask(server, "/data.json", method=method)
    assert status == 405 and headers["Allow"] == "GET, HEAD"


def test_the_charts_show_the_metric_that_is_asked_for(tmp_path):
    sweep, plan = half_way(tmp_path / "s")
    run = next(run for run in plan.runs[:DONE] if run.spec.kind == "branch")
    run_dir = sweep.run(run.run_id)
    points = [
        dataclasses.replace(point, metrics={"accuracy.val": number / 10})
        for number, point in enumerate(read_curve(run_dir))
    ]
    write_curve(run_dir, points)
    record = dataclasses.replace(
        read_record(run_dir.record),
        metrics={"accuracy.val": 0.9},
        metric_units={"accuracy.val": "share of targets"},
        curve_sha256=None,
    )
    write_record(run_dir, record)
    data = PageData(sweep)
    data.law = StillLaw(sweep)
    document = data.read("accuracy.val")
    assert document["shown"] == {
        "metric": "accuracy.val",
        "label": "accuracy.val (share of targets)",
        "unit": "share of targets",
    }
    (curve,) = document["curves"]
    assert [value for _, value in curve["points"]] == [number / 10 for number in range(10)]
    assert [point["value"] for point in document["points"]] == [0.9]
    assert "accuracy.val (share of targets)" in document["columns"]
    assert len(document["columns"]) == len(document["rows"][0])
    # what no run measured is shown as the loss
    for other in (None, "nothing"):
        assert data.read(other)["shown"]["metric"] is None
    page = render_page(document, "n")
    assert '<option value="accuracy.val" selected>' in page


def test_a_metric_is_asked_for_by_its_address(server):
    _, _, body = ask(server, "/data.json?metric=loss.val%3Alength-32")
    assert json.loads(body)["shown"]["label"] == "validation loss (nats/token)"


@pytest.mark.parametrize(
    "path",
    ["/../plan.json", "/%2e%2e/plan.json", "/plan.json", "/runs/", "/data.json/..",
     "/..\\plan.json", "/data.json?x=/etc/passwd", "/etc/passwd", "*", "/\x7f"],
)  # fmt: skip
def test_there_are_two_addresses_and_no_way_to_files(server, path):
    connection = socket.create_connection(("127.0.0.1", server.server_port), timeout=10)
    with connection:
        request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\n\r\n"
        connection.sendall(request.encode())
        answer = connection.makefile("rb").read()
    assert b" 404 " in answer.splitlines()[0] and b"schema_version" not in answer


def test_head_is_the_page_without_its_body(server):
    status, headers, body = ask(server, method="HEAD")
    assert (status, body) == (200, b"") and int(headers["Content-Length"]) > 1000


def test_nonsense_is_refused_without_html(server):
    for wire_bytes in (b"\x00\x01\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET " + b"a" * 70_000):
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as wire:
            wire.sendall(wire_bytes + b"\r\n\r\n")
            wire.shutdown(socket.SHUT_WR)
            assert b"<" not in wire.makefile("rb").read()
    assert ask(server)[0] == 200


class Scripts(HTMLParser):
    """The scripts and styles of a page, their nonces, and what could run without."""

    def __init__(self) -> None:
        super().__init__()
        self.nonces: list[str | None] = []
        self.loose: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag in ("script", "style"):
            self.nonces.append(dict(attrs).get("nonce"))
        names = [name for name, _ in attrs]
        self.loose += [n for n in names if n.startswith("on") or n in ("src", "style")]


def test_only_the_pages_own_script_may_run_whatever_a_run_is_called(server):
    nonces = set()
    for _ in range(2):
        _, headers, body = ask(server)
        found = Scripts()
        found.feed(body.decode())
        assert len(found.nonces) == 2 and len(set(found.nonces)) == 1 and found.loose == []
        policy = headers["Content-Security-Policy"]
        assert f"script-src 'nonce-{found.nonces[0]}'" in policy
        assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
        nonces.add(found.nonces[0])
        assert body.count(b"<script") == 1 and b'<h1 id="name">&lt;/script&gt;' in body
        assert b"&lt;/script&gt;&lt;script&gt;" in body
        assert not re.search(rb"(src|href)\s*=\s*[\"']?(https?:)?//", body)
    assert len(nonces) == 2, "a nonce used twice is none"


def test_the_page_without_scripts_holds_what_the_data_say(server):
    document = server.document()
    page = render_page(document, "n")
    assert f"{DONE} done, 1 diverged, 1 failed" in page
    for row in document["rows"]:
        assert row[0] in page
    assert '<noscript><meta http-equiv="refresh"' in page
    assert len(document["curves"]) == DONE + 1 and all(c["points"] for c in document["curves"])


def test_a_taken_port_is_a_line_and_exit_2(server, capsys):
    port = server.server_port
    words = ["monitor", str(server.data.reader.sweep.path), "--serve", "--port", str(port)]
    assert main(words) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"slaw: port {port} on 127.0.0.1 cannot be used (Address already in use)")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "words", [["--port", "70000"], ["--port", "x"], ["--interval", "0"], ["--interval", "nan"]]
)
def test_bad_options_are_refused(words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["monitor", *words])
    assert ended.value.code == 2 and "expected" in capsys.readouterr().err


def test_a_file_is_no_sweep(tmp_path):
    (tmp_path / "f").write_text("")
    with pytest.raises(ConfigError, match="a file, expected a results folder"):
        make_server(tmp_path / "f")


def test_the_page_before_there_is_a_sweep(tmp_path):
    page = render_page(PageData(SweepDir(tmp_path / "later")).read(), "n")
    assert "waiting: no such folder yet" in page
    assert "No law yet: 0 annealed points so far" in page


def test_a_law_is_fitted_when_points_came_and_not_before(tmp_path, monkeypatch):
    sweep, _ = half_way(tmp_path / "s")
    plan = read_plan(sweep.plan)
    for run in plan.runs[3:DONE]:
        sweep.run(run.run_id).record.unlink()
    watch, started = LawFitter(sweep), []
    monkeypatch.setattr(watch, "_start", lambda key: started.append(key))
    found = watch.read(SweepReader(sweep).read())
    assert found["status"] == "too_few" and "2 annealed points" in found["message"] and not started
    for run in plan.runs[3:DONE]:
        write_record(sweep.run(run.run_id), record_of(run.spec))
    assert watch.read(SweepReader(sweep).read())["status"] == "fitting" and len(started) == 1
    watch._fitted = started[0]
    watch.read(SweepReader(sweep).read())
    assert len(started) == 1, "the same points were fitted twice"


def test_the_law_comes_from_a_process_of_its_own_and_never_ends_the_monitor(tmp_path, monkeypatch):
    sweep, _ = half_way(tmp_path / "s")
    watch, snapshot = LawFitter(sweep), SweepReader(sweep).read()
    monkeypatch.setattr(sys, "executable", "/bin/echo")  # says something, but no JSON
    assert watch.read(snapshot)["status"] == "fitting"
    assert watch._child is not None
    watch._child.wait(10)
    found = watch.read(snapshot)
    assert found["status"] == "failed" and "without an answer" in law_text(found)
    watch.close()


def test_the_law_of_the_page_is_the_law_that_slaw_fit_forecasts_with(tmp_path):
    sweep = SweepDir(tmp_path)
    for record in planted_records():
        write_record(sweep.run(record.run_id), record)
    found = fitted_law(tmp_path)
    points = from_records(load_records(sweep), convention="matmul", flops="exact").points
    assert found["params"] == fit_law(points, found["law"], resamples=0).params
    assert found["points"] == len(points) and set(found["intervals"]) == set(found["params"])
    assert found["run_ids"] == list(points.run_id)
    losses = [point["loss_nats"] for point in found["frontier"]]
    assert losses == sorted(losses, reverse=True) and len(losses) == 24
    assert all(p["low_nats"] < p["loss_nats"] < p["high_nats"] for p in found["frontier"])


def test_each_arm_has_a_law_of_its_own_on_the_page(tmp_path, monkeypatch):
    monkeypatch.setattr("scaling_law.monitor.law._RESAMPLES", 0)
    sweep = SweepDir(tmp_path)
    for record in arm_records():
        write_record(sweep.run(record.run_id), record)
    law = fitted_law(tmp_path)
    assert law["status"] == "by_arm"
    assert [arm["arm"] for arm in law["arms"]] == [f"{KEY}=0", f"{KEY}=0.3"]
    for arm in law["arms"]:
        assert arm["status"] == "fitted" and arm["points"] == 9
        assert f"{arm['arm']}: {arm['law']}" in law_text(law)
    assert law_rows(law)[0][0].startswith(f"{KEY}=0: ")


def test_a_sweep_at_work_is_served_as_at_work(server):
    sweep = server.data.reader.sweep
    with at_work(sweep):
        assert server.data.read()["phase"] == "running"


def test_a_port_without_a_page_is_a_mistake(tmp_path, capsys):
    assert main(["monitor", str(tmp_path), "--port", "8000"]) == 2
    assert "--port 8000: only --serve opens a port; add --serve" in capsys.readouterr().err
