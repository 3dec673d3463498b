"""Whether a batch that grows along training beats a fixed one at equal tokens and updates.

    slaw run batch_ramp
    slaw report results/batch_ramp

The critical batch grows as the loss falls (``critical_batch``), so that small batches should do
early and large ones late (McCandlish 2018, arXiv 1812.06162; Merrill 2025, arXiv 2505.23971). All
arms read the same tokens in the same order, by the optimizer ``growing_batch``: a small, a middle
and a large batch throughout, and a ramp from the small to the large one that makes as many updates
as the middle one. Seeds are compared one by one.

An update's learning rate goes with the root of its batch, so that the ramp also has a lower rate
early and a higher one late than the middle batch. Only where each arm is trained at several rates
(``axes: {optim.lr: [...]}`` of its entry), with the best one between others, does the comparison
speak of the batch: each arm then has the loss at the minimum of its parabola.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from scaling_law.experiment import Experiment, Outcome, Planted, planted_point
from scaling_law.experiment.answer import Decision, answer, beside, claim, decided_by, need
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.figures import figure, log_axis
from scaling_law.experiment.findings import (
    AGAIN,
    Axis,
    Claim,
    Figure,
    Findings,
    Multiplier,
    Panel,
    Series,
    Table,
)
from scaling_law.experiment.more_runs import rates_command
from scaling_law.experiment.seeds import Mean, mean_over, with_ends
from scaling_law.experiment.speedup import NO_FIT
from scaling_law.experiment.standard_error import StandardError, mean_at_best
from scaling_law.experiment.tuning import Optimum, Tuning, trials_of, tuned
from scaling_law.spec.counts import count_params
from scaling_law.spec.run import RunSpec
from scaling_law.units import format_count

OPTIMIZER = "growing_batch"
SHOWN = 0.1  # share of the steps from which on curves are drawn
EQUAL = 0.02  # share by which the updates of ramp and fixed batch may differ


@dataclass(frozen=True, order=True)
class Batch:
    """How many steps an update takes.

    ``first`` at the start and ``last`` at the end; they double after ``double_after`` steps.
    """

    first: int
    last: int
    double_after: int

    @property
    def is_fixed(self) -> bool:
        """Whether it is one batch throughout."""
        return self.first == self.last

    def updates(self, steps: int) -> int:
        """The updates of so many steps."""
        done, count = 0, 0
        while True:
            wanted = min(self.last, self.first << min(done // self.double_after, 30))
            if done + wanted > steps:
                return count
            done, count = done + wanted, count + 1


@dataclass(frozen=True)
class Arm:
    """The runs of one batch or ramp.

    ``runs`` are those at the rate of lowest loss, by seed;
    ``best`` is its best learning rate;
    ``fit`` is the error of its losses that all seeds share, in nats: that of the best rate's fit.
    """

    batch: Batch
    runs: Mapping[int, Run]
    best: Optimum
    fit: StandardError

    @property
    def spec(self) -> RunSpec:
        """What one of its runs was."""
        return next(iter(self.runs.values())).spec

    @property
    def losses(self) -> dict[int, float]:
        """The final loss at the best rate, by seed: the parabola's minimum, where it has one."""
        if self.best.levels:
            return {seed: math.exp(level) for seed, level in self.best.levels.items()}
        return {
            seed: run.record.val_loss_nats
            for seed, run in self.runs.items()
            if run.record.val_loss_nats is not None
        }

    @property
    def updates(self) -> int:
        """How often the weights moved."""
        return self.batch.updates(self.spec.total_steps)

    @property
    def words(self) -> str:
        """``512 tokens``, ``512 to 2,048 tokens``."""
        first, last = (
            f"{n * self.spec.batch_tokens:,}" for n in (self.batch.first, self.batch.last)
        )
        return f"{first} tokens" if self.batch.is_fixed else f"{first} to {last} tokens"

    def points(self, since: float) -> list[tuple[int, float]]:
        """(tokens, loss) of the curves, from a share of the steps on.

        The last point is left out: it is measured on other tokens of ``val`` than those before.
        """
        return [
            (point.tokens, point.val_loss_nats)
            for run in self.runs.values()
            for point in run.curve
            if point.val_loss_nats is not None
            and since * run.spec.total_steps <= point.step < run.spec.total_steps
        ]

    @property
    def tokens_per_loss(self) -> float | None:
        """By how much log tokens rise as the loss falls by 1, in the second half of the curves."""
        late = [(loss, math.log(tokens)) for tokens, loss in self.points(0.5)]
        if len(late) < 3:
            return None
        middle, level = fmean(x for x, _ in late), fmean(y for _, y in late)
        square = sum((x - middle) ** 2 for x, _ in late)
        slope = sum((x - middle) * (y - level) for x, y in late) / square if square else 0.0
        return -slope if slope < 0 else None


@dataclass(frozen=True)
class Arms:
    """The arms that are compared; None for one that has no run.

    ``small``, ``middle`` and ``large`` have one batch throughout; ``ramp`` begins with the small
    and ends with the large one, and makes about as many updates as the middle one.
    """

    small: Arm | None
    middle: Arm | None
    large: Arm | None
    ramp: Arm | None

    @property
    def each(self) -> tuple[Arm, ...]:
        """Those that there are, the ramp last."""
        known = (self.small, self.middle, self.large, self.ramp)
        return tuple(arm for arm in known if arm is not None)

    @property
    def untuned(self) -> tuple[Arm, ...]:
        """Those whose best learning rate does not lie between others."""
        return tuple(arm for arm in self.each if arm.best.lr is None)

    @property
    def rates_text(self) -> str:
        """What a claim must say of the learning rates; "" where each arm has its best one."""
        if not self.untuned:
            return ""
        return ", at a rate by the root of the batch, which was not tuned"


def batch_of(spec: RunSpec) -> Batch | None:
    """The batch of a run; None under another optimizer."""
    part = spec.optim.optimizer
    if part is None or part.name != OPTIMIZER:
        return None
    given = dict(part.settings)
    first, last = int(given.get("first", 1)), int(given.get("last", 1))
    return Batch(first, last, int(given.get("double_after", 1000)) if first != last else 1)


def _at_best(runs: Sequence[Run], batch: Batch, best: Optimum) -> dict[int, Run]:
    """The runs of an arm at the rate of lowest loss, by seed."""
    cell = best.cell
    own = {
        run.spec.seed: run
        for run in runs
        if batch_of(run.spec) == batch
        and (run.spec.model, run.spec.tokens) == (cell.model, cell.tokens)
        and run.spec.optim.lr == best.lowest
        and not run.lost
    }
    return dict(sorted(own.items()))


def _fit_of(tuning: Tuning, best: Optimum) -> StandardError:
    """The error of a best rate's fit in nats; 0 for losses at a rate that was run."""
    return tuning.fit_error(best).times(best.loss) if best.lr and best.loss else NO_FIT


def arms_of(evidence: Evidence) -> Arms:
    """Return the arms of the sweep: the ramp, its ends, and the fixed batch of as many updates."""
    several = [run for run in evidence.runs if batch_of(run.spec) is not None]
    batches = {str(batch): batch for run in several if (batch := batch_of(run.spec)) is not None}
    tuning = tuned(
        trials_of(several, lambda run: str(batch_of(run.spec))), lambda cell: (cell.size, "")
    )
    # of several sizes or horizons, the last one
    optima = {batches[best.cell.recipe]: best for best in tuning.optima if best.lowest}
    arms = [
        Arm(batch, _at_best(several, batch, best), best, _fit_of(tuning, best))
        for batch, best in optima.items()
    ]
    fixed = {arm.batch.first: arm for arm in arms if arm.batch.is_fixed}
    ramp = next(
        (arm for arm in sorted(arms, key=lambda a: a.batch) if not arm.batch.is_fixed), None
    )
    if ramp is None:
        return Arms(None, None, None, None)
    ends = (ramp.batch.first, ramp.batch.last)
    between = [arm for first, arm in fixed.items() if ends[0] < first < ends[1]]
    middle = min(between, key=lambda arm: abs(arm.updates - ramp.updates), default=None)
    return Arms(fixed.get(ends[0]), middle, fixed.get(ends[1]), ramp)


def gains(better: Arm, worse: Arm) -> list[float]:
    """By how much the first one's loss is lower, seed by seed."""
    both = sorted(better.losses.keys() & worse.losses.keys())
    return [worse.losses[seed] - better.losses[seed] for seed in both]


def mean_gain(better: Arm, worse: Arm) -> Mean | None:
    """By how much the first one's loss is lower, with the errors of both fits."""
    return mean_at_best(gains(better, worse), (better.fit, worse.fit))


def log_multiplier(arms: Arms) -> Mean | None:
    """By the late slope of the fixed batch's curves, the log of the ramp's worth in tokens.

    None where an arm or the slope is missing.
    """
    if arms.ramp is None or arms.middle is None or arms.middle.tokens_per_loss is None:
        return None
    slope = arms.middle.tokens_per_loss
    fits = [arm.fit.times(slope) for arm in (arms.ramp, arms.middle)]
    return mean_at_best([gain * slope for gain in gains(arms.ramp, arms.middle)], fits)


def saved_by(arms: Arms) -> Mean | None:
    """The share of tokens that the ramp saves."""
    log = log_multiplier(arms)
    if log is None:
        return None
    value, *ends = (1 - math.exp(-one) for one in (log.value, *(log.interval or ())))
    return Mean(value=value, interval=(ends[0], ends[1]) if ends else None, seeds=log.seeds)


def multiplier_of(arms: Arms) -> Multiplier | None:
    """The compute multiplier of the ramp over the fixed batch."""
    logs = log_multiplier(arms)
    if logs is None:
        return None
    assert arms.ramp is not None and arms.middle is not None, "both have losses"
    spec = arms.ramp.spec
    return Multiplier(
        recipe=f"batch {arms.ramp.words}{', rate not tuned' if arms.untuned else ''}",
        base=f"batch {arms.middle.words}",
        params=float(count_params(spec.model).matmul),
        tokens=float(spec.tokens),
        value=logs.factor.value,
        interval=logs.factor.interval,
        counts="tokens",
    )


def analyse(evidence: Evidence) -> Findings:
    """Return what a ramp gains over the fixed batch of as many updates."""
    arms = arms_of(evidence)
    saved = saved_by(arms)
    claims = (_ramp_beats(arms, saved), _batch_matters(arms), _ramp_keeps_up(arms))
    compared = (trial.loss is not None for arm in arms.each for trial in arm.best.trials)
    left_out = len(evidence.ended) - sum(compared)
    notes = [f"runs left out, of no arm that is compared: {left_out}"] if left_out else []
    if command := _tuning_command(evidence, arms):
        notes.append(f"to tune the rate of each arm: {command}")
    return answer(
        claims,
        lambda: _words(arms, claims, saved),
        measures=_measures(arms, saved),
        tables=(_table(arms), _gain_table(arms, saved)),
        figures=(_figure(arms),),
        literature=(
            beside(
                "a batch that grows, against a fixed one at equal tokens",
                theirs="a slightly lower loss in 43% fewer updates (1B parameters)",
                ours=_against_small(arms),
                source="Merrill 2025, arXiv 2505.23971",
            ),
        ),
        notes=notes,
        units={"multiplier": "times", "loss": "nats", "gain": "nats", "updates": "updates"},
        multipliers=[one] if (one := multiplier_of(arms)) else [],
    )


def _tuning_command(evidence: Evidence, arms: Arms) -> str:
    """The command that tunes the rate of the arms that are not tuned."""

    def tried(entry: Mapping[str, Any]) -> set[float]:
        axes = entry.get("axes", {})
        return {
            rate
            for arm in arms.untuned
            if arm.batch.first in axes.get("optim.first", ())
            and arm.batch.last in axes.get("optim.last", ())
            for rate in arm.best.rates
        }

    return rates_command(evidence, tried)


def _need_arms(arms: Arms, *names: str) -> list[Arm]:
    """The arms of these names, behind their preconditions."""
    needed = []
    for name in names:
        arm: Arm | None = getattr(arms, name)
        need(arm is not None, f"no run of the {name} arm finished", AGAIN)
        assert arm is not None, "needed above"
        need(len(arm.losses) > 1, f"one seed of the {name} arm finished", AGAIN)
        needed.append(arm)
    return needed


def _decided(mean: Mean | None, words: str = "by") -> Decision:
    """Whether a mean, with the errors of fits, lies above 0, with the figures."""
    return decided_by(mean, words, show=_paired)


def _large_loses(small: Arm, large: Arm) -> bool:
    """Whether the large batch is shown to end above the small one."""
    mean = mean_gain(small, large)
    return mean is not None and mean.interval is not None and mean.interval[0] > 0


def _need_tuned(arms: Arms, ramp: Arm, middle: Arm, saved: Mean | None) -> None:
    """Each arm must have its best rate; what one rate each gives is said, and decides nothing."""
    rates = "; ".join(
        f"{arm.words}: {', '.join(f'{rate:g}' for rate in arm.best.rates)}" for arm in arms.untuned
    )
    mean = mean_gain(ramp, middle)
    measured = "" if mean is None else f"; as run, the ramp gains {_paired(mean)}"
    if saved is not None:
        measured += f", {_worth(saved)}"
    need(
        not arms.untuned,
        f"the best learning rate of an arm does not lie between others ({rates}), and the ramp's"
        f" rate, which goes with its batch, is lower early and higher late than the fixed one's, so"
        f" that batch and rate are not told apart{measured}",
        "it takes three or more rates of each arm, with the best one inside (axes.optim.lr of its"
        " entry)",
    )


def _paired(mean: Mean) -> str:
    return f"{mean.text.replace('seeds', 'seeds, paired')} nats"


def _worth(saved: Mean) -> str:
    """``worth 6.6% (1.1% to 11.8%) of tokens``."""
    ends = "" if saved.interval is None else " ({:.1%} to {:.1%})".format(*saved.interval)
    none = "" if saved.value >= 0 else ", that is, none"
    return f"worth {saved.value:.1%}{ends} of tokens{none}"


def _ramp_beats(arms: Arms, saved: Mean | None) -> Claim:
    def decide() -> Decision:
        ramp, middle, small, large = _need_arms(arms, "ramp", "middle", "small", "large")
        apart = abs(ramp.updates / middle.updates - 1)
        need(
            apart <= EQUAL,
            f"the ramp makes {ramp.updates} updates, the fixed batch {middle.updates}",
            "a double_after or a fixed batch with which they are equal",
        )
        need(
            _large_loses(small, large),
            "the large batch loses nothing against the small one at equal tokens",
            "a larger `last`, beyond the critical batch (slaw run critical_batch)",
        )
        _need_tuned(arms, ramp, middle, saved)
        return _decided(mean_gain(ramp, middle))

    return claim(
        "ramp_beats_fixed",
        "a batch that grows ends with a lower loss than a fixed one of as many updates and tokens",
        decide,
    )


def _batch_matters(arms: Arms) -> Claim:
    def decide() -> Decision:
        small, large = _need_arms(arms, "small", "large")
        return _decided(mean_gain(small, large))

    return claim(
        "small_beats_large",
        "at equal tokens, the small batch throughout ends with a lower loss than the large one"
        f"{arms.rates_text}",
        decide,
    )


def _ramp_keeps_up(arms: Arms) -> Claim:
    def decide() -> Decision:
        ramp, small, large = _need_arms(arms, "ramp", "small", "large")
        seeds = sorted(ramp.losses.keys() & small.losses.keys() & large.losses.keys())
        need(len(seeds) > 1, f"{len(seeds)} seeds have all three", AGAIN)
        lost, whole = (
            [arm.losses[seed] - small.losses[seed] for seed in seeds] for arm in (ramp, large)
        )
        need(
            _large_loses(small, large),
            "the large batch loses nothing against the small one",
            "a larger `last`",
        )
        share = ramp.updates / small.updates
        words = (
            f"the ramp loses {fmean(lost):.3f} nats with {share:.0%} of the updates, the large"
            f" batch {fmean(whole):.3f} with {large.updates / small.updates:.0%}"
        )
        less = [0.5 * b - a for a, b in zip(lost, whole, strict=True)]
        fits = (ramp.fit, small.fit.times(0.5), large.fit.times(0.5))
        return _decided(mean_at_best(less, fits), f"{words}: less than half by")

    return claim(
        "ramp_keeps_up",
        "the ramp loses less than half of what the large batch loses against the small one"
        f"{arms.rates_text}",
        decide,
    )


def _against_small(arms: Arms) -> str | None:
    if arms.ramp is None or arms.small is None or not (each := gains(arms.small, arms.ramp)):
        return None
    fewer = 1 - arms.ramp.updates / arms.small.updates
    return f"{fmean(each):+.3f} nats in {fewer:.0%} fewer updates than the small batch"


def _words(arms: Arms, claims: Sequence[Claim], saved: Mean | None) -> str:
    beats, _, keeps_up = claims
    assert arms.ramp is not None and arms.middle is not None, "the first claim is decided"
    verb = "beats" if beats.established else "does not beat"
    words = (
        f"A batch of {arms.ramp.words} {verb} {arms.middle.words} throughout at equal tokens and"
        f" updates ({beats.because})"
    )
    if saved is not None:
        words += f", {_worth(saved)}"
    if keeps_up.established is not None:
        words += f". Against the small batch {keeps_up.because}"
    return f"{words}."


def _gains(arms: Arms) -> dict[str, Mean | None]:
    """The gain of one arm over another, by name, in nats."""
    pairs = {
        "gain.ramp_over_middle": (arms.ramp, arms.middle),
        "gain.small_over_ramp": (arms.small, arms.ramp),
        "gain.small_over_large": (arms.small, arms.large),
    }
    return {
        name: mean_gain(better, worse) if better and worse else None
        for name, (better, worse) in pairs.items()
    }


def _gain_table(arms: Arms, saved: Mean | None) -> Table | None:
    means = {name: mean for name, mean in _gains(arms).items() if mean is not None}
    if not means:
        return None
    rows = [
        (name.partition(".")[2].replace("_", " "), _paired(mean)) for name, mean in means.items()
    ]
    if saved is not None:
        rows.append(("tokens saved by the ramp", _worth(saved)))
    return Table(
        caption=f"By how much the first arm's loss is lower{arms.rates_text}: mean over seeds with"
        " its 90% interval",
        head=("arms", "gain"),
        rows=tuple(rows),
        text_columns=2,
    )


def _measures(arms: Arms, saved: Mean | None) -> dict[str, float | None]:
    measures: dict[str, float | None] = {}
    worth = log_multiplier(arms)
    means = {"multiplier.ramp": worth and worth.factor, "tokens_saved_frac": saved}
    for name, mean in {**means, **_gains(arms)}.items():
        measures |= with_ends(name, mean)
    for name in ("small", "middle", "large", "ramp"):
        arm: Arm | None = getattr(arms, name)
        losses = [] if arm is None else list(arm.losses.values())
        measures[f"loss.{name}"] = fmean(losses) if losses else None
        measures[f"updates.{name}"] = None if arm is None else arm.updates
    return measures


def _table(arms: Arms) -> Table | None:
    rows = []
    for arm in arms.each:
        mean = mean_over(list(arm.losses.values()))
        if mean is not None:
            spec = arm.spec
            rates = ", ".join(f"{rate:g}" for rate in arm.best.rates)
            at = arm.best.lr or arm.best.lowest or math.nan
            tokens = format_count(spec.tokens)
            rows.append((arm.words, arm.updates, tokens, mean.text, f"{at:.3g}", rates))
    if not rows:
        return None
    return Table(
        caption="Final validation loss (nats per token) by tokens of an update: mean over seeds"
        " with its 90% interval",
        head=("batch", "updates", "tokens", "loss", "at rate", "rates tried"),
        rows=tuple(rows),
    )


def _figure(arms: Arms) -> Figure | None:
    series = []
    for arm in arms.each:
        losses: dict[int, list[float]] = {}
        for tokens, loss in arm.points(SHOWN):
            losses.setdefault(tokens, []).append(loss)
        line = tuple((float(x), fmean(ys)) for x, ys in sorted(losses.items()))
        series.append(Series(label=arm.words, points=line, marks=False))
    return figure(
        "losses",
        "Loss against tokens, by batch",
        "Means over seeds.",
        [
            Panel(
                x=log_axis("tokens"),
                y=Axis(label="validation loss (nats per token)"),
                series=tuple(series),
            )
        ],
    )


def _planted(spec: RunSpec) -> Outcome:
    """Losses that rise by 0.05 nats with each doubling of the batch; the ramp is 0.03 below.

    Their best learning rate is 0.008.
    """
    part = spec.optim.optimizer
    assert part is not None, "planted in the experiment's own plan"
    given = dict(part.settings)
    first, last = int(given["first"]), int(given["last"])
    loss = 2.5 + 0.05 * math.log2(first * last) / 2
    loss -= 0.03 if first != last else 0.0
    loss += 0.01 * spec.seed
    loss *= math.exp(0.02 * math.log(spec.optim.lr / 0.008) ** 2)
    curve = []
    for share in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
        step = round(share * spec.total_steps)
        point = planted_point(spec, step, {})
        curve.append(replace(point, val_loss_nats=loss * share**-0.1))
    return Outcome(val_loss_nats=loss, curve=tuple(curve))


EXPERIMENT = Experiment(
    question="Does a batch that grows along training beat a fixed one at equal tokens and updates?",
    reproduces="McCandlish 2018, Merrill 2025 (batches that grow)",
    parts={"optimizer": (OPTIMIZER,)},
    analyse=analyse,
    planted=Planted(
        outcome=_planted,
        measures={"gain.ramp_over_middle": (0.029, 0.031), "tokens_saved_frac": (0.05, 0.2)},
        claims={"ramp_beats_fixed": True, "small_beats_large": True, "ramp_keeps_up": True},
    ),
)
