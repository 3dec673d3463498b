"""Chinchilla's law with size and data coupled: L = E + (A N^-alpha + B D^-beta)^k.

Videau 2026, arXiv 2608.07222: k = 1 is Chinchilla's law, E = 0 with beta = 1 Kaplan's joint
one; measured k below 1 says that growing both helps more than their sum. The outer power
leaves the split that is best for a budget where the inner sum has it.
"""

import math
from collections.abc import Mapping

import numpy as np

from scaling_law.fit.laws.law import Floats, Law, Term, Variables

# Internally (E, K, alpha, beta, k, r): L = E + K (e^(-r/2) N^-alpha + e^(r/2) D^-beta)^k.
_ALPHA, _BETA, _K, _R = 2, 3, 4, 5


def _bend(internal: Floats, logs: Variables) -> tuple[Floats, Floats]:
    alpha, beta, k, r = (internal[:, i : i + 1] for i in (_ALPHA, _BETA, _K, _R))
    size = -r / 2 - alpha * logs["params"]
    data = r / 2 - beta * logs["tokens"]
    total = np.logaddexp(size, data)
    share = np.exp(data - total)
    value = np.zeros((*total.shape, 2))
    value[:, :, 1] = k * total
    slopes = np.zeros((*total.shape, 2, 6))
    slopes[:, :, 1, _ALPHA] = -k * (1 - share) * logs["params"]
    slopes[:, :, 1, _BETA] = -k * share * logs["tokens"]
    slopes[:, :, 1, _K] = total
    slopes[:, :, 1, _R] = k * (share - 0.5)
    return value, slopes


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
        "A": math.exp(min(scale - form["r"] / 2, 700.0)),
        "B": math.exp(min(scale + form["r"] / 2, 700.0)),
        "alpha": form["alpha"],
        "beta": form["beta"],
        "k": form["k"],
    }


def _from_public(params: dict[str, float]) -> dict[str, float]:
    size, data = math.log(params["A"]), math.log(params["B"])
    kept = {name: params[name] for name in ("E", "alpha", "beta", "k")}
    return kept | {"K": math.exp(params["k"] * (size + data) / 2), "r": data - size}


LAW = Law(
    name="skaling",
    terms=(Term(coefficient="E"), Term(coefficient="K")),
    exponents={"alpha": (0.01, 4.0), "beta": (0.01, 4.0), "k": (0.05, 4.0), "r": (-15.0, 15.0)},
    bend=_bend,
    also_needs={"params": "params", "tokens": "tokens"},
    uncentre=_uncentre,
    grid={
        "alpha": (0.25, 0.5, 1.0),
        "beta": (0.25, 0.5, 1.0),
        "k": (0.3, 0.6, 1.0),
        "r": (-1.5, 0.0, 1.5),
    },
    latex=r"L = E + (A N^{-\alpha} + B D^{-\beta})^{k}",
    source="Videau 2026, arXiv 2608.07222",
    to_public=_to_public,
    from_public=_from_public,
)
