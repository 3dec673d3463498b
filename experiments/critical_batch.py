"""The critical batch: where larger batches stop saving steps, and how it grows as the loss falls.

    slaw run critical_batch
    slaw report results/critical_batch

To reach a loss with batches of B tokens takes S steps and E = S B tokens, and the two trade off as
(S/S_min - 1) (E/E_min - 1) = 1 (McCandlish 2018, arXiv 1812.06162, equation 2.11), that is
S = S_min (1 + B_crit/B) with B_crit = E_min/S_min. The gradient's noise predicts B_crit without any
such sweep: B_simple, the trace of the gradient's covariance over its squared norm, which the probe
``noise_scale`` measures. Kaplan 2020 (arXiv 2001.08361, section 5.1) finds that B_crit grows as the
loss falls, as L^(-1/alpha_B) with alpha_B = 0.21.

The steps to a loss are read from the run's curve, made to fall only (isotonic regression). Of a
batch with several learning rates (``axes: {optim.lr: [...]}`` of its entry) that of the fewest
steps counts; where it does not lie between others, the claims say that the rates were not tuned.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import geometric_mean
from typing import Annotated, Any

from scaling_law.experiment import Experiment, Outcome, Planted, planted_point
from scaling_law.experiment.answer import (
    Decision,
    PreconditionError,
    answer,
    beside,
    claim,
    decided,
    need,
)
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.figures import figure, law_series, log_axis, mean_series, number
from scaling_law.experiment.findings import (
    AGAIN,
    Claim,
    Figure,
    Findings,
    Panel,
    Published,
    Series,
    Table,
)
from scaling_law.experiment.more_runs import rates_command
from scaling_law.experiment.noise_scale import SQUARED, TRACE, noise_batch
from scaling_law.experiment.power_law import (
    SURE,
    PowerLaw,
    fit_power_law_of_seeds,
    misfit_chance,
)
from scaling_law.experiment.seeds import Mean, jackknifed, mean_over
from scaling_law.experiment.steps_to_loss import steps_to
from scaling_law.experiment.tradeoff import Ramp, Tradeoff, fit_ramp, fit_tradeoff, no_tradeoff
from scaling_law.spec.run import RunSpec
from scaling_law.spec.values import Number
from scaling_law.units import format_count

MISFIT = 0.1  # largest root mean square of relative distances of S from the hyperbola
WITHIN = 3.0  # B_simple predicts B_crit within this factor
KAPLAN = 0.21
RESOLVED = 2.0  # an interval of alpha_B says something of Kaplan's where its ends lie so near
ROOT = 0.05  # rates within this share of the root of the batch go by it


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The losses at which the trade-off is read.

    ``highest`` and ``lowest`` are in nats per token; ``targets`` losses lie between them, ends
    included, at equal ratios.
    """

    highest: Annotated[float, Number("nats per token", above=0, high=100)] = 3.0
    lowest: Annotated[float, Number("nats per token", above=0, high=100)] = 2.5
    targets: Annotated[int, Number("losses", low=2, high=20)] = 4

    def __post_init__(self) -> None:
        if self.lowest >= self.highest:
            raise ValueError(f"lowest {self.lowest:g} is not below highest {self.highest:g}")

    @property
    def losses(self) -> tuple[float, ...]:
        """The target losses, falling."""
        ratio = (self.lowest / self.highest) ** (1 / (self.targets - 1))
        return tuple(round(self.highest * ratio**k, 3) for k in range(self.targets))


@dataclass(frozen=True)
class Target:
    """What the runs show of one target loss.

    ``loss`` is in nats per token;
    ``steps`` are those that each batch took to reach it, by batch (tokens) and seed, where every
    seed of that batch reached it;
    ``short`` are the batches of which a seed did not;
    ``rates`` are those that were run, by batch, each with its mean steps, infinite where a seed did
    not reach the loss. Those that ended so in fewer steps than the best rate took are left out;
    ``noise`` is B_simple in tokens, by seed.
    """

    loss: float
    steps: Mapping[int, Mapping[int, float]]
    short: tuple[int, ...]
    noise: Mapping[int, float]
    rates: Mapping[int, Mapping[float, float]] = field(default_factory=dict)

    @property
    def best_rates(self) -> dict[int, float]:
        """The rate of the fewest steps, by batch."""
        return {batch: min(steps, key=lambda rate: steps[rate]) for batch, steps in
                self.rates.items()}  # fmt: skip

    @property
    def untuned(self) -> set[int]:
        """The batches whose rate of the fewest steps is the lowest or the highest one tried."""
        best = self.best_rates
        return {b for b, rates in self.rates.items() if not min(rates) < best[b] < max(rates)}

    @property
    def mean_steps(self) -> dict[int, float]:
        """The geometric mean over seeds, by batch."""
        return {batch: geometric_mean(of_seed.values()) for batch, of_seed in self.steps.items()}

    @property
    def fit(self) -> Tradeoff | str:
        """The hyperbola through the means over seeds, or why there is none."""
        return fit_tradeoff(self.mean_steps)

    @property
    def misfit(self) -> Mean | None:
        """How far the steps lie from the hyperbola; None without one.

        Its interval leaves out one seed after another (jackknife).
        """
        fit, seeds = self.fit, sorted({seed for own in self.steps.values() for seed in own})
        if isinstance(fit, str):
            return None
        without = [
            replace(self, steps={b: _without(own, seed) for b, own in self.steps.items()}).fit
            for seed in seeds
            if all(_without(own, seed) for own in self.steps.values())
        ]
        known = [one.misfit for one in without if isinstance(one, Tradeoff)]
        return jackknifed(fit.misfit, known if len(known) == len(seeds) else ())

    @property
    def by_seed(self) -> dict[int, float]:
        """B_crit of each seed whose own steps give one."""
        seeds = {seed for of_seed in self.steps.values() for seed in of_seed}
        fits = {
            seed: fit_tradeoff({b: s[seed] for b, s in self.steps.items() if seed in s})
            for seed in sorted(seeds)
        }
        return {seed: fit.batch for seed, fit in fits.items() if isinstance(fit, Tradeoff)}


def _without(of_seed: Mapping[int, float], seed: int) -> dict[int, float]:
    return {one: steps for one, steps in of_seed.items() if one != seed}


def targets_of(evidence: Evidence, settings: Settings) -> tuple[Target, ...]:
    """What the runs show of each target loss, falling."""
    groups: dict[int, dict[float, dict[int, Run]]] = {}
    for run in evidence.ended:
        same = groups.setdefault(run.spec.batch_tokens, {}).setdefault(run.spec.optim.lr, {})
        same[run.spec.seed] = run
    targets = []
    for loss in settings.losses:
        steps, short = {}, []
        rates: dict[int, dict[float, float]] = {}
        chosen: list[Run] = []
        for batch, of_rate in sorted(groups.items()):
            tried = {
                rate: {seed: steps_to(run, loss) for seed, run in sorted(of_seed.items())}
                for rate, of_seed in sorted(of_rate.items())
            }
            rates[batch] = {rate: _mean_steps(by.values()) for rate, by in tried.items()}
            best = min(rates[batch], key=lambda rate: rates[batch][rate])
            rates[batch] = _tried_as_long(rates[batch], of_rate, rates[batch][best])
            chosen += of_rate[best].values()
            whole = {seed: value for seed, value in tried[best].items() if value is not None}
            if len(whole) == len(tried[best]):
                steps[batch] = whole
            else:
                short.append(batch)
        noise = {
            seed: noise_batch([run for run in chosen if run.spec.seed == seed], loss)
            for seed in sorted({run.spec.seed for run in chosen})
        }
        targets.append(
            Target(
                loss=loss,
                steps=steps,
                short=tuple(short),
                noise={seed: value for seed, value in noise.items() if value is not None},
                rates=rates,
            )
        )
    return tuple(targets)


def _tried_as_long(
    steps: Mapping[float, float], runs: Mapping[float, Mapping[int, Run]], fewest: float
) -> dict[float, float]:
    """The rates that reached a loss, or could have in the fewest steps that one took.

    A run that ends before that says nothing of its rate.
    """
    return {
        rate: value
        for rate, value in steps.items()
        if math.isinf(fewest)
        or value < math.inf
        or min(run.spec.total_steps for run in runs[rate].values()) >= fewest
    }


def _mean_steps(steps: Iterable[float | None]) -> float:
    """The geometric mean of steps, infinite where one is missing."""
    known = [math.inf if value is None else value for value in steps]
    return geometric_mean(known) if math.inf not in known else math.inf


def rates_text(targets: Sequence[Target]) -> str:
    """What a claim must say of the learning rates; "" where every batch has its best one.

    ``edges_note`` lists the batches, once for all claims.
    """
    edges = sum(len(target.untuned) for target in targets)
    if not edges:
        return ""
    if _several_rates(targets):
        of = sum(len(target.rates) for target in targets)
        return f", at the best of several rates (an edge of them in {edges} of {of} cases)"
    best = targets[0].best_rates
    root = [rate / math.sqrt(batch) for batch, rate in best.items()]
    rule = "by the root rule" if max(root) <= min(root) * (1 + ROOT) ** 2 else "of the config"
    return f", at rates {rule}, which were not tuned"


def _several_rates(targets: Sequence[Target]) -> bool:
    """Whether some batch was trained at more than one rate."""
    return any(len(rates) > 1 for target in targets for rates in target.rates.values())


def edges_note(targets: Sequence[Target]) -> list[str]:
    """The batches whose best rate is the lowest or the highest one tried; none for none."""
    edges = [
        f"{', '.join(f'{b:,}' for b in sorted(target.untuned))} tokens at {target.loss:g} nats"
        for target in targets
        if target.untuned
    ]
    if not edges or not _several_rates(targets):
        return []
    return [f"the rate of the fewest steps is at an edge of those tried for {'; '.join(edges)}"]


def analyse(evidence: Evidence) -> Findings:
    """Return the critical batch at each target, beside the noise scale."""
    settings = evidence.settings if isinstance(evidence.settings, Settings) else Settings()
    targets = targets_of(evidence, settings)
    law = fit_power_law_of_seeds({t.loss: t.by_seed for t in targets})
    noise = fit_power_law_of_seeds({t.loss: t.noise for t in targets})
    ramp = fit_ramp([target.fit for target in targets])
    claims = (
        _grows(targets),
        _hyperbola(targets),
        _noise_predicts(targets),
        _noise_grows(targets),
        _kaplan(targets, law, misfit_chance({t.loss: t.by_seed for t in targets})),
    )
    notes = edges_note(targets) + _rate_notes(evidence, targets)
    notes += [
        f"batches left out at {t.loss:g} nats, which not every seed reached:"
        f" {', '.join(f'{b:,} tokens' for b in t.short)}"
        for t in targets
        if t.short and t.steps
    ]
    if ramp is not None:
        notes.append(_ramp_text(ramp))
    return answer(
        claims,
        lambda: _words(claims, targets, law),
        measures=_measures(targets, law, noise, ramp),
        tables=(_steps_table(targets), _batch_table(targets)),
        figures=(_tradeoff_figure(targets), _growth_figure(targets, law, noise)),
        literature=_literature(targets, law, noise),
        notes=notes,
        units={"critical_batch": "tokens", "noise_batch": "tokens", "least": "steps"},
    )


def _rate_notes(evidence: Evidence, targets: Sequence[Target]) -> list[str]:
    """The command that tunes the rate of each batch, where one is not tuned."""
    if not rates_text(targets):
        return []

    def tried(entry: Mapping[str, Any]) -> set[float]:
        batches = entry.get("axes", {}).get("optim.batch_tokens", ())
        return {rate for batch in untuned.intersection(batches) for rate in targets[0].rates[batch]}

    untuned = set().union(*(target.untuned for target in targets))
    command = rates_command(evidence, tried)
    return [f"to tune the rate of each batch: {command}"] if command else []


def _need_tradeoff(target: Target) -> Tradeoff:
    """The hyperbola of a target, behind its preconditions."""
    where = f"at {target.loss:g} nats"
    few = min((len(of_seed) for of_seed in target.steps.values()), default=0)
    need(few > 1, f"{where} {'one seed' if few else 'no run'} of a batch finished", AGAIN)
    against = no_tradeoff(target.mean_steps)
    need(
        not against,
        f"{where} {against}",
        "a learning rate nearer to the best one of each batch, or more seeds",
    )
    fit = target.fit
    if isinstance(fit, str):
        raise PreconditionError(f"{where}: {fit}", "more steps, other batches or other targets")
    return fit


def _hyperbola(targets: Sequence[Target]) -> Claim:
    def decide() -> Decision:
        misfits = []
        for target in targets:
            _need_tradeoff(target)
            mean = target.misfit
            assert mean is not None, "the target has a hyperbola"
            need(
                mean.interval is not None,
                f"at {target.loss:g} nats a seed left out leaves no hyperbola",
                "more seeds",
            )
            misfits.append(mean)
        ends = [mean.interval or (0.0, math.inf) for mean in misfits]
        wider = [mean.wider(len(targets)).interval or (0.0, math.inf) for mean in misfits]
        worst = max(range(len(targets)), key=lambda place: ends[place][1])
        low, high = ends[worst]
        words = (
            f"at the worst, at {targets[worst].loss:g} nats, steps lie {misfits[worst].value:.1%}"
            f" from it ({max(low, 0.0):.1%} to {high:.1%}; root mean square)"
        )
        within = all(end <= MISFIT for _, end in ends)
        need(within or any(start > MISFIT for start, _ in wider), words, "more seeds")
        return within, words

    return claim(
        "hyperbola",
        "at every target, steps and tokens trade off along (S/S_min - 1)(E/E_min - 1) = 1 (within"
        f" {MISFIT:.0%}){rates_text(targets)}",
        decide,
    )


def _grows(targets: Sequence[Target]) -> Claim:
    def decide() -> Decision:
        for target in targets:
            _need_tradeoff(target)
        first, last = targets[0].by_seed, targets[-1].by_seed
        both = sorted(first.keys() & last.keys())
        need(len(both) > 1, f"the steps of {len(both)} seeds bound both ends", "more seeds")
        grown = [math.log(last[seed] / first[seed]) for seed in both]
        words = f"from {targets[0].loss:g} to {targets[-1].loss:g} nats by a factor of"
        return decided(grown, words, show=lambda mean: mean.factor.text)

    return claim(
        "critical_batch_grows",
        f"the critical batch grows as the loss falls{rates_text(targets)}",
        decide,
    )


def _noise_predicts(targets: Sequence[Target]) -> Claim:
    def decide() -> Decision:
        listed, ends, wider = [], [], []
        for target in targets:
            fit, noise = _need_tradeoff(target), _need_noise(target)
            known = target.by_seed
            both = sorted(known.keys() & target.noise.keys())
            need(
                len(both) > 1, f"at {target.loss:g} nats {len(both)} seeds have both", "more seeds"
            )
            logs = [math.log(target.noise[seed] / known[seed]) for seed in both]
            mean = mean_over(logs)
            assert mean is not None and mean.interval is not None, "two seeds have both"
            ends.append(mean.interval)
            wider.append(mean.wider(len(targets)).interval or mean.interval)
            low, high = map(math.exp, mean.interval)
            listed.append(f"{noise / fit.batch:.2g} ({low:.2g} to {high:.2g})")
        words = f"B_simple over B_crit: {', '.join(listed)}, as the loss falls"
        far = math.log(WITHIN)
        inside = all(-far <= low and high <= far for low, high in ends)
        outside = any(low > far or high < -far for low, high in wider)
        need(inside or outside, words, "more seeds")
        return inside, words

    return claim(
        "noise_scale_predicts",
        f"the gradient's noise scale lies within a factor of {WITHIN:g} of the critical batch"
        f"{rates_text(targets)}",
        decide,
    )


def _need_noise(target: Target) -> float:
    """B_simple at a target, the geometric mean over seeds."""
    need(
        len(target.noise) > 1,
        f"at {target.loss:g} nats {len(target.noise)} seeds have a noise scale (of the probe"
        " noise_scale whose estimate of the squared gradient is above 0)",
        "a larger eval.curve_tokens, more curve points or seeds",
    )
    return geometric_mean(target.noise.values())


def _noise_grows(targets: Sequence[Target]) -> Claim:
    def decide() -> Decision:
        ends = [_need_noise(target) for target in (targets[0], targets[-1])]
        first, last = targets[0].noise, targets[-1].noise
        both = sorted(first.keys() & last.keys())
        need(len(both) > 1, f"{len(both)} seeds have one at both ends", "more seeds")
        grown = [math.log(last[seed] / first[seed]) for seed in both]
        words = f"from {ends[0]:,.0f} to {ends[1]:,.0f} tokens, by a factor of"
        return decided(grown, words, show=lambda mean: mean.factor.text)

    return claim(
        "noise_scale_grows",
        f"the gradient's noise scale grows as the loss falls{rates_text(targets)}",
        decide,
    )


def _kaplan(targets: Sequence[Target], law: PowerLaw | str, chance: float | None) -> Claim:
    """``chance`` is how likely seeds alone put the critical batches as far from the power law."""

    def decide() -> Decision:
        for target in targets:
            _need_tradeoff(target)
        if isinstance(law, str):
            raise PreconditionError(law, AGAIN)
        low, high = law.interval
        need(
            high < 0,
            f"B_crit goes as L^{law.exponent_text}: its sign is open",
            "more seeds or a wider range of losses",
        )
        words = f"alpha_B {-1 / law.exponent:.2f} ({-1 / low:.2f} to {-1 / high:.2f})"
        need(
            chance is None or chance >= SURE,
            f"{words}, but the critical batches lie on no power law of the loss (by chance with"
            f" probability {chance or 0:.2g})",
            "a range of losses over which they do",
        )
        holds = -1 / low <= KAPLAN <= -1 / high
        need(
            not holds or low / high <= RESOLVED,
            f"{words}, which neither excludes nor determines {KAPLAN:g}",
            f"more seeds or a wider range of losses, until its ends lie within a factor of"
            f" {RESOLVED:g}",
        )
        return holds, words

    return claim(
        "kaplans_exponent",
        f"the critical batch grows as L^(-1/alpha_B) with Kaplan's alpha_B = {KAPLAN:g}"
        f"{rates_text(targets)}",
        decide,
    )


def _ramp_text(ramp: Ramp) -> str:
    """What is predicted, and that it is no training."""
    listed = ", ".join(f"{batch:,.0f}" for batch in ramp.batches)
    return (
        "no run of this experiment ramps its batch (batch_ramp does); if progress depended on"
        f" the loss alone, batches of {listed} tokens from target to target would take"
        f" {ramp.saved:.1%} fewer tokens than {ramp.fixed:,.0f} throughout, in as many steps"
    )


def _words(claims: Sequence[Claim], targets: Sequence[Target], law: PowerLaw | str) -> str:
    by_name = {one.name: one for one in claims}
    fits = [(t.loss, t.fit) for t in targets]
    known = [(loss, fit) for loss, fit in fits if isinstance(fit, Tradeoff)]
    listed = ", ".join(f"{fit.batch:,.0f} tokens at {loss:g} nats" for loss, fit in known)
    hyperbola = by_name["hyperbola"]
    lead = {
        True: "Steps and tokens trade off along McCandlish's hyperbola",
        False: "Steps and tokens do not trade off along McCandlish's hyperbola",
        None: "Whether steps and tokens trade off along McCandlish's hyperbola is not established"
        f" ({hyperbola.because})",
    }[hyperbola.established]
    sentences = [f"{lead}{rates_text(targets)}; by it the critical batch is {listed}"]
    grows, kaplan = by_name["critical_batch_grows"], by_name["kaplans_exponent"]
    verb = "grows" if grows.established else "does not grow"
    words = f"It {verb} as the loss falls ({grows.because})"
    if grows.established and kaplan.established is not None:
        agrees = "which agrees with" if kaplan.established else "which differs from"
        words += f", with {kaplan.because}, {agrees} Kaplan's {KAPLAN:g}"
    elif grows.established:
        words += f"; whether with Kaplan's exponent is not established: {kaplan.because}"
    sentences.append(words)
    noise = by_name["noise_scale_predicts"]
    sentences.append(
        {
            True: f"The gradient's noise scale predicts it within a factor of {WITHIN:g}",
            False: f"The gradient's noise scale misses it by more than a factor of {WITHIN:g}"
            f" ({noise.because})",
            None: f"What the gradient's noise scale predicts is not established: {noise.because}",
        }[noise.established]
    )
    return ". ".join(sentences) + "."


def _measures(
    targets: Sequence[Target], law: PowerLaw | str, noise: PowerLaw | str, ramp: Ramp | None
) -> dict[str, float | None]:
    measures: dict[str, float | None] = {
        "exponent.critical_batch": law.exponent if isinstance(law, PowerLaw) else None,
        "exponent.noise_batch": noise.exponent if isinstance(noise, PowerLaw) else None,
        "ramp_saved_frac": None if ramp is None else ramp.saved,
    }
    for target in targets:
        fit, at = target.fit, f"loss{number(target.loss)}"
        known = isinstance(fit, Tradeoff)
        values = target.noise.values()
        measures[f"critical_batch.{at}"] = fit.batch if isinstance(fit, Tradeoff) else None
        measures[f"least_steps.{at}"] = fit.steps if isinstance(fit, Tradeoff) else None
        measures[f"misfit_frac.{at}"] = fit.misfit if isinstance(fit, Tradeoff) else None
        measures[f"noise_batch.{at}"] = geometric_mean(values) if values and known else None
    return measures


def _steps_table(targets: Sequence[Target]) -> Table | None:
    batches = sorted({batch for target in targets for batch in target.steps})
    if not batches:
        return None
    return Table(
        caption="Steps to each target loss (nats per token) by tokens of a batch: geometric means"
        " over seeds",
        head=("target", *(f"{batch:,}" for batch in batches)),
        rows=tuple(
            (
                f"{target.loss:g}",
                *(
                    f"{target.mean_steps[b]:.1f}" if b in target.mean_steps else "not reached"
                    for b in batches
                ),
            )
            for target in targets
        ),
    )


def _batch_table(targets: Sequence[Target]) -> Table | None:
    rows = []
    for target in targets:
        fit = target.fit
        if isinstance(fit, str):
            rows.append((f"{target.loss:g}", fit, "–", "–", "–", _mean_text(target.noise)))
            continue
        rows.append(
            (
                f"{target.loss:g}",
                f"{fit.batch:,.0f}",
                _mean_text(target.by_seed),
                f"{fit.steps:.1f}",
                f"{fit.misfit:.1%}",
                _mean_text(target.noise),
            )
        )
    if not any(target.steps for target in targets):
        return None
    return Table(
        caption="Critical batch in tokens: of the means over seeds, and of each seed (their mean"
        " with its 90% interval); least steps; misfit of log steps; noise scale B_simple in tokens",
        head=("target", "B_crit", "over seeds", "S_min", "misfit", "B_simple"),
        rows=tuple(rows),
    )


def _mean_text(values: Mapping[int, float]) -> str:
    mean = mean_over([math.log(value) for value in values.values()])
    if mean is None:
        return "–"
    middle = f"{math.exp(mean.value):,.0f}"
    if mean.interval is None:
        return f"{middle} (one seed)"
    low, high = (math.exp(end) for end in mean.interval)
    return f"{middle} ({low:,.0f} to {high:,.0f})"


def _tradeoff_figure(targets: Sequence[Target]) -> Figure | None:
    series: list[Series] = []
    knees = []
    for target in targets:
        label = f"{target.loss:g} nats"
        points = tuple((s, s * b) for b, s in sorted(target.mean_steps.items()))
        series.append(Series(label=label, points=points, line=False))
        fit = target.fit
        if isinstance(fit, Tradeoff):
            low, high = min(target.steps) / 2, max(target.steps) * 2
            tried = [low * (high / low) ** (k / 40) for k in range(41)]
            line = tuple((fit.at(b), fit.at(b) * b) for b in tried)
            series.append(Series(label=label, points=line, marks=False, dashed=True))
            if low <= fit.batch <= high:
                knees.append((2 * fit.steps, 2 * fit.steps * fit.batch))
    series.append(Series(label="critical batch", points=tuple(knees), line=False))
    return figure(
        "tradeoff",
        "Tokens against steps to reach a loss, by batch",
        "Points: batches, geometric means over seeds; broken lines: McCandlish's hyperbola, whose"
        " knee is the critical batch.",
        [Panel(x=log_axis("steps"), y=log_axis("tokens"), series=tuple(series))],
    )


def _growth_figure(
    targets: Sequence[Target], law: PowerLaw | str, noise: PowerLaw | str
) -> Figure | None:
    series = []
    for words, fitted, values in (
        ("critical batch", law, {t.loss: list(t.by_seed.values()) for t in targets}),
        ("noise scale", noise, {t.loss: list(t.noise.values()) for t in targets}),
    ):
        if not any(values.values()):
            continue
        label = words
        if isinstance(fitted, PowerLaw):
            label += f": L^{fitted.exponent:.1f}"
            series.append(law_series(label, fitted, values))
        series.append(mean_series(label, values, geometric=True, line=False))
    return figure(
        "growth",
        "Critical batch and noise scale against the loss",
        "Points: geometric means over seeds with their interval; broken lines: power laws.",
        [
            Panel(
                x=log_axis("target loss (nats per token)", [t.loss for t in targets]),
                y=log_axis("tokens"),
                series=tuple(series),
            )
        ],
    )


def _literature(
    targets: Sequence[Target], law: PowerLaw | str, noise: PowerLaw | str
) -> tuple[Published, ...]:
    def alpha(fitted: PowerLaw | str) -> str | None:
        if isinstance(fitted, str) or fitted.interval[1] >= 0:
            return None
        low, high = fitted.interval
        return f"{-1 / fitted.exponent:.2f} ({-1 / low:.2f} to {-1 / high:.2f})"

    last = targets[-1]
    fit = last.fit
    mccandlish, kaplan = "McCandlish 2018, arXiv 1812.06162", "Kaplan 2020, arXiv 2001.08361"
    return (
        beside(
            "B_simple over the critical batch",
            theirs="the same order of magnitude",
            ours=", ".join(
                f"{geometric_mean(t.noise.values()) / of.batch:.2g} at {t.loss:g}"
                for t in targets
                if t.noise and isinstance(of := t.fit, Tradeoff)
            )
            or None,
            source=mccandlish,
        ),
        beside(
            "alpha_B of the critical batch, L^(-1/alpha_B)",
            theirs=f"{KAPLAN:g}",
            ours=alpha(law),
            source=kaplan,
        ),
        beside(
            f"critical batch at {last.loss:g} nats per token",
            theirs=f"{format_count(2.1e8 * last.loss ** (-1 / KAPLAN))} tokens of BPE",
            ours=f"{fit.batch:,.0f} tokens (bytes)" if isinstance(fit, Tradeoff) else None,
            source=kaplan,
        ),
        beside(
            "alpha_B of the noise scale",
            theirs="grows as the loss falls; no exponent",
            ours=alpha(noise),
            source=mccandlish,
        ),
    )


def _planted(spec: RunSpec) -> Outcome:
    """A loss that falls as steps^-0.2, each step worth 1/(1 + B_crit/B), with B_crit = 3e5 L^-5.

    A rate away from 0.004 at 128 tokens by the root of the batch takes more steps.
    """
    batch, curve = spec.batch_tokens, []
    slower = 1 + abs(math.log(spec.optim.lr / (0.004 * math.sqrt(batch / 128))))
    loss, progress, at = 5.0, 1.0, 0
    every = max(1, spec.total_steps // 200)
    for step in range(1, spec.total_steps + 1):
        critical = 3e5 * loss**-5
        progress += (1 + 0.01 * spec.seed) / (1 + critical / batch) / slower
        loss = 5.0 * progress**-0.2
        if step - at >= every:
            at = step
            trace = 0.5 * critical / spec.model.n_ctx
            point = planted_point(spec, step, {TRACE: trace, SQUARED: 0.5})
            curve.append(replace(point, val_loss_nats=loss))
    return Outcome(val_loss_nats=loss, curve=tuple(curve))


EXPERIMENT = Experiment(
    question="How large a batch still saves steps, and how does it grow as the loss falls?",
    reproduces="McCandlish 2018 (critical batch, noise scale), Kaplan 2020 (its growth)",
    parts={"architecture": ("gpt",), "probe": ("noise_scale",)},
    analyse=analyse,
    planted=Planted(
        outcome=_planted,
        measures={"exponent.noise_batch": (-5.2, -4.8), "exponent.critical_batch": (-6, -2)},
        claims={
            "hyperbola": True,
            "critical_batch_grows": True,
            "noise_scale_predicts": True,
            "noise_scale_grows": True,
        },
    ),
    settings=Settings,
)
