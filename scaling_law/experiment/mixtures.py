"""Runs of many mixtures at two sizes: their laws, what these propose, and whether it lasts.

The smallest and the largest size are compared at the longest length. A law is fitted to the runs of
the first stage; those of the second train what the small size's law proposes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import TYPE_CHECKING

from scaling_law.errors import FitError
from scaling_law.experiment.evidence import Evidence
from scaling_law.experiment.groups import of_one_recipe
from scaling_law.experiment.rank import RankCorrelation, rank_correlation
from scaling_law.experiment.seeds import Mean, jackknifed, mean_over

if TYPE_CHECKING:
    from scaling_law.fit.mixtures.joint import JointLaw
    from scaling_law.fit.mixtures.law import MixingLaw
    from scaling_law.fit.mixtures.points import MixCell, Mixture
    from scaling_law.fit.mixtures.target import MixTarget

NATURAL, UNIFORM = "natural", "uniform"
NEAR = 0.005  # shares this near are one mixture


def slug(text: str) -> str:
    """A target, a mixture or a component as names of claims and measures have it."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", text)


def mix_text(shares: Mapping[str, float]) -> str:
    """``cpp 0.48, py-code 0.10``: a mixture in a sentence."""
    return ", ".join(f"{name} {share:.2f}" for name, share in shares.items())


@dataclass(frozen=True, kw_only=True)
class MixRuns:
    """What the runs show.

    ``small`` and ``large`` are the design's runs at the longest length of the two sizes, None
    where there are none; ``whole`` are all the large size's, those of the second stage among them;
    ``cells`` are the design's runs at every size and length;
    ``laws`` are those of the small and of the large size, the best first, by size, or why none;
    ``proposals`` are the mixtures that the small size's law gives the targets, by the target;
    ``used`` is how many runs count.
    """

    small: MixCell | None
    large: MixCell | None
    whole: MixCell | None
    cells: tuple[MixCell, ...]
    laws: Mapping[int, tuple[MixingLaw, ...] | str]
    targets: tuple[MixTarget, ...]
    proposals: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    used: int = 0

    def law(self, cell: MixCell | None) -> MixingLaw | None:
        """The best law of a cell; None where it has none."""
        laws = self.laws.get(cell.params) if cell else None
        return laws[0] if laws and not isinstance(laws, str) else None

    def rival(self, name: str) -> Mixture | None:
        """The uniform or the natural mixture at the large size."""
        return rival_of(self.whole, name) if self.whole else None

    def proposed(self, target: MixTarget) -> Mixture | None:
        """The runs of a target's mixture at the large size; None before the second stage."""
        shares = self.proposals.get(target.text)
        return mixture_near(self.whole, shares) if shares and self.whole else None


def rival_of(cell: MixCell, name: str) -> Mixture | None:
    """The uniform or the natural mixture of a cell; None where no run has it."""
    if name == NATURAL:
        return cell.mixture(NATURAL)
    return mixture_near(cell, dict.fromkeys(cell.components, 1 / len(cell.components)))


def mixture_near(cell: MixCell, shares: Mapping[str, float]) -> Mixture | None:
    """The mixture of a cell with these shares, as near as they are written; None for none."""
    wanted = [shares.get(name, 0.0) for name in cell.components]

    def apart(mixture: Mixture) -> float:
        return max(abs(a - b) for a, b in zip(mixture.shares, wanted, strict=True))

    nearest = min(cell.mixtures, key=apart)
    return nearest if apart(nearest) < NEAR else None


def read_mixtures(evidence: Evidence, targets: Sequence[str]) -> MixRuns:
    """Return what the runs show."""
    from scaling_law.fit.mixtures.points import mix_cells
    from scaling_law.fit.mixtures.target import parse_target

    runs = of_one_recipe(evidence.ended, "data.mix")
    design = mix_cells(run.record for run in runs if run.stage == 1).cells
    every = mix_cells(run.record for run in runs)
    # one text: that of the cell with the most mixtures
    own = [cell for cell in design if cell.recipe == design[0].recipe]
    longest = max((cell.tokens for cell in own), default=0)
    sizes = sorted((cell for cell in own if cell.tokens == longest), key=lambda cell: cell.params)
    small, large = (sizes[0], sizes[-1]) if len(sizes) > 1 else (sizes[0] if sizes else None, None)
    texts = targets if own else ()
    laws = {cell.params: _laws(cell) for cell in (small, large) if cell is not None}
    seen = MixRuns(
        small=small,
        large=large,
        whole=every.at(large.params, longest) if large else None,
        cells=tuple(own),
        laws=laws,
        targets=tuple(parse_target(text, own[0].components) for text in texts),
        used=sum(cell.runs for cell in every.cells),
    )
    law = seen.law(small)
    if small is None or law is None:
        return seen
    chosen = {target.text: _proposal(law, small, target) for target in seen.targets}
    return replace(seen, proposals=chosen)


def _laws(cell: MixCell) -> tuple[MixingLaw, ...] | str:
    from scaling_law.fit.mixtures.law import fit_laws

    try:
        return fit_laws(cell)
    except FitError as problem:
        return str(problem)


def _proposal(law: MixingLaw, cell: MixCell, target: MixTarget) -> dict[str, float]:
    from scaling_law.fit.mixtures.propose import best_mixture, limits_of

    shares = best_mixture(law, target, limits_of(cell, cell.tokens, None)).tolist()
    return {name: share for name, share in zip(cell.components, shares, strict=True) if share > 0}


def gains(seen: MixRuns, target: MixTarget, rival: Mixture) -> dict[int, float]:
    """How far a target's proposed mixture ends below a rival, in nats, by the seeds of both."""
    ours = seen.proposed(target)
    return gains_over(rival, ours, target) if ours else {}


def gains_over(rival: Mixture, ours: Mixture, target: MixTarget) -> dict[int, float]:
    """How far a mixture ends below a rival, in nats per token, by the seeds that both have."""
    import numpy as np

    return {
        seed: float(
            target.of(np.array(rival.losses[seed])) - target.of(np.array(ours.losses[seed]))
        )
        for seed in sorted(set(ours.losses) & set(rival.losses))
    }


def regret(seen: MixRuns, target: MixTarget) -> Mean | None:
    """The share by which a proposed mixture ends above the best of the design, over seeds."""
    import numpy as np

    ours = seen.proposed(target)
    if ours is None or seen.large is None:
        return None
    values = target.of(seen.large.losses)
    best = seen.large.mixtures[int(np.argmin(values))]
    pairs = [
        (np.array(ours.losses[seed]), np.array(best.losses[seed]))
        for seed in sorted(set(ours.losses) & set(best.losses))
    ]
    return mean_over([float(target.of(mine) / target.of(other)) - 1 for mine, other in pairs])


def ranks(seen: MixRuns, target: MixTarget) -> RankCorrelation | str:
    """How the design's mixtures rank at the small and at the large size."""
    if seen.small is None or seen.large is None:
        return "one size has finished"
    pairs = both_sizes(seen.small, seen.large, target)
    return rank_correlation([small for small, _ in pairs], [large for _, large in pairs])


def both_sizes(small: MixCell, large: MixCell, target: MixTarget) -> list[tuple[float, float]]:
    """The target of each mixture at both sizes."""
    here, there = (
        {one.name: float(value) for one, value in zip(cell.mixtures, values, strict=True)}
        for cell in (small, large)
        for values in [target.of(cell.losses)]
    )
    return [(value, there[name]) for name, value in here.items() if name in there]


@dataclass(frozen=True, kw_only=True)
class Powers:
    """The joint law's exponents, means over components, with intervals by leaving out mixtures.

    ``of`` are the exponents by scale, params and tokens.
    """

    of: Mapping[str, Mean]


def joint_powers(seen: MixRuns) -> Powers | str:
    """The exponents of the height of the mixture's term, or why they are not known."""
    from scaling_law.fit.mixtures.joint import fit_joint

    if seen.large is None:
        return "one size has finished"
    law = fit_joint(seen.cells)
    if isinstance(law, str):
        return law
    every = sorted({one.name for cell in seen.cells for one in cell.mixtures})
    without: list[JointLaw] = []
    for name in every:
        rest = [
            cell.with_mixtures(others)
            for cell in seen.cells
            if (others := [one for one in cell.mixtures if one.name != name])
        ]
        fitted = fit_joint(rest)
        if isinstance(fitted, str) or fitted.by != law.by:
            return f"without the mixture {name} the runs give no law"
        without.append(fitted)
    return Powers(
        of={
            scale: jackknifed(fmean(law.power(scale)), [fmean(one.power(scale)) for one in without])
            for scale in law.by
        }
    )


def largest_cell_errors(seen: MixRuns) -> dict[int, tuple[float, float]] | str:
    """How far joint laws of the other cells miss the largest, with and without a slope, by seed.

    A share, root mean square over mixtures and components. All mixtures share a seed's first
    weights, so that a seed moves the whole cell.
    """
    import numpy as np

    from scaling_law.fit.mixtures.joint import fit_joint

    if seen.large is None:
        return "one size has finished"
    errors: dict[int, tuple[float, float]] = {}
    for seed in sorted({seed for one in seen.large.mixtures for seed in one.losses}):
        largest = seen.large.of_seed(seed)
        cells = [
            own for cell in seen.cells if cell is not seen.large and (own := cell.of_seed(seed))
        ]
        both = []
        for free in (True, False):
            law = fit_joint(cells, free=free)
            if isinstance(law, str):
                return law
            if len(law.by) < 2 or largest is None:
                return "the other runs have one length, or one size"
            misses = law.at(largest) / largest.losses - 1
            both.append(float(np.sqrt((misses**2).mean())))
        errors[seed] = both[0], both[1]
    return errors


def other_mixture_errors(seen: MixRuns) -> dict[str, float] | str:
    """How far a joint law of the other cells and one large run miss the largest's other mixtures.

    The natural mixture at the largest size gives the level of each component, which a seed moves
    for all mixtures alike. A share, root mean square over components, by mixture.
    """
    import numpy as np

    from scaling_law.fit.mixtures.joint import fit_joint

    if seen.large is None:
        return "one size has finished"
    names = [one.name for one in seen.large.mixtures]
    if NATURAL not in names:
        return f"the largest size has no run on the {NATURAL} mixture"
    law = fit_joint([cell for cell in seen.cells if cell is not seen.large])
    if isinstance(law, str):
        return law
    if len(law.by) < 2:
        return "the other runs have one length, or one size"
    ratios = law.at(seen.large) / seen.large.losses
    apart = np.sqrt(((ratios / ratios[names.index(NATURAL)] - 1) ** 2).mean(axis=1))
    return {name: float(miss) for name, miss in zip(names, apart, strict=True) if name != NATURAL}
