"""The benchmarks that read folders of other people's data, on small planted ones."""

from __future__ import annotations

import csv
import importlib.util
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]


def benchmark(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        f"benchmark_{name}", ROOT / f"benchmarks/{name}.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    before = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


def write_rows(path: Path, rows: Sequence[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_discovery_answers_the_tasks_whose_variables_its_laws_have(tmp_path, capsys, monkeypatch):
    discovery = benchmark("discovery")
    sizes = np.geomspace(200, 819200, 13)
    tuned = [
        {"group": group, "sft_data_size": x, "sft_loss": floor + 9 * x**-0.3}
        for group, floor in (("a", 1.0), ("b", 2.0))
        for x in sizes
    ]
    limit = sizes[-1]
    for split in ("train", "test"):
        rows = [row for row in tuned if (row["sft_data_size"] == limit) == (split == "test")]
        write_rows(tmp_path / "sft_scaling_law" / f"{split}-00000-of-00001.csv", rows)
    repeated = [
        {"group": "all", "unique_tokens": 1e9, "params": n, "tokens": d, "loss": 2 + 60 * n**-0.3}
        for n in (1e7, 1e8, 1e9)
        for d in (1e8, 1e9, 1e10)
    ]
    foreign = {"group": "all", "num_experts": 4, "dense_parameter_count": 1e8, "loss": 3.0}
    below = {"group": "all", "log_flops": 0.5, "brier_score": -0.4}
    several = {"group": "all", "tokens": 1e9, "loss_domain_1": 3.0, "loss_domain_2": 2.0}
    for task, row in (("moe", foreign), ("easy", below), ("mixture", several)):
        for split in ("train", "test"):
            write_rows(tmp_path / f"{task}_scaling_law" / f"{split}.jsonl", [row])
    monkeypatch.setattr(sys, "argv", ["discovery.py", str(tmp_path), "--json", str(tmp_path / "o")])
    discovery.main()
    said = capsys.readouterr().out
    assert "no law here has num_experts, dense_parameter_count" in said
    assert "brier_score is not above 0 everywhere" in said
    assert "2 columns to predict" in said
    assert "1 of 4 tasks attempted" in said
    first, second = (one for one in json.loads((tmp_path / "o").read_text()) if one["groups"])
    assert (first["law"], first["train"], first["test"]) == ("saturating:tokens", 24, 2)
    assert first["r2"] > 0.9999 > second["r2"]
    # a corpus may hold more than a run reads; where no run reads more, the columns are swapped
    points = discovery.points_of(repeated)
    assert points.tokens_unique.tolist() == [min(row["tokens"], 1e9) for row in repeated]
    assert not discovery.is_swapped(repeated)
    swapped = [{**row, "unique_tokens": 4 * row["tokens"]} for row in repeated]
    assert discovery.is_swapped(swapped)
    points = discovery.points_of(swapped, swapped=True)
    assert (points.tokens / points.tokens_unique).tolist() == [4.0] * len(swapped)


@pytest.mark.parametrize("content", [None, "train.jsonl"])
def test_discovery_refuses_a_folder_without_tasks(content, tmp_path, monkeypatch):
    if content is not None:
        (tmp_path / content).write_text("{}")
    monkeypatch.setattr(sys, "argv", ["discovery.py", str(tmp_path)])
    with pytest.raises(SystemExit, match="no task there; expected TASK/train"):
        benchmark("discovery").main()


def test_decisions_tell_planted_recipes_apart_where_their_order_changes_with_scale(
    tmp_path, capsys, monkeypatch
):
    decisions = benchmark("decisions")
    # "late" is worse where runs are small and better at scale; "bad" is worse everywhere
    surfaces = {"plain": (2.0, 400.0), "late": (1.7, 525.0), "bad": (2.3, 420.0)}
    rows = [
        {
            "mix": name,
            "params": f"{n:.6g}",
            "tokens": f"{n * ratio:.6g}",
            "loss": floor + scale * n**-0.34 + 200 * (n * ratio) ** -0.3,
        }
        for name, (floor, scale) in surfaces.items()
        for n in np.geomspace(1e6, 1e9, 8)
        for ratio in (10, 20, 40)
    ]
    path = tmp_path / "mixes.csv"
    write_rows(path, rows)
    argv = ["decisions.py", str(path), "--recipe", "mix", "--json", str(tmp_path / "out.json")]
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(decisions, "SHARES", (0.1, 1e-3))
    monkeypatch.setattr(decisions, "score_laws", lambda points, objective: ([], {}))  # Chinchilla's
    decisions.main()
    assert "3 recipes by mix" in capsys.readouterr().out
    made = json.loads((tmp_path / "out.json").read_text())["mixes.csv"]
    figures = {row["share"]: row for row in made}
    small = figures[1e-3]
    assert small["chinchilla"] == 1.0 == small["law by rollouts"]
    assert 0.3 <= small["largest small run"] < 1.0
    assert figures[0.1]["largest small run"] >= small["largest small run"]
    assert small["spent"] < figures[0.1]["spent"]
    assert math.isclose(small["pairs"], figures[0.1]["pairs"])


def test_decisions_ask_for_the_recipes_column_of_a_table(tmp_path, monkeypatch):
    (tmp_path / "t.csv").write_text("params,tokens,loss\n1e6,1e7,3\n")
    monkeypatch.setattr(sys, "argv", ["decisions.py", str(tmp_path / "t.csv")])
    with pytest.raises(SystemExit, match="name the recipe's column with --recipe"):
        benchmark("decisions").main()


def test_a_sweep_on_a_virtual_cluster_does_nothing_twice_and_fills_its_slots(tmp_path):
    figures = benchmark("engines").simulate(tmp_path, trunks=20, slots=8, seed=0)
    makespan = float(figures.partition(" h, ")[2].partition(" x")[0])
    assert 0.99 <= makespan <= 1.1 and " 0 runs done twice" in figures
