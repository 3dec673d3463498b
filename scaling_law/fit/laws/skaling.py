"""Chinchilla's law with size and data coupled: L = E + (A N^-alpha + B D^-beta)^k.

Videau 2026, arXiv 2608.07222: k = 1 is Chinchilla's law, and E = 0 with beta = 1 Kaplan's joint
law; a measured k below 1 says that growing both helps more than their sum. The outer power
does not move the compute-optimal split of the inner sum.
"""

import math
from collections.abc import Mapping

import numpy as np

from scaling_law.fit.laws.law import Floats, Law, Term, Variables, exp_within_floats

# Internally (E, K, alpha, beta, k, r): L = E + K (e^(-r/2) N^-alpha + e^(r/2) D^-beta)^k.
_ALPHA, _BETA, _K, _R = 2, 3, 4, 5


def _parts(internal: Floats, logs: Variables) -> tuple[Floats, Floats]:
    """log of the inner sum and the data term's share of it, [R, n] each."""
    alpha, beta, r = (internal[:, i : i + 1] for i in (_ALPHA, _BETA, _R))
    size = -r / 2 - alpha * logs["params"]
    gap = r / 2 - beta * logs["tokens"] - size
    # log(1 + e^gap) and the share by one exponential: no power of e overflows
    small = np.exp(-np.abs(gap))
    share = np.where(gap >= 0, 1.0, small) / (1 + small)
    return size + np.maximum(gap, 0.0) + np.log(1 + small), share


def _bend(internal: Floats, logs: Variables) -> Floats:
    total, _ = _parts(internal, logs)
    value = np.zeros((2, *total.shape)).transpose(1, 2, 0)
    value[:, :, 1] = internal[:, _K : _K + 1] * total
    return value


def _slopes_of_total(total: Floats, share: Floats, logs: Variables) -> Floats:
    slopes = np.zeros((6, *total.shape)).transpose(1, 2, 0)
    slopes[:, :, _ALPHA] = -(1 - share) * logs["params"]
    slopes[:, :, _BETA] = -share * logs["tokens"]
    slopes[:, :, _R] = share - 0.5
    return slopes


def _bend_slopes(internal: Floats, logs: Variables) -> Floats:
    total, share = _parts(internal, logs)
    slopes = np.zeros((2, 6, *total.shape)).transpose(2, 3, 0, 1)
    slopes[:, :, 1] = internal[:, None, _K : _K + 1] * _slopes_of_total(total, share, logs)
    slopes[:, :, 1, _K] = total
    return slopes


def _bend_curvature(internal: Floats, logs: Variables, pull: Floats) -> Floats:
    # d2 log(e^s + e^d) = share (1 - share) (d d - d s)(d d - d s)^T, and k multiplies it
    total, share = _parts(internal, logs)
    force = pull[:, :, 1]
    gap = np.zeros((len(total[0]), 6))
    gap[:, _ALPHA], gap[:, _BETA], gap[:, _R] = logs["params"], -logs["tokens"], 1.0
    weight = internal[:, _K : _K + 1] * force * share * (1 - share)
    pairs = (gap[:, :, None] * gap[:, None, :]).reshape(len(gap), -1)
    curvature = (weight @ pairs).reshape(-1, 6, 6)
    cross = (force[:, None, :] @ _slopes_of_total(total, share, logs))[:, 0]
    curvature[:, _K] += cross
    curvature[:, :, _K] += cross
    return curvature


def _uncentre(values: dict[str, float], centres: Mapping[str, float]) -> dict[str, float]:
    size = values["alpha"] * centres["params"]
    data = values["beta"] * centres["tokens"]
    return values | {
        "r": values["r"] + data - size,
        "K": values["K"] + values["k"] * (size + data) / 2,
    }


def _to_public(form: dict[str, float]) -> dict[str, float]:
    scale = math.log(form["K"]) / form["k"] if form["K"] > 0 else -700.0
    return {
        "E": form["E"],
        "A": exp_within_floats(scale - form["r"] / 2),
        "B": exp_within_floats(scale + form["r"] / 2),
        "alpha": form["alpha"],
        "beta": form["beta"],
        "k": form["k"],
    }


def _from_public(params: dict[str, float]) -> dict[str, float]:
    size, data = math.log(params["A"]), math.log(params["B"])
    same = {name: params[name] for name in ("E", "alpha", "beta", "k")}
    return same | {"K": math.exp(params["k"] * (size + data) / 2), "r": data - size}


def _surface(params: Mapping[str, float]) -> dict[str, float]:
    return {
        "floor": params["E"],
        "size_log": math.log(params["A"]),
        "size_exponent": params["alpha"],
        "data_log": math.log(params["B"]),
        "data_exponent": params["beta"],
        "power": params["k"],
    }


LAW = Law(
    name="skaling",
    terms=(Term(coefficient="E"), Term(coefficient="K")),
    exponents={"alpha": (0.01, 4.0), "beta": (0.01, 4.0), "k": (0.05, 4.0), "r": (-15.0, 15.0)},
    bend=_bend,
    bend_slopes=_bend_slopes,
    bend_curvature=_bend_curvature,
    also_needs={"params": "params", "tokens": "tokens"},
    uncentre=_uncentre,
    grid={
        "alpha": (0.25, 0.5, 1.0),
        "beta": (0.25, 0.5, 1.0),
        "k": (0.3, 0.6, 1.0),
        "r": (-1.5, 0.0, 1.5),
    },
    surface=_surface,
    falls_by={"params": ("alpha", "k"), "tokens": ("beta", "k")},
    latex=r"L = E + (A N^{-\alpha} + B D^{-\beta})^{k}",
    source="Videau 2026, arXiv 2608.07222",
    fitted_on="all",
    rank=2,
    to_public=_to_public,
    from_public=_from_public,
)
