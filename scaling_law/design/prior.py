"""The losses expected before the first run: laws of earlier sweeps, taken as true.

A design depends on how losses change from run to run and hardly on their level, and laws measured
on other text and with another vocabulary show that change.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scaling_law.design.variance import (
    PlantedLaw,
    Runs,
    anchors,
    columns,
    draws,
    planted_from,
    through,
)
from scaling_law.errors import FitError
from scaling_law.fit.laws import Law, load_law
from scaling_law.fit.result import FitResult
from scaling_law.fit.solver.solve import Objective, Problem
from scaling_law.fit.worlds import Worlds
from scaling_law.forecast.published import published_law

# `slaw fit results/reference/quick-cpu`: installed corpus, BPE of 1,024, matmul parameters.
REFERENCE: dict[str, dict[str, float]] = {
    "coupled": {"A": 1.449e5, "B": 1.4e5, "alpha": 0.6452, "beta": 0.5125, "gamma": 0.2561},
    "skaling": {
        "E": 0.2251, "A": 9.629e4, "B": 1.072e5, "alpha": 0.6479, "beta": 0.5266, "k": 0.2676,
    },
    "chinchilla": {"E": 2.5082, "A": 141.8, "B": 215.8, "alpha": 0.4716, "beta": 0.4077},
}  # fmt: skip
# A sweep whose middle size is below this is expected to be like the reference, others like the
# published laws.
SMALL_PARAMS = 1e7
_PUBLISHED = "besiroglu2024"
DRAWS = 5


@dataclass(frozen=True)
class Prior:
    """The planted laws to design for.

    ``planted``: the laws, the most likely one first.
    ``origin``: where they come from, in words for the user.
    ``weights``: how much each counts; empty: all the same.
    """

    planted: tuple[PlantedLaw, ...]
    origin: str
    weights: tuple[float, ...] = ()

    @property
    def laws(self) -> tuple[str, ...]:
        """Names of the laws, each once."""
        return tuple(dict.fromkeys(one.law.name for one in self.planted))


def prior_of(runs: Runs, *, seed: int = 0) -> Prior:
    """Laws of the reference sweep, or published ones, and others drawn about them."""
    if float(np.median(runs.params)) < SMALL_PARAMS:
        centres = [
            PlantedLaw(load_law(name), load_law(name).internal(values))
            for name, values in REFERENCE.items()
        ]
        centres.append(_rescaled(centres[0], runs))
        origin = (
            "the reference sweep's coupled, skaling and chinchilla laws, and Besiroglu 2024's"
            " exponents at its losses"
        )
    else:
        published = planted_from(published_law(_PUBLISHED))
        centres = [
            published,
            planted_from(published_law("muennighoff2023")),
            *(refitted(load_law(name), published, runs) for name in ("skaling", "coupled")),
        ]
        origin = (
            "Besiroglu 2024, Muennighoff 2023, and the skaling and coupled laws through the first"
        )
    return Prior(tuple(_with_draws(centres, runs, seed)), origin)


def prior_from_fits(
    fits: Mapping[str, FitResult],
    best: str,
    runs: Runs,
    worlds: Worlds | None = None,
    *,
    seed: int = 0,
) -> Prior:
    """The fit so far: the law that is shown, and the worlds that its forecasts are made over.

    Each law of the worlds is planted ``DRAWS`` times, with the parameters of some of them; they
    share its weight. The law that is shown counts as one draw more. Without worlds it is the only
    one, with its resamples. Raises ``FitError`` where its fit may not be extrapolated (a parameter
    at its bound, say).
    """
    fit = fits.get(best)
    if fit is None or fit.status != "converged":
        why = fit.message if fit else "no joint law could be fitted"
        raise FitError(f"the law to forecast with ({best or 'none'}) does not extrapolate: {why}")
    planted, weights = [planted_from(fit)], [1.0]
    generator = np.random.default_rng(seed)
    if worlds is None:
        for row in np.sort(generator.permutation(len(fit.samples))[:DRAWS]).tolist():
            planted.append(planted_from(fit, dict(zip(fit.params, fit.samples[row], strict=True))))
            weights.append(1.0)
        origin = f"the fit so far ({best}) and its resamples"
    else:
        losses = worlds.without_misfit().log_loss(*anchors(runs))
        for name, share in worlds.laws.items():
            rows = np.flatnonzero(np.array(worlds.law) == name)
            some = np.sort(generator.permutation(rows)[:DRAWS])
            law = fits[name].law if name in fits else load_law(name)
            planted += through(law, runs, losses[rows].mean(axis=0), losses[some])
            weights += [share * DRAWS / len(some)] * len(some)
        shares = (f"{name} {100 * share:.0f}%" for name, share in worlds.laws.items())
        origin = f"the worlds of the fit so far ({', '.join(shares)})"
    known = [row for row, one in enumerate(planted) if np.isfinite(one.internal).all()]
    return Prior(tuple(planted[row] for row in known), origin, tuple(weights[row] for row in known))


def _with_draws(centres: Sequence[PlantedLaw], runs: Runs, seed: int) -> list[PlantedLaw]:
    generator = np.random.default_rng(seed)
    first, rest = list(centres[:1]), list(centres[1:])
    for centre in centres:
        rest += draws(centre, runs, DRAWS, generator)
    return first + rest


def problem_like(law: Law, like: PlantedLaw, runs: Runs) -> Problem:
    """The problem of fitting ``law`` to ``runs`` with the losses that ``like`` gives them."""
    known = columns(runs.params, runs.tokens)
    losses = np.exp(like.at(runs.params, runs.tokens)[0])
    objective = Objective(loss="mse_log")
    return Problem(law, {v: known[v] for v in law.variables}, losses, objective)


def refitted(law: Law, like: PlantedLaw, runs: Runs) -> PlantedLaw:
    """``law`` with the losses that ``like`` gives the runs, as nearly as it can."""
    problem = problem_like(law, like, runs)
    solution = problem.solve(problem.starts(8), max_steps=200)
    best = solution.internal[solution.best]
    return PlantedLaw(law, law.internal(problem.form(best)))


def _rescaled(like: PlantedLaw, runs: Runs) -> PlantedLaw:
    """Besiroglu's exponents and irreducible loss with coefficients that suit the runs' losses."""
    published = published_law(_PUBLISHED)
    law = published.law
    problem = problem_like(law, like, runs)
    pinned = {law.names.index(name): published.params[name] for name in ("alpha", "beta")}
    pinned[law.names.index("E")] = math.log(published.params["E"])
    solution = problem.solve(problem.starts()[:4], max_steps=200, pinned=pinned)
    best = solution.internal[solution.best]
    return PlantedLaw(law, law.internal(problem.form(best)))
