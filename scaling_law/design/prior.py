"""The losses expected before the first run: laws of earlier sweeps, taken as true.

A design depends on how losses change from run to run and hardly on their level, and laws measured
on other text and with another vocabulary show that change.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scaling_law.design.variance import PlantedLaw, Runs, columns, draws, planted_from
from scaling_law.errors import FitError
from scaling_law.fit.laws import Law, load_law
from scaling_law.fit.result import FitResult
from scaling_law.fit.solver.solve import Objective, Problem
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
# Besides the law to forecast with, laws whose residuals are within this factor of its own.
_AS_GOOD = 2.0


@dataclass(frozen=True)
class Prior:
    """The planted laws to design for.

    ``planted``: the laws, the most likely one first.
    ``origin``: where they come from, in words for the user.
    """

    planted: tuple[PlantedLaw, ...]
    origin: str

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


def prior_from_fits(fits: Mapping[str, FitResult], best: str, *, seed: int = 0) -> Prior:
    """The fit so far: the law to forecast with, those that fit about as well, their resamples.

    Raises ``FitError`` where no law's fit may be extrapolated (a parameter at its bound, say).
    """
    usable = {
        name: fit
        for name, fit in fits.items()
        if fit.status == "converged"
        and {"params", "tokens"} <= set(fit.law.variables)
        and fit.law.fitted_on == "all"
    }
    if best not in usable:
        why = fits[best].message if best in fits else "no joint law could be fitted"
        raise FitError(f"the law to forecast with ({best or 'none'}) does not extrapolate: {why}")
    least = usable[best].rms_log_residual
    chosen = [best] + [
        name
        for name, fit in usable.items()
        if name != best and fit.rms_log_residual <= _AS_GOOD * least
    ]
    planted: list[PlantedLaw] = []
    generator = np.random.default_rng(seed)
    for name in chosen:
        fit = usable[name]
        planted.append(planted_from(fit))
        rows = generator.permutation(len(fit.samples))[:DRAWS]
        for row in sorted(rows.tolist()):
            sample = dict(zip(fit.params, fit.samples[row], strict=True))
            planted.append(planted_from(fit, sample))
    finite = [one for one in planted if np.isfinite(one.internal).all()]
    return Prior(tuple(finite), f"the fit so far ({', '.join(chosen)}) and its resamples")


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
