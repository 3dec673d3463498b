from __future__ import annotations

import importlib.util
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest

from scaling_law.data.prepare import prepare
from scaling_law.data.sources import Corpus, _hub, fineweb_edu, openwebtext, wikitext2
from scaling_law.data.sources._hub import HubSource, hub_corpus
from scaling_law.data.sources._wikitext import articles, wikitext
from scaling_law.data.text import open_dataset
from scaling_law.errors import ConfigError
from scaling_law.spec.data import DataSpec
from tests.data.conftest import write_parquet

LINES = [
    "",
    " = Valkyria Chronicles = \n",
    "",
    " A game . \n",
    " = = Plot = = \n",
    " It begins . \n",
    " = Tower Building = \n",
    " A house = a home . \n",
]


def _write(path: Path, texts: list[str]) -> None:
    write_parquet(path, {"id": ["an id"] * len(texts), "text": [*texts]}, rows_per_group=100)


def _texts(corpus: Corpus, max_bytes: int | None = None) -> list[str]:
    documents = corpus.documents(max_bytes=max_bytes, note=lambda _: None)
    return [document.text for document in documents]


@pytest.fixture
def as_if_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_hub, "package_folder", lambda name: Path(name))


def test_wikitext_lines_become_articles() -> None:
    assert list(articles(LINES)) == ["", "".join(LINES[1:6]), "".join(LINES[6:])]


def test_a_local_copy_needs_neither_library_nor_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_hub, "package_folder", lambda _: None)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    _write(_hub.copy_folder("wikitext2") / "raw v1" / "train-00000-of-00001.parquet", LINES)
    notes: list[str] = []
    documents = list(wikitext2.CORPUS.documents(note=notes.append))
    assert [d.text.strip()[:10] for d in documents if d.text] == ["= Valkyria", "= Tower Bu"]
    assert "local copy" in notes[0]
    assert wikitext2.CORPUS.missing() is None


def test_a_local_copy_prepares_and_is_cut_to_size() -> None:
    texts = [f"document number {n} " * 20 for n in range(300)]
    for part in range(3):
        _write(_hub.copy_folder("fineweb_edu") / f"{part}.parquet", texts[part::3])
    read = _texts(fineweb_edu.CORPUS, max_bytes=20_000)
    assert 20_000 <= sum(map(len, read)) < 20_500
    dataset = open_dataset(prepare(DataSpec(corpus="fineweb_edu", max_bytes=50_000)))
    held = dataset.meta["splits"]
    assert 49_000 < held["train"]["bytes"] + held["val"]["bytes"] <= 50_000
    assert dataset.licence.startswith("ODC-By")
    assert dataset.meta["notes"]


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_hub, "package_folder", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install 'slaw\[hub\]'") as raised:
        prepare(DataSpec(corpus="openwebtext"))
    assert "\n" not in str(raised.value)


@pytest.mark.usefixtures("as_if_installed")
def test_a_refused_connection_is_reported_at_once(
    monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(_hub, "_PROBE_SECONDS", 600.0)
    with pytest.raises(ConfigError, match=r"cannot be reached.*put them in") as raised:
        prepare(DataSpec(corpus="openwebtext"))
    assert "\n" not in str(raised.value)
    assert list((cache / "data").iterdir()) == []


@pytest.mark.usefixtures("as_if_installed")
def test_a_hub_that_never_answers_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_hub, "_PROBE_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(ConfigError, match="cannot be reached"):
            _texts(openwebtext.CORPUS)


def test_a_name_that_never_resolves_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    over = Event()

    def stuck(*_: object, **__: object) -> None:
        over.wait(600)
        raise socket.gaierror("too late")

    monkeypatch.setattr(_hub, "_PROBE_SECONDS", 0.1)
    monkeypatch.setattr(socket, "getaddrinfo", stuck)
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
    assert "no answer in 0.1 s" in _hub.why_unreachable("pile")
    over.set()


@pytest.fixture
def hub_status(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """A hub whose front page answers with the status in the list."""
    status = [200]

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(status[0])
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
        yield status
        server.shutdown()
        thread.join()


def test_a_proxy_or_server_error_counts_as_unreachable(hub_status: list[int]) -> None:
    for hub_status[0] in (200, 404, 401):
        assert _hub.why_unreachable("pile") == ""
    for hub_status[0] in (403, 503):
        assert f"HTTP status {hub_status[0]}" in _hub.why_unreachable("pile")


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("datasets") is None:
        pytest.skip("needs Hugging Face datasets (extra hub)")
    monkeypatch.setattr(_hub, "why_unreachable", lambda _: "")


@pytest.mark.usefixtures("library")
def test_the_library_streams_the_same_format(tmp_path: Path) -> None:
    texts = [f"row {n}" for n in range(500)]
    for part in range(2):
        _write(tmp_path / "set" / "data" / f"train-{part}.parquet", texts[part::2])
    source = HubSource(dataset=str(tmp_path / "set"))
    corpus = hub_corpus("sample", source, description="", licence="none", how="")
    first, second = _texts(corpus), _texts(corpus)
    assert sorted(first) == sorted(texts)
    assert first == second and first != sorted(texts)
    assert len(_texts(corpus, max_bytes=100)) < 30


@pytest.mark.usefixtures("library")
def test_the_library_reads_wikitext_in_order(tmp_path: Path) -> None:
    _write(tmp_path / "set" / "train.parquet", LINES)
    source = HubSource(
        dataset=str(tmp_path / "set"), sampled=False, to_documents=wikitext("x").to_documents
    )
    corpus = hub_corpus("sample", source, description="", licence="none", how="")
    assert _texts(corpus) == list(articles(LINES))


@pytest.mark.usefixtures("library")
def test_an_error_of_the_library_is_one_line(tmp_path: Path) -> None:
    source = HubSource(dataset=str(tmp_path / "nothing here"))
    corpus = hub_corpus("sample", source, description="", licence="none", how="")
    with pytest.raises(ConfigError, match="from the hub failed") as raised:
        _texts(corpus)
    assert "\n" not in str(raised.value)
