"""Runs whose objective reads the losses of another run's final model, by the command line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from scaling_law.cli.main import main
from scaling_law.errors import EXIT_OK, EXIT_USAGE
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import load_records
from scaling_law.plan.device_profile import save_profile
from tests.fakes import cpu_profile, write_text
from tests.run.test_stages import ENGINE

BASE = """
name: base
data:
  sources: {code: {corpus: code}, web: {corpus: web}}
  tokenizer: bytes
  vocab_size: 257
  val_fraction: 0.2
  max_epochs: 50
  mix: natural
model: {n_ctx: 16}
grid:
  - {sizes: [{n_layer: 1, d_model: 8, n_head: 2}], tokens: [1280]}
optim: {rule: slaw_small, lr: 1e-3, batch_tokens: 64, warmup_tokens: 64}
eval: {val_tokens: 512, curve_tokens: 256, curve_points: 2}
precision: fp32
keep_weights: all
engine: inline_engine.py
"""
PROXY = BASE.replace("name: base", "name: proxy") + "objective: group_dro\n"
TOKENS = "tokens: [1280]"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a finished run, ``base``."""
    place = tmp_path_factory.mktemp("references")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("SLAW_CACHE", str(place / "cache"))
        save_profile(cpu_profile(), "auto")
        for name, words in (("code", 30), ("web", 60)):
            write_text(place / name, words)
        shutil.copy(ENGINE, place)
        (place / "base.yaml").write_text(BASE)
        assert main(["run", "base.yaml", "--device", "cpu"]) == EXIT_OK
    return place


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SLAW_CACHE", str(folder / "cache"))
    return folder


def base() -> str:
    (record,) = load_records(SweepDir(Path("results/base")))
    return f"results/base/runs/{record.run_id}"


def with_reference(text: str) -> str:
    return text.replace(TOKENS, f"{TOKENS}, reference: {{run: {base()}}}")


ONE_SOURCE = ("{code: {corpus: code}, web: {corpus: web}}", "{code: {corpus: code}}")
BYTES = ("tokenizer: bytes\n  vocab_size: 257", "tokenizer: bpe\n  vocab_size: 300")


@pytest.mark.parametrize(
    ("replaced", "reads", "says"),
    [
        (("mix: natural", ""), True, "weighs the components of a mixture, and the config has none"),
        (("", ""), False, "group_dro reads the losses of another run's final model; expected"),
        (("objective: group_dro", ""), True, "objective next_token reads no other run; leave"),
        (ONE_SOURCE, True, "data.corpus code+web, and this config has code; losses on the same"),
        (BYTES, True, "data.tokenizer bytes, and this config has bpe; losses on the same tokens"),
        (("d_model: 8", "d_model: 16"), True, "another model than 1x16-3.12k: found d_ff 32"),
        (("objective: group_dro", "objective: {name: group_dro, smoothing: 2}"), True, "smoothing"),
    ],
)
def test_a_reference_that_does_not_fit_is_one_line(here, capsys, replaced, reads, says):
    text = with_reference(PROXY) if reads else PROXY
    (here / "proxy.yaml").write_text(text.replace(*replaced) if replaced[0] else text)
    assert main(["run", "proxy.yaml", "--device", "cpu"]) == EXIT_USAGE
    err = capsys.readouterr().err
    assert says in err and "proxy.yaml:" in err and len(err.strip().splitlines()) == 1
    assert not Path("results/proxy").exists()


@pytest.mark.slow
def test_a_reference_of_another_sweep_is_copied_and_checked_again(here, capsys):
    (here / "proxy.yaml").write_text(with_reference(PROXY))
    line = ["run", "proxy.yaml", "--device", "cpu"]
    assert main([*line, "--dry-run"]) == EXIT_OK
    assert "objective group_dro" in capsys.readouterr().out
    assert not Path("results/proxy").exists()
    assert main(line) == EXIT_OK
    (record,) = load_records(SweepDir(Path("results/proxy")))
    assert record.spec.reference is not None and record.spec.reference.run_id == Path(base()).name
    assert main(["run", "results/proxy", "--verify", record.run_id]) == EXIT_OK
    # the other sweep is not needed any more
    Path("results/base").rename("results/away")
    try:
        shutil.rmtree(f"results/proxy/runs/{record.run_id}")
        assert main(line) == EXIT_OK
        (again,) = load_records(SweepDir(Path("results/proxy")))
    finally:
        Path("results/away").rename("results/base")
    assert again.metrics == record.metrics
