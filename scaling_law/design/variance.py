"""How sharp a forecast a set of runs would give, by the laws' linearisation at their gradients.

The variance, at a target, of the forecast by the law fitted to the runs by least squares in log
loss: what a c-optimal design makes small (Pukelsheim 1993, "Optimal design of experiments",
chapter 2). The runs' errors are a part of every run's own, one that a trunk's branches share, and
the law's misfit: no law holds exactly, and what it misses is a smooth surface (a Gaussian
process, as in Kennedy 2001, "Bayesian calibration of computer models") that no seed averages out
and that leans the fit towards where the runs are. Least squares knows none of this, so its
variance is the sandwich u' G' V G u, with u = (G' G)^-1 c, G the gradients of the runs and c of
the target; more runs in the wrong place may make it worse, as they do in truth.

The linearisation depends on parameters that are not known (Chernoff 1953, "Locally optimal
designs"): variances are of many possible truths at once, of several laws.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from scaling_law.fit.laws import load_law
from scaling_law.fit.laws.law import Floats, Law
from scaling_law.fit.result import FitResult
from scaling_law.fit.solver.solve import Objective, Problem

# What is believed of any law before the first run: its losses at nine places spread over the
# affordable runs are known to this much (standard deviation of log loss). In place of a prior on
# parameters, whose units differ between laws.
PRIOR_LOG = 0.1
# Truths are drawn about a law as if its losses there had been read to this much.
DRAW_LOG = 0.05
# Directions in which no run can move the law get this share of the largest precision.
_RIDGE = 1e-10
_ANCHORS = 3
# The misfit changes over a factor of so much (e-folds) in params or tokens.
_MISFIT_LENGTH = math.log(5.0)
_INDUCING = (4, 3)


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Standard deviations of log loss: of a run, of a trunk, of the law's misfit.

    The defaults are those of the reference sweep (``results/reference``): seeds differ by .21%
    of the loss, hardly more between trunks than between the branches of one; and the coupled
    law, which fits it best, leaves .30%, so .2% that seeds do not explain.
    """

    run_log: float = 0.002
    trunk_log: float = 0.001
    misfit_log: float = 0.002

    @property
    def new_run_log(self) -> float:
        """Of one new run about the law."""
        return math.hypot(self.run_log, self.trunk_log, self.misfit_log)


@dataclass(frozen=True)
class Truth:
    """One thing that may be true: a law with parameters as its internal vector [k], uncentred."""

    law: str
    internal: Floats

    def at(self, params: Floats, tokens: Floats) -> tuple[Floats, Floats]:
        """Log loss [n] and its gradient by the internal parameters [n, k]."""
        return log_slopes(load_law(self.law), self.internal, params, tokens)


def log_slopes(law: Law, internal: Floats, params: Floats, tokens: Floats) -> tuple[Floats, Floats]:
    """Log loss [n] and d log loss / d internal parameter [n, k] at runs [n]."""
    known = columns(params, tokens)
    basis = law.basis({name: np.log(known[name]) for name in law.variables})
    value, shares, log_sum = law.log_loss(internal[None], basis)
    return value[0], law.slopes(internal[None], basis, shares, log_sum)[0]


def columns(params: Floats, tokens: Floats) -> dict[str, Floats]:
    """The variables that laws know, of runs that see each token once."""
    flops = 6 * params * tokens
    return {"params": params, "tokens": tokens, "tokens_unique": tokens, "flops": flops}


def truth_of(fit: FitResult, params: Mapping[str, float] | None = None) -> Truth:
    """A fit's law as a truth, at its optimum or at other ``params`` (a bootstrap sample, say)."""
    return Truth(fit.law, load_law(fit.law).internal(params or fit.params))


@dataclass(frozen=True)
class Runs:
    """Possible and finished runs: ``params`` and ``tokens``, [n] each."""

    params: Floats
    tokens: Floats


Trunk = tuple[int, ...]
"""The numbers of a trunk's runs."""


@dataclass(frozen=True)
class Told:
    """What runs tell, additive over trunks.

    ``gram`` G'G and ``scatter`` G'VG without the misfit, [..., S, k, k]; ``lean`` [..., S, k, j]
    is how the misfit's features enter G'y.
    """

    gram: Floats
    scatter: Floats
    lean: Floats

    def __add__(self, other: Told) -> Told:
        return Told(self.gram + other.gram, self.scatter + other.scatter, self.lean + other.lean)

    def __sub__(self, other: Told) -> Told:
        return Told(self.gram - other.gram, self.scatter - other.scatter, self.lean - other.lean)

    def only(self, rows: NDArray[np.int64]) -> Told:
        """Some of a stack."""
        return Told(self.gram[rows], self.scatter[rows], self.lean[rows])


def stacked(parts: Sequence[Told]) -> Told:
    """Several as one, along a new first axis."""
    return Told(*(np.stack([getattr(p, n) for p in parts]) for n in ("gram", "scatter", "lean")))


@dataclass
class Beliefs:
    """Gradients of every run and of the target under several truths, in common coordinates.

    ``slopes`` [S, n, k] and ``aim`` [S, k] the target's, in coordinates whose prior is standard
    normal, filled up with zeros where a law has fewer parameters; ``waves`` [n, j] and ``wave``
    [j] the misfit's features, of standard normal weights; ``aim_log`` [S] the target's log loss.
    """

    laws: tuple[str, ...]
    slopes: Floats
    aim: Floats
    aim_log: Floats
    waves: Floats
    wave: Floats
    noise: Noise
    _told: dict[Trunk, Told] = field(default_factory=dict)

    def told(self, trunk: Trunk) -> Told:
        """What the runs of one trunk tell."""
        found = self._told.get(trunk)
        if found is None:
            rows = self.slopes[:, list(trunk)]
            across = np.swapaxes(rows, 1, 2)
            total = rows.sum(axis=1)
            gram = across @ rows
            shared = self.noise.trunk_log**2 * total[:, :, None] * total[:, None, :]
            lean = across @ self.waves[list(trunk)]
            found = self._told[trunk] = Told(gram, self.noise.run_log**2 * gram + shared, lean)
        return found

    def whole(self, trunks: Iterable[Trunk]) -> Told:
        """The prior and what these trunks tell.

        The prior is as good as one run's own noise on each coordinate: where there are runs it
        hardly counts, where there are none it keeps the variance finite.
        """
        count, _, width = self.slopes.shape
        one = np.tile(np.eye(width), (count, 1, 1))
        own = self.noise.run_log**2
        total = Told(own * one, own**2 * one, np.zeros((count, width, len(self.wave))))
        for trunk in trunks:
            total = total + self.told(trunk)
        return total

    def variance(self, told: Told) -> Floats:
        """Variance [..., S] of the log loss forecast at the target, under each truth."""
        aim = np.broadcast_to(self.aim, told.gram.shape[:-1])
        pull = np.linalg.solve(told.gram, aim[..., None])
        across = np.swapaxes(pull, -1, -2)
        own = (across @ told.scatter @ pull)[..., 0, 0]
        apart = (across @ told.lean)[..., 0, :] - self.wave
        return np.asarray(np.maximum(own, 0.0) + (apart**2).sum(axis=-1))

    def score(self, variance: Floats) -> Floats:
        """What a design makes small: mean over truths of log(variance + a new run's own).

        A mean of logarithms: no truth under which the forecast is hopeless decides alone. What
        lies below a new run's noise is not worth buying. ``variance`` [..., S].
        """
        return np.asarray(np.log(variance + self.noise.new_run_log**2).mean(axis=-1))


def believe(
    truths: Sequence[Truth], runs: Runs, target: tuple[float, float], noise: Noise
) -> Beliefs:
    """The gradients of ``runs`` and of the ``target`` (params, tokens) under each truth."""
    width = max(len(truth.internal) for truth in truths)
    there = np.array([target[0]]), np.array([target[1]])
    waves, wave = _misfit(runs, there)
    slopes = np.zeros((len(truths), len(runs.params), width))
    aim, aim_log = np.zeros((len(truths), width)), np.zeros(len(truths))
    for number, truth in enumerate(truths):
        change = whitening(truth, runs)
        size = len(truth.internal)
        value, at_target = truth.at(*there)
        aim_log[number] = value[0]
        slopes[number, :, :size] = truth.at(runs.params, runs.tokens)[1] @ change
        aim[number, :size] = (at_target @ change)[0]
    return Beliefs(
        laws=tuple(truth.law for truth in truths),
        slopes=slopes,
        aim=aim,
        aim_log=aim_log,
        waves=noise.misfit_log * waves,
        wave=noise.misfit_log * wave[0],
        noise=noise,
    )


def _anchors(runs: Runs) -> tuple[Floats, Floats]:
    """Nine places over the runs' box in params and tokens per param, [9] each."""
    return _lattice(runs, _ANCHORS, _ANCHORS)


def _lattice(runs: Runs, sizes: int, horizons: int) -> tuple[Floats, Floats]:
    ratios = runs.tokens / runs.params
    axes = [
        np.geomspace(x.min(), x.max(), count)
        for x, count in ((runs.params, sizes), (ratios, horizons))
    ]
    params, ratio = (grid.ravel() for grid in np.meshgrid(*axes))
    return params, params * ratio


def _misfit(runs: Runs, there: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """The misfit's features at the runs [n, j] and the target [1, j]; of unit variance.

    A squared-exponential process in log params and log tokens, by its values at a lattice
    (Quinonero-Candela 2005, "A unifying view of sparse approximate Gaussian process regression").
    """
    held = np.log(np.stack(_lattice(runs, *_INDUCING)))

    def kernel(a: Floats, b: Floats) -> Floats:
        apart = ((a[:, :, None] - b[:, None, :]) ** 2).sum(axis=0)
        return np.asarray(np.exp(-apart / (2 * _MISFIT_LENGTH**2)))

    values, axes = np.linalg.eigh(kernel(held, held))
    root = axes / np.sqrt(np.maximum(values, 1e-6))
    places = np.log(np.stack([runs.params, runs.tokens])), np.log(np.stack(there))
    at_runs, at_target = (kernel(place, held) @ root for place in places)
    return at_runs, at_target


def whitening(truth: Truth, runs: Runs) -> Floats:
    """[k, k]: internal parameters = this times coordinates whose prior is standard normal."""
    slopes = truth.at(*_anchors(runs))[1]
    precision = slopes.T @ slopes / PRIOR_LOG**2
    # scaled first: coefficients and exponents differ by orders of magnitude
    scale = 1 / np.sqrt(np.maximum(np.diag(precision), 1e-300))
    scale = np.minimum(scale, 1e3)
    values, axes = np.linalg.eigh(precision * scale[:, None] * scale[None, :])
    values = np.maximum(values, values[-1] * _RIDGE)
    return np.asarray(scale[:, None] * axes / np.sqrt(values))


def draws(truth: Truth, runs: Runs, count: int, generator: np.random.Generator) -> list[Truth]:
    """``count`` truths near ``truth``: the law refitted to anchors whose losses differ a little."""
    law = load_law(truth.law)
    params, tokens = _anchors(runs)
    known = columns(params, tokens)
    losses = np.exp(truth.at(params, tokens)[0])
    problem = Problem(law, {v: known[v] for v in law.variables}, losses, Objective(loss="mse_log"))
    near = problem.solve(problem.starts()[:: max(1, len(problem.starts()) // 8)])
    optimum = near.internal[int(near.objective.argmin())]
    targets = np.log(losses) + DRAW_LOG * generator.standard_normal((count, len(losses)))
    found = problem.solve(np.tile(optimum, (count, 1)), targets=targets, max_steps=200)
    return [Truth(truth.law, law.internal(problem.form(row))) for row in found.internal]
