"""Whether one learning rate serves every width, or every depth, and what moves with the size.

    slaw run mup           # standard against muP, over widths
    slaw run mup_depth     # muP against CompleteP, over depths
    slaw report results/mup

muP (Yang 2022, arXiv 2203.03466) scales first weights, learning rates and outputs so that a step
moves activations as much at every width, and promises that the best learning rate of a narrow model
is that of a wide one. CompleteP (Dey 2025, arXiv 2505.01618) adds a multiplier of residual branches
for depth. Two kinds of runs answer: those of ``check_steps`` steps are a coordinate check, which
measures how far activations have moved; those of more steps are tried at several learning rates,
whose best is the minimum of a parabola.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Annotated, Any

from scaling_law.experiment import Experiment, Outcome, Planted
from scaling_law.experiment.answer import (
    Decision,
    PreconditionError,
    answer,
    beside,
    claim,
    decided,
    need,
)
from scaling_law.experiment.coordinate_check import MOVED, PROBE, STREAM, Checks, Moved
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.figures import figure, law_series, log_axis, mean_series, number
from scaling_law.experiment.findings import (
    AGAIN,
    Claim,
    Figure,
    Findings,
    Panel,
    Published,
    Table,
)
from scaling_law.experiment.more_runs import seeds_command
from scaling_law.experiment.power_law import PowerLaw
from scaling_law.experiment.rate_figures import rate_figure, rate_table
from scaling_law.experiment.rates_by_size import Rates
from scaling_law.experiment.seeds import mean_over
from scaling_law.experiment.tuning import MOST_SEEDS, Optimum, trials_of, tuned
from scaling_law.spec.model import DEFAULT_PARAMETRISATION, Model, ModelSpec
from scaling_law.spec.run import RunSpec
from scaling_law.spec.values import Number, Text

FLAT = 0.15  # largest exponent of the size by which a change counts as flat
ONE_RATE = 2.0  # best learning rates within this factor are one: a step of the grid


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What of the size varies, and which runs are the coordinate check.

    ``along`` is ``width`` or ``depth``;
    ``check_steps`` are the steps of a run of the coordinate check.
    """

    along: Annotated[str, Text("what of the size varies", ("width", "depth"))] = "width"
    check_steps: Annotated[int, Number("steps of the coordinate check", low=1, high=1000)] = 5


@dataclass(frozen=True)
class Along:
    """What of the size varies.

    ``name`` is its word; ``plain`` is the parametrisation that does not provide for it, ``scaled``
    the one that does; ``grows`` is the least exponent that the change must have under ``plain``
    for the check to tell the two apart; ``of`` reads it from a model.
    """

    name: str
    plain: str
    scaled: str
    grows: float
    of: Callable[[Model], float]

    @property
    def arms(self) -> tuple[str, str]:
        """Both parametrisations."""
        return self.plain, self.scaled


ALONG = {
    "width": Along("width", "standard", "mup", 0.7, lambda model: _gpt(model).d_model),
    "depth": Along("depth", "mup", "completep", 0.4, lambda model: _gpt(model).n_layer),
}
TITLES = {"standard": "standard", "mup": "muP", "completep": "CompleteP"}


def _gpt(model: Model) -> ModelSpec:
    assert isinstance(model, ModelSpec), "only runs of a GPT are read"
    return model


def parametrisation_of(run: Run) -> str:
    """The name of a run's parametrisation."""
    part = run.spec.model.parametrisation
    return DEFAULT_PARAMETRISATION if part is None else part.name


def checks_of(evidence: Evidence, along: Along, steps: int) -> dict[str, Checks]:
    """The runs of the coordinate check, by parametrisation."""
    groups: dict[str, dict[float, list[Run]]] = {name: {} for name in along.arms}
    for run in _read(evidence.runs, along):
        if run.spec.total_steps == steps and STREAM.of(run) is not None:
            of_arm = groups[parametrisation_of(run)]
            of_arm.setdefault(along.of(run.spec.model), []).append(run)
    return {name: Checks(dict(sorted(group.items()))) for name, group in groups.items()}


def rates_of(evidence: Evidence, along: Along, steps: int) -> tuple[dict[str, Rates], list[str]]:
    """The best learning rates, by parametrisation, and the cells that are left out.

    Of several horizons or batches of one size the last one counts, the longest of the largest.
    """
    runs = [run for run in _read(evidence.runs, along) if run.spec.total_steps > steps]
    groups: dict[str, dict[float, Optimum]] = {name: {} for name in along.arms}
    left_out = []
    # One cell a size: the sizes of a parametrisation share the skew of their parabolas. The scatter
    # is each size's own, for it differs from size to size.
    tuning = tuned(trials_of(runs, parametrisation_of), lambda cell: (cell.recipe, ""))
    for best in tuning.optima:
        group, x = groups[best.cell.recipe], along.of(best.cell.model)
        if x in group:
            left_out.append(group[x].cell.text)
        group[x] = best
    rates = {name: Rates(dict(sorted(group.items()))) for name, group in groups.items()}
    return rates, left_out


def _read(runs: Iterable[Run], along: Along) -> list[Run]:
    return [
        run
        for run in runs
        if isinstance(run.spec.model, ModelSpec) and parametrisation_of(run) in along.arms
    ]


def analyse(evidence: Evidence) -> Findings:
    """Return what the size moves, and by how much the best learning rate goes with it."""
    settings = evidence.settings if isinstance(evidence.settings, Settings) else Settings()
    along = ALONG[settings.along]
    checks = checks_of(evidence, along, settings.check_steps)
    rates, cells = rates_of(evidence, along, settings.check_steps)
    laws = {name: {moved: checks[name].law(moved) for moved in MOVED} for name in along.arms}
    claims = (
        _flat(along, checks, laws),
        _grows(along, checks, laws),
        _one_rate(along, rates),
        _drifts(along, rates),
        _costs_less(along, rates),
    )
    notes = _other_changes(along, laws)
    notes += _commands(evidence, along, rates, settings.check_steps)
    if cells:
        notes.append(f"cells left out, beside another of their {along.name}: {'; '.join(cells)}")
    if left_out := len(evidence.ended) - len(_read(evidence.ended, along)):
        notes.append(f"runs of other models or parametrisations, left out: {left_out}")
    shown = {TITLES[name]: rates[name] for name in along.arms}
    return answer(
        claims,
        lambda: _words(along, claims, laws, rates),
        measures=_measures(along, laws, rates),
        tables=(_change_table(along, checks, laws), rate_table(shown, along.name)),
        figures=(
            rate_figure(shown, along.name),
            _change_figure(along, checks, laws),
        ),
        literature=_literature(along, laws, rates),
        notes=notes,
        units={"best_lr": "learning rate"},
    )


Laws = Mapping[str, Mapping[Moved, "PowerLaw | str"]]


def _of_stream(checks: Mapping[str, Checks], laws: Laws, name: str) -> PowerLaw:
    """The power of the size by which the stream moves, behind its preconditions."""
    runs = checks[name].runs
    few = min(map(len, runs.values()), default=0)
    need(few > 1, f"{'one seed' if few else 'no run'} of the check finished", AGAIN)
    law = laws[name][STREAM]
    if isinstance(law, str):
        raise PreconditionError(law, AGAIN)
    return law


def _flat(along: Along, checks: Mapping[str, Checks], laws: Laws) -> Claim:
    def decide() -> Decision:
        law = _of_stream(checks, laws, along.scaled)
        low, high = law.interval
        need(
            high < FLAT or low > FLAT,
            f"exponent {law.exponent_text}, with {FLAT:g} inside its interval",
            "more seeds or sizes",
        )
        flat = high < FLAT and high > -FLAT
        return flat, f"exponent {law.exponent_text}, {law.points} sizes"

    return claim(
        "flat_change",
        f"under {TITLES[along.scaled]} a few steps move the residual stream as much at every"
        f" {along.name} (exponent below {FLAT:g}, its interval not below -{FLAT:g})",
        decide,
    )


def _grows(along: Along, checks: Mapping[str, Checks], laws: Laws) -> Claim:
    def decide() -> Decision:
        law = _of_stream(checks, laws, along.plain)
        shown = law.exponent > along.grows and law.interval[0] > FLAT
        words = f"exponent {law.exponent_text}, {law.points} sizes"
        need(shown or law.interval[1] < along.grows, words, "more seeds or sizes")
        return shown, words

    return claim(
        "change_grows",
        f"under {TITLES[along.plain]} they move it further the larger the {along.name}"
        f" (exponent above {along.grows:g}, its interval above {FLAT:g})",
        decide,
    )


def _need_minima(rates: Rates, along: Along, under: str = "") -> None:
    """Every size must have a best rate between those that were tried, and bounds of it.

    ``under`` names the parametrisation where the claim is on several.
    """
    need(len(rates.optima) > 2, f"{len(rates.optima)} sizes, and it takes 3", AGAIN)
    alone = [x for x, best in rates.optima.items() if len({t.seed for t in best.trials}) < 2]
    need(not alone, f"{under}{_some(alone, rates, along)} one seed", AGAIN)
    untuned = {x: best.why for x, best in rates.optima.items() if best.lr is None}
    first = next(iter(untuned), math.nan)
    need(
        not untuned,
        f"{under}{_some(untuned, rates, along)} no best rate ({along.name} {first:g}:"
        f" {untuned.get(first)})",
        "or other axes.optim.lr of its entry",
    )
    wide = [x for x, best in rates.optima.items() if best.interval is None]
    need(
        not wide,
        f"{under}{_some(wide, rates, along)} a best rate that the noise of {rates.seeds} seeds does"
        " not bound (table of best rates)",
        _seeds_text(rates.seeds_to_bound),
    )


def _some(few: Iterable[float], rates: Rates, along: Along) -> str:
    """``3 of 4 widths (32, 64 and 1 more) have``: the sizes, of which the first two are named."""
    first = [f"{x:g}" for x in few]
    named = ", ".join(first[:2]) + (f" and {len(first) - 2} more" if len(first) > 2 else "")
    have = "has" if len(first) == 1 else "have"
    return f"{len(first)} of {len(rates.optima)} {along.name}s ({named}) {have}"


def _seeds_text(count: float) -> str:
    """How many seeds would do; infinite where no number that can be trained would."""
    if count > MOST_SEEDS:
        return f"it takes more than {MOST_SEEDS} seeds: train more steps or a wider range of sizes"
    return f"about {count:.0f} seeds would do (errors fall with the root of their number)"


def _commands(
    evidence: Evidence, along: Along, rates: Mapping[str, Rates], check_steps: int
) -> list[str]:
    """The commands that train the seeds that the rates of a parametrisation need."""
    notes = []
    for name, of_arm in rates.items():
        count = of_arm.seeds_to_bound
        if name == along.plain and not count and (of_arm.spread or 0) > ONE_RATE:
            count = of_arm.seeds_to_sign

        def tunes(entry: Mapping[str, Any], name: str = name) -> bool:
            """Whether an entry of the grid tunes this parametrisation."""
            arms = entry.get("axes", {}).get("model.parametrisation", [name])
            steps = entry.get("steps") or [math.inf]
            return name in arms and max(steps) > check_steps

        if of_arm.seeds < count <= MOST_SEEDS:
            command = seeds_command(evidence, int(count), tunes)
            notes.append(f"{count:.0f} seeds of the rates under {TITLES[name]}: {command}")
    return notes


def _one_rate(along: Along, rates: Mapping[str, Rates]) -> Claim:
    def decide() -> Decision:
        of_arm = rates[along.scaled]
        _need_minima(of_arm, along)
        ends = of_arm.spread_interval
        assert ends is not None, "three sizes have bounded minima"
        words = f"{of_arm.text}, by their errors {ends[0]:.2f} to {ends[1]:.2f}"
        need(ends[1] <= ONE_RATE or ends[0] > ONE_RATE, words, "more seeds")
        return ends[1] <= ONE_RATE, words

    return claim(
        "one_rate",
        f"under {TITLES[along.scaled]} the best learning rates of all {along.name}s lie within a"
        f" factor of {ONE_RATE:g}",
        decide,
    )


def _drifts(along: Along, rates: Mapping[str, Rates]) -> Claim:
    def decide() -> Decision:
        of_arm = rates[along.plain]
        _need_minima(of_arm, along)
        law, ends = of_arm.law, of_arm.spread_interval
        if isinstance(law, str) or ends is None:
            raise PreconditionError(str(law), AGAIN)
        words = f"{of_arm.text}, {along.name}^{law.exponent_text}"
        low, high = law.interval
        need(
            ends[1] <= ONE_RATE or high < 0 or low > 0,
            f"{words}, which does not bound its sign",
            "a wider range of sizes; or, if noise alone makes it so wide,"
            f" {_seeds_text(of_arm.seeds_to_sign)}",
        )
        need(
            low > 0 or ends[1] <= ONE_RATE or ends[0] > ONE_RATE,
            f"{words}; by the errors of the rates the factor is {ends[0]:.2f} to {ends[1]:.2f}",
            "more seeds",
        )
        return ends[0] > ONE_RATE and high < 0, words

    return claim(
        "rate_drifts",
        f"under {TITLES[along.plain]} the best learning rate falls with the {along.name}, by more"
        f" than a factor of {ONE_RATE:g}",
        decide,
    )


def _costs_less(along: Along, rates: Mapping[str, Rates]) -> Claim:
    def decide() -> Decision:
        costs = {}
        # the parametrisation that needs more seeds first, so that the remedy names enough
        for name in sorted(along.arms, key=lambda name: -rates[name].seeds_to_bound):
            _need_minima(rates[name], along, f"under {TITLES[name]} ")
            by_seed = rates[name].costs()
            if isinstance(by_seed, str):
                raise PreconditionError(f"{TITLES[name]}: {by_seed}", "more rates of its entry")
            costs[name] = by_seed
        both = sorted(costs[along.plain].keys() & costs[along.scaled].keys())
        need(len(both) > 1, f"{len(both)} seeds have both", AGAIN)
        less = [costs[along.plain][s] - costs[along.scaled][s] for s in both]
        plain, scaled = (fmean(costs[name].values()) for name in along.arms)
        words = f"{_percent(scaled)} of loss against {_percent(plain)} under {TITLES[along.plain]}"
        return decided(less, f"{words}, less by", show=lambda mean: mean.percent)

    return claim(
        "transfer_costs_less",
        f"under {TITLES[along.scaled]} the best learning rate of the smallest {along.name} costs"
        " less at the largest",
        decide,
    )


def _percent(share: float) -> str:
    return f"{share:.1%}".replace("-0.0%", "0.0%")


def _words(along: Along, claims: Sequence[Claim], laws: Laws, rates: Mapping[str, Rates]) -> str:
    flat, grows, one, drifts, costs = claims
    scaled, plain = TITLES[along.scaled], TITLES[along.plain]
    law = laws[along.scaled][STREAM]
    exponent = law.exponent_text.partition(" ")[0] if isinstance(law, PowerLaw) else "unknown"
    words = (
        f"{scaled} passes the coordinate check over {along.name} (exponent {exponent})"
        if flat.established
        else f"{scaled} fails the coordinate check over {along.name} (exponent {exponent})"
    )
    other = laws[along.plain][STREAM]
    if grows.established and isinstance(other, PowerLaw):
        words += f", {plain} does not ({other.exponent:.2f})"
    sentences = [words]
    spreads = {name: rates[name].spread for name in along.arms}
    sentences.append(
        {
            True: f"One learning rate serves every {along.name} under {scaled}: the best ones lie"
            f" within a factor of {spreads[along.scaled] or 0:.2f}",
            False: f"Under {scaled} the best learning rates of the {along.name}s lie a factor of"
            f" {spreads[along.scaled] or 0:.2f} apart",
            None: f"Whether one learning rate serves every {along.name} under {scaled} is not"
            f" established: {one.because}",
        }[one.established]
    )
    drift = rates[along.plain].law
    sentences.append(
        {
            True: f"Under {plain} the best one falls as {along.name}^"
            f"{drift.exponent_text if isinstance(drift, PowerLaw) else ''}",
            False: f"Under {plain} it does not fall by more than a factor of {ONE_RATE:g}:"
            f" {drifts.because}",
            None: f"How it drifts under {plain} is not established: {drifts.because}",
        }[drifts.established]
    )
    if costs.established is not None:
        sentences.append(
            f"To take the best one of the smallest {along.name} at the largest costs"
            f" {costs.because}"
        )
    return ". ".join(sentences) + "."


def _other_changes(along: Along, laws: Laws) -> list[str]:
    """The other activations whose change under the scaled parametrisation is not flat."""
    return [
        f"not flat under {TITLES[along.scaled]}: {moved.words}, {along.name}^{law.exponent_text}"
        for moved, law in laws[along.scaled].items()
        if moved is not STREAM
        and isinstance(law, PowerLaw)
        and (law.interval[0] > FLAT or law.interval[1] < -FLAT)
    ]


def _measures(along: Along, laws: Laws, rates: Mapping[str, Rates]) -> dict[str, float | None]:
    measures: dict[str, float | None] = {}
    for name in along.arms:
        for moved, law in laws[name].items():
            exponent = law.exponent if isinstance(law, PowerLaw) else None
            measures[f"change_exponent.{name}.{moved.name}"] = exponent
    for name in along.arms:
        law, costs = rates[name].law, rates[name].costs()
        measures[f"lr_exponent.{name}"] = law.exponent if isinstance(law, PowerLaw) else None
        measures[f"lr_factor.{name}"] = rates[name].spread
        known = costs if isinstance(costs, dict) else {}
        measures[f"transfer_cost_frac.{name}"] = fmean(known.values()) if known else None
        for x, best in rates[name].optima.items():
            measures[f"best_lr.{name}.{along.name}{number(x)}"] = best.lr
    return measures


def _change_table(along: Along, checks: Mapping[str, Checks], laws: Laws) -> Table | None:
    rows = []
    for name in along.arms:
        runs = checks[name].runs
        for moved, law in laws[name].items():
            if not runs:
                continue
            values = checks[name].values(moved)
            ends = [_mean(values[x]) for x in (min(runs), max(runs))]
            text = law.exponent_text if isinstance(law, PowerLaw) else law
            rows.append((TITLES[name], moved.words, *ends, text))
    if not rows:
        return None
    xs = sorted({x for of_arm in checks.values() for x in of_arm.runs})
    return Table(
        caption="Coordinate check: root mean square of what the first steps change, at"
        f" {along.name} {xs[0]:g} and {xs[-1]:g}: means over seeds; exponent with its"
        " interval",
        head=("parametrisation", "activation", f"at {xs[0]:g}", f"at {xs[-1]:g}", "exponent"),
        rows=tuple(rows),
        text_columns=2,
    )


def _mean(values: Sequence[float]) -> str:
    mean = mean_over(values)
    return "–" if mean is None else f"{mean.value:.3g}"


def _change_figure(along: Along, checks: Mapping[str, Checks], laws: Laws) -> Figure | None:
    panels = []
    for moved in (STREAM, MOVED[-1]):
        series = []
        for name in along.arms:
            values, law = checks[name].values(moved), laws[name][moved]
            if not any(values.values()):
                continue
            series.append(mean_series(TITLES[name], values, geometric=True, line=False))
            if isinstance(law, PowerLaw):
                series.append(law_series(TITLES[name], law, values))
        panels.append(
            Panel(
                title=moved.words,
                x=log_axis(along.name, sorted({x for c in checks.values() for x in c.runs})),
                y=log_axis("root mean square of the change"),
                series=tuple(series),
            )
        )
    return figure(
        f"change_by_{along.name}",
        f"Coordinate check: what the first steps change, by {along.name}",
        "Points: geometric mean over seeds with its interval; broken lines: power laws.",
        panels,
    )


def _literature(along: Along, laws: Laws, rates: Mapping[str, Rates]) -> tuple[Published, ...]:
    def exponent(name: str) -> str | None:
        law = laws[name][STREAM]
        return law.exponent_text if isinstance(law, PowerLaw) else None

    def drift(name: str) -> str | None:
        of_arm, law = rates[name], rates[name].law
        power = "" if isinstance(law, str) else f"; {along.name}^{law.exponent_text}"
        return f"{of_arm.text}{power}" if of_arm.known else None

    source = (
        "Yang 2022, arXiv 2203.03466" if along.name == "width" else "Dey 2025, arXiv 2505.01618"
    )
    said = {
        along.scaled: ("0: flat in the coordinate check", "one for all"),
        along.plain: (f"grows with the {along.name}", f"falls with the {along.name}"),
    }
    moves = "exponent of the {} by which the first steps move the stream, {}"
    return (
        *(
            beside(moves.format(along.name, TITLES[name]), theirs=theirs, ours=exponent(name),
                   source=source)
            for name, (theirs, _) in said.items()
        ),
        *(
            beside(f"best learning rates over {along.name}, {TITLES[name]}", theirs=theirs,
                   ours=drift(name), source=source)
            for name, (_, theirs) in said.items()
        ),
    )  # fmt: skip


def _planted(spec: RunSpec) -> Outcome:
    """A change and a best rate that go with 1/width in standard and are constant in muP."""
    times = _gpt(spec.model).d_model / 32
    power = 1.0 if spec.model.parametrisation is None else 0.0
    change = 4.0 * (1 + 0.01 * spec.seed) * times**power
    best = 0.011 * times**-power
    loss = 3.0 * times**-0.02 * (1 + 0.001 * spec.seed)
    loss *= math.exp(0.02 * math.log(spec.optim.lr / best) ** 2)
    metrics = {moved.metric(spec.model): change for moved in MOVED}
    return Outcome(val_loss_nats=loss, metrics=metrics)


EXPERIMENT = Experiment(
    question="Does one learning rate serve every width, and does a step move as much there?",
    reproduces="Yang 2022 (muP: coordinate check, transfer of the learning rate), Dey 2025"
    " (CompleteP for depth)",
    parts={
        "architecture": ("gpt",),
        "parametrisation": ("standard", "mup", "completep"),
        "probe": (PROBE,),
    },
    analyse=analyse,
    planted=Planted(
        outcome=_planted,
        measures={
            "change_exponent.standard.stream": (0.99, 1.01),
            "change_exponent.mup.stream": (-0.01, 0.01),
            "lr_exponent.standard": (-1.02, -0.98),
            "lr_factor.mup": (1.0, 1.05),
            "best_lr.mup.width256": (0.0108, 0.0112),
            "transfer_cost_frac.standard": (0.1, 0.3),
        },
        claims=dict.fromkeys(
            ("flat_change", "change_grows", "one_rate", "rate_drifts", "transfer_costs_less"), True
        ),
    ),
    settings=Settings,
)
