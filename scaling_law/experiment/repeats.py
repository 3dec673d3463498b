"""Fit what repeated text is worth: losses follow ``E + B D'^-beta`` with D' new tokens' worth.

Of D tokens U are different, so that each is read D / U times. What they are worth is a shape with
one number, which a profile over a grid finds together with the law's exponent:

    saturating   D' = U (1 + R* (1 - exp(-(D / U - 1) / R*)))   (Muennighoff 2023, equation 5)
    power        D' = U (D / U)^k
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any, TypeAlias

from scaling_law.experiment.seeds import LEVEL, Mean, geometric_mean

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEWEST = 6  # settings, by which four numbers are more than an interpolation
_BETAS = (0.03, 3.0)  # exponents that are tried
_STEPS, _BETA_STEPS = 121, 61  # how many of the shape's numbers and of the exponents are tried

# Losses in nats per token by seed, of each (different tokens, tokens read).
Losses: TypeAlias = Mapping[tuple[float, float], Mapping[int, float]]


@dataclass(frozen=True, kw_only=True)
class Worth:
    """A shape of what repeats are worth.

    ``name`` is its name in words;
    ``epochs`` gives D' / U from D / U, at least 1, and the shape's number;
    ``low`` and ``high`` are the ends of the range that is tried of that number.
    """

    name: str
    epochs: Callable[[Any, Any], Any]
    low: float
    high: float

    def tokens(self, unique: float, tokens: float, number: float) -> float:
        """New tokens that ``tokens`` are worth, of which ``unique`` are different."""
        once = min(unique, tokens)
        return once * float(self.epochs(tokens / once, number))


def _saturating(epochs: Any, repeats: Any) -> Any:
    import numpy as np

    return 1 - repeats * np.expm1(-(epochs - 1) / repeats)


SATURATING = Worth(name="saturating", epochs=_saturating, low=0.2, high=500.0)
POWER = Worth(name="power", epochs=lambda epochs, power: epochs**power, low=0.02, high=2.0)


@dataclass(frozen=True, kw_only=True)
class RepeatLaw:
    """A fitted law of loss in the worth of tokens.

    ``worth`` is the shape; ``number`` its number, which is R* in repeats, or the power k;
    ``interval`` is the number's (low, high) at ``LEVEL``;
    ``floor`` is E in nats, ``factor`` is B, and ``beta`` the exponent;
    ``misfit`` is the root mean square of the relative distance of the means from the law;
    ``points`` is how many settings it was fitted to.
    """

    worth: Worth
    number: float
    interval: tuple[float, float]
    floor: float
    factor: float
    beta: float
    misfit: float
    points: int

    def at(self, unique: float, tokens: float) -> float:
        """The law's loss in nats per token."""
        worth = self.worth.tokens(unique, tokens, self.number)
        return float(self.floor + self.factor * worth**-self.beta)

    def rms(self, losses: Losses) -> float:
        """The root mean square of the relative distance of these losses' means from the law."""
        errors = [self.at(*key) / fmean(by.values()) - 1 for key, by in losses.items() if by]
        return math.sqrt(fmean(error**2 for error in errors))

    @property
    def text(self) -> str:
        """``7.7 (5.2 to 11)``."""
        low, high = self.interval
        return f"{self.number:.2g} ({low:.2g} to {high:.2g})"


def fit_repeats(losses: Losses, worth: Worth = SATURATING) -> RepeatLaw | str:
    """Return the law through the losses, or why they give none.

    The interval is the wider one of a profile, which holds every number whose best law is no worse
    than Student's t allows, and of the numbers of single seeds: the horizons of one seed share its
    noise.
    """
    law = _fit(losses, worth)
    if isinstance(law, str):
        return law
    seeds = sorted({seed for by in losses.values() for seed in by})
    own = [
        _fit({key: {seed: by[seed]} for key, by in losses.items() if seed in by}, worth)
        for seed in seeds
    ]
    logs = [math.log(one.number) for one in own if isinstance(one, RepeatLaw)]
    ends = geometric_mean(logs).interval if logs else None
    if ends is None:
        return law
    reach = max(math.log(high / low) / 2 for low, high in (ends, law.interval))
    ends = (law.number * math.exp(-reach), law.number * math.exp(reach))
    return replace(law, interval=ends)


def fit_read_off(worths: Mapping[int, Sequence[tuple[float, float]]]) -> Mean | str:
    """Return R* of the saturating shape, fitted to what repeats are worth, or why there is none.

    ``worths`` are (epochs, epochs of new text with the same loss) by seed. Each seed gives one R*,
    by least squares of logarithms; it is their geometric mean.
    """
    import numpy as np

    numbers = np.geomspace(SATURATING.low, SATURATING.high, 4 * _STEPS)
    logs = []
    for seed, pairs in sorted(worths.items()):
        if len(pairs) < 3:
            return f"seed {seed} has {len(pairs)} settings between the losses on new text, not 3"
        epochs, worth = np.array(pairs).T
        shapes = np.log(SATURATING.epochs(epochs, numbers[:, np.newaxis]))
        best = int(((np.log(worth) - shapes) ** 2).sum(axis=1).argmin())
        if best in (0, len(numbers) - 1):
            return f"what repeats are worth does not bound R* of seed {seed}"
        logs.append(math.log(numbers[best]))
    return geometric_mean(logs) if logs else "no seed has runs on new text and on repeated text"


def _fit(losses: Losses, worth: Worth) -> RepeatLaw | str:
    import numpy as np

    from scaling_law.experiment.with_limit import solve
    from scaling_law.fit.solver.student import t_reach

    means = {key: fmean(by.values()) for key, by in sorted(losses.items()) if by}
    if len(means) < FEWEST:
        return f"{len(means)} settings, and a law of repeats needs {FEWEST}"
    once = np.array([min(unique, tokens) for unique, tokens in means])
    epochs = np.array([tokens for _, tokens in means]) / once
    y = np.array(list(means.values()))
    if epochs.max() < 2:
        return "no text was read twice"
    numbers = np.geomspace(worth.low, worth.high, _STEPS)
    betas = np.geomspace(*_BETAS, _BETA_STEPS)
    value = once * worth.epochs(epochs, numbers[:, np.newaxis])
    squares, factors, floors = (
        column.reshape(_STEPS, _BETA_STEPS)
        for column in solve(_shapes(value, betas), y, weights=1 / y**2, least=0.0)
    )
    best = np.unravel_index(int(np.argmin(squares)), squares.shape)
    least, free = float(squares[best]), len(means) - 4
    allowed = least * (1 + t_reach(free, LEVEL) ** 2 / free)
    inside = np.flatnonzero(squares.min(axis=1) <= allowed)
    if inside[0] == 0 or inside[-1] == _STEPS - 1:
        return "the losses do not bound what repeats are worth"
    number, beta = float(numbers[best[0]]), float(betas[best[1]])
    middle = float(value.mean())
    return RepeatLaw(
        worth=worth,
        number=number,
        # the first numbers that are excluded
        interval=(float(numbers[inside[0] - 1]), float(numbers[inside[-1] + 1])),
        floor=float(floors[best]),
        factor=float(factors[best]) * middle**beta,
        beta=beta,
        misfit=math.sqrt(least / len(means)),
        points=len(means),
    )


def _shapes(value: NDArray[Any], betas: NDArray[Any]) -> NDArray[Any]:
    """The powers of what settings are worth [K, n] by exponent [b], as [K b, n]."""
    scaled = value / value.mean()
    powers: NDArray[Any] = scaled[:, None, :] ** -betas[None, :, None]
    return powers.reshape(-1, value.shape[1])
