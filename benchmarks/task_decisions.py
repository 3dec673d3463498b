"""Decision accuracy on tasks: which of three texts is better at 6.9B, seen from smaller runs.

    python benchmarks/task_decisions.py FOLDER

FOLDER is ``exp_data`` of the repository of Gadre 2024 (arXiv 2403.08540):
104 runs on C4, RedPajama and RefinedWeb, each with its loss and 46 tasks. Of each smaller size, the
share of pairs of texts that it puts in the order of the largest size is averaged over the 46 tasks,
over those in which the largest size is clearly better than the smallest, and over their mean.
DataDecide (Magnusson 2025, arXiv 2504.11393), with 25 texts and ten tasks, has about .80 from 150M
to 1B parameters, at 1.9% of the compute.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
from pathlib import Path
from statistics import fmean
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scaling_law import text_columns  # noqa: E402  (this checkout's)
from scaling_law.forecast.downstream.measured import Reading, read_measured  # noqa: E402
from scaling_law.forecast.downstream.ranking import Ranking, rank  # noqa: E402

MEAN = "mean of those"
GAINED = 0.1  # of accuracy, from the smallest to the largest size


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """A row a run: its size, text, loss on OpenLM's validation split, and accuracy of each task."""
    rows = []
    for path in sorted((folder / "models").glob("*.json")):
        model = json.loads(path.read_text())
        name, settings = model["name"], model["hyperparameters"]
        scores = json.loads((folder / "evals" / f"evaluation_{name}_heavy.json").read_text())
        losses = {str(one.get("val_data")): one["loss"] for one in model["results"]}
        rows.append(
            {
                "run_id": name,
                "recipe": model["dataset_name"],
                "size": name.removeprefix(f"{model['dataset_name']}-").rpartition("-")[0],
                "params": settings["params"],
                "tokens": settings["tokens"],
                "loss": next(loss for data, loss in losses.items() if "/openlm/" in data),
                **scores["eval_metrics"]["icl"],
            }
        )
    return rows


def gain(rows: list[dict[str, Any]], task: str) -> float:
    """What a task's accuracy gains from the smallest to the largest size."""
    sizes = sorted({row["params"] for row in rows})
    small, large = (fmean(r[task] for r in rows if r["params"] == n) for n in (sizes[0], sizes[-1]))
    return large - small


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    folder = parser.parse_args().folder
    if not (folder / "models").is_dir():
        print(f"{folder}: no folder models there: see the top of this file")
        return 2
    rows = rows_of(folder)
    tasks = [name for name in rows[0] if name not in
             ("run_id", "recipe", "size", "params", "tokens", "loss")]  # fmt: skip
    telling = [task for task in tasks if gain(rows, task) > GAINED]
    for row in rows:
        row[MEAN] = fmean(row[task] for task in telling)
    rankings: dict[str, Ranking] = {}
    with tempfile.TemporaryDirectory() as place:
        table = Path(place, "runs.csv")
        with table.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        for task in (*tasks, MEAN):
            rankings[task] = rank(read_measured(table, Reading(metric=task, by=("recipe",))))
    head = ("size", "tokens", "compute", f"{len(tasks)} tasks", f"{len(telling)} that gain",
            MEAN, "by the loss")  # fmt: skip
    body = []
    for place_, decision in enumerate(rankings[MEAN].decisions):
        at = {task: one.decisions[place_] for task, one in rankings.items()}
        body.append(
            (
                decision.size,
                f"{decision.tokens:.3g}",
                f"{decision.compute_share:.2%}",
                f"{fmean(at[task].by_metric[0] for task in tasks):.2f}",
                f"{fmean(at[task].by_metric[0] for task in telling):.2f}",
                f"{at[MEAN].by_metric[0]:.2f}",
                f"{fmean(at[task].by_loss[0] for task in telling):.2f}",
            )
        )
    order = ", ".join(f"{name} {value:.3f}" for name, value in rankings[MEAN].recipes)
    print(f"largest: {rankings[MEAN].size}; {MEAN}: {order}")
    print("\n".join(text_columns.left([head, *body])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
