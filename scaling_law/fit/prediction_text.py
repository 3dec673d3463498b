"""A prediction in words: the answer first, in the digits that its interval supports."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from scaling_law.files.record import NATS
from scaling_law.units import count_of, format_count, outward_range, weight_words

if TYPE_CHECKING:
    from scaling_law.fit.result import Prediction

# How a warning begins that there is no interval; the figure itself says so.
NO_INTERVAL = "no interval"


def loss_words(prediction: Prediction) -> tuple[str, str]:
    """The loss in nats per token and its interval, with the digits that the interval supports.

    A forecast that is refused, far beyond the data, has only the range, rounded outwards. Without
    an interval the second text says so.
    """
    low, high = prediction.low_nats, prediction.high_nats
    if low is None or high is None or prediction.level is None:
        said = [words for words in prediction.warnings if words.startswith(NO_INTERVAL)]
        figure = f"about {prediction.loss_nats:.{2 if prediction.refused else 3}f}"
        return figure, (said or [NO_INTERVAL])[0]
    level = f"{100 * prediction.level:g}% interval"
    if prediction.over_laws:
        level += f" over {len(prediction.by_law)} laws"
    if prediction.figures_refused:
        return " to ".join(outward_range(low, high)), level
    decimals = interval_decimals(low, high)
    ends = f"{low:.{decimals}f} to {high:.{decimals}f}"
    return f"{prediction.loss_nats:.{decimals}f}", f"{level} {ends}"


def interval_decimals(low: float, high: float) -> int:
    """The decimals that an interval supports."""
    return min(max(math.ceil(-math.log10((high - low) / 2)), 1), 3) if high > low else 3


def loss_text(prediction: Prediction) -> str:
    """The loss with its interval, as a sentence begins."""
    figure, interval = loss_words(prediction)
    lead = "loss somewhere in" if prediction.figures_refused else "loss"
    return f"{lead} {figure} {loss_unit(prediction)} ({interval})"


def loss_unit(prediction: Prediction) -> str:
    """The unit of the loss that a law was fitted to."""
    return prediction.convention.get("loss", NATS)


def target_text(prediction: Prediction) -> str:
    """The target: params, tokens and FLOPs."""
    parts = (
        (prediction.params, "params"),
        (prediction.tokens, "tokens"),
        (prediction.flops, "FLOPs"),
    )
    words = [f"{format_count(value)} {name}" for value, name in parts if value is not None]
    if prediction.tokens and prediction.tokens_unique:
        epochs = prediction.tokens / prediction.tokens_unique
        seen = format_count(prediction.tokens_unique)
        words[1] += f" ({epochs:.3g} epochs of {seen})" if epochs > 1 else ", all different"
    return ", ".join(words)


# What the shares of a forecast's variance are of, in words.
_CAUSES = {
    "laws": "which law holds",
    "parameters": "the parameters",
    "misfit": "what no law explains",
    "new_run": "a run's own noise",
}


def law_words(prediction: Prediction) -> str:
    """What a forecast rests on: one law, or several with their weights and their forecasts.

    Where no figure may be quoted, the weights alone.
    """
    if not prediction.over_laws:
        return f"law {prediction.law}"
    weights = [f"{one.law} {weight_words(one.weight)}" for one in prediction.by_law]
    if prediction.refused:
        return f"laws (weight): {'; '.join(weights)}"
    losses = _losses_by_law(prediction)
    said = "; ".join(f"{law}: {loss}" for law, loss in zip(weights, losses, strict=True))
    return f"laws (weight: loss by that law): {said}"


def own_loss_lines(prediction: Prediction) -> list[str]:
    """A line of what each of several laws forecasts; none of one law, or where none is quoted.

    Each is fitted with weights (``fit.weighted``), so that ``--law NAME`` gives another loss.
    """
    if not prediction.over_laws or prediction.refused:
        return []
    losses = zip(prediction.by_law, _losses_by_law(prediction), strict=True)
    said = ", ".join(f"{one.law} {loss}" for one, loss in losses)
    return [f"loss by each law, fitted with more weight on runs of more compute: {said}"]


def _losses_by_law(prediction: Prediction) -> list[str]:
    decimals = max(2, interval_decimals(prediction.low_nats or 0.0, prediction.high_nats or 0.0))
    return [f"{one.loss_nats:.{decimals}f}" for one in prediction.by_law]


def cause_words(prediction: Prediction) -> str:
    """What makes the interval wide: the causes of the forecast's variance, the largest first."""
    shares = sorted(prediction.variance_shares.items(), key=lambda item: -item[1])
    words = [f"{_CAUSES[name]} {100 * share:.0f}%" for name, share in shares if share >= 0.005]
    return f"the interval's variance comes from: {', '.join(words)}"


def distance_text(prediction: Prediction) -> str:
    """How far the target lies beyond the data, in orders of magnitude."""
    words = []
    for name, ratio in prediction.beyond_data.items():
        below = prediction.below_data.get(name, 0.0)
        if ratio > 1:
            words.append(f"{name} {math.log10(ratio):.1f}")
        elif below > 1:
            words.append(f"{name} {math.log10(below):.1f} below the smallest")
        else:
            words.append(f"{name} within")
    return f"orders of magnitude beyond the largest fitted: {', '.join(words)}"


def warning_lines(warnings: tuple[str, ...] | list[str]) -> list[str]:
    """``warnings``, a line each, without the missing interval, which the line of the loss
    states."""
    return [f"warning: {words}" for words in warnings if not words.startswith(NO_INTERVAL)]


def three_lines(prediction: Prediction) -> str:
    """A prediction as Python prints it: the loss, the target and law, and what to doubt.

    Where no figure may be quoted, why is the first of the three.
    """
    left = len(prediction.warnings)
    more = f" ({count_of(left, 'warning')} in .warnings)" if left else ""
    loss = loss_text(prediction)
    where = f"at {target_text(prediction)}, by {law_words(prediction)} ({prediction.source})"
    if prediction.refused:
        return "\n".join((prediction.refused + more, loss, where))
    doubt = "; ".join(prediction.warnings[:1])
    if prediction.beyond_data:
        doubt = distance_text(prediction)
    return "\n".join((loss, where, (doubt or "within the data, without warnings") + more))
