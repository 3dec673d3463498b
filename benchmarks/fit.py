"""Speed and accuracy of our fitter and of others, on one core, in one run.

    python benchmarks/fit.py [--json FILE] [--peer-python N=P] [--peer-path N=F]

CPU seconds after imports (peers in processes of their own), medians where repeated. The 240
points are those of Besiroglu 2024 (arXiv 2404.10102); the objective is the published one, the
sum of Huber losses (delta 1e-3) of log residuals, evaluated by one function for everybody.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peers

os.environ.update(peers.ONE_THREAD)

import numpy as np
import scipy
from scipy.optimize import minimize

import scaling_law
from scaling_law.fit.approaches.parametric import fit_law, problem_of
from scaling_law.fit.laws import load_law
from scaling_law.fit.points.points import FitPoints, points_from_arrays
from scaling_law.fit.result import finite_json
from scaling_law.fit.solver.bootstrap import _pairs
from scaling_law.fit.solver.solve import Objective

ROOT = Path(__file__).resolve().parents[1]
BEST = 1.0182740178e-3
PUBLISHED = {"A": 477.83, "B": 2143.4, "E": 1.81722, "alpha": 0.34731, "beta": 0.36717}
PUBLISHED_ERRORS = {"A": 124.0, "B": 1293.0, "E": 0.0257, "alpha": 0.0154, "beta": 0.0206}
# log A, log B, log E, alpha, beta as Hoffmann 2022 printed them
HOFFMANN = (*np.log([406.4, 410.7, 1.69]).tolist(), 0.34, 0.28)
RESAMPLES, CHECKED = 4000, 200


def cpu(call: Callable[[], Any], repeats: int = 1) -> tuple[float, Any]:
    """Median CPU seconds of ``call`` and its last result."""
    times, result = [], None
    for _ in range(repeats):
        began = time.process_time()
        result = call()
        times.append(time.process_time() - began)
    return statistics.median(times), result


def published_points(folder: Path) -> tuple[peers.Runs, FitPoints]:
    """The 240 points, as columns and as ours."""
    rows = np.genfromtxt(folder / "chinchilla_epoch245.csv", delimiter=",", names=True)
    rows = rows[rows["epoch_excluded"] == 0]
    columns = [rows[name].tolist() for name in ("params", "tokens", "loss")]
    return peers.Runs(*columns), points_from_arrays(*columns)


def objective_of(law: dict[str, float], runs: peers.Runs) -> float:
    """The published objective at A, B, E, alpha, beta."""
    theta = [*np.log([law["A"], law["B"], law["E"]]), law["alpha"], law["beta"]]
    return peers.published_objective(theta, peers.logs_of(runs))


def point_fits(runs: peers.Runs, points: FitPoints, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds and objective of every contender's fit to the 240 points."""
    seconds, fit = cpu(lambda: fit_law(points, "chinchilla"), 7)
    rows = {"ours": _row(seconds, dict(fit.params), runs, f"{fit.n_starts_agreeing} starts agree")}
    for peer in peers.start(options):
        answer = peer.ask(runs, peers.Runs([7e10], [1.4e12], []), options.peer_timeout)
        if set(PUBLISHED) <= answer.law.keys():
            rows[peer.name] = _row(answer.cpu_s, answer.law, runs, answer.note)
        else:
            rows[peer.name] = {"cpu_seconds": answer.cpu_s, "note": answer.note or "no law shown"}
        rows[peer.name]["version"] = peer.version
        peer.close()
    print(f"\n{'240 points':<22}{'CPU s':>9}{'v ours':>9}{'objective':>17}{'excess':>10}")
    for name, row in rows.items():
        ratio = row["cpu_seconds"] / seconds
        tail = f"{row['objective']:>17.10e}{row['excess']:>10.1e}" if "objective" in row else ""
        print(f"{name:<22}{row['cpu_seconds']:>9.2f}{ratio:>9.0f}{tail}  {row['note']}")
    return rows


def _row(seconds: float, law: dict[str, float], runs: peers.Runs, note: str) -> dict[str, Any]:
    value = objective_of(law, runs)
    return {
        "cpu_seconds": seconds, "objective": value, "excess": value / BEST - 1,
        "law": law, "note": note,
    }  # fmt: skip


def bootstraps(runs: peers.Runs, points: FitPoints, options: argparse.Namespace) -> dict[str, Any]:
    """4,000 resamples: ours against one SciPy BFGS call a resample, and each one's optimum.

    BFGS starts where the published replication starts it, from the parameters Hoffmann printed,
    with numeric gradients (the replication's come from autograd, which takes a little longer).
    """
    seconds, fit = cpu(lambda: fit_law(points, "chinchilla", resamples=RESAMPLES))
    generator = np.random.default_rng(0)
    began = time.process_time()
    for _ in range(options.bfgs_resamples):
        rows = generator.integers(0, len(points), len(points))
        logs = tuple(column[rows] for column in peers.logs_of(runs))
        minimize(peers.published_objective, HOFFMANN, args=(logs,), method="BFGS")
    bfgs = (time.process_time() - began) / options.bfgs_resamples * RESAMPLES
    share = optimal_share(points)
    errors = dict(zip(fit.params, np.std(np.array(fit.samples), axis=0).tolist(), strict=True))
    print(
        f"\n{RESAMPLES} resamples: ours {seconds:.2f} CPU s, BFGS {bfgs:.0f} (from"
        f" {options.bfgs_resamples}): {bfgs / seconds:.0f}x; {100 * share:.1f}% of {CHECKED}"
        " resamples within 1e-6 of a multi-start's optimum"
    )
    print(f"{'':<8}{'optimum':>12}{'published':>12}{'std. error':>12}{'published':>12}")
    for name, value in PUBLISHED.items():
        print(
            f"{name:<8}{fit.params[name]:>12.6g}{value:>12.6g}{errors[name]:>12.4g}"
            f"{PUBLISHED_ERRORS[name]:>12.4g}"
        )
    return {
        "cpu_seconds": seconds, "bfgs_cpu_seconds": bfgs, "ratio": bfgs / seconds,
        "optimal_share": share, "standard_errors": errors,
    }  # fmt: skip


def optimal_share(points: FitPoints) -> float:
    """Share of resamples, solved from the full optimum, that no multi-start beats by 1e-6."""
    problem = problem_of(load_law("chinchilla"), points, Objective())
    starts = problem.starts()
    solution = problem.solve(starts)
    optimum = solution.internal[int(solution.objective.argmin())]
    generator = np.random.default_rng(1)
    weights, targets = _pairs(problem, optimum, points, CHECKED, generator)
    mine = problem.solve(np.tile(optimum, (CHECKED, 1)), weights, targets).objective
    good = 0
    for row in range(CHECKED):
        each = np.repeat(weights[row : row + 1], len(starts), axis=0)
        best = problem.solve(starts, each).objective.min()
        good += mine[row] <= best * (1 + 1e-6)
    return good / CHECKED


def rows_cost(seconds: float) -> dict[str, float]:
    """CPU seconds of a fit to 10,000 planted rows, over those of 240."""
    generator = np.random.default_rng(0)
    params = np.exp(generator.uniform(np.log(5e7), np.log(1.6e10), 10_000))
    tokens = np.exp(generator.uniform(np.log(8e8), np.log(3e11), 10_000))
    losses = peers.surface(PUBLISHED, params, tokens)
    losses = losses * np.exp(0.005 * generator.standard_normal(10_000))
    points = points_from_arrays(params, tokens, losses)
    large, _ = cpu(lambda: fit_law(points, "chinchilla"), 3)
    print(f"\n10,000 rows: {large:.2f} CPU s, {large / seconds:.0f}x the 240 points")
    return {"cpu_seconds": large, "ratio": large / seconds}


def commands(repeats: int) -> dict[str, dict[str, float]]:
    """CPU seconds and peak memory of whole commands, in fresh processes: medians."""
    sys.path.insert(0, str(ROOT))
    from tests.fakes import planted_sweep

    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        count = planted_sweep(folder / "planted")
        _table(folder / "nine.csv", *np.meshgrid([1e6, 1e7, 1e8], [1e8, 1e9, 1e10]))
        generator = np.random.default_rng(1)
        _table(
            folder / "many.csv", *(10 ** generator.uniform([[6], [8]], [[10], [12]], (2, 10_000)))
        )
        quick = str(folder / "quick")
        shutil.copytree(ROOT / "results" / "reference" / "quick-cpu", quick)
        for words, times in (
            (["fit", str(ROOT / "tests" / "published" / "chinchilla240.csv")], repeats),
            (["fit", str(folder / "nine.csv")], repeats),
            (["fit", str(folder / "planted")], repeats),
            (["fit", quick], repeats),
            (["extrapolate", "--results", quick, "--params", "10x"], repeats),
            (["allocate", "--results", quick, "--flops", "1e15"], repeats),
            (["report", quick], repeats),
            (["fit", str(folder / "many.csv")], 1),
        ):
            spent = [_spent(words) for _ in range(times)]
            label = " ".join(words).replace(f"{folder}/", "").replace(f"{ROOT}/", "")
            label = label.replace("fit planted", f"fit, {count} records")
            seconds = statistics.median(cpu_s for cpu_s, _ in spent)
            memory = max(peak for _, peak in spent)
            results[label] = {"cpu_seconds": seconds, "peak_bytes": memory}
            print(f"slaw {label:<52}{seconds:>7.2f} CPU s{memory / 1e6:>7.0f} MB", flush=True)
    return results


def _table(path: Path, params: Any, tokens: Any) -> None:
    """A table of runs on a planted surface."""
    n, d = np.ravel(params), np.ravel(tokens)
    noise = np.exp(0.003 * np.random.default_rng(0).standard_normal(len(n)))
    rows = np.stack([n, d, peers.surface(PUBLISHED, n, d) * noise], axis=1)
    np.savetxt(path, rows, "%.8g", ",", header="params,tokens,loss", comments="")


def _spent(words: list[str]) -> tuple[float, int]:
    """CPU seconds and peak bytes of a command in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "scaling_law.cli", *words], stdout=subprocess.DEVNULL, cwd=ROOT
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"slaw {' '.join(words)}: exit code {process.returncode}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def _processor() -> str:
    """The processor's name where Linux tells it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def main() -> None:
    """Run everything and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--bfgs-resamples", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3, help="of each whole command")
    parser.add_argument("--commands", action="store_true", help="only the whole commands")
    peers.add_options(parser)
    options = parser.parse_args()
    if options.commands:
        commands(options.repeats)
        return
    if not options.data.is_dir():
        raise SystemExit(f"{options.data}: no tables there; give --data DIR")
    runs, points = published_points(options.data)
    results: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "machine": f"{_processor()}, one of {os.cpu_count()} cores",
        "versions": {
            "python": platform.python_version(), "numpy": np.__version__,
            "scipy": scipy.__version__, "scaling_law": scaling_law.__version__,
        },
    }  # fmt: skip
    print(
        ", ".join(
            (results["date"], results["machine"], *map(" ".join, results["versions"].items()))
        )
    )
    results["point_fit"] = point_fits(runs, points, options)
    results["bootstrap"] = bootstraps(runs, points, options)
    results["rows"] = rows_cost(results["point_fit"]["ours"]["cpu_seconds"])
    results["commands"] = commands(options.repeats)
    if options.json:
        options.json.write_text(json.dumps(finite_json(results), indent=1) + "\n")


if __name__ == "__main__":
    main()
