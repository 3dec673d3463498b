"""Fits a law to the points that a running sweep has so far, in a separate process.

``python -m scaling_law.monitor.law SWEEP`` fits once and prints JSON. It runs at low priority, so
that the sweep keeps the CPUs.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from scaling_law.errors import SlawError, one_line
from scaling_law.files.layout import SweepDir
from scaling_law.files.process import module_command
from scaling_law.run.sweep_state.snapshot import RunState, Snapshot
from scaling_law.spec.enough import LEAST_POINTS
from scaling_law.units import count_of

if TYPE_CHECKING:
    from scaling_law.files.record import RunRecord

_RESAMPLES = 200
_FRONTIER_POINTS = 24
_BEYOND = 4.0  # FLOPs at which the drawn frontier ends, over those of the largest run
# The pause between two fits: at least this long, and this many times the length of the last fit.
_EVERY_SECONDS, _EVERY_TIMES = 20.0, 10.0


def annealed(snapshot: Snapshot) -> list[RunState]:
    """The runs that a law is fitted to, before rules leave any out."""
    return [run for run in snapshot.in_state("done") if run.annealed]


class LawFitter:
    """Fits again when there are new points: one fit at a time, and not too often."""

    def __init__(self, sweep: SweepDir) -> None:
        self._sweep = sweep
        self._child: subprocess.Popen[bytes] | None = None
        self._fitted: tuple[str, ...] = ()
        self._began = self._next = 0.0
        self._law: dict[str, Any] = {}

    def read(self, snapshot: Snapshot) -> dict[str, Any]:
        """The newest law: ``status`` (too_few, fitting, fitted, by_arm, failed), ``message``."""
        self._collect()
        points = annealed(snapshot)
        if len(points) < LEAST_POINTS:
            message = (
                f"{count_of(len(points), 'annealed point')} so far; a law needs {LEAST_POINTS}"
            )
            return {"status": "too_few", "message": message, "points": len(points)}
        key = tuple(f"{run.run_id} {run.val_loss_nats!r}" for run in points)
        if key != self._fitted and self._child is None and time.monotonic() >= self._next:
            self._start(key)
        if not self._law:
            message = f"fitting {len(points)} annealed points"
            return {"status": "fitting", "message": message, "points": len(points)}
        return self._law

    def _start(self, key: tuple[str, ...]) -> None:
        self._fitted, self._began = key, time.monotonic()
        try:
            self._child = subprocess.Popen(
                module_command("scaling_law.monitor.law", str(self._sweep.path)),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )
        except OSError as problem:
            self._law = _failed(f"the fit could not be started ({problem.strerror})")

    def _collect(self) -> None:
        if self._child is None or self._child.poll() is None:
            return
        assert self._child.stdout is not None
        with self._child.stdout as answer:
            self._law = _answer(answer)
        self._child = None
        took = time.monotonic() - self._began
        self._next = time.monotonic() + max(_EVERY_SECONDS, _EVERY_TIMES * took)

    def close(self) -> None:
        """End a running fit."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            if self._child.stdout is not None:
                self._child.stdout.close()
            self._child = None


def _answer(stdout: IO[bytes]) -> dict[str, Any]:
    try:
        law: dict[str, Any] = json.loads(stdout.read())
        return law
    except ValueError:
        return _failed("the fit ended without an answer")


def _failed(reason: str) -> dict[str, Any]:
    return {"status": "failed", "message": one_line(reason)}


def fitted_law(folder: Path) -> dict[str, Any]:
    """The law of the sweep in ``folder`` and the forecast beside it, as JSON values.

    Of a sweep with arms, ``arms`` has the law of each, or why it has none. Raises ``SlawError`` if
    the runs do not support a law.
    """
    from scaling_law.files.record import load_records
    from scaling_law.fit.arms import axis_keys, split_by

    records = load_records(SweepDir(folder))
    keys = axis_keys(records)
    if not keys:
        return _law_of(records)
    laws = []
    for arm in split_by(records, keys, str(folder)):
        try:
            law = _law_of(arm.records)
        except SlawError as problem:
            law = _failed(str(problem))
        laws.append({"arm": arm.name, **law})
    return {"status": "by_arm", "message": "", "arms": laws}


def _law_of(records: Sequence[RunRecord]) -> dict[str, Any]:
    """The law of runs of one recipe.

    ``forecast_weights`` are those of the laws in its forecast, ``frontier`` is the forecast at the
    compute-optimal split of each compute (FLOPs, 6 N D), with the interval of a new run there.
    Raises ``SlawError`` if the runs do not support a law.
    """
    from scaling_law.fit.make_worlds import make_worlds
    from scaling_law.fit.points.dataset import from_records
    from scaling_law.fit.result import finite_json
    from scaling_law.fit.suite import FitSettings, joint_fits

    settings = FitSettings(resamples=_RESAMPLES)
    points = from_records(records, convention=settings.convention, flops=settings.flops).points
    _, best, _, laws = joint_fits(points, settings)
    fit = laws.get(best)
    if fit is None or not fit.usable:
        why = fit.message if fit else "no law fits"
        return {"status": "too_few", "message": one_line(why), "points": len(points)}
    worlds = make_worlds(points, laws, best=best)
    law = {
        "status": "fitted",
        "message": fit.message,
        "law": fit.law.name,
        "formula": _formula(fit.law.latex),
        "points": len(points),
        "trunks": points.n_clusters,
        "run_ids": list(points.run_id),
        "params": fit.params,
        "intervals": fit.intervals,
        "level": settings.level,
        "rms_log_residual": fit.rms_log_residual,
        "forecast_weights": worlds.laws if worlds else {best: 1.0},
        "frontier": _frontier(points, fit, worlds, settings.level),
    }
    plain: dict[str, Any] = finite_json(law)
    return plain


def _frontier(points: Any, fit: Any, worlds: Any, level: float) -> list[dict[str, float | None]]:
    import numpy as np

    from scaling_law.fit.checks.monotone import seed_noise
    from scaling_law.forecast.extrapolate import extrapolate
    from scaling_law.forecast.target import Target

    noise, _ = seed_noise(points)
    flops = 6.0 * points.params * points.tokens
    frontier = []
    for value in np.geomspace(flops.min(), _BEYOND * flops.max(), _FRONTIER_POINTS).tolist():
        with contextlib.suppress(SlawError):
            at = extrapolate(
                fit, Target(flops=value), worlds=worlds, level=level, seed_noise_log=noise
            )
            frontier.append(
                {
                    "flops": value,
                    "loss_nats": at.loss_nats,
                    "low_nats": at.low_nats,
                    "high_nats": at.high_nats,
                }
            )
    return frontier


def _formula(latex: str) -> str:
    """A law's equation as plain text."""
    plain = re.sub(r"\^\{(\\?\w+)\}", r"^\1", latex)
    plain = re.sub(r"\^\{([^{}]*)\}", r"^(\1)", plain)
    plain = plain.replace(r",\ ", ", ").replace("\\,", " ")
    return re.sub(r"[\\{}]", "", plain)


def main(arguments: list[str]) -> int:
    """Print the law of a sweep as JSON."""
    with contextlib.suppress(OSError):
        os.nice(15)
    try:
        law = fitted_law(Path(arguments[0]))
    except SlawError as problem:
        law = _failed(str(problem))
    print(json.dumps(law, allow_nan=False))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
