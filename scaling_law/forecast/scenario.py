"""How a model will be trained and served, what target that sets, and what the target takes.

``settle`` turns tokens per parameter or tokens served into params, tokens and FLOPs;
``consequences`` says what a target needs: a concrete shape, machine time, money, and what its
distance from the compute-optimal split costs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scaling_law.errors import ConfigError, FitError
from scaling_law.fit.result import FitResult, Prediction
from scaling_law.fit.worlds import Worlds
from scaling_law.forecast.budget import Budget
from scaling_law.forecast.hardware import Hardware, energy_words, training_cost
from scaling_law.forecast.optima import Choice, Loss, inference_aware, over_trained
from scaling_law.forecast.outlook import outlook_of
from scaling_law.forecast.shape import concrete_shape
from scaling_law.forecast.target import Target
from scaling_law.spec.model import Model
from scaling_law.units import format_count, format_dollars, format_seconds


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """How a model will be trained and served; None: no such condition.

    ``tokens_per_param``: the ratio to train at.
    ``tokens_served``: tokens that the model serves over its life.
    ``tokens_unique``: different tokens available; more are repeats.
    ``memory_bytes``: memory that must hold the model.
    ``memory_for``: what must fit, ``train`` or ``serve``.
    """

    tokens_per_param: float | None = None
    tokens_served: float | None = None
    tokens_unique: float | None = None
    memory_bytes: float | None = None
    memory_for: str = "train"

    @property
    def given(self) -> dict[str, float | str]:
        """The conditions that are given, by name."""
        fields = {name: value for name, value in vars(self).items() if value is not None}
        if self.memory_bytes is None:
            del fields["memory_for"]
        return fields


def spend(target: Target, budget: Budget, hardware: Hardware) -> Target:
    """``target`` with the FLOPs that ``budget`` buys on ``hardware``.

    Raises ``ConfigError`` where the target has FLOPs of its own.
    """
    if target.flops is not None:
        raise ConfigError(f"{budget.unit} and flops given: expected one of them")
    return dataclasses.replace(target, flops=budget.in_flops(hardware).amount)


def settle(
    fit: FitResult, target: Target, scenario: Scenario, worlds: Worlds | None = None
) -> tuple[Target, Choice | None]:
    """``target`` as the scenario sets it, and the inference-aware choice where tokens are served.

    The choice is made over ``worlds``, or without them under the law ``fit`` alone. Raises
    ``ConfigError`` for a scenario that contradicts the target, ``FitError`` where there is no
    answer.
    """
    if scenario.memory_bytes is not None:
        raise ConfigError("a memory limit: slaw allocate takes it, a forecast at a target does not")
    if scenario.tokens_served is not None:
        if scenario.tokens_unique is not None:
            raise ConfigError(
                "tokens served and unique tokens given: expected one of them; slaw allocate takes"
                " both"
            )
        if set(target.given) != {"target_loss"}:
            raise ConfigError(
                "tokens served need a target loss, and nothing else: the model that "
                "is cheapest to train and to serve at that loss is chosen"
            )
        loss = _loss_of(fit, worlds)
        choice = inference_aware(loss, target.given["target_loss"], scenario.tokens_served)
        return Target(params=choice.params, tokens=choice.tokens), choice
    if scenario.tokens_per_param is not None:
        return _at_ratio(target, scenario.tokens_per_param), None
    return target, None


def _loss_of(fit: FitResult, worlds: Worlds | None) -> Loss:
    """(params, tokens) -> the point forecast's log loss, all tokens different."""
    outlook = outlook_of(fit, worlds)

    def at(params: float, tokens: float) -> float:
        point = {"params": params, "tokens": tokens, "tokens_unique": tokens}
        return outlook.log_loss(point | {"flops": 6 * params * tokens})

    return at


def _at_ratio(target: Target, ratio: float) -> Target:
    given = target.given
    if set(given) == {"flops"}:
        params = (given["flops"] / 6 / ratio) ** 0.5
        return Target(params=params, tokens=ratio * params)
    if set(given) == {"params"}:
        return Target(params=given["params"], tokens=ratio * given["params"])
    if set(given) == {"tokens"}:
        return Target(params=given["tokens"] / ratio, tokens=given["tokens"])
    raise ConfigError(
        f"tokens per param with {', '.join(given) or 'nothing'}: expected one of params, tokens, "
        "flops or dollars beside it"
    )


def consequences(
    fit: FitResult,
    prediction: Prediction,
    scenario: Scenario,
    choice: Choice | None,
    *,
    worlds: Worlds | None = None,
    hardware: Hardware | None = None,
    template: Model | None = None,
    chosen: bool = False,
) -> dict[str, Any]:
    """``shape``, ``cost``, ``over_training`` and ``serving``, each None where it does not apply.

    ``fit`` and ``worlds`` are what the prediction rests on; ``template`` gives the shape's
    vocabulary and context (None: a large model's). ``chosen``: whether the law chose the size;
    where only a range of it may be quoted, no shape is given.
    """
    decision: dict[str, Any] = dict.fromkeys(("shape", "cost", "over_training", "serving"))
    params, tokens, flops = prediction.params, prediction.tokens, prediction.flops
    if params is not None and not (chosen and prediction.figures_refused):
        decision["shape"] = _shape(params, prediction.convention.get("params", ""), template)
    if flops is not None and hardware is not None:
        decision["cost"] = dataclasses.asdict(
            training_cost(flops, hardware.device, count=hardware.count)
        )
    if flops is not None and tokens is not None and params is not None:
        limited = prediction.tokens_unique is not None
        decision["over_training"] = _over_training(fit, worlds, flops, tokens / params, limited)
    if choice is not None:
        decision["serving"] = {"tokens_served": scenario.tokens_served, **choice.extra}
    return decision


def _shape(params: float, counted: str, template: Model | None) -> dict[str, Any] | None:
    known = counted in ("total", "non_embedding", "matmul")
    try:
        shape = concrete_shape(params, counted if known else "total", template)
    except ConfigError:
        return None
    return {
        **shape,
        "counted": counted if known else "total (assumed)",
        "vocabulary": "the sweep's" if template else "a large model's",
    }


def _over_training(
    fit: FitResult, worlds: Worlds | None, flops: float, ratio: float, limited: bool
) -> dict[str, float] | None:
    """What training at ``ratio`` tokens a parameter costs beside the compute-optimal split."""
    if limited:  # where data repeat the best split is another
        return None
    if not {"params", "tokens"} <= set(fit.law.variables):
        return None
    try:
        choice = over_trained(_loss_of(fit, worlds), flops, ratio)
    except FitError:
        return None
    return {"tokens_per_param": ratio, **choice.extra}


def decision_lines(decision: Mapping[str, Any], *, refused: bool = False) -> list[str]:
    """The consequences for a terminal; ``refused``: without what rests on the law's own figure."""
    lines = []
    if shape := decision["shape"]:
        counted = shape["counted"].replace("_", "-")
        lines.append(
            f"a shape of that size: {shape['text']} ({shape['vocabulary']} vocabulary"
            f" {shape['vocab_size']:,} and context {shape['n_ctx']:,}; params counted: {counted})"
        )
    over = decision["over_training"]
    if over and over["compute_ratio"] > 1.005 and not refused:
        lines.append(
            f"{over['tokens_per_param']:.3g} tokens per param is not the compute-optimal split:"
            f" the same loss is possible for {100 / over['compute_ratio']:.0f}% of these FLOPs"
        )
    if serving := decision["serving"]:
        lines.append(
            f"serving {format_count(serving['tokens_served'])} tokens: training and serving take"
            f" {format_count(serving['total_flops'])} FLOPs, {100 * serving['saving']:.2g}% less"
            f" than with the compute-optimal {format_count(serving['compute_optimal_params'])}"
            " params"
        )
    if cost := decision["cost"]:
        money = "no price" if cost["dollars"] is None else format_dollars(cost["dollars"])
        energy = ""
        if cost["energy_kwh"] is not None:
            energy = f", {energy_words(cost['energy_kwh'], cost['gpu_hours'], cost['pue'])}"
        several = f"{cost['count']} " if cost["count"] > 1 else ""
        days = f", {format_seconds(cost['days'] * 86400)}" if several else ""
        lines.append(
            f"on {several}{cost['accelerator']} ({cost['dtype']},"
            f" {100 * cost['utilisation']:.0f}% of peak):"
            f" {format_count(cost['gpu_hours'])} device-hours{days}, {money}{energy}"
        )
    return lines
