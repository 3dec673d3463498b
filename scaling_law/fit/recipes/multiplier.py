"""The compute multiplier of two recipes by their laws: one number, when the laws share a shape.

The multiplier of B over A is the compute that A needs for a loss, over what B needs for it: above
1, B saves compute. It is the same convention everywhere (``compare_points``, experiments).

Let recipe A lose L = E + (A N^-alpha + B D^-beta)^kappa, and let B be worth u times its
parameters and v times its tokens under the same law: L_B(N, D) = L_A(u N, v D), which is
A_B = A u^-alpha, B_B = B v^-beta. On the compute-optimal frontier L*(C) = min over 6 N D = C,
substituting N' = u N and D' = v D gives

    L*_B(C) = min over 6 N' D' = u v C of L_A(N', D') = L*_A(u v C),

so the multiplier is m = C_A / C_B = u v at every scale, however it splits. The law with kappa is
Busbridge's (2025, arXiv 2502.08606, E = 0), without it Chinchilla's (Hoffmann 2022, arXiv
2203.15556, equation 4 for the frontier).

``widened`` adds to either law ``recipe``, 1 under A and e under B, whose exponents are
log u^alpha and log v^beta; ``own_slopes`` lets B have exponents of its own as well, and then m
depends on the loss: that tests the shared shape.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from scaling_law.fit.laws import Law, Term, load_law
from scaling_law.fit.laws.law import Floats
from scaling_law.fit.split import bounded_exp
from scaling_law.fit.surface import Surface

SHARED = ("coupled", "chinchilla")
"""The laws that can be widened: their terms are log-linear."""
_GAIN, _TILT = (-5.0, 5.0), (-1.0, 1.0)
_SIDES = {"params": "size", "tokens": "data"}


def widened(name: str, *, own_slopes: bool = False) -> Law:
    """Law ``name`` of ``SHARED`` with a recipe's gain on each term; ``own_slopes``: and slopes."""
    plain = load_law(name)
    terms, more = [], {}
    for term in plain.terms:
        slopes = list(term.slopes)
        for variable, _, _ in term.slopes:
            side = _SIDES[variable]
            slopes.append(("recipe", -1.0, f"gain_{side}"))
            more[f"gain_{side}"] = _GAIN
            if own_slopes:
                slopes.append((f"recipe_{variable}", -1.0, f"tilt_{side}"))
                more[f"tilt_{side}"] = _TILT
        terms.append(Term(coefficient=term.coefficient, slopes=tuple(slopes)))
    return dataclasses.replace(
        plain,
        name=f"{name} of two recipes",
        terms=tuple(terms),
        exponents={**plain.exponents, **more},
        grid={**plain.grid, **dict.fromkeys(more, (0.0,))},
        surface=None,
    )


def recipe_variables(params: Floats, tokens: Floats, second: Floats) -> dict[str, Floats]:
    """The variables of ``widened``; ``second`` [n] is 1 for runs of recipe B, else 0.

    Tilts pivot on the geometric mean of the sizes and of the tokens.
    """
    pivots = {"params": params, "tokens": tokens}
    logs = {name: np.log(x) - np.log(x).mean() for name, x in pivots.items()}
    return {
        "params": params,
        "tokens": tokens,
        "recipe": np.exp(second),
        **{f"recipe_{name}": np.exp(second * x) for name, x in logs.items()},
    }


def surfaces(
    name: str, form: Mapping[str, float], pivot_logs: Mapping[str, float]
) -> tuple[Surface, Surface]:
    """The surfaces of recipe A and B from the widened law's parameters.

    ``pivot_logs``: mean log params and tokens, where a tilt changes nothing.
    """
    law = load_law(name)
    both = []
    for second in (0.0, 1.0):
        fields = {"floor": form.get("E", 0.0), "power": form[law.power] if law.power else 1.0}
        for term in law.terms:
            if not term.slopes:
                continue
            variable, _, exponent = term.slopes[0]
            side = _SIDES[variable]
            tilt = second * form.get(f"tilt_{side}", 0.0)
            log_scale = math.log(max(form[term.coefficient], 1e-300))
            log_scale -= second * form[f"gain_{side}"] - tilt * pivot_logs[variable]
            fields[f"{side}_log"] = log_scale
            fields[f"{side}_exponent"] = form[str(exponent)] + tilt
        both.append(Surface(**fields))
    return both[0], both[1]


def log_flops_for(surface: Surface, loss: float) -> float:
    """log of the least 6 N D that reaches ``loss``; infinite at or below the floor.

    At the optimum alpha times the size term equals beta times the data term (Hoffmann 2022,
    equation 4), so each is known from their sum (loss - floor)^(1 / power).
    """
    above = loss - surface.floor
    alpha, beta = surface.size_exponent, surface.data_exponent
    if above <= 0 or alpha <= 0 or beta <= 0:
        return math.inf
    log_sum = math.log(above) / surface.power
    size = log_sum + math.log(beta / (alpha + beta))
    data = log_sum + math.log(alpha / (alpha + beta))
    log_params = (surface.size_log - size) / alpha
    log_tokens = (surface.data_log - data) / beta
    return math.log(6) + log_params + log_tokens


def log_multiplier(first: Surface, second: Surface, loss: float) -> float:
    """log m at ``loss``: A's least compute over B's; NaN where either never reaches it."""
    ends = log_flops_for(first, loss), log_flops_for(second, loss)
    return ends[0] - ends[1] if all(map(math.isfinite, ends)) else math.nan


def shared_log_multiplier(form: Mapping[str, float]) -> float:
    """log m of a law of shared shape: log u + log v, whatever the loss."""
    return form["gain_size"] / form["alpha"] + form["gain_data"] / form["beta"]


def frontier_losses(surface: Surface, flops: Floats) -> Floats:
    """The lowest loss [n] at each of these budgets (6 N D)."""
    split = surface.split
    if split is None:
        return np.full_like(flops, math.nan)
    losses = []
    for budget in flops.tolist():
        size = bounded_exp(
            surface.size_log - surface.size_exponent * math.log(split.params(budget))
        )
        data = bounded_exp(
            surface.data_log - surface.data_exponent * math.log(split.tokens(budget))
        )
        losses.append(surface.floor + (size + data) ** surface.power)
    return np.array(losses)
