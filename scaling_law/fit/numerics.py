"""Turns the failure of a computation into one clear line that names the run most likely at fault.

The solver expects numbers that break it (an exponent at 0, a loss a tenth of what it should be) and
says so by a status. What it does not expect ends here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np

from scaling_law.errors import FitError, one_line
from scaling_law.fit.points.points import FitPoints, Floats

_ROUNDS = 50
# What a logarithm of 0 and scipy's solvers say; other ``ValueError``s are faults of the program.
_OF_NUMBERS = ("math domain error", "array must not contain infs or NaNs")


@contextlib.contextmanager
def numerical_failures(points: FitPoints | None = None) -> Iterator[None]:
    """Raise ``FitError`` where a computation fails, naming the most unusual of ``points``.

    Within, overflows and the like give infinity and NaN without a warning.
    """
    try:
        with np.errstate(all="ignore"):
            yield
    except (np.linalg.LinAlgError, ArithmeticError, ValueError) as problem:
        if type(problem) is ValueError and str(problem) not in _OF_NUMBERS:
            raise
        where = "" if points is None else f"; look first at {_oddest(points)}"
        raise FitError(
            f"no law can be computed from these runs ({problem}): some are far off the"
            f" others{where}"
        ) from None


def _oddest(points: FitPoints) -> str:
    off = np.abs(plane_residuals(points, np.log(points.loss_nats)))
    row = int(np.argmax(off))
    figures = f"{points.params[row]:.6g} params, {points.tokens[row]:.6g} tokens"
    return f"{one_line(points.run_id[row])} ({figures}, loss {points.loss_nats[row]:.6g})"


def plane_residuals(points: FitPoints, goal: Floats) -> Floats:
    """How far ``goal`` [n] lies off a plane in log params and log tokens.

    The plane has the least absolute deviations, so that a few odd rows do not move it.
    """
    return plane_off(points.params, points.tokens, goal)


def plane_off(params: Floats, tokens: Floats, goal: Floats) -> Floats:
    """The same for columns that are no points yet."""
    logs = np.stack([np.log(params), np.log(tokens)], axis=1)
    design = np.hstack([np.ones((len(goal), 1)), logs - logs.mean(axis=0)])
    weights = np.ones(len(goal))
    for _ in range(_ROUNDS):
        root = np.sqrt(weights)
        plane = np.linalg.lstsq(design * root[:, None], goal * root, rcond=None)[0]
        weights = 1 / np.maximum(np.abs(goal - design @ plane), 1e-3)
    return np.asarray(goal - design @ plane)
