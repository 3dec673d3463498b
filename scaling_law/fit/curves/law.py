"""Laws of the loss along training under any learning-rate schedule.

With the learning rate eta, a fraction of the highest one, and time t in units of the longest run,

    L(t) = L0 + A T(t)^-alpha - B sum_k (eta_{k-1}^q - eta_k^q) G(C eta_k^-gamma S_k(t))
    T(t) = integral of eta^p,  S_k(t) = integral of eta since k,  G(x) = 1 - (1 + x/beta)^-beta

The power term is progress, the sum what falling rates give back: noise that leaves the loss as the
run forgets the steps at the higher rate. ``multi_power`` is the multi-power law (Luo 2025, arXiv
2503.12811, equations 1 to 3): p = q = 1. ``progress``, the default, lets progress slow down less
than the rate does (p < 1), the noise shrink less than it does (q < 1), and forgets in the intrinsic
time S alone (gamma = 0), as the functional scaling law does (Li 2025, arXiv 2509.19189). What is
known of its p and q was chosen by leaving out each of three curves that Luo 2025 published at each
of three sizes (benchmarks/NOTES.md): their other six, and our own runs, were no part of the choice.

Curves whose rate falls only at the end say nothing of p, how far progress slows with the rate: what
a fit makes of them is the law's misfit. It is then held at what is known, and as unsure as that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from scaling_law.fit.curves.curve import Floats, Rate

# The parameters of a group, and those that all groups share; logarithms of what is positive.
OWN = ("L0", "log_A", "log_alpha", "log_B")
SHARED = ("log_C", "log_beta", "gamma", "p", "q")
SLOWING = SHARED.index("p")
_LEAST = 1e-9  # a rate of nothing, as a fraction of the highest


@dataclass(frozen=True, kw_only=True)
class CurveLaw:
    """A law with what is known of its shared parameters before any curve is seen.

    ``name`` is what ``--law`` takes; ``source`` says where it comes from;
    ``centre`` and ``spread`` are the mean and standard deviation of each of ``SHARED``; a spread of
    0 holds the parameter at its centre.
    """

    name: str
    source: str
    centre: tuple[float, ...]
    spread: tuple[float, ...]

    @property
    def free(self) -> list[int]:
        """The numbers of those of ``SHARED`` that are fitted."""
        return [i for i, spread in enumerate(self.spread) if spread]


PROGRESS = CurveLaw(
    name="progress",
    source="slaw; forgets as Li 2025, arXiv 2509.19189",
    centre=(math.log(200), 0.0, 0.0, 0.6, 0.7),
    spread=(2.0, 0.5, 0.0, 0.2, 0.05),
)
MULTI_POWER = CurveLaw(
    name="multi_power",
    source="Luo 2025, arXiv 2503.12811",
    centre=(math.log(200), math.log(0.6), 0.5, 1.0, 1.0),
    spread=(2.0, 1.0, 0.5, 0.0, 0.0),
)
LAWS = (PROGRESS, MULTI_POWER)


@dataclass(frozen=True)
class Course:
    """A learning rate as the law reads it, at the steps that are asked for.

    ``widths`` and ``rates`` integrate powers of the rate: the time between knots, and the rate at
    each knot; ``place`` is the number of the knot of each step asked for;
    ``before`` and ``after`` are the rates around each fall (or rise) after the warm-up;
    ``since`` is S from each fall to each step, 0 before it.
    """

    widths: Floats
    rates: Floats
    place: np.typing.NDArray[np.intp]
    before: Floats
    after: Floats
    since: Floats

    @property
    def here(self) -> Floats:
        """The rate at each step asked for."""
        return self.rates[self.place]


def course(rate: Rate, steps: Floats, peak: float, length: float) -> Course:
    """Return ``rate`` at ``steps``, in units of a highest rate and of a longest run."""
    knots, lr = rate.refined(steps)
    knots, eta = knots / length, np.maximum(lr / peak, _LEAST)
    widths = np.diff(knots)
    sums = np.concatenate([[0.0], np.cumsum(widths * (eta[1:] + eta[:-1]) / 2)])
    place = np.searchsorted(knots, steps / length - 1e-12)
    # the warm-up itself is no fall; the rate that it ends at is one from the highest rate of all
    first = int(np.searchsorted(knots, rate.warmup_steps / length - 1e-12))
    before = np.concatenate([[1.0], eta[first:-1]])
    after = np.concatenate([[eta[first]], eta[first + 1 :]])
    middles = np.concatenate([[sums[first]], (sums[first:-1] + sums[first + 1 :]) / 2])
    ends = np.concatenate([[first], np.arange(first + 1, len(knots))])
    changing = np.abs(before - after) > 1e-12
    before, after, middles, ends = (one[changing] for one in (before, after, middles, ends))
    since = np.where(
        ends[np.newaxis] <= place[:, np.newaxis],
        np.maximum(sums[place][:, np.newaxis] - middles, 0.0),
        0.0,
    )
    return Course(widths, eta, place, before, after, since)


def loss_and_slopes(theta: Floats, at: Course) -> tuple[Floats, Floats, Floats]:
    """Return the loss at each step, its derivatives by ``OWN`` and ``SHARED``, and its steepness.

    The steepness is minus the derivative of the power term by time, in units of the longest run:
    what a small shift in time, such as another warm-up, does to the loss.
    """
    floor, log_a, log_alpha, log_b, log_c, log_beta, gamma, p, q = theta
    a, alpha, b, beta = np.exp([log_a, log_alpha, log_b, log_beta])
    powers, logs = at.rates**p, np.log(at.rates)
    time = _integral(powers, at)
    term = a * time**-alpha
    by_time = -alpha * term / time
    slopes = np.zeros((len(time), len(theta)))
    slopes[:, 0] = 1.0
    slopes[:, 1] = term
    slopes[:, 2] = -term * np.log(time) * alpha
    slopes[:, 7] = by_time * _integral(powers * logs, at)
    loss = floor + term
    steepness = -by_time * powers[at.place]
    if len(at.before):
        before, after = at.before**q, at.after**q
        falls = before - after
        x = np.exp(log_c) * at.after**-gamma * at.since
        logarithm = np.log1p(x / beta)
        left = np.exp(-beta * logarithm)
        given = b * ((1 - left) @ falls)
        loss = loss - given
        by_log_x = x * left / (1 + x / beta)
        slopes[:, 3] = -given
        slopes[:, 4] = -b * (by_log_x @ falls)
        slopes[:, 5] = -b * ((beta * left * (logarithm - x / (beta + x))) @ falls)
        slopes[:, 6] = b * (by_log_x @ (falls * np.log(at.after)))
        slopes[:, 8] = -b * ((1 - left) @ (before * np.log(at.before) - after * np.log(at.after)))
    return loss, slopes, steepness


def _integral(values: Floats, at: Course) -> Floats:
    """The integral over time of values at the knots, up to each step asked for."""
    sums = np.cumsum(at.widths * (values[1:] + values[:-1]) / 2)
    return np.concatenate([[0.0], sums])[at.place]
