"""What to train for a budget: the answer of ``slaw allocate`` under one law.

The closed form of the law's surface answers the plain question; service, repeated data and a
memory that must hold the model are answered by search (``forecast.optima``).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from scaling_law.errors import ConfigError, FitError
from scaling_law.fit.laws import load_law
from scaling_law.fit.result import FitResult, Prediction
from scaling_law.fit.solver.interval import count_interval
from scaling_law.fit.surface import Surface, surface_of
from scaling_law.forecast import optima
from scaling_law.forecast.extrapolate import extrapolate
from scaling_law.forecast.hardware import (
    Accelerator,
    Cost,
    accelerator,
    flops_for_dollars,
    training_cost,
)
from scaling_law.forecast.optima import Choice, Loss
from scaling_law.forecast.published import exponent_error, law_name
from scaling_law.forecast.repeats import Repeats, repeats_under
from scaling_law.forecast.session import FoundLaw
from scaling_law.forecast.target import DEFAULT_GPU
from scaling_law.forecast.training_setup import Recipe, largest_that_fits, make_recipe
from scaling_law.spec.hyperparams import load_rule
from scaling_law.spec.run import Model
from scaling_law.units import format_bytes, format_count

SMALLER = (1.0, 0.5, 0.25, 0.125)
_SEARCHED_DRAWS = 60  # samples that a search is made for; the closed form takes all


@dataclass(frozen=True, kw_only=True)
class Machine:
    """``count`` devices of the kind ``gpu`` (None: ``DEFAULT_GPU``), with the user's own price in
    US dollars a device-hour and utilisation (share of the peak), where given."""

    gpu: str | None = None
    count: int = 1
    price: float | None = None
    utilisation: float | None = None

    @property
    def device(self) -> Accelerator:
        """Raises ``ConfigError`` for a device or a figure that cannot be."""
        name = self.gpu or DEFAULT_GPU
        return accelerator(name, utilisation=self.utilisation, dollars_per_hour=self.price)

    @property
    def memory_bytes(self) -> int:
        """Of all the devices together."""
        return self.count * self.device.memory_bytes


@dataclass(frozen=True, kw_only=True)
class Question:
    """One of ``flops``, ``target_loss`` (nats per token) and ``dollars``, and what limits the
    answer: ``tokens_served`` over the model's life, ``tokens_unique`` at hand, ``memory_bytes``
    that must hold the model to ``memory_for`` it: to ``train`` or to ``serve``.
    """

    flops: float | None = None
    target_loss: float | None = None
    dollars: float | None = None
    tokens_served: float | None = None
    tokens_unique: float | None = None
    memory_bytes: float | None = None
    memory_for: str = "train"

    def __post_init__(self) -> None:
        given = [n for n in ("flops", "target_loss", "dollars") if getattr(self, n) is not None]
        if len(given) != 1:
            words = " and ".join(given).replace("_", " ") or "no budget"
            raise ConfigError(f"{words} given: expected one of --flops, --target-loss, --dollars")

    @property
    def plain(self) -> bool:
        """Whether the law's own compute-optimal split answers it."""
        return self.tokens_served is None and self.tokens_unique is None


@dataclass(frozen=True, kw_only=True)
class Allocated:
    """The answer. ``choice`` is what to train; ``prediction`` its loss with interval and distance
    from the data; ``params_interval``, ``tokens_interval`` and ``flops_interval`` at the
    prediction's level, by ``interval_method``, None where there is none; ``plain`` the
    compute-optimal answer without service, repeats and cap; ``smaller`` what smaller models of
    the same loss cost; ``epochs`` over the unique tokens; ``most_params`` that the memory holds.
    """

    found: FoundLaw
    question: Question
    choice: Choice
    plain: Choice
    prediction: Prediction
    params_interval: tuple[float, float] | None
    tokens_interval: tuple[float, float] | None
    interval_method: str
    smaller: tuple[dict[str, float | None], ...]
    recipe: Recipe | None
    machine: Machine
    cost: Cost
    epochs: float | None
    most_params: float | None
    warnings: tuple[str, ...] = field(default=())


def allocate(
    found: FoundLaw,
    question: Question,
    machine: Machine | None = None,
    *,
    template: Model | None = None,
    rule: str | None = None,
    level: float = 0.9,
) -> Allocated:
    """Parameters, tokens and what they take, for a budget under one law.

    ``template`` gives the shape's vocabulary and context. Raises ``FitError`` where the law or
    the budget cannot answer, ``ConfigError`` for what cannot be read.
    """
    machine = machine or Machine()
    _refuse_single(found.fit)
    priced = _priced(question, machine)
    beside: dict[str, Any] = {"level": level, **beside_results(found)}
    base = extrapolate(found.fit, flops=priced.flops, target_loss=priced.target_loss, **beside)
    solver = _Solver(found.fit, priced)
    plain = solver.at(base.params, base.tokens, "compute_optimal")
    _refuse_tiny(plain)
    most = _most_params(priced, base, template)
    choice = solver.answer(plain, most)
    optimal = choice.kind == "compute_optimal"  # base then has more than a prediction at a point
    prediction = base if optimal else solver.predict(found, choice, level)
    params, tokens, method = solver.intervals(choice, level)
    recipe, trouble = _recipe(found, choice, base, template, rule)
    return Allocated(
        found=found,
        question=question,
        choice=choice,
        plain=plain,
        prediction=prediction,
        params_interval=params,
        tokens_interval=tokens,
        interval_method=method,
        smaller=solver.smaller(choice),
        recipe=recipe,
        machine=machine,
        cost=training_cost(choice.flops, machine.device, count=machine.count),
        epochs=None if priced.tokens_unique is None else choice.tokens / priced.tokens_unique,
        most_params=most,
        warnings=(
            *prediction.warnings,
            *solver.doubts(choice),
            *trouble + _service_doubts(question),
            *_recipe_doubts(recipe, machine),
        ),
    )


def _refuse_single(fit: FitResult) -> None:
    if not {"params", "tokens"} <= set(load_law(fit.law).variables):
        raise FitError(
            f"law {law_name(fit)} is not one of params and tokens: it has no best split; take"
            " another with --law"
        )


def _priced(question: Question, machine: Machine) -> Question:
    """The question in FLOPs where it came in dollars."""
    if question.dollars is None:
        return question
    flops = flops_for_dollars(question.dollars, machine.device)
    return dataclasses.replace(question, dollars=None, flops=flops)


def _refuse_tiny(plain: Choice) -> None:
    if min(plain.params, plain.tokens) < 1:
        raise FitError(
            f"{format_count(plain.flops)} FLOPs would be {plain.params:.2g} params on"
            f" {plain.tokens:.2g} tokens: there is no such model; give a larger budget"
        )


def beside_results(found: FoundLaw) -> dict[str, Any]:
    """What a sweep's other laws and repeats add to a prediction, as ``extrapolate`` takes it."""
    if found.known is None:
        return {}
    return {
        "alternatives": [law for law in found.known.laws.values() if law is not found.fit],
        "seed_noise_log": found.known.seed_noise_log,
        "trust_flops_factor": found.known.trust_flops_factor,
    }


def _most_params(question: Question, base: Prediction, template: Model | None) -> float | None:
    if question.memory_bytes is None:
        return None
    counted = base.convention.get("params", "")
    return largest_that_fits(question.memory_bytes, question.memory_for, counted, template)


def _recipe(
    found: FoundLaw, choice: Choice, base: Prediction, template: Model | None, rule: str | None
) -> tuple[Recipe | None, list[str]]:
    counted = base.convention.get("params", "")
    if rule is not None:
        load_rule(rule)  # an unknown one is no matter of shapes
    try:
        made = make_recipe(choice.params, choice.tokens, counted, template=template, rule=rule)
    except ConfigError as problem:
        return None, [f"no concrete shape: {problem}"]
    return made, _template_doubts(found, template, made)


def _template_doubts(found: FoundLaw, template: Model | None, recipe: Recipe) -> list[str]:
    if template is not None or found.known is None:
        return []
    model = recipe.model
    return [
        f"the results do not say their vocabulary and context: {model.vocab_size:,} and"
        f" {model.n_ctx:,} are taken for the shape"
    ]


def _service_doubts(question: Question) -> list[str]:
    if question.dollars is None or question.tokens_served is None:
        return []
    return ["the dollars pay for serving at the price and the utilisation of training"]


def _recipe_doubts(recipe: Recipe | None, machine: Machine) -> list[str]:
    if recipe is None:
        return []
    memory = machine.device.memory_bytes
    needed = math.ceil(recipe.train_bytes / memory)
    if needed <= machine.count:
        return recipe.doubts
    return [
        *recipe.doubts,
        f"training takes {format_bytes(recipe.train_bytes)} at least: {needed} devices of"
        f" {format_bytes(memory)}, and {machine.count} given (--gpu-count)",
    ]


class _Solver:
    """Answers one question under one law, and again under each of its samples."""

    def __init__(self, fit: FitResult, question: Question) -> None:
        self.fit, self.question = fit, question
        surface = surface_of(fit.law, fit.params)
        assert surface is not None, "the caller checks the law's variables"
        self.surface = surface
        self.repeats = _repeats(fit.params, surface, question)
        self.loss = self.repeats.on(surface.log_loss) if self.repeats else surface.log_loss
        # Kaplan's split was measured, and is not the minimum of the joint law
        self.measured_split = fit.n_points == 0 and fit.law == "kaplan_nd"

    def at(self, params: float | None, tokens: float | None, kind: str) -> Choice:
        """A choice at a point of the law itself, nothing repeated."""
        assert params is not None and tokens is not None, "a law of both has both"
        loss = self.surface.log_loss(params, tokens)
        return Choice(
            params=params,
            tokens=tokens,
            flops=6 * params * tokens,
            loss_nats=math.exp(loss),
            tokens_per_param=tokens / params,
            kind=kind,
        )

    def answer(self, plain: Choice, most: float | None) -> Choice:
        """``plain`` where nothing forbids it, else the best that is allowed."""
        choice = plain if self.question.plain else self._searched(self.loss)
        if self.repeats and self.question.tokens_served is None:
            choice = dataclasses.replace(choice, kind="data_limited")
        if most is None or choice.params <= most:
            return choice
        return dataclasses.replace(self._capped(self.loss, most), kind="memory_limited")

    def _searched(self, loss: Loss) -> Choice:
        try:
            return self._search(loss)
        except FitError as problem:
            if self.repeats is None:
                raise
            unique = format_count(self.repeats.unique)
            raise FitError(f"{problem}; with {unique} different tokens") from None

    def _search(self, loss: Loss) -> Choice:
        asked = self.question
        if asked.target_loss is not None:
            if asked.tokens_served is not None:
                return optima.inference_aware(loss, asked.target_loss, asked.tokens_served)
            return optima.cheapest_for_loss(loss, asked.target_loss)
        assert asked.flops is not None, "the caller turns dollars into FLOPs"
        if asked.tokens_served is not None:
            return optima.lifetime_optimal(loss, asked.flops, asked.tokens_served)
        return optima.compute_optimal(loss, asked.flops)

    def _capped(self, loss: Loss, most: float) -> Choice:
        asked = self.question
        if asked.target_loss is not None:
            choice = optima.at_size_for_loss(loss, most, asked.target_loss)
        else:
            assert asked.flops is not None, "the caller turns dollars into FLOPs"
            spent = 2 * most * (asked.tokens_served or 0.0)
            if spent >= asked.flops:
                raise FitError(f"{asked.flops:.3g} FLOPs do not pay for serving alone")
            choice = optima.at_size(loss, most, asked.flops - spent)
        if asked.tokens_served is None:
            return choice
        inference = 2 * choice.params * asked.tokens_served
        extra = {"inference_flops": inference, "total_flops": choice.flops + inference}
        return dataclasses.replace(choice, extra=extra)

    def predict(self, found: FoundLaw, choice: Choice, level: float) -> Prediction:
        """The loss of ``choice`` with its interval, repeats taken at their worth."""
        beside: dict[str, Any] = {"level": level, **beside_results(found)}
        return extrapolate(
            found.fit,
            params=choice.params,
            tokens=choice.tokens,
            tokens_unique=self.question.tokens_unique,
            **beside,
        )

    def intervals(
        self, choice: Choice, level: float
    ) -> tuple[tuple[float, float] | None, tuple[float, float] | None, str]:
        """(of params, of tokens, how they were made)."""
        if not self.fit.samples:
            return None, None, _published_error(self.fit)
        if choice.kind == "memory_limited":
            return None, None, "none: the memory decides the size, not the law"
        draws = self._draws(choice)
        params = count_interval(self.fit, choice.params, [d[0] for d in draws], level=level)
        tokens = count_interval(self.fit, choice.tokens, [d[1] for d in draws], level=level)
        if params is None or tokens is None:
            return None, None, "none: too many of the fit's samples have no such answer"
        return params, tokens, f"the same answer under {len(draws)} samples of the fit"

    def _draws(self, choice: Choice) -> list[tuple[float, float]]:
        """(params, tokens) under each sample; none where a tenth of them have no answer."""
        names, found = tuple(self.fit.params), []
        samples = self.fit.samples
        if choice.kind != "compute_optimal" or self.question.target_loss is not None:
            samples = samples[:_SEARCHED_DRAWS]
        for values in samples:
            params = dict(zip(names, values, strict=True))
            try:
                found.append(self._under(params))
            except (FitError, OverflowError, ValueError):
                continue
        return found if len(found) >= 0.9 * len(samples) else []

    def _under(self, params: Mapping[str, float]) -> tuple[float, float]:
        surface = surface_of(self.fit.law, params)
        if surface is None or surface.allocation is None:
            raise FitError("no split")
        if self.question.plain and self.question.flops is not None:
            split = surface.allocation
            return split.params(self.question.flops), split.tokens(self.question.flops)
        repeats = _repeats(params, surface, self.question)
        loss = repeats.on(surface.log_loss) if repeats else surface.log_loss
        made = self._searched(loss)
        return made.params, made.tokens

    def smaller(self, choice: Choice) -> tuple[dict[str, float | None], ...]:
        """What models of ``SMALLER`` shares of the cheapest size of this loss cost to train."""
        if self.measured_split or choice.kind == "memory_limited":
            return ()
        try:
            flops = choice.flops
            if choice.kind not in ("compute_optimal", "data_limited"):
                flops = optima.cheapest_for_loss(self.loss, choice.loss_nats).flops
            return tuple(optima.size_cost_curve(self.loss, flops, SMALLER))
        except FitError:
            return ()

    def doubts(self, choice: Choice) -> list[str]:
        """What a reader should know of this law and this question together."""
        found = []
        if self.measured_split:
            found.append(
                "Kaplan's split was measured, and is not the minimum of his L(N, D)"
                + ("" if choice.kind == "compute_optimal" else ", which this answer is")
            )
        return found


def _published_error(fit: FitResult) -> str:
    """Why a law without samples gives no interval, and what of its error is known.

    The error of the exponent a alone does not make an interval: amid the data the split's
    uncertainty is all in its other parameter, whose error and covariance with a no paper states.
    """
    if fit.n_points:
        return "none: the fit has no bootstrap samples"
    error = exponent_error(fit)
    if error is None:
        return "none: no errors of this law's parameters are known"
    return (
        "none: of the split's error only that of a in params ~ flops^a was published:"
        f" {fit.optimum['a']:.3f} +- {error:.3f} (one standard error)"
    )


def _repeats(params: Mapping[str, float], surface: Surface, question: Question) -> Repeats | None:
    if question.tokens_unique is None:
        return None
    return repeats_under(params, surface, question.tokens_unique)


def compare(
    laws: list[FoundLaw], ask: Callable[[FoundLaw], Allocated]
) -> tuple[list[Allocated], list[str]]:
    """The answers of several laws, and why others have none; all without: the first's error."""
    made, refused, first = [], [], None
    for found in laws:
        try:
            made.append(ask(found))
        except FitError as problem:
            first = first or problem
            refused.append(f"{found.origin}: {problem}")
    if first is not None and not made:
        raise first
    return made, refused
