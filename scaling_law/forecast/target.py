"""From what is to be decided (a budget, a service, a ratio) to a target, and what it takes.

``settle`` turns dollars, tokens per parameter or tokens served into params, tokens and FLOPs;
``consequences`` says what a target needs: a concrete shape, machine time, money, and what its
distance from the compute-optimal split costs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scaling_law.errors import ConfigError, FitError
from scaling_law.fit.laws import load_law
from scaling_law.fit.result import FitResult, Prediction
from scaling_law.fit.solver.interval import log_loss
from scaling_law.forecast.hardware import (
    Accelerator,
    accelerator,
    energy_words,
    flops_for_dollars,
    training_cost,
)
from scaling_law.forecast.optima import Choice, Loss, inference_aware, over_trained
from scaling_law.forecast.shape import concrete_shape
from scaling_law.spec.run import Model
from scaling_law.units import format_count, format_dollars

DEFAULT_GPU = "H100"


@dataclass(frozen=True, kw_only=True)
class Wish:
    """Beyond a plain target: ``dollars`` to spend on ``gpu`` (at ``gpu_price`` US dollars an
    hour and ``utilisation``), ``tokens_per_param`` to train at, ``tokens_served`` over the
    model's life, ``tokens_unique`` at hand. None: not asked for.
    """

    dollars: float | None = None
    gpu: str | None = None
    gpu_price: float | None = None
    utilisation: float | None = None
    tokens_per_param: float | None = None
    tokens_served: float | None = None
    tokens_unique: float | None = None

    def __post_init__(self) -> None:
        own = {"gpu price": self.gpu_price, "mfu": self.utilisation}
        if self.gpu is None and self.dollars is None and any(x is not None for x in own.values()):
            named = " and ".join(name for name, value in own.items() if value is not None)
            raise ConfigError(f"{named} given without a device: expected --gpu or --dollars beside")

    @property
    def device(self) -> Accelerator | None:
        """The machine asked about, with the user's own figures."""
        if self.gpu is None and self.dollars is None:
            return None
        return accelerator(
            self.gpu or DEFAULT_GPU,
            utilisation=self.utilisation,
            dollars_per_hour=self.gpu_price,
        )


def loss_of(fit: FitResult) -> Loss:
    """(params, tokens) -> log loss under a fitted or published law."""

    def at(params: float, tokens: float) -> float:
        target = {"params": params, "tokens": tokens, "tokens_unique": tokens}
        return log_loss(fit.law, fit.params, target | {"flops": 6 * params * tokens})

    return at


def settle(
    fit: FitResult, targets: Mapping[str, float | None], wish: Wish
) -> tuple[dict[str, float], Choice | None]:
    """``targets`` (params, tokens, flops, target_loss) with the wish worked in.

    The choice is the inference-aware one where tokens served were given. Raises ``ConfigError``
    for wishes that contradict the targets, ``FitError`` when the law cannot answer.
    """
    asked = {name: value for name, value in targets.items() if value is not None}
    if wish.dollars is not None:
        if "flops" in asked:
            raise ConfigError("dollars and flops given: expected one of them")
        device = wish.device
        assert device is not None, "dollars imply a device"
        asked["flops"] = flops_for_dollars(wish.dollars, device)
    if wish.tokens_served is not None:
        if wish.tokens_unique is not None:
            raise ConfigError(
                "tokens served and unique tokens given: expected one of them; slaw allocate takes"
                " both"
            )
        if set(asked) != {"target_loss"}:
            raise ConfigError(
                "tokens served need a target loss, and nothing else: the model that "
                "is cheapest to train and to serve at that loss is chosen"
            )
        choice = inference_aware(loss_of(fit), asked["target_loss"], wish.tokens_served)
        return {"params": choice.params, "tokens": choice.tokens}, choice
    if wish.tokens_per_param is not None:
        return _at_ratio(asked, wish.tokens_per_param), None
    return asked, None


def _at_ratio(asked: Mapping[str, float], ratio: float) -> dict[str, float]:
    if set(asked) == {"flops"}:
        params = (asked["flops"] / 6 / ratio) ** 0.5
        return {"params": params, "tokens": ratio * params}
    if set(asked) == {"params"}:
        return {"params": asked["params"], "tokens": ratio * asked["params"]}
    if set(asked) == {"tokens"}:
        return {"params": asked["tokens"] / ratio, "tokens": asked["tokens"]}
    raise ConfigError(
        f"tokens per param with {', '.join(asked) or 'nothing'}: expected one of params, tokens, "
        "flops or dollars beside it"
    )


def consequences(
    fit: FitResult,
    prediction: Prediction,
    wish: Wish,
    choice: Choice | None,
    template: Model | None = None,
) -> dict[str, Any]:
    """``shape``, ``cost``, ``over_training`` and ``serving``, each None where it does not apply.

    ``template`` gives the shape's vocabulary and context (None: a large model's).
    """
    found: dict[str, Any] = dict.fromkeys(("shape", "cost", "over_training", "serving"))
    params, tokens, flops = prediction.params, prediction.tokens, prediction.flops
    if params is not None:
        counted = prediction.convention.get("params", "")
        known = counted in ("total", "non_embedding", "matmul")
        try:
            shape = concrete_shape(params, counted if known else "total", template)
            found["shape"] = {
                **shape,
                "counted": counted if known else "total (assumed)",
                "vocabulary": "the sweep's" if template else "a large model's",
            }
        except ConfigError:
            found["shape"] = None
    if flops is not None and wish.device is not None:
        found["cost"] = dataclasses.asdict(training_cost(flops, wish.device))
    if flops is not None and tokens is not None and params is not None:
        limited = prediction.tokens_unique is not None
        found["over_training"] = _over_training(fit, flops, tokens / params, limited)
    if choice is not None:
        found["serving"] = {"tokens_served": wish.tokens_served, **choice.extra}
    return found


def _over_training(
    fit: FitResult, flops: float, ratio: float, limited: bool
) -> dict[str, float] | None:
    """What training at ``ratio`` tokens a parameter costs beside the compute-optimal split."""
    if limited:  # the best split is another where data repeat
        return None
    if not {"params", "tokens"} <= set(load_law(fit.law).variables):
        return None
    try:
        choice = over_trained(loss_of(fit), flops, ratio)
    except FitError:
        return None
    return {"tokens_per_param": ratio, **choice.extra}


def decision_lines(found: Mapping[str, Any], *, refused: bool = False) -> list[str]:
    """The consequences for a terminal; ``refused``: without what rests on the law's own figure."""
    lines = []
    if shape := found["shape"]:
        counted = shape["counted"].replace("_", "-")
        lines.append(
            f"a shape of that size: {shape['text']} ({shape['vocabulary']} vocabulary"
            f" {shape['vocab_size']:,} and context {shape['n_ctx']:,}; params counted: {counted})"
        )
    over = found["over_training"]
    if over and over["compute_ratio"] > 1.005 and not refused:
        lines.append(
            f"{over['tokens_per_param']:.3g} tokens per param is not the compute-optimal split:"
            f" the same loss could be had for {100 / over['compute_ratio']:.0f}% of these FLOPs"
        )
    if serving := found["serving"]:
        lines.append(
            f"serving {format_count(serving['tokens_served'])} tokens: training and serving take"
            f" {format_count(serving['total_flops'])} FLOPs, {100 * serving['saving']:.2g}% less"
            f" than with the compute-optimal {format_count(serving['compute_optimal_params'])}"
            " params"
        )
    if cost := found["cost"]:
        money = "no price" if cost["dollars"] is None else format_dollars(cost["dollars"])
        energy = ""
        if cost["energy_kwh"] is not None:
            energy = f", {energy_words(cost['energy_kwh'], cost['gpu_hours'], cost['pue'])}"
        lines.append(
            f"on {cost['accelerator']} ({cost['dtype']}, {100 * cost['utilisation']:.0f}% of peak):"
            f" {format_count(cost['gpu_hours'])} device-hours, {money}{energy}"
        )
    return lines
