"""Serves the monitor's page to browsers on this machine only.

It listens on the loopback address, answers GET and HEAD at two fixed paths, and requires a Host
header that names this server: a site whose name resolves here (DNS rebinding) gets nothing.
"""

from __future__ import annotations

import http.server
import json
import secrets
import threading
import time
import urllib.parse
from http import HTTPStatus
from pathlib import Path
from typing import Any

from scaling_law.console import say
from scaling_law.errors import ConfigError
from scaling_law.monitor.page import render_page
from scaling_law.monitor.page_data import PageData
from scaling_law.monitor.session import SCREEN_SECONDS, check_metric, sweep_to_watch

ADDRESS = "127.0.0.1"
_REQUEST_SECONDS = 10.0  # a client that is silent for this long is disconnected
_HTTP_PORT = 80  # browsers leave this one out of Host


def hosts_of(port: int) -> frozenset[str]:
    """The Host headers that name this machine and port."""
    names = ("127.0.0.1", "localhost", "[::1]")
    bare = names if port == _HTTP_PORT else ()
    return frozenset((*bare, *(f"{name}:{port}" for name in names)))


def policy(nonce: str) -> str:
    """The Content-Security-Policy of the page: its own script and styles, and data from here."""
    return (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}';"
        " connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'none'"
    )


_OF_METRIC = "/data.json?metric="


class Server(http.server.ThreadingHTTPServer):
    """Serves one sweep; it reads the folder at most once in ``interval`` seconds."""

    daemon_threads = True

    def __init__(
        self, data: PageData, port: int, interval: float, metric: str | None = None
    ) -> None:
        self.data, self.interval, self.metric = data, interval, metric
        self._lock = threading.Lock()
        self._read_at = -interval
        self._documents: dict[str | None, dict[str, Any]] = {}
        super().__init__((ADDRESS, port), Handler)
        self.hosts = hosts_of(self.server_port)

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://{ADDRESS}:{self.server_port}/"

    def document(self, metric: str | None = None) -> dict[str, Any]:
        """The content of /data.json, with the charts of ``metric``; None: of the loss."""
        with self._lock:
            if time.monotonic() - self._read_at >= self.interval:
                self._documents = {}
                self._read_at = time.monotonic()
            if metric not in self._documents:
                document = {**self.data.read(metric), "interval_seconds": self.interval}
                # a metric that no run has is shown as the loss, and not stored under its name
                metric = document["shown"]["metric"]
                self._documents[metric] = document
            return self._documents[metric]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a browser that disconnected before its answer."""


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers one request."""

    server: Server
    timeout = _REQUEST_SECONDS
    server_version, sys_version = "slaw", ""

    def parse_request(self) -> bool:
        """Refuse requests for another host, and other methods, before anything else."""
        if not super().parse_request():
            return False
        hosts = self.headers.get_all("Host") or []
        if len(hosts) != 1 or hosts[0].strip().lower() not in self.server.hosts:
            self._refuse(
                HTTPStatus.MISDIRECTED_REQUEST, f"this server answers only {self.server.url}"
            )
            return False
        if self.command not in ("GET", "HEAD"):
            self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, "this page is read-only")
            return False
        return True

    def do_GET(self) -> None:
        """Answer with the page, its data, or 404."""
        try:
            self._get()
        except PermissionError as problem:
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, f"{problem.filename}: permission denied")

    def _get(self) -> None:
        if self.path == "/":
            nonce = secrets.token_urlsafe(16)
            page = render_page(self.server.document(self.server.metric), nonce)
            headers = {"Content-Security-Policy": policy(nonce)}
            self._answer(HTTPStatus.OK, "text/html", page, headers)
        elif self.path == "/data.json" or self.path.startswith(_OF_METRIC):
            name = urllib.parse.unquote_plus(self.path.removeprefix(_OF_METRIC))
            metric = None if self.path == "/data.json" else name
            text = json.dumps(self.server.document(metric), allow_nan=False)
            self._answer(HTTPStatus.OK, "application/json", text)
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "expected / or /data.json")

    do_HEAD = do_GET  # noqa: N815

    def _refuse(self, status: HTTPStatus, words: str) -> None:
        headers = {"Allow": "GET, HEAD"} if status == HTTPStatus.METHOD_NOT_ALLOWED else {}
        self._answer(status, "text/plain", words + "\n", headers)

    def _answer(
        self, status: HTTPStatus, kind: str, text: str, more: dict[str, str] | None = None
    ) -> None:
        body = text.encode()
        self.send_response(status)
        headers = {
            "Content-Type": f"{kind}; charset=utf-8",
            "Content-Length": str(len(body)),
            "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cache-Control": "no-store",
            **(more or {}),
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what http.server itself refuses (a line too long, say) without its HTML page."""
        self.close_connection = True
        self.command = getattr(self, "command", None) or "GET"
        self._answer(HTTPStatus(code), "text/plain", "unreadable request\n")

    def log_message(self, format: str, *args: Any) -> None:
        """Log no requests: the terminal shows the address only."""


def make_server(
    folder: Path,
    *,
    port: int = 0,
    interval: float | None = None,
    metric: str | None = None,
) -> Server:
    """A listening server of the sweep in ``folder``, whose charts show ``metric`` first.

    Raises ``ConfigError`` for a taken port, and a metric that no run has.
    """
    data = PageData(sweep_to_watch(folder, once=False))
    check_metric(data.reader.read(logs=False), metric, must=False)
    try:
        return Server(data, port, interval or SCREEN_SECONDS, metric)
    except OSError as problem:
        raise ConfigError(
            f"port {port} on {ADDRESS} cannot be used ({problem.strerror}); choose another"
            " --port, or leave it out to take any free one"
        ) from None


def serve(
    folder: Path,
    *,
    port: int = 0,
    interval: float | None = None,
    metric: str | None = None,
) -> None:
    """Print the page's address and serve it until interrupted."""
    server = make_server(folder, port=port, interval=interval, metric=metric)
    say(f"{server.data.reader.sweep.path} on {server.url} (Ctrl-C ends the page, not the sweep)")
    try:
        server.serve_forever()
    finally:
        server.server_close()
        server.data.law.close()
