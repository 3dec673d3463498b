"""Masked documents: attention does not cross their borders, and their tokens are placed."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from scaling_law.data.sources import Document, ReadRequest, installed, paragraphs
from scaling_law.errors import PlanError
from scaling_law.parts import NoSettings
from scaling_law.spec.from_json import model_from_json
from scaling_law.spec.to_json import to_json
from scaling_law.train.architectures.gpt import GPT
from scaling_law.train.begin import begin
from scaling_law.train.probes import document_loss
from scaling_law.train.probes.document_loss import places
from tests.fakes import plan_of, tiny_model, tiny_spec
from tests.train.test_loop import job
from tests.train.test_probes import subject_of

SEPARATOR = 256
IDS = torch.tensor([[5, 6, SEPARATOR, 7, 8, SEPARATOR, 9, 10]])


@pytest.mark.parametrize("changes", [{}, {"position": "alibi"}, {"position": "learned"}])
def test_a_document_is_read_as_if_it_stood_alone(changes):
    model = tiny_model(n_layer=2, documents="masked", **changes)
    masked, packed = GPT(model, 3), GPT(dataclasses.replace(model, documents=None), 3)
    with torch.no_grad():
        together = masked(IDS)
        for start, end in ((0, 2), (2, 5), (5, 8)):
            own = IDS[:, start:end]
            if model.position != "learned":  # whose vectors go on counting
                torch.testing.assert_close(together[:, start:end], packed(own))
        changed = IDS.clone()
        changed[0, :2] = 100
        assert torch.equal(masked(changed)[:, 2:], together[:, 2:])
        assert not torch.equal(packed(changed)[:, 2:], packed(IDS)[:, 2:])


def test_scores_show_the_masks_and_recomputing_changes_nothing():
    model = tiny_model(n_layer=2, documents="masked")
    scores = GPT(model, 3).inside(IDS, "attention")[0][0, 0]
    assert torch.isneginf(scores[4, :2]).all() and torch.isfinite(scores[4, 2:5]).all()
    gradients = []
    for recompute in (False, True):
        module = GPT(model, 3, recompute).train()
        module.loss(IDS, IDS).backward()
        gradients.append([weight.grad for weight in module.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True) if a is not None)


def test_models_of_packed_documents_are_written_as_before():
    packed, masked = tiny_model(), tiny_model(documents="masked")
    assert "documents" not in to_json(packed)
    assert model_from_json(to_json(masked)) == masked != packed
    with pytest.raises(ValueError, match="documents is 'cut', expected one of masked"):
        tiny_model(documents="cut")


def test_tokens_have_their_place_in_the_document():
    assert places(IDS, SEPARATOR).tolist() == [[0, 0, 1, 2, 3, 1, 2, 3]]


def test_the_loss_by_place_is_the_mean_of_its_tokens(dataset, tmp_path):
    subject = subject_of(begin(job(dataset, tmp_path, tiny_spec())))
    means = document_loss.measure(subject, NoSettings())
    assert {"val.1", "val.2"} & means.keys() or not means
    assert all(0 < mean < 20 for mean in means.values())


def test_paragraphs_are_cut_at_blank_lines_and_the_others_are_counted(monkeypatch):
    text = "x" * 60 + "\n\nshort\n\n" + "y" * 60
    fake = dataclasses.replace(
        installed.CORPUS, read=lambda request: iter([Document("a", text, "py-code")])
    )
    monkeypatch.setattr(installed, "CORPUS", fake)
    request = ReadRequest(domains=frozenset({"py-code"}), settings=paragraphs.Settings())
    assert [d.id for d in paragraphs.CORPUS.read(request)] == ["a#0", "a#2"]
    assert sum(request.tally.left_out.values()) == 1


def test_a_task_has_no_documents_to_mask():
    text = """name: masks
data: {source: copy}
model: {documents: masked}
grid: [{sizes: [{n_layer: 1, d_model: 8, n_head: 2}], steps: [4]}]
precision: fp32
"""
    with pytest.raises(PlanError, match=r"model.documents: the examples of a task"):
        plan_of(text)


def test_masked_runs_are_not_stacked_and_count_the_mask():
    text = """name: masks
data: {corpus: installed, tokenizer: bytes, vocab_size: 257}
model: {n_ctx: 64}
grid: [{sizes: [{n_layer: 1, d_model: 8, n_head: 2}], tokens: [4k], seeds: [0, 1]}]
optim: {batch_tokens: 512}
precision: fp32
"""
    packed, masked = plan_of(text), plan_of(text, "model.documents=masked")
    named = plan_of(text, "model.documents=packed")
    assert [run.run_id for run in named.runs] == [run.run_id for run in packed.runs]
    assert all(run.resources.stack is None for run in masked.runs)
    assert masked.runs[0].memory_bytes > packed.runs[0].memory_bytes
