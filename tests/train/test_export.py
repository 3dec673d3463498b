"""Exports: read back to the same bits, and with the same logits in transformers, if installed."""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scaling_law.data.hf_tokenizer import merges_of, stand_ins, tokenizer_json
from scaling_law.data.tokenizer import BpeTokenizer, ByteTokenizer, Tokenizer
from scaling_law.errors import ConfigError
from scaling_law.files.layout import ExportDir, RunDir
from scaling_law.files.record import write_record
from scaling_law.run.export import export_run
from scaling_law.spec.component import Component
from scaling_law.spec.counts import count_params
from scaling_law.spec.data import DataSpec
from scaling_law.spec.model import ModelSpec, OtherModel
from scaling_law.train import checkpoint
from scaling_law.train.architectures import build
from scaling_law.train.architectures._gpt_hf import hf_model
from scaling_law.train.architectures.gpt import GPT
from scaling_law.train.export import export, main
from tests.fakes import record_of, tiny_model, tiny_spec

# an interpreter that has transformers, where this one has not
PYTHON = os.environ.get("SLAW_TRANSFORMERS_PYTHON")
TEXT = [
    "the trunk, the branch and the cooldown",
    "def f(x):\n    return x**2  # tabs\tand   blanks  \n\n\nend",
    "naïve café 北京 — 12345 it's I'LL 🙂",
    "aaaaaaaaaaaa aaa\r\n\r\n  x",
]
ARCHITECTURES = {
    "GPT2LMHeadModel": {"norm": "layernorm", "position": "learned", "activation": "gelu",
                        "qk_norm": False, "tied": True},
    "GPT2LMHeadModel-relu2-untied": {"norm": "layernorm", "position": "learned",
                                     "activation": "relu2", "qk_norm": False},
    "LlamaForCausalLM": {"activation": "swiglu", "qk_norm": False},
    "LlamaForCausalLM-grouped-tied": {"activation": "swiglu", "qk_norm": False, "n_kv_head": 2,
                                      "tied": True},
    "Qwen3ForCausalLM": {"activation": "swiglu", "n_kv_head": 2},
    "ArceeForCausalLM": {"activation": "relu2", "qk_norm": False},
    "ArceeForCausalLM-gelu": {"activation": "gelu", "qk_norm": False, "tied": True},
    "ApertusForCausalLM": {},
    "ApertusForCausalLM-gelu-grouped": {"activation": "gelu", "n_kv_head": 2},
}  # fmt: skip


@pytest.fixture(scope="module")
def bpe() -> BpeTokenizer:
    return BpeTokenizer.train([*TEXT, "the law of the loss aaaa aaa aa " * 30], 400)


def model_of(tokenizer: Tokenizer, **changes) -> ModelSpec:
    shape = {"n_layer": 2, "d_model": 32, "n_head": 4, "n_kv_head": 4, "d_ff": 64}
    return tiny_model(vocab_size=tokenizer.vocab_size, **{**shape, **changes})


def saved_run(folder: Path, model: ModelSpec, tokenizer: Tokenizer) -> tuple[RunDir, GPT]:
    """A finished run whose weights are random, of a scale that training comes to."""
    data = DataSpec(corpus="x", tokenizer=tokenizer.kind, vocab_size=tokenizer.vocab_size)
    spec = tiny_spec(model=model, data=data)
    run_dir = RunDir(folder / "runs" / spec.run_id)
    gpt = GPT(model, seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in gpt.parameters():
            weight.add_(
                0.3 * weight.std(correction=0) * torch.randn(weight.shape, generator=generator)
            )
            if weight.ndim == 1:
                weight.mul_(1 + 0.2 * torch.randn(weight.shape, generator=generator))
    write_record(run_dir, record_of(spec))
    state = {"model": gpt.state_dict(), "tokenizer": tokenizer.to_json()}
    checkpoint.save_weights(run_dir, state)
    return run_dir, gpt


@pytest.mark.parametrize("tied", [False, True])
def test_safetensors_are_read_back_bit_for_bit(tmp_path, bpe, tied, monkeypatch):
    from safetensors.torch import load_file

    if tied:  # the other is written by a process of its own, which loads torch

        def here(module: str, *arguments: str, doing: str) -> None:
            assert module == "scaling_law.train.export" and main(list(arguments)) == 0

        monkeypatch.setattr("scaling_law.run.export.run_module", here)
    run_dir, gpt = saved_run(tmp_path, model_of(bpe, tied=tied), bpe)
    said = export_run(tmp_path, "tiny", tmp_path / "out", "safetensors")
    out = ExportDir(tmp_path / "out")
    tensors = load_file(out.weights)
    again = GPT(ModelSpec(**json.loads(out.config.read_text())), seed=5)
    assert set(again.state_dict()) - set(tensors) == ({"head.weight"} if tied else set())
    again.load_state_dict(tensors, strict=not tied)
    ids = torch.arange(16)[None]
    assert torch.equal(again(ids), gpt(ids))
    about = json.loads(out.about.read_text())
    assert (about["run_id"], about["val_loss_nats"]) == (run_dir.path.name, 4.0)
    assert f"{count_params(gpt.spec).total:,} parameters in fp32" in said
    assert not list(tmp_path.glob(".out*"))


def test_exported_merges_and_ranks_tokenize_like_ours(bpe):
    """Byte-level BPE by the exported merges alone, as the library's own formula has it."""
    ranks = {pair: rank for rank, pair in enumerate(merges_of(bpe.pieces))}
    content = tokenizer_json(bpe)
    vocab, table = content["model"]["vocab"], stand_ins()
    assert len(set(table)) == 256
    for word in (b" the", b"cooldown", b"aaaaaaa", "café".encode(), b"branch"):
        parts = [bytes([byte]) for byte in word]
        if word in bpe.pieces:
            parts = [word]
        while len(parts) > 1:
            pairs = [
                (ranks.get(pair, 10**9), i) for i, pair in enumerate(itertools.pairwise(parts))
            ]
            rank, at = min(pairs)
            if rank == 10**9:
                break
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        ids = [vocab["".join(table[byte] for byte in part)] for part in parts]
        assert ids == bpe.encode(word.decode()).tolist(), word
    assert vocab["<|endoftext|>"] == bpe.separator == content["added_tokens"][0]["id"]


def test_a_byte_tokenizer_has_no_merges():
    content = tokenizer_json(ByteTokenizer())
    assert content["model"]["merges"] == []
    assert content["model"]["vocab"]["A"] == ord("A")
    assert content["pre_tokenizer"]["type"] == "ByteLevel"


REFUSED: dict[str, dict[str, Any]] = {
    "model.position is alibi": {"position": "alibi"},
    "model.position is none": {"position": "none"},
    "model.norm is layernorm: with position: rotary it must be rmsnorm": {"norm": "layernorm"},
    "model.norm is rmsnorm: with position: learned": {"position": "learned"},
    "model.activation is swiglu: with position: learned (GPT-2) it must be gelu or relu2": {
        "position": "learned", "norm": "layernorm", "activation": "swiglu",
    },
    "model.qk_norm is true: with position: learned (GPT-2) it must be false": {
        "position": "learned", "norm": "layernorm",
    },
    "model.n_kv_head is 2": {
        "position": "learned", "norm": "layernorm", "qk_norm": False, "n_kv_head": 2,
    },
}  # fmt: skip


@pytest.mark.parametrize("said", REFUSED)
def test_a_model_that_no_transformers_architecture_computes_is_one_line(said):
    spec = model_of(ByteTokenizer(), **REFUSED[said])
    with pytest.raises(ConfigError) as problem:
        hf_model(spec, GPT(spec).state_dict())
    assert str(problem.value).startswith(said)
    assert "--format safetensors" in str(problem.value)
    assert len(problem.value.lines) == 1


def test_every_model_is_exported_or_refused_by_name():
    made = set()
    for norm, position, activation, qk_norm in itertools.product(
        ("rmsnorm", "layernorm"), ("rotary", "learned", "alibi", "none"),
        ("gelu", "swiglu", "relu2"), (False, True),
    ):  # fmt: skip
        spec = model_of(
            ByteTokenizer(), norm=norm, position=position, activation=activation, qk_norm=qk_norm
        )
        try:
            config, tensors = hf_model(spec, GPT(spec).state_dict())
        except ConfigError:
            continue
        made.add(config["architectures"][0])
        # GPT-2's zero biases are the only numbers that are not ours, but for weightless norms' ones
        ours = sum(v.numel() for k, v in tensors.items() if "bias" not in k and "_norm" not in k)
        assert ours == count_params(spec).total
    assert made == {name.partition("-")[0] for name in ARCHITECTURES}


@pytest.mark.parametrize("own_file", [None, "0" * 64])
def test_a_model_without_a_counterpart_is_exported_as_safetensors_only(tmp_path, bpe, own_file):
    from safetensors.torch import load_file

    mlp = OtherModel(
        architecture=Component(name="mlp"), shape=(("width", 8),), vocab_size=257, n_ctx=4
    )
    weights = build(mlp).state_dict()
    model = dataclasses.replace(mlp, architecture=Component(name="mlp", source_sha256=own_file))
    spec = tiny_spec(model=model)
    run_dir = RunDir(tmp_path / "runs" / spec.run_id)
    write_record(run_dir, dataclasses.replace(record_of(tiny_spec(model=mlp)), spec=spec,
                                              run_id=spec.run_id))  # fmt: skip
    checkpoint.save_weights(run_dir, {"model": weights, "tokenizer": bpe.to_json()})
    with pytest.raises(ConfigError, match=r"mlp has no counterpart in .*--format safetensors"):
        export(run_dir, tmp_path / "out", "hf")
    export(run_dir, tmp_path / "out", "safetensors")
    out = ExportDir(tmp_path / "out")
    tensors = load_file(out.weights)
    assert sorted(tensors) == sorted(weights)
    assert json.loads(out.config.read_text())["shape"] == {"width": 8}


def test_a_refused_export_writes_nothing(tmp_path, bpe):
    run_dir, _ = saved_run(tmp_path, model_of(bpe, position="alibi"), bpe)
    with pytest.raises(ConfigError, match="position is alibi"):
        export(run_dir, tmp_path / "out", "hf")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(ConfigError, match="not an empty folder"):
        export(run_dir, tmp_path / "full", "safetensors")
    damaged = bytearray(run_dir.weights.read_bytes())
    damaged[-1] ^= 1
    run_dir.weights.write_bytes(damaged)
    with pytest.raises(ConfigError, match="does not match its checksum"):
        export(run_dir, tmp_path / "out", "safetensors")
    with pytest.raises(ConfigError, match="no finished run 'other'"):
        export_run(tmp_path, "other", tmp_path / "out", "hf")
    run_dir.weights.unlink()
    with pytest.raises(ConfigError, match="not saved; to train it again and save them: slaw run"):
        export_run(run_dir.path, None, tmp_path / "out", "hf")
    with pytest.raises(ConfigError, match=r"none of its finished runs \(1\) has saved weights"):
        export_run(tmp_path, None, tmp_path / "out", "hf")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["full", "runs"]


@pytest.mark.skipif(
    not PYTHON and importlib.util.find_spec("transformers") is None,
    reason="transformers is not installed; SLAW_TRANSFORMERS_PYTHON may name a Python that has it",
)
@pytest.mark.parametrize("kind", ["bpe", "bytes"])
def test_transformers_computes_the_same_logits_and_ids(tmp_path, bpe, kind):
    tokenizer: Tokenizer = bpe if kind == "bpe" else ByteTokenizer()
    expected = {}
    for name, changes in ARCHITECTURES.items():
        run_dir, gpt = saved_run(tmp_path / name, model_of(tokenizer, **changes), tokenizer)
        out = tmp_path / name / "out"
        export(run_dir, out, "hf")
        generator = torch.Generator().manual_seed(3)
        ids = torch.randint(0, tokenizer.vocab_size, (3, 16), generator=generator)
        with torch.no_grad():
            np.savez(out / "check.npz", ids=ids.numpy(), logits=gpt(ids).numpy())
        texts = {text: tokenizer.encode(text).tolist() for text in TEXT}
        (out / "text.json").write_text(json.dumps(texts))
        expected[str(out)] = (name.partition("-")[0], tokenizer.separator)
    script = Path(__file__).with_name("transformers_check.py")
    done = subprocess.run(
        [PYTHON or sys.executable, str(script), *expected],
        capture_output=True, text=True, check=False, env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    for (architecture, separator), one in zip(expected.values(), results, strict=True):
        assert one["architecture"] == architecture
        assert one["worst"] < 2e-5, one  # logits of about unit variance, in fp32
        assert one["loose"] == [], one
        assert one["misread"] == [], one
        assert one["separator"] == separator


def test_a_weight_that_differs_shows_in_the_logits():
    """The bound above is far below what a wrong epsilon, or one wrong matrix, would make."""
    spec = model_of(ByteTokenizer())
    gpt = GPT(spec, seed=1)
    ids = torch.arange(16)[None]
    before = gpt(ids)
    with torch.no_grad():
        for name in ("attention.qkv", "mlp.out"):
            gpt.get_parameter(f"blocks.0.{name}.weight").mul_(1.001)
    assert (gpt(ids) - before).abs().max() > 2e-4


def _no_weights(state: dict[str, Any]) -> None:
    state["model"] = {}


def _another_shape(state: dict[str, Any]) -> None:
    state["model"]["embedding.weight"] = state["model"]["embedding.weight"][:, :-1].clone()


def _not_a_number(state: dict[str, Any]) -> None:
    state["model"]["embedding.weight"][0, 0] = float("nan")


def _one_missing(state: dict[str, Any]) -> None:
    del state["model"]["embedding.weight"]


def _of_another_run(state: dict[str, Any]) -> None:
    state["run_id"] = "other-0123456789"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_no_weights, "it holds none"),
        (_another_shape, r"'embedding.weight': found \(400, 31\), expected \(400, 32\)"),
        (_not_a_number, "'embedding.weight' holds numbers that are not finite"),
        (_one_missing, "'embedding.weight': found missing, expected"),
        (_of_another_run, "of the run 'other-0123456789', not of 'tiny-"),
    ],
)
def test_weights_that_are_not_the_runs_are_refused_by_name(tmp_path, bpe, spoil, said):
    run_dir, _ = saved_run(tmp_path, model_of(bpe), bpe)
    state = checkpoint.load_checkpoint(run_dir.weights)
    spoil(state)
    checkpoint._write(run_dir.weights, state, lambda: None)
    with pytest.raises(ConfigError, match=said):
        export(run_dir, tmp_path / "out", "safetensors")
    assert not (tmp_path / "out").exists()
