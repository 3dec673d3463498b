"""Objectives compared by what they share: filling in a span, knowing a text's kind, the next token.

    slaw run objectives                  # nine objectives on texts of a few topics
    slaw run objectives_text             # the next token with and without moved middles, on text
    slaw report results/objectives

Losses of two objectives do not compare, so that none is fitted or compared here but the next
token's, which a probe measures of every model alike. A span is filled in from what an objective
reads: from both sides, or from the left alone. The kind of a text is read by a linear map from the
states of each layer. All arms are trained on as many tokens, at one learning rate.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from scaling_law.data.tasks.topics import Settings as Topics
from scaling_law.experiment import Experiment, Outcome, Planted, planted_point
from scaling_law.experiment.answer import (
    Decision,
    all_decided,
    answer,
    beside,
    claim,
    decided,
    need,
)
from scaling_law.experiment.evidence import Evidence, Run
from scaling_law.experiment.figures import figure, mean_series
from scaling_law.experiment.findings import (
    AGAIN,
    Axis,
    Claim,
    Figure,
    Findings,
    Panel,
    Published,
    Series,
    Table,
)
from scaling_law.experiment.groups import left_out, task_settings
from scaling_law.experiment.seeds import Time, first_time, mean_over, median_time, paired, shares
from scaling_law.spec.component import Component
from scaling_law.spec.run import RunSpec

CLM, FIM, SPM, MLM = "left to right", "FIM", "FIM, suffix first", "masked"
_NAMES = {"next_token": CLM, "prefix_lm": "prefix", "span_corruption": "span corruption"}
FILLED, KIND, NEXT = "infilling.tokens", "text_kind.best", "next_token_loss"
METRICS = (FILLED, KIND, NEXT)
_SHARED = (
    (FILLED, "spans filled in", "share of a span's tokens"),
    (KIND, "kinds of texts known", "share of passages"),
)
KNOWN = 0.9  # of the texts' kinds are read rightly: how soon an objective gets there is compared
# A cost of the next token's loss above this share of it is no longer small; below, it needs an
# interval that holds 0 to count as none.
SMALL = 0.01
SPM_ORDER = '"spm"'  # as a config writes it
WETTIG = 0.4  # the share that masks best at the size of BERT-large


@dataclass(frozen=True)
class Arm:
    """One objective.

    ``name`` names it, with the share that it hides where it masks; ``share`` is that share, 0 for
    other objectives; ``runs`` are its runs by seed.
    """

    name: str
    share: float
    runs: Mapping[int, Run]

    def ends(self, metric: str) -> dict[int, float]:
        """What the metric was at the end of training, by seed."""
        ends = {seed: run.record.metrics.get(metric) for seed, run in self.runs.items()}
        return {seed: value for seed, value in ends.items() if value is not None}

    def times(self) -> dict[int, Time]:
        """When the kinds of texts were first known, in steps, by seed."""
        times = {seed: first_time(run, KIND, KNOWN) for seed, run in self.runs.items()}
        return {seed: time for seed, time in times.items() if time is not None}


def name_of(component: Component) -> tuple[str, float]:
    """The objective's name, and the share of tokens that it hides."""
    given = dict(component.settings)
    if component.name == "masked":
        share = float(given.get("share", 0.15))
        return f"{MLM} {share:.0%}", share
    if component.name == "fim":
        return SPM if given.get("order") == "spm" else FIM, 0.0
    return _NAMES.get(component.name, component.name), 0.0


def arms_of(evidence: Evidence) -> dict[str, Arm]:
    """The arms whose runs were measured by the probes, next-token prediction first.

    A further arm of one name has its settings behind it.
    """
    runs: dict[Component, dict[int, Run]] = {}
    for run in evidence.ended:
        if any(metric in run.record.metrics for metric in METRICS):
            runs.setdefault(run.spec.objective_component, {})[run.spec.seed] = run
    arms: dict[str, Arm] = {}
    for component, own in runs.items():
        name, share = name_of(component)
        if name in arms:
            name += "".join(f" {key}={value}" for key, value in component.settings)
        arms[name] = Arm(name, share, own)
    order = sorted(arms.values(), key=lambda arm: (arm.name != CLM, arm.share, arm.name))
    return {arm.name: arm for arm in order}


def analyse(evidence: Evidence) -> Findings:
    """Return how the objectives compare by each of the shared measures."""
    arms = arms_of(evidence)
    used = sum(len(arm.runs) for arm in arms.values())
    claims: tuple[Claim, ...] = (
        _free(arms),
        _fills_more(arms, FIM, CLM, "fim_fills_in", "moved middles teach a model to fill in more of"
                    " a span than it does from the left alone"),
    )  # fmt: skip
    if _plans(evidence, SPM_ORDER):
        claims += (
            _fills_more(arms, SPM, FIM, "suffix_first_fills_in", "with the suffix in front, so that"
                        " a middle follows its prefix, moved middles are filled in better"),
        )  # fmt: skip
    if _plans(evidence, "masked"):
        claims += (_both_sides(arms), _sooner(arms), _best_share(arms))
    notes = left_out(evidence, used, "without the probes that compare objectives")
    if arms:
        rates = sorted({run.spec.optim.lr for arm in arms.values() for run in arm.runs.values()})
        notes.append(
            f"one learning rate for all objectives ({', '.join(f'{rate:g}' for rate in rates)}):"
            " another may suit some of them better"
        )
    return answer(
        claims,
        lambda: _words(arms, claims),
        measures=_measures(arms),
        tables=(_table(arms),),
        figures=(_curves(arms), _by_share(arms), _harm(arms)),
        literature=_literature(claims),
        notes=notes,
        units={
            "filled": "share of tokens",
            "kind": "share of passages",
            "next": "nats per token",
            "harm": "nats per token",
        },
    )


def _plans(evidence: Evidence, word: str) -> bool:
    """Whether the config trains an objective with ``word``; True where it is not known."""
    return not evidence.config or word in json.dumps(evidence.config)


def _both(
    arms: Mapping[str, Arm], name: str, metric: str, other: str = CLM
) -> tuple[list[float], list[float]]:
    """The ends of two arms, trained on as many tokens, on their common seeds, which are two."""
    need(other in arms and name in arms, f"{other} and {name} have not both finished", AGAIN)
    ours, theirs = arms[name].ends(metric), arms[other].ends(metric)
    seeds = sorted(set(ours) & set(theirs))
    need(len(seeds) > 1, f"{name} and {other} have {len(seeds)} seeds in common", AGAIN)
    tokens = {run.record.tokens for one in (other, name) for run in arms[one].runs.values()}
    need(len(tokens) == 1, "they were not trained on as many tokens", "it needs equal tokens")
    return [ours[seed] for seed in seeds], [theirs[seed] for seed in seeds]


def _free(arms: Mapping[str, Arm]) -> Claim:
    def decide() -> Decision:
        ours, theirs = _both(arms, FIM, NEXT)
        mean = mean_over([a - b for a, b in zip(ours, theirs, strict=True)])
        assert mean is not None and mean.interval is not None
        low, high = mean.interval
        most = SMALL * fmean(theirs)
        words = f"its loss is above by {mean.text} nats, of {fmean(theirs):.3g}"
        need(
            low > 0 or high < most,
            f"{words}: the interval holds both no cost and {SMALL:.0%}",
            "it needs more seeds",
        )
        return low <= 0, words

    return claim(
        "fim_is_free",
        "moving the middle of half of the texts costs nothing in the next token's loss from left to"
        " right, at equal tokens",
        decide,
    )


def _masked(arms: Mapping[str, Arm]) -> list[Arm]:
    return [arm for arm in arms.values() if arm.share]


def _best_masked(arms: Mapping[str, Arm], metric: str) -> Arm:
    """The masked arm that does best on average."""
    measured = [arm for arm in _masked(arms) if arm.ends(metric)]
    need(bool(measured), "no masked objective has finished", AGAIN)
    return max(measured, key=lambda arm: fmean(arm.ends(metric).values()))


def _more(ours: Sequence[float], theirs: Sequence[float], words: str, of: int = 1) -> Decision:
    """Whether ours, which were picked out of so many, are above theirs, seed by seed."""
    pairs = [a - b for a, b in zip(ours, theirs, strict=True)]
    picked = f", the best of {of}" if of > 1 else ""
    return decided(pairs, f"{words}{picked}: more by", show=lambda mean: mean.text, of=of)


def _both_sides(arms: Mapping[str, Arm]) -> Claim:
    def decide() -> Decision:
        best = _best_masked(arms, FILLED)
        ours, theirs = _both(arms, best.name, FILLED)
        words = f"{best.name} {shares(ours)}, {CLM} {shares(theirs)} of the tokens"
        return _more(ours, theirs, words, of=len(_masked(arms)))

    return claim(
        "both_sides_fill_in",
        "the best share of hidden tokens, which reads both sides of a span, fills in more of it"
        " than the next token's objective, which reads the left alone",
        decide,
    )


def _fills_more(arms: Mapping[str, Arm], name: str, other: str, slug: str, says: str) -> Claim:
    def decide() -> Decision:
        ours, theirs = _both(arms, name, FILLED, other)
        return _more(ours, theirs, f"{name} {shares(ours)}, {other} {shares(theirs)} of the tokens")

    return claim(slug, says, decide)


def _sooner(arms: Mapping[str, Arm]) -> Claim:
    def decide() -> Decision:
        times = {name: arm.times() for name, arm in arms.items() if arm.times()}
        mine = times.pop(CLM, {})
        need(len(mine) > 1, f"{len(mine)} seeds of {CLM} measured the kinds of texts", AGAIN)
        masked = {name: own for name, own in times.items() if arms[name].share}
        need(bool(masked), "no masked objective has finished", AGAIN)
        need(
            all(time.step is not None for time in mine.values()),
            f"{CLM} does not know {KNOWN:.0%} of the kinds in every seed",
            "it needs longer training",
        )
        each, bounded = {}, False
        for name, own in masked.items():
            pairs = [(mine[seed], own[seed]) for seed in sorted(mine.keys() & own)]
            never = any(theirs.step is None for _, theirs in pairs)
            each[f"{'or more ' if never else ''}than {name} ({_median(own)})"] = [
                math.log((theirs.step or theirs.within) / (ours.step or ours.within))
                for ours, theirs in pairs
            ]
            bounded = bounded or never
        sooner, words = all_decided(
            each, f"after {_median(mine)} steps, sooner by a factor of",
            show=lambda mean: mean.factor.text,
        )  # fmt: skip
        need(sooner or not bounded, f"{words}: some never know them", "longer training")
        return sooner, words

    return claim(
        "left_to_right_is_sooner",
        f"the next token's objective gets a linear map to know {KNOWN:.0%} of the texts' kinds from"
        " fewer tokens than hiding any share of them",
        decide,
    )


def _median(times: Mapping[int, Time]) -> str:
    middle = median_time(list(times.values()))
    assert middle is not None
    return middle.text


def _best_share(arms: Mapping[str, Arm]) -> Claim:
    def decide() -> Decision:
        masked = {arm.share: arm.ends(FILLED) for arm in _masked(arms)}
        need(WETTIG in masked and len(masked) > 2, f"{len(masked)} shares have finished", AGAIN)
        words = ", ".join(f"{share:.0%} {shares(list(e.values()))}" for share, e in masked.items())
        mine = masked.pop(WETTIG)
        each = {f"than {share:.0%}": paired(mine, ends) for share, ends in masked.items()}
        words = f"{words} of the tokens; {WETTIG:.0%} more by"
        return all_decided(each, words, show=lambda mean: mean.text)

    return claim(
        "forty_percent_is_best",
        "of the shares of hidden tokens, 40% learns best to fill in spans",
        decide,
    )


def _words(arms: Mapping[str, Arm], claims: Sequence[Claim]) -> str:
    standing = {one.name: one.established for one in claims}
    ours, theirs = map(fmean, _both(arms, FIM, NEXT))
    costs = "costs nothing" if standing["fim_is_free"] else f"costs {ours - theirs:.3f} nats"
    words = f"Moving middles {costs} from left to right ({ours:.3f} against {theirs:.3f} nats)"
    if (fills := standing["fim_fills_in"]) is not None:
        words += f" and fills in {'more' if fills else 'less'} than the left alone"
    words += "."
    filled = {
        name: fmean(ends.values()) for name, arm in arms.items() if (ends := arm.ends(FILLED))
    }
    if standing.get("both_sides_fill_in") is not None:
        best = _best_masked(arms, FILLED).name
        words += (
            f" {best.capitalize()} fills in {filled[best]:.2f} of a span, {CLM} {filled[CLM]:.2f}."
        )
    sooner = standing.get("left_to_right_is_sooner")
    if sooner:
        words += f" {CLM.capitalize()} knows the kinds of texts before any share of hidden tokens."
    elif sooner is False:
        words += f" Hiding tokens teaches the kinds of texts before {CLM}."
    return words


def _measures(arms: Mapping[str, Arm]) -> dict[str, float | None]:
    measures: dict[str, float | None] = {}
    for name, arm in arms.items():
        slug = "_".join(re.findall("[a-z0-9.=-]+", name.lower())).replace("=", "-")
        for word, metric in (("filled", FILLED), ("kind", KIND), ("next", NEXT)):
            if ends := arm.ends(metric):
                measures[f"{word}.{slug}"] = fmean(ends.values())
        if times := arm.times():
            middle = median_time(list(times.values()))
            measures[f"kind_steps.{slug}"] = middle.step if middle else None
    if CLM in arms and FIM in arms:
        ours, theirs = arms[FIM].ends(NEXT), arms[CLM].ends(NEXT)
        if seeds := set(ours) & set(theirs):
            measures["harm.fim"] = fmean(ours[seed] - theirs[seed] for seed in seeds)
    return measures


def _table(arms: Mapping[str, Arm]) -> Table | None:
    if not arms:
        return None

    def reached(arm: Arm, metric: str) -> str:
        ends = list(arm.ends(metric).values())
        return shares(ends) if ends else "–"

    def next_loss(arm: Arm) -> str:
        mean = mean_over(list(arm.ends(NEXT).values()))
        return mean.text if mean else "–"

    return Table(
        caption="By objective, over seeds at the end of training: share of a hidden span's tokens"
        " that are filled in; share of texts whose kind a linear map reads from the best layer;"
        f" steps to {KNOWN:.0%} of them; the next token's loss from left to right, in nats",
        head=("objective", "filled in", "kinds", "steps", "next token"),
        rows=tuple(
            (
                name,
                reached(arm, FILLED),
                reached(arm, KIND),
                _median(times) if (times := arm.times()) else "–",
                next_loss(arm),
            )
            for name, arm in arms.items()
        ),
    )


def _along(arm: Arm, metric: str) -> dict[float, list[float]]:
    """The seeds' values by tokens of training, where every seed was measured."""
    points: dict[float, list[float]] = {}
    for run in arm.runs.values():
        for point in run.curve:
            if metric in point.metrics and point.tokens > 0:
                points.setdefault(float(point.tokens), []).append(point.metrics[metric])
    return {tokens: ends for tokens, ends in points.items() if len(ends) == len(arm.runs)}


def _curves(arms: Mapping[str, Arm]) -> Figure | None:
    """Both shared measures along training, an objective a line; of the masked ones the best."""
    masked = [arm for arm in _masked(arms) if arm.ends(FILLED)]
    best = max(masked, key=lambda arm: fmean(arm.ends(FILLED).values()), default=None)
    shown = [arm for arm in arms.values() if not arm.share or arm is best]
    panels = []
    for metric, title, label in _SHARED:
        lines = [
            Series(
                label=arm.name,
                points=tuple((x, fmean(values)) for x, values in _along(arm, metric).items()),
                marks=False,
            )
            for arm in shown
        ]
        if metric == FILLED:
            lines += _ceiling(arms, lines)
        panels.append(
            Panel(
                title=title,
                x=Axis(label="tokens", scale="log"),
                y=Axis(label=label),
                series=tuple(line for line in lines if line.points),
            )
        )
    return figure(
        "objectives_curves",
        "What each objective learns from as many tokens",
        "Means over seeds; of the shares of hidden tokens the best. The most that the left alone"
        " allows is dashed.",
        [panel for panel in panels if panel.series],
    )


def _ceiling(arms: Mapping[str, Arm], lines: Sequence[Series]) -> list[Series]:
    """The share that can be predicted from the left alone once the topic is known."""
    tokens = [x for line in lines for x, _ in line.points]
    runs = [run for arm in arms.values() for run in arm.runs.values()]
    task = task_settings(runs[0].spec, "topics", Topics) if tokens else None
    if task is None:
        return []
    ends = ((min(tokens), task.usual), (max(tokens), task.usual))
    return [Series(label="most from the left", points=ends, marks=False, dashed=True)]


def _by_share(arms: Mapping[str, Arm]) -> Figure | None:
    """Both shared measures against the share of hidden tokens."""
    masked = _masked(arms)
    panels = [
        Panel(
            title=title,
            x=Axis(label="share of tokens hidden", low=0.0, high=1.05),
            y=Axis(label=label),
            series=(
                mean_series(
                    MLM, {arm.share: list(arm.ends(metric).values()) for arm in masked},
                    low=0.0, high=1.0,
                ),
            ),
        )
        for metric, title, label in _SHARED
    ]  # fmt: skip
    return figure(
        "objectives_share",
        "Hiding more or fewer tokens",
        "Means over seeds at the end of training, with their intervals.",
        panels if masked else [],
    )


def _harm(arms: Mapping[str, Arm]) -> Figure | None:
    """What moved middles cost from left to right, along training."""
    base = arms.get(CLM)
    lines = []
    for name in (FIM, SPM):
        if base is None or name not in arms:
            continue
        seeds = sorted(set(base.runs) & set(arms[name].runs))
        pairs = [(arms[name].runs[seed], base.runs[seed]) for seed in seeds]
        costs: dict[float, list[float]] = {}
        for ours, theirs in pairs:
            known = {point.step: point.metrics.get(NEXT) for point in theirs.curve}
            for point in ours.curve:
                other = known.get(point.step)
                if NEXT in point.metrics and other is not None and point.tokens > 0:
                    costs.setdefault(float(point.tokens), []).append(point.metrics[NEXT] - other)
        lines.append(mean_series(name, costs))
    panel = Panel(
        x=Axis(label="tokens", scale="log"),
        y=Axis(label="nats per token above left to right"),
        series=tuple(line for line in lines if line.points),
    )
    return figure(
        "objectives_harm",
        "What moved middles cost in the next token's loss",
        "Means over seeds, of the difference to the same seed, with their intervals.",
        [panel] if panel.series else [],
    )


def _literature(claims: Sequence[Claim]) -> tuple[Published, ...]:
    beside_claims = {
        "fim_is_free": (
            "the next token's loss with half of the texts' middles moved",
            "no higher, at 50M to 6.9B parameters",
            "Bavarian 2022, arXiv 2207.14255",
        ),
        "suffix_first_fills_in": (
            "filling in with the suffix in front of the prefix",
            "slightly better than with the prefix in front",
            "Bavarian 2022, section 4.3",
        ),
        "left_to_right_is_sooner": (
            "what is learned from as many tokens",
            "less where only the hidden 15% have a loss",
            "Clark 2020, arXiv 2003.10555",
        ),
        "forty_percent_is_best": (
            "the best share of tokens to hide",
            "40% rather than 15% (BERT-large, by fine-tuning)",
            "Wettig 2022, arXiv 2202.08005",
        ),
    }
    standing = {one.name: one for one in claims}
    return tuple(
        beside(
            what,
            theirs=theirs,
            ours=None if standing[name].established is None else standing[name].because,
            source=source,
        )
        for name, (what, theirs, source) in beside_claims.items()
        if name in standing
    )


def _planted(spec: RunSpec) -> Outcome:
    """Masking fills in best at 40%, moved middles less; the next token knows the kinds first."""
    name, share = name_of(spec.objective_component)
    noise = 0.001 * spec.seed
    filled = 0.9 - abs(share - WETTIG) if share else {FIM: 0.7, SPM: 0.8}.get(name, 0.5)
    soon = (0.3 if name == CLM else 0.6) + 0.01 * spec.seed
    curve = []
    for part in (0.1, *(share + 0.01 * seed for share in (0.3, 0.6) for seed in range(3)), 1.0):
        step = max(1, round(part * spec.total_steps))
        metrics = {
            FILLED: filled * part + noise,
            KIND: 0.95 if part >= soon else 0.3,
            NEXT: (5.0 if share else 2.0) + noise * (1 if name == CLM else -1),
        }
        curve.append(planted_point(spec, step, metrics))
    return Outcome(curve=tuple(curve), metrics=curve[-1].metrics)


EXPERIMENT = Experiment(
    question="What does a model learn from as many tokens by other objectives than the next token,"
    " and does moving middles harm that one?",
    reproduces="Bavarian 2022 (FIM), Wettig 2022 (masking), Clark 2020",
    parts={
        "source": ("topics",),
        "objective": ("fim", "masked", "prefix_lm", "span_corruption"),
        "probe": ("infilling", "next_token_loss", "text_kind"),
    },
    analyse=analyse,
    planted=Planted(
        outcome=_planted,
        measures={"filled.masked_40": (0.89, 0.91), "harm.fim": (-0.01, 0.001)},
        claims={
            "fim_is_free": True,
            "both_sides_fill_in": True,
            "left_to_right_is_sooner": True,
            "fim_fills_in": True,
            "suffix_first_fills_in": True,
            "forty_percent_is_best": True,
        },
    ),
)
