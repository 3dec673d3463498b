"""The ``Law`` value: terms that are log-linear in parameters, exact derivatives of log L."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Variables = Mapping[str, Floats]


def root(value: float, exponent: float) -> float:
    """value^(1 / exponent), infinite where that passes the largest float."""
    if value <= 0 or exponent <= 0:
        return 0.0 if value <= 0 else math.inf
    power = math.log(value) / exponent
    return math.exp(power) if power < 700 else math.inf


@dataclass(frozen=True, kw_only=True)
class Term:
    """exp(intercept + sum over (variable, sign, exponent) of sign * exponent * log variable).

    ``coefficient`` names the parameter exp(intercept); ``slopes`` are (variable, factor,
    exponent name) with the factor usually -1; an exponent of None stands for the constant 1.
    """

    coefficient: str
    slopes: tuple[tuple[str, float, str | None], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Law:
    """A loss law L(variables; parameters), nats per token.

    ``exponents`` maps each exponent to its (low, high) bounds; ``power`` names the outer
    exponent kappa, if any; ``to_public`` turns {parameter: value} as the terms have them into
    the published form's parameters (identity unless given). Parameters are ordered: the
    terms' coefficients, the exponents, the power. ``internal`` vectors hold logarithms of the
    coefficients relative to the variables' centres, for conditioning.
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

    @cached_property
    def variables(self) -> tuple[str, ...]:
        """The variables it needs: of ``params``, ``tokens``, ``flops``."""
        used = [variable for term in self.terms for variable, _, _ in term.slopes]
        return tuple(dict.fromkeys(used))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Internal parameters in order, by the names of their terms' form."""
        power = (self.power,) if self.power else ()
        return (*(t.coefficient for t in self.terms), *self.exponents, *power)

    def design(self, logs: Variables) -> tuple[Floats, Floats]:
        """u = offset + U p: U [n, terms, parameters without power], offset [n, terms].

        ``logs`` are logarithms of the variables, centred or not.
        """
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
        return matrix, offset

    def log_loss(
        self, internal: Floats, matrix: Floats, offset: Floats
    ) -> tuple[Floats, Floats, Floats]:
        """log L [R, n], the terms' shares [R, n, terms], log of their sum [R, n].

        ``internal`` is a batch of parameter vectors [R, k].
        """
        width = matrix.shape[2]
        flat = matrix.reshape(-1, width)
        u = (internal[:, :width] @ flat.T).reshape(len(internal), *offset.shape) + offset
        top = u.max(axis=2)
        shares = np.exp(u - top[:, :, None])
        total = shares.sum(axis=2)
        log_sum = top + np.log(total)
        shares /= total[:, :, None]
        kappa = internal[:, width:] if self.power else np.ones((len(internal), 1))
        return kappa * log_sum, shares, log_sum

    def predict(self, params: Mapping[str, float], variables: Variables) -> Floats:
        """L [n] in nats per token for parameters in the published form."""
        form = self.from_public(dict(params))
        logs = {name: np.log(np.asarray(variables[name], dtype=float)) for name in self.variables}
        matrix, offset = self.design(logs)
        with np.errstate(divide="ignore"):  # a coefficient of 0 is a term that is not there
            head = [np.log(form[t.coefficient]) for t in self.terms]
        tail = [form[name] for name in self.names[len(self.terms) :]]
        internal = np.maximum(np.array([[*head, *tail]]), -1e6)
        return np.asarray(np.exp(self.log_loss(internal, matrix, offset)[0][0]))
