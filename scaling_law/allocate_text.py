"""What ``slaw allocate`` prints: one law's answer in full, several as rows, both as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from scaling_law import columns
from scaling_law.allocate import Allocated
from scaling_law.fit.published import COMPARISON_CAVEAT
from scaling_law.forecast_text import loss_words
from scaling_law.outcome import finite_json
from scaling_law.units import (
    format_bytes,
    format_count,
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
        "law": _law_name(made),
        "form": prediction.law,
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


def _law_name(made: Allocated) -> str:
    """As ``--law`` takes it: two published laws may be of one form."""
    if made.found.known is not None:
        return made.found.fit.law
    return made.found.origin.split(",")[0].removeprefix("law ")


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
    names = ("rule", "lr", "batch_tokens", "beta2", "warmup_tokens", "rule_params")
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
    choice = made.choice
    lines = [
        made.found.origin,
        f"{_KINDS[choice.kind]}: {format_count(choice.params)} params on"
        f" {format_count(choice.tokens)} tokens ({format_ratio(choice.tokens_per_param)} a param),"
        f" {format_count(choice.flops)} FLOPs",
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


def _interval_lines(made: Allocated) -> list[str]:
    lines = []
    if made.params_interval and made.tokens_interval:
        lines.append(
            f"90% interval: {_range(made.params_interval)} params,"
            f" {_range(made.tokens_interval)} tokens ({made.interval_method})"
        )
        if made.prediction.level and made.prediction.level != 0.9:
            lines[0] = lines[0].replace("90%", f"{100 * made.prediction.level:g}%")
    else:
        lines.append(f"interval of params and tokens: {made.interval_method}")
    if made.prediction.flops_interval:
        low, high = made.prediction.flops_interval
        top = "any" if high == float("inf") else rounded_count(high, 2)
        lines.append(f"compute for this loss: {rounded_count(low, 2)} to {top} FLOPs")
    return lines


def _limit_lines(made: Allocated) -> list[str]:
    """What service, repeats and memory changed against the compute-optimal answer."""
    asked, choice, plain = made.question, made.choice, made.plain
    lines = []
    if asked.tokens_served is not None:
        extra = choice.extra
        words = f"serving {format_count(asked.tokens_served)} tokens takes"
        words += f" {format_count(extra['inference_flops'])} FLOPs (2 a parameter and token);"
        words += f" with training {format_count(extra['total_flops'])}"
        if "saving" in extra:
            words += f", {100 * extra['saving']:.2g}% less than with the compute-optimal"
            words += f" {format_count(extra['compute_optimal_params'])} params"
        lines.append(words)
    if made.epochs is not None and asked.tokens_unique is not None:
        lines.append(
            f"{made.epochs:.3g} epochs of {format_count(asked.tokens_unique)} different tokens"
        )
    if made.most_params is not None and asked.memory_bytes is not None:
        held = f"{format_bytes(asked.memory_bytes)} hold up to {format_count(made.most_params)}"
        lines.append(f"{held} params to {asked.memory_for}")
    if choice.kind != "compute_optimal":
        lines.append(
            f"unlimited, compute-optimal: {format_count(plain.params)} params on"
            f" {format_count(plain.tokens)} tokens, {format_count(plain.flops)} FLOPs,"
            f" loss {plain.loss_nats:.3f}"
        )
    return lines


def _recipe_lines(made: Allocated) -> list[str]:
    recipe = made.recipe
    if recipe is None:
        return []
    shape, low, high = recipe.shape, *recipe.rule_params
    return [
        f"shape: {shape['n_layer']} layers, width {shape['d_model']}, {shape['n_head']} heads:"
        f" {format_count(shape['params_total'])} params in all (vocabulary"
        f" {shape['vocab_size']:,}, context {shape['n_ctx']:,}; size counted:"
        f" {shape['counted'].replace('_', '-')})",
        f"training: peak LR {recipe.lr:.3g}, batch {format_count(recipe.batch_tokens)} tokens,"
        f" beta2 {recipe.beta2:g}, warm-up {format_count(recipe.warmup_tokens)} tokens (rule"
        f" {recipe.rule}, measured for {format_count(low)} to {format_count(high)} params)",
        f"memory: {format_bytes(recipe.train_bytes)} to train (AdamW, mixed precision, one"
        f" sequence, checkpointing), {format_bytes(recipe.serve_bytes)} to serve (16 bits)",
    ]


def _cost_lines(made: Allocated) -> list[str]:
    cost, device = made.cost, made.machine.device
    default = " (the default: choose with --gpu)" if made.machine.gpu is None else ""
    price = "" if device.dollars_per_hour is None else f" at ${device.dollars_per_hour:g} an hour"
    energy = "" if cost.energy_kwh is None else f", {format_count(cost.energy_kwh)} kWh"
    days = format_seconds(cost.days * 86400)
    if cost.days >= 100:
        days = f"{format_count(cost.days)} days"
    return [
        f"training on {cost.count} {cost.accelerator}{default}, {cost.dtype},"
        f" {100 * cost.utilisation:.0f}% of peak: {format_count(cost.gpu_hours)} device-hours,"
        f" {days}, {_money(cost.dollars)}{price}{energy}",
    ]


def _money(dollars: float | None) -> str:
    if dollars is None:
        return "no price"
    if dollars < 0.01:
        return "under a cent"
    return f"${dollars:,.0f}" if dollars >= 100 else f"${dollars:,.2f}"


def _smaller_lines(made: Allocated) -> list[str]:
    if not made.smaller:
        return []
    head = ("size", "params", "tokens", "a param", "training FLOPs")
    rows = [head, *(_smaller_row(row) for row in made.smaller)]
    loss = made.smaller[0]["loss_nats"]
    assert loss is not None
    return ["", f"the same loss ({loss:.3f}) from smaller models:", *columns.left(rows, "  ")]


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
        choice, cost = each.choice, each.cost
        figure, _ = loss_words(each.prediction)
        rows.append(
            (
                _short_name(each),
                format_count(choice.params),
                format_count(choice.tokens),
                format_ratio(choice.tokens_per_param),
                format_count(choice.flops),
                figure.strip(),
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
    return "\n".join([*columns.left(rows), *notes])


def _short_name(made: Allocated) -> str:
    """``besiroglu2024``, or a fitted law with its folder."""
    words = made.found.origin.split(",")[0].removeprefix("law ")
    return words.replace(" fitted to ", " of ")
