"""Chooses what to train for a budget: the answer of ``slaw allocate``.

The outlook's own split answers the plain question; a search (``forecast.optima``) answers with
service, repeated data and a memory that must hold the model.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from scaling_law.errors import ConfigError, FitError
from scaling_law.fit.flops_count import FlopsCount
from scaling_law.fit.laws.law import Floats
from scaling_law.fit.numerics import numerical_failures
from scaling_law.fit.result import FitResult, Prediction
from scaling_law.forecast import optima
from scaling_law.forecast.budget import Budget
from scaling_law.forecast.extrapolate import counted_as, extrapolate
from scaling_law.forecast.hardware import Cost, Hardware, training_cost
from scaling_law.forecast.optima import Choice, Loss, choice_at
from scaling_law.forecast.outlook import outlook_of
from scaling_law.forecast.published import exponent_error, law_name
from scaling_law.forecast.scenario import Scenario
from scaling_law.forecast.session import SourcedLaw
from scaling_law.forecast.target import Target
from scaling_law.forecast.training_setup import (
    TRAINING_PRECISION,
    TrainingSetup,
    largest_that_fits,
    training_setup,
)
from scaling_law.spec.hyperparams import load_rule
from scaling_law.spec.model import Model
from scaling_law.spec.sharding import Layout, layout_on, smallest_layouts
from scaling_law.units import format_bytes, format_count, is_determined

SMALLER = (1.0, 0.5, 0.25, 0.125)
_SEARCHED_DRAWS = 60  # ways that a search is made for; the closed form takes all
_MOST_ANSWERED = 0.9  # share of the samples that must have an answer
Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class AllocationAnswer:
    """What to train under one law or over several, and what that takes.

    ``source``: the law or laws.
    ``asked``: the budget, or the target loss to reach as cheaply as possible.
    ``scenario``: service, repeated data and memory.
    ``choice``: the model to train.
    ``plain``: the compute-optimal model, without service, repeats and memory limit.
    ``prediction``: the choice's loss with its interval and its distance from the data.
    ``params_interval``: of the choice's params at the prediction's level; None where there is none.
    ``tokens_interval``: of the choice's tokens, likewise.
    ``interval_method``: how they were made, or why there are none.
    ``smaller``: what smaller models of the same loss cost.
    ``setup``: shape, batch and learning rate; None where no shape has that size, or where only a
        range of sizes may be quoted.
    ``end_setups``: those of the two ends of such a range; empty elsewhere.
    ``hardware``: the devices.
    ``cost``: what training takes on them.
    ``layout``: how the model lies on its devices; None where no shape has that size, or nothing
        fits.
    ``other_layout``: the fewest devices by tensor parallel and a pipeline instead; None where the
        first is one device, or the given ones.
    ``epochs``: passes over the unique tokens; None where they were not given.
    ``most_params``: the most parameters that the memory holds; None without a limit.
    ``warnings``: what a reader should know.
    """

    source: SourcedLaw
    asked: Budget | Target
    scenario: Scenario
    choice: Choice
    plain: Choice
    prediction: Prediction
    params_interval: Interval | None
    tokens_interval: Interval | None
    interval_method: str
    smaller: tuple[dict[str, float | None], ...]
    setup: TrainingSetup | None
    hardware: Hardware
    cost: Cost
    end_setups: tuple[TrainingSetup, ...] = ()
    layout: Layout | None
    other_layout: Layout | None
    epochs: float | None
    most_params: float | None
    warnings: tuple[str, ...] = field(default=())

    @property
    def of_a_loss(self) -> bool:
        """Whether a target loss was asked for: the FLOPs are then the law's estimate."""
        return isinstance(self.asked, Target)

    @property
    def only_ranges(self) -> bool:
        """Whether the answer lies so far beyond the law's data that only ranges may be quoted."""
        return _only_ranges(self.prediction)

    @property
    def is_decided(self) -> bool:
        """Whether a budget, which is exact, fixes the tokens of the size that the memory holds."""
        return _is_decided(self.asked, self.scenario, self.choice)


def _only_ranges(prediction: Prediction) -> bool:
    return bool(prediction.refused) and prediction.level is not None


def _is_decided(asked: Budget | Target, scenario: Scenario, choice: Choice) -> bool:
    limited = choice.kind == "memory_limited" and scenario.tokens_served is None
    return limited and not isinstance(asked, Target)


def budget_or_loss(
    *,
    flops: float | None = None,
    target_loss: float | None = None,
    dollars: float | None = None,
) -> Budget | Target:
    """The budget, or the target loss, that was given.

    Raises ``ConfigError`` unless exactly one was.
    """
    every = {"flops": flops, "target_loss": target_loss, "dollars": dollars}
    given = {name: value for name, value in every.items() if value is not None}
    if len(given) != 1:
        words = " and ".join(given).replace("_", " ") or "no budget"
        raise ConfigError(f"{words} given: expected one of --flops, --target-loss, --dollars")
    (name, value), *_ = given.items()
    if name == "target_loss":
        return Target(target_loss=value)
    return Budget(unit=name, amount=value)


@numerical_failures()
def allocate(
    source: SourcedLaw,
    asked: Budget | Target,
    hardware: Hardware | None = None,
    scenario: Scenario | None = None,
    *,
    template: Model | None = None,
    rule: str | None = None,
    level: float = 0.9,
) -> AllocationAnswer:
    """Parameters, tokens and what they take, for a budget or a target loss.

    ``template`` gives the shape's vocabulary and context. Raises ``FitError`` where the law or
    the budget cannot answer, ``ConfigError`` for input that cannot be read.
    """
    hardware, scenario = hardware or Hardware(), scenario or Scenario()
    if scenario.tokens_per_param is not None:
        raise ConfigError(
            "tokens per param: allocate chooses the ratio; slaw extrapolate takes one"
        )
    _refuse_single(source.fit)
    goal = _goal(asked, hardware)
    base = extrapolate(source.fit, goal, level=level, **source.beside)
    count = counted_as(source.fit)
    if base.params is not None and base.tokens is not None and goal.flops is not None:
        goal = Target(flops=6 * base.params * base.tokens)  # what the search spends
    solver = _Solver(source, goal, scenario)
    plain = solver.at(base.params, base.tokens, "compute_optimal")
    _refuse_tiny(plain)
    most = _most_params(scenario, base, template)
    choice = solver.answer(plain, most)
    optimal = choice.kind == "compute_optimal"  # base then has more than a prediction at a point
    prediction = base if optimal else solver.predict(source, choice, level)
    params, tokens, method = solver.intervals(choice, level)
    is_range = _only_ranges(prediction) and not _is_decided(asked, scenario, choice)
    sizes = _ends(asked, params, tokens) if is_range else [(choice.params, choice.tokens)]
    made, trouble = _setups(source, sizes, base, template, rule)
    setup = made[0] if made and not is_range else None
    ends = made if is_range else ()
    unique = scenario.tokens_unique
    smaller = solver.smaller(choice)
    doubts = solver.doubts(choice)
    choice, plain = _counted_choice(choice, plain, count), _counted_choice(plain, plain, count)
    cost = training_cost(choice.flops, hardware.device, count=hardware.count)
    layout, other = _layouts(setup, hardware)
    return AllocationAnswer(
        source=source,
        asked=asked,
        scenario=scenario,
        choice=choice,
        plain=plain,
        prediction=prediction,
        params_interval=params,
        tokens_interval=tokens,
        interval_method=method,
        smaller=tuple(_counted_row(row, count) for row in smaller),
        setup=setup,
        end_setups=ends,
        hardware=hardware,
        cost=cost,
        layout=layout,
        other_layout=other,
        epochs=None if unique is None else choice.tokens / unique,
        most_params=most,
        warnings=(
            *prediction.warnings,
            *doubts,
            *trouble,
            *_service_doubts(asked, scenario),
            *_setup_doubts(setup, hardware, layout),
            *dict.fromkeys(doubt for end in ends for doubt in end.doubts),
        ),
    )


def _counted_choice(choice: Choice, plain: Choice, count: FlopsCount) -> Choice:
    """A choice with its training FLOPs as the law's points count them."""
    further = choice.flops * (count.factor(choice.params) - 1)
    of_plain = plain.flops * (count.factor(plain.params) - 1)
    added = {"total_flops": further, "compute_optimal_total_flops": of_plain}
    extra = {
        name: value + added.get(name, 0.0) if isinstance(value, float) else value
        for name, value in choice.extra.items()
    }
    return dataclasses.replace(choice, flops=choice.flops + further, extra=extra)


def _counted_row(row: dict[str, float | None], count: FlopsCount) -> dict[str, float | None]:
    """A smaller model of the same loss, likewise."""
    params, flops = row.get("params"), row.get("flops")
    if params is None or flops is None:
        return row
    return {**row, "flops": flops * count.factor(params)}


def _goal(asked: Budget | Target, hardware: Hardware) -> Target:
    """What was asked as a target: the FLOPs of a budget, or the loss."""
    if isinstance(asked, Budget):
        return Target(flops=asked.in_flops(hardware).amount)
    assert set(asked.given) == {"target_loss"}, asked
    return asked


def _refuse_single(fit: FitResult) -> None:
    if not {"params", "tokens"} <= set(fit.law.variables):
        raise FitError(
            f"law {law_name(fit)} is not one of params and tokens: it has no best split; take"
            " another with --law"
        )


def _refuse_tiny(plain: Choice) -> None:
    if min(plain.params, plain.tokens) < 1:
        raise FitError(
            f"{format_count(plain.flops)} FLOPs would be {plain.params:.2g} params on"
            f" {plain.tokens:.2g} tokens: there is no such model; give a larger budget"
        )


def _most_params(scenario: Scenario, base: Prediction, template: Model | None) -> float | None:
    if scenario.memory_bytes is None:
        return None
    counted = base.convention.get("params", "")
    return largest_that_fits(scenario.memory_bytes, scenario.memory_for, counted, template)


def _ends(
    asked: Budget | Target, params: Interval | None, tokens: Interval | None
) -> list[tuple[float, float]]:
    """(params, tokens) at the ends of the intervals, the smaller size first; none without them.

    A budget pays for the fewest tokens at the largest size; a loss that is lower than expected
    takes more of both.
    """
    if not params or not tokens or not (is_determined(*params) and is_determined(*tokens)):
        return []
    return list(zip(params, tokens if isinstance(asked, Target) else tokens[::-1], strict=True))


def _setups(
    source: SourcedLaw,
    sizes: Sequence[tuple[float, float]],
    base: Prediction,
    template: Model | None,
    rule: str | None,
) -> tuple[tuple[TrainingSetup, ...], list[str]]:
    """The setup of each (params, tokens), and what a reader should know; none without a shape."""
    counted = base.convention.get("params", "")
    if rule is not None:
        load_rule(rule)  # an unknown one is no matter of shapes
    try:
        setups = tuple(
            training_setup(params, tokens, counted, template=template, rule=rule, own=source.optim)
            for params, tokens in sizes
        )
    except ConfigError as problem:
        return (), [f"no concrete shape: {problem}"]
    if template is not None or source.known is None or not setups:
        return setups, []
    model = setups[0].model
    return setups, [
        f"the results do not say their vocabulary and context: {model.vocab_size:,} and"
        f" {model.n_ctx:,} are taken for the shape"
    ]


def _service_doubts(asked: Budget | Target, scenario: Scenario) -> list[str]:
    in_dollars = isinstance(asked, Budget) and asked.unit == "dollars"
    if not in_dollars or scenario.tokens_served is None:
        return []
    return ["the dollars pay for serving at the price and the utilisation of training"]


def _layouts(
    setup: TrainingSetup | None, hardware: Hardware
) -> tuple[Layout | None, Layout | None]:
    """The layout on the given devices or, where they are too few, on the fewest that suffice."""
    if setup is None:
        return None, None
    memory, seqs = hardware.device.memory_bytes, setup.batch_tokens // setup.model.n_ctx
    given = layout_on(setup.model, TRAINING_PRECISION, memory, seqs, hardware.count)
    if given is not None:
        return given, None
    layouts = smallest_layouts(setup.model, TRAINING_PRECISION, memory, seqs)
    first, second, *_ = *layouts, None, None
    return first, second


def _setup_doubts(
    setup: TrainingSetup | None, hardware: Hardware, layout: Layout | None
) -> list[str]:
    if setup is None:
        return []
    memory = hardware.device.memory_bytes
    least = f"training takes {format_bytes(setup.train_bytes)} at least"
    given = f"{hardware.count} given (--gpu-count)"
    if layout is None:
        words = (
            f"{least}: neither ZeRO-3 nor tensor parallel, a pipeline and ZeRO-1 together bring it"
            f" onto devices of {format_bytes(memory)}"
        )
    elif layout.devices > hardware.count:
        words = f"{least}: {layout.devices} devices of {format_bytes(memory)}, and {given}"
    elif layout.devices < hardware.count:
        seqs = setup.batch_tokens // setup.model.n_ctx
        why = "data parallel alone does not fit"
        if seqs % hardware.count:
            why = f"they cannot share a batch of {seqs} sequences evenly"
        words = (
            f"no layout was found for the {given}, because {why}: the layout is of"
            f" {layout.devices}, the time is that of {hardware.count}"
        )
    else:
        return setup.doubts
    return [*setup.doubts, words]


class _Solver:
    """Answers one question under the point forecast, and again in each way that it may be wrong."""

    def __init__(self, source: SourcedLaw, goal: Target, scenario: Scenario) -> None:
        fit = self.fit = source.fit
        self.scenario = scenario
        self.flops, self.target_loss = goal.flops, goal.target_loss
        self.outlook = outlook_of(fit, source.worlds)
        unique = scenario.tokens_unique
        self.repeats = None if unique is None else self.outlook.repeats(unique)
        plain = self.outlook.loss_at
        self.loss = self.repeats.on(plain) if self.repeats else plain
        # Kaplan's split was measured, and is not the minimum of the joint law
        self.measured_split = fit.n_points == 0 and fit.law.name == "kaplan_nd"

    @property
    def plain(self) -> bool:
        """Whether the law's own compute-optimal split is the answer, but for the memory."""
        return self.scenario.tokens_served is None and self.scenario.tokens_unique is None

    def at(self, params: float | None, tokens: float | None, kind: str) -> Choice:
        """A choice at a point of the forecast itself, with nothing repeated."""
        assert params is not None and tokens is not None, "a law of both has both"
        return choice_at(params, tokens, self.outlook.loss_at(params, tokens), kind)

    def answer(self, plain: Choice, most: float | None) -> Choice:
        """``plain`` where nothing forbids it, else the best that is allowed."""
        choice = plain if self.plain else self._searched(self.loss)
        if self.repeats and self.scenario.tokens_served is None:
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
        served = self.scenario.tokens_served
        if self.target_loss is not None:
            if served is not None:
                return optima.inference_aware(loss, self.target_loss, served)
            return optima.cheapest_for_loss(loss, self.target_loss)
        assert self.flops is not None, "a budget is in FLOPs here"
        if served is not None:
            return optima.lifetime_optimal(loss, self.flops, served)
        return optima.compute_optimal(loss, self.flops)

    def _capped(self, loss: Loss, most: float) -> Choice:
        served = self.scenario.tokens_served
        if self.target_loss is not None:
            choice = optima.at_size_for_loss(loss, most, self.target_loss)
        else:
            assert self.flops is not None, "a budget is in FLOPs here"
            spent = 2 * most * (served or 0.0)
            if spent >= self.flops:
                raise FitError(f"{self.flops:.3g} FLOPs do not pay for serving alone")
            choice = optima.at_size(loss, most, self.flops - spent)
        if served is None:
            return choice
        inference = 2 * choice.params * served
        extra = {"inference_flops": inference, "total_flops": choice.flops + inference}
        return dataclasses.replace(choice, extra=extra)

    def predict(self, source: SourcedLaw, choice: Choice, level: float) -> Prediction:
        """The loss of ``choice`` with its interval, repeats at their worth."""
        return extrapolate(
            source.fit,
            Target(params=choice.params, tokens=choice.tokens),
            tokens_unique=self.scenario.tokens_unique,
            level=level,
            **source.beside,
        )

    def intervals(
        self, choice: Choice, level: float
    ) -> tuple[Interval | None, Interval | None, str]:
        """(of params, of tokens, how they were made)."""
        if not self.fit.samples:
            return None, None, _published_error(self.fit)
        if choice.kind == "memory_limited":
            return None, None, "none: the memory decides the size, not the law"
        logs = self._answers()
        refused = f"none: too few of the {self.outlook.ways} have such an answer"
        if logs is None:
            return None, None, refused
        params, tokens = (
            self.outlook.ends(centre, own, level, drawn=not self.plain)
            for centre, own in zip((choice.params, choice.tokens), logs, strict=True)
        )
        if params is None or tokens is None:
            return None, None, refused
        return params, tokens, f"the same answer under {len(logs[0])} {self.outlook.ways}"

    def _answers(self) -> tuple[Floats, Floats] | None:
        """(log params, log tokens) of the same answer in each way that the loss may continue.

        None where a tenth of them or more have none.
        """
        if self.plain:
            return self.outlook.own_splits(self.flops, self.target_loss)
        answers = []
        for loss in self.outlook.drawn(_SEARCHED_DRAWS, self.scenario.tokens_unique):
            with contextlib.suppress(FitError, OverflowError, ValueError):
                answers.append(self._searched(loss))
        if len(answers) < _MOST_ANSWERED * _SEARCHED_DRAWS:
            return None
        params, tokens = ([getattr(one, name) for one in answers] for name in ("params", "tokens"))
        return np.log(params), np.log(tokens)

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
        """What a reader should know about this law and this question together."""
        if not self.measured_split:
            return []
        words = "Kaplan's split was measured, and is not the minimum of his L(N, D)"
        return [words if choice.kind == "compute_optimal" else f"{words}, which this answer is"]


def _published_error(fit: FitResult) -> str:
    """What is known of the error of a law without samples; "" for nothing.

    The error of the exponent a alone does not make an interval: within the data the split's
    uncertainty is all in its other parameter, and no paper states that error and its covariance
    with a.
    """
    if fit.n_points:
        return ""
    error = exponent_error(fit)
    if error is None or fit.optimum is None:
        return ""
    return (
        "of the split's error only that of a in params ~ flops^a was published:"
        f" {fit.optimum.exponent:.3f} +- {error:.3f} (one standard error)"
    )


def compare(
    laws: Sequence[SourcedLaw], ask: Callable[[SourcedLaw], AllocationAnswer]
) -> tuple[list[AllocationAnswer], list[str]]:
    """The answers of several laws, and why the others have none.

    Raises the first law's ``FitError`` where none has an answer.
    """
    answers, refused, first = [], [], None
    for source in laws:
        try:
            answers.append(ask(source))
        except FitError as problem:
            first = first or problem
            refused.append(f"{source.origin}: {problem}")
    if first is not None and not answers:
        raise first
    return answers, refused
