"""How sharp a forecast a set of runs would give, from the laws linearised at their gradients.

A c-optimal design makes one variance small (Pukelsheim 1993, "Optimal design of experiments",
chapter 2): here the variance, at a target, of the forecast by the law that least squares in log
loss fits to the runs. The errors of the runs have three parts: each run's own, one that the
branches of a trunk share, and the law's misfit. No law holds exactly, and what it misses is a
smooth surface (a Gaussian process, as in Kennedy 2001, "Bayesian calibration of computer models")
that no number of seeds averages out and that pulls the fit towards where the runs are. Least
squares knows none of this, so its variance is the sandwich u' G' V G u, with u = (G' G)^-1 c,
G the gradients of the runs and c that of the target. More runs in the wrong place may make it
worse, as they do in reality.

The linearisation depends on parameters that are not known (Chernoff 1953, "Locally optimal
designs"), so the variance is computed under many planted laws at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from scaling_law.fit.laws.law import Floats, Law
from scaling_law.fit.result import FitResult
from scaling_law.fit.solver.solve import Objective, Problem

# The prior on any law before the first run: at nine places spread over the affordable runs its
# log loss is known to this standard deviation. It replaces a prior on parameters, whose
# units differ between laws.
PRIOR_LOG = 0.1
# Planted laws are drawn about a law as if its losses there had been read to this much.
DRAW_LOG = 0.05
# Directions in which no run can move the law get this share of the largest precision.
_RIDGE = 1e-10
_ANCHORS = 3
# The misfit changes over this factor, in e-folds, of params or tokens.
_MISFIT_LENGTH = math.log(5.0)
_INDUCING = (4, 3)


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Standard deviations of log loss.

    The defaults are those of the reference sweep (``results/reference``): seeds differ by .21%
    of the loss, hardly more between trunks than between the branches of one; and the coupled
    law, which fits it best, leaves .30%, so .2% that seeds do not explain.

    ``run_log``: of a run.
    ``trunk_log``: of a trunk, shared by its branches.
    ``misfit_log``: of the law's misfit.
    """

    run_log: float = 0.002
    trunk_log: float = 0.001
    misfit_log: float = 0.002

    @property
    def new_run_log(self) -> float:
        """The standard deviation of one new run about the law."""
        return math.hypot(self.run_log, self.trunk_log, self.misfit_log)


@dataclass(frozen=True)
class PlantedLaw:
    """A law with parameters that is taken for true, so that designs can be judged under it.

    ``law``: the law.
    ``internal``: its parameters as an uncentred internal vector [k].
    """

    law: Law
    internal: Floats

    def at(self, params: Floats, tokens: Floats) -> tuple[Floats, Floats]:
        """Log loss [n] and its gradient by the internal parameters [n, k]."""
        return log_slopes(self.law, self.internal, params, tokens)


def log_slopes(law: Law, internal: Floats, params: Floats, tokens: Floats) -> tuple[Floats, Floats]:
    """Log loss [n] and d log loss / d internal parameter [n, k] at runs [n]."""
    known = columns(params, tokens)
    basis = law.basis({name: np.log(known[name]) for name in law.variables})
    value, shares, log_sum = law.log_loss(internal[None], basis)
    return value[0], law.slopes(internal[None], basis, shares, log_sum)[0]


def columns(params: Floats, tokens: Floats) -> dict[str, Floats]:
    """The variables of laws, for runs that see each token once."""
    flops = 6 * params * tokens
    return {"params": params, "tokens": tokens, "tokens_unique": tokens, "flops": flops}


def planted_from(fit: FitResult, params: Mapping[str, float] | None = None) -> PlantedLaw:
    """A fit's law at its optimum, or at other ``params`` (a bootstrap sample, say)."""
    return PlantedLaw(fit.law, fit.law.internal(params or fit.params))


@dataclass(frozen=True)
class Runs:
    """Possible and finished runs.

    ``params``: parameters [n].
    ``tokens``: training tokens [n].
    """

    params: Floats
    tokens: Floats


Trunk = tuple[int, ...]
"""The numbers of a trunk's runs."""


@dataclass(frozen=True)
class Information:
    """The information of runs about the target, under each of S planted laws; it adds up over
    trunks.

    ``gram``: G'G [..., S, k, k].
    ``scatter``: G'VG without the misfit [..., S, k, k].
    ``lean``: how the misfit's features enter G'y [..., S, k, j].
    """

    gram: Floats
    scatter: Floats
    lean: Floats

    def __add__(self, other: Information) -> Information:
        return Information(
            self.gram + other.gram, self.scatter + other.scatter, self.lean + other.lean
        )

    def __sub__(self, other: Information) -> Information:
        return Information(
            self.gram - other.gram, self.scatter - other.scatter, self.lean - other.lean
        )

    def only(self, rows: NDArray[np.int64]) -> Information:
        """Some rows of a stack."""
        return Information(self.gram[rows], self.scatter[rows], self.lean[rows])


def stacked(parts: Sequence[Information]) -> Information:
    """Several as one, along a new first axis."""
    names = ("gram", "scatter", "lean")
    return Information(*(np.stack([getattr(part, name) for part in parts]) for name in names))


@dataclass
class Posterior:
    """Gradients of every run and of the target under S planted laws, in common coordinates.

    The prior is standard normal in these coordinates. Laws with fewer parameters than others are
    filled up with zeros.

    ``laws``: the name of each planted law's law [S].
    ``slopes``: gradients of the runs [S, n, k].
    ``target_slopes``: gradient at the target [S, k].
    ``target_log_loss``: log loss at the target [S].
    ``features``: the misfit's features at the runs, of standard normal weights [n, j].
    ``target_features``: the same at the target [j].
    ``noise``: of the runs.
    ``weights``: how much each planted law counts; they add up to 1 [S].
    """

    laws: tuple[str, ...]
    slopes: Floats
    target_slopes: Floats
    target_log_loss: Floats
    features: Floats
    target_features: Floats
    noise: Noise
    weights: Floats
    _by_trunk: dict[Trunk, Information] = field(default_factory=dict)

    def information(self, trunk: Trunk) -> Information:
        """The information of the runs of one trunk."""
        if trunk not in self._by_trunk:
            rows = self.slopes[:, list(trunk)]
            across = np.swapaxes(rows, 1, 2)
            total = rows.sum(axis=1)
            gram = across @ rows
            shared = self.noise.trunk_log**2 * total[:, :, None] * total[:, None, :]
            lean = across @ self.features[list(trunk)]
            own = self.noise.run_log**2 * gram
            self._by_trunk[trunk] = Information(gram, own + shared, lean)
        return self._by_trunk[trunk]

    def whole(self, trunks: Iterable[Trunk]) -> Information:
        """The prior and the information of these trunks.

        The prior is as good as one run's own noise on each coordinate: where there are runs it
        hardly counts, and where there are none it keeps the variance finite.
        """
        count, _, width = self.slopes.shape
        one = np.tile(np.eye(width), (count, 1, 1))
        own = self.noise.run_log**2
        lean = np.zeros((count, width, len(self.target_features)))
        total = Information(own * one, own**2 * one, lean)
        for trunk in trunks:
            total = total + self.information(trunk)
        return total

    def variance(self, information: Information) -> Floats:
        """Variance [..., S] of the log loss forecast at the target, under each planted law."""
        slopes = np.broadcast_to(self.target_slopes, information.gram.shape[:-1])
        pull = np.linalg.solve(information.gram, slopes[..., None])
        across = np.swapaxes(pull, -1, -2)
        own = (across @ information.scatter @ pull)[..., 0, 0]
        apart = (across @ information.lean)[..., 0, :] - self.target_features
        return np.asarray(np.maximum(own, 0.0) + (apart**2).sum(axis=-1))

    def score(self, variance: Floats) -> Floats:
        """What a design makes small: mean over planted laws of log(variance + a new run's own).

        By their weights. The mean is of logarithms, so that no single law under which the forecast
        is hopeless decides. What lies below a new run's noise is not worth buying. ``variance``
        [..., S].
        """
        return np.asarray(np.log(variance + self.noise.new_run_log**2) @ self.weights)


def posterior_of(
    planted: Sequence[PlantedLaw],
    runs: Runs,
    target: tuple[float, float],
    noise: Noise,
    weights: Sequence[float] | None = None,
) -> Posterior:
    """The gradients of ``runs`` and of the ``target`` (params, tokens) under each planted law.

    ``weights`` say how much each counts, the same unless given.
    """
    width = max(len(one.internal) for one in planted)
    there = np.array([target[0]]), np.array([target[1]])
    features, target_features = _misfit(runs, there)
    slopes = np.zeros((len(planted), len(runs.params), width))
    target_slopes, target_log_loss = np.zeros((len(planted), width)), np.zeros(len(planted))
    for number, one in enumerate(planted):
        change = whitening(one, runs)
        size = len(one.internal)
        value, at_target = one.at(*there)
        target_log_loss[number] = value[0]
        slopes[number, :, :size] = one.at(runs.params, runs.tokens)[1] @ change
        target_slopes[number, :size] = (at_target @ change)[0]
    return Posterior(
        laws=tuple(one.law.name for one in planted),
        slopes=slopes,
        target_slopes=target_slopes,
        target_log_loss=target_log_loss,
        features=noise.misfit_log * features,
        target_features=noise.misfit_log * target_features[0],
        noise=noise,
        weights=np.array(weights or [1.0] * len(planted)) / sum(weights or [1.0] * len(planted)),
    )


def anchors(runs: Runs) -> tuple[Floats, Floats]:
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
    """The misfit's features at the runs [n, j] and at the target [1, j], of unit variance.

    A squared-exponential process in log params and log tokens, represented by its values on a
    lattice (Quinonero-Candela 2005, "A unifying view of sparse approximate Gaussian process
    regression").
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


def whitening(planted: PlantedLaw, runs: Runs) -> Floats:
    """[k, k]: internal parameters = this times coordinates whose prior is standard normal."""
    slopes = planted.at(*anchors(runs))[1]
    precision = slopes.T @ slopes / PRIOR_LOG**2
    # scaled first: coefficients and exponents differ by orders of magnitude
    scale = 1 / np.sqrt(np.maximum(np.diag(precision), 1e-300))
    scale = np.minimum(scale, 1e3)
    values, axes = np.linalg.eigh(precision * scale[:, None] * scale[None, :])
    values = np.maximum(values, values[-1] * _RIDGE)
    return np.asarray(scale[:, None] * axes / np.sqrt(values))


def draws(
    planted: PlantedLaw, runs: Runs, count: int, generator: np.random.Generator
) -> list[PlantedLaw]:
    """``count`` laws near ``planted``: refitted to anchors whose losses differ a little."""
    losses = planted.at(*anchors(runs))[0]
    noise = DRAW_LOG * generator.standard_normal((count, len(losses)))
    return through(planted.law, runs, losses, losses + noise)


def through(law: Law, runs: Runs, near: Floats, log_losses: Floats) -> list[PlantedLaw]:
    """``law`` fitted to each of ``log_losses`` [c, 9] at the anchors, from its fit to ``near``."""
    known = columns(*anchors(runs))
    some = {variable: known[variable] for variable in law.variables}
    problem = Problem(law, some, np.exp(near), Objective(loss="mse_log"))
    first = problem.solve(problem.starts(8))
    optimum = first.internal[first.best]
    refits = problem.solve(
        np.tile(optimum, (len(log_losses), 1)), targets=log_losses, max_steps=200
    )
    return [PlantedLaw(law, law.internal(problem.form(row))) for row in refits.internal]
