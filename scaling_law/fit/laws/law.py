"""The ``Law`` value: a power of a sum of terms, each the exponential of a smooth function.

Most terms are log-linear in their parameters; a law may ``bend`` them (repeated data, broken
power laws, coupled terms). Derivatives of log L are exact either way.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from scaling_law.errors import listed, one_line

Floats = NDArray[np.float64]
Variables = Mapping[str, Floats]
# (internal [R, k], logarithms {variable: [n]}) -> what is added to the terms' logarithms
# [R, n, terms]; its derivatives [R, n, terms, k]; their derivatives summed with weights
# [R, n, terms] over points and terms: [R, k, k]
Bend = Callable[[Floats, Variables], Floats]
BendSlopes = Callable[[Floats, Variables], Floats]
BendCurvature = Callable[[Floats, Variables, Floats], Floats]
_STEP = 1e-5
_MOST_POWER = 700.0


def exp_within_floats(power: float) -> float:
    """e^power, or the largest or smallest such number that is a float above 0."""
    return math.exp(max(-_MOST_POWER, min(power, _MOST_POWER)))


def root(value: float, exponent: float) -> float:
    """value^(1 / exponent), infinite where that overflows."""
    if value <= 0 or exponent <= 0:
        return 0.0 if value <= 0 else math.inf
    power = math.log(value) / exponent
    return math.exp(power) if power < _MOST_POWER else math.inf


@dataclass(frozen=True, kw_only=True)
class Term:
    """exp(intercept + sum over slopes of factor * exponent * log variable).

    ``coefficient``: name of the parameter exp(intercept).
    ``slopes``: (variable, factor, name of the exponent); the factor is usually -1, and an exponent
        of None stands for the constant 1.
    """

    coefficient: str
    slopes: tuple[tuple[str, float, str | None], ...] = ()


@dataclass(frozen=True)
class Basis:
    """The points that a law is evaluated at: u = offset + matrix p + bend.

    ``matrix``: [n, terms, parameters without power].
    ``offset``: [n, terms].
    ``logs``: logarithms of the variables, for the bend.
    """

    matrix: Floats
    offset: Floats
    logs: Variables

    @cached_property
    def columns(self) -> tuple[tuple[NDArray[np.intp], Floats], ...]:
        """For each term: the places of its parameters, and the matrix's columns there [p, n]."""
        columns = []
        for j in range(self.matrix.shape[1]):
            places = np.flatnonzero(self.matrix[:, j].any(axis=0))
            columns.append((places, np.ascontiguousarray(self.matrix[:, j, places].T)))
        return tuple(columns)

    @cached_property
    def pairs(self) -> tuple[Floats, ...]:
        """For each term: the products of its columns, two by two [n, p * p]."""
        return tuple(
            (rows.T[:, :, None] * rows.T[:, None, :]).reshape(rows.shape[1], -1)
            for _, rows in self.columns
        )


@dataclass(frozen=True, kw_only=True)
class Law:
    """A loss law L(variables; parameters), in nats per token.

    Parameters are ordered: the terms' coefficients, the exponents, the power. ``internal`` vectors
    hold logarithms of the coefficients relative to the variables' centres, for conditioning.

    ``name``: what users call it.
    ``terms``: the terms of the sum.
    ``exponents``: every exponent, and every other parameter but the coefficients -> (low, high)
        bounds.
    ``latex``: the equation.
    ``source``: paper and equation.
    ``power``: name of the outer exponent kappa; None: there is none.
    ``power_bounds``: its (low, high) bounds.
    ``to_public``: turns {parameter: value} as the terms have them into the published parameters.
    ``from_public``: the inverse.
    ``bend``: what is added to the terms' logarithms; None: nothing.
    ``bend_slopes``: its exact derivatives.
    ``bend_curvature``: their derivatives, where differences of ``bend_slopes`` would be slow.
    ``also_needs``: variables of the bend alone -> the variable whose centre they share.
    ``uncentre``: corrects what the terms' slopes do not say about the centres.
    ``grid``: start values of a parameter, where the default (0 to 1) would miss them.
    ``lacking``: says why variables cannot determine the parameters; "": they can.
    ``surface``: gives the fields of ``fit.surface.Surface``, where the terms do not show them.
    ``falls_by``: ``params`` and ``tokens`` -> names of the parameters whose product is the exponent
        by which what is above the irreducible loss falls with them, where the terms do not show it.
    ``fitted_on``: the points that ``slaw fit`` fits it to: ``all``, ``repeated`` (all, with
        repeated data), ``params`` or ``tokens`` (the runs that this alone limits), ``envelope``
        (the best for their compute), or "" for only when asked.
    ``rank``: place in the order of preference among the laws of ``all``, the lowest first.
    ``file_sha256``: the hash of the user's own file that it comes from; None: the package's.
    """

    name: str
    terms: tuple[Term, ...]
    exponents: Mapping[str, tuple[float, float]]
    latex: str
    source: str
    power: str | None = None
    power_bounds: tuple[float, float] = (0.01, 2.0)
    to_public: Callable[[dict[str, float]], dict[str, float]] = field(default=lambda p: p)
    from_public: Callable[[dict[str, float]], dict[str, float]] = field(default=lambda p: p)
    bend: Bend | None = None
    bend_slopes: BendSlopes | None = None
    bend_curvature: BendCurvature | None = None
    also_needs: Mapping[str, str] = field(default_factory=dict)
    uncentre: Callable[[dict[str, float], Mapping[str, float]], dict[str, float]] = field(
        default=lambda p, centres: p
    )
    grid: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    lacking: Callable[[Variables], str] = field(default=lambda variables: "")
    surface: Callable[[Mapping[str, float]], dict[str, float]] | None = None
    falls_by: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fitted_on: str = ""
    rank: int = 0
    file_sha256: str | None = None

    def __str__(self) -> str:
        return self.name

    @cached_property
    def variables(self) -> tuple[str, ...]:
        """The variables it needs, of ``params``, ``tokens``, ``flops``, ``tokens_unique``."""
        used = [variable for term in self.terms for variable, _, _ in term.slopes]
        return tuple(dict.fromkeys([*used, *self.also_needs]))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The internal parameters in order, by the names that the terms use."""
        power = (self.power,) if self.power else ()
        return (*(t.coefficient for t in self.terms), *self.exponents, *power)

    @cached_property
    def slopes_by(self) -> Mapping[str, tuple[str, ...]]:
        """``falls_by``, read off the terms where it is not given.

        A variable is left out whose term has a factor besides its exponent, or no exponent.
        """
        if self.falls_by:
            return self.falls_by
        outer = (self.power,) if self.power else ()
        return {
            variable: (exponent, *outer)
            for term in self.terms
            if len(term.slopes) == 1
            for variable, factor, exponent in term.slopes
            if factor == -1.0 and exponent
        }

    def on(self, variable: str) -> Law:
        """This law of FLOPs alone as a law of another single variable.

        Raises ``ValueError`` for a law of anything else.
        """
        if self.variables != ("flops",):
            raise ValueError(f"law {self.name} is not a law of FLOPs alone")

        def moved(function: Callable[..., Floats]) -> Callable[..., Floats]:
            return lambda x, logs, *more: function(x, {"flops": logs[variable]}, *more)

        def uncentred(values: dict[str, float], centres: Mapping[str, float]) -> dict[str, float]:
            return self.uncentre(values, {"flops": centres[variable]})

        terms = tuple(
            Term(
                coefficient=term.coefficient,
                slopes=tuple((variable, factor, name) for _, factor, name in term.slopes),
            )
            for term in self.terms
        )
        return dataclasses.replace(
            self,
            name=f"{self.name}:{variable}",
            terms=terms,
            latex=self.latex.replace("C", variable[0].upper()),
            bend=moved(self.bend) if self.bend else None,
            bend_slopes=moved(self.bend_slopes) if self.bend_slopes else None,
            bend_curvature=moved(self.bend_curvature) if self.bend_curvature else None,
            uncentre=uncentred,
            lacking=lambda variables: self.lacking({"flops": variables[variable]}),
            fitted_on=variable,
        )

    def centres(self, logs: Variables) -> dict[str, float]:
        """Mean logarithm of each variable; ``also_needs`` shares that of another."""
        shared = {name: self.also_needs.get(name, name) for name in self.variables}
        return {name: float(np.mean(logs[of])) for name, of in shared.items()}

    def basis(self, logs: Variables) -> Basis:
        """The terms at these logarithms of the variables, centred or not."""
        count = len(next(iter(logs.values()))) if logs else 1
        width = len(self.terms) + len(self.exponents)
        matrix = np.zeros((count, len(self.terms), width))
        offset = np.zeros((count, len(self.terms)))
        for j, term in enumerate(self.terms):
            matrix[:, j, j] = 1.0
            for variable, factor, exponent in term.slopes:
                if exponent is None:
                    offset[:, j] += factor * logs[variable]
                else:
                    matrix[:, j, self.names.index(exponent)] += factor * logs[variable]
        return Basis(matrix, offset, logs)

    def log_terms(self, internal: Floats, basis: Basis) -> Floats:
        """The terms' logarithms [R, n, terms] for a batch of parameter vectors [R, k].

        In memory points come last, here and below: loops over the few terms or parameters of each
        point would take most of the time.
        """
        u = np.empty((len(self.terms), len(internal), len(basis.offset)))
        for j, (places, rows) in enumerate(basis.columns):
            np.matmul(internal[:, places], rows, out=u[j])
        u += basis.offset.T[:, None]
        terms = u.transpose(1, 2, 0)
        if self.bend is not None:
            terms += self.bend(internal, basis.logs)
        return terms

    def log_loss(self, internal: Floats, basis: Basis) -> tuple[Floats, Floats, Floats]:
        """log L [R, n], the terms' shares [R, n, terms], log of their sum [R, n].

        ``internal`` is a batch of parameter vectors [R, k].
        """
        shares = self.log_terms(internal, basis)
        each = shares.transpose(2, 0, 1)
        top = each[0].copy()
        for term in each[1:]:
            np.maximum(top, term, out=top)
        for term in each:
            term -= top
        np.exp(each, out=each)
        total = each[0].copy()
        for term in each[1:]:
            total += term
        for term in each:
            term /= total
        log_sum = top + np.log(total)
        if not self.power:
            return log_sum, shares, log_sum
        return internal[:, -1:] * log_sum, shares, log_sum

    def slopes_of_terms(self, internal: Floats, basis: Basis) -> Floats | None:
        """Derivatives of the terms' logarithms [R, n, terms, k]; None: the basis has them all."""
        if self.bend_slopes is None:
            return None
        bent = self.bend_slopes(internal, basis.logs)
        return np.add(bent, basis.matrix, out=np.empty_like(bent))  # in the bend's own order

    def slopes_of_sum(
        self, internal: Floats, basis: Basis, shares: Floats, of_terms: Floats | None
    ) -> Floats:
        """d log sum / d parameter, without the power: [R, n, k].

        ``of_terms`` are the ``slopes_of_terms``.
        """
        slopes = np.zeros((basis.matrix.shape[2], *shares.shape[:2]))
        if of_terms is None:
            for j, (places, rows) in enumerate(basis.columns):
                for place, row in zip(places, rows, strict=True):
                    slopes[place] += shares[:, :, j] * row
        else:
            for j in range(shares.shape[2]):
                for place, slope in enumerate(slopes):
                    slope += shares[:, :, j] * of_terms[:, :, j, place]
        return slopes.transpose(1, 2, 0)

    def curvature_of_sum(
        self, internal: Floats, basis: Basis, pull: Floats, of_terms: Floats | None
    ) -> Floats:
        """Sum over points and terms of pull * (d u d u^T + d2 u): [R, k, k], without the power.

        ``pull`` [R, n, terms]; ``of_terms`` are the ``slopes_of_terms``.
        """
        if of_terms is None:
            width = basis.matrix.shape[2]
            total = np.zeros((len(internal), width, width))
            for j, (places, _) in enumerate(basis.columns):
                block = pull[:, :, j] @ basis.pairs[j]
                total[:, places[:, None], places] += block.reshape(-1, len(places), len(places))
            return total
        curvature = np.zeros((len(internal), internal.shape[1], internal.shape[1]))
        for j in range(pull.shape[2]):
            rows = of_terms[:, :, j]
            curvature += np.swapaxes(rows * pull[:, :, j, None], 1, 2) @ rows
        return curvature + self._bent_curvature(internal, basis.logs, pull)

    def _bent_curvature(self, internal: Floats, logs: Variables, pull: Floats) -> Floats:
        if self.bend_curvature is not None:
            return self.bend_curvature(internal, logs, pull)
        assert self.bend_slopes is not None
        columns = []
        for k in range(internal.shape[1]):
            ends = []
            for side in (_STEP, -_STEP):
                moved = internal.copy()
                moved[:, k] += side
                slopes = self.bend_slopes(moved, logs)
                ends.append(np.einsum("rnj,rnjk->rk", pull, slopes))
            columns.append((ends[0] - ends[1]) / (2 * _STEP))
        curvature = np.stack(columns, axis=2)
        return np.asarray(0.5 * (curvature + np.swapaxes(curvature, 1, 2)))

    def predict(self, params: Mapping[str, float], variables: Variables) -> Floats:
        """L [n] in nats per token for parameters in the published form."""
        return np.asarray(np.exp(self.log_losses(self.internal(params)[None], variables)[0]))

    def log_losses(self, internal: Floats, variables: Variables) -> Floats:
        """log L [R, n] of a batch of uncentred internal vectors [R, k]."""
        logs = {name: np.log(np.asarray(variables[name], dtype=float)) for name in self.variables}
        return self.log_loss(internal, self.basis(logs))[0]

    def internal(self, params: Mapping[str, float]) -> Floats:
        """The uncentred internal vector [k] of parameters in the published form."""
        form = self.from_public(dict(params))
        with np.errstate(divide="ignore"):  # with a coefficient of 0 the term is missing
            head = [np.log(form[t.coefficient]) for t in self.terms]
        tail = [form[name] for name in self.names[len(self.terms) :]]
        return np.asarray(np.maximum(np.array([*head, *tail]), -1e6))

    def slopes(self, internal: Floats, basis: Basis, shares: Floats, log_sum: Floats) -> Floats:
        """d log L / d parameter [R, n, k], from what ``log_loss`` returned."""
        inner = self.slopes_of_sum(internal, basis, shares, self.slopes_of_terms(internal, basis))
        return self.with_power(internal, inner, log_sum)

    def with_power(self, internal: Floats, inner: Floats, log_sum: Floats) -> Floats:
        """d log L / d parameter [R, n, k], from ``slopes_of_sum``."""
        if not self.power:
            return inner
        return np.concatenate([internal[:, None, -1:] * inner, log_sum[:, :, None]], axis=2)


VARIABLES = ("params", "tokens", "flops", "tokens_unique")


def why_broken(law: Law) -> str:
    """Say what in a law, which may be a user's own, breaks the contract of ``Law``; "" if nothing.

    It is evaluated at a few points, and its slopes are compared with differences.
    """
    if not law.terms or not all(isinstance(term, Term) for term in law.terms):
        return f"LAW.terms is {law.terms!r:.60}, expected Terms"
    for name in law.variables:
        if name not in VARIABLES:
            return f"LAW has a term in {name!r}, expected one of {', '.join(VARIABLES)}"
    if not law.variables:
        return f"LAW has no variable, expected terms in one of {', '.join(VARIABLES)}"
    used = [exponent for term in law.terms for _, _, exponent in term.slopes if exponent]
    for name in used:
        if name not in law.exponents:
            there = listed(tuple(law.exponents))
            return f"LAW.exponents lacks {name!r}, which a term has; it has {there}"
    twice = [name for name in law.names if law.names.count(name) > 1]
    if twice:
        return f"LAW has two parameters of the name {twice[0]!r}; rename one"
    for name, bounds in {**law.exponents, "power_bounds": law.power_bounds}.items():
        if not (len(bounds) == 2 and -math.inf < bounds[0] < bounds[1] < math.inf):
            return (
                f"the bounds of {name!r} are {bounds!r}, expected (low, high) with low below high"
            )
    if (law.bend is None) != (law.bend_slopes is None):
        return "LAW has one of bend and bend_slopes, expected both, or neither"
    if law.fitted_on not in ("", "all", "repeated", "params", "tokens", "envelope"):
        return (
            f"LAW.fitted_on is {law.fitted_on!r}, expected all, repeated, params, tokens, envelope"
            ' or ""'
        )
    try:
        return _why_not_evaluated(law)
    except Exception as problem:  # a user's own file may raise anything
        return f"LAW cannot be evaluated ({type(problem).__name__}: {one_line(str(problem))})"


def _why_not_evaluated(law: Law) -> str:
    """``why_broken`` at two parameter vectors and three points."""
    logs = {name: np.array([0.0, 0.7, 1.9]) for name in law.variables}
    basis = law.basis(logs)
    bounds = [*law.exponents.values(), *([law.power_bounds] if law.power else [])]
    vectors = np.array(
        [
            [0.3] * len(law.terms) + [low + t * (high - low) for low, high in bounds]
            for t in (0.4, 0.6)
        ]
    )
    log_loss, shares, log_sum = law.log_loss(vectors, basis)
    if log_loss.shape != (2, 3) or not np.isfinite(log_loss).all():
        return "LAW gives no finite loss within its bounds"
    slopes = law.slopes(vectors, basis, shares, log_sum)
    for column, name in enumerate(law.names):
        step = np.zeros(vectors.shape[1])
        step[column] = _STEP
        ends = [law.log_loss(vectors + side * step, basis)[0] for side in (1, -1)]
        by_difference = (ends[0] - ends[1]) / (2 * _STEP)
        if not np.allclose(slopes[:, :, column], by_difference, rtol=1e-3, atol=1e-5):
            return f"LAW.bend_slopes of {name!r} are not the slopes of bend"
    values = {**{t.coefficient: 1.3 for t in law.terms}}
    values |= dict(
        zip(law.names[len(law.terms) :], vectors[0, len(law.terms) :].tolist(), strict=True)
    )
    again = law.from_public(law.to_public(dict(values)))
    if any(not math.isclose(again[name], value, rel_tol=1e-6) for name, value in values.items()):
        return "LAW.from_public does not undo to_public"
    return ""
