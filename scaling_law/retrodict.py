"""Known models under each law, and when hardware reaches a loss: computed here, never typed in.

Sizes and tokens are the papers'; everything else comes from a law's formula.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scaling_law import columns
from scaling_law.allocate import Allocated, Machine, Question, allocate, beside_results
from scaling_law.errors import ConfigError, FitError
from scaling_law.extrapolate import extrapolate
from scaling_law.fit.optima import cheapest_for_loss
from scaling_law.fit.published import COMPARISON_CAVEAT
from scaling_law.fit.surface import surface_of
from scaling_law.forecast import FoundLaw
from scaling_law.forecast_text import loss_words
from scaling_law.hardware import PRICES_AS_OF, flops_for_dollars
from scaling_law.outcome import Prediction, finite_json
from scaling_law.units import format_count, format_ratio, rounded_count

DEFAULT_LAWS = ("besiroglu2024", "hoffmann2022", "muennighoff2023", "kaplan2020")
# FLOP/s per dollar of GPUs for machine learning doubled every 2.1 to 2.5 years from 2006 to 2023
# (Epoch AI, "Trends in machine learning hardware", 2023): 1.32 to 1.39 a year.
HARDWARE_GROWTH = 1.35
# Budgets of the largest runs grew 2.4-fold a year from 2016 to 2024 (Cottier 2024, arXiv
# 2405.21015); nobody's own budget need do so, hence constant unless said.
BUDGET_GROWTH = 1.0
_LONGEST_YEARS = 100.0
_SMALLER = 1.1  # a size this close to the optimum is the optimum, and has nothing to pay back


@dataclass(frozen=True)
class KnownModel:
    """A model as published: ``params`` (total), training ``tokens``, ``source``."""

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
    """A known model under one law.

    ``loss_nats`` as trained, and ``trained``, the law's forecast of it with its interval;
    ``best``, the law's split of the same FLOPs; ``flops_needed`` for
    the loss as trained, split best, and ``params_needed`` then; ``served_to_pay`` tokens after
    which a smaller model's cheaper service has paid for its longer training (2N FLOPs a token).
    Each None where the law does not say.
    """

    model: KnownModel
    law: str
    loss_nats: float
    trained: Prediction
    best: Allocated
    flops_needed: float | None
    params_needed: float | None
    served_to_pay: float | None


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """When a budget reaches a loss under one law: ``flops`` it takes, ``flops_now`` the budget
    buys, and ``years`` by scenario (None: not within a century). ``refused``: why the law gives
    no such FLOPs; ``flops`` is then None."""

    law: str
    flops: float | None
    flops_now: float
    years: dict[str, float | None]
    refused: str = ""


def retrodict(found: FoundLaw, model: KnownModel) -> Retrodiction:
    """One known model under one law. Raises ``FitError`` where the law has no split."""
    best = allocate(found, Question(flops=model.flops))
    surface = surface_of(found.fit.law, found.fit.params)
    assert surface is not None, "allocate refuses laws of one variable"
    loss = surface.log_loss(model.params, model.tokens)
    flops = params = served = None
    try:
        if best.smaller:  # the law's split is the minimum of its own surface
            cheapest = cheapest_for_loss(surface.log_loss, math.exp(loss))
            flops, params = cheapest.flops, cheapest.params
    except FitError:
        pass
    if flops is not None and params is not None and params > _SMALLER * model.params:
        served = (model.flops - flops) / (2 * (params - model.params))
    return Retrodiction(
        model=model,
        law=found.origin.split(",")[0].removeprefix("law "),
        loss_nats=math.exp(loss),
        trained=extrapolate(
            found.fit, params=model.params, tokens=model.tokens, **beside_results(found)
        ),
        best=best,
        flops_needed=flops,
        params_needed=params,
        served_to_pay=served,
    )


def arrival(
    found: FoundLaw,
    target_loss: float,
    dollars: float,
    machine: Machine,
    *,
    hardware_growth: float = HARDWARE_GROWTH,
    budget_growth: float = BUDGET_GROWTH,
) -> Arrival:
    """When ``dollars`` (US, growing ``budget_growth``-fold a year) buy the FLOPs of a loss.

    FLOPs per dollar grow ``hardware_growth``-fold a year; the scenarios are as given, with half
    the growth, and with none of the budget's. A loss that the law does not reach is told as
    ``refused``. Raises ``ConfigError`` for growth of 0 or less.
    """
    if min(hardware_growth, budget_growth) <= 0:
        raise ConfigError("growth is a factor a year: expected above 0 (1: none)")
    now = flops_for_dollars(dollars, machine.device)
    law = found.origin.split(",")[0].removeprefix("law ")
    try:
        needed = allocate(found, Question(target_loss=target_loss), machine).choice.flops
    except FitError as problem:
        return Arrival(law=law, flops=None, flops_now=now, years={}, refused=str(problem))
    both = math.log(hardware_growth) + math.log(budget_growth)
    rates = {"as given": both, "with half the growth": both / 2}
    if budget_growth != 1:
        rates["with the budget constant"] = math.log(hardware_growth)
    gap = math.log(needed / now)
    years = {name: _years(gap, rate) for name, rate in rates.items()}
    return Arrival(law=law, flops=needed, flops_now=now, years=years)


def _years(gap: float, rate: float) -> float | None:
    if gap <= 0:
        return 0.0
    return gap / rate if rate > 0 and gap / rate <= _LONGEST_YEARS else None


def format_retrodictions(made: Sequence[Retrodiction]) -> str:
    """A block for each model, a row for each law."""
    lines = []
    for model in dict.fromkeys(each.model for each in made):
        lines += [
            f"{model.name}: {format_count(model.params)} params on {format_count(model.tokens)}"
            f" tokens, {format_ratio(model.tokens / model.params)} a param,"
            f" {format_count(model.flops)} FLOPs"
            f" ({model.source})",
        ]
        rows = [_HEAD, *(_row(each) for each in made if each.model is model)]
        lines += [*columns.left(rows, "  "), ""]
    notes = [_BRACKETS[each.best.found.known is not None] for each in made] + [*_NOTES]
    if any(each.law == "kaplan2020" for each in made):
        notes.append(_KAPLAN)
    far = {each.law: _RANGE for each in made if each.trained.refused and each.trained.level}
    notes += [f"{law}: {words}" for law, words in far.items()]
    return "\n".join([*lines, *dict.fromkeys(notes)])


_HEAD = ("law", "loss", "same FLOPs best as", "on tokens", "a param", "loss", "its loss needs",
         "pays after serving")  # fmt: skip
_BRACKETS = {
    False: "intervals in brackets, published laws: 90%, from the published standard error of the"
    " exponent a alone; without brackets none is published",
    True: "intervals in brackets, fitted laws: 90%, the same answer under the fit's samples",
}
_NOTES = (
    "params all of a model's, as published; FLOPs 6 x params x tokens; loss in nats per token",
    "its loss needs: FLOPs of the compute-optimal model of the same loss, and its share of those"
    " spent; pays after serving: tokens by which a smaller model's service has paid for its"
    " longer training",
    f"note: {COMPARISON_CAVEAT}",
)
_RANGE = (
    "a range in place of a loss: so far beyond its data the fit supports no figure (see slaw"
    " extrapolate)"
)
_KAPLAN = (
    "note: Kaplan counts params without embeddings, and is given all of them here, which at these"
    " sizes differ little; his split was measured, and is not the minimum of his L(N, D): his loss"
    " there may be the higher one"
)


def _row(each: Retrodiction) -> tuple[str, ...]:
    choice, interval = each.best.choice, each.best.params_interval
    size = format_count(choice.params)
    if interval:
        size += f" [{rounded_count(interval[0], 2)}, {rounded_count(interval[1], 2)}]"
    needs = "-"
    if each.flops_needed is not None:
        share = 100 * each.flops_needed / each.model.flops
        needs = f"{format_count(each.flops_needed)} ({share:.0f}%)"
    served = each.served_to_pay
    return (
        each.law,
        _loss_cell(each.trained),
        size,
        format_count(choice.tokens),
        format_ratio(choice.tokens_per_param),
        _loss_cell(each.best.prediction),
        needs,
        "-" if served is None else rounded_count(served, 2),
    )


def _loss_cell(forecast: Prediction) -> str:
    """A fitted law's figure as ``slaw extrapolate`` tells it: too far out, the range alone."""
    figure, _ = loss_words(forecast)
    return figure.removeprefix("about ")


def format_arrivals(
    made: Sequence[Arrival], target_loss: float, dollars: float, machine: Machine
) -> str:
    """When the budget reaches the loss, by law and scenario."""
    lines = [f"{target_loss:g} nats per token for ${dollars:,.0f} on {machine.device.name}:"]
    lines += [f"  {each.law}: {_arrival_words(each)}" for each in made]
    return "\n".join(
        [
            *lines,
            f"warning: from {PRICES_AS_OF}'s prices on, trends taken as if they went on; laws far"
            " beyond their data, no better data or architectures, one tokenizer's nats. A question"
            " of what would have to hold, not a forecast.",
        ]
    )


def _arrival_words(each: Arrival) -> str:
    if each.flops is None:
        return each.refused
    needed = f"{format_count(each.flops)} FLOPs,"
    ratio = each.flops / each.flops_now
    if ratio <= 1:
        return f"{needed} {100 * ratio:.2g}% of what the money buys today"
    years = ", ".join(
        ("not within a century" if y is None else f"{y:.1f} years") + f" {name}"
        for name, y in each.years.items()
    )
    return f"{needed} {ratio:.2g} times what the money buys today: {years}"


def _ends(forecast: Prediction) -> tuple[float | None, float | None]:
    return forecast.low_nats, forecast.high_nats


def retrodictions_json(made: Sequence[Retrodiction], arrivals: Sequence[Arrival]) -> dict[str, Any]:
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
        for each in made
    ]
    return {
        "models": finite_json(rows),
        "arrivals": finite_json(list(arrivals)),
        "caveat": COMPARISON_CAVEAT,
    }
