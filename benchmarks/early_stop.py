"""Replay finished sweeps as if `early_stop` had been on: FLOPs saved, error made, coverage.

    python benchmarks/early_stop.py [SWEEP ...]      # default: results/reference/quick-cpu

At every evaluation of a branch's cooldown its final loss is predicted from what the run would
have had then: its trunk, its own curve, its shorter branches that were not themselves stopped.
The truth is what the whole run ended with; the runs' own noise is in the error.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scaling_law.files.layout import SweepDir
from scaling_law.files.record import CurvePoint, RunRecord, load_records, read_curve
from scaling_law.fit.approaches.parametric import fit_law
from scaling_law.fit.laws import load_law
from scaling_law.fit.points.points import FitPoints, points_from_records
from scaling_law.fit.solver.solve import Objective
from scaling_law.train.learning_curve import Finished, Forecast, predict_final

# The law to forecast the reference sweep with, and the distance from its largest run.
LAW, BEYOND = "coupled", 10.0
WITHIN = (0.002, 0.003, 0.004, 0.005, 0.0075, 0.01, 0.02)


@dataclass(frozen=True)
class Family:
    """A trunk, its curve, and its branches with theirs, shortest first."""

    trunk: RunRecord
    curve: list[CurvePoint]
    branches: list[tuple[RunRecord, list[CurvePoint]]]


@dataclass(frozen=True)
class Stop:
    """Where one branch ended; ``forecast`` is None for one trained to its end."""

    record: RunRecord
    forecast: Forecast | None
    saved_flops: float


def families(sweep: SweepDir) -> list[Family]:
    """Every trunk of a sweep whose branches are done."""
    records = load_records(sweep)
    curves = {record.run_id: read_curve(sweep.run(record.run_id)) for record in records}
    of_trunks = []
    for trunk in (record for record in records if record.kind == "trunk"):
        mine = [r for r in records if r.kind == "branch" and r.cluster == trunk.run_id]
        mine = sorted((r for r in mine if r.status == "done"), key=lambda r: r.tokens)
        branches = [(record, curves[record.run_id]) for record in mine]
        of_trunks.append(Family(trunk, curves[trunk.run_id], branches))
    return of_trunks


def forecasts(
    family: Family, number: int, siblings: list[Finished]
) -> list[tuple[CurvePoint, Forecast | None]]:
    """What would have been said of one branch at each evaluation before its last."""
    record, curve = family.branches[number]
    return [
        (point, predict_final(record.spec, curve[: seen + 1], family.curve, siblings))
        for seen, point in enumerate(curve[:-1])
    ]


def finished(record: RunRecord, curve: list[CurvePoint]) -> Finished:
    assert record.val_loss_nats is not None
    return Finished(spec=record.spec, curve=curve, loss_nats=record.val_loss_nats)


def replay(family: Family, within: float) -> list[Stop]:
    """The branches of a trunk one after another; a stopped one does not help to predict the
    next."""
    siblings: list[Finished] = []
    stops = []
    for number, (record, curve) in enumerate(family.branches):
        stop = Stop(record, None, 0.0)
        for point, forecast in forecasts(family, number, siblings):
            if forecast is not None and forecast.half_width_frac <= within:
                share = (record.tokens - point.tokens) / record.tokens
                stop = Stop(record, forecast, share * record.flops_exact)
                break
        else:
            siblings.append(finished(record, curve))
        stops.append(stop)
    return stops


def describe(errors: list[tuple[float, bool]]) -> str:
    """Median, rms, worst and mean of relative errors, and the share inside their interval."""
    values = np.array([error for error, _ in errors])
    held = np.mean([inside for _, inside in errors])
    return (
        f"{100 * np.median(np.abs(values)):>8.2f}%{100 * math.sqrt(np.mean(values**2)):>8.2f}%"
        f"{100 * np.max(np.abs(values)):>8.2f}%{100 * np.mean(values):>+8.2f}%{100 * held:>9.0f}%"
    )


def scored(record: RunRecord, forecast: Forecast) -> tuple[float, bool]:
    """Predicted over actual minus 1, and whether the interval holds the actual."""
    actual = record.val_loss_nats
    assert actual is not None
    inside = forecast.low_nats <= actual <= forecast.high_nats
    return forecast.loss_nats / actual - 1, inside


def by_progress(known: list[Family]) -> None:
    """The predictor alone, with all shorter branches finished."""
    rows: dict[tuple[int, int], list[tuple[float, bool]]] = defaultdict(list)
    widths: dict[tuple[int, int], list[float]] = defaultdict(list)
    for family in known:
        done = [finished(*branch) for branch in family.branches]
        for number, (record, _) in enumerate(family.branches):
            own = record.spec.total_steps - record.spec.start_step
            for point, forecast in forecasts(family, number, done[:number]):
                if forecast is None:
                    continue
                part = round(100 * (point.step - record.spec.start_step) / own)
                rows[number, part].append(scored(record, forecast))
                widths[number, part].append(forecast.half_width_frac)
    print("siblings  cooldown done  branches  median     rms   worst    mean  coverage  half width")
    for (number, part), errors in sorted(rows.items()):
        width = f"{100 * float(np.median(widths[number, part])):.2f}%"
        print(f"{number:>8}{part:>14}%{len(errors):>10}{describe(errors)}{width:>12}")
    every = [error for errors in rows.values() for error in errors]
    print(f"{'all':>8}{'':>15}{len(every):>10}{describe(every)}")


def by_tolerance(known: list[Family]) -> None:
    """What `early_stop: WITHIN` would have saved, and the errors of the losses it predicted."""
    whole = sum(f.trunk.flops_spent + sum(r.flops_spent for r, _ in f.branches) for f in known)
    cooling = sum(r.flops_spent for f in known for r, _ in f.branches)
    print(f"{'within':>8}  stopped  FLOPs saved  of cooldowns  median     rms   worst    mean"
          "  coverage")  # fmt: skip
    for within in WITHIN:
        stops = [stop for family in known for stop in replay(family, within)]
        saved = sum(stop.saved_flops for stop in stops)
        errors = [scored(s.record, s.forecast) for s in stops if s.forecast is not None]
        words = describe(errors) if errors else ""
        print(
            f"{100 * within:>7g}%{f'{len(errors)}/{len(stops)}':>9}{100 * saved / whole:>12.1f}%"
            f"{100 * saved / cooling:>13.1f}%{words}"
        )


def as_recorded(stop: Stop) -> RunRecord:
    """The record that the run would have left."""
    if stop.forecast is None:
        return stop.record
    return dataclasses.replace(
        stop.record,
        status="stopped_early",
        val_loss_nats=None,
        metrics={
            "predicted_loss_nats": stop.forecast.loss_nats,
            "predicted_low_nats": stop.forecast.low_nats,
            "predicted_high_nats": stop.forecast.high_nats,
            "planned_tokens_unique": stop.record.tokens_unique,
        },
    )


def fitted(points: FitPoints, at: dict[str, np.ndarray]) -> tuple[float, float, float]:
    """The loss at ``at``, and the two exponents."""
    params = fit_law(points, LAW, objective=Objective()).params
    return float(load_law(LAW).predict(params, at)[0]), params["alpha"], params["beta"]


def by_fit(known: list[Family]) -> None:
    """The fitted law with stopped runs left out, and with their predicted losses."""
    records = [record for family in known for record, _ in family.branches]
    whole = points_from_records(records)
    last = int(np.argmax(whole.flops))
    grown = math.sqrt(BEYOND)
    at = {"params": whole.params[[last]] * grown, "tokens": whole.tokens[[last]] * grown}
    truth, alpha, beta = fitted(whole, at)
    print(f"{LAW}, {len(whole)} measured: alpha {alpha:.3f} beta {beta:.3f}, {BEYOND:g} times the"
          f" largest run's FLOPs: {truth:.4f} nats")  # fmt: skip
    for within in WITHIN:
        left = [as_recorded(stop) for family in known for stop in replay(family, within)]
        for keep in ((), ("stopped_early",)):
            points = points_from_records(left, keep=keep)
            loss, alpha, beta = fitted(points, at)
            name, off = "kept" if keep else "left out", 100 * (loss / truth - 1)
            print(
                f"{100 * within:>7g}% {name:<9}{len(points):>3} points:"
                f" alpha {alpha:.3f} beta {beta:.3f}, forecast {off:+.2f}%"
            )


def main() -> None:
    """Replay each sweep and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    reference = Path(__file__).resolve().parents[1] / "results" / "reference" / "quick-cpu"
    parser.add_argument("sweeps", nargs="*", type=Path, default=[reference])
    for path in parser.parse_args().sweeps:
        known = families(SweepDir(path))
        branches = sum(len(family.branches) for family in known)
        print(f"{path.name}: {len(known)} trunks, {branches} branches\n")
        by_progress(known)
        print()
        by_tolerance(known)
        print()
        by_fit(known)
        print()


if __name__ == "__main__":
    main()
