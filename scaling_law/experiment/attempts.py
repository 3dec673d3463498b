"""How often one of n answers to a question is right: read from runs, counted, and predicted.

A question's answers are right with a probability of its own. ``pass_at`` counts without bias
(Chen 2021, arXiv 2107.03374, equation 1). ``BetaBinomial`` takes these probabilities to be spread
as a beta distribution, so that pass@n is 1 - E[(1 - p)^n].
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scaling_law.experiment.answer import need
from scaling_law.experiment.evidence import Run

LEARNING = (0.02, 0.8)  # pass@1 between which a run is still learning the task
WAYS = {"majority": "majority", "log_prob": "own log-probability"}
_METRIC = re.compile(r"best_of_n\.([a-z_]+)-(\d+)(?:\.([a-z]+)(?:-(\d+))?)?")


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What one run does with several answers to each question, at the end of training.

    ``run`` is the run; ``samples`` is the answers drawn to each question;
    ``passed`` is pass@n by n: the share of questions of which one of n answers is right;
    ``chosen`` is the share of which the chosen one of n is right, by way of choosing and n;
    ``verified`` is the same by verifiers, by kind, number of labelled answers, and n;
    ``judged`` is how often verifiers judge answers rightly, by kind and number of labels;
    ``greedy`` is the share of questions that the likeliest answer gets right.
    """

    run: Run
    samples: int
    passed: Mapping[int, float]
    chosen: Mapping[str, Mapping[int, float]]
    verified: Mapping[tuple[str, int], Mapping[int, float]]
    judged: Mapping[tuple[str, int], float]
    greedy: float

    @property
    def steps(self) -> int:
        """The steps of its training."""
        return self.run.spec.total_steps

    @property
    def learning(self) -> bool:
        """Whether some of its answers are right and some are not."""
        return LEARNING[0] <= self.passed[1] <= LEARNING[1]


def drawn(run: Run) -> Drawn | None:
    """What the probe ``best_of_n`` measured of a run; None without it."""
    metrics = run.record.metrics
    right: dict[int, float] = {}
    chosen: dict[str, dict[int, float]] = {}
    verified: dict[tuple[str, int], dict[int, float]] = {}
    judged: dict[tuple[str, int], float] = {}
    for name, value in metrics.items():
        if (parts := _METRIC.fullmatch(name)) is None:
            continue
        word, number, measure, n = parts[1], int(parts[2]), parts[3], parts[4]
        if measure == "accuracy":
            judged[word, number] = value
        elif measure == "best":
            verified.setdefault((word, number), {})[int(n)] = value
        elif word == "right":
            right[number] = value
        elif word in WAYS:
            chosen.setdefault(word, {})[number] = value
    if not right or set(chosen) != set(WAYS):
        return None
    samples = int(metrics["best_of_n.samples"])
    passed = {n: pass_at(right, samples, n) for n in sorted(chosen["log_prob"])}
    return Drawn(
        run=run,
        samples=samples,
        passed=passed,
        chosen=chosen,
        verified=verified,
        judged=judged,
        greedy=metrics.get("answers.val.exact", passed[1]),
    )


def need_learning(ones: Sequence[Drawn]) -> list[Drawn]:
    """The runs that are learning, of which a claim needs three."""
    learning = [one for one in ones if one.learning]
    low, high = LEARNING
    need(
        len(learning) >= 3,
        f"{len(learning)} of {len(ones)} runs have a pass@1 between {low} and {high}",
        "it needs 3: finish the sweep, or stop training at other steps",
    )
    return learning


def pass_at(right: Mapping[int, float], samples: int, n: int) -> float:
    """Return the share of questions that at least one of ``n`` answers gets right.

    ``right`` is how many questions have how many right ones among ``samples`` answers, which are at
    least ``n``; of each, 1 - C(samples - c, n) / C(samples, n) is the mean over all choices of n.
    """
    if not 1 <= n <= samples:
        raise ValueError(f"n is {n}, expected 1 to the {samples} answers drawn")
    every = math.comb(samples, n)
    hit = sum(count * (1 - math.comb(samples - c, n) / every) for c, count in right.items())
    return hit / sum(right.values())


@dataclass(frozen=True, kw_only=True)
class BetaBinomial:
    """Probabilities that are spread as a beta distribution.

    ``mean`` is the mean probability, between 0 and 1;
    ``strength`` is the sum of both parameters: the larger, the more alike are the questions.
    """

    mean: float
    strength: float

    def at(self, n: int) -> float:
        """Return pass@n."""
        wrong, total = (1 - self.mean) * self.strength, self.strength
        return 1 - math.exp(math.fsum(math.log((wrong + i) / (total + i)) for i in range(n)))


def fit_beta_binomial(points: Mapping[int, float]) -> BetaBinomial | str:
    """Return the distribution through pass@1 that is nearest to pass@n at the other n.

    A reason instead where the points do not identify one.
    """
    import numpy as np

    mean, others = points.get(1), {n: value for n, value in points.items() if n > 1}
    if mean is None or not others:
        return "pass@1 and pass@n at another n are needed"
    if not 0 < mean < 1:
        return f"pass@1 is {mean:g}, and its questions are all alike"
    strengths = [float(one) for one in np.geomspace(1e-3, 1e5, 801)]
    fits = [BetaBinomial(mean=mean, strength=strength) for strength in strengths]
    return min(fits, key=lambda fit: sum((fit.at(n) - y) ** 2 for n, y in others.items()))


def planted_metrics(mean: float, strength: float) -> dict[str, float]:
    """Invented metrics of a run whose questions are spread so: 64 answers, chosen ever better."""
    right, wrong = mean * strength, (1 - mean) * strength

    def log_beta(x: float, y: float) -> float:
        return math.lgamma(x) + math.lgamma(y) - math.lgamma(x + y)

    metrics = {"best_of_n.samples": 64.0, "answers.val.exact": min(1.0, 1.2 * mean)}
    for c in range(65):
        ways = math.lgamma(65) - math.lgamma(c + 1) - math.lgamma(65 - c)
        spread = log_beta(c + right, 64 - c + wrong) - log_beta(right, wrong)
        metrics[f"best_of_n.right-{c}"] = math.exp(ways + spread)
    for power in range(7):
        metrics[f"best_of_n.majority-{2**power}"] = mean
        metrics[f"best_of_n.log_prob-{2**power}"] = mean + 0.01 * power
    return metrics
