"""What ``slaw allocate`` prints: one law's answer in full, several as rows, both as JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from scaling_law import text_columns
from scaling_law.fit.result import finite_json
from scaling_law.forecast.allocate import Allocated
from scaling_law.forecast.hardware import energy_words
from scaling_law.forecast.published import COMPARISON_CAVEAT
from scaling_law.forecast.text import loss_words
from scaling_law.units import (
    format_bytes,
    format_count,
    format_dollars,
    format_ratio,
    format_seconds,
    rounded_count,
)

_KINDS = {
    "compute_optimal": "compute-optimal",
    "data_limited": "compute-optimal, repeats at their worth",
    "inference_aware": "cheapest to train and to serve",
    "lifetime_optimal": "lowest loss where the budget trains and serves",
    "memory_limited": "the largest that the memory holds",
}


def allocation_json(made: Allocated) -> dict[str, Any]:
    """One strict JSON document; ``conventions`` says what its figures count."""
    choice, cost, prediction = made.choice, made.cost, made.prediction
    recipe = made.recipe
    return {
        "law": prediction.law,
        "form": prediction.form,
        "origin": made.found.origin,
        "question": _question(made),
        "answer": choice.kind,
        "params": choice.params,
        "params_interval": finite_json(made.params_interval),
        "tokens": choice.tokens,
        "tokens_interval": finite_json(made.tokens_interval),
        "flops": choice.flops,
        "flops_interval": finite_json(prediction.flops_interval),
        "loss_nats": prediction.loss_nats,
        "low_nats": prediction.low_nats,
        "high_nats": prediction.high_nats,
        "level": prediction.level,
        "tokens_per_param": choice.tokens_per_param,
        "compute_optimal": finite_json(_point(made.plain)),
        "epochs": made.epochs,
        "most_params": made.most_params,
        "serving": finite_json(choice.extra) or None,
        "smaller": finite_json(list(made.smaller)),
        "shape": finite_json(recipe.shape) if recipe else None,
        "training": finite_json(_training(made)),
        "memory": {"train_bytes": recipe.train_bytes, "serve_bytes": recipe.serve_bytes}
        if recipe
        else None,
        "device": _device(made),
        "gpu_hours": cost.gpu_hours,
        "days": cost.days,
        "dollars": cost.dollars,
        "energy_kwh": cost.energy_kwh,
        "conventions": {
            **prediction.convention,
            "flops": "6nd: 6 x params x tokens, training",
            "loss": "nats per token, natural logarithm",
            "count_intervals": made.interval_method,
        },
        "beyond_data": finite_json(prediction.beyond_data),
        "refused": prediction.refused,
        "warnings": list(made.warnings),
    }


def _question(made: Allocated) -> dict[str, Any]:
    asked = {k: v for k, v in dataclasses.asdict(made.question).items() if v is not None}
    if made.question.memory_bytes is None:
        del asked["memory_for"]
    return asked


def _device(made: Allocated) -> dict[str, Any]:
    cost = made.cost
    return {
        "name": cost.accelerator,
        "default": made.machine.gpu is None,
        "count": cost.count,
        "dtype": cost.dtype,
        "utilisation": cost.utilisation,
        "dollars_per_hour": made.machine.device.dollars_per_hour,
    }


def _point(choice: Any) -> dict[str, float]:
    names = ("params", "tokens", "flops", "loss_nats", "tokens_per_param")
    return {name: getattr(choice, name) for name in names}


def _training(made: Allocated) -> dict[str, Any] | None:
    if made.recipe is None:
        return None
    names = ("rule", "lr", "batch_tokens", "beta2", "warmup_tokens", "rule_params", "rule_tokens")
    return {name: getattr(made.recipe, name) for name in names}


def comparison_json(made: Sequence[Allocated], refused: Sequence[str]) -> dict[str, Any]:
    """Several laws' documents, and why others have none."""
    return {
        "allocations": [allocation_json(each) for each in made],
        "refused": list(refused),
        "caveat": COMPARISON_CAVEAT,
    }


def format_allocation(made: Allocated) -> str:
    """One law's answer for a terminal: what to train, what it takes, what else would do."""
    choice, (params, tokens, ratio, flops) = made.choice, answer_words(made)
    lines = [
        made.found.origin,
        f"{_KINDS[choice.kind]}: {params} params on {tokens} tokens ({ratio} a param), {flops}"
        " FLOPs",
        _loss_line(made),
        *_interval_lines(made),
    ]
    if made.prediction.refused:
        lines.append(made.prediction.refused)
    lines += ["", *_limit_lines(made), *_recipe_lines(made), *_cost_lines(made)]
    lines += [*_smaller_lines(made), "", _convention_line(made)]
    if made.found.fit.n_points == 0:
        lines += [f"source: {made.found.fit.source}"]
        lines += [f"note: {note}" for note in made.found.fit.notes]
    return "\n".join([*lines, *(f"warning: {words}" for words in made.warnings)])


def _loss_line(made: Allocated) -> str:
    figure, interval = loss_words(made.prediction)
    return f"loss {figure} nats per token ({interval})"


def _range(ends: tuple[float, float]) -> str:
    return f"{rounded_count(ends[0], 2)} to {rounded_count(ends[1], 2)}"


def only_ranges(made: Allocated) -> bool:
    """Whether a fitted law's answer lies so far beyond its data that no figure may be quoted."""
    return bool(made.prediction.refused) and made.prediction.level is not None


def answer_words(made: Allocated) -> tuple[str, str, str, str]:
    """(params, tokens, tokens a param, FLOPs); where no figure may be quoted the intervals, or one
    digit of what has none."""
    choice, asked = made.choice, made.question
    params, tokens = made.params_interval, made.tokens_interval
    given = asked.target_loss is None  # the budget, which is nobody's estimate
    decided = given and choice.kind == "memory_limited" and asked.tokens_served is None
    flops = format_count(choice.flops)
    if not only_ranges(made) or decided:
        ratio = format_ratio(choice.tokens_per_param)
        return format_count(choice.params), format_count(choice.tokens), ratio, flops
    if not given or asked.tokens_served is not None:
        flops = _flops_range(made) or f"about {rounded_count(choice.flops, 1)}"
    if params and tokens:
        ratio = _ratio_range(tokens[0] / params[1], tokens[1] / params[0])
        return _range(params), _range(tokens), ratio, flops
    one = [rounded_count(x, 1) for x in (choice.params, choice.tokens, choice.tokens_per_param)]
    return f"about {one[0]}", f"about {one[1]}", f"about {one[2]}", flops


def _ratio_range(low: float, high: float) -> str:
    ends = (format_ratio(float(f"{end:.2g}")) for end in (low, high))
    return " to ".join(ends)


def _flops_range(made: Allocated) -> str:
    if not made.prediction.flops_interval:
        return ""
    low, high = made.prediction.flops_interval
    return f"{rounded_count(low, 2)} to {'any' if high == math.inf else rounded_count(high, 2)}"


def _interval_lines(made: Allocated) -> list[str]:
    lines = []
    if made.params_interval and made.tokens_interval:
        level = f"{100 * (made.prediction.level or 0.9):g}% interval"
        ends = f"{_range(made.params_interval)} params, {_range(made.tokens_interval)} tokens"
        if only_ranges(made):
            lines.append(f"both as {level}s: {made.interval_method}")
        else:
            lines.append(f"{level}: {ends} ({made.interval_method})")
    else:
        lines.append(f"interval of params and tokens: {made.interval_method}")
    if (flops := _flops_range(made)) and not only_ranges(made):
        lines.append(f"compute for this loss: {flops} FLOPs")
    return lines


def _limit_lines(made: Allocated) -> list[str]:
    """What service, repeats and memory changed against the compute-optimal answer."""
    asked, choice, plain = made.question, made.choice, made.plain
    digits = 1 if only_ranges(made) else 3
    lines = []
    if asked.tokens_served is not None:
        extra = choice.extra
        words = f"serving {format_count(asked.tokens_served)} tokens takes"
        words += f" {rounded_count(extra['inference_flops'], digits)} FLOPs (2 a parameter and"
        words += f" token); with training {rounded_count(extra['total_flops'], digits)}"
        if "saving" in extra:
            words += f", {rounded_count(100 * extra['saving'], min(digits, 2))}% less than with the"
            optimal = rounded_count(extra["compute_optimal_params"], digits)
            words += f" compute-optimal {optimal} params"
        lines.append(words)
    if made.epochs is not None and asked.tokens_unique is not None:
        epochs = rounded_count(made.epochs, digits)
        if only_ranges(made) and made.tokens_interval:
            epochs = _ratio_range(*(end / asked.tokens_unique for end in made.tokens_interval))
        lines.append(f"{epochs} epochs of {format_count(asked.tokens_unique)} different tokens")
    if made.most_params is not None and asked.memory_bytes is not None:
        held = f"{format_bytes(asked.memory_bytes)} hold up to {format_count(made.most_params)}"
        lines.append(f"{held} params to {asked.memory_for}")
    if choice.kind != "compute_optimal":
        words = f"unlimited, compute-optimal: {rounded_count(plain.params, digits)} params on"
        words += f" {rounded_count(plain.tokens, digits)} tokens,"
        words += f" {rounded_count(plain.flops, digits)} FLOPs"
        lines.append(words if only_ranges(made) else f"{words}, loss {plain.loss_nats:.3f}")
    return lines


def _recipe_lines(made: Allocated) -> list[str]:
    recipe = made.recipe
    if recipe is None:
        return []
    shape, measured = recipe.shape, "measured at no size"
    if recipe.rule_params:
        low, high = recipe.rule_params
        measured = f"measured for {format_count(low)} to {format_count(high)} params"
    if recipe.rule_tokens:
        low, high = recipe.rule_tokens
        measured += f" on {format_count(low)} to {format_count(high)} tokens"
    amid = "a shape amid the range" if only_ranges(made) else "shape"
    return [
        f"{amid}: {shape['text']}:"
        f" {format_count(shape['params_total'])} params in all (vocabulary"
        f" {shape['vocab_size']:,}, context {shape['n_ctx']:,}; size counted:"
        f" {shape['counted'].replace('_', '-')})",
        f"training: peak LR {recipe.lr:.3g}, batch {format_count(recipe.batch_tokens)} tokens,"
        f" beta2 {recipe.beta2:g}, warm-up {format_count(recipe.warmup_tokens)} tokens (rule"
        f" {recipe.rule}, {measured}; beta2 and warm-up as Porian 2024)",
        f"memory: {format_bytes(recipe.train_bytes)} to train (AdamW, mixed precision, one"
        f" sequence, checkpointing), {format_bytes(recipe.serve_bytes)} to serve (16 bits)",
    ]


def _cost_lines(made: Allocated) -> list[str]:
    cost, device = made.cost, made.machine.device
    default = " (the default: choose with --gpu)" if made.machine.gpu is None else ""
    price = "" if device.dollars_per_hour is None else f" at ${device.dollars_per_hour:g} an hour"
    energy = ""
    if cost.energy_kwh is not None:
        energy = f", {energy_words(cost.energy_kwh, cost.gpu_hours, cost.pue)}"
    lead = f"training on {cost.count} {cost.accelerator}{default}, {cost.dtype},"
    lead += f" {100 * cost.utilisation:.0f}% of peak:"
    if only_ranges(made) and made.question.target_loss is not None:
        return [f"{lead} {_hours_range(made)} device-hours{price}"]
    return [
        f"{lead} {format_count(cost.gpu_hours)} device-hours,"
        f" {format_seconds(cost.days * 86400)}, {_money(cost.dollars)}{price}{energy}",
    ]


def _hours_range(made: Allocated) -> str:
    """Device-hours of a budget that is itself the law's estimate, and known as a range alone."""
    hours, interval = made.cost.gpu_hours, made.prediction.flops_interval
    if interval is None:
        return f"about {rounded_count(hours, 1)}"
    low, high = (end / made.choice.flops * hours for end in interval)
    return f"{rounded_count(low, 2)} to {'any' if high == math.inf else rounded_count(high, 2)}"


def _money(dollars: float | None) -> str:
    return "no price" if dollars is None else format_dollars(dollars)


def _smaller_lines(made: Allocated) -> list[str]:
    if not made.smaller:
        return []
    if only_ranges(made):
        return ["smaller models of the same loss: no figures so far beyond the data"]
    head = ("size", "params", "tokens", "a param", "training FLOPs")
    rows = [head, *(_smaller_row(row) for row in made.smaller)]
    loss = loss_words(made.prediction)[0].removeprefix("about ")
    formula = ", by the formula" if made.prediction.refused else ""
    return [
        "",
        f"the same loss ({loss}) from smaller models{formula}:",
        *text_columns.left(rows, "  "),
    ]


def _smaller_row(row: Mapping[str, float | None]) -> tuple[str, ...]:
    share, params, ratio = row["shrink"], row["params"], row["compute_ratio"]
    assert share is not None and params is not None
    size = "1" if share == 1 else f"1/{1 / share:g}"
    if ratio is None or row["tokens"] is None or row["tokens_per_param"] is None:
        return (size, format_count(params), "-", "-", "no number of tokens reaches it")
    more = f"{100 * (ratio - 1):+.{0 if ratio > 1.1 else 1}f}%" if share != 1 else "the fewest"
    return (
        size,
        format_count(params),
        format_count(row["tokens"]),
        format_ratio(row["tokens_per_param"]),
        more,
    )


def _convention_line(made: Allocated) -> str:
    counted = made.prediction.convention.get("params", "").replace("_", "-") or "unstated"
    return (
        f"conventions: params {counted}; FLOPs 6 x params x tokens; loss in nats per token,"
        " natural logarithm"
    )


def format_comparison(made: Sequence[Allocated], refused: Sequence[str]) -> str:
    """Several laws, one row each."""
    rows = [("law", "params", "tokens", "a param", "FLOPs", "loss", "device-hours", "dollars",
             "params counted")]  # fmt: skip
    for each in made:
        cost = each.cost
        figure, _ = loss_words(each.prediction)
        rows.append(
            (
                _short_name(each),
                *answer_words(each),
                figure.removeprefix("about "),
                format_count(cost.gpu_hours),
                _money(cost.dollars),
                each.prediction.convention.get("params", "").replace("_", "-") or "unstated",
            )
        )
    notes = [f"note: {COMPARISON_CAVEAT}", *(f"refused: {words}" for words in refused)]
    cost = made[0].cost
    default = " (the default)" if made[0].machine.gpu is None else ""
    notes.insert(0, "FLOPs 6 x params x tokens, for training; loss in nats per token")
    notes.insert(0, f"on {cost.count} {cost.accelerator}{default}; one law alone is told in full")
    return "\n".join([*text_columns.left(rows), *notes])


def _short_name(made: Allocated) -> str:
    """``besiroglu2024``, or a fitted law with its folder."""
    words = made.found.origin.split(",")[0].removeprefix("law ")
    return words.replace(" fitted to ", " of ")
