"""`slaw run` end to end, as a user runs it: planned, killed, resumed, finished."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scaling_law.cli.main import main
from scaling_law.plan.device_profile import save_profile
from tests.fakes import cpu_profile

SWEEP = """
name: road
data: {corpus: text, tokenizer: bytes, vocab_size: 257, val_fraction: 0.2, max_epochs: 50}
model: {n_ctx: 16}
grid:
  - sizes: [{n_layer: 1, d_model: 8, n_head: 2}, {n_layer: 1, d_model: 16, n_head: 2}]
    tokens: [4k, 8k, 16k]
optim: {rule: slaw_small, lr: 0.01, batch_tokens: 32}
eval: {val_tokens: 512, curve_tokens: 256, curve_points: 8}
precision: fp32
limits: {time: 1h}
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with text, a config and a measured device, as after the first command."""
    import importlib.metadata

    (tmp_path / "text").mkdir()
    for index in range(60):
        words = " ".join(f"w{(index * 7 + k * k) % 97} is {k % 13}." for k in range(60))
        (tmp_path / "text" / f"{index}.txt").write_text(words)
    (tmp_path / "road.yaml").write_text(SWEEP)
    monkeypatch.setenv("SLAW_CACHE", str(tmp_path / "cache"))
    version = importlib.metadata.version("torch")
    save_profile(cpu_profile(torch_version=version), "cpu")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "scaling_law.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )


def slaw(*words: str) -> tuple[int, str, str]:
    process = start(*words)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def loaded_by(*words: str) -> tuple[str, str]:
    """What a command prints, and which heavy libraries its process has loaded by the end."""
    code = (
        f"import sys; from scaling_law.cli.main import main; main({list(words)!r})\n"
        "print(sorted({'torch', 'scipy', 'matplotlib'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout, done.stderr.strip()


def test_a_dry_run_loads_no_torch_and_writes_nothing(place):
    slaw("data", "prepare", "road.yaml")
    assert loaded_by("plan", "road.yaml", "--device", "cpu")[1].endswith("[]")
    out, loaded = loaded_by("run", "road.yaml", "--device", "cpu", "--dry-run")
    assert loaded.endswith("[]")
    assert "branching saves" in out
    assert not Path("results").exists()


def test_status_loads_no_torch():
    reference = Path(__file__).parents[1] / "results" / "reference" / "quick-cpu"
    out, loaded = loaded_by("status", str(reference))
    assert loaded == "[]"
    assert "40 done" in out


@pytest.mark.slow
def test_plan_and_status_work_before_and_after_a_sweep(place):
    code, out, err = slaw("run", "road.yaml", "--device", "cpu", "--dry-run")
    assert code == 0, err
    assert "branching saves" in out
    assert not Path("results").exists()
    slaw("run", "road.yaml", "--device", "cpu")
    code, out, _ = slaw("status", "results/road", "--json")
    status = json.loads(out)[0]
    assert code == 0
    assert status["counts"] == {"done": 8}
    assert status["flops_done_frac"] == pytest.approx(1.0)


BAD = {
    "unknown key": (["--set", "optim.lr_rate=1"], "optim.lr_rate: unknown key"),
    "wrong type": (["--set", "model.n_ctx=many"], "model.n_ctx"),
    "heads": (["--set", "grid.0.sizes.0.n_head=3"], "n_head 3"),
    "too short": (["--set", "grid.0.tokens.0=3"], "grid.0.tokens"),
    "too long": (["--set", "grid.0.tokens.0=1e12"], "epochs"),
    "no corpus": (["--set", "data.corpus=nowhere/at/all"], "nowhere/at/all"),
    "no such config": (["--mode", "slow"], "--mode 'slow': expected one of tour, quick, dev, full"),
    "no file": (["missing.yaml"], "missing.yaml"),
    "unwritable": (["--out", "/proc/slaw"], "/proc/slaw: cannot be written"),
    "no cuda": (["--device", "cuda"], "device 'cuda' was requested"),
    "bad time": (["--time", "soon"], "soon"),
    "bad memory": (["--memory", "lots"], "lots"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_clear_line_and_leaves_nothing(place, name, capsys):
    words, said = BAD[name]
    config = [] if name in ("no such config", "no file") else ["road.yaml"]
    device = [] if "--device" in words else ["--device", "cpu"]
    try:
        code = main(["run", *config, *words, *device])
    except SystemExit as ended:  # argparse
        assert isinstance(ended.code, int)
        code = ended.code
    out, err = capsys.readouterr()
    assert code == 2, err
    lines = [line for line in err.splitlines() if line.startswith("slaw: ")]
    assert lines, err
    assert all(said in line for line in lines)  # one line, or one for each size it concerns
    assert "Traceback" not in err
    assert out == ""
    assert not Path("results").exists(), "something was half-written"


def test_an_empty_corpus_and_a_folder_without_records_are_refused(place):
    for path in Path("text").iterdir():
        path.write_text("")
    code, _, err = slaw("run", "road.yaml", "--device", "cpu")
    assert code == 2
    assert "text" in err.splitlines()[-1]
    code, _, err = slaw("status", "text")
    assert code == 2
    assert "holds no run records" in err
