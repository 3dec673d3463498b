"""What is believed of the losses before the first run: laws of earlier sweeps, as truths.

Only how losses change from run to run matters to a design, hardly their level: laws measured
on other text and another vocabulary do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scaling_law.design.variance import Runs, Truth, columns, draws, truth_of
from scaling_law.errors import FitError
from scaling_law.fit.laws import load_law
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
# Sweeps whose middle size is below are believed to be like the reference, others like published.
SMALL_PARAMS = 1e7
_PUBLISHED = "besiroglu2024"
DRAWS = 5
# Beside the law to forecast with, those whose residuals are within this factor of its own.
_AS_GOOD = 2.0


@dataclass(frozen=True)
class Prior:
    """Truths to design for, the first of them the most likely, and where they come from.

    ``origin`` is in words for the user.
    """

    truths: tuple[Truth, ...]
    origin: str

    @property
    def laws(self) -> tuple[str, ...]:
        """Names of the laws, each once."""
        return tuple(dict.fromkeys(truth.law for truth in self.truths))


def prior_of(runs: Runs, *, seed: int = 0) -> Prior:
    """Laws of the reference sweep, or published ones, and others drawn about them."""
    if float(np.median(runs.params)) < SMALL_PARAMS:
        centres = [
            Truth(name, load_law(name).internal(values)) for name, values in REFERENCE.items()
        ]
        centres.append(_rescaled(centres[0], runs))
        origin = (
            "the reference sweep's coupled, skaling and chinchilla laws, and Besiroglu 2024's"
            " exponents at its losses"
        )
    else:
        published = truth_of(published_law(_PUBLISHED))
        centres = [
            published,
            truth_of(published_law("muennighoff2023")),
            *(refitted(name, published, runs) for name in ("skaling", "coupled")),
        ]
        origin = (
            "Besiroglu 2024, Muennighoff 2023, and the skaling and coupled laws through the first"
        )
    return Prior(tuple(_with_draws(centres, runs, seed)), origin)


def prior_from_fits(
    fits: Mapping[str, FitResult], best: str, runs: Runs, *, seed: int = 0
) -> Prior:
    """The fit so far: the law to forecast with, those that fit about as well, their resamples.

    Raises ``FitError`` where no law's fit may be extrapolated (a parameter at its bound, say).
    """
    able = {
        name: fit
        for name, fit in fits.items()
        if fit.status == "converged"
        and {"params", "tokens"} <= set(load_law(name).variables)
        and load_law(name).fitted_on == "all"
    }
    if best not in able:
        why = fits[best].message if best in fits else "no joint law could be fitted"
        raise FitError(f"the law to forecast with ({best or 'none'}) does not extrapolate: {why}")
    least = able[best].rms_log_residual
    kept = [best] + [
        n for n, f in able.items() if n != best and f.rms_log_residual <= _AS_GOOD * least
    ]
    truths: list[Truth] = []
    generator = np.random.default_rng(seed)
    for name in kept:
        fit = able[name]
        truths.append(truth_of(fit))
        rows = generator.permutation(len(fit.samples))[:DRAWS]
        for row in sorted(rows.tolist()):
            truths.append(truth_of(fit, dict(zip(fit.params, fit.samples[row], strict=True))))
    found = [truth for truth in truths if np.isfinite(truth.internal).all()]
    return Prior(tuple(found), f"the fit so far ({', '.join(kept)}) and its resamples")


def _with_draws(centres: Sequence[Truth], runs: Runs, seed: int) -> list[Truth]:
    generator = np.random.default_rng(seed)
    found = list(centres[:1])
    rest = list(centres[1:])
    for centre in centres:
        rest += draws(centre, runs, DRAWS, generator)
    return found + rest


def problem_like(law: str, like: Truth, runs: Runs) -> Problem:
    """``law`` on ``runs`` with the losses that ``like`` gives them, to be fitted."""
    form = load_law(law)
    known = columns(runs.params, runs.tokens)
    losses = np.exp(like.at(runs.params, runs.tokens)[0])
    objective = Objective(loss="mse_log")
    return Problem(form, {v: known[v] for v in form.variables}, losses, objective)


def refitted(law: str, like: Truth, runs: Runs) -> Truth:
    """``law`` with the losses that ``like`` gives the runs, as nearly as it can."""
    problem = problem_like(law, like, runs)
    solution = problem.solve(problem.starts()[::4], max_steps=200)
    best = solution.internal[int(solution.objective.argmin())]
    return Truth(law, load_law(law).internal(problem.form(best)))


def _rescaled(like: Truth, runs: Runs) -> Truth:
    """Besiroglu's exponents and irreducible loss with coefficients that suit the runs' losses."""
    published = published_law(_PUBLISHED)
    problem = problem_like(published.law, like, runs)
    names = load_law(published.law).names
    pinned = {names.index(n): published.params[n] for n in ("alpha", "beta")}
    pinned[names.index("E")] = math.log(published.params["E"])
    solution = problem.solve(problem.starts()[:4], max_steps=200, pinned=pinned)
    best = solution.internal[int(solution.objective.argmin())]
    return Truth(published.law, load_law(published.law).internal(problem.form(best)))
