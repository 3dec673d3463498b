"""The corpus ``graded``: thirds of a text by a measure of its documents."""

from __future__ import annotations

import random
import string

from scaling_law.data.sources import Document, ReadRequest, graded, installed


def grades(monkeypatch, texts, by, domains=graded.GRADES):
    """The grade of each text, by its number."""
    documents = [Document(str(n), text, "cpp") for n, text in enumerate(texts)]
    monkeypatch.setattr(installed, "CORPUS", FakeCorpus(documents))
    settings = graded.Settings(by=by, of="cpp")
    request = ReadRequest(domains=frozenset(domains), settings=settings)
    return {one.id: one.domain for one in graded.CORPUS.read(request)}


class FakeCorpus:
    domains = installed.CORPUS.domains

    def __init__(self, documents):
        self.documents = documents

    def read(self, request):
        assert request.domains == {"cpp"} and request.max_bytes is None
        return iter(self.documents)


def test_short_documents_are_easy_by_length(monkeypatch):
    texts = ["a" * 300, "b" * 100, "c" * 200, "d" * 400]
    expected = {"0": "medium", "1": "easy", "2": "easy", "3": "hard"}
    assert grades(monkeypatch, texts, "length") == expected


def test_repetitive_documents_are_easy_by_compression(monkeypatch):
    scattered = "".join(random.Random(0).choices(string.ascii_letters, k=900))
    texts = [scattered, "the same " * 100, 2 * scattered[:450]]
    assert grades(monkeypatch, texts, "compression") == {"1": "easy", "2": "medium", "0": "hard"}


def test_only_the_asked_grades_are_read(monkeypatch):
    texts = ["a" * 10, "b" * 11, "c" * 12]
    assert grades(monkeypatch, texts, "length", {"hard"}) == {"2": "hard"}
