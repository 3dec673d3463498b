"""Weighted ways the loss may continue beyond the data, and what a forecast reads off them.

A world is one law with one set of parameters and one misfit: what neither the law nor its
parameters explain. Everything that is said of a target is a function of the same worlds, so that
no two answers contradict each other. Every world's loss falls with params and with tokens; so do
the point forecast, which is the mean of log L, and the ends of every interval, which are quantiles
of the worlds with a new run's noise added.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling_law.fit.laws.law import Floats
from scaling_law.fit.result import FitResult, LawShare
from scaling_law.fit.surface import Surface, surface_of

# Fewer worlds than this do not make an interval.
FEWEST_WORLDS = 20
# Resamples of a law that become worlds.
MOST_SAMPLES = 200
_HALVINGS = 50
# Share of the weight that must have an answer: without the others an interval is too narrow.
_MOST_HAVE_ONE = 0.9
_SURFACE = ("floor", "size_log", "size_exponent", "data_log", "data_exponent", "power")
_COLUMNS = ("weight", *_SURFACE, "size_bend", "data_bend")
_NOISE_REACH = 9.0  # standard deviations of noise beyond which no probability is left


@dataclass(frozen=True, kw_only=True, eq=False)
class Worlds:
    """Weighted ways the loss may continue: law x parameters x misfit.

    log L = log(floor + (exp(size_log) N^-size_exponent + exp(data_log) D^-data_exponent)
    ^power), with N and D beyond an edge, the mean of the most expensive runs, replaced by values
    whose logarithms lie ``bend`` times as far beyond it. All arrays are [W].

    ``law``: the law of each world.
    ``weight``: its weight; they add up to 1.
    ``floor``: the irreducible loss, in nats per token.
    ``size_log``: logarithm of the size term's coefficient.
    ``size_exponent``: exponent of params.
    ``data_log``: logarithm of the data term's coefficient.
    ``data_exponent``: exponent of tokens.
    ``power``: the outer exponent.
    ``size_bend``: factor on the slope in log params beyond the edge, above 0; 1: none.
    ``data_bend``: factor on the slope in log tokens beyond the edge, likewise.
    ``size_edge``: log of the params beyond which the misfit counts.
    ``data_edge``: log of the tokens beyond which it counts.
    ``noise_log``: standard deviation of a new run's log loss.
    ``notes``: what a reader should know, such as that there is one law only.
    """

    law: tuple[str, ...]
    weight: Floats
    floor: Floats
    size_log: Floats
    size_exponent: Floats
    data_log: Floats
    data_exponent: Floats
    power: Floats
    size_bend: Floats
    data_bend: Floats
    size_edge: float
    data_edge: float
    noise_log: float
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in _COLUMNS:
            column = getattr(self, name)
            if column.shape != (len(self.law),):
                raise ValueError(f"{name}: {column.shape} values for {len(self.law)} worlds")
        if not (self.law and (self.weight >= 0).all() and abs(self.weight.sum() - 1) < 1e-6):
            raise ValueError(f"weights of {len(self.law)} worlds: expected to add up to 1")
        if not ((self.size_bend > 0).all() and (self.data_bend > 0).all()):
            raise ValueError("bends: expected above 0")

    def __len__(self) -> int:
        return len(self.law)

    def log_loss(self, params: Floats, tokens: Floats) -> Floats:
        """log L [W, n] of each world at ``params`` and ``tokens`` [n], or [W, n] each."""
        terms = self.terms(_logs(params), _logs(tokens))
        return np.asarray(np.logaddexp(self.floor_log, terms.above))

    def point_log(self, params: Floats, tokens: Floats) -> Floats:
        """The point forecast [n]: the mean over worlds of log L."""
        return np.asarray(self.weight @ self.log_loss(params, tokens))

    def point_at(self, params: float, tokens: float) -> float:
        """The point forecast's log loss at one place, as ``forecast.optima`` searches it."""
        return float(self.point_log(np.array([params]), np.array([tokens]))[0])

    def quantiles(self, log_losses: Floats, shares: Sequence[float]) -> Floats:
        """Quantiles [s, n] of a new run's log loss, from the worlds' ``log_losses`` [W, n].

        A new run's noise is normal, of one standard deviation everywhere: no end of an interval
        rises where every world's loss falls.
        """
        if not self.noise_log > 0:
            return weighted_quantiles(log_losses, self.weight, shares)
        reach = _NOISE_REACH * self.noise_log
        wanted = np.array(shares)[:, None]
        low = np.broadcast_to(log_losses.min(axis=0) - reach, (len(shares), log_losses.shape[1]))
        high = np.broadcast_to(log_losses.max(axis=0) + reach, low.shape)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            apart = (middle[:, None, :] - log_losses[None]) / self.noise_log
            below = np.einsum("w,swn->sn", self.weight, _normal_share(apart))
            short = below < wanted
            low, high = np.where(short, middle, low), np.where(short, high, middle)
        return np.asarray((low + high) / 2)

    def interval(
        self, params: Floats, tokens: Floats, level: float
    ) -> tuple[Floats, Floats] | None:
        """(low, high) [n] of a new run's log loss; None with too few worlds for one."""
        if len(self) < FEWEST_WORLDS:
            return None
        low, high = self.quantiles(self.log_loss(params, tokens), tails(level))
        return low, high

    @property
    def laws(self) -> dict[str, float]:
        """The weight of each law, the heaviest first."""
        weights = {name: float(self.weight[rows].sum()) for name, rows in self._rows.items()}
        return dict(sorted(weights.items(), key=lambda item: -item[1]))

    def by_law(self, params: float, tokens: float) -> tuple[LawShare, ...]:
        """What each law says of a target, the heaviest first."""
        values = self.log_loss(np.array([params]), np.array([tokens]))[:, 0]
        return tuple(
            LawShare(
                law=name,
                weight=weight,
                loss_nats=math.exp(float(np.average(values[rows], weights=self.weight[rows]))),
            )
            for name, weight in self.laws.items()
            if weight > 0
            for rows in [self._rows[name]]
        )

    def variance_shares(self, params: float, tokens: float) -> dict[str, float]:
        """The shares of the variance of a new run's log loss by cause; they add up to 1.

        ``laws``: between the laws' means. ``parameters``: within a law, over its parameters.
        ``misfit``: what bends add to that. ``new_run``: the run's own noise.
        """
        at = np.array([params]), np.array([tokens])
        values = self.log_loss(*at)[:, 0]
        plain = self.without_misfit().log_loss(*at)[:, 0]
        centre = float(self.weight @ values)
        between = within = parameters = 0.0
        for name, weight in self.laws.items():
            rows = self._rows[name]
            if weight <= 0:
                continue
            share = self.weight[rows] / weight
            mean = float(share @ values[rows])
            between += weight * (mean - centre) ** 2
            within += weight * float(share @ (values[rows] - mean) ** 2)
            parameters += weight * float(share @ (plain[rows] - share @ plain[rows]) ** 2)
        parameters = min(parameters, within)
        parts = {
            "laws": between,
            "parameters": parameters,
            "misfit": within - parameters,
            "new_run": self.noise_log**2,
        }
        total = sum(parts.values())
        return {name: part / total if total > 0 else 0.0 for name, part in parts.items()}

    def spread(self, own: Floats, level: float) -> tuple[float, float] | None:
        """Interval of a quantity from each world's ``own`` value [W]; None: too few have one."""
        known = ~np.isnan(own)
        if len(self) < FEWEST_WORLDS or self.weight[known].sum() < _MOST_HAVE_ONE:
            return None
        ends = weighted_quantiles(own[known][:, None], self.weight[known], tails(level))
        low, high = ends[:, 0].tolist()
        return low, high

    def drawn(self, count: int) -> Iterator[Callable[[float, float], float]]:
        """``count`` worlds by their weights, each as plain arithmetic for a search.

        Each gives log L of params and tokens.
        """
        reached = np.cumsum(self.weight)
        for share in (np.arange(count) + 0.5) / count:
            row = min(int(np.searchsorted(reached, share * reached[-1])), len(self) - 1)
            yield self._plain(row)

    def _plain(self, row: int) -> Callable[[float, float], float]:
        surface = Surface(**{name: float(getattr(self, name)[row]) for name in _SURFACE})
        edges = math.exp(self.size_edge), math.exp(self.data_edge)
        bends = float(self.size_bend[row]), float(self.data_bend[row])

        def log_loss(params: float, tokens: float) -> float:
            if params > edges[0]:
                params = edges[0] * (params / edges[0]) ** bends[0]
            if tokens > edges[1]:
                tokens = edges[1] * (tokens / edges[1]) ** bends[1]
            return surface.log_loss(params, tokens)

        return log_loss

    def floor_share(self, params: float, tokens: float) -> float:
        """The share of the loss that is irreducible, the mean over worlds."""
        values = self.log_loss(np.array([params]), np.array([tokens]))[:, 0]
        return float(self.weight @ (self.floor * np.exp(-values)))

    def refitted(self, fits: Mapping[str, FitResult], edges: tuple[float, float]) -> Worlds | None:
        """The same weights and misfit with the parameters of other fits.

        ``edges`` are the size and the data edge of their runs (``fit.make_worlds.edges_of``). None
        where the fits hold none of the laws.
        """
        surfaces = {name: surfaces_of(fits[name]) for name in self.laws if name in fits}
        rows = [row for row, name in enumerate(self.law) if surfaces.get(name)]
        if not rows:
            return None
        place = dict.fromkeys(surfaces, 0)
        chosen = []
        for row in rows:
            some = surfaces[self.law[row]]
            chosen.append(some[place[self.law[row]] % len(some)])
            place[self.law[row]] += 1
        columns = {name: getattr(self, name)[rows] for name in _COLUMNS}
        columns |= {name: np.array([getattr(one, name) for one in chosen]) for name in _SURFACE}
        columns["weight"] = columns["weight"] / columns["weight"].sum()
        changed: dict[str, Any] = dict(columns)
        changed |= dict(zip(("size_edge", "data_edge"), edges, strict=True))
        return dataclasses.replace(self, law=tuple(self.law[row] for row in rows), **changed)

    def repeated(self, copies: NDArray[np.int_]) -> Worlds:
        """Each world ``copies`` [W] times, at its weight together."""
        columns: dict[str, Any] = {
            name: np.repeat(getattr(self, name), copies) for name in _COLUMNS
        }
        columns["weight"] = columns["weight"] / np.repeat(copies, copies)
        law = tuple(np.repeat(np.array(self.law), copies).tolist())
        return dataclasses.replace(self, law=law, **columns)

    def to_json(self) -> dict[str, Any]:
        """Plain values, exact; the arrays as ``_packed`` has them, null for an infinity."""
        columns = {
            name: _packed([None if math.isinf(x) else x for x in getattr(self, name).tolist()])
            for name in _COLUMNS
        }
        rest = {name: getattr(self, name) for name in ("size_edge", "data_edge", "noise_log")}
        return {"law": _packed(self.law), **columns, **rest, "notes": list(self.notes)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Worlds:
        """The inverse of ``to_json``.

        Raises ``TypeError``, ``KeyError`` or ``ValueError`` for damaged data.
        """
        values: dict[str, Any] = {
            name: np.array([-math.inf if x is None else float(x) for x in _unpacked(data[name])])
            for name in _COLUMNS
        }
        values |= {name: float(data[name]) for name in ("size_edge", "data_edge", "noise_log")}
        return cls(law=tuple(_unpacked(data["law"])), notes=tuple(data["notes"]), **values)

    @functools.cached_property
    def _rows(self) -> dict[str, NDArray[np.bool_]]:
        """Which worlds are of each law [W], by its name."""
        names = np.array(self.law)
        return {name: names == name for name in dict.fromkeys(self.law)}

    @functools.cached_property
    def floor_log(self) -> Floats:
        """The logarithm of the irreducible loss [W, 1]; -inf where there is none."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.floor)[:, None])

    def side(self, side: str, at: Floats) -> Side:
        """The size or the data term at logarithms ``at`` [n] or [W, n]."""
        log, exponent, bend = (
            getattr(self, f"{side}_{name}")[:, None] for name in ("log", "exponent", "bend")
        )
        edge = getattr(self, f"{side}_edge")
        beyond = np.maximum(at - edge, 0.0)
        value = log - exponent * (np.minimum(at, edge) + bend * beyond)
        return Side(value, exponent * np.where(at > edge, bend, 1.0))

    def terms(self, x: Floats, y: Floats) -> Terms:
        """Both terms at log params ``x`` and log tokens ``y``, [n] or [W, n]."""
        size, data = self.side("size", x), self.side("data", y)
        total = np.logaddexp(size.log, data.log)
        return Terms(size, data, total, self.power[:, None] * total)

    def mirrored(self) -> Worlds:
        """The same worlds with size and data exchanged."""
        sides = ("log", "exponent", "bend", "edge")
        return dataclasses.replace(
            self,
            **{f"size_{name}": getattr(self, f"data_{name}") for name in sides},
            **{f"data_{name}": getattr(self, f"size_{name}") for name in sides},
        )

    def without_misfit(self) -> Worlds:
        """The same worlds, which bend nowhere."""
        one = np.ones(len(self))
        return dataclasses.replace(self, size_bend=one, data_bend=one)


@dataclass(frozen=True)
class Side:
    """A term of the law at n places: its logarithm and its exponent there [W, n]."""

    log: Floats
    slope: Floats


@dataclass(frozen=True)
class Terms:
    """Both terms, the logarithm of their sum, and that times the outer power [W, n]."""

    size: Side
    data: Side
    total: Floats
    above: Floats


def weighted_quantiles(values: Floats, weight: Floats, shares: Sequence[float]) -> Floats:
    """The least values [s, n] below or at which ``shares`` of the ``weight`` of [W, n] lies."""
    order = np.argsort(values, axis=0, kind="stable")
    ordered = np.take_along_axis(values, order, axis=0)
    reached = np.cumsum(weight[order], axis=0)
    rows = [
        np.minimum((reached < share * reached[-1] - 1e-12).sum(axis=0), len(values) - 1)
        for share in shares
    ]
    return np.stack([np.take_along_axis(ordered, row[None], axis=0)[0] for row in rows])


_TABLE_STEPS = 2000


@functools.cache
def _normal_table() -> tuple[Floats, Floats, Floats]:
    """(deviations, share of the normal distribution below them, slope from each to the next).

    Linear in between to 1e-5; the last slope is 0.
    """
    places = np.linspace(-_NOISE_REACH, _NOISE_REACH, _TABLE_STEPS + 1)
    shares = np.array([NormalDist().cdf(place) for place in places.tolist()])
    return places, shares, np.append(np.diff(shares) / np.diff(places), 0.0)


def _normal_share(deviations: Floats) -> Floats:
    """The share of the normal distribution below so many standard deviations.

    From a table: scipy's would take longer to load than a forecast takes, and a table never falls.
    Its places are equally far apart, so that each row is computed; ``np.interp``, which gives the
    same bits, searches for it and takes five times as long.
    """
    places, shares, slopes = _normal_table()
    at = np.minimum(np.maximum(deviations, -_NOISE_REACH), _NOISE_REACH)
    row = ((at + _NOISE_REACH) * (_TABLE_STEPS / (2 * _NOISE_REACH))).astype(np.intp)
    row -= places[row] > at  # the computed row is off by rounding, by one at most
    row += places[np.minimum(row + 1, _TABLE_STEPS)] <= at
    row = np.minimum(row, _TABLE_STEPS)
    return np.asarray(shares[row] + slopes[row] * (at - places[row]))


def tails(level: float) -> tuple[float, float]:
    return 0.5 - level / 2, 0.5 + level / 2


def _logs(values: Floats) -> Floats:
    """Logarithms of [n] or [W, n], as [1, n] or [W, n]."""
    return np.asarray(np.log(np.atleast_2d(values)))


def _packed(column: Sequence[Any]) -> list[Any]:
    """A column as JSON holds it: [value, count] of equal values in a row where that is shorter."""
    runs = [[value, len(list(same))] for value, same in groupby(column)]
    return runs if 2 * len(runs) <= len(column) else list(column)


def _unpacked(stored: list[Any]) -> list[Any]:
    if not stored or not isinstance(stored[0], list):
        return stored
    return [value for value, count in stored for _ in range(count)]


def worlds_of(
    fits: Mapping[str, FitResult],
    weights: Mapping[str, float] | None = None,
    *,
    noise_log: float,
    most: int | None = MOST_SAMPLES,
    notes: tuple[str, ...] = (),
) -> Worlds | None:
    """Worlds of these laws without misfit: the resamples of each, or its fit where it has none.

    ``weights`` are those of the laws, the same for each unless given; ``most`` is how many
    resamples of each count. None where no law's form is a surface.
    """
    surfaces = {name: some for name, fit in fits.items() if (some := surfaces_of(fit, most))}
    if not surfaces:
        return None
    given = weights or dict.fromkeys(surfaces, 1.0)
    members = [(name, given[name], some) for name, some in surfaces.items()]
    return worlds_without_misfit(members, noise_log=noise_log, notes=notes)


def worlds_without_misfit(
    members: Sequence[tuple[str, float, Sequence[Surface]]],
    *,
    noise_log: float,
    notes: tuple[str, ...] = (),
) -> Worlds:
    """Worlds of (law, its weight, the surfaces that share it); they bend nowhere.

    Their edges count for nothing: they lie at 1 parameter and 1 token.
    """
    rows = [surface for _, _, surfaces in members for surface in surfaces]
    each = [weight / len(surfaces) for _, weight, surfaces in members for _ in surfaces]
    columns = {name: np.array([getattr(row, name) for row in rows]) for name in _SURFACE}
    one = np.ones(len(rows))
    return Worlds(
        law=tuple(name for name, _, surfaces in members for _ in surfaces),
        weight=np.array(each) / sum(each),
        **columns,
        size_bend=one,
        data_bend=one,
        size_edge=0.0,
        data_edge=0.0,
        noise_log=noise_log,
        notes=notes,
    )


def surfaces_of(fit: FitResult, most: int | None = MOST_SAMPLES) -> list[Surface]:
    """The surfaces of a fit's resamples, or of itself without any; empty: its form has none."""
    law = fit.law
    if law.bend is not None and law.surface is None:
        return []
    surfaces = []
    for params in list(fit.sampled_params())[:most] or [fit.params]:
        try:
            surface = surface_of(law, params)
        except (OverflowError, ValueError):
            continue
        if surface is None:
            return []
        surfaces.append(surface)
    return surfaces
