"""Compare architectures, or other arms, with a base at equal size: what compute they save.

A compute multiplier is the compute that the base needs for an arm's loss, over the arm's own: above
1 for an arm that saves compute (``findings.Multiplier``). Each loss is that at the arm's own best
learning rate (``tuning``). At a horizon its log is that of the ratio of the base's loss to the
arm's, over the steepness in log tokens of the curve that passes both, less the log of the ratio of
exact FLOPs for a token, the arm's over the base's: at the shortest horizon the worse arm's curve
passes both losses on the way to the next horizon, at a later one the better arm's on the way from
the horizon before. A larger difference than these curves span is extrapolated, and said to be.
``speedup`` has curves of more horizons, and ``fit.recipes`` the multiplier by any runs, where
parameters change too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from scaling_law.experiment.answer import need
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.findings import Multiplier
from scaling_law.experiment.more_runs import rates_command
from scaling_law.experiment.seeds import LEVEL, Mean, SeedNoise, block_noise, pooled_noise
from scaling_law.experiment.standard_error import StandardError, mean_at_best
from scaling_law.experiment.tuning import Optimum, trials_of, tuned
from scaling_law.experiment.warmups import REMEDY, unlike
from scaling_law.spec.counts import count_params, flops_per_token
from scaling_law.spec.data import DataSpec
from scaling_law.spec.model import Model
from scaling_law.units import format_count

WIDEST = math.log(1e6)  # log multipliers, or errors of them, beyond which a curve is too flat


@dataclass(frozen=True, kw_only=True)
class Horizon:
    """What the runs of an arm to one horizon did.

    ``best`` is the best learning rate;
    ``logs`` are the log losses there by seed; at the rate of lowest loss that was tried, where no
    minimum lies between the rates;
    ``fit`` is the error of the log losses that all seeds share, by the fit of the best rate;
    ``metrics`` are the records' further figures by seed, at the rate of lowest loss that was tried.
    """

    best: Optimum
    logs: Mapping[int, float]
    fit: StandardError
    metrics: Mapping[int, Mapping[str, float]]

    @property
    def fit_nats(self) -> StandardError:
        """That error of the losses, in nats per token."""
        return self.fit.times(math.exp(fmean(self.logs.values())))


@dataclass(frozen=True, kw_only=True)
class Arm:
    """The runs of one architecture and size.

    ``kind`` is the architecture; ``horizons`` are they by tokens, rising.
    """

    kind: str
    model: Model
    horizons: Mapping[int, Horizon]

    @property
    def params(self) -> int:
        """The parameters in matrices that a token goes through."""
        return count_params(self.model).matmul

    @property
    def untuned(self) -> str:
        """Why a horizon has no best learning rate between those tried, "" where all have one."""
        for horizon in self.horizons.values():
            if horizon.best.lr is None:
                return f"{horizon.best.cell.text}: {horizon.best.why}"
        return ""

    def rate_text(self, tokens: int) -> str:
        """``0.031 (0.026 to 0.038)``: the best rate, or the lowest one tried and its edge."""
        best = self.horizons[tokens].best
        if best.lr is None:
            where = f"{best.edge} edge" if best.edge else "no minimum"
            return f"{best.lowest or math.nan:g} ({where})"
        if best.interval is None:
            return f"{best.lr:.2g} (unbounded)"
        return f"{best.lr:.2g} ({best.interval[0]:.2g} to {best.interval[1]:.2g})"

    def loss_text(self, tokens: int) -> str:
        """``2.431``: the mean loss of the seeds at the best rate."""
        return f"{math.exp(fmean(self.horizons[tokens].logs.values())):.3f}"


def arms_of(evidence: Evidence, kind_of: Callable[[Model], str]) -> list[Arm]:
    """Return what the runs on text are as arms, smaller models first."""
    runs = [run for run in evidence.runs if isinstance(run.spec.data, DataSpec)]
    tuning = tuned(trials_of(runs, lambda run: kind_of(run.spec.model)))
    models: dict[Model, dict[int, Horizon]] = {}
    for best in tuning.optima:
        at_lowest = _at_lowest(best, runs)
        if not at_lowest:
            continue
        logs = {seed: math.log(run.record.val_loss_nats or math.nan)
                for seed, run in at_lowest.items()}  # fmt: skip
        models.setdefault(best.cell.model, {})[best.cell.tokens] = Horizon(
            best=best,
            logs=logs if best.lr is None else best.levels,
            fit=StandardError(0.0, 0) if best.lr is None else tuning.fit_error(best),
            metrics={seed: run.record.metrics for seed, run in at_lowest.items()},
        )
    arms = [
        Arm(kind=kind_of(model), model=model, horizons=dict(sorted(horizons.items())))
        for model, horizons in models.items()
    ]
    return sorted(arms, key=lambda arm: arm.params)


def _at_lowest(best: Optimum, runs: Sequence[Run]) -> dict[int, Run]:
    """The runs of a cell at the rate of lowest loss, by seed."""
    cell = best.cell
    own = {
        run.spec.seed: run
        for run in runs
        if run.spec.model == cell.model
        and run.spec.tokens == cell.tokens
        and run.spec.batch_tokens == cell.batch_tokens
        and run.spec.optim.lr == best.lowest
        and run.record.kind != "trunk"
        and run.record.val_loss_nats is not None
    }
    return dict(sorted(own.items()))


def sign_of(mean: Mean) -> int:
    """-1 where a mean's interval lies below 0, 1 where it lies above, else 0."""
    ends = mean.interval
    return 0 if ends is None else int(ends[0] > 0) - int(ends[1] < 0)


@dataclass(frozen=True, kw_only=True)
class Versus:
    """An arm against the base of its size at one horizon, on the same seeds.

    ``tokens`` are those of the horizon;
    ``logs`` are the logarithms of the compute multiplier by seed;
    ``error`` is the standard error of their mean and ``freedom`` its degrees of freedom, 0 where
    one seed has finished;
    ``differences`` are the arm's loss minus the base's by seed, in nats per token;
    ``extrapolated`` says that the losses lie farther apart than the curve between two horizons
    spans.
    """

    arm: Arm
    base: Arm
    tokens: int
    logs: Mapping[int, float]
    error: float
    freedom: int
    differences: Mapping[int, float]
    extrapolated: bool

    @property
    def unfair(self) -> str:
        """Why the comparison is not one of the architectures alone, "" where it is."""
        return self.arm.untuned or self.base.untuned or warmups_differ(self.arm, self.base)

    @property
    def difference(self) -> Mean | None:
        """The mean of ``differences``, by the noise of seeds and the fits of both best rates."""
        fits = (one.horizons[self.tokens].fit_nats for one in (self.arm, self.base))
        return mean_at_best(list(self.differences.values()), fits)

    @property
    def log(self) -> float:
        """The logarithm of the compute multiplier, the mean over seeds."""
        return fmean(self.logs.values())

    def _ends(self, of: int = 1) -> tuple[float, float] | None:
        """The ends of the logarithm's interval; None with one seed.

        ``of`` is how many arms this one was picked from (Bonferroni).
        """
        from scaling_law.fit.solver.student import t_reach  # loads numpy

        if not self.freedom:
            return None
        reach = t_reach(self.freedom, 1 - (1 - LEVEL) / of) * self.error
        return self.log - reach, self.log + reach

    def side(self, of: int = 1) -> int:
        """1 where the multiplier is known to be above 1, -1 where below, else 0."""
        low, high = self._ends(of) or (-math.inf, math.inf)
        return int(low > 0) - int(high < 0)

    @property
    def multiplier(self) -> Multiplier:
        """The compute multiplier: its geometric mean over seeds, with its interval."""
        recipe = f"{self.arm.kind}, rate not tuned" if self.arm.untuned else self.arm.kind
        ends = self._ends()
        return Multiplier(
            recipe=f"{recipe}, other warm-up" if warmups_differ(self.arm, self.base) else recipe,
            base=f"{self.base.kind}, rate not tuned" if self.base.untuned else self.base.kind,
            params=float(self.arm.params),
            tokens=float(self.tokens),
            value=math.exp(self.log),
            interval=ends and (math.exp(ends[0]), math.exp(ends[1])),
        )


def compare(arms: Sequence[Arm], base: Arm) -> list[list[Versus]]:
    """Compare the horizons of each arm with those of the base.

    No list is given of an arm that has not two horizons in common with the base, or no seed, or
    where losses fall too little with tokens to say how many a difference is worth
    (``uncompared_note`` names it).
    """
    compared = (_versus(arm, base) for arm in arms)
    return [horizons for horizons in compared if horizons]


def _versus(arm: Arm, base: Arm) -> list[Versus]:
    tokens = [horizon for horizon in arm.horizons if horizon in base.horizons]
    known = [set(one.horizons[at].logs) for one in (arm, base) for at in tokens]
    seeds = sorted(set.intersection(*known)) if known else []
    if len(tokens) < 2 or not seeds:
        return []
    cost = math.log(flops_per_token(arm.model) / flops_per_token(base.model))
    compared = []
    for place, horizon in enumerate(tokens):
        ours, theirs = arm.horizons[horizon], base.horizons[horizon]
        gaps = {seed: ours.logs[seed] - theirs.logs[seed] for seed in seeds}
        gap = fmean(gaps.values())
        # the curve that passes both losses, and the two horizons between which it does
        crossing = arm if (gap < 0) == (place > 0) else base
        span = tokens[max(place - 1, 0) :][:2]
        falls, apart = _falls(crossing, span, seeds), math.log(span[1] / span[0])
        steep = fmean(falls) / apart
        if steep <= 0:
            return []
        noise, error = _noise((base, arm), horizon, seeds), math.inf
        if noise.freedom:
            of_gap = math.hypot(
                noise.error(len(seeds), len(seeds)), ours.fit.value, theirs.fit.value
            )
            of_fall = pooled_noise([falls]).error(len(seeds)) / apart
            error = math.hypot(of_gap / steep, gap * of_fall / steep**2)
        if max(abs(gap) / steep, error if noise.freedom else 0.0) > WIDEST:
            return []
        compared.append(
            Versus(
                arm=arm,
                base=base,
                tokens=horizon,
                logs={seed: -one / steep - cost for seed, one in gaps.items()},
                error=error,
                freedom=noise.freedom,
                differences={
                    seed: math.exp(ours.logs[seed]) - math.exp(theirs.logs[seed]) for seed in seeds
                },
                extrapolated=abs(gap) > fmean(falls),
            )
        )
    return compared


def _falls(arm: Arm, span: Sequence[int], seeds: Sequence[int]) -> list[float]:
    """By how much the log loss falls from one horizon to another, by seed."""
    early, late = (arm.horizons[tokens].logs for tokens in span)
    return [early[seed] - late[seed] for seed in seeds]


def _noise(arms: Sequence[Arm], tokens: int, seeds: Sequence[int]) -> SeedNoise:
    """The noise of log losses at a horizon, of the arms that have all of the seeds there.

    The two that are compared alone give it: arms scatter unlike, by a factor of 6 in
    results/reference/architecture_arms.
    """
    rows = [one.horizons[tokens].logs for one in arms if tokens in one.horizons]
    return block_noise([[row[seed] for seed in seeds] for row in rows if set(seeds) <= set(row)])


def warmups_differ(arm: Arm, base: Arm) -> str:
    """How the warm-ups of two arms differ at a horizon that both have; "" where they do not."""
    for tokens, horizon in arm.horizons.items():
        if tokens in base.horizons:
            why = unlike(horizon.best.warmups, base.horizons[tokens].best.warmups, base.kind)
            if why:
                return f"{horizon.best.cell.text}: {why}"
    return ""


def need_fair(pairs: Iterable[tuple[Arm, Arm]]) -> None:
    """The precondition of comparisons: both arms have their best rate, and the same warm-up."""
    for arm, base in pairs:
        why = arm.untuned or base.untuned
        need(not why, why, "it needs other rates (axes.optim.lr of its entry)")
        why = warmups_differ(arm, base)
        need(not why, why, REMEDY)


def rates_note(evidence: Evidence, arms: Iterable[Arm]) -> list[str]:
    """The command that trains further rates, where an arm is not tuned; none where all are."""
    if not any(arm.untuned for arm in arms):
        return []
    command = rates_command(evidence, lambda entry: entry.get("axes", {}).get("optim.lr", ()))
    return [f"to tune the rate of each arm: {command}"] if command else []


def uncompared_note(arms: Sequence[Arm], compared: Sequence[Versus]) -> list[str]:
    """The note on arms that are compared with no base; none where all are, or nothing is."""
    known = [id(arm) for one in compared for arm in (one.arm, one.base)]
    alone = [f"{arm.kind} of {format_count(arm.params)} parameters"
             for arm in arms if id(arm) not in known]  # fmt: skip
    if not alone or not compared:
        return []
    return [
        "arms without a multiplier, for no base has the same size, seeds and horizons, or losses"
        f" fall too little from one to the next: {'; '.join(alone)}"
    ]


def extrapolated_note(compared: Sequence[Versus]) -> list[str]:
    """The note on multipliers beyond what the curves between two horizons span; none for none."""
    beyond = [f"{one.arm.kind} at {format_count(one.tokens)} tokens of"
              f" {format_count(one.base.params)} parameters"
              for one in compared if one.extrapolated]  # fmt: skip
    if not beyond:
        return []
    return [
        "losses farther apart than a horizon from the next, so that the multiplier is"
        f" extrapolated: {'; '.join(beyond)}"
    ]
