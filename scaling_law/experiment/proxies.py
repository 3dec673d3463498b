"""Runs that find a mixture by proxies: references, their proxies, and larger models.

A proxy is trained by group DRO against the losses of a reference (``train.objectives.group_dro``);
the mean of its weights over the steps is the mixture that it finds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING

from scaling_law.experiment.crossing import amount_for
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.groups import of_one_recipe
from scaling_law.experiment.mixtures import (
    NATURAL,
    NEAR,
    UNIFORM,
    gains_over,
    mixture_near,
    rival_of,
)
from scaling_law.fit.mixtures.target import parse_target
from scaling_law.spec.counts import count_params
from scaling_law.spec.mix import Mix

if TYPE_CHECKING:
    from scaling_law.fit.mixtures.points import MixCell, Mixture

OBJECTIVE = "group_dro"
LOSS, WEIGHT, ANSWER = "loss.val:", f"{OBJECTIVE}.weight.", f"{OBJECTIVE}.mean_weight."


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the runs show.

    ``components`` are the domains, in one order;
    ``references`` and ``proxies`` are runs by the mixture that the reference reads, then by seed;
    ``large`` are the larger models, None before one has finished, and ``large_runs`` their runs by
    mixture and seed.
    """

    components: tuple[str, ...] = ()
    references: Mapping[str, Mapping[int, Run]] = field(default_factory=dict)
    proxies: Mapping[str, Mapping[int, Run]] = field(default_factory=dict)
    large: MixCell | None = None
    large_runs: Mapping[str, Mapping[int, Run]] = field(default_factory=dict)

    def weights(self, reference: str) -> dict[int, dict[str, float]]:
        """The mean weights over a proxy's steps, by seed."""
        return {
            seed: {name: run.record.metrics[ANSWER + name] for name in self.components}
            for seed, run in self.proxies.get(reference, {}).items()
        }

    def answer(self, reference: str) -> dict[str, float]:
        """The mixture that a reference's proxies find: the mean over seeds, which sums to 1."""
        of_seeds = self.weights(reference).values()
        if not of_seeds:
            return {}
        shares = {name: round(fmean(one[name] for one in of_seeds), 3) for name in self.components}
        largest = max(shares, key=lambda name: shares[name])
        shares[largest] = round(shares[largest] + 1 - sum(shares.values()), 3)
        return shares

    def shares(self, reference: str) -> dict[str, float]:
        """The shares in which a reference reads the domains; {} for natural ones not yet known."""
        run = next(iter(self.references[reference].values()))
        assert run.spec.mix is not None, "every reference has a mixture"
        named = run.spec.mix.phases[0].shares
        if named is not None:
            return {name: dict(named).get(name, 0.0) for name in self.components}
        natural = self.rival(NATURAL)
        return dict(zip(self.components, natural.shares, strict=True)) if natural else {}

    def trained(self, reference: str) -> Mixture | None:
        """The larger models on that mixture; None before the third stage."""
        shares = self.answer(reference)
        return mixture_near(self.large, shares) if shares and self.large else None

    def rival(self, name: str) -> Mixture | None:
        """The larger models on natural or uniform shares."""
        return rival_of(self.large, name) if self.large else None

    def gains(self, reference: str, target: str, name: str) -> list[float]:
        """How far the answer ends below a rival at the larger size, in nats, by seed.

        ``target`` is worst or mean, or a domain.
        """
        ours, rival = self.trained(reference), self.rival(name)
        if ours is None or rival is None:
            return []
        text = f"{target}=1" if target in self.components else target
        return list(gains_over(rival, ours, parse_target(text, self.components)).values())


def read(evidence: Evidence) -> Seen:
    """Return what the runs show, of each size the longest.

    Runs of the smallest size in the first stage are references; the largest size is what counts.
    """
    from scaling_law.fit.mixtures.points import mix_cells

    plain = [run for run in evidence.ended if run.spec.mix and run.spec.objective is None]
    plain = [run for run in plain if any(name.startswith(LOSS) for name in run.record.metrics)]
    plain = of_one_recipe(plain, "data.mix")
    longest: dict[int, int] = {}
    for run in plain:
        longest[_params(run)] = max(run.spec.tokens, longest.get(_params(run), 0))
    plain = [run for run in plain if run.spec.tokens == longest[_params(run)]]
    sizes = sorted(longest)
    if not sizes:
        return Seen()
    names = (name.removeprefix(LOSS) for name in plain[0].record.metrics if name.startswith(LOSS))
    components = tuple(sorted(names))
    references: dict[str, dict[int, Run]] = {}
    large_runs: dict[str, dict[int, Run]] = {}
    for run in plain:
        assert run.spec.mix is not None, "left out above"
        if _params(run) == sizes[0] and run.stage == 1:
            word = mixture_word(run.spec.mix, components)
            references.setdefault(word, {})[run.spec.seed] = run
        elif _params(run) == sizes[-1]:
            large_runs.setdefault(run.spec.mix.text, {})[run.spec.seed] = run
    references = {word: references[word] for word in sorted(references, key=_order)}
    large = [run.record for by in large_runs.values() for run in by.values()]
    cells = mix_cells(large).cells
    words = {run.record.run_id: word for word, by in references.items() for run in by.values()}
    proxies: dict[str, dict[int, Run]] = {}
    for run in evidence.ended:
        other = run.spec.reference.run_id if run.spec.reference else ""
        if other in words and all(ANSWER + name in run.record.metrics for name in components):
            proxies.setdefault(words[other], {})[run.spec.seed] = run
    return Seen(
        components=components,
        references=references,
        proxies={word: proxies[word] for word in references if word in proxies},
        large=cells[0] if cells else None,
        large_runs=large_runs,
    )


def _order(word: str) -> tuple[bool, bool, str]:
    """Natural shares first, then uniform ones, then others by their text."""
    return word != NATURAL, word != UNIFORM, word


def _params(run: Run) -> int:
    return count_params(run.spec.model).non_embedding


def mixture_word(mix: Mix, components: tuple[str, ...]) -> str:
    """``natural``, ``uniform``, or the shares of a mixture."""
    shares = dict(mix.phases[0].shares or ())
    equal = 1 / len(components)
    if shares and all(abs(shares.get(name, 0.0) - equal) < NEAR for name in components):
        return UNIFORM
    return mix.text


def spread(seen: Seen, reference: str) -> float | None:
    """How far the answers of other seeds are apart, at most; None with one seed."""
    of_seeds = list(seen.weights(reference).values())
    if len(of_seeds) < 2:
        return None
    columns = ([one[name] for one in of_seeds] for name in seen.components)
    return max(max(column) - min(column) for column in columns)


Weights = dict[str, float]  # by component


def halves(seen: Seen, reference: str) -> list[tuple[Weights, Weights]]:
    """The mean weights over the first and over the second half of a proxy's steps, by seed.

    The halves meet at the point of the curve that is nearest to the middle.
    """
    each = []
    for run in seen.proxies.get(reference, {}).values():
        total = run.spec.total_steps
        points = [point for point in run.curve if 0 < point.step < total]
        points = [p for p in points if all(ANSWER + name in p.metrics for name in seen.components)]
        if not points:
            continue
        middle = min(points, key=lambda point: abs(2 * point.step - total))
        early = {name: middle.metrics[ANSWER + name] for name in seen.components}
        late = {
            name: (run.record.metrics[ANSWER + name] * total - share * middle.step)
            / (total - middle.step)
            for name, share in early.items()
        }
        each.append((early, late))
    return each


def steps_saved(seen: Seen, reference: str) -> list[float]:
    """How many times fewer steps the answer takes to natural shares' final mean loss, by seed.

    Read off the curve, whose learning rate is that of the whole run.
    """
    ours, rival = seen.trained(reference), seen.rival(NATURAL)
    times = []
    for seed in sorted(set(ours.losses) & set(rival.losses)) if ours and rival else []:
        assert ours is not None and rival is not None
        run = seen.large_runs[ours.name][seed]
        curve = {
            float(point.step): fmean(point.metrics[LOSS + name] for name in seen.components)
            for point in run.curve
            if point.step and all(LOSS + name in point.metrics for name in seen.components)
        }
        steps = amount_for(curve, fmean(rival.losses[seed]))
        if steps is not None:
            times.append(run.spec.total_steps / steps)
    return times
