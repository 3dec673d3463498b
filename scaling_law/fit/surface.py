"""A law in params and tokens as one surface, with its compute-optimal split in closed form.

Chinchilla's, Kaplan's joint and the coupled laws are all L = E + (A N^-alpha + B D^-beta)^kappa;
the minimum under C = 6ND is where alpha A N^-alpha = beta B D^-beta, whatever E and kappa are
(Hoffmann 2022, arXiv 2203.15556, equation 4).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from scaling_law.fit.laws import Law
from scaling_law.fit.split import Split, bounded_exp


@dataclass(frozen=True, kw_only=True)
class Surface:
    """floor + (exp(size_log) params^-size_exponent + exp(data_log) tokens^-data_exponent)^power.

    ``floor``: the irreducible loss in nats per token; 0 in laws without one.
    ``size_log``: logarithm of the size term's coefficient.
    ``size_exponent``: exponent of params.
    ``data_log``: logarithm of the data term's coefficient.
    ``data_exponent``: exponent of tokens.
    ``power``: the outer exponent; 1 in laws without one.
    """

    floor: float
    size_log: float
    size_exponent: float
    data_log: float
    data_exponent: float
    power: float

    def shares(self, params: float, tokens: float) -> dict[str, float]:
        """The shares of the loss by cause: ``floor``, ``size``, ``data``; they add up to 1.

        Under an outer power ``size`` and ``data`` share what is above the floor as their terms do.
        """
        size = bounded_exp(self.size_log - self.size_exponent * math.log(params))
        data = bounded_exp(self.data_log - self.data_exponent * math.log(tokens))
        above = bounded_exp(self.power * math.log(size + data)) if size + data > 0 else 0.0
        total = self.floor + above
        if not total > 0:
            return {"floor": 0.0, "size": 0.0, "data": 0.0}
        part = above / total / (size + data) if size + data > 0 else 0.0
        return {"floor": self.floor / total, "size": size * part, "data": data * part}

    def log_loss(self, params: float, tokens: float) -> float:
        """log L at a point, by plain arithmetic: a search evaluates it a hundred thousand times."""
        size = bounded_exp(self.size_log - self.size_exponent * math.log(params))
        data = bounded_exp(self.data_log - self.data_exponent * math.log(tokens))
        above = bounded_exp(self.power * math.log(size + data)) if size + data > 0 else 0.0
        return math.log(self.floor + above) if self.floor + above > 0 else -math.inf

    @property
    def split(self) -> Split | None:
        """The compute-optimal split; None where a term or its exponent is missing."""
        both = self.size_exponent + self.data_exponent
        if not (self.size_exponent > 0 and self.data_exponent > 0 and math.isfinite(both)):
            return None
        ratio = self.size_log + math.log(self.size_exponent)
        ratio -= self.data_log + math.log(self.data_exponent)
        if not math.isfinite(ratio):
            return None
        return Split(exponent=self.data_exponent / both, log_scale=ratio / both)


def surface_of(law: Law, params: Mapping[str, float]) -> Surface | None:
    """The surface of a law with these published parameters; None for single-variable laws.

    For a law of repeated data it is the surface where nothing is repeated.
    Raises ``OverflowError`` for parameters that overflow in the terms' form.
    """
    if not {"params", "tokens"} <= set(law.variables):
        return None
    if law.surface is not None:
        return Surface(**law.surface(params))
    form = law.from_public(dict(params))
    fields = {"floor": 0.0, "power": form[law.power] if law.power else 1.0}
    for term in law.terms:
        coefficient = form[term.coefficient]
        if not term.slopes:
            fields["floor"] = coefficient
            continue
        variable, factor, exponent = term.slopes[0]
        side = "size" if variable == "params" else "data"
        fields[f"{side}_log"] = math.log(coefficient) if coefficient > 0 else -math.inf
        fields[f"{side}_exponent"] = -factor * (form[exponent] if exponent else 1.0)
    return Surface(**fields)


def exponent_is_fixed(law: Law) -> bool:
    """Whether the law's form alone sets the exponent a of its split: no data can change it.

    So it is where both terms have one exponent, as Gadre's law.
    """
    if law.surface is not None or not {"params", "tokens"} <= set(law.variables):
        return False
    named = {term.slopes[0][2] for term in law.terms if term.slopes}
    return len(named) == 1


def split_of(law: Law, params: Mapping[str, float]) -> Split | None:
    """The compute-optimal split of a law with these parameters (Hoffmann 2022, equation 4).

    None for a law without one, or where its terms overflow.
    """
    try:
        surface = surface_of(law, params)
    except (OverflowError, ValueError):
        return None
    return surface.split if surface else None
