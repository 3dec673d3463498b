"""Compares known models with each law, and computes when hardware reaches a loss.

Sizes and tokens are those of the papers; everything else is computed from a law's formula.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from scaling_law import text_columns
from scaling_law.errors import ConfigError, FitError
from scaling_law.fit.prediction_text import loss_words
from scaling_law.fit.result import Prediction, finite_json
from scaling_law.forecast.allocate import AllocationAnswer, allocate
from scaling_law.forecast.allocate_text import answer_words
from scaling_law.forecast.budget import Budget
from scaling_law.forecast.extrapolate import extrapolate
from scaling_law.forecast.hardware import PRICES_AS_OF, Hardware
from scaling_law.forecast.optima import cheapest_for_loss
from scaling_law.forecast.outlook import outlook_of
from scaling_law.forecast.published import COMPARISON_CAVEAT
from scaling_law.forecast.session import SourcedLaw
from scaling_law.forecast.target import Target
from scaling_law.units import count_range, format_count, format_dollars, format_ratio, rounded_count

DEFAULT_LAWS = ("besiroglu2024", "hoffmann2022", "muennighoff2023", "kaplan2020")
# FLOP/s per dollar of GPUs for machine learning doubled every 2.1 to 2.5 years from 2006 to 2023
# (Epoch AI, "Trends in machine learning hardware", 2023): 1.32 to 1.39 a year.
HARDWARE_GROWTH = 1.35
# Budgets of the largest runs grew 2.4-fold a year from 2016 to 2024 (Cottier 2024, arXiv
# 2405.21015); a user's own budget need not, so it is constant by default.
BUDGET_GROWTH = 1.0
DEFAULT_TARGET_LOSS = 1.9  # nats per token: within reach of the published laws
_LONGEST_YEARS = 100.0
_SMALLER = 1.1  # a size this close to the optimum counts as the optimum: nothing to pay back


@dataclass(frozen=True)
class KnownModel:
    """A model as published.

    ``name``: its name.
    ``params``: all its parameters.
    ``tokens``: its training tokens.
    ``source``: the paper.
    """

    name: str
    params: float
    tokens: float
    source: str

    @property
    def flops(self) -> float:
        """6 x params x tokens."""
        return 6 * self.params * self.tokens


MODELS = (
    KnownModel("GPT-3", 175e9, 300e9, "Brown 2020, arXiv 2005.14165, table D.1"),
    KnownModel("MT-NLG", 530e9, 270e9, "Smith 2022, arXiv 2201.11990; Hoffmann 2022, table 1"),
    KnownModel("Gopher", 280e9, 300e9, "Rae 2021, arXiv 2112.11446; Hoffmann 2022, table 1"),
    KnownModel("Chinchilla", 70e9, 1.4e12, "Hoffmann 2022, arXiv 2203.15556, table 1"),
    KnownModel("PaLM", 540e9, 780e9, "Chowdhery 2022, arXiv 2204.02311"),
    KnownModel("LLaMA 7B", 6.7e9, 1.0e12, "Touvron 2023, arXiv 2302.13971, table 2"),
    KnownModel("LLaMA 65B", 65.2e9, 1.4e12, "Touvron 2023, arXiv 2302.13971, table 2"),
    KnownModel("Llama 3 8B", 8.0e9, 15e12, "Llama team 2024, arXiv 2407.21783"),
    KnownModel("Llama 3 405B", 405e9, 15.6e12, "Llama team 2024, arXiv 2407.21783"),
)


@dataclass(frozen=True, kw_only=True)
class Retrodiction:
    """A known model under one law; None: the law does not say.

    ``model``: the model.
    ``law``: the law's name.
    ``loss_nats``: the law's loss of the model as trained, in nats per token.
    ``trained``: the law's forecast of that loss, with its interval.
    ``best``: the law's split of the same FLOPs.
    ``flops_needed``: the least FLOPs for the loss as trained.
    ``params_needed``: the parameters that they train.
    ``served_to_pay``: served tokens by which the smaller model's cheaper service (2N FLOPs a token)
        has paid for its longer training.
    """

    model: KnownModel
    law: str
    loss_nats: float
    trained: Prediction
    best: AllocationAnswer
    flops_needed: float | None
    params_needed: float | None
    served_to_pay: float | None


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """When a budget reaches a loss under one law.

    ``law``: the law's name.
    ``flops``: the FLOPs that the loss takes; None: refused.
    ``flops_now``: the FLOPs that the budget buys today.
    ``years``: scenario of growth -> years until then; None: not within a century.
    ``flops_interval``: of a fitted law, (low, high) of ``flops``; inf where some of its samples
        never reach the loss.
    ``years_interval``: scenario -> the years at both ends.
    ``far``: whether only the interval may be quoted.
    ``refused``: why the law gives no such FLOPs.
    """

    law: str
    flops: float | None
    flops_now: float
    years: dict[str, float | None]
    flops_interval: tuple[float, float] | None = None
    years_interval: dict[str, tuple[float | None, float | None]] = field(default_factory=dict)
    far: bool = False
    refused: str = ""


def retrodict(source: SourcedLaw, model: KnownModel) -> Retrodiction:
    """One known model under one law. Raises ``FitError`` where the law has no split."""
    best = allocate(source, Budget(unit="flops", amount=model.flops))
    loss_at = outlook_of(source.fit, source.worlds).loss_at
    loss = loss_at(model.params, model.tokens)
    flops = params = served = None
    try:
        if best.smaller:  # the split is the minimum of the loss itself
            cheapest = cheapest_for_loss(loss_at, math.exp(loss))
            flops, params = cheapest.flops, cheapest.params
    except FitError:
        pass
    if flops is not None and params is not None and params > _SMALLER * model.params:
        served = (model.flops - flops) / (2 * (params - model.params))
    return Retrodiction(
        model=model,
        law=source.label,
        loss_nats=math.exp(loss),
        trained=extrapolate(
            source.fit, Target(params=model.params, tokens=model.tokens), **source.beside
        ),
        best=best,
        flops_needed=flops,
        params_needed=params,
        served_to_pay=served,
    )


def arrival(
    source: SourcedLaw,
    target_loss: float,
    dollars: float,
    hardware: Hardware,
    *,
    hardware_growth: float = HARDWARE_GROWTH,
    budget_growth: float = BUDGET_GROWTH,
) -> Arrival:
    """When ``dollars`` (US, growing ``budget_growth``-fold a year) buy the FLOPs of a loss.

    FLOPs per dollar grow ``hardware_growth``-fold a year; the scenarios are as given, with half
    the growth, and with the budget constant. For a loss that the law does not reach, ``refused``
    says so. Raises ``ConfigError`` for growth of 0 or less.
    """
    if min(hardware_growth, budget_growth) <= 0:
        raise ConfigError("growth is a factor a year: expected above 0 (1: none)")
    now = Budget(unit="dollars", amount=dollars).in_flops(hardware).amount
    law = source.label
    try:
        answer = allocate(source, Target(target_loss=target_loss), hardware)
    except FitError as problem:
        return Arrival(law=law, flops=None, flops_now=now, years={}, refused=str(problem))
    both = math.log(hardware_growth) + math.log(budget_growth)
    rates = {"as given": both, "with half the growth": both / 2}
    if budget_growth != 1:
        rates["with the budget constant"] = math.log(hardware_growth)
    needed, ends = answer.choice.flops, answer.prediction.flops_interval
    return Arrival(
        law=law,
        flops=needed,
        flops_now=now,
        years={name: _years(needed / now, rate) for name, rate in rates.items()},
        flops_interval=ends,
        years_interval={}
        if ends is None
        else {
            name: (_years(ends[0] / now, rate), _years(ends[1] / now, rate))
            for name, rate in rates.items()
        },
        far=answer.only_ranges,
    )


def refuse_unreachable(arrivals: Sequence[Arrival], target_loss: float) -> None:
    """Raises ``FitError`` where none of the laws reaches the loss."""
    if arrivals and all(each.flops is None for each in arrivals):
        why = "; ".join(f"{each.law}: {each.refused}" for each in arrivals)
        raise FitError(f"{target_loss:g} nats per token are out of reach ({why})")


def _years(ratio: float, rate: float) -> float | None:
    """Years until the FLOPs bought have grown ``ratio``-fold at ``rate`` (logarithm a year)."""
    if ratio <= 1:
        return 0.0
    gap = math.log(ratio)
    return gap / rate if rate > 0 and gap / rate <= _LONGEST_YEARS else None


def format_retrodictions(retrodictions: Sequence[Retrodiction]) -> str:
    """A block for each model with a row for each law."""
    lines = []
    for model in dict.fromkeys(each.model for each in retrodictions):
        lines += [
            f"{model.name}: {format_count(model.params)} params on {format_count(model.tokens)}"
            f" tokens, {format_ratio(model.tokens / model.params)} a param,"
            f" {format_count(model.flops)} FLOPs"
            f" ({model.source})",
        ]
        rows = [_HEAD, *(_row(each) for each in retrodictions if each.model is model)]
        lines += [*text_columns.left(rows, "  "), ""]
    notes = [_BRACKETS[each.best.source.known is not None] for each in retrodictions]
    notes += _NOTES
    if any(each.law == "kaplan2020" for each in retrodictions):
        notes.append(_KAPLAN)
    far = {
        each.law: _RANGE for each in retrodictions if each.trained.refused and each.trained.level
    }
    notes += [f"{law}: {words}" for law, words in far.items()]
    return "\n".join([*lines, *dict.fromkeys(notes)])


_HEAD = ("law", "loss", "same FLOPs best as", "on tokens", "a param", "loss", "its loss needs",
         "pays after serving")  # fmt: skip
_BRACKETS = {
    False: "published laws have no intervals: too little of the errors of their splits was"
    " published",
    True: "intervals of fits (in brackets, or alone): 90%, the same answer in each way that the fit"
    " allows",
}
_NOTES = (
    "params all of a model's, as published; FLOPs 6 x params x tokens; loss in nats per token",
    "its loss needs: FLOPs of the compute-optimal model of the same loss, and its share of those"
    " spent; pays after serving: tokens by which a smaller model's service has paid for its"
    " longer training",
    f"note: {COMPARISON_CAVEAT}",
)
_RANGE = (
    "ranges in place of figures, and nothing of what its loss needs: so far beyond its data the"
    " fit supports no figure (see slaw extrapolate)"
)
_KAPLAN = (
    "note: Kaplan counts params without embeddings, and is given all of them here, which at these"
    " sizes differ little; his split was measured, and is not the minimum of his L(N, D): his loss"
    " there may be the higher one"
)


def _row(each: Retrodiction) -> tuple[str, ...]:
    interval, far = each.best.params_interval, each.best.only_ranges
    size, tokens, ratio, _ = answer_words(each.best)
    if interval and not far:
        size += f" [{count_range(*interval)}]"
    needs = "-"
    if each.flops_needed is not None and not far:
        share = 100 * each.flops_needed / each.model.flops
        needs = f"{format_count(each.flops_needed)} ({share:.0f}%)"
    served = None if far else each.served_to_pay
    return (
        each.law,
        _loss_cell(each.trained),
        size,
        tokens,
        ratio,
        _loss_cell(each.best.prediction),
        needs,
        "-" if served is None else rounded_count(served, 2),
    )


def _loss_cell(forecast: Prediction) -> str:
    """A law's loss as ``slaw extrapolate`` prints it: far beyond the data, only the range."""
    figure, _ = loss_words(forecast)
    return figure.removeprefix("about ")


def format_arrivals(
    arrivals: Sequence[Arrival], target_loss: float, dollars: float, hardware: Hardware
) -> str:
    """When the budget reaches the loss, by law and scenario."""
    lines = [
        f"{target_loss:g} nats per token for {format_dollars(dollars)} on {hardware.device.name}:"
    ]
    lines += [f"  {each.law}: {_arrival_words(each)}" for each in arrivals]
    return "\n".join(
        [
            *lines,
            f"warning: from {PRICES_AS_OF}'s prices on, as if the trends went on; laws far beyond"
            " their data, no better data or architectures, one tokenizer's nats. It says what would"
            " have to hold, and is not a forecast.",
        ]
    )


def _arrival_words(each: Arrival) -> str:
    if each.flops is None:
        return each.refused
    needed, times = f"{format_count(each.flops)} FLOPs", _times(each.flops / each.flops_now)
    most = each.flops
    if each.flops_interval:
        low, most = each.flops_interval
        ends = count_range(low, most)
        needed += f" (interval {ends})"
        if each.far:
            needed = f"{ends} FLOPs"
            both = [_times(end / each.flops_now) for end in (low, most)]
            times = " to ".join(dict.fromkeys(both))
    words = f"{needed}, {times} what the money buys today"
    if most <= each.flops_now:
        return words
    years = ", ".join(f"{_years_words(each, name)} {name}" for name in each.years)
    return f"{words}: {years}"


def _times(ratio: float) -> str:
    if ratio == math.inf:
        return "any number of times"
    if ratio > 1:
        return f"{rounded_count(ratio, 2)} times"
    return "less than 0.1% of" if ratio < 0.001 else f"{100 * ratio:.2g}% of"


def _years_words(each: Arrival, name: str) -> str:
    def one(years: float | None) -> str:
        return "not within a century" if years is None else f"{years:.1f} years"

    ends = each.years_interval.get(name)
    if not ends:
        return one(each.years[name])
    both = one(ends[0]) if ends[0] == ends[1] else f"{one(ends[0])} to {one(ends[1])}"
    return both if each.far else f"{one(each.years[name])} (interval {both})"


def _ends(forecast: Prediction) -> tuple[float | None, float | None]:
    return forecast.low_nats, forecast.high_nats


def retrodictions_json(
    retrodictions: Sequence[Retrodiction], arrivals: Sequence[Arrival]
) -> dict[str, Any]:
    """One strict JSON document."""
    rows = [
        {
            "model": each.model.name,
            "params": each.model.params,
            "tokens": each.model.tokens,
            "flops": each.model.flops,
            "source": each.model.source,
            "law": each.law,
            "loss_nats": each.loss_nats,
            "loss_interval_nats": _ends(each.trained),
            "refused": each.trained.refused,
            "params_best": each.best.choice.params,
            "params_best_interval": each.best.params_interval,
            "tokens_best": each.best.choice.tokens,
            "loss_best_nats": each.best.choice.loss_nats,
            "loss_best_interval_nats": _ends(each.best.prediction),
            "flops_needed": each.flops_needed,
            "params_needed": each.params_needed,
            "served_to_pay_tokens": each.served_to_pay,
        }
        for each in retrodictions
    ]
    return {
        "models": finite_json(rows),
        "arrivals": finite_json(list(arrivals)),
        "caveat": COMPARISON_CAVEAT,
    }
