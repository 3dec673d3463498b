"""The main job end to end on real text, at a fifth of its size: minutes, so marked slow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SMALLER = ("--set", "grid.0.flops_ladder.tokens_near=60K", "--set")
LADDER = "grid.0.flops_ladder.base_flops=1.308e10"


def slaw(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scaling_law.cli", *words],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@pytest.mark.slow
def test_quick_mode_runs_end_to_end_on_the_installed_corpus(tmp_path, monkeypatch):
    monkeypatch.setenv("SLAW_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    ran = slaw("run", "--mode", "quick", "--device", "cpu", *SMALLER, LADDER)
    assert "40 of 40 runs done" in ran.stdout
    fit = json.loads(slaw("fit", "results/", "--json").stdout)
    assert (fit["points"], fit["trunks"]) == (32, 8)
    assert len(fit["dropped"]) == 8
    best = fit["laws"][fit["best_law"]]
    assert best["status"] == "converged"
    assert best["starts_agreeing"] > 0.5 * best["starts"]
    forecast = json.loads(slaw("extrapolate", "--params", "175e9", "--json").stdout)
    assert forecast["low_nats"] < forecast["loss_nats"] < forecast["high_nats"]
    assert forecast["beyond_data"]["params"] > 1e5
    assert forecast["refused"]
    slaw("report", "results/quick")
    page = Path("results/quick/report.html").read_text()
    assert "Scaling law of the sweep" in page
    assert len(list(Path("results/quick/figures").glob("*.png"))) == 9
