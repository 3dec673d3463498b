"""A small grid twice: trunks and branches as shipped, and every point trained from scratch.

    python benchmarks/sweep.py [--keep DIR] [--json FILE] [--lr-mults 0.5,0.7,1.4,2]

Both are `slaw run` of the quick sweep's CPU recipe on a smaller grid. The from-scratch sweep is
planned one horizon at a time, as if that horizon were the only one, so a rule is free to choose
another learning rate, batch or warm-up for it; then all points are packed as one sweep. Where the
rule chooses the same, the losses must be the same to the last bit. Seconds are the command's
wall clock; CPU seconds (workers and all) are beside them, for a machine is seldom idle.

The sweep is then repeated at multiples of the rule's learning rate. As a branch is the straight
run, bit for bit, that also says what each horizon would have reached with a learning rate of its
own, and so what sharing one costs. Differences are of log loss, in units of seed noise.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import math
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scaling_law.config.written import config_yaml
from scaling_law.data.prepare import prepare
from scaling_law.files import layout
from scaling_law.files.layout import SweepDir
from scaling_law.files.record import RunRecord, load_records
from scaling_law.fit.result import finite_json
from scaling_law.fit.session import fit_sources
from scaling_law.fit.suite import FitSettings, FitSuite
from scaling_law.run.planning import plan_only
from scaling_law.run.request import Request
from scaling_law.spec.architectures.gpt import MODEL_SCALES
from scaling_law.spec.to_json import to_json

SIZES = ("nano14k", "nano25k", "nano55k", "nano98k")
REPEATED, SEEDS = "nano25k", (0, 1, 2)
MULTIPLES = (1, 2, 4, 8)
LAWS = ("chinchilla", "coupled")
TARGETS = {"flops": 0.65, "seconds": 0.70, "packing": 1.1}

Point = tuple[str, str, int]
"""Size, seed and tokens of an annealed run."""


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A finished sweep, and what its command took: wall and CPU seconds."""

    folder: Path
    records: tuple[RunRecord, ...]
    seconds: float
    cpu_seconds: float

    @property
    def points(self) -> dict[Point, RunRecord]:
        """The annealed runs."""
        sweeps = {}
        for record in self.records:
            tags = dict(record.spec.tags)
            if record.kind != "trunk":
                sweeps[tags["size"], tags["seed"], record.tokens] = record
        return sweeps

    @property
    def run_seconds(self) -> float:
        """The runs' own seconds, added up."""
        return sum(record.seconds for record in self.records)

    @property
    def flops(self) -> float:
        """Exact FLOPs spent."""
        return sum(record.flops_spent for record in self.records)

    def packing(self, slots: int) -> float:
        """The command's seconds over the runs' own, spread evenly over the slots."""
        return self.seconds / (self.run_seconds / slots)


def overrides(base_tokens: int, multiples: Sequence[int], lr_mult: float = 1) -> tuple[str, ...]:
    """The ``--set`` texts of a sweep with these horizons."""
    tokens = ", ".join(str(base_tokens * multiple) for multiple in multiples)
    seeds = f"{{{REPEATED}: {list(SEEDS)}}}"
    grid = f"grid=[{{sizes: [{', '.join(SIZES)}], tokens: [{tokens}], seeds: {seeds}}}]"
    return (grid, f"optim.lr_mult={lr_mult:g}")


def request_for(sets: tuple[str, ...]) -> Request:
    """The quick sweep on a CPU with ``sets``."""
    return Request(config="quick", device="cpu", overrides=sets)


def run(folder: Path, sets: tuple[str, ...]) -> Sweep:
    """``slaw run`` to ``folder``, or what it gave there before (``--keep``)."""
    times = folder / "times.json"
    if not times.is_file():
        if SweepDir(folder).runs.exists():
            raise SystemExit(f"{folder}: interrupted; remove it, for its times would be too short")
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        command = [
            sys.executable,
            "-m",
            "scaling_law.cli",
            "run",
            "quick",
            "--device",
            "cpu",
        ]
        command += [word for text in sets for word in ("--set", text)]
        subprocess.run([*command, "--out", str(folder)], check=True, stdout=subprocess.DEVNULL)
        wall = time.monotonic() - began
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        layout.write_json(times, {"seconds": wall, "cpu_seconds": cpu})
    taken = layout.read_json(times)
    return Sweep(folder, tuple(load_records(SweepDir(folder))), **taken)


def run_from_scratch(folder: Path, base_tokens: int) -> Sweep:
    """Every point a run of its own, planned as the only horizon of its size.

    A grid with one horizon has no trunks, but four such sweeps one after the other would each
    wait for their last run. So their runs are written down as one sweep's plan, which
    ``slaw run`` takes up as one it began earlier.
    """
    each = [overrides(base_tokens, [multiple]) for multiple in MULTIPLES]
    plans = [plan_only(request_for(sets), lambda line: None) for sets in each]
    config, plan = plans[0]
    sweep = SweepDir(folder)
    if not sweep.plan.is_file():
        runs = tuple(run for _, other in plans for run in other.runs)
        assert all(run.spec.kind == "single" for run in runs)
        layout.write_json(sweep.plan, dataclasses.replace(plan, runs=runs).to_json())
        layout.atomic_write(sweep.config, config_yaml(config))
    return run(folder, each[0])


def cost(shared: Sweep, scratch: Sweep, slots: int) -> dict[str, Any]:
    """FLOPs and times of both, their ratios, and how well each was packed."""
    rows: dict[str, Any] = {}
    for name, sweep in (("shared", shared), ("from scratch", scratch)):
        rows[name] = {
            "runs": len(sweep.records), "points": len(sweep.points), "flops": sweep.flops,
            "seconds": sweep.seconds, "run_seconds": sweep.run_seconds,
            "cpu_seconds": sweep.cpu_seconds, "packing": sweep.packing(slots),
            "cores_had": sweep.cpu_seconds / sweep.seconds,
        }  # fmt: skip
    ours, theirs = rows["shared"], rows["from scratch"]
    keys = ("flops", "seconds", "run_seconds", "cpu_seconds")
    rows["ratio"] = {key: ours[key] / theirs[key] for key in keys}
    head = ("runs", "FLOPs", "wall s", "runs' s", "CPU s", "packing", "cores used")
    print(f"\n{'':<14}" + "".join(f"{h:>11}" for h in head))
    for name in ("shared", "from scratch"):
        row = rows[name]
        print(
            f"{name:<14}{row['runs']:>11}{row['flops']:>11.3g}{row['seconds']:>11.0f}"
            f"{row['run_seconds']:>11.0f}{row['cpu_seconds']:>11.0f}{row['packing']:>11.2f}"
            f"{row['cores_had']:>11.2f}"
        )
    print(f"{'ratio':<25}" + "".join(f"{rows['ratio'][key]:>11.3f}" for key in keys))
    print("at most: FLOPs {flops}, wall {seconds}, packing {packing}".format(**TARGETS))
    return rows


def recipe(record: RunRecord) -> Any:
    """What decides a point's loss, whether or not it was branched."""
    return dataclasses.replace(record.spec, label="any", tags=(), branch=None)


def losses(shared: Sweep, scratch: Sweep, noise_log: float) -> dict[str, Any]:
    """From-scratch log losses less the shared ones, by horizon; who must be equal, and is."""
    ours, theirs = shared.points, scratch.points
    assert ours.keys() == theirs.keys()
    same = [point for point in ours if recipe(ours[point]) == recipe(theirs[point])]
    equal = [point for point in same if ours[point].val_loss_nats == theirs[point].val_loss_nats]
    changed = sorted({name for p in ours for name in _changes(ours[p], theirs[p])})
    by_tokens = defaultdict(list)
    for point in sorted(ours.keys() - set(same)):
        by_tokens[point[2]].append(log_loss(theirs[point]) - log_loss(ours[point]))
    print(
        f"\nsame recipe alone as shared: {len(same)} of {len(ours)} points; losses equal to the"
        f" last bit: {len(equal)} of {len(same)}\nthe others differ in: {', '.join(changed) or '-'}"
    )
    print(f"seed noise {100 * noise_log:.2f}% of loss; from scratch less shared, in units of it:")
    rows = {}
    for tokens, group in sorted(by_tokens.items()):
        units = [value / noise_log for value in group]
        rows[tokens] = {
            "points": len(units), "mean": statistics.mean(units),
            "rms": math.sqrt(statistics.mean([u * u for u in units])),
            "largest": max(units, key=abs),
        }  # fmt: skip
        print(
            f"  {tokens:>9,} tokens, {len(units)} points: mean {rows[tokens]['mean']:+.2f},"
            f" rms {rows[tokens]['rms']:.2f}, largest {rows[tokens]['largest']:+.2f}"
        )
    return {
        "same_recipe": len(same), "equal": len(equal), "points": len(ours),
        "differ_in": changed, "seed_noise_log": noise_log, "by_tokens": rows,
    }  # fmt: skip


def _changes(ours: RunRecord, theirs: RunRecord) -> list[str]:
    one, other = to_json(recipe(ours)), to_json(recipe(theirs))
    changes = []
    for name in ("schedule", "optim"):
        changes += [f"{name}.{key}" for key in one[name] if one[name][key] != other[name][key]]
    return changes + (["batch_tokens"] if one["batch_tokens"] != other["batch_tokens"] else [])


def log_loss(record: RunRecord) -> float:
    """Its logarithm; a sweep with a diverged run is not one to compare."""
    assert record.val_loss_nats is not None, f"{record.run_id} diverged"
    return math.log(record.val_loss_nats)


def exponents(fits: dict[str, FitSuite]) -> dict[str, Any]:
    """alpha, beta and a under every suite; is each in the first's interval, the first in its?"""
    rows: dict[str, Any] = {}
    print(f"\n{'exponents':<18}" + "".join(f"{name:>24}" for name in fits))
    for law in LAWS:
        for key in ("alpha", "beta", "a"):
            intervals = [_exponent(suite, law, key) for suite in fits.values()]
            value, low, high = intervals[0]
            inside = all(low <= v <= high and a <= value <= b for v, a, b in intervals[1:])
            rows[f"{law} {key}"] = {**dict(zip(fits, intervals, strict=True)), "inside": inside}
            cells = [f"{v:.3f} [{a:.3f}, {b:.3f}]" for v, a, b in intervals]
            verdict = "  inside each other" if inside else "  OUTSIDE"
            print(f"{law + ' ' + key:<18}" + "".join(f"{c:>24}" for c in cells) + verdict)
    return rows


def _exponent(suite: FitSuite, law: str, key: str) -> tuple[float, float, float]:
    fit = suite.laws[law]
    values = {**fit.params, **(fit.optimum.figures if fit.optimum else {})}
    ranges = {**fit.intervals, **fit.optimum_intervals}
    return (values[key], *ranges.get(key, (math.nan, math.nan)))


def shared_lr(sweeps: dict[float, Sweep], noise_log: float) -> dict[str, Any]:
    """What each horizon would gain from a learning rate of its own, and what one for all leaves.

    ``cost`` is the loss at the rule's learning rate over that at the vertex of a parabola in log
    LR through the means over sizes and seeds; errors are jackknifed over sizes and seeds.
    """
    mults = sorted(sweeps)
    logs = np.log(mults)
    points = sorted(sweeps[1].points)
    table = np.array([[log_loss(sweeps[m].points[p]) for m in mults] for p in points])
    table = (table - table[:, [mults.index(1)]]) / noise_log
    print("\nlog loss against the rule's LR, in units of seed noise, means over sizes and seeds")
    print(
        f"{'tokens':>9}" + "".join(f"{f'x{m:g}':>8}" for m in mults) + "     best LR   cost of x1"
    )
    rows: dict[int, Any] = {}
    for tokens in sorted({point[2] for point in points}):
        part = table[[point[2] == tokens for point in points]]
        means = part.mean(axis=0)
        best, gain = vertex(logs, means)
        left = [np.delete(part, i, axis=0).mean(axis=0) for i in range(len(part))]
        best_error, error = jackknife([vertex(logs, other) for other in left])
        rows[tokens] = {
            "means": dict(zip(mults, means.tolist(), strict=True)),
            "best_mult": math.exp(best), "best_log_error": best_error,
            "cost": gain, "cost_error": error,
        }  # fmt: skip
        print(
            f"{tokens:>9,}" + "".join(f"{v:>+8.2f}" for v in means)
            + f"   x{math.exp(best):.2f} ±{100 * best_error:.0f}%{gain:>7.2f} ±{error:.2f}"
        )  # fmt: skip
    worst = {m: max(row["means"][m] + row["cost"] for row in rows.values()) for m in mults}
    least = min(worst, key=worst.__getitem__)
    print(f"the worst-off horizon: {worst[1]:.2f} at x1, {worst[least]:.2f} at x{least:g} for all")
    return {"by_tokens": rows, "worst_cost": worst, "best_lr": best_lr(points, logs, table)}


def jackknife(estimates: list[tuple[float, ...]]) -> list[float]:
    """Standard errors from estimates that each leave one out."""
    errors: list[float] = np.sqrt((len(estimates) - 1) * np.var(estimates, axis=0)).tolist()
    return errors


def best_lr(points: list[Point], logs: np.ndarray, table: np.ndarray) -> dict[str, Any]:
    """How the best learning rate moves with tokens and params, beyond the rule.

    One parabola in log LR for all points, its slope and curvature linear in log tokens and its
    slope in log params as well; then the vertices' slopes.
    """
    place = np.log([[tokens, _params(size)] for size, _, tokens in points])
    tokens, size = (place - place.mean(axis=0)).T

    def slopes(rows: np.ndarray) -> tuple[float, ...]:
        t, n = tokens[rows], size[rows]
        u, one = logs[None, :], np.ones((len(t), len(logs)))
        parts = (u**2 * one, u**2 * t[:, None], u * one, u * t[:, None], u * n[:, None])
        design = np.stack([part.ravel() for part in parts], axis=1)
        c = np.linalg.lstsq(design, table[rows].ravel(), rcond=None)[0]
        at = -(c[2] + c[3] * t + c[4] * n) / (2 * (c[0] + c[1] * t))
        plane = np.stack([np.ones(len(t)), t, n], axis=1)
        return tuple(np.linalg.lstsq(plane, at, rcond=None)[0].tolist())

    courses = sorted({point[:2] for point in points})
    slope = slopes(np.arange(len(points)))
    left = [[i for i, p in enumerate(points) if p[:2] != course] for course in courses]
    errors = jackknife([slopes(np.array(rows)) for rows in left])
    middle = math.exp(place.mean(axis=0)[0])
    print(
        f"best LR: x{math.exp(slope[0]):.2f} the rule's at {middle:.3g} tokens, and beyond the rule"
        f" ~ tokens^({slope[1]:.2f} ±{errors[1]:.2f}) params^({slope[2]:.2f} ±{errors[2]:.2f})"
    )
    return {"middle_tokens": middle, "mult_tokens_params": slope, "errors": errors}


def vertex(logs: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Where a parabola through the points is lowest (within them), and how far below 0 there."""
    curve = np.polyfit(logs, values, 2)
    low, high = float(logs.min()), float(logs.max())
    at = min(max(-curve[1] / (2 * curve[0]), low), high) if curve[0] > 0 else low
    return float(at), float(np.polyval(curve, 0) - np.polyval(curve, at))


def tuned_points(sweeps: dict[float, Sweep], folder: Path) -> Path:
    """A sweep folder in which each horizon has the best of the learning rates tried.

    Chosen by the mean over sizes and seeds, so that no point is favoured by its own luck.
    """
    tokens = {point[2] for point in sweeps[1].points}
    for horizon in tokens:
        means = {
            mult: statistics.mean(log_loss(r) for p, r in sweep.points.items() if p[2] == horizon)
            for mult, sweep in sweeps.items()
        }
        chosen = sweeps[min(means, key=means.__getitem__)]
        for point, record in chosen.points.items():
            target = SweepDir(folder).run(record.run_id).record
            if point[2] == horizon and not target.is_file():
                source = SweepDir(chosen.folder).run(record.run_id).record
                layout.atomic_write(target, source.read_bytes())
    return folder


def _params(size: str) -> int:
    """Non-embedding parameters of a named size, but for the norms: N of the rules."""
    scale = MODEL_SCALES[size]
    return 12 * scale.n_layer * scale.d_model**2


def _processor() -> str:
    """The processor's name where Linux tells it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """All sweeps, then all tables."""
    config, plan = plan_only(request_for(overrides(options.tokens, MULTIPLES)), lambda line: None)
    prepare(config.data_spec)  # once for all sweeps, so it is in none of their times
    results: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "machine": f"{_processor()}, {plan.slots} of {os.cpu_count()} cores",
    }
    print(f"{results['date']}, {results['machine']}")
    shared = run(folder / "shared", overrides(options.tokens, MULTIPLES))
    scratch = run_from_scratch(folder / "scratch", options.tokens)
    results["cost"] = cost(shared, scratch, plan.slots)
    fits = {
        "shared": fit_sources([shared.folder])[0],
        "from scratch": fit_sources([scratch.folder])[0],
    }
    noise_log = fits["shared"].validation.seed_noise_log
    assert noise_log is not None, "the grid repeats a size"
    results["losses"] = losses(shared, scratch, noise_log)
    sweeps = {1.0: shared}
    for mult in options.lr_mults:
        sets = overrides(options.tokens, MULTIPLES, mult)
        sweeps[mult] = run(folder / f"lr-{mult:g}", sets)
    if len(sweeps) > 2:
        results["shared_lr"] = shared_lr(sweeps, noise_log)
        with tempfile.TemporaryDirectory() as tuned:
            folder_of_best = tuned_points(sweeps, Path(tuned))
            # learning rates mixed on purpose: each horizon has its best
            settings = FitSettings(keep=("recipes",))
            fits["LR per horizon"] = fit_sources([folder_of_best], settings)[0]
    results["exponents"] = exponents(fits)
    return results


def main() -> None:
    """Run everything and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=250_000, help="the shortest horizon")
    parser.add_argument(
        "--lr-mults", type=lambda text: [float(part) for part in text.split(",") if part],
        default=[0.5, 0.7, 1.4, 2.0], help="multiples of the rule's LR to try; '' for none",
    )  # fmt: skip
    parser.add_argument("--keep", type=Path, help="keep the sweeps here, and reuse them")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        results = measure(options.keep or Path(temporary), options)
    if options.json:
        options.json.write_text(json.dumps(finite_json(results), indent=1) + "\n")


if __name__ == "__main__":
    main()
