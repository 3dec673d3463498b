"""Chinchilla's law with repeated data worth less (Muennighoff 2023, arXiv 2305.16264).

L = E + A N'^-alpha + B D'^-beta, where of D tokens U_D are different,

    D' = U_D + U_D R_D* (1 - exp(-R_D / R_D*)),   R_D = D / U_D - 1   (equation 5),

and parameters beyond U_N = min(N, the compute-optimal size for U_D) decay alike with R_N*
(equation 6). R* are the repeats after which another is worth 1/e of new data.
"""

import math

import numpy as np

from scaling_law.fit.laws.law import Floats, Law, Term, Variables

# Internally (E, A, B, alpha, beta, log R_D*, log R_N*).
_A, _B, _ALPHA, _BETA, _DATA, _SIZE = 1, 2, 3, 4, 5, 6
_MOST_LOG_REPEATS = 50.0


def _worth(excess: Floats, log_half: Floats) -> tuple[Floats, Floats, Floats]:
    """log(worth / amount) for an amount exp(excess) times what is unique, and its derivatives.

    Derivatives are by ``excess`` and by ``log_half``, the logarithm of R*.
    """
    half = np.exp(log_half)
    repeats = np.expm1(np.minimum(excess, _MOST_LOG_REPEATS))
    left = np.exp(-repeats / half)
    gained = half * (1 - left)
    by_excess = left * (1 + repeats) / (1 + gained) - 1
    by_half = (gained - repeats * left) / (1 + gained)
    return np.log1p(gained) - excess, by_excess, by_half


def _parts(internal: Floats, logs: Variables) -> tuple[Floats, ...]:
    a, b, alpha, beta, data, size = (internal[:, i : i + 1] for i in range(1, 7))
    best = (np.log(alpha) + a - np.log(beta) - b + beta * logs["tokens_unique"]) / alpha
    excess = np.maximum(logs["params"] - best, 0.0)
    repeated = np.maximum(logs["tokens"] - logs["tokens_unique"], 0.0)
    of_size = _worth(excess, size)
    of_data = _worth(np.broadcast_to(repeated, excess.shape), data)
    return (*of_size, *of_data, best, np.where(excess > 0, of_size[1], 0.0))


def _bend(internal: Floats, logs: Variables) -> Floats:
    size_worth, _, _, data_worth, *_ = _parts(internal, logs)
    value = np.zeros((*size_worth.shape, 3))
    value[:, :, 1] = -internal[:, _ALPHA : _ALPHA + 1] * size_worth
    value[:, :, 2] = -internal[:, _BETA : _BETA + 1] * data_worth
    return value


def _bend_slopes(internal: Floats, logs: Variables) -> Floats:
    size_worth, _, by_size, data_worth, _, by_data, best, by_excess = _parts(internal, logs)
    alpha, beta = internal[:, _ALPHA : _ALPHA + 1], internal[:, _BETA : _BETA + 1]
    slopes = np.zeros((*size_worth.shape, 3, 7))
    slopes[:, :, 1, _A] = by_excess
    slopes[:, :, 1, _B] = -by_excess
    slopes[:, :, 1, _ALPHA] = -size_worth + by_excess * (1 / alpha - best)
    slopes[:, :, 1, _BETA] = by_excess * (logs["tokens_unique"] - 1 / beta)
    slopes[:, :, 1, _SIZE] = -alpha * by_size
    slopes[:, :, 2, _BETA] = -data_worth
    slopes[:, :, 2, _DATA] = -beta * by_data
    return slopes


def _lacking(variables: Variables) -> str:
    epochs = np.asarray(variables["tokens"]) / np.asarray(variables["tokens_unique"])
    if float(epochs.max()) < 2:
        return f"data repeated at most {float(epochs.max()):.3g} times; at least 2 epochs needed"
    return ""


def _to_public(form: dict[str, float]) -> dict[str, float]:
    same = {name: form[name] for name in ("E", "A", "B", "alpha", "beta")}
    return same | {"R_D": math.exp(form["log_R_D"]), "R_N": math.exp(form["log_R_N"])}


def _from_public(params: dict[str, float]) -> dict[str, float]:
    same = {name: params[name] for name in ("E", "A", "B", "alpha", "beta")}
    return same | {"log_R_D": math.log(params["R_D"]), "log_R_N": math.log(params["R_N"])}


LAW = Law(
    name="muennighoff",
    terms=(
        Term(coefficient="E"),
        Term(coefficient="A", slopes=(("params", -1.0, "alpha"),)),
        Term(coefficient="B", slopes=(("tokens", -1.0, "beta"),)),
    ),
    exponents={
        "alpha": (0.02, 2.0),
        "beta": (0.02, 2.0),
        "log_R_D": (-2.0, 7.0),
        "log_R_N": (-2.0, 7.0),
    },
    bend=_bend,
    bend_slopes=_bend_slopes,
    also_needs={"tokens_unique": "tokens"},
    grid={
        "alpha": (0.2, 0.35, 0.5),
        "beta": (0.2, 0.35, 0.5),
        "log_R_D": (1.0, 2.7),
        "log_R_N": (1.0, 2.7),
    },
    lacking=_lacking,
    latex=r"L = E + A N'^{-\alpha} + B D'^{-\beta},\ D' = U_D (1 + R_D^*(1 - e^{-R_D/R_D^*}))",
    source="Muennighoff 2023, arXiv 2305.16264, equations 5 to 7",
    fitted_on="repeated",
    to_public=_to_public,
    from_public=_from_public,
)
