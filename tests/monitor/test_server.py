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
from scaling_law.run.sweep_state.reader import SweepReader
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


def test_the_server_listens_on_loopback_only(server):
    assert server.server_address[0] == "127.0.0.1"
    assert server.url == f"http://127.0.0.1:{server.server_port}/"


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{port}", "127.0.0.1", "localhost", "127.0.0.1:1",
     "10.0.0.1:{port}", "127.0.0.1:{port}.evil.example", "localhost:{port}@evil", " ",
     "127.0.0.1:{port},evil"],
)  # fmt: skip
def test_other_hosts_are_refused(server, host):
    """DNS rebinding: the browser connects here, but names the site it believes to be at."""
    name = host.format(port=server.server_port)
    status, headers, body = ask(server, "/data.json", host=name)
    assert status == 421 and b"nano" not in body
    assert "Access-Control-Allow-Origin" not in headers


def test_a_missing_or_repeated_host_header_is_refused(server):
    for lines in ("", f"Host: localhost:{server.server_port}\r\nHost: evil.example\r\n"):
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as wire:
            wire.sendall(f"GET / HTTP/1.1\r\n{lines}\r\n".encode())
            assert b" 421 " in wire.makefile("rb").readline()


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "[::1]", "LOCALHOST"])
def test_this_machines_names_are_accepted(server, name):
    status, headers, body = ask(server, "/data.json", host=f"{name}:{server.server_port}")
    assert status == 200 and json.loads(body)["counts"]["done"] == DONE
    assert headers["Content-Type"] == "application/json; charset=utf-8"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "Access-Control-Allow-Origin" not in headers and "Python" not in headers["Server"]


def test_port_80_may_be_omitted():
    assert {"localhost", "localhost:80"} <= hosts_of(80)
    assert "localhost" not in hosts_of(8080)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "X"])
def test_the_server_is_read_only(server, method):
    status, headers, _ = ask(server, "/data.json", method=method)
    assert status == 405 and headers["Allow"] == "GET, HEAD"


def test_the_charts_show_the_requested_metric(tmp_path):
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
        "layers": [],
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


def test_a_measure_by_layer_is_one_choice_with_a_line_for_each_layer(tmp_path):
    sweep, plan = half_way(tmp_path / "s")
    run = next(run for run in plan.runs[:DONE] if run.spec.kind == "branch")
    run_dir = sweep.run(run.run_id)
    names = [f"probe.rms.layers.{layer}" for layer in range(3)]
    points = [
        dataclasses.replace(point, metrics=dict.fromkeys(names, 1.0))
        for point in read_curve(run_dir)
    ]
    write_curve(run_dir, points)
    record = dataclasses.replace(
        read_record(run_dir.record),
        metrics=dict(zip(names, (0.5, 1.25, 2.0), strict=True)),
        metric_units=dict.fromkeys(names, "activation"),
        curve_sha256=None,
    )
    write_record(run_dir, record)
    data = PageData(sweep)
    data.law = StillLaw(sweep)
    document = data.read("probe.rms")
    assert document["choices"] == [["probe.rms", "probe.rms (activation), by layer"]]
    assert document["shown"]["layers"] == [0, 1, 2]
    assert [curve["layer"] for curve in document["curves"]] == [0, 1, 2]
    assert [(p["layer"], p["value"]) for p in document["points"]] == [(0, 0.5), (1, 1.25), (2, 2.0)]
    assert "0.5 to 2" in [cell for row in document["rows"] for cell in row]
    # a single layer can still be chosen, by its metric's name
    (curve,) = data.read(names[1])["curves"]
    assert (
        curve["layer"] is None
        and document["columns"].count("probe.rms (activation), by layer") == 1
    )


def test_an_address_selects_a_metric(server):
    _, _, body = ask(server, "/data.json?metric=loss.val%3Alength-32")
    assert json.loads(body)["shown"]["label"] == "validation loss (nats/token)"


@pytest.mark.parametrize(
    "path",
    ["/../plan.json", "/%2e%2e/plan.json", "/plan.json", "/runs/", "/data.json/..",
     "/..\\plan.json", "/data.json?x=/etc/passwd", "/etc/passwd", "*", "/\x7f"],
)  # fmt: skip
def test_only_two_addresses_are_served_and_no_files(server, path):
    connection = socket.create_connection(("127.0.0.1", server.server_port), timeout=10)
    with connection:
        request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\n\r\n"
        connection.sendall(request.encode())
        answer = connection.makefile("rb").read()
    assert b" 404 " in answer.splitlines()[0] and b"schema_version" not in answer


def test_head_is_the_page_without_its_body(server):
    status, headers, body = ask(server, method="HEAD")
    assert (status, body) == (200, b"") and int(headers["Content-Length"]) > 1000


def test_malformed_requests_are_refused_without_html(server):
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


def test_only_the_pages_own_script_may_run_despite_hostile_names(server):
    nonces = set()
    for _ in range(2):
        _, headers, body = ask(server)
        parser = Scripts()
        parser.feed(body.decode())
        assert len(parser.nonces) == 2 and len(set(parser.nonces)) == 1 and parser.loose == []
        policy = headers["Content-Security-Policy"]
        assert f"script-src 'nonce-{parser.nonces[0]}'" in policy
        assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
        nonces.add(parser.nonces[0])
        assert body.count(b"<script") == 1 and b'<h1 id="name">&lt;/script&gt;' in body
        assert b"&lt;/script&gt;&lt;script&gt;" in body
        assert not re.search(rb"(src|href)\s*=\s*[\"']?(https?:)?//", body)
    assert len(nonces) == 2, "a nonce used twice is none"


def test_the_page_without_scripts_shows_the_data(server):
    document = server.document()
    page = render_page(document, "n")
    assert f"{DONE} done, 1 diverged, 1 failed" in page
    for row in document["rows"]:
        assert row[0] in page
    assert '<noscript><meta http-equiv="refresh"' in page
    assert len(document["curves"]) == DONE + 1 and all(c["points"] for c in document["curves"])


def test_a_taken_port_is_one_line_and_exit_code_2(server, capsys):
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


def test_a_file_in_place_of_a_sweep_is_refused(tmp_path):
    (tmp_path / "f").write_text("")
    with pytest.raises(ConfigError, match="a file, expected a results folder"):
        make_server(tmp_path / "f")


def test_the_page_is_served_before_a_sweep_exists(tmp_path):
    page = render_page(PageData(SweepDir(tmp_path / "later")).read(), "n")
    assert "waiting: no such folder yet" in page
    assert "No law yet: 0 annealed points so far" in page


def test_a_law_is_fitted_again_only_after_new_points(tmp_path, monkeypatch):
    sweep, _ = half_way(tmp_path / "s")
    plan = read_plan(sweep.plan)
    for run in plan.runs[3:DONE]:
        sweep.run(run.run_id).record.unlink()
    watch, started = LawFitter(sweep), []
    monkeypatch.setattr(watch, "_start", lambda key: started.append(key))
    law_json = watch.read(SweepReader(sweep).read())
    assert (
        law_json["status"] == "too_few"
        and "2 annealed points" in law_json["message"]
        and not started
    )
    for run in plan.runs[3:DONE]:
        write_record(sweep.run(run.run_id), record_of(run.spec))
    assert watch.read(SweepReader(sweep).read())["status"] == "fitting" and len(started) == 1
    watch._fitted = started[0]
    watch.read(SweepReader(sweep).read())
    assert len(started) == 1, "the same points were fitted twice"


def test_the_law_comes_from_a_separate_process_that_never_ends_the_monitor(tmp_path, monkeypatch):
    sweep, _ = half_way(tmp_path / "s")
    watch, snapshot = LawFitter(sweep), SweepReader(sweep).read()
    monkeypatch.setattr(sys, "executable", "/bin/echo")  # says something, but no JSON
    assert watch.read(snapshot)["status"] == "fitting"
    assert watch._child is not None
    watch._child.wait(10)
    law_json = watch.read(snapshot)
    assert law_json["status"] == "failed" and "without an answer" in law_text(law_json)
    watch.close()


def test_the_law_of_the_page_is_that_of_slaw_fit(tmp_path):
    sweep = SweepDir(tmp_path)
    for record in planted_records():
        write_record(sweep.run(record.run_id), record)
    law_json = fitted_law(tmp_path)
    points = from_records(load_records(sweep), convention="matmul", flops="exact").points
    assert law_json["params"] == fit_law(points, law_json["law"], resamples=0).params
    assert law_json["points"] == len(points) and set(law_json["intervals"]) == set(
        law_json["params"]
    )
    assert law_json["run_ids"] == list(points.run_id)
    losses = [point["loss_nats"] for point in law_json["frontier"]]
    assert losses == sorted(losses, reverse=True) and len(losses) == 24
    assert all(p["low_nats"] < p["loss_nats"] < p["high_nats"] for p in law_json["frontier"])


def test_the_page_shows_a_law_for_each_arm(tmp_path, monkeypatch):
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


def test_a_running_sweep_is_served_as_running(server):
    sweep = server.data.reader.sweep
    with at_work(sweep):
        assert server.data.read()["phase"] == "running"


def test_a_port_without_serve_is_refused(tmp_path, capsys):
    assert main(["monitor", str(tmp_path), "--port", "8000"]) == 2
    assert "--port 8000: only --serve opens a port; add --serve" in capsys.readouterr().err
