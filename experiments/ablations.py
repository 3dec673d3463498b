"""Usual choices left out one by one, each arm at its own best learning rate.

    slaw run ablations               # first weights, norms, shared keys, warm-up, restarts
    slaw report results/ablations    # each arm's compute multiplier, with interval

A compute multiplier is the compute that the base needs for an arm's loss, over the arm's: above 1
for an arm that saves compute. The base's horizons are a curve, on which an arm's loss says how many
tokens the base needs (``experiment.speedup``); it is charged the exact FLOPs of the arm's tokens.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scaling_law.experiment import Experiment, Outcome, Planted
from scaling_law.experiment.answer import Decision, answer, beside, claim, need
from scaling_law.experiment.conditions import conditions
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
    Published,
    Series,
    Table,
)
from scaling_law.experiment.seeds import LEVEL, by_chance, mean_over
from scaling_law.experiment.speedup import read_speedup, tuned_levels
from scaling_law.experiment.tuning import Optimum, Tuning, trials_of, tuned
from scaling_law.experiment.tuning_stages import Settings, next_stage
from scaling_law.spec.counts import flops_per_token
from scaling_law.spec.model import Model, ModelSpec
from scaling_law.spec.run import RunSpec
from scaling_law.units import format_count

BASE = "base"
_WORDS = 10  # letters of a line below the figure
MOST_WARMUP = 1 / 3  # share of a run's steps that a usual warm-up has at most
TABLES, MATRICES = "embeddings of 0.02", "matrices of 0.02"
PLAIN, ZERO = "branches unscaled", "branches from 0"
POST, MQA = "norms after sums", "one key head"
SHORT, LONG = "warm-up of 1 step", "longer warm-up"
ROOT, SQUARE = "warm-up by the root", "warm-up by the square"
COSINES, CYCLES = "cosine restarts", "two cooldowns"
WARMUPS = (SHORT, LONG, ROOT, SQUARE)  # arms that differ from the base in their warm-up
# Arms that are read side by side, each group beside the base.
GROUPS = {
    "first weights": (TABLES, MATRICES, PLAIN, ZERO),
    "norms, key heads, cooldowns": (POST, MQA, COSINES, CYCLES),
    "warm-ups": WARMUPS,
}
# What a claim says beside an arm's multiplier; ``_literature`` has the sources.
_PUBLISHED = {
    POST: "Xiong 2020: slower; BLEU of 8.45 without a warm-up, about 34 with it",
    MQA: "Shazeer 2019: perplexity of 30.2 against 29.9",
    SHORT: "Kalra 2024: worse, the more so at higher rates",
    COSINES: "Wen 2024: two cooldowns are as good as one",
}


def kind_of(spec: RunSpec) -> str:
    """What sets a run apart from the base, in words; ``base`` for nothing."""
    model, schedule = spec.model, spec.schedule
    if model.parametrisation is not None:
        given = dict(model.parametrisation.settings)
        if "branches" in given:
            return ZERO if given["branches"] == "zero" else PLAIN
        return TABLES if "tables" in given else MATRICES
    if not isinstance(model, ModelSpec):
        return POST if model.architecture.name == "post_norm" else model.architecture.name
    if model.n_kv_head < model.n_head:
        return MQA
    if schedule.shape == "restarts":
        return COSINES if schedule.cooldown == "cosine" else CYCLES
    if schedule.shape == "wsd_rise":
        given = dict(schedule.shape_part.settings) if schedule.shape_part else {}
        return ROOT if given.get("rise_power", 0.5) < 1 else SQUARE
    if schedule.warmup_steps <= 1:
        return SHORT
    return LONG if schedule.warmup_steps > MOST_WARMUP * spec.total_steps else BASE


def recipe_of(run: Run) -> str:
    """The arm of a run."""
    return kind_of(run.spec)


@dataclass(frozen=True, kw_only=True)
class Arm:
    """An arm against the base.

    ``name`` is the arm; ``cost`` are the FLOPs of a token over the base's; ``multiplier`` is its
    compute multiplier, or what the runs bound it by, None where they do not say; ``why`` is the
    reason where it is not measured.
    """

    name: str
    cost: float
    multiplier: Multiplier | None
    why: str

    @property
    def measured(self) -> Multiplier | None:
        """Its multiplier where that is no bound, else None."""
        return None if self.multiplier is None or self.multiplier.bound else self.multiplier


@dataclass(frozen=True)
class Seen:
    """What the runs show: the cells of all arms, and each arm against the base, the best first."""

    tuning: Tuning
    arms: tuple[Arm, ...]

    @property
    def good(self) -> tuple[Arm, ...]:
        """The arms whose multiplier is measured."""
        return tuple(arm for arm in self.arms if arm.measured is not None)

    def conditions(self, *names: str) -> str:
        """Size, seeds and warm-up of the base and of these arms."""
        own = [best for best in self.tuning.optima if best.cell.recipe in (BASE, *names)]
        size = f"{format_count(own[0].cell.params)} non-embedding parameters, " if own else ""
        return f"{size}{conditions(own)}"

    @property
    def known(self) -> tuple[Arm, ...]:
        """The arms that have one, or a bound of it."""
        return tuple(arm for arm in self.arms if arm.multiplier is not None)


def read(evidence: Evidence) -> Seen:
    """Return what the runs show."""
    tuning = tuned(trials_of(evidence.runs, recipe_of))
    models: dict[str, Model] = {best.cell.recipe: best.cell.model for best in tuning.optima}
    base = tuned_levels(tuning, BASE)
    arms = []
    for name, model in models.items():
        if name == BASE:
            continue
        own = tuned_levels(tuning, name)
        # one size: the arm's parameters may differ a little from the base's
        paired = dict(zip(base, own.values(), strict=False))
        speedup = read_speedup(name, base, paired, base=BASE, own_warmup=name in WARMUPS)
        cost = flops_per_token(model) / flops_per_token(models[BASE]) if BASE in models else 1.0
        best = next(one for one in tuning.optima if one.cell.recipe == name)
        why = "; ".join(speedup.open) or "the base has no best learning rate"
        why = why if best.lr is not None else best.why
        multipliers = [one.charged(cost) for one in (*speedup.at, *speedup.bounds)]
        arms.append(
            Arm(
                name=name,
                cost=cost,
                multiplier=multipliers[0] if multipliers else None,
                why="" if speedup.at else why,
            )
        )
    order = sorted(arms, key=lambda arm: -arm.measured.value if arm.measured else 0.0)
    return Seen(tuning=tuning, arms=tuple(order))


def propose(evidence: Evidence) -> Mapping[str, Any] | None:
    """Give the learning rates that are still needed, or None."""
    return next_stage(evidence.runs, evidence.settings, evidence.stage)


def analyse(evidence: Evidence) -> Findings:
    """Return the compute multiplier of each arm."""
    seen = read(evidence)
    claims = (
        _compared(seen),
        _costs(seen, "small_embeddings_cost", "embeddings that start at 0.02 cost compute", TABLES),
        _costs(seen, "small_matrices_cost", "matrices that start at 0.02 cost compute", MATRICES),
        _costs(
            seen, "scaling_branches_saves", "branches that do not start smaller with depth cost"
            " compute", PLAIN,
        ),
        _costs(seen, "post_norm_costs", "norms after the residual sums cost compute", POST),
        _costs(seen, "one_key_head_costs", "one key head for all queries costs compute", MQA),
        _costs(seen, "warm_up_saves", "a warm-up of one step costs compute", SHORT),
        _shape(seen),
        _costs(seen, "restarts_cost", "falling twice costs compute, in cosines", COSINES),
        _tuned(seen),
    )  # fmt: skip
    notes = [seen.tuning.noise_text] if seen.tuning.optima else []
    notes += [
        f"{arm.name} has no multiplier: {arm.why}" for arm in seen.arms if arm not in seen.known
    ]
    return answer(
        claims,
        lambda: _words(seen),
        measures=_measures(seen),
        tables=(_table(seen),),
        figures=(_figure(seen), _rates(seen)),
        literature=_literature(seen),
        notes=notes,
        units={
            "multiplier": "times the compute",
            "rate": "times the base's",
            "noise": "share of loss",
        },
        multipliers=[arm.multiplier for arm in seen.known if arm.multiplier],
    )


def _compared(seen: Seen) -> Claim:
    def decide() -> Decision:
        need(bool(seen.tuning.optima), "no run has finished", AGAIN)
        why = "; ".join(f"{arm.name}: {arm.why}" for arm in seen.arms if arm not in seen.known)
        need(bool(seen.known), why or "the base alone has finished", AGAIN)
        return not why, why or f"{len(seen.known)} arms at {seen.conditions()}"

    says = "every arm has a compute multiplier against the base, or a bound of one"
    return claim("all_compared", says, decide)


def _costs(seen: Seen, slug: str, says: str, name: str) -> Claim:
    def decide() -> Decision:
        arm = next((arm for arm in seen.arms if arm.name == name), None)
        need(arm is not None, f"no run of the arm ({name}) has finished", AGAIN)
        assert arm is not None
        one = arm.multiplier
        need(one is not None, arm.why, "it needs more stages (experiment.most), or horizons")
        assert one is not None
        beyond = "perhaps above 1" if one.bound == "less" else "perhaps below 1"
        open_ = f", {beyond} ({arm.why})" if one.bound else ": on both sides of 1"
        words = f"{one.text} at {seen.conditions(name)} ({_published(name)})"
        need(one.side != 0, f"{words}{open_}", "it needs more seeds")
        return one.side < 0, words

    return claim(slug, says, decide)


def _published(name: str) -> str:
    return _PUBLISHED.get(name, "no published number")


def _shape(seen: Seen) -> Claim:
    def decide() -> Decision:
        from scaling_law.fit.solver.student import normal_reach  # loads numpy

        known = (tuned_levels(seen.tuning, name) for name in (ROOT, SQUARE))
        levels = [level for by in known for of in by.values() for level in of.values()]
        need(len(levels) == 2, "both have a best rate at no horizon", AGAIN)
        root, square = levels
        both = sorted(root.logs.keys() & square.logs.keys())
        gap = mean_over([square.logs[seed] - root.logs[seed] for seed in both])
        need(gap is not None and gap.interval is not None, f"{len(both)} seeds have both", AGAIN)
        assert gap is not None and gap.interval is not None
        fit = math.hypot(root.error.value, square.error.value) * normal_reach(LEVEL)
        reach = math.hypot(gap.interval[1] - gap.value, fit)
        low, high = gap.value - reach, gap.value + reach
        words = f"{100 * gap.value:+.2f}% ({100 * low:+.2f} to {100 * high:+.2f}) of loss at"
        words += f" {seen.conditions(ROOT, SQUARE)} ({_published(ROOT)})"
        need(low > 0 or high < 0, f"{words}: on both sides of 0", "it needs more seeds")
        return low > 0, words

    return claim(
        "fast_rise_saves",
        "a warm-up by the square of the step ends higher than one by the root, as long as that",
        decide,
    )


def _tuned(seen: Seen) -> Claim:
    def decide() -> Decision:
        optima = seen.tuning.optima
        need(bool(optima), "no run has finished", AGAIN)
        text = seen.tuning.open_text
        need(not text, text, "more stages (experiment.most) or seeds")
        return True, f"{len(optima)} cells"

    return claim("all_tuned", "every arm has its best rate between those tried", decide)


def _words(seen: Seen) -> str:
    sides = {
        side: [arm for arm in seen.known if arm.multiplier and arm.multiplier.side == side]
        for side in (-1, 0, 1)
    }
    said = (
        ("less compute with", sides[1]),
        ("more with", sides[-1]),
        ("as much, within the noise, with", sides[0]),
    )
    parts = [
        f"{what} {', '.join(f'{arm.name}: {_short(arm)}' for arm in arms)}"
        for what, arms in said
        if arms
    ]
    size = format_count(seen.tuning.optima[0].cell.params)
    tokens = format_count(next(arm.multiplier.tokens for arm in seen.known if arm.multiplier))
    rests = conditions(best for best in seen.tuning.optima if best.cell.recipe not in WARMUPS)
    return (
        f"A Transformer of {size} non-embedding parameters needs for its loss {'; '.join(parts)}"
        " (compute multipliers: the base's compute over the arm's, with intervals at 90%;"
        f" {tokens} tokens, {rests} but for the arms of the warm-up;"
        f" {by_chance(len(seen.known))})."
    )


def _short(arm: Arm) -> str:
    assert arm.multiplier is not None, "asked of known arms"
    return arm.multiplier.text


def _key(name: str) -> str:
    return name.replace(" ", "_")


def _best(seen: Seen, name: str) -> Optimum | None:
    """The best rate of an arm at the arms' horizon."""
    own = [best for best in seen.tuning.optima if best.cell.recipe == name and best.lr is not None]
    horizons = {arm.multiplier.tokens for arm in seen.known if arm.multiplier}
    return next((best for best in own if float(best.cell.tokens) in horizons), None)


def _rate(seen: Seen, name: str) -> float | None:
    """An arm's best rate over the base's."""
    own, base = _best(seen, name), _best(seen, BASE)
    if own is None or base is None or own.lr is None or base.lr is None:
        return None
    return own.lr / base.lr


def _measures(seen: Seen) -> dict[str, float | None]:
    measures: dict[str, float | None] = {}
    if seen.tuning.optima:
        measures["noise"] = seen.tuning.noise.deviation
    for arm in seen.good:
        assert arm.measured is not None and arm.measured.interval is not None
        key = f"multiplier.{_key(arm.name)}"
        measures[key] = arm.measured.value
        measures[f"{key}.low"], measures[f"{key}.high"] = arm.measured.interval
        measures[f"rate.{_key(arm.name)}"] = _rate(seen, arm.name)
    return measures


def _table(seen: Seen) -> Table | None:
    rows = []
    for arm in seen.known:
        best, rate = _best(seen, arm.name), _rate(seen, arm.name)
        rows.append(
            (
                arm.name,
                arm.multiplier.text if arm.multiplier else "–",
                f"{arm.cost:.2f}",
                "–" if best is None else f"{best.lr:.3g}",
                "–" if rate is None else f"{rate:.2f}",
                "–" if best is None else f"{best.loss:.4f}",
            )
        )
    if not rows:
        return None
    return Table(
        caption="Compute that the base needs for each arm's loss, over the arm's (interval at 90%);"
        " FLOPs of a token over the base's; its best learning rate, and that"
        " over the base's; its loss there, in nats per token",
        head=("arm", "multiplier", "FLOPs", "best rate", "over base's", "loss"),
        rows=tuple(rows),
    )


def _figure(seen: Seen) -> Figure | None:
    if not seen.known:
        return None
    places = {}
    for at, arm in enumerate(seen.known):
        bound = [] if arm.measured or not arm.multiplier else [arm.multiplier.text]
        lines = [textwrap.fill(text, _WORDS, break_on_hyphens=False) for text in (arm.name, *bound)]
        places["\n".join(lines)] = float(at)
    multipliers = [(at, arm.measured) for at, arm in enumerate(seen.known) if arm.measured]
    series = Series(
        label="arm",
        points=tuple((float(at), one.value) for at, one in multipliers),
        intervals=tuple(one.interval or (one.value, one.value) for _, one in multipliers),
        line=False,
    )
    ends = (-0.5, len(seen.known) - 0.5)
    even = Series(label=BASE, points=tuple((at, 1.0) for at in ends), marks=False, dashed=True)
    return figure(
        "ablations",
        f"Compute multipliers over the base, {seen.conditions()}",
        "The base's compute over the arm's at equal loss, each at its own best rate, with the"
        " interval at 90%; above 1 an arm saves compute. An arm without a mark ends beyond the"
        " base's horizons: its bound stands below its name.",
        [
            Panel(
                x=Axis(label="arm", values=places, low=ends[0], high=ends[1]),
                y=log_axis("compute multiplier"),
                series=(series, even),
            )
        ],
    )


def _rates(seen: Seen) -> Figure | None:
    """The loss by rate of each arm at its horizon, in groups beside the base."""
    horizons = {arm.multiplier.tokens for arm in seen.known if arm.multiplier}
    drawn = {
        best.cell.recipe: tuple(best.mean_losses.items())
        for best in seen.tuning.optima
        if float(best.cell.tokens) in horizons
    }
    panels = [
        Panel(
            title=title,
            x=log_axis("peak learning rate"),
            y=Axis(label="loss, nats per token"),
            series=tuple(
                Series(label=name, points=drawn[name], dashed=name == BASE)
                for name in (BASE, *names)
                if name in drawn
            ),
        )
        for title, names in GROUPS.items()
    ]
    return figure(
        "ablations_rates",
        f"The loss by peak learning rate, {seen.conditions()}",
        "Means over seeds, at the horizon of all arms. Broken: the base, the same in each panel.",
        panels,
        kinds=True,
    )


def _literature(seen: Seen) -> tuple[Published, ...]:
    def ours(*names: str) -> str | None:
        known = [(arm.name, arm.multiplier) for arm in seen.known if arm.name in names]
        return (
            "; ".join(f"{name}, compute multiplier {one.text}" for name, one in known if one)
            or None
        )

    return (
        beside(
            "norms after the residual sums",
            theirs="slower, and need a warm-up: BLEU of 8.45 without one, about 34 with it",
            ours=ours(POST),
            source="Xiong 2020, arXiv 2002.04745",
        ),
        beside(
            "one key and value head",
            theirs="slightly worse: 30.2 against 29.9 in perplexity a word",
            ours=ours(MQA),
            source="Shazeer 2019, arXiv 1911.02150, table 3",
        ),
        beside(
            "falling and rising again",
            theirs="as good as runs of each length (WSD-S)",
            ours=ours(COSINES, CYCLES),
            source="Wen 2024, arXiv 2410.05192",
        ),
        beside(
            "no warm-up",
            theirs="worse, the more so at higher rates",
            ours=ours(SHORT, LONG, ROOT, SQUARE),
            source="Kalra 2024, arXiv 2406.09405",
        ),
    )


# The data that the base needs over the arm's, of planted runs.
_TRUE = {TABLES: 0.7, MATRICES: 0.8, PLAIN: 0.9, ZERO: 1.1, POST: 0.8, MQA: 0.85, SHORT: 0.9,
         LONG: 0.95, ROOT: 1.0, SQUARE: 0.8, COSINES: 0.75, CYCLES: 0.9}  # fmt: skip


def _planted_outcome(spec: RunSpec) -> Outcome:
    """A loss that falls with tokens, each arm's worth a share of them; a parabola in the rate."""
    name = kind_of(spec)
    data = _TRUE.get(name, 1.0) * spec.tokens
    away = math.log((spec.optim.overrides.lr_mult or 1.0) / 1.1)
    noise = 1e-4 * math.sin(1 + 7 * spec.seed + 3 * len(name) + 5 * away)
    loss = 1.2 + 40 / data**0.4
    return Outcome(val_loss_nats=loss * math.exp(0.01 * away**2 + noise))


EXPERIMENT = Experiment(
    question="How much compute do first weights, pre-norm, own key heads, a warm-up and a single"
    " cooldown save?",
    reproduces="Xiong 2020 (norms), Shazeer 2019 (one key head), Wen 2024 (WSD-S)",
    parts={
        "architecture": ("post_norm",),
        "parametrisation": ("start",),
        "schedule": ("restarts", "wsd_rise"),
    },
    settings=Settings,
    propose=propose,
    analyse=analyse,
    planted=Planted(
        outcome=_planted_outcome,
        measures={
            "multiplier.embeddings_of_0.02": (0.67, 0.74),
            "multiplier.branches_from_0": (1.05, 1.15),
            "multiplier.cosine_restarts": (0.71, 0.79),
        },
        claims={
            "all_compared": True,
            "small_embeddings_cost": True,
            "post_norm_costs": True,
            "restarts_cost": True,
            "fast_rise_saves": True,
            "all_tuned": True,
        },
    ),
)
