"""Ask other fitters and ours the same question: fit these runs, predict those.

A peer runs in a process of its own (its interpreter may differ), which reads one JSON job a
line and answers one JSON line: ``python peers.py --serve NAME``. Units everywhere: parameters
and tokens as counts, loss in nats per token, time in CPU seconds of the fit, imports excluded.

Nothing of theirs is copied: packages are called as their own documentation shows. The two plain
references are written here from the published description: Hoffmann 2022 appendix D.3 as
Besiroglu 2024 (arXiv 2404.10102) replicated it, ``hoffmann_lbfgsb``, and the same with BFGS, which
stops less early, ``hoffmann_bfgs``; and ``lsq_nonlinear``.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib
import importlib.metadata
import itertools
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LEVEL = 0.9
HUBER_DELTA = 1e-3
NAMES = ("A", "B", "E", "alpha", "beta")
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
# The published replication's grid: 4,500 starts over (log A, log B, log E, alpha, beta).
_LOG_SCALES, _EXPONENTS = (0.0, 5.0, 10.0, 15.0, 20.0, 25.0), (0.0, 0.5, 1.0, 1.5, 2.0)
_LOG_FLOORS = (-1.0, -0.5, 0.0, 0.5, 1.0)
HOFFMANN_GRID = (_LOG_SCALES, _LOG_SCALES, _LOG_FLOORS, _EXPONENTS, _EXPONENTS)


@dataclass(frozen=True)
class Runs:
    """Columns of one length: counts, nats per token, FLOPs and trunk names where known."""

    params: list[float]
    tokens: list[float]
    loss: list[float]
    flops: list[float] | None = None
    cluster: list[str] | None = None


@dataclass(frozen=True)
class Answer:
    """Predicted losses (nats) with 90% ends where the contender has them; NaN: no answer.

    ``law`` holds A, B, E, alpha, beta where it is Chinchilla's; ``cpu_s`` the fit and forecast.
    ``cut_off``: this benchmark's clock ended it, so it neither answered nor refused. ``trust``: to
    how many times the fitted FLOPs it says that its forecasts may be trusted.
    """

    predicted: list[float]
    low: list[float] | None = None
    high: list[float] | None = None
    law: dict[str, float] = field(default_factory=dict)
    cpu_s: float = float("nan")
    note: str = ""
    cut_off: bool = False
    trust: float | None = None


def surface(law: Mapping[str, float], params: Any, tokens: Any) -> Any:
    """Chinchilla's loss (nats) at arrays of parameters and tokens."""
    import numpy as np

    n, d = np.asarray(params, dtype=float), np.asarray(tokens, dtype=float)
    return law["E"] + law["A"] * n ** -law["alpha"] + law["B"] * d ** -law["beta"]


# --- ours, in this process --------------------------------------------------------------------


def ours(runs: Runs, at: Runs, resamples: int) -> dict[str, Answer]:
    """The library as a notebook uses it: over all worlds, and by the law that rollouts choose.

    ``predict`` is the one place to switch. The CPU time of both answers is that of the fit and of
    one forecast.
    """
    from scaling_law.errors import SlawError
    from scaling_law.fit import fit

    columns = {"params": runs.params, "tokens": runs.tokens, "loss": runs.loss}
    columns |= {"flops": runs.flops, "cluster": runs.cluster}
    began = time.process_time()
    try:
        result = fit(resamples=resamples, **columns)
        took = time.process_time() - began
        return {
            "ours": _predicted(result, at, None, took),
            "ours, one law": _predicted(result, at, result.suite.best_law, took),
        }
    except SlawError as problem:
        silent = _silent(at, str(problem), time.process_time() - began)
        return {"ours": silent, "ours, one law": silent}


def _predicted(result: Any, at: Runs, law: str | None, fit_s: float) -> Answer:
    began = time.process_time()
    targets = zip(at.params, at.tokens, strict=True)
    predictions = [result.predict(params=n, tokens=d, law=law) for n, d in targets]
    refused = sum(bool(p.refused) for p in predictions)
    return Answer(
        predicted=[p.loss_nats for p in predictions],
        low=[float("nan") if p.low_nats is None else p.low_nats for p in predictions],
        high=[float("nan") if p.high_nats is None else p.high_nats for p in predictions],
        cpu_s=fit_s + time.process_time() - began,
        note=f"law {predictions[0].law}" + (f"; {refused} with a range only" if refused else ""),
        trust=result.suite.validation.trust_flops_factor,
    )


def ours_chinchilla(runs: Runs, at: Runs, resamples: int) -> dict[str, Answer]:
    """Our solver and intervals with Chinchilla's law alone."""
    name = "ours, chinchilla only"
    from scaling_law.errors import SlawError
    from scaling_law.fit.approaches.parametric import fit_law
    from scaling_law.fit.points.points import points_from_arrays
    from scaling_law.fit.solver.interval import prediction_interval

    nan = float("nan")
    began = time.process_time()
    try:
        rest = {"flops": runs.flops, "cluster": runs.cluster}
        points = points_from_arrays(runs.params, runs.tokens, runs.loss, **rest)
        fitted = fit_law(points, "chinchilla", resamples=resamples)
        if not fitted.params:
            return {name: _silent(at, fitted.message, time.process_time() - began)}
        targets = [{"params": n, "tokens": d} for n, d in zip(at.params, at.tokens, strict=True)]
        spreads = [prediction_interval(fitted, t, level=LEVEL).nats or (nan, nan) for t in targets]
    except SlawError as problem:
        return {name: _silent(at, str(problem), time.process_time() - began)}
    answer = Answer(
        predicted=[float(x) for x in surface(fitted.params, at.params, at.tokens)],
        low=[low for low, _ in spreads],
        high=[high for _, high in spreads],
        law=dict(fitted.params),
        cpu_s=time.process_time() - began,
        note=fitted.status,
    )
    return {name: answer}


OURS: tuple[Callable[[Runs, Runs, int], dict[str, Answer]], ...] = (ours, ours_chinchilla)


def _silent(at: Runs, why: str, cpu_s: float = float("nan")) -> Answer:
    return Answer(predicted=[float("nan")] * len(at.params), cpu_s=cpu_s, note=f"no answer: {why}")


# --- peers, each in its own process -----------------------------------------------------------


def published_objective(theta: Any, logs: tuple[Any, Any, Any]) -> float:
    """Sum of Huber (delta 1e-3) on log residuals; theta: log A, log B, log E, alpha, beta."""
    import numpy as np

    log_n, log_d, log_loss = logs
    a, b, e, alpha, beta = theta
    terms = np.stack([a - alpha * log_n, b - beta * log_d, np.full_like(log_n, e)])
    top = terms.max(axis=0)
    size = np.abs(top + np.log(np.exp(terms - top).sum(axis=0)) - log_loss)
    inside = size <= HUBER_DELTA
    return float(np.where(inside, 0.5 * size**2, HUBER_DELTA * (size - 0.5 * HUBER_DELTA)).sum())


def logs_of(runs: Runs) -> tuple[Any, Any, Any]:
    """Logarithms of params, tokens and loss."""
    import numpy as np

    return np.log(runs.params), np.log(runs.tokens), np.log(runs.loss)


def _hoffmann(runs: Runs, options: Mapping[str, Any]) -> tuple[dict[str, float], str]:
    """Best of scipy's ``method``, numeric gradients, from ``starts`` of the published 4,500."""
    import numpy as np
    from scipy.optimize import minimize

    method = options.get("method", "BFGS")
    grid = np.array(list(itertools.product(*HOFFMANN_GRID)))
    wanted = min(int(options.get("starts", len(grid))), len(grid))
    chosen = np.random.default_rng(0).choice(len(grid), wanted, replace=False)
    logs, best = logs_of(runs), None
    for start in grid[np.sort(chosen)]:
        with np.errstate(all="ignore"):
            minimum = minimize(published_objective, start, args=(logs,), method=method)
        if np.isfinite(minimum.fun) and (best is None or minimum.fun < best.fun):
            best = minimum
    note = f"{wanted} of {len(grid)} starts"
    if best is None:
        return {}, f"nothing finite from {note}"
    values = [*np.exp(best.x[:3]).tolist(), *best.x[3:].tolist()]
    return dict(zip(NAMES, values, strict=True)), note


def _least_squares(runs: Runs, options: Mapping[str, Any]) -> tuple[dict[str, float], str]:
    """scipy's curve_fit on the loss itself from a few starts, bounds E, A, B, exponents >= 0."""
    import numpy as np
    from scipy.optimize import OptimizeWarning, curve_fit

    def law(x: Any, *p: float) -> Any:
        return surface(dict(zip(NAMES, p, strict=True)), x[0], x[1])

    x, y = np.array([runs.params, runs.tokens]), np.array(runs.loss)
    lowest, best = float(y.min()), (float("inf"), ())
    for exponent, share in itertools.product((0.2, 0.35, 0.5), (0.5, 0.9)):
        rest = (float(np.median(y)) - share * lowest) / 2
        scale = [rest * float(np.median(column)) ** exponent for column in x]
        start = (*scale, share * lowest, exponent, exponent)
        with contextlib.suppress(RuntimeError, ValueError, OptimizeWarning):
            params, _ = curve_fit(
                law, x, y, p0=start, bounds=(0, np.inf), x_scale=np.abs(start), max_nfev=5000
            )
            cost = float(((law(x, *params) - y) ** 2).sum())
            best = min(best, (cost, tuple(params.tolist())))
    return dict(zip(NAMES, best[1], strict=bool(best[1]))), "6 starts"


def _chinchilla(runs: Runs, options: Mapping[str, Any]) -> tuple[dict[str, float], str]:
    """The ``chinchilla`` package, its README's grid, the original paper's loss (delta 1e-3)."""
    import functools

    import numpy as np
    from chinchilla import Chinchilla
    from chinchilla._metrics import log_huber

    count = int(options.get("per_axis", 5))
    exponents, scales = np.linspace(0.1, 0.7, count), np.linspace(1, 10, count)
    grid = {"E": np.linspace(1, 2, count), "a": scales, "b": scales}
    grid |= {"alpha": exponents, "beta": exponents}
    loss = functools.partial(log_huber, delta=HUBER_DELTA)
    with tempfile.TemporaryDirectory() as folder:
        fitter = Chinchilla(folder, param_grid=grid, loss_fn=loss, log_level=50)
        for n, d, y in zip(runs.params, runs.tokens, runs.loss, strict=True):
            fitter.append(N=n, D=d, loss=y)
        fitter.fit(parallel=False)
        law = {name: float(fitter.params[name]) for name in NAMES}
    return law, f"{count**5} starts, log_huber(1e-3)"


def _vpnls(runs: Runs, options: Mapping[str, Any]) -> tuple[dict[str, float], str]:
    """``vpnls`` as its README fits real data: millions and billions, Huber(1e-3), grid .01."""
    import numpy as np
    from vpnls.api import fit_vpnls, huber

    n, d = np.array(runs.params) / 1e6, np.array(runs.tokens) / 1e9
    method = options.get("method", "grid")
    fitted = fit_vpnls(n, d, np.array(runs.loss), method=method, loss=huber(HUBER_DELTA))
    law = {name: float(getattr(fitted, name)) for name in NAMES}
    law["A"] *= 1e6 ** law["alpha"]
    law["B"] *= 1e9 ** law["beta"]
    return law, f"method {method}, huber(1e-3)"


def _simple(runs: Runs, at: Runs, options: Mapping[str, Any]) -> Answer:
    """``simple-scaling-laws`` with its defaults; a new run's median and its 5% and 95%."""
    import warnings

    import numpy as np
    import polars as pl
    from simple_scaling_laws import fit

    warnings.simplefilter("ignore")
    size, data, target = "model_size__params", "dataset_size__tokens", "test_loss__nats"
    names = [f"run{i}" for i in range(len(runs.loss))]
    frame = {"training_run_id": names, "test_set_id": ["held"] * len(names)}
    frame |= {size: runs.params, data: runs.tokens, target: runs.loss}
    model = fit(pl.DataFrame(frame), n_draws=int(options.get("resamples", 1000)))
    cuts = [0.5 - LEVEL / 2, 0.5, 0.5 + LEVEL / 2]
    points = {size: at.params, data: at.tokens}
    predicted = model.predict(pl.DataFrame(points), kind="new-run", quantiles=cuts)
    low, middle, high = (predicted[:, i].to_list() for i in (-3, -2, -1))
    # it fits counts over a reference of its own
    reference = [model.manifest["predictors"][name]["reference"] for name in (size, data)]
    shown = model.fits[target].to_dict(model.law, np.array(reference))["params_raw_scale"]
    law = {name: shown[name] for name in NAMES}
    return Answer(predicted=middle, low=low, high=high, law=law, note="separable-power")


# --- the question and its answer, over a pipe -------------------------------------------------

CHINCHILLA_PEERS: dict[str, Callable[[Runs, Mapping[str, Any]], tuple[dict[str, float], str]]] = {
    "hoffmann_lbfgsb": lambda runs, o: _hoffmann(runs, {**o, "method": "L-BFGS-B"}),
    "hoffmann_bfgs": _hoffmann,
    "lsq_nonlinear": _least_squares,
    "chinchilla": _chinchilla,
    "vpnls": _vpnls,
}
PEERS = (*CHINCHILLA_PEERS, "simple-scaling-laws")
# The modules that a peer needs; vpnls also needs its compiled solver.
_MODULES = {"chinchilla": "chinchilla", "vpnls": "vpnls._core"}
_MODULES["simple-scaling-laws"] = "simple_scaling_laws"


def answer(name: str, runs: Runs, at: Runs, options: Mapping[str, Any]) -> Answer:
    """One peer's fit to ``runs`` and its forecast ``at`` others, in this process."""
    began = time.process_time()
    if name == "simple-scaling-laws":
        reply = _simple(runs, at, options)
        return dataclasses.replace(reply, cpu_s=time.process_time() - began)
    law, note = CHINCHILLA_PEERS[name](runs, options)
    took = time.process_time() - began
    if not law:
        return _silent(at, note, took)
    predicted = [float(x) for x in surface(law, at.params, at.tokens)]
    return Answer(predicted=predicted, law=law, cpu_s=took, note=note)


class Peer:
    """A peer in its own interpreter; ``missing`` says why it cannot be asked, "" if it can."""

    def __init__(self, name: str, python: str = sys.executable, path: str = "") -> None:
        self.name, self._python, self._path = name, python, path
        hello = self._open() or {"missing": "its process did not start"}
        self.missing, self.version = hello.get("missing", ""), hello.get("version", "")

    def _open(self) -> dict[str, Any] | None:
        # a safe path: this folder's fit.py and coverage.py must not pass for packages
        environment = {**os.environ, **ONE_THREAD, "PYTHONSAFEPATH": "1", "MPLBACKEND": "Agg"}
        if self._path:
            environment["PYTHONPATH"] = self._path
        self._process = subprocess.Popen(
            [self._python, str(Path(__file__).resolve()), "--serve", self.name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, env=environment,
        )  # fmt: skip
        return self._line(60)

    def ask(self, runs: Runs, at: Runs, timeout_s: float, **options: Any) -> Answer:
        """Its answer, or none with the reason, within ``timeout_s`` seconds of wall time."""
        assert self._process.stdin is not None
        job = {"runs": dataclasses.asdict(runs), "at": dataclasses.asdict(at), "options": options}
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        line = self._line(timeout_s)
        if line is None:
            self.close()
            self._open()  # for the next question
            late = _silent(at, f"not within {timeout_s:g} s", timeout_s)
            return dataclasses.replace(late, cut_off=True)
        return _silent(at, line["error"]) if "error" in line else Answer(**line)

    def _line(self, timeout_s: float) -> dict[str, Any] | None:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], timeout_s)
        text = self._process.stdout.readline() if ready else ""
        return json.loads(text) if text else None

    def close(self) -> None:
        """End its process."""
        self._process.kill()
        self._process.wait()


def serve(name: str) -> None:
    """Answer one JSON job a line until standard input ends."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # packages print
    hello = {"version": ""}
    try:
        if name in _MODULES:
            importlib.import_module(_MODULES[name])
            hello["version"] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        hello["version"] = "from a checkout"
    except ImportError as problem:
        hello["missing"] = f"not installed ({problem})"
    print(json.dumps(hello), file=out)
    for line in sys.stdin:
        job = json.loads(line)
        try:
            reply = answer(name, Runs(**job["runs"]), Runs(**job["at"]), job["options"])
            print(json.dumps(dataclasses.asdict(reply)), file=out)
        except Exception as problem:  # the benchmark continues after any error in foreign code
            print(json.dumps({"error": f"{type(problem).__name__}: {problem}"}), file=out)


def add_options(parser: argparse.ArgumentParser) -> None:
    """``--peer-python NAME=PYTHON`` and ``--peer-path NAME=FOLDER``."""
    for name, words in (
        ("--peer-python", "interpreter that has a peer, as in chinchilla=/venv/bin/python"),
        ("--peer-path", "folder to import a peer from, as in vpnls=/checkout/src"),
    ):
        parser.add_argument(name, action="append", default=[], metavar="N=P", help=words)
    parser.add_argument(
        "--peer-timeout", type=float, default=600.0, help="seconds a fit (%(default)g)"
    )


def start(options: argparse.Namespace) -> list[Peer]:
    """Every peer; those that cannot be imported are named and left out."""
    pythons = dict(pair.split("=", 1) for pair in options.peer_python)
    paths = dict(pair.split("=", 1) for pair in options.peer_path)
    peers = []
    for name in PEERS:
        peer = Peer(name, pythons.get(name, sys.executable), paths.get(name, ""))
        if peer.missing:
            print(f"{name}: {peer.missing}")
            peer.close()
        else:
            peers.append(peer)
    return peers


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--serve":
        serve(sys.argv[2])
